//===- Pool.cpp - the mean of an image's tokens -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A block has up to 256 columns of one image. Its threads share the tokens out among them, each with several rows on the way
// at a time, because one thread that walked over all of them would wait for memory as often as there are tokens. Their sums
// meet in shared memory and are added in order.
//===----------------------------------------------------------------------===//
#include "Runs.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/bit.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kThreads = 256, kRowsAtOnce = 4;

/// Threads side by side in a row, and how many such groups share the tokens.
int lanesOf(vit::PoolOp op) {
  return static_cast<int>(llvm::bit_ceil(uint64_t(std::min<int64_t>(32, llvm::divideCeil(resultColumns(op), kRun)))));
}
int slicesOf(vit::PoolOp op) { return kThreads / lanesOf(op); }

bool supports(Operation *op, const TargetRow &, std::string &reason) { return succeeded(argumentsOf(op, reason)); }

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::PoolOp>(operation);
  Arguments args = argumentsOf(op);
  KernelSpec spec = runSpec(op, row, args, "pool_mean");
  spec.layerKind = "gather";
  spec.grid[0] = PlanExpr::symbol(0);
  spec.grid[1] = PlanExpr(int64_t(llvm::divideCeil(resultColumns(op), lanesOf(op) * kRun)));
  spec.block = kThreads;
  spec.sharedBytes = kThreads * kRun * 4;
  return {spec};
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::PoolOp>(operation);
  Arguments args = argumentsOf(op);
  ValueRange pointers = arguments.drop_front(1);
  int lanes = lanesOf(op), slices = slicesOf(op);
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, epilogueResults(op, args, pointers), resultColumns(op), kRun);
  EpilogueOperand in = operandOf(op, 0, args, pointers, true, true);
  Value tid = g.threadX(), lane = g.andi(tid, lanes - 1), slice = g.div(tid, lanes), image = g.blockX();
  Value column = g.mul(g.add(g.mul(g.blockY(), lanes), lane), kRun);
  auto [start, end] = segmentAt(g, op, args, pointers, image);
  start = g.add(start, op.getFirst());

  // Sums from `from` on, `count` rows at a time; the loop's end says where all of them are there.
  auto sumRows = [&](Value from, Value to, int count, ValueRange sums) {
    auto loop = g.create<scf::ForOp>(from, to, g.c32(slices * count), sums);
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    SmallVector<SmallVector<Value>> rows;
    for (int i = 0; i < count; ++i)
      rows.push_back(emitter.loadRun(in, g.add(loop.getInductionVar(), i * slices), column));
    SmallVector<Value> next(loop.getRegionIterArgs());
    for (ArrayRef<Value> row : rows)
      for (auto [sum, v] : llvm::zip_equal(next, row))
        sum = g.fadd(sum, v);
    g.create<scf::YieldOp>(next);
    return SmallVector<Value>(loop.getResults());
  };
  Value from = g.add(start, slice), whole = g.sub(end, g.c32(slices * (kRowsAtOnce - 1)));
  Value times = g.div(g.smax(g.add(g.sub(whole, from), slices * kRowsAtOnce - 1), g.c32(0)), slices * kRowsAtOnce);
  SmallVector<Value> mean = sumRows(from, whole, kRowsAtOnce, SmallVector<Value>(kRun, g.fconst(0.0f)));
  mean = sumRows(g.add(from, g.mul(times, slices * kRowsAtOnce)), end, 1, mean);
  // Halves of runs lie apart: neighbours store and load 16 bytes side by side.
  Value shared = g.dynamicShared();
  auto place = [&](Value ofSlice, int half) {
    return g.gep(shared, g.mul(g.add(g.mul(g.add(g.mul(ofSlice, 2), half), lanes), lane), 16));
  };
  auto four = VectorType::get(4, g.f32());
  for (int half : {0, 1}) {
    auto part = ArrayRef<Value>(mean).slice(half * 4, 4);
    g.store(g.create<vector::FromElementsOp>(four, part), place(slice, half), 16);
  }
  g.barrier();
  auto first = g.create<scf::IfOp>(g.eq(slice, g.c32(0)), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(first.thenBlock());
  for (int other = 1; other < slices; ++other)
    for (int half : {0, 1}) {
      Value part = g.load(four, place(g.c32(other), half), 16);
      for (int c = 0; c < 4; ++c)
        mean[half * 4 + c] = g.fadd(mean[half * 4 + c], g.create<LLVM::ExtractElementOp>(part, g.c32(c)));
    }
  Value inverse = g.create<arith::DivFOp>(g.fconst(1.0f), g.create<arith::SIToFPOp>(g.f32(), g.sub(end, start)));
  for (Value &v : mean)
    v = g.fmul(v, inverse);
  emitter.beginColumns(column);
  emitter.storeResult(0, image, mean);
}

} // namespace

const Family nvptx::kPoolFamily = {
    [](Operation *op) {
      auto pool = dyn_cast<vit::PoolOp>(op);
      return pool && pool.getKind() == vit::PoolKind::Mean;
    },
    supports, specs, build};
