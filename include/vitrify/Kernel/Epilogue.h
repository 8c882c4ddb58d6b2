//===- Epilogue.h - clones an epilogue region onto lanes --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// An epilogue region says what happens to one element (group 1) or one group of G columns of an accumulator row. Here
// it is cloned onto vectors of lanes in one of three forms:
//   group 1        a lane is an element;
//   small groups   (G <= 8) a lane is a group: a vector<G> of the body is G vectors of lanes;
//   large groups   a lane is an element of one group: reductions of the body become loops over the group's columns,
//                  everything between them is evaluated again where it is needed.
// An op without a region behaves as if it had one that yields the accumulator.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Kernel/LaneBuilder.h"
#include "vitrify/Kernel/VectorMath.h"

#include <string>

namespace vitrify {

/// How an operand of an epilogue is addressed from (m, n).
enum class OperandMap : uint8_t { Scalar, Column, Row, Element, Block };

/// Classifies a map of `vit` epilogues; `block` is g of (m, n floordiv g).
OperandMap classifyMap(mlir::AffineMap map, int64_t &block);

class EpilogueEmitter {
public:
  /// f32 lanes of the accumulator at columns [column, column + valid) of the row that is being emitted.
  using LoadAccumulator = llvm::function_ref<mlir::Value(mlir::Value column, unsigned valid)>;

  /// `ins` and `outs` are memrefs: an operand of map () or (n) has rank 1, of (m) rank 1, others and results rank 2.
  EpilogueEmitter(LaneBuilder &b, mlir::Operation *op, mlir::ArrayRef<mlir::Value> ins, mlir::ArrayRef<mlir::Value> outs);

  /// Why the region of `op` cannot be cloned when at most `span` consecutive columns of a row are at hand, or "".
  static std::string whyUnsupported(mlir::Operation *op, int64_t span, unsigned lanes);
  /// How the math of this op is evaluated: as its results are stored (Fast when all in 16 bits or less, Code or Int8 when
  /// all as codes), and Near in f32 results of a sum over K.
  static MathMode mathMode(mlir::Operation *op);

  /// Applies the epilogue to columns [n, n + span) of row m and stores the results. n is a multiple of the group,
  /// which divides span.
  void emitSpan(mlir::Value m, mlir::Value n, int64_t span, LoadAccumulator load);
  /// Columns that must be emitted together.
  int64_t columnsAtOnce() const { return group; }

private:
  struct Components : llvm::SmallVector<mlir::Value, 2> {
    using SmallVector::SmallVector;
  };
  struct Position {
    mlir::Value row, column; ///< of the first lane
    unsigned valid;          ///< lanes that hold something
  };
  using Environment = llvm::DenseMap<mlir::Value, Components>;

  void emitElements(mlir::Value m, mlir::Value n, unsigned valid, mlir::Value accumulator);
  void emitSmallGroups(mlir::Value m, mlir::Value n, unsigned validGroups, LoadAccumulator load);
  void emitLargeGroup(mlir::Value m, mlir::Value n, LoadAccumulator load);

  mlir::Value loadOperand(unsigned i, const Position &at);
  Components evaluate(mlir::Operation *op, Environment &env, unsigned components);
  mlir::Value evaluateLanes(mlir::Operation *op, mlir::ValueRange operands);
  Components lookup(mlir::Value value, Environment &env, unsigned components);
  void storeResult(unsigned i, mlir::Value lanes, mlir::Type yielded, const Position &at);

  LaneBuilder &b;
  mlir::Block *body = nullptr; ///< null: the accumulator is the result
  mlir::SmallVector<mlir::Value> ins, outs;
  mlir::SmallVector<std::pair<OperandMap, int64_t>> maps;
  int64_t group = 1;
  MathMode mode;
};

} // namespace vitrify
