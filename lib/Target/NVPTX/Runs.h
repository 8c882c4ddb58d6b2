//===- Runs.h - kernels of one run of columns a thread -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What elementwise ops and row copies have in common: a thread computes eight consecutive columns of a row of the result.
//===----------------------------------------------------------------------===//
#pragma once

#include "Family.h"

namespace vitrify::nvptx {

inline constexpr int kRun = 8, kRunThreads = 128;

inline mlir::RankedTensorType resultType(mlir::Operation *op) { return mlir::cast<mlir::RankedTensorType>(op->getResult(0).getType()); }

/// Columns of the result: its last dimension.
inline int64_t resultColumns(mlir::Operation *op) { return resultType(op).getShape().back(); }

/// Grid and names of these kernels. Scalar 0 is the rows of the result; with rank 3 rows are its first two dimensions, and
/// scalars 0 and 1.
KernelSpec runSpec(mlir::Operation *op, const TargetRow &row, const Arguments &args, const std::string &name);

/// Calls `body(row, first column)` for the thread's run, where it exists. `scalars` are those of runSpec.
void forRun(GpuBuilder &g, mlir::Operation *op, ValueRange scalars, llvm::function_ref<void(Value, Value)> body);

/// Operand `number` of the op, addressed by row, column or both.
EpilogueOperand operandOf(mlir::Operation *op, unsigned number, const Arguments &args, ValueRange pointers, bool row, bool column);

/// Element `at` (i32) of an operand of i32.
Value indexAt(GpuBuilder &g, Value pointer, Value at);

/// An index of the caller's (i32) as one below `size`: a wrong one gives a wrong row, never an access out of bounds.
Value clampedTo(GpuBuilder &g, Value index, Value size);

/// First row and end of segment `number` (i32) of a pooling.
std::pair<Value, Value> segmentAt(GpuBuilder &g, vit::PoolOp op, const Arguments &args, ValueRange pointers, Value number);

/// The last segment s of `segments` (i32) with table[s] + s * extra <= row: the one that the row lies in.
Value segmentOf(GpuBuilder &g, Value table, Value segments, Value row, int64_t extra);

} // namespace vitrify::nvptx
