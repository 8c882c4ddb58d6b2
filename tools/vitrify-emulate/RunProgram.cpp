//===- RunProgram.cpp - a program on the emulated driver -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Starts the program with the emulator's libcuda.so.1 first in its library path and the
// options in its environment, then sums what its launches reported.
//===----------------------------------------------------------------------===//
#include "EmulateOptions.h"

#include "vitrify/Support/File.h"
#include "vitrify/Support/Json.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sys/wait.h>
#include <unistd.h>

namespace vitrify::emulate {
namespace fs = std::filesystem;

namespace {

/// The folder with libcuda.so.1: beside this tool in a build tree, or in its installation.
StatusOr<std::string> libraryFolder() {
  std::error_code error;
  fs::path self = fs::read_symlink("/proc/self/exe", error);
  fs::path tried;
  for (const char *relative : {"../lib/emulator", "../lib/vitrify/emulator"}) {
    fs::path folder = (self.parent_path() / relative).lexically_normal();
    if (fs::exists(folder / "libcuda.so.1", error))
      return folder.string();
    tried = tried.empty() ? folder : tried;
  }
  return notFound("no libcuda.so.1 in " + tried.string());
}

struct ReportFile {
  std::string path;
  ~ReportFile() {
    if (!path.empty())
      ::unlink(path.c_str());
  }
  Status make() {
    std::string name = (fs::temp_directory_path() / "vitrify-emulate-XXXXXX").string();
    int fd = ::mkstemp(name.data());
    if (fd < 0)
      return resourceExhausted("cannot make a file in " + fs::temp_directory_path().string() + ": " +
                               std::strerror(errno));
    ::close(fd);
    path = name;
    return {};
  }
};

std::string variableOf(const std::string &option) {
  std::string name = "VITRIFY_EMULATOR_";
  for (char c : option)
    name += c >= 'a' && c <= 'z' ? char(c - 32) : c;
  return name;
}

[[noreturn]] void become(const Options &options, const std::string &folder, const std::string &report) {
  for (const auto &[name, value] : options.driver)
    ::setenv(variableOf(name).c_str(), value.c_str(), 1);
  ::setenv("VITRIFY_EMULATOR_REPORT", report.c_str(), 1);
  const char *before = std::getenv("LD_LIBRARY_PATH");
  std::string path = before && *before ? folder + ":" + before : folder;
  ::setenv("LD_LIBRARY_PATH", path.c_str(), 1);
  std::vector<char *> argv;
  for (const std::string &word : options.program)
    argv.push_back(const_cast<char *>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  std::fprintf(stderr, "vitrify-emulate: cannot run '%s': %s\n", argv[0], std::strerror(errno));
  ::_exit(127);
}

} // namespace

StatusOr<int> runProgram(const Options &options) {
  VITRIFY_ASSIGN_OR_RETURN(std::string folder, libraryFolder());
  ReportFile report;
  VITRIFY_RETURN_IF_ERROR(report.make());
  std::fflush(nullptr);
  pid_t child = ::fork();
  if (child < 0)
    return resourceExhausted(std::string("cannot start a process: ") + std::strerror(errno));
  if (child == 0)
    become(options, folder, report.path);
  int raw = 0;
  while (::waitpid(child, &raw, 0) < 0)
    if (errno != EINTR)
      return internalError(std::string("waitpid: ") + std::strerror(errno));
  int status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);

  VITRIFY_ASSIGN_OR_RETURN(std::string text, readFile(report.path));
  uint64_t faults = 0, launches = 0;
  std::string json;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    auto record = parseJson(line);
    if (!record)
      return record.status().prefixed("report of a launch");
    ++launches;
    faults += record->value("faults", uint64_t(0));
    json += (json.empty() ? "" : ",\n") + line;
  }
  std::fprintf(stderr, "========= %llu launch%s\n========= ERROR SUMMARY: %llu error%s\n",
               (unsigned long long)(launches), launches == 1 ? "" : "es", (unsigned long long)(faults),
               faults == 1 ? "" : "s");
  VITRIFY_RETURN_IF_ERROR(writeJson(options, "[" + json + "]\n"));
  return exitStatus(options, faults, status);
}

} // namespace vitrify::emulate
