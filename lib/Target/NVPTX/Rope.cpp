//===- Rope.cpp - rotary position embedding -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A thread turns a run of slots of one head: columns s and s + hd / 2. Frequencies are constants, rounded once; angles are
// f32 products, as the models compute them, brought into [-pi, pi] before the approximate sine and cosine.
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kThreads = 128;

int64_t halfOf(vit::RopeOp op) { return op.getHeadDim() / 2; }
int64_t widthOf(vit::RopeOp op) { return std::gcd<int64_t>(8, halfOf(op)); }
int64_t runsOf(vit::RopeOp op) { return op.getInput().getType().getDimSize(1) / 2 / widthOf(op); }

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::RopeOp>(operation);
  if (op.getHeadDim() > 256) {
    reason = "rotary positions of heads of " + std::to_string(op.getHeadDim()) + " columns (at most 256)";
    return false;
  }
  return succeeded(argumentsOf(op, reason));
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::RopeOp>(operation);
  Arguments args = argumentsOf(op);
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.name = kernelName("rope_" + std::to_string(op.getHeadDim()), spec.key);
  spec.layerKind = "row";
  spec.precision = "f32";
  spec.scalars = {{false, 0, 0}};
  spec.operands = args.operands;
  PlanExpr all = PlanExpr::binary(PlanExpr::Kind::Mul, PlanExpr::symbol(0), PlanExpr(runsOf(op)));
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, all, PlanExpr(kThreads));
  spec.block = kThreads;
  spec.dispatch = PlanExpr::symbol(0);
  return {spec};
}

/// Which row of the positions a slot takes, and its frequency.
std::pair<int64_t, float> slotOf(vit::RopeOp op, int64_t s) {
  double theta = op.getTheta().convertToDouble();
  int64_t axis = 0, slot = s, slots = halfOf(op);
  if (op.getKind() == vit::RopeKind::Vision2D) {
    slots = halfOf(op) / 2;
    axis = s / slots;
    slot = s % slots;
  } else if (auto sections = op.getSections()) {
    for (int64_t a : {1, 2})
      if (s % 3 == a && s < 3 * (*sections)[a])
        axis = a;
  }
  return {axis, 1.0f / static_cast<float>(std::pow(theta, double(slot) / slots))};
}

/// Sine and cosine of an f32 angle of any size that a position can give.
std::pair<Value, Value> sineAndCosine(GpuBuilder &g, Value angle) {
  // 2 pi in three parts, the first two short enough that a multiple of them is exact.
  Value turns = g.intrinsic("llvm.rint.f32", g.f32(), {g.fmul(angle, g.fconst(0.159154943f))});
  Value back = g.create<arith::NegFOp>(turns);
  for (float part : {6.28125f, 1.93500518798828125e-3f, 3.0199159819e-7f})
    angle = g.fma(back, g.fconst(part), angle);
  return {g.intrinsic("llvm.nvvm.sin.approx.ftz.f", g.f32(), {angle}), g.intrinsic("llvm.nvvm.cos.approx.ftz.f", g.f32(), {angle})};
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::RopeOp>(operation);
  Arguments args = argumentsOf(op);
  ValueRange pointers = arguments.drop_front(1);
  int64_t half = halfOf(op), width = widthOf(op), runsOfHead = half / width, columns = op.getInput().getType().getDimSize(1);
  Value rows = g.trunc32(arguments[0]);
  Value index = g.add(g.mul(g.blockX(), kThreads), g.threadX());
  Value row = g.div(index, runsOf(op)), within = g.rem(index, runsOf(op));
  Value head = g.div(within, runsOfHead), run = g.rem(within, runsOfHead);
  auto ifOp = g.create<scf::IfOp>(g.slt(row, rows), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());

  SmallVector<Value> positions;
  for (int64_t axis = 0; axis < op.getPositions().getType().getDimSize(0); ++axis) {
    Value at = g.add(g.zext64(g.mul(rows, axis)), g.zext64(row));
    Value position = g.load(g.i32(), g.gep(pointers[args.ofOperand[1]], g.mul(at, 4)), 4);
    positions.push_back(g.create<arith::SIToFPOp>(g.f32(), position));
  }
  MLIRContext *c = op.getContext();
  AffineMap map = AffineMap::get(2, 0, {getAffineDimExpr(0, c), getAffineDimExpr(1, c)}, c);
  EpilogueOperand in{pointers[args.ofOperand[0]], op.getInput().getType().getElementType(), map, args.rowStride[0]};
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, epilogueResults(op, args, pointers), columns, width);
  Value low = g.add(g.mul(head, op.getHeadDim()), g.mul(run, width)), high = g.add(low, half);
  SmallVector<Value> a = emitter.loadRun(in, row, low), b = emitter.loadRun(in, row, high), first, second;
  for (int64_t i = 0; i < width; ++i) {
    // What the slot has, by the run it is in.
    Value frequency, position;
    for (int64_t r = 0; r < runsOfHead; ++r) {
      auto [axis, value] = slotOf(op, r * width + i);
      Value mine = g.eq(run, g.c32(r));
      frequency = frequency ? g.select(mine, g.fconst(value), frequency) : g.fconst(value);
      position = position && position != positions[axis] ? g.select(mine, positions[axis], position) : positions[axis];
    }
    auto [sine, cosine] = sineAndCosine(g, g.fmul(position, frequency));
    first.push_back(g.fma(a[i], cosine, g.fmul(g.create<arith::NegFOp>(b[i]), sine)));
    second.push_back(g.fma(b[i], cosine, g.fmul(a[i], sine)));
  }
  emitter.beginColumns(low);
  emitter.emitRow(row, first);
  emitter.beginColumns(high);
  emitter.emitRow(row, second);
}

} // namespace

const Family nvptx::kRopeFamily = {[](Operation *op) { return isa<vit::RopeOp>(op); }, supports, specs, build};
