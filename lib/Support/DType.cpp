//===- DType.cpp - element types of tensors ------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/DType.h"

#include <array>

using namespace vitrify;

namespace {
struct Row {
  DType type;
  std::string_view name;
  unsigned bits;
  bool isFloat;
};
constexpr std::array<Row, 20> kTypes = {{
    {DType::F32, "F32", 32, true},        {DType::F16, "F16", 16, true},       {DType::BF16, "BF16", 16, true},
    {DType::F8E4M3, "F8_E4M3", 8, true},  {DType::F4E2M1, "F4", 4, true},      {DType::I8, "I8", 8, false},
    {DType::U8, "U8", 8, false},          {DType::I32, "I32", 32, false},      {DType::I64, "I64", 64, false},
    {DType::F64, "F64", 64, true},        {DType::F8E5M2, "F8_E5M2", 8, true}, {DType::F8E8M0, "F8_E8M0", 8, true},
    {DType::F6E2M3, "F6_E2M3", 6, true},  {DType::F6E3M2, "F6_E3M2", 6, true}, {DType::Bool, "BOOL", 8, false},
    {DType::I16, "I16", 16, false},       {DType::U16, "U16", 16, false},      {DType::U32, "U32", 32, false},
    {DType::U64, "U64", 64, false},       {DType::C64, "C64", 64, false},
}};
} // namespace

std::string_view vitrify::dtypeName(DType type) { return kTypes[static_cast<size_t>(type)].name; }

StatusOr<DType> vitrify::parseDType(std::string_view name) {
  for (const Row &row : kTypes)
    if (row.name == name)
      return row.type;
  return invalidArgument("unknown element type '" + std::string(name.substr(0, 32)) + "'");
}

unsigned vitrify::dtypeBits(DType type) { return kTypes[static_cast<size_t>(type)].bits; }

bool vitrify::isFloat(DType type) { return kTypes[static_cast<size_t>(type)].isFloat; }

StatusOr<int64_t> vitrify::elementCount(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (int64_t dim : shape) {
    if (dim < 0)
      return invalidArgument("negative dimension in shape " + shapeString(shape));
    if (__builtin_mul_overflow(count, dim, &count))
      return invalidArgument("shape " + shapeString(shape) + " has more than 2^63 elements");
  }
  return count;
}

StatusOr<int64_t> vitrify::tensorBytes(DType type, std::span<const int64_t> shape) {
  VITRIFY_ASSIGN_OR_RETURN(int64_t count, elementCount(shape));
  int64_t bits = 0;
  if (__builtin_mul_overflow(count, static_cast<int64_t>(dtypeBits(type)), &bits))
    return invalidArgument("tensor of " + std::string(dtypeName(type)) + " " + shapeString(shape) +
                           " is larger than 2^60 bytes");
  if (bits % 8 != 0)
    return invalidArgument("tensor of " + std::string(dtypeName(type)) + " " + shapeString(shape) +
                           " does not fill whole bytes");
  return bits / 8;
}

std::string vitrify::shapeString(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}
