//===- Value.h - a tensor of the reference interpreter ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Values are held wide and always lie on the grid of their element type: floats
// (E4M3 and E2M1 codes by their value) as f32, integers as i64.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ElementTypes.h"
#include "vitrify/Support/Npy.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

#include <vector>

namespace vitrify::vit {

/// A dense row-major tensor; `floats` or `ints` holds its elements, by the kind of `dtype`.
struct RefTensor {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::vector<float> floats;
  std::vector<int64_t> ints;

  RefTensor() = default;
  /// Zeros.
  RefTensor(DType dtype, std::vector<int64_t> shape);

  bool isFloatKind() const { return isFloat(dtype); }
  int64_t elements() const;
  /// Sizes of a matrix, or of a vector as one row.
  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
};

/// Nearest value of `dtype`, ties to even; E4M3 saturates, and keeps NaN.
float roundTo(DType dtype, float value);
/// The tensor with every element rounded to a float type.
RefTensor roundTo(DType dtype, RefTensor tensor);

/// Elements of a constant.
mlir::FailureOr<RefTensor> fromAttribute(mlir::ElementsAttr attribute);
/// From stored bytes (of a checkpoint or an npy file). F64 is rounded to F32.
StatusOr<RefTensor> fromBytes(DType dtype, std::span<const int64_t> shape, std::span<const std::byte> bytes);
/// As npy holds it: floats as f32, I32 and I8 as they are.
NpyArray toNpy(const RefTensor &tensor);

} // namespace vitrify::vit
