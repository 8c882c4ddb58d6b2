//===- TableMath.h - elementary functions by tables in registers -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Kernel/VectorMath.h"

namespace vitrify {

/// 2^x for x <= 0, within 2^-13 of it down to -126 and 2^-126 below. NaN stays NaN.
mlir::Value exp2ByTable(LaneBuilder &b, mlir::Value x);

/// x Phi(x) for results that are stored as `mode` says (none that ends as f32): of bf16 within 2^-12.7 of it, of codes
/// within 2^-15, and of codes of i8 within 2^-12.2.
mlir::Value geluErfByTable(LaneBuilder &b, mlir::Value x, MathMode mode);

} // namespace vitrify
