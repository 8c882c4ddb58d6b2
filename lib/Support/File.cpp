//===- File.cpp - mapped files -------------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/File.h"

#include "FileErrors.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace vitrify;

MappedFile::~MappedFile() {
  if (data)
    munmap(const_cast<std::byte *>(data), length);
  if (fd >= 0)
    close(fd);
}

MappedFile::MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(name, other.name);
  std::swap(fd, other.fd);
  std::swap(data, other.data);
  std::swap(length, other.length);
  return *this;
}

StatusOr<MappedFile> MappedFile::open(const std::string &path, bool followLinks) {
  MappedFile file;
  file.name = path;
  // O_NONBLOCK: a named pipe must be refused, not waited for.
  file.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | (followLinks ? 0 : O_NOFOLLOW));
  if (file.fd < 0)
    return errno == ELOOP && !followLinks ? dataLoss("'" + path + "' is a link") : fileError("open", path);
  struct stat info;
  if (fstat(file.fd, &info) != 0)
    return fileError("inspect", path);
  if (S_ISDIR(info.st_mode))
    return invalidArgument("'" + path + "' is a folder, expected a file");
  if (!S_ISREG(info.st_mode))
    return invalidArgument("'" + path + "' is not a regular file");
  file.length = static_cast<uint64_t>(info.st_size);
  if (file.length == 0)
    return file;
  void *mapped = mmap(nullptr, file.length, PROT_READ, MAP_SHARED, file.fd, 0);
  if (mapped == MAP_FAILED)
    return fileError("map", path);
  file.data = static_cast<const std::byte *>(mapped);
  return file;
}

Status MappedFile::read(uint64_t offset, std::span<std::byte> out) const { return readFully(fd, offset, out, name); }

/// Applies advice to whole pages inside (release) or around (prefetch) a range; what madvise said.
static int advise(const std::byte *data, uint64_t length, uint64_t offset, uint64_t bytes, int advice, bool inside) {
  if (!data || offset >= length)
    return 0;
  uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t end = std::min(length, offset + std::min(bytes, length - offset));
  uint64_t first = inside ? (offset + page - 1) / page * page : offset / page * page;
  uint64_t last = inside && end != length ? end / page * page : end;
  return first < last ? madvise(const_cast<std::byte *>(data) + first, last - first, advice) : 0;
}

void MappedFile::prefetch(uint64_t offset, uint64_t bytes) const {
  advise(data, length, offset, bytes, MADV_WILLNEED, /*inside=*/false);
}

Status MappedFile::populate(uint64_t offset, uint64_t bytes) const {
#ifdef MADV_POPULATE_READ
  int result;
  do
    result = advise(data, length, offset, bytes, MADV_POPULATE_READ, /*inside=*/false);
  while (result != 0 && (errno == EINTR || errno == EAGAIN));
  const int why = result == 0 ? 0 : errno;
#else
  const int why = 0;
#endif
  struct stat info;
  if (fstat(fd, &info) != 0)
    return fileError("inspect", name);
  if (uint64_t(info.st_size) < length)
    return dataLoss("'" + name + "' was cut to " + std::to_string(info.st_size) + " bytes while it was in use, from " +
                    std::to_string(length));
  if (why == EFAULT || why == EHWPOISON)
    return dataLoss("bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " of '" + name +
                    "' cannot be read");
  if (why == ENOMEM)
    return resourceExhausted("no memory to read '" + name + "'");
  return {};
}

void MappedFile::release(uint64_t offset, uint64_t bytes) const {
  advise(data, length, offset, bytes, MADV_DONTNEED, /*inside=*/true);
}

StatusOr<std::string> vitrify::readFile(const std::string &path, uint64_t maxBytes) {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  if (file.size() > maxBytes)
    return invalidArgument("'" + path + "' has " + std::to_string(file.size()) + " bytes, more than the " +
                           std::to_string(maxBytes) + " allowed");
  std::string text(file.size(), '\0');
  VITRIFY_RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

bool vitrify::isSafeRelativePath(std::string_view relative) {
  if (relative.empty() || relative.size() > 4096)
    return false;
  auto bad = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == ':' || c == 0x7f; };
  if (std::any_of(relative.begin(), relative.end(), bad))
    return false;
  for (size_t begin = 0; begin <= relative.size();) {
    size_t end = std::min(relative.find('/', begin), relative.size());
    std::string_view part = relative.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      return false;
    begin = end + 1;
  }
  return true;
}
