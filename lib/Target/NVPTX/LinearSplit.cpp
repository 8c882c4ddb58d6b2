//===- LinearSplit.cpp - adds the parts of a linear whose K was split -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The order of the sum is fixed by the number of parts, so results are equal from run to run.
//===----------------------------------------------------------------------===//
#include "LinearSplit.h"
#include "LinearMmaSync.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify::nvptx;

Value vitrify::nvptx::partOffset(GpuBuilder &g, Value rows, int64_t columns, Value part) {
  return g.mul(g.mul(rows, columns * 4), g.zext64(part));
}

void vitrify::nvptx::emitLinearReduce(GpuBuilder &g, int split, int64_t columns, Value rows64, Value parts,
                                      EpilogueEmitter &epilogue) {
  int64_t runsOfRow = (columns + kLinearRun - 1) / kLinearRun;
  Value rows = g.trunc32(rows64);
  Value thread = g.add(g.mul(g.blockX(), kReduceThreads), g.threadX());
  Value row = g.div(thread, runsOfRow), column = g.mul(g.rem(thread, runsOfRow), kLinearRun);
  auto ifOp = g.create<scf::IfOp>(g.slt(row, rows), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  AffineMap elements = AffineMap::getMultiDimIdentityMap(2, g.b.getContext());
  SmallVector<Value> sums;
  for (int part = 0; part < split; ++part) {
    EpilogueOperand in{g.gep(parts, partOffset(g, rows64, columns, g.c32(part))), g.f32(), elements, columns};
    SmallVector<Value> run = epilogue.loadRun(in, row, column);
    for (unsigned i = 0; i < kLinearRun; ++i)
      part == 0 ? sums.push_back(run[i]) : void(sums[i] = g.fadd(sums[i], run[i]));
  }
  epilogue.beginColumns(column);
  epilogue.emitRow(row, sums);
}
