//===- EpilogueOps.h - single ops of an epilogue on lanes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Kernel/LaneBuilder.h"
#include "vitrify/Kernel/VectorMath.h"

namespace vitrify {

/// Why this op of an epilogue cannot be put on lanes, or "". In large groups a vector of the body is a row of columns,
/// so only elementwise ops, broadcasts and reductions make sense.
std::string whyNotOnLanes(mlir::Operation *op, bool largeGroup);
/// The op on lanes, elementwise.
mlir::Value buildOnLanes(LaneBuilder &b, mlir::Operation *op, mlir::ValueRange operands, MathMode mode);
/// Element `component` of a constant (or the scalar) as a splat.
mlir::Value buildConstantLanes(LaneBuilder &b, mlir::Attribute value, unsigned component);
mlir::Value combineLanes(LaneBuilder &b, mlir::vector::CombiningKind kind, mlir::Value x, mlir::Value y);
mlir::Value neutralLanes(LaneBuilder &b, mlir::vector::CombiningKind kind);
/// All lanes combined, as a splat.
mlir::Value reduceLanes(LaneBuilder &b, mlir::vector::CombiningKind kind, mlir::Value lanes);
/// True when the index is known to be a multiple of `lanes`.
bool alignedToLanes(mlir::Value index, unsigned lanes);

} // namespace vitrify
