//===- DType.h - element types of tensors -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The element types of files, weights, plans and arguments, and checked sizes.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vitrify {

/// Element types. Plans and weights use the first nine; the others occur in checkpoints only.
enum class DType : uint8_t {
  F32, F16, BF16, F8E4M3, F4E2M1, I8, U8, I32, I64,
  F64, F8E5M2, F8E8M0, F6E2M3, F6E3M2, Bool, I16, U16, U32, U64, C64,
};

/// The name that safetensors uses: "F32", "F16", "BF16", "F8_E4M3", "F4", "I8", "U8", "I32", "I64", "F64", "F8_E5M2",
/// "F8_E8M0", "F6_E2M3", "F6_E3M2", "BOOL", "I16", "U16", "U32", "U64", "C64".
std::string_view dtypeName(DType type);
/// The type of that name; the error names the unknown one.
StatusOr<DType> parseDType(std::string_view name);
/// Bits of one element: 4 for F4E2M1, 6 for the F6 types.
unsigned dtypeBits(DType type);
/// True for the types that plans and bundles may hold (the first nine).
inline bool isPlanDType(DType type) { return type <= DType::I64; }
/// True for floating-point types.
bool isFloat(DType type);

/// Number of elements; an error on a negative dimension or overflow.
StatusOr<int64_t> elementCount(std::span<const int64_t> shape);
/// Bytes of a dense row-major tensor; an error on overflow or when a sub-byte tensor does not fill whole bytes.
StatusOr<int64_t> tensorBytes(DType type, std::span<const int64_t> shape);
/// "[2, 3]".
std::string shapeString(std::span<const int64_t> shape);

} // namespace vitrify
