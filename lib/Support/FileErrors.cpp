//===- FileErrors.cpp - errno as one sentence ----------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "FileErrors.h"

#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/statvfs.h>
#include <unistd.h>

using namespace vitrify;

Status vitrify::fileError(const char *operation, const std::string &path) {
  int code = errno;
  char buffer[128];
  // The GNU form returns the text, thread-safe.
  std::string reason = strerror_r(code, buffer, sizeof buffer);
  if (!reason.empty())
    reason[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(reason[0])));
  std::string message = std::string("cannot ") + operation + " '" + path + "': " + reason;
  switch (code) {
  case ENOENT:
  case ENOTDIR: return notFound(message);
  case ENOMEM:
  case ENOSPC:
  case EDQUOT:
  case EMFILE: return resourceExhausted(message);
  default: return invalidArgument(message);
  }
}

Status vitrify::writeError(const std::string &path, uint64_t bytes) {
  if (errno != ENOSPC && errno != EDQUOT)
    return fileError("write", path);
  std::string folder = std::filesystem::path(path).parent_path().string();
  struct statvfs info;
  std::string available = "unknown";
  if (statvfs(folder.empty() ? "." : folder.c_str(), &info) == 0)
    available = std::to_string(static_cast<uint64_t>(info.f_bavail) * info.f_frsize);
  return resourceExhausted("cannot write '" + path + "': no space, " + std::to_string(bytes) + " bytes needed and " +
                           available + " free");
}

Status vitrify::readFully(int fd, uint64_t offset, std::span<std::byte> out, const std::string &path) {
  while (!out.empty()) {
    ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return fileError("read", path);
    if (got == 0)
      return dataLoss("'" + path + "' ends at byte " + std::to_string(offset) + ", " + std::to_string(out.size()) +
                      " bytes before expected");
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}
