//===- File.h - mapped files and atomic replacement -------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Reading files (mapped, or by position) and writing them so that a reader sees
// the old content, or all of the new, and never a half of it.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace vitrify {

/// A regular file opened and mapped for reading. Move-only; safe to read from several threads.
class MappedFile {
public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;

  /// Opens and maps. Not found, not a regular file and no permission have their own messages.
  static StatusOr<MappedFile> open(const std::string &path, bool followLinks = true);

  std::span<const std::byte> bytes() const { return {data, length}; }
  uint64_t size() const { return length; }
  const std::string &path() const { return name; }
  /// Copies bytes [offset, offset + out.size()) without touching the mapping; an error if the file ends before.
  Status read(uint64_t offset, std::span<std::byte> out) const;
  /// Starts reading this range into memory in the background.
  void prefetch(uint64_t offset, uint64_t bytes) const;
  /// Brings this range into memory and waits for it: an error if the file ends before by now, which would end the process
  /// that touched the mapping. (A kernel before 5.14 only looks at the file's size.)
  Status populate(uint64_t offset, uint64_t bytes) const;
  /// Gives the pages of this range back; they are read again when touched.
  void release(uint64_t offset, uint64_t bytes) const;
  /// The descriptor, owned by this object.
  int descriptor() const { return fd; }

private:
  std::string name;
  int fd = -1;
  const std::byte *data = nullptr;
  uint64_t length = 0;
};

/// The whole of a file, refused when it is larger than `maxBytes`.
StatusOr<std::string> readFile(const std::string &path, uint64_t maxBytes = uint64_t(1) << 31);

/// Whether what was committed must survive a loss of power: Durable waits until the disk has it.
enum class Durability : uint8_t { Durable, Volatile };

/// A file that appears under its name only when committed. Removed when destroyed without commit.
class AtomicFile {
public:
  AtomicFile() = default;
  ~AtomicFile();
  AtomicFile(AtomicFile &&other) noexcept;
  AtomicFile &operator=(AtomicFile &&other) noexcept;

  /// Opens a new file beside `path` under another name; parent must exist.
  static StatusOr<AtomicFile> create(const std::string &path);
  /// Appends. No space is a ResourceExhausted error that says the bytes needed and free.
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  /// Writes at a position at or before the end of what was written.
  Status writeAt(uint64_t offset, std::span<const std::byte> bytes);
  /// Reads back what was written.
  Status readAt(uint64_t offset, std::span<std::byte> out) const;
  /// Cuts the file to `size` bytes; the next write appends there.
  Status truncate(uint64_t size);
  uint64_t size() const { return length; }
  /// Renames onto the final path, replacing a file of that name.
  Status commit(Durability durability = Durability::Durable);

private:
  std::string finalPath, tempPath;
  int fd = -1;
  uint64_t length = 0;
};

/// AtomicFile in one call.
Status writeFileAtomically(const std::string &path, std::string_view text);

/// A folder that appears, or replaces the one of its name, only when committed. Removed when destroyed without commit.
/// Two writers of one path do not disturb each other: the last to commit wins whole. What killed writers left behind is
/// swept by the next one.
class AtomicDirectory {
public:
  AtomicDirectory() = default;
  ~AtomicDirectory();
  AtomicDirectory(AtomicDirectory &&other) noexcept;
  AtomicDirectory &operator=(AtomicDirectory &&other) noexcept;

  static StatusOr<AtomicDirectory> create(const std::string &path);
  /// Where to write until commit.
  const std::string &path() const { return tempPath; }
  /// Everything in the folder is on disk before it gets its name: files in it may be committed volatile.
  Status commit();

private:
  std::string finalPath, tempPath;
  int lockFd = -1;
};

/// True when `relative` stays below the folder it is joined to: not empty, not absolute, no empty, "." or ".." part,
/// no backslash, colon or control character.
bool isSafeRelativePath(std::string_view relative);

} // namespace vitrify
