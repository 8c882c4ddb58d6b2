//===- SafeTensors.h - reading and writing .safetensors files ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A bounds-checked, mapped reader and a streaming writer of the safetensors format:
// 8 bytes of header length (little endian), a JSON header, then the tensors' bytes.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/ContentHash.h"
#include "vitrify/Support/DType.h"
#include "vitrify/Support/File.h"

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace vitrify {

/// One tensor of a file.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  uint64_t begin = 0; ///< first byte, counted from the start of the file
  uint64_t end = 0;   ///< one past its last byte
  uint64_t bytes() const { return end - begin; }
};

/// What the header of a file says. Tensors are sorted by position, padding tensors ("__pad.N") left out.
struct SafeTensorsHeader {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata; ///< "__metadata__"
  uint64_t dataBegin = 0;                      ///< first byte after the header
  Digest digest{};                             ///< SHA-256 of the length field and the header
};

/// Parses and checks the header at the start of a file of `fileSize` bytes. `prefix` holds the length field and the header.
/// Refused: truncation, a header longer than the file or 100 MiB, duplicate keys, unknown dtypes, sizes that do not match
/// dtype and shape, ranges outside the file, overlaps, holes, bytes after the last tensor.
StatusOr<SafeTensorsHeader> parseSafeTensorsHeader(std::span<const std::byte> prefix, uint64_t fileSize);

/// A mapped .safetensors file. Thread-safe once open.
class SafeTensorsFile {
public:
  static StatusOr<SafeTensorsFile> open(const std::string &path, bool followLinks = true);

  /// Parses the header of a file that is open already.
  static StatusOr<SafeTensorsFile> fromMapped(MappedFile file);

  const std::string &path() const { return file.path(); }
  const SafeTensorsHeader &header() const { return head; }
  const std::vector<TensorInfo> &tensors() const { return head.tensors; }
  /// The tensor of that name or null.
  const TensorInfo *find(std::string_view name) const;
  /// Mapped bytes of a tensor of this file.
  std::span<const std::byte> data(const TensorInfo &tensor) const;
  const MappedFile &mapped() const { return file; }

private:
  MappedFile file;
  SafeTensorsHeader head;
  std::unordered_map<std::string, size_t> index;
};

/// The files of a checkpoint folder: one `model.safetensors`, or several named by `model.safetensors.index.json`.
struct CheckpointFiles {
  std::vector<SafeTensorsFile> files;
  std::map<std::string, size_t> fileOfTensor; ///< tensor name to index in `files`
};
/// Opens a .safetensors file, an .index.json, or a folder that holds either. Refused: an index that names a file outside
/// its folder, a tensor that its file lacks, a tensor in two files, a tensor that the index does not name.
StatusOr<CheckpointFiles> openCheckpoint(const std::string &path);

/// Writes a file in one pass with little memory. The header has a fixed size, chosen at creation, and is filled in at the
/// end with spaces after the JSON (which the format allows); gaps for alignment become U8 tensors `__pad.N`.
class SafeTensorsWriter {
public:
  /// `maxHeaderBytes` must hold the JSON of all tensors; see headerBytes().
  static StatusOr<SafeTensorsWriter> create(const std::string &path, uint64_t maxHeaderBytes);
  /// An upper bound of the header's size for tensors of these names and ranks, paddings included.
  static uint64_t headerBytes(std::span<const std::pair<std::string, size_t>> namesAndRanks, uint64_t metadataBytes = 0);

  /// Starts a tensor at a multiple of `alignment` (a power of two, at most 4096).
  Status begin(const std::string &name, DType dtype, std::vector<int64_t> shape, uint64_t alignment = 64);
  /// The next bytes of the tensor that was begun.
  Status write(std::span<const std::byte> bytes);
  /// Ends it; an error when its bytes are not complete.
  Status end();
  /// Takes the tensor that was begun (and its padding) out again.
  Status discard();
  /// Where the tensor that was begun starts, and bytes of it written so far.
  const TensorInfo &current() const { return *open; }
  /// Reads back bytes already written, at a position in the file.
  Status readAt(uint64_t offset, std::span<std::byte> out) const { return file.readAt(offset, out); }
  uint64_t size() const { return file.size(); }

  /// Writes the header and renames the file onto its path.
  Status finish(const std::map<std::string, std::string> &metadata = {});

private:
  AtomicFile file;
  uint64_t dataBegin = 0;
  std::vector<TensorInfo> tensors; ///< with paddings
  std::optional<TensorInfo> open;
  uint64_t beforeOpen = 0; ///< size before the padding of `open`
  unsigned pads = 0;
};

} // namespace vitrify
