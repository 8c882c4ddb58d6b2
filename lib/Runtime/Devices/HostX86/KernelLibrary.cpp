//===- KernelLibrary.cpp - the functions of kernels.so --------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "KernelLibrary.h"

#include "vitrify/Support/ContentHash.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

using namespace vitrify;

KernelLibrary::~KernelLibrary() {
  if (handle)
    dlclose(handle);
  if (fd >= 0)
    close(fd);
}

KernelLibrary::KernelLibrary(KernelLibrary &&other) noexcept
    : handle(std::exchange(other.handle, nullptr)), fd(std::exchange(other.fd, -1)),
      functions(std::move(other.functions)) {}

KernelLibrary &KernelLibrary::operator=(KernelLibrary &&other) noexcept {
  std::swap(handle, other.handle);
  std::swap(fd, other.fd);
  functions.swap(other.functions);
  return *this;
}

namespace {

Status systemError(const std::string &what) { return internalError(what + ": " + std::strerror(errno)); }

/// A copy in memory that nobody can change any more, with the digest that the manifest says.
StatusOr<int> sealedCopy(const MappedFile &file, const BundleFile &code) {
  int fd = memfd_create("vitrify-kernels", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return systemError("cannot make memory for " + code.path);
  auto failed = [fd](Status status) {
    close(fd);
    return status;
  };
  for (uint64_t at = 0; at < file.size();) {
    ssize_t wrote = write(fd, file.bytes().data() + at, file.size() - at);
    if (wrote < 0 && errno == EINTR)
      continue;
    if (wrote <= 0)
      return failed(systemError("cannot copy " + code.path));
    at += uint64_t(wrote);
  }
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
    return failed(systemError("cannot seal the copy of " + code.path));
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  auto copy = MappedFile::open(path);
  if (!copy.ok())
    return failed(copy.status());
  if (toHex(sha256(copy->bytes())) != code.sha256)
    return failed(dataLoss(code.path + " changed while it was read"));
  return fd;
}

} // namespace

StatusOr<KernelLibrary> KernelLibrary::open(const Bundle &bundle, const BundleFile &code, const Plan &plan) {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, bundle.openFile(code));
  KernelLibrary library;
  VITRIFY_ASSIGN_OR_RETURN(library.fd, sealedCopy(file, code));
  std::string path = "/proc/self/fd/" + std::to_string(library.fd);
  library.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library.handle) {
    const char *why = dlerror();
    return dataLoss(code.path + " cannot be loaded: " + (why ? why : "unknown error"));
  }
  for (const PlanKernel &kernel : plan.kernels) {
    void *symbol = dlsym(library.handle, kernel.name.c_str());
    if (!symbol)
      return notFound("kernel '" + kernel.name + "' is not in " + code.path);
    library.functions.push_back(reinterpret_cast<vitrify_x86_kernel>(symbol));
  }
  return library;
}
