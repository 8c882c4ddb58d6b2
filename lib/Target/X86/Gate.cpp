//===- Gate.cpp - gates over blocks of neurons on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// top-k by counting: a block is kept when fewer than k others come before it, by score and then by index. That costs
// blocks^2 comparisons a row, in lanes, and needs no sorting; gates have some tens of blocks.
//===----------------------------------------------------------------------===//
#include "KernelFrame.h"

#include "vitrify/Kernel/GateThreshold.h"

#include <limits>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

static constexpr int64_t kRowsPerUnit = 16;
static constexpr int64_t kMaxBlocks = 16 * 1024;

static int64_t blocksOf(vit::GateOp gate) { return cast<RankedTensorType>(gate.getScores().getType()).getDimSize(1); }

static void describeGate(KernelFrame &frame) {
  auto gate = cast<vit::GateOp>(frame.op);
  frame.use(0);
  frame.useResults();
  if (!frame.reason.empty())
    return;
  if (blocksOf(gate) > kMaxBlocks)
    return frame.fail("a gate of " + std::to_string(blocksOf(gate)) + " blocks");
  frame.finish("gate_" + std::to_string(blocksOf(gate)), "row", "f32",
               PlanExpr::binary(PlanExpr::Kind::CeilDiv, frame.operandDim(0, 0), PlanExpr(kRowsPerUnit)));
}

/// Which of the lanes at `column` are kept.
static Value emitKept(LaneBuilder &b, vit::GateOp gate, Value scores, Value row, Value column, Value score) {
  if (gate.getKind() == vit::GateKind::Threshold)
    return b.less(b.splat(gateThreshold(gate)), score);
  Value first = b.broadcast(Value(arith::IndexCastOp::create(b, b.getI32Type(), column)));
  Value own = arith::AddIOp::create(b, first, b.iota());
  Value zero = b.splatI32(0), one = b.splatI32(1);
  Value before = b.loop(b.index(0), b.index(blocksOf(gate)), 1, zero, [&](Value other, ValueRange carried) {
    Value theirs = b.broadcast(b.loadScalar(scores, {row, other}));
    Value index = b.broadcast(Value(arith::IndexCastOp::create(b, b.getI32Type(), other)));
    Value higher = b.less(score, theirs);
    Value equal = arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, score, theirs);
    Value lower = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, index, own);
    Value precedes = arith::OrIOp::create(b, higher, Value(arith::AndIOp::create(b, equal, lower)));
    return SmallVector<Value>{arith::AddIOp::create(b, carried[0], b.select(precedes, one, zero))};
  })[0];
  return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, before, b.splatI32(int32_t(*gate.getK())));
}

static void buildGate(KernelFrame &frame, LaneBuilder &b) {
  auto gate = cast<vit::GateOp>(frame.op);
  Value scores = frame.operand(0), result = frame.result(0);
  int64_t blocks = blocksOf(gate);
  bool softmax = gate.getWeight() == vit::GateWeight::Softmax;
  Value zero = b.splat(0.0f), lowest = b.splat(-std::numeric_limits<float>::infinity());
  // For the softmax: scores of kept blocks, -infinity for the others.
  Value kept = softmax ? b.scratch({int64_t(llvm::alignTo(blocks, b.lanes))}, b.getF32Type()) : Value();
  forRowsOfUnits(frame, b, frame.dimValue(b, false, 0, 0), kRowsPerUnit, [&](Value row) {
    SmallVector<Value> top = b.forColumns(blocks, lowest, [&](Value column, unsigned valid, ValueRange carried) {
      Value score = b.load(scores, {row, column}, valid);
      Value keep = emitKept(b, gate, scores, row, column, score);
      if (valid < b.lanes)
        keep = arith::AndIOp::create(b, keep, b.tailMask(valid));
      if (softmax) {
        Value masked = b.select(keep, score, lowest);
        b.store(masked, kept, column, b.lanes);
        return SmallVector<Value>{b.max(carried[0], masked)};
      }
      Value weight = b.splat(1.0f);
      if (gate.getWeight() == vit::GateWeight::Score)
        weight = score;
      if (gate.getWeight() == vit::GateWeight::Sigmoid)
        weight = buildActivation(b, vit::ActKind::Sigmoid, score, MathMode::Exact);
      b.store(b.select(keep, weight, zero), result, {row, column}, valid);
      return SmallVector<Value>{carried[0]};
    });
    if (!softmax)
      return;
    // A row that keeps nothing has no maximum: 0 then, so that its weights are 0 and not NaN.
    Value maximum = b.broadcast(b.reduce(vector::CombiningKind::MAXNUMF, top[0]));
    maximum = b.select(b.less(lowest, maximum), maximum, zero);
    SmallVector<Value> sum = b.forColumns(blocks, zero, [&](Value column, unsigned, ValueRange carried) {
      Value e = buildExp(b, b.sub(b.load(kept, column, b.lanes), maximum), MathMode::Exact);
      b.store(e, kept, column, b.lanes);
      return SmallVector<Value>{b.add(carried[0], e)};
    });
    Value total = b.broadcast(b.reduce(vector::CombiningKind::ADD, sum[0]));
    b.forColumns(blocks, [&](Value column, unsigned valid) {
      Value e = b.load(kept, column, b.lanes);
      b.store(b.select(b.less(zero, e), b.div(e, total), zero), result, {row, column}, valid);
    });
  });
}

const Family x86::kGate = {describeGate, buildGate};
