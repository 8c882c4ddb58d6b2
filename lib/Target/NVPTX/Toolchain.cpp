//===- Toolchain.cpp - finds and runs ptxas, fatbinary and nvdisasm -===//
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

/// A program in each place where NVIDIA's may be: PATH, the toolkit, and the wheels
/// (<root>/lib/python3.*/site-packages/nvidia/*/bin).
std::vector<std::string> findAll(StringRef name, const std::string &root) {
  std::vector<std::string> found;
  if (auto onPath = sys::findProgramByName(name))
    found.push_back(*onPath);
  std::string installed = ("/usr/local/cuda/bin/" + name).str();
  if (sys::fs::can_execute(installed))
    found.push_back(installed);
  std::error_code error;
  if (!root.empty())
    for (sys::fs::directory_iterator python(root + "/lib", error), end; !error && python != end; python.increment(error)) {
      std::string packages = python->path() + "/site-packages/nvidia";
      std::error_code inner;
      for (sys::fs::directory_iterator package(packages, inner); !inner && package != end; package.increment(inner))
        if (std::string program = package->path() + "/bin/" + name.str(); sys::fs::can_execute(program))
          found.push_back(program);
    }
  return found;
}

/// The one beside ptxas, so that both are of one version; else the first anywhere.
std::string findBeside(StringRef ptxas, StringRef name, const std::string &root) {
  SmallString<128> path(sys::path::parent_path(ptxas));
  sys::path::append(path, name);
  if (sys::fs::can_execute(path))
    return std::string(path);
  std::vector<std::string> found = findAll(name, root);
  return found.empty() ? "" : found.front();
}

/// Reads the version; Unsupported outside 12.4 to 13.x.
Status readVersion(Toolchain &toolchain) {
  TemporaryFolder folder;
  if (folder.error)
    return resourceExhausted("cannot create a temporary folder: " + folder.error.message());
  VITRIFY_ASSIGN_OR_RETURN(std::string output, runProgram(toolchain.ptxas, {"--version"}, folder.file("version")));
  SmallVector<StringRef> match;
  if (!Regex("release ([0-9]+)\\.([0-9]+), V([0-9.]+)").match(output, &match) ||
      match[1].getAsInteger(10, toolchain.major) || match[2].getAsInteger(10, toolchain.minor))
    return unsupported("cannot read the version of " + toolchain.ptxas);
  toolchain.version = match[3].str();
  if (toolchain.major < 12 || (toolchain.major == 12 && toolchain.minor < 4) || toolchain.major > 13)
    return unsupported("ptxas " + toolchain.version + " at " + toolchain.ptxas +
                       " is outside the supported versions 12.4 to 13.x");
  return {};
}

} // namespace

StatusOr<Toolchain> Toolchain::find(const std::string &ptxasPath, const std::string &environmentRoot) {
  std::vector<std::string> candidates = {ptxasPath};
  if (ptxasPath.empty())
    candidates = findAll("ptxas", environmentRoot);
  else if (!sys::fs::can_execute(ptxasPath))
    return notFound("ptxas not found or not executable: " + ptxasPath);
  if (candidates.empty())
    return notFound("no ptxas found (PATH, /usr/local/cuda/bin, PyPI nvidia-cuda-nvcc): install one or give --ptxas=PATH");
  Status first;
  for (const std::string &candidate : candidates) {
    Toolchain found;
    found.ptxas = candidate;
    Status status = readVersion(found);
    if (!status.ok()) {
      if (first.ok())
        first = status;
      continue;
    }
    found.fatbinary = findBeside(candidate, "fatbinary", environmentRoot);
    found.nvdisasm = findBeside(candidate, "nvdisasm", environmentRoot);
    return found;
  }
  return first;
}

Status Toolchain::checkAssembles(std::string_view target, std::string_view features) const {
  // PTX ISA manual, release notes: 8.4 is CUDA 12.4, 8.5 is 12.5, each later one the next minor version; 9.0 is 13.0.
  int ptx = 0;
  StringRef text(features);
  if (!text.consume_front("+ptx") || text.getAsInteger(10, ptx))
    return {};
  int neededMajor = ptx >= 90 ? 13 : 12, neededMinor = ptx >= 90 ? ptx - 90 : ptx <= 85 ? ptx - 80 : ptx - 79;
  if (major > neededMajor || (major == neededMajor && minor >= neededMinor))
    return {};
  return unsupported("ptxas " + version + " at " + ptxas + " is too old for " + std::string(target) + ", which needs PTX " +
                     std::to_string(ptx / 10) + "." + std::to_string(ptx % 10) + ": CUDA " + std::to_string(neededMajor) +
                     "." + std::to_string(neededMinor) + " or newer");
}

StatusOr<Cubin> vitrify::nvptx::assemble(const Toolchain &toolchain, const std::string &ptx, const std::string &chip) {
  TemporaryFolder folder;
  if (folder.error)
    return resourceExhausted("cannot create a temporary folder: " + folder.error.message());
  VITRIFY_RETURN_IF_ERROR(writeFile(folder.file("kernels.ptx"), ptx));
  SmallVector<StringRef> options;
  StringRef(kPtxasOptions).split(options, ' ');
  SmallVector<std::string> arguments(options.begin(), options.end());
  arguments.append({"-arch=" + chip, folder.file("kernels.ptx"), "-o", folder.file("kernels.cubin")});
  auto output = runProgram(toolchain.ptxas, arguments, folder.file("log"));
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
    return notFound("no fatbinary found beside " + toolchain.ptxas + ", on PATH or in /usr/local/cuda/bin: install PyPI's nvidia-cuda-nvcc");
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

StatusOr<std::string> vitrify::nvptx::disassemble(const Toolchain &toolchain, const std::string &cubin) {
  if (toolchain.nvdisasm.empty())
    return notFound("no nvdisasm found: install PyPI's nvidia-cuda-nvdisasm");
  TemporaryFolder folder;
  if (folder.error)
    return resourceExhausted("cannot create a temporary folder: " + folder.error.message());
  VITRIFY_RETURN_IF_ERROR(writeFile(folder.file("kernels.cubin"), cubin));
  return runProgram(toolchain.nvdisasm, {"-c", folder.file("kernels.cubin")}, folder.file("text"));
}
