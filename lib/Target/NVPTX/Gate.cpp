//===- Gate.cpp - gates over blocks of neurons -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A row of scores stays in registers (RowLanes.h). The k-th largest is found bit by bit, by counting: 32 counts give its
// score, and as many as an index has bits the last block that is kept of those with that very score. Nothing is sorted, and
// ties go to the lower index whatever the row's length.
//===----------------------------------------------------------------------===//
#include "Family.h"
#include "RowLanes.h"

#include "vitrify/Kernel/GateThreshold.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

#include <bit>
#include <cmath>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kRun = RowShape::kRun;
constexpr int64_t kMaxBlocks = 16 * 1024;
constexpr float kLog2E = 1.4426950408889634f;

int64_t blocksOf(vit::GateOp op) { return op.getScores().getType().getDimSize(1); }
/// Whether some blocks are in and others out by their order.
bool selects(vit::GateOp op) { return op.getKind() == vit::GateKind::TopK && int64_t(*op.getK()) < blocksOf(op); }

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::GateOp>(operation);
  if (blocksOf(op) > kMaxBlocks) {
    reason = "a gate of " + std::to_string(blocksOf(op)) + " blocks (at most " + std::to_string(kMaxBlocks) + ")";
    return false;
  }
  return succeeded(argumentsOf(op, reason));
}

/// Folds over the row in one kernel: two in the loop over a score's bits, one for each bit of an index, and those between.
unsigned folds(vit::GateOp op) {
  unsigned count = selects(op) ? 2 + 1 + std::bit_width(uint64_t(blocksOf(op) - 1)) : 0;
  return count + (op.getWeight() == vit::GateWeight::Softmax ? 2 : 0);
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::GateOp>(operation);
  Arguments args = argumentsOf(op);
  RowShape shape{blocksOf(op)};
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.name = kernelName("gate_" + std::to_string(blocksOf(op)), spec.key);
  spec.layerKind = "row";
  spec.precision = "f32";
  spec.scalars = {{false, 0, 0}};
  spec.operands = args.operands;
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, PlanExpr::symbol(0), PlanExpr(int64_t(shape.rowsOfBlock())));
  spec.block = shape.block();
  spec.sharedBytes = shape.sharedBytes(folds(op));
  spec.dispatch = PlanExpr::symbol(0);
  return {spec};
}

class GateBuilder {
public:
  GateBuilder(GpuBuilder &g, vit::GateOp op, const Arguments &args, ValueRange pointers)
      : g(g), op(op), args(args), pointers(pointers), lanes(g, RowShape{blocksOf(op)}) {}
  void build(Value rows64);

private:
  Value both(Value x, Value y) { return g.andi(x, y); }
  Value either(Value x, Value y) { return g.create<arith::OrIOp>(x, y); }
  Value columnOf(size_t i) { return g.add(lanes.firsts[i / kRun], int64_t(i % kRun)); }
  /// In how many columns of the row `holds` is true; exact in f32.
  template <typename Holds> Value count(size_t size, Holds holds);
  SmallVector<Value> topK(ArrayRef<Value> scores);
  SmallVector<Value> kept(ArrayRef<Value> scores);
  SmallVector<Value> weights(ArrayRef<Value> scores, ArrayRef<Value> kept);

  GpuBuilder &g;
  vit::GateOp op;
  const Arguments &args;
  ValueRange pointers;
  RowLanes lanes;
};

template <typename Holds> Value GateBuilder::count(size_t size, Holds holds) {
  SmallVector<Value> ones;
  for (size_t i = 0; i < size; ++i)
    ones.push_back(g.select(holds(i), g.fconst(1.0f), g.fconst(0.0f)));
  return lanes.fold(Fold::Sum, ones);
}

