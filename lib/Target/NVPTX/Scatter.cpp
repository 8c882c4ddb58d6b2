//===- Scatter.cpp - rows set or added at given places -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Seen from the result: a warp makes a row of it, asking 32 indices at once whether they name it. Rows that name the same
// place are taken in order without an atomic operation, so results are bit-equal from run to run.
//===----------------------------------------------------------------------===//
#include "Runs.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kWarps = kRunThreads / 32;
constexpr int kMaxRunsOfLane = 4; ///< of a warp that makes a row: wider rows have several warps

int64_t columnsOf(vit::ScatterRowsOp op) { return op.getInput().getType().getDimSize(1); }
int64_t runsOfLane(vit::ScatterRowsOp op) {
  return std::min<int64_t>(kMaxRunsOfLane, llvm::divideCeil(columnsOf(op), 32 * kRun));
}

bool supports(Operation *op, const TargetRow &, std::string &reason) { return succeeded(argumentsOf(op, reason)); }

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::ScatterRowsOp>(operation);
  Arguments args = argumentsOf(op);
  KernelSpec spec = runSpec(op, row, args, "scatter_rows");
  spec.layerKind = "gather";
  spec.scalars.push_back({false, op.getSourceMutable().getOperandNumber(), 0});
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, PlanExpr::symbol(0), PlanExpr(int64_t(kWarps)));
  spec.grid[1] = PlanExpr(int64_t(llvm::divideCeil(columnsOf(op), runsOfLane(op) * 32 * kRun)));
  return {spec};
}

class ScatterBuilder {
public:
  ScatterBuilder(GpuBuilder &g, vit::ScatterRowsOp op, const Arguments &args, ValueRange scalars, ValueRange pointers)
      : g(g), op(op), args(args), rows(g.trunc32(scalars[0])), count(g.trunc32(scalars[1])), pointers(pointers),
        emitter(g, none, 1, {}, epilogueResults(op, args, pointers), columnsOf(op), kRun) {}
  void build();

private:
  using Values = SmallVector<Value>;
  /// Row `at` of an operand, in this lane's columns.
  Values load(unsigned number, Value at) {
    Values x;
    for (Value first : firsts)
      llvm::append_range(x, emitter.loadRun(operandOf(op, number, args, pointers, true, true), at, first));
    return x;
  }
  /// A bit for each of the 32 indices from `first` on that name `row`.
  Value naming(Value first);
  /// Folds over the indices, 32 at a time, from the first to the last.
  Values overIndices(ValueRange start, llvm::function_ref<Values(Value first, Value bits, ValueRange)> body);

  GpuBuilder &g;
  vit::ScatterRowsOp op;
  const Arguments &args;
  Value rows, count;
  ValueRange pointers;
  Region none;
  EpilogueEmitter emitter;
  Value lane, row;
  Values firsts;
};

Value ScatterBuilder::naming(Value first) {
  Value k = g.add(first, lane), there = g.slt(k, count);
  Value index = indexAt(g, pointers[args.ofOperand[op.getIndexMutable().getOperandNumber()]], g.select(there, k, g.c32(0)));
  return g.intrinsic("llvm.nvvm.vote.ballot.sync", g.i32(), {g.c32(-1), g.andi(there, g.eq(clampedTo(g, index, rows), row))});
}

ScatterBuilder::Values ScatterBuilder::overIndices(ValueRange start, llvm::function_ref<Values(Value, Value, ValueRange)> body) {
  auto loop = g.create<scf::ForOp>(g.c32(0), count, g.c32(32), start);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(loop.getBody());
  Value first = loop.getInductionVar();
  g.create<scf::YieldOp>(body(first, naming(first), loop.getRegionIterArgs()));
  return Values(loop.getResults());
}

void ScatterBuilder::build() {
  Value tid = g.threadX();
  lane = g.andi(tid, 31);
  row = g.add(g.mul(g.blockX(), kWarps), g.shr(tid, 5));
  for (int64_t run = 0; run < runsOfLane(op); ++run)
    firsts.push_back(g.mul(g.add(g.add(g.mul(g.blockY(), runsOfLane(op) * 32), lane), run * 32), kRun));
  // A warp has one row: it is here as a whole or not at all.
  auto exists = g.create<scf::IfOp>(g.slt(row, rows), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(exists.thenBlock());
  unsigned input = op.getInputMutable().getOperandNumber(), source = op.getSourceMutable().getOperandNumber();
  Values x = load(input, row);
  if (op.getMode() == vit::ScatterMode::Set) {
    // The last that names the row is what stays.
    Value last = overIndices(ValueRange{g.c32(-1)}, [&](Value first, Value bits, ValueRange found) {
      Value leading = g.intrinsic("llvm.ctlz.i32", g.i32(), {bits, g.create<arith::ConstantOp>(g.b.getBoolAttr(false))});
      Value none = g.eq(bits, g.c32(0));
      return Values{g.select(none, found[0], g.sub(g.add(first, 31), leading))};
    })[0];
    auto set = g.create<scf::IfOp>(TypeRange(ValueRange(x)), g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, last, g.c32(0)), /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(set.thenBlock());
      g.create<scf::YieldOp>(load(source, last));
      g.b.setInsertionPointToStart(set.elseBlock());
      g.create<scf::YieldOp>(x);
    }
    x = Values(set.getResults());
  } else {
    x = overIndices(x, [&](Value first, Value bits, ValueRange sums) {
      Values start(sums);
      start.push_back(bits);
      SmallVector<Type> types(ValueRange(start).getTypes());
      auto loop = g.create<scf::WhileOp>(types, start);
      OpBuilder::InsertionGuard inner(g.b);
      Block *before = g.b.createBlock(&loop.getBefore(), {}, types, SmallVector<Location>(types.size(), g.loc));
      Value more = g.create<arith::CmpIOp>(arith::CmpIPredicate::ne, before->getArguments().back(), g.c32(0));
      g.create<scf::ConditionOp>(more, before->getArguments());
      Block *after = g.b.createBlock(&loop.getAfter(), {}, types, SmallVector<Location>(types.size(), g.loc));
      Value left = after->getArguments().back();
      Value lowest = g.intrinsic("llvm.cttz.i32", g.i32(), {left, g.create<arith::ConstantOp>(g.b.getBoolAttr(false))});
      Values next = load(source, g.add(first, lowest));
      for (auto [v, sum] : llvm::zip(next, after->getArguments()))
        v = g.fadd(sum, v);
      next.push_back(g.andi(left, g.sub(left, g.c32(1))));
      g.create<scf::YieldOp>(next);
      return Values(loop.getResults().drop_back());
    });
  }
  for (auto [run, first] : llvm::enumerate(firsts)) {
    emitter.beginColumns(first);
    emitter.storeResult(0, row, ArrayRef<Value>(x).slice(run * kRun, kRun));
  }
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::ScatterRowsOp>(operation);
  Arguments args = argumentsOf(op);
  size_t scalars = spec.scalars.size();
  ScatterBuilder(g, op, args, arguments.take_front(scalars), arguments.drop_front(scalars)).build();
}

} // namespace

const Family nvptx::kScatterFamily = {[](Operation *op) { return isa<vit::ScatterRowsOp>(op); }, supports, specs, build};
