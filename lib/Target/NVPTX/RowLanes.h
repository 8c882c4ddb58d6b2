//===- RowLanes.h - the columns of a row, spread over threads -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Row kernels keep a whole row in registers: each thread has some runs of eight columns. A row is a power of two of
// lanes of a warp, or a whole block. What happens to all columns happens to the thread's own; reductions go over lanes by
// shuffles and over warps through shared memory, in one order.
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"

namespace vitrify::nvptx {

/// How rows of `width` columns are spread.
struct RowShape {
  static constexpr int kRun = 8, kBlock = 128, kRunsOfThread = 4;
  int64_t width = 0;

  int64_t runs() const { return (width + kRun - 1) / kRun; }
  /// Threads of a row: 1 to 32, or a block of 128 to 1,024.
  int threads() const;
  int perThread() const { return (runs() + threads() - 1) / threads(); } ///< runs
  int block() const { return std::max(threads(), kBlock); }
  int rowsOfBlock() const { return block() / threads(); }
  /// Bytes of shared memory for so many reductions.
  int64_t sharedBytes(unsigned reductions) const { return threads() > 32 ? reductions * 32 * 4 : 0; }
};

enum class Fold { Sum, Maximum, Minimum };

class RowLanes {
public:
  RowLanes(GpuBuilder &g, RowShape shape);

  Value rowInBlock;                  ///< which row of the block this thread works on
  Value leader;                      ///< whether this thread is the first of its row
  llvm::SmallVector<Value> firsts;   ///< first column of each run of this thread
  /// Whether column firsts[run] + i exists; null when it does for sure.
  Value inside(int64_t run, int i);
  /// Whether run `run` has a first column; null when it does for sure.
  Value insideRun(int64_t run) { return inside(run, 0); }

  /// Folds values, kRun a run, over all columns of the row. Every thread gets the result.
  Value fold(Fold kind, llvm::ArrayRef<Value> values);
  /// How many folds there were.
  unsigned folds = 0;

private:
  Value combine(Fold kind, Value x, Value y);

  GpuBuilder &g;
  RowShape shape;
  Value tid;
};

/// Evaluates an epilogue over whole rows (group = D) and stores its results.
class RowBody {
public:
  /// Why the region cannot be evaluated, or "". Also for an op whose group is not D.
  static std::string whyUnsupported(vit::EpilogueOpInterface op);
  /// Reductions in the body.
  static unsigned reductions(vit::EpilogueOpInterface op);

  RowBody(GpuBuilder &g, RowLanes &lanes, vit::EpilogueOpInterface op, llvm::SmallVector<EpilogueOperand> ins,
          llvm::SmallVector<EpilogueOperand> results, int64_t columns);
  /// `values` are the accumulators of row `m`, kRun a run; stores where `exists`.
  void emit(Value m, Value exists, llvm::ArrayRef<Value> values);

private:
  using Values = llvm::SmallVector<Value>; ///< one for a scalar, else kRun a run
  Values evaluate(mlir::Operation *op, llvm::DenseMap<Value, Values> &known);

  GpuBuilder &g;
  RowLanes &lanes;
  vit::EpilogueOpInterface op;
  llvm::SmallVector<EpilogueOperand> ins, results;
  int64_t columns;
};

} // namespace vitrify::nvptx