SmallVector<Value> GateBuilder::topK(ArrayRef<Value> scores) {
  Value k = g.fconst(static_cast<float>(*op.getK()));
  size_t size = scores.size();
  // Unsigned integers in the order of the scores; -0 is 0.
  SmallVector<Value> keys;
  for (Value score : scores) {
    Value bits = g.create<arith::BitcastOp>(g.i32(), g.fadd(score, g.fconst(0.0f)));
    Value sign = g.create<arith::ShRSIOp>(bits, g.c32(31));
    keys.push_back(g.xori(bits, g.ori(sign, g.c32(INT32_MIN))));
  }
  auto atLeast = [&](Value x, Value y) { return g.create<arith::CmpFOp>(arith::CmpFPredicate::OGE, x, y); };
  // The largest number that at least k keys reach is the k-th key. Two bits a turn: a fold's shared memory is written again
  // only after a barrier behind which it was read.
  auto loop = g.create<scf::ForOp>(g.c32(0), g.c32(16), g.c32(1), ValueRange{g.c32(0), g.c32(INT32_MIN)});
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value found = loop.getRegionIterArg(0), bit = loop.getRegionIterArg(1);
    for (int half = 0; half < 2; ++half) {
      Value next = g.ori(found, bit);
      Value reached = count(size, [&](size_t i) { return g.create<arith::CmpIOp>(arith::CmpIPredicate::uge, keys[i], next); });
      found = g.select(atLeast(reached, k), next, found);
      bit = g.shr(bit, 1);
    }
    g.create<scf::YieldOp>(ValueRange{found, bit});
  }
  Value last = loop.getResult(0);
  Value left = g.fsub(k, count(size, [&](size_t i) { return g.ult(last, keys[i]); }));
  // Of those equal to it the first `left` are kept: up to the largest column before which fewer are.
  Value bound = g.c32(0);
  for (int bit = std::bit_width(uint64_t(blocksOf(op) - 1)) - 1; bit >= 0; --bit) {
    Value next = g.ori(bound, g.c32(int64_t(1) << bit));
    Value before = count(size, [&](size_t i) { return both(g.eq(keys[i], last), g.slt(columnOf(i), next)); });
    bound = g.select(atLeast(before, left), bound, next);
  }
  SmallVector<Value> kept;
  for (size_t i = 0; i < size; ++i)
    kept.push_back(either(g.ult(last, keys[i]), both(g.eq(keys[i], last), g.slt(columnOf(i), g.add(bound, 1)))));
  return kept;
}

SmallVector<Value> GateBuilder::kept(ArrayRef<Value> scores) {
  if (selects(op))
    return topK(scores);
  if (op.getKind() == vit::GateKind::TopK)
    return SmallVector<Value>(scores.size(), g.create<arith::ConstantOp>(g.b.getBoolAttr(true)));
  SmallVector<Value> kept;
  Value threshold = g.fconst(gateThreshold(op));
  for (Value score : scores)
    kept.push_back(g.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, score, threshold));
  return kept;
}

SmallVector<Value> GateBuilder::weights(ArrayRef<Value> scores, ArrayRef<Value> kept) {
  SmallVector<Value> weights;
  Value zero = g.fconst(0.0f);
  if (op.getWeight() == vit::GateWeight::Softmax) {
    Value lowest = g.fconst(-INFINITY);
    for (auto [score, keep] : llvm::zip_equal(scores, kept))
      weights.push_back(g.select(keep, score, lowest));
    // A row that keeps nothing, or nothing above -infinity, has weights of 0 and not NaN.
    Value largest = lanes.fold(Fold::Maximum, weights);
    largest = g.select(g.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, largest, lowest), zero, largest);
    for (Value &weight : weights)
      weight = g.exp2(g.fmul(g.fsub(weight, largest), g.fconst(kLog2E)));
    Value sum = lanes.fold(Fold::Sum, weights);
    for (Value &weight : weights) {
      Value some = g.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, weight, zero);
      weight = g.select(some, g.create<arith::DivFOp>(weight, sum), zero);
    }
    return weights;
  }
  for (auto [score, keep] : llvm::zip_equal(scores, kept)) {
    Value weight = op.getWeight() == vit::GateWeight::One     ? g.fconst(1.0f)
                   : op.getWeight() == vit::GateWeight::Score ? score
                                                              : emitActivation(g, vit::ActKind::Sigmoid, score);
    weights.push_back(g.select(keep, weight, zero));
  }
  return weights;
}

/// Threads of rows past the end work on the last row and store nothing: shuffles and barriers stay whole.
void GateBuilder::build(Value rows64) {
  RowShape shape{blocksOf(op)};
  Value rows = g.trunc32(rows64);
  Value wanted = g.add(g.mul(g.blockX(), shape.rowsOfBlock()), lanes.rowInBlock);
  Value exists = g.slt(wanted, rows), row = g.smin(wanted, g.sub(rows, g.c32(1)));
  MLIRContext *c = op.getContext();
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, epilogueResults(op, args, pointers), blocksOf(op), kRun);
  EpilogueOperand in{pointers[args.ofOperand[0]], op.getScores().getType().getElementType(),
                     AffineMap::get(2, 0, {getAffineDimExpr(0, c), getAffineDimExpr(1, c)}, c), args.rowStride[0]};
  SmallVector<Value> scores;
  for (Value first : lanes.firsts)
    llvm::append_range(scores, emitter.loadRun(in, row, first));
  SmallVector<Value> out = weights(scores, kept(scores));
  auto ifOp = g.create<scf::IfOp>(exists, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  for (auto [run, first] : llvm::enumerate(lanes.firsts)) {
    emitter.beginColumns(first);
    emitter.storeResult(0, row, ArrayRef<Value>(out).slice(run * kRun, kRun));
  }
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::GateOp>(operation);
  Arguments args = argumentsOf(op);
  GateBuilder(g, op, args, arguments.drop_front(1)).build(arguments[0]);
}

} // namespace

const Family nvptx::kGateFamily = {[](Operation *op) { return isa<vit::GateOp>(op); }, supports, specs, build};
