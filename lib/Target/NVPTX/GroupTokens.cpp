//===- GroupTokens.cpp - lists of the rows that each block of a gate is on for -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One CTA a block of the gate walks over the rows, one a thread at a time. A row's place is the number of rows before it: of
// the turns before, of the warps before and of the lanes before, so that lists rise whatever runs when.
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kWarps = 32, kThreads = 32 * kWarps;

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  return succeeded(argumentsOf(operation, reason));
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::GroupTokensOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  int64_t blocks = op.getGate().getType().getDimSize(1);
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.name = kernelName("group_tokens_" + std::to_string(blocks), spec.key);
  spec.layerKind = "gather";
  spec.precision = "f32";
  spec.scalars = {{false, 0, 0}};
  spec.operands = args.operands;
  spec.grid[0] = PlanExpr(blocks);
  spec.block = kThreads;
  spec.sharedBytes = 2 * kWarps * 4; // a turn's counts, and the next one's while slow warps still read them
  spec.dispatch = PlanExpr::symbol(0);
  return {spec};
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::GroupTokensOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  ValueRange pointers = arguments.drop_front(1);
  Value gate = pointers[args.ofOperand[0]], list = pointers[args.ofResult[0]], starts = pointers[args.ofResult[1]];
  int64_t blocks = op.getGate().getType().getDimSize(1), chunk = op.getChunk();
  Value rows = g.trunc32(arguments[0]), block = g.blockX(), tid = g.threadX(), shared = g.dynamicShared();
  Value lane = g.andi(tid, 31), warp = g.shr(tid, 5);
  Value lanesBefore = g.sub(g.create<arith::ShLIOp>(g.c32(1), lane), g.c32(1));
  Value ownList = g.gep(list, g.mul(g.mul(g.zext64(block), g.zext64(rows)), 4));
  auto startOf = [&](Value i) { return g.gep(starts, g.mul(g.add(g.mul(g.zext64(i), blocks), g.zext64(block)), 4)); };
  auto when = [&](Value condition, llvm::function_ref<void()> body) {
    auto ifOp = g.create<scf::IfOp>(condition, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(ifOp.thenBlock());
    body();
  };
  auto popc = [&](Value bits) { return g.intrinsic("llvm.ctpop.i32", g.i32(), {bits}); };

  auto loop = g.create<scf::ForOp>(g.c32(0), rows, g.c32(kThreads), ValueRange{g.c32(0), g.c32(0)});
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value before = loop.getRegionIterArg(0), half = loop.getRegionIterArg(1);
    Value row = g.add(loop.getInductionVar(), tid), exists = g.slt(row, rows);
    auto loaded = g.create<scf::IfOp>(TypeRange{g.i1()}, exists, /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(loaded.thenBlock());
      Value weight = g.load(g.f32(), g.gep(gate, g.mul(g.add(g.mul(g.zext64(row), args.rowStride[0]), g.zext64(block)), 4)), 4);
      g.create<scf::YieldOp>(ValueRange{g.create<arith::CmpFOp>(arith::CmpFPredicate::UNE, weight, g.fconst(0.0f))});
      g.b.setInsertionPointToStart(loaded.elseBlock());
      g.create<scf::YieldOp>(ValueRange{g.create<arith::ConstantOp>(g.b.getBoolAttr(false))});
    }
    Value isOn = loaded.getResult(0);
    Value ballot = g.intrinsic("llvm.nvvm.vote.ballot.sync", g.i32(), {g.c32(-1), isOn});
    Value counts = g.gep(shared, g.mul(half, kWarps * 4));
    when(g.eq(lane, g.c32(0)), [&] { g.store(popc(ballot), g.gep(counts, g.mul(warp, 4)), 4); });
    g.barrier();
    Value place = g.add(before, popc(g.create<arith::AndIOp>(ballot, lanesBefore))), after = before;
    for (int w = 0; w < kWarps; ++w) {
      Value count = g.load(g.i32(), g.gep(counts, w * 4), 4);
      place = g.add(place, g.select(g.slt(g.c32(w), warp), count, g.c32(0)));
      after = g.add(after, count);
    }
    when(isOn, [&] { g.store(row, g.gep(ownList, g.mul(g.zext64(place), 4)), 4); });
    Value isBound = g.create<arith::AndIOp>(exists, g.eq(g.rem(row, chunk), g.c32(0)));
    when(isBound, [&] { g.store(place, startOf(g.div(row, chunk)), 4); });
    g.create<scf::YieldOp>(ValueRange{after, g.xori(half, g.c32(1))});
  }
  when(g.eq(tid, g.c32(0)), [&] {
    Value chunks = g.div(g.add(rows, chunk - 1), chunk);
    g.store(loop.getResult(0), startOf(chunks), 4);
  });
}

} // namespace

const Family nvptx::kGroupTokensFamily = {[](Operation *op) { return isa<vit::GroupTokensOp>(op); }, supports, specs, build};
