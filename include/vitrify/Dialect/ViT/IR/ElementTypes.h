//===- ElementTypes.h - element types of MLIR and of files ------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The one place that says which element type of the dialect is which type of plans, weights and bundles.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/DType.h"

#include "mlir/IR/BuiltinTypes.h"

#include <optional>

namespace vitrify {

/// The element type as a DType; nothing for a type that no tensor of the dialect has. An index is I64.
inline std::optional<DType> dtypeOf(mlir::Type element) {
  if (element.isF32())
    return DType::F32;
  if (element.isF16())
    return DType::F16;
  if (element.isBF16())
    return DType::BF16;
  if (mlir::isa<mlir::Float8E4M3FNType>(element))
    return DType::F8E4M3;
  if (mlir::isa<mlir::Float4E2M1FNType>(element))
    return DType::F4E2M1;
  if (element.isUnsignedInteger(8))
    return DType::U8;
  if (element.isInteger(8))
    return DType::I8;
  if (element.isInteger(32))
    return DType::I32;
  if (element.isIndex())
    return DType::I64;
  return std::nullopt;
}

} // namespace vitrify
