//===- Link.cpp - objects to kernels.so by ld.lld -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Emit.h"

#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace vitrify;
using namespace vitrify::x86;

/// By option, then in LLVM's own folder, then in PATH.
static std::string findLinker(const std::string &option, std::string &error) {
  if (!option.empty()) {
    if (sys::fs::can_execute(option))
      return option;
    error = "ld.lld at '" + option + "' cannot be executed";
    return "";
  }
  std::string folder = "/usr/lib/llvm-" + std::to_string(LLVM_VERSION_MAJOR) + "/bin";
  std::string versioned = "ld.lld-" + std::to_string(LLVM_VERSION_MAJOR);
  if (auto found = sys::findProgramByName("ld.lld", {folder}))
    return *found;
  for (StringRef name : {StringRef(versioned), StringRef("ld.lld")})
    if (auto found = sys::findProgramByName(name))
      return *found;
  error = "ld.lld was found neither in " + folder + " nor in PATH";
  return "";
}

mlir::FailureOr<std::string> x86::linkKernels(ArrayRef<KernelObject> objects, const std::string &lld,
                                              std::string &error) {
  std::string linker = findLinker(lld, error);
  if (linker.empty())
    return mlir::failure();
  SmallString<128> folder;
  if (std::error_code code = sys::fs::createUniqueDirectory("vitrify-kernels", folder)) {
    error = "no temporary folder: " + code.message();
    return mlir::failure();
  }
  struct Remove {
    StringRef folder;
    ~Remove() { sys::fs::remove_directories(folder); }
  } remove{folder};
  auto inFolder = [&](const Twine &name) {
    SmallString<128> path = folder;
    sys::path::append(path, name);
    return path.str().str();
  };
  // Names by number, in the module's order: the result does not depend on the folder.
  std::vector<std::string> arguments = {linker,      "-shared",         "-nostdlib",           "--no-undefined",
                                        "-z",        "noexecstack",     "-z",                  "relro",
                                        "-z",        "now",             "--hash-style=gnu",    "--build-id=none",
                                        "--strip-debug", "-soname=kernels.so", "-o",           inFolder("kernels.so")};
  for (auto [i, object] : llvm::enumerate(objects)) {
    std::string path = inFolder(Twine(i) + ".o");
    std::error_code code;
    raw_fd_ostream stream(path, code);
    stream << object.object;
    stream.close();
    if (code || stream.has_error()) {
      error = path + ": " + (code ? code : stream.error()).message();
      stream.clear_error();
      return mlir::failure();
    }
    arguments.push_back(path);
  }
  std::vector<StringRef> references(arguments.begin(), arguments.end());
  std::string log = inFolder("log");
  std::optional<StringRef> redirects[] = {std::nullopt, StringRef(log), StringRef(log)};
  std::string message;
  int code = sys::ExecuteAndWait(linker, references, std::nullopt, redirects, 0, 0, &message);
  if (code != 0) {
    auto text = MemoryBuffer::getFile(log);
    error = linker + " failed: " + (text ? (*text)->getBuffer().trim().str() : message);
    return mlir::failure();
  }
  auto buffer = MemoryBuffer::getFile(inFolder("kernels.so"));
  if (!buffer) {
    error = "ld.lld left no kernels.so: " + buffer.getError().message();
    return mlir::failure();
  }
  return (*buffer)->getBuffer().str();
}
