//===- SafeTensorsWriter.cpp - writing .safetensors files ----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Json.h"
#include "vitrify/Weights/SafeTensors.h"

#include <algorithm>
#include <cstring>

using namespace vitrify;

namespace {
/// The data starts at a multiple of this, so that alignments within the data are alignments within the file.
constexpr uint64_t kDataAlignment = 4096;

uint64_t roundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

std::string quoted(const std::string &text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }
} // namespace

uint64_t SafeTensorsWriter::headerBytes(std::span<const std::pair<std::string, size_t>> namesAndRanks,
                                        uint64_t metadataBytes) {
  // Numbers have at most 20 digits; each tensor may have a padding before it.
  uint64_t bytes = 64 + 6 * metadataBytes;
  for (const auto &[name, rank] : namesAndRanks)
    bytes += quoted(name).size() + 2 * 96 + 22 * (rank + 5);
  return bytes;
}

StatusOr<SafeTensorsWriter> SafeTensorsWriter::create(const std::string &path, uint64_t maxHeaderBytes) {
  SafeTensorsWriter writer;
  VITRIFY_ASSIGN_OR_RETURN(writer.file, AtomicFile::create(path));
  writer.dataBegin = roundUp(8 + maxHeaderBytes, kDataAlignment);
  std::vector<std::byte> spaces(writer.dataBegin, std::byte{' '});
  VITRIFY_RETURN_IF_ERROR(writer.file.write(spaces));
  return writer;
}

Status SafeTensorsWriter::begin(const std::string &name, DType dtype, std::vector<int64_t> shape, uint64_t alignment) {
  if (open)
    return internalError("tensor '" + name + "' was begun before '" + open->name + "' ended");
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > kDataAlignment)
    return invalidArgument("alignment " + std::to_string(alignment) + ", expected a power of two up to " +
                           std::to_string(kDataAlignment));
  if (name == "__metadata__" || name.rfind("__pad.", 0) == 0)
    return invalidArgument("'" + name + "' is no name for a tensor");
  VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(dtype, shape));
  beforeOpen = file.size();
  uint64_t start = roundUp(beforeOpen, alignment);
  if (start != beforeOpen) {
    std::vector<std::byte> zeros(start - beforeOpen);
    VITRIFY_RETURN_IF_ERROR(file.write(zeros));
    tensors.push_back({"__pad." + std::to_string(pads++), DType::U8, {static_cast<int64_t>(zeros.size())}, beforeOpen,
                       start});
  }
  open = TensorInfo{name, dtype, std::move(shape), start, start + static_cast<uint64_t>(bytes)};
  return {};
}

Status SafeTensorsWriter::write(std::span<const std::byte> bytes) {
  if (!open || bytes.size() > open->end - file.size())
    return internalError(open ? "too many bytes for tensor '" + open->name + "'" : "no tensor was begun");
  return file.write(bytes);
}

Status SafeTensorsWriter::end() {
  if (!open || file.size() != open->end)
    return internalError(open ? "tensor '" + open->name + "' lacks " + std::to_string(open->end - file.size()) + " bytes"
                              : "no tensor was begun");
  tensors.push_back(std::move(*open));
  open.reset();
  return {};
}

Status SafeTensorsWriter::discard() {
  if (!open)
    return internalError("no tensor was begun");
  VITRIFY_RETURN_IF_ERROR(file.truncate(beforeOpen));
  if (open->begin != beforeOpen) {
    tensors.pop_back();
    --pads;
  }
  open.reset();
  return {};
}

Status SafeTensorsWriter::finish(const std::map<std::string, std::string> &metadata) {
  if (open)
    return internalError("tensor '" + open->name + "' was not ended");
  std::string header = "{";
  if (!metadata.empty())
    header += "\"__metadata__\":" +
              Json(metadata).dump(-1, ' ', false, Json::error_handler_t::replace) + (tensors.empty() ? "" : ",");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo &tensor = tensors[i];
    Json entry = {{"dtype", dtypeName(tensor.dtype)},
                  {"shape", tensor.shape},
                  {"data_offsets", {tensor.begin - dataBegin, tensor.end - dataBegin}}};
    header += (i ? "," : "") + quoted(tensor.name) + ":" + entry.dump();
  }
  header += "}";
  uint64_t room = dataBegin - 8;
  if (header.size() > room)
    return internalError("safetensors header of " + std::to_string(header.size()) + " bytes does not fit the " +
                         std::to_string(room) + " kept for it");
  header.resize(room, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    length[i] = static_cast<char>(room >> (8 * i) & 0xff);
  header.insert(0, length);
  VITRIFY_RETURN_IF_ERROR(file.writeAt(0, std::as_bytes(std::span(header))));
  return file.commit();
}
