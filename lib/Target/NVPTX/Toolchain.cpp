//===- Toolchain.cpp - finds and runs ptxas and fatbinary -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Target/NVPTX/Toolchain.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

/// A folder of our own that goes when the object does.
class TemporaryFolder {
public:
  TemporaryFolder() { error = sys::fs::createUniqueDirectory("vitrify-ptx", path); }
  ~TemporaryFolder() {
    if (!error)
      (void)sys::fs::remove_directories(path);
  }
  std::string file(StringRef name) const {
    SmallString<128> full(path);
    sys::path::append(full, name);
    return std::string(full);
  }
  std::error_code error;

private:
  SmallString<128> path;
};

Status writeFile(const std::string &path, StringRef bytes) {
  std::error_code error;
  raw_fd_ostream stream(path, error);
  if (!error) {
    stream << bytes;
    stream.close();
    error = stream.error();
    stream.clear_error();
  }
  return error ? resourceExhausted("cannot write " + path + ": " + error.message()) : Status();
}

StatusOr<std::string> readFile(const std::string &path) {
  auto buffer = MemoryBuffer::getFile(path);
  if (!buffer)
    return notFound("cannot read " + path + ": " + buffer.getError().message());
  return (*buffer)->getBuffer().str();
}

/// Runs a program; its standard output and error go to one string.
StatusOr<std::string> runProgram(const std::string &program, ArrayRef<std::string> arguments, const std::string &log) {
  SmallVector<StringRef> argv = {program};
  argv.append(arguments.begin(), arguments.end());
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(log), StringRef(log)};
  std::string message;
  int code = sys::ExecuteAndWait(program, argv, std::nullopt, redirects, 0, 0, &message);
  VITRIFY_ASSIGN_OR_RETURN(std::string output, readFile(log));
  if (code == 0)
    return output;
  if (code < 0)
    return unsupported("cannot run " + program + (message.empty() ? "" : ": " + message));
  return internalError(sys::path::filename(program).str() + " failed: " +
                       StringRef(output).ltrim().split('\n').first.str());
}

std::string besideOrEmpty(StringRef program, StringRef name) {
  SmallString<128> path(sys::path::parent_path(program));
  sys::path::append(path, name);
  return sys::fs::can_execute(path) ? std::string(path) : std::string();
}

/// ptxas of the wheels: <root>/lib/python3.*/site-packages/nvidia/*/bin/ptxas.
std::string findInEnvironment(const std::string &root) {
  if (root.empty())
    return "";
  std::error_code error;
  for (sys::fs::directory_iterator python(root + "/lib", error), end; !error && python != end; python.increment(error)) {
    std::string packages = python->path() + "/site-packages/nvidia";
    std::error_code inner;
    for (sys::fs::directory_iterator package(packages, inner); !inner && package != end; package.increment(inner)) {
      std::string ptxas = package->path() + "/bin/ptxas";
      if (sys::fs::can_execute(ptxas))
        return ptxas;
    }
  }
  return "";
}

} // namespace

StatusOr<Toolchain> Toolchain::find(const std::string &ptxasPath, const std::string &environmentRoot) {
  Toolchain found;
  if (!ptxasPath.empty()) {
    if (!sys::fs::can_execute(ptxasPath))
      return notFound("ptxas not found or not executable: " + ptxasPath);
    found.ptxas = ptxasPath;
  } else if (auto onPath = sys::findProgramByName("ptxas")) {
    found.ptxas = *onPath;
  } else if (sys::fs::can_execute("/usr/local/cuda/bin/ptxas")) {
    found.ptxas = "/usr/local/cuda/bin/ptxas";
  } else {
    found.ptxas = findInEnvironment(environmentRoot);
  }
  if (found.ptxas.empty())
    return notFound("no ptxas found (PATH, /usr/local/cuda/bin, PyPI nvidia-cuda-nvcc): install one or give --ptxas=PATH");
  found.fatbinary = besideOrEmpty(found.ptxas, "fatbinary");

  TemporaryFolder folder;
  if (folder.error)
    return resourceExhausted("cannot create a temporary folder: " + folder.error.message());
  auto output = runProgram(found.ptxas, {"--version"}, folder.file("version"));
  if (!output)
    return output.status();
  SmallVector<StringRef> match;
  if (!Regex("release ([0-9]+)\\.([0-9]+)").match(*output, &match))
    return unsupported("cannot read the version of " + found.ptxas);
  found.major = std::stoi(match[1].str());
  found.minor = std::stoi(match[2].str());
  if (found.major < 12 || (found.major == 12 && found.minor < 4) || found.major > 13)
    return unsupported("ptxas " + match[1].str() + "." + match[2].str() + " at " + found.ptxas +
                       " is outside the supported versions 12.4 to 13.x");
  return found;
}

