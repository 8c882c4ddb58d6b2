//===- Atomic.cpp - files and folders that appear whole ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "FileErrors.h"
#include "vitrify/Support/File.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace vitrify;
namespace fs = std::filesystem;

namespace {
/// Temporaries of `path` lie in its folder under this prefix and a random tail; their writer holds a lock on them, so one
/// that can be locked has no writer any more.
fs::path temporaryPrefix(const fs::path &path) {
  return path.parent_path() / ("." + path.filename().string() + ".vitrify-tmp-");
}

fs::path parentOf(const fs::path &path) { return path.parent_path().empty() ? fs::path(".") : path.parent_path(); }

std::string randomTail() {
  static std::atomic<unsigned> counter{0};
  std::random_device random;
  return std::to_string(getpid()) + "-" + std::to_string(counter++) + "-" + std::to_string(random());
}

/// The path without trailing slashes; an error when nothing is left.
StatusOr<std::string> cleanPath(std::string path) {
  while (path.size() > 1 && path.back() == '/')
    path.pop_back();
  std::string name = fs::path(path).filename().string();
  if (name.empty() || name == "." || name == "..")
    return invalidArgument("'" + path + "' is no name that can be written");
  return path;
}

/// Removes the temporaries of writers that died.
void sweep(const fs::path &path) {
  fs::path prefix = temporaryPrefix(path);
  std::string start = prefix.filename().string();
  fs::path parent = parentOf(prefix);
  std::error_code code;
  for (fs::directory_iterator it(parent, code), end; !code && it != end; it.increment(code)) {
    if (it->path().filename().string().rfind(start, 0) != 0)
      continue;
    int fd = open(it->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
      continue;
    std::error_code ignored;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
      fs::remove_all(it->path(), ignored);
    close(fd);
  }
}

/// Waits until the disk has a file, or the names in a folder. A file system that cannot sync folders says EINVAL.
Status syncPath(const fs::path &path, int flags) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags);
  if (fd < 0)
    return fileError("open", path.string());
  int failed = fsync(fd);
  int code = errno;
  close(fd);
  errno = code;
  return failed && code != EINVAL && code != EROFS ? fileError("write", path.string()) : Status();
}

/// syncPath of a folder and all that is below it.
Status syncTree(const fs::path &folder) {
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    if (it->is_symlink(code))
      continue;
    VITRIFY_RETURN_IF_ERROR(it->is_directory(code) ? syncTree(it->path()) : syncPath(it->path(), 0));
  }
  if (code)
    return internalError("cannot list '" + folder.string() + "': " + code.message());
  return syncPath(folder, O_DIRECTORY);
}

/// Locks what was just created. False when a sweeper took it away before.
bool lockCreated(int fd, const std::string &path) {
  struct stat mine, there;
  return flock(fd, LOCK_EX) == 0 && fstat(fd, &mine) == 0 && lstat(path.c_str(), &there) == 0 &&
         mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}
} // namespace

AtomicFile::~AtomicFile() {
  if (!tempPath.empty())
    unlink(tempPath.c_str());
  if (fd >= 0)
    close(fd);
}

AtomicFile::AtomicFile(AtomicFile &&other) noexcept { *this = std::move(other); }

AtomicFile &AtomicFile::operator=(AtomicFile &&other) noexcept {
  std::swap(finalPath, other.finalPath);
  std::swap(tempPath, other.tempPath);
  std::swap(fd, other.fd);
  std::swap(length, other.length);
  return *this;
}

StatusOr<AtomicFile> AtomicFile::create(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(std::string clean, cleanPath(path));
  std::error_code ignored;
  if (fs::path(path).filename().empty() || fs::is_directory(clean, ignored))
    return invalidArgument("'" + path + "' is a folder, expected a file name");
  // A rename would put a file in the place of a device such as /dev/null.
  if (fs::exists(clean, ignored) && !fs::is_regular_file(clean, ignored))
    return invalidArgument("'" + path + "' is a device or pipe, expected a regular file");
  sweep(clean);
  for (int attempt = 0; attempt < 100; ++attempt) {
    AtomicFile file;
    file.finalPath = clean;
    std::string temp = temporaryPrefix(clean).string() + randomTail();
    file.fd = ::open(temp.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.fd < 0 && errno == EEXIST)
      continue;
    if (file.fd < 0)
      return fileError("create", path);
    file.tempPath = temp;
    if (lockCreated(file.fd, temp))
      return file;
  }
  return internalError("cannot create a temporary file beside '" + path + "'");
}

Status AtomicFile::write(std::span<const std::byte> bytes) { return writeAt(length, bytes); }

Status AtomicFile::write(std::string_view text) { return write(std::as_bytes(std::span(text))); }

