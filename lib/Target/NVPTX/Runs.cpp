//===- Runs.cpp - kernels of one run of columns a thread -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Runs.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

KernelSpec nvptx::runSpec(Operation *op, const TargetRow &row, const Arguments &args, const std::string &name) {
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.name = kernelName(name, spec.key);
  spec.precision = "f32";
  PlanExpr rows = PlanExpr::symbol(0);
  spec.scalars = {{true, 0, 0}};
  if (resultType(op).getRank() == 3) {
    spec.scalars.push_back({true, 0, 1});
    rows = PlanExpr::binary(PlanExpr::Kind::Mul, rows, PlanExpr::symbol(1));
  }
  spec.operands = args.operands;
  int64_t runs = llvm::divideCeil(resultColumns(op), kRun);
  PlanExpr all = PlanExpr::binary(PlanExpr::Kind::Mul, rows, PlanExpr(runs));
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, all, PlanExpr(kRunThreads));
  spec.block = kRunThreads;
  spec.dispatch = PlanExpr::symbol(0);
  return spec;
}

void nvptx::forRun(GpuBuilder &g, Operation *op, ValueRange scalars, llvm::function_ref<void(Value, Value)> body) {
  int64_t runs = llvm::divideCeil(resultColumns(op), kRun);
  Value rows = g.trunc32(scalars[0]);
  if (resultType(op).getRank() == 3)
    rows = g.mul(rows, g.trunc32(scalars[1]));
  Value index = g.add(g.mul(g.blockX(), kRunThreads), g.threadX());
  Value row = g.div(index, runs), run = g.rem(index, runs);
  auto ifOp = g.create<scf::IfOp>(g.slt(row, rows), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  body(row, g.mul(run, kRun));
}

static AffineMap mapOf(MLIRContext *context, bool row, bool column) {
  SmallVector<AffineExpr> results;
  if (row)
    results.push_back(getAffineDimExpr(0, context));
  if (column)
    results.push_back(getAffineDimExpr(1, context));
  return AffineMap::get(2, 0, results, context);
}

EpilogueOperand nvptx::operandOf(Operation *op, unsigned number, const Arguments &args, ValueRange pointers, bool row, bool column) {
  auto type = cast<RankedTensorType>(op->getOperand(number).getType());
  return {pointers[args.ofOperand[number]], type.getElementType(), mapOf(op->getContext(), row, column), args.rowStride[number]};
}

Value nvptx::indexAt(GpuBuilder &g, Value pointer, Value at) {
  return g.load(g.i32(), g.gep(pointer, g.mul(g.zext64(at), 4)), 4);
}

Value nvptx::clampedTo(GpuBuilder &g, Value index, Value size) {
  return g.smax(g.smin(index, g.sub(size, g.c32(1))), g.c32(0));
}

std::pair<Value, Value> nvptx::segmentAt(GpuBuilder &g, vit::PoolOp op, const Arguments &args, ValueRange pointers, Value number) {
  if (op.getUniform()) {
    Value start = g.mul(number, *op.getUniform());
    return {start, g.add(start, *op.getUniform())};
  }
  Value table = pointers[args.ofOperand[op.getCuSeqlensMutable().begin()->getOperandNumber()]];
  return {indexAt(g, table, number), indexAt(g, table, g.add(number, 1))};
}

Value nvptx::segmentOf(GpuBuilder &g, Value table, Value segments, Value row, int64_t extra) {
  // Bit by bit from the highest that a segment's number can have.
  Value bits = g.sub(g.c32(32), g.intrinsic("llvm.ctlz.i32", g.i32(), {segments, g.create<arith::ConstantOp>(g.b.getBoolAttr(false))}));
  auto loop = g.create<scf::ForOp>(g.c32(0), bits, g.c32(1), ValueRange{g.c32(0)});
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(loop.getBody());
  Value found = loop.getRegionIterArg(0);
  Value bit = g.create<arith::ShLIOp>(g.c32(1), g.sub(g.sub(bits, g.c32(1)), loop.getInductionVar()));
  Value next = g.add(found, bit), exists = g.slt(next, segments);
  Value start = g.add(indexAt(g, table, g.select(exists, next, g.c32(0))), g.mul(next, extra));
  Value before = g.create<arith::CmpIOp>(arith::CmpIPredicate::sle, start, row);
  g.create<scf::YieldOp>(ValueRange{g.select(g.andi(exists, before), next, found)});
  return loop.getResult(0);
}