StatusOr<Cubin> vitrify::nvptx::assemble(const Toolchain &toolchain, const std::string &ptx, const std::string &chip) {
  TemporaryFolder folder;
  if (folder.error)
    return resourceExhausted("cannot create a temporary folder: " + folder.error.message());
  VITRIFY_RETURN_IF_ERROR(writeFile(folder.file("kernels.ptx"), ptx));
  auto output = runProgram(toolchain.ptxas,
                           {"-v", "-O3", "--warning-as-error", "--split-compile=0", "-arch=" + chip, folder.file("kernels.ptx"), "-o",
                            folder.file("kernels.cubin")},
                           folder.file("log"));
  if (!output)
    return output.status();
  Cubin cubin;
  VITRIFY_ASSIGN_OR_RETURN(cubin.bytes, readFile(folder.file("kernels.cubin")));

  // "Compiling entry function 'name' for ..." then "n bytes stack frame, n bytes spill stores, n bytes spill loads" and
  // "Used n registers, ..., n bytes smem".
  Regex entry("Compiling entry function '([^']+)'"), used("Used ([0-9]+) registers"), shared("([0-9]+) bytes smem"),
      frame("([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores, ([0-9]+) bytes spill loads");
  KernelResources *current = nullptr;
  SmallVector<StringRef> lines, match;
  StringRef(*output).split(lines, '\n');
  for (StringRef line : lines) {
    if (entry.match(line, &match))
      current = &cubin.kernels[match[1].str()];
    if (!current)
      continue;
    if (frame.match(line, &match)) {
      match[1].getAsInteger(10, current->stackBytes);
      match[2].getAsInteger(10, current->spillStores);
      match[3].getAsInteger(10, current->spillLoads);
    }
    if (used.match(line, &match))
      match[1].getAsInteger(10, current->registers);
    if (shared.match(line, &match))
      match[1].getAsInteger(10, current->sharedBytes);
  }
  return cubin;
}

StatusOr<std::string> vitrify::nvptx::makeFatbin(const Toolchain &toolchain, const std::string &cubin,
                                                 const std::string &ptx, const std::string &chip) {
  if (toolchain.fatbinary.empty())
    return notFound("no fatbinary beside " + toolchain.ptxas);
  TemporaryFolder folder;
  if (folder.error)
    return resourceExhausted("cannot create a temporary folder: " + folder.error.message());
  VITRIFY_RETURN_IF_ERROR(writeFile(folder.file("kernels.cubin"), cubin));
  VITRIFY_RETURN_IF_ERROR(writeFile(folder.file("kernels.ptx"), ptx));
  std::string number = StringRef(chip).drop_while([](char c) { return !isDigit(c); }).str();
  auto output = runProgram(toolchain.fatbinary,
                           {"-64", "--create=" + folder.file("kernels.fatbin"),
                            "--image3=kind=elf,sm=" + number + ",file=" + folder.file("kernels.cubin"),
                            "--image3=kind=ptx,sm=" + number + ",file=" + folder.file("kernels.ptx")},
                           folder.file("log"));
  if (!output)
    return output.status();
  return readFile(folder.file("kernels.fatbin"));
}