Status AtomicFile::writeAt(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > length)
    return internalError("write at " + std::to_string(offset) + " after the end " + std::to_string(length) + " of '" +
                         finalPath + "'");
  while (!bytes.empty()) {
    ssize_t put = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      return writeError(finalPath, bytes.size());
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
    length = std::max(length, offset);
  }
  return {};
}

Status AtomicFile::readAt(uint64_t offset, std::span<std::byte> out) const {
  return readFully(fd, offset, out, finalPath);
}

Status AtomicFile::truncate(uint64_t size) {
  if (ftruncate(fd, static_cast<off_t>(size)) != 0)
    return writeError(finalPath, size);
  length = size;
  return {};
}

Status AtomicFile::commit(Durability durability) {
  if (tempPath.empty())
    return internalError("'" + finalPath + "' was committed twice");
  // The bytes before the name: after a loss of power there is the old file or the new one.
  if (durability == Durability::Durable && fdatasync(fd) != 0)
    return fileError("write", finalPath);
  if (rename(tempPath.c_str(), finalPath.c_str()) != 0)
    return fileError("replace", finalPath);
  tempPath.clear();
  return durability == Durability::Durable ? syncPath(parentOf(finalPath), O_DIRECTORY) : Status();
}

Status vitrify::writeFileAtomically(const std::string &path, std::string_view text) {
  VITRIFY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  VITRIFY_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!tempPath.empty())
    fs::remove_all(tempPath, ignored);
  if (lockFd >= 0)
    close(lockFd);
}

AtomicDirectory::AtomicDirectory(AtomicDirectory &&other) noexcept { *this = std::move(other); }

AtomicDirectory &AtomicDirectory::operator=(AtomicDirectory &&other) noexcept {
  std::swap(finalPath, other.finalPath);
  std::swap(tempPath, other.tempPath);
  std::swap(lockFd, other.lockFd);
  return *this;
}

StatusOr<AtomicDirectory> AtomicDirectory::create(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(std::string clean, cleanPath(path));
  struct stat info;
  if (lstat(clean.c_str(), &info) == 0 && !S_ISDIR(info.st_mode))
    return invalidArgument("'" + clean + "' exists and is not a folder");
  sweep(clean);
  for (int attempt = 0; attempt < 100; ++attempt) {
    AtomicDirectory directory;
    directory.finalPath = clean;
    std::string temp = temporaryPrefix(clean).string() + randomTail();
    if (mkdir(temp.c_str(), 0777) != 0) {
      if (errno == EEXIST)
        continue;
      return fileError("create", path);
    }
    directory.tempPath = temp;
    directory.lockFd = open(temp.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory.lockFd >= 0 && lockCreated(directory.lockFd, temp))
      return directory;
  }
  return internalError("cannot create a temporary folder beside '" + path + "'");
}

Status AtomicDirectory::commit() {
  if (tempPath.empty())
    return internalError("'" + finalPath + "' was committed twice");
  VITRIFY_RETURN_IF_ERROR(syncTree(tempPath));
  // Another writer may create or replace the folder at any moment: try the two cases in turn, each atomic.
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (renameat2(AT_FDCWD, tempPath.c_str(), AT_FDCWD, finalPath.c_str(), RENAME_NOREPLACE) == 0) {
      tempPath.clear();
      return syncPath(parentOf(finalPath), O_DIRECTORY);
    }
    if (errno != EEXIST && errno != ENOTEMPTY && errno != EINVAL)
      return fileError("create", finalPath);
    if (renameat2(AT_FDCWD, tempPath.c_str(), AT_FDCWD, finalPath.c_str(), RENAME_EXCHANGE) == 0) {
      Status synced = syncPath(parentOf(finalPath), O_DIRECTORY);
      std::error_code ignored;
      fs::remove_all(tempPath, ignored);
      tempPath.clear();
      return synced;
    }
    if (errno == EINVAL) { // a file system without exchange: the one moment in which neither is there cannot be avoided
      std::string aside = temporaryPrefix(finalPath).string() + randomTail();
      bool moved = rename(finalPath.c_str(), aside.c_str()) == 0;
      if (rename(tempPath.c_str(), finalPath.c_str()) == 0) {
        std::error_code ignored;
        if (moved)
          fs::remove_all(aside, ignored);
        tempPath.clear();
        return syncPath(parentOf(finalPath), O_DIRECTORY);
      }
      if (moved)
        (void)rename(aside.c_str(), finalPath.c_str());
    }
    if (errno != ENOENT && errno != EEXIST && errno != ENOTEMPTY)
      return fileError("replace", finalPath);
  }
  return internalError("cannot move the finished folder to '" + finalPath + "'");
}
