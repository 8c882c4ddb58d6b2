//===- Epilogue.h - epilogue regions on the registers of a GPU thread -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A thread of a linear holds runs of consecutive columns of a row. `emitColumns` evaluates an epilogue for one run:
// operands that vary by column are loaded as vectors, the region is cloned for every column (or pair, for group 2),
// and results are stored as vectors, narrowed two at a time because cvt to E4M3 takes pairs.
//===----------------------------------------------------------------------===//
#pragma once

#include "EpilogueGelu.h"
#include "GpuBuilder.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"

namespace vitrify::nvptx {

/// Where a kernel finds one operand of an epilogue or puts one result.
struct EpilogueOperand {
  Value pointer;                ///< !llvm.ptr<1>
  mlir::Type element;           ///< element type in memory; f8E4M3FN is a byte
  mlir::AffineMap map;          ///< (m, n) -> () | (n) | (m) | (m, n) | (m, n floordiv g); results: unset
  int64_t rowStride = 0;        ///< elements from one row to the next, for maps that use m and n, and for results
};

/// What an epilogue costs for one element of the accumulator, estimated from its ops.
struct EpilogueCost {
  double instructions = 0; ///< of a thread
  double mufu = 0;         ///< of them special functions
  double bytes = 0;        ///< read and written for this element alone
};
EpilogueCost epilogueCost(vit::EpilogueOpInterface op, mlir::TypeRange results);

class EpilogueEmitter {
public:
  /// `columns` is N of the accumulator. A run is `width` columns whose first is a multiple of `width`.
  EpilogueEmitter(GpuBuilder &g, mlir::Region &region, uint64_t group, llvm::SmallVector<EpilogueOperand> ins,
                  llvm::SmallVector<EpilogueOperand> results, int64_t columns, unsigned width);

  /// Loads what depends on the column alone, for the run that starts at column `n` (i32).
  void beginColumns(Value n);
  /// Evaluates and stores the run of `accumulators` (f32) at row `m` (i32) of the columns last begun. The caller has
  /// checked m; columns past N are masked here.
  void emitRow(Value m, llvm::ArrayRef<Value> accumulators);

  /// The same in two parts, so that loads of many rows are under way together: what the run needs of operands that vary by row, as it lies
  /// in memory (the caller gives a row that exists), and the rest, which stores where `exists` holds.
  struct RowOperands {
    llvm::SmallVector<llvm::SmallVector<Value>> raw;  ///< by operand: vectors of memory, or f32 values already
    llvm::SmallVector<bool> vectors;
  };
  RowOperands loadRow(Value m);
  void emitLoadedRow(Value m, Value exists, llvm::ArrayRef<Value> accumulators, const RowOperands &operands);
  /// Registers that the operands of a run take until it is evaluated; 0 when no operand varies by row.
  unsigned rowRegisters() const;

  /// Stores a run of one result as it is, where its columns exist.
  void storeResult(unsigned result, Value m, llvm::ArrayRef<Value> values);

  /// The run of an operand at column `n` (and row `m` if its map uses it), in f32. Columns past N repeat columns inside.
  llvm::SmallVector<Value> loadRun(const EpilogueOperand &in, Value m, Value n);

private:
  /// Vectors of memory that make up a run, or nothing where it is not loaded so.
  llvm::SmallVector<Value> loadVectors(const EpilogueOperand &in, Value m, Value n);
  bool hasVectors(const EpilogueOperand &in) const;
  llvm::SmallVector<Value> evaluate(llvm::ArrayRef<Value> accumulators, llvm::ArrayRef<llvm::SmallVector<Value>> ins);
  void storeRun(const EpilogueOperand &out, Value m, llvm::ArrayRef<Value> values);

  GpuBuilder &g;
  mlir::Region &region;
  uint64_t group;
  llvm::SmallVector<EpilogueOperand> ins, results;
  int64_t columns;
  unsigned width;
  bool wholeRuns; ///< N is a multiple of `width`: a run is inside or outside as a whole
  Value firstColumn;
  std::optional<ScaledGelu> gelu;              ///< of the region, in its short form
  llvm::SmallVector<Value> geluCoefficients, geluFactor, geluBias; ///< the latter two for this run, times the scale
  mlir::Block *coefficientsIn = nullptr;       ///< where they were computed: good for what comes later there
  llvm::SmallVector<llvm::SmallVector<Value>> columnIns; ///< by operand: its values for this run, empty when they depend on m
};

/// `vit.act` on an f32 register, in arith and approximate instructions of the chip. GELU (erf) is within
/// 1.5e-5 of the erf form for any x; tanh forms use tanh.approx.
Value emitActivation(GpuBuilder &g, vit::ActKind kind, Value x);

} // namespace vitrify::nvptx
