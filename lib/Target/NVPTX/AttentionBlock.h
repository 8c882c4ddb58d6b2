//===- AttentionBlock.h - a block of attention: its rows, and their way to shared memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What every attention kernel does before it computes: it finds the segment and the rows that a block is for, and copies
// queries, keys and values as rows that ldmatrix reads without bank conflicts.
//===----------------------------------------------------------------------===//
#pragma once

#include "AttentionMmaSync.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

namespace vitrify::nvptx {

class AttentionBlock {
public:
  AttentionBlock(GpuBuilder &g, vit::AttentionOp op, const AttentionTile &tile, const Arguments &args, ValueRange scalars,
                 ValueRange pointers)
      : g(g), op(op), t(tile), args(args), scalars(scalars), pointers(pointers) {}

protected:
  /// Sets everything below.
  void begin();
  void copyTile(Value target, unsigned operand, Value tile, Value count, int rows);
  /// Copies the block's queries into the last stage.
  void copyQuery();
  Value stageAt(int64_t stage) { return g.gep(shared, stage * t.stageBytes()); }

  template <typename Body> void when(Value condition, Body body) {
    auto ifOp = g.create<mlir::scf::IfOp>(condition, /*withElseRegion=*/false);
    mlir::OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(ifOp.thenBlock());
    body();
  }

  GpuBuilder &g;
  vit::AttentionOp op;
  const AttentionTile &t;
  const Arguments &args;
  ValueRange scalars, pointers;

  Value shared, tid, lane, warp;
  Value headIndex;
  Value queryFirst, queryCount, queryBlock; ///< rows of the segment, and the block's first row in it
  Value keyFirst, keyCount;
  Value outputFirst;                        ///< where the segment's results start (a probe's differ from its queries)
  llvm::SmallVector<Value> keyOffsets, valueOffsets; ///< of the lane's ldmatrix row, by 16 columns of the head
  Value lastOffset;                                  ///< of the last 8 columns

private:
  void findSegment();
  void findSegmentByTable();
  void prepareCopies();
  void copyRows(Value target, unsigned operand, Value firstRow, Value head, Value count, int rows);

  /// A chunk that this thread copies of any tile.
  struct Copy {
    Value row, column, target; ///< row of the tile, bytes in it, bytes in shared memory
    int further;               ///< rows to add to all of them
  };
  llvm::SmallVector<Copy> copies;
};

} // namespace vitrify::nvptx
