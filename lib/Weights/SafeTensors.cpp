//===- SafeTensors.cpp - reading .safetensors files ----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/SafeTensors.h"

#include "vitrify/Support/Json.h"

#include <algorithm>
#include <tuple>

using namespace vitrify;

namespace {
/// As in the format's reference implementation.
constexpr uint64_t kMaxHeader = 100'000'000;

StatusOr<TensorInfo> parseTensor(const JsonCursor &json, const std::string &name, uint64_t dataBegin,
                                 uint64_t dataBytes) {
  VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"dtype", "shape", "data_offsets"}));
  TensorInfo tensor;
  tensor.name = name;
  VITRIFY_ASSIGN_OR_RETURN(std::string dtype, json.string("dtype"));
  auto type = parseDType(dtype);
  if (!type.ok())
    return json.fail(type.status().message());
  tensor.dtype = *type;
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor shape, json.at("shape"));
  VITRIFY_ASSIGN_OR_RETURN(size_t rank, shape.arraySize());
  for (size_t i = 0; i < rank; ++i) {
    VITRIFY_ASSIGN_OR_RETURN(int64_t dim, shape[i].asInteger(0));
    tensor.shape.push_back(dim);
  }
  auto bytes = tensorBytes(tensor.dtype, tensor.shape);
  if (!bytes.ok())
    return json.fail(bytes.status().message());
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor offsets, json.at("data_offsets"));
  VITRIFY_ASSIGN_OR_RETURN(size_t count, offsets.arraySize());
  if (count != 2)
    return offsets.error("[begin, end]");
  int64_t limit = static_cast<int64_t>(std::min<uint64_t>(dataBytes, INT64_MAX));
  VITRIFY_ASSIGN_OR_RETURN(int64_t begin, offsets[0].asInteger(0, limit));
  VITRIFY_ASSIGN_OR_RETURN(int64_t end, offsets[1].asInteger(begin, limit));
  if (end - begin != *bytes)
    return json.fail("has " + std::to_string(end - begin) + " bytes, expected " + std::to_string(*bytes) + " for " +
                     dtype + " " + shapeString(tensor.shape));
  tensor.begin = dataBegin + static_cast<uint64_t>(begin);
  tensor.end = dataBegin + static_cast<uint64_t>(end);
  return tensor;
}

bool isPadding(const TensorInfo &tensor) {
  return tensor.name.rfind("__pad.", 0) == 0 && tensor.dtype == DType::U8 && tensor.shape.size() == 1;
}
} // namespace

StatusOr<SafeTensorsHeader> vitrify::parseSafeTensorsHeader(std::span<const std::byte> prefix, uint64_t fileSize) {
  if (fileSize < 8 || prefix.size() < 8)
    return dataLoss("file of " + std::to_string(fileSize) + " bytes is too short for a safetensors header");
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i)
    length |= static_cast<uint64_t>(prefix[i]) << (8 * i);
  if (length > kMaxHeader)
    return dataLoss("safetensors header of " + std::to_string(length) + " bytes, at most " +
                    std::to_string(kMaxHeader) + " are allowed");
  if (length > fileSize - 8 || length > prefix.size() - 8)
    return dataLoss("safetensors header of " + std::to_string(length) + " bytes is longer than the file of " +
                    std::to_string(fileSize));
  SafeTensorsHeader header;
  header.dataBegin = 8 + length;
  header.digest = sha256(prefix.first(8 + length));
  std::string_view text(reinterpret_cast<const char *>(prefix.data()) + 8, length);
  if (text.empty() || text[0] != '{')
    return dataLoss("safetensors header does not start with '{'");
  auto document = parseJson(text, 8);
  if (!document.ok())
    return document.status().prefixed("safetensors header");
  JsonCursor root(*document, "");
  for (const auto &[key, value] : document->items()) {
    JsonCursor member(value, "'" + key.substr(0, 120) + "'");
    if (key != "__metadata__") {
      VITRIFY_ASSIGN_OR_RETURN(TensorInfo tensor,
                               parseTensor(member, key, header.dataBegin, fileSize - header.dataBegin));
      header.tensors.push_back(std::move(tensor));
      continue;
    }
    VITRIFY_RETURN_IF_ERROR(member.expectObject());
    for (const auto &[name, text] : value.items()) {
      VITRIFY_ASSIGN_OR_RETURN(header.metadata[name], JsonCursor(text, "__metadata__." + name).asString());
    }
  }
  auto before = [](const TensorInfo &a, const TensorInfo &b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  };
  std::sort(header.tensors.begin(), header.tensors.end(), before);
  uint64_t at = header.dataBegin;
  const TensorInfo *last = nullptr;
  for (const TensorInfo &tensor : header.tensors) {
    if (tensor.begin < at)
      return dataLoss("tensors '" + last->name + "' and '" + tensor.name + "' overlap at byte " +
                      std::to_string(tensor.begin));
    if (tensor.begin > at)
      return dataLoss("bytes " + std::to_string(at) + " to " + std::to_string(tensor.begin) +
                      " belong to no tensor, before '" + tensor.name + "'");
    at = tensor.end;
    last = &tensor;
  }
  if (at != fileSize)
    return dataLoss("tensors end at byte " + std::to_string(at) + ", the file has " + std::to_string(fileSize));
  std::erase_if(header.tensors, isPadding);
  return header;
}

StatusOr<SafeTensorsFile> SafeTensorsFile::open(const std::string &path, bool followLinks) {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path, followLinks));
  return fromMapped(std::move(file));
}

StatusOr<SafeTensorsFile> SafeTensorsFile::fromMapped(MappedFile file) {
  SafeTensorsFile result;
  result.file = std::move(file);
  auto header = parseSafeTensorsHeader(result.file.bytes(), result.file.size());
  if (!header.ok())
    return header.status().prefixed("'" + result.path() + "'");
  result.head = std::move(*header);
  for (size_t i = 0; i < result.head.tensors.size(); ++i)
    result.index.emplace(result.head.tensors[i].name, i);
  return result;
}

const TensorInfo *SafeTensorsFile::find(std::string_view name) const {
  auto it = index.find(std::string(name));
  return it == index.end() ? nullptr : &head.tensors[it->second];
}

std::span<const std::byte> SafeTensorsFile::data(const TensorInfo &tensor) const {
  return file.bytes().subspan(tensor.begin, tensor.bytes());
}
