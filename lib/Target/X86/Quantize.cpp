//===- Quantize.cpp - codes (E4M3, i8) and scales on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "KernelFrame.h"

#include "vitrify/Support/Float8.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;
using vit::Granularity;

static constexpr int64_t kRowsPerUnit = 8;

static int64_t columnsOf(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(1); }

static void describeQuantize(KernelFrame &frame) {
  auto op = cast<vit::QuantizeOp>(frame.op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    frame.use(i);
  frame.useResults();
  if (!frame.reason.empty())
    return;
  // A scale found over the whole tensor needs all rows before the first code: one unit.
  bool whole = op.getGranularity() == Granularity::Tensor && !op.getScale();
  PlanExpr rows = frame.operandDim(0, 0);
  frame.finish("quantize_" + stringifyGranularity(op.getGranularity()).str(), "row", "f32",
               whole ? PlanExpr(1) : PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(kRowsPerUnit)));
}

/// Lanes of the largest magnitude over some columns of a row, joined with `start`.
static Value emitAmax(LaneBuilder &b, Value x, Value row, Value first, int64_t columns, Value start) {
  return b.forColumns(columns, start, [&](Value column, unsigned valid, ValueRange carried) {
    Value magnitude = b.abs(b.load(x, {row, b.addIndex(first, column)}, valid));
    return SmallVector<Value>{b.max(carried[0], magnitude)};
  })[0];
}

static bool isBytes(Value codes) { return cast<MemRefType>(codes.getType()).getElementType().isInteger(8); }

/// amax over the largest code, or 1 where amax is 0, as lanes.
static Value emitScale(LaneBuilder &b, Value amaxLanes, Value codes) {
  Value amax = b.broadcast(b.reduce(vector::CombiningKind::MAXNUMF, amaxLanes));
  Value zero = b.splat(0.0f);
  return b.select(b.less(zero, amax), b.div(amax, b.splat(isBytes(codes) ? kI8Max : kE4M3Max)), b.splat(1.0f));
}

static void emitCodes(LaneBuilder &b, Value x, Value codes, Value row, Value first, int64_t columns,
                      llvm::function_ref<Value(Value column, unsigned valid)> scale) {
  b.forColumns(columns, [&](Value column, unsigned valid) {
    Value at = b.addIndex(first, column);
    Value reciprocal = b.div(b.splat(1.0f), scale(at, valid));
    Value scaled = b.mul(b.load(x, {row, at}, valid), reciprocal);
    b.store(isBytes(codes) ? buildRoundI8(b, scaled) : buildRoundE4M3(b, scaled), codes, {row, at}, valid);
  });
}

static void buildQuantize(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::QuantizeOp>(frame.op);
  Value x = frame.operand(0), codes = frame.result(0), scales = frame.result(1);
  Value rows = frame.dimValue(b, false, 0, 0), zero = b.index(0);
  int64_t columns = columnsOf(op.getInput());
  auto storeLane = [&](Value lanes, Value memref, ValueRange at) {
    memref::StoreOp::create(b, Value(vector::ExtractOp::create(b, lanes, ArrayRef<int64_t>{0})), memref, at);
  };

  if (op.getScale()) {
    Value scale = frame.operand(op.getScaleMutable()[0].getOperandNumber());
    bool channel = op.getGranularity() == Granularity::Channel;
    // The result's scale is the operand's; the first unit copies it.
    Value isFirst = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, frame.begin, zero);
    b.ifThen(isFirst, [&] {
      b.forColumns(channel ? columns : 1, [&](Value column, unsigned valid) {
        b.store(b.load(scale, column, valid), scales, column, valid);
      });
    });
    forRowsOfUnits(frame, b, rows, kRowsPerUnit, [&](Value row) {
      emitCodes(b, x, codes, row, zero, columns, [&](Value column, unsigned valid) {
        if (!channel)
          return b.broadcast(b.loadScalar(scale, zero));
        Value value = b.load(scale, column, valid);
        return valid == b.lanes ? value : b.select(b.tailMask(valid), value, b.splat(1.0f));
      });
    });
    return;
  }
  if (op.getGranularity() == Granularity::Tensor) {
    b.loop(frame.begin, frame.end, 1, [&](Value) {
      SmallVector<Value> amax = b.loop(zero, rows, 1, b.splat(0.0f), [&](Value row, ValueRange carried) {
        return SmallVector<Value>{emitAmax(b, x, row, zero, columns, carried[0])};
      });
      Value scale = emitScale(b, amax[0], codes);
      storeLane(scale, scales, zero);
      b.loop(zero, rows, 1, [&](Value row) {
        emitCodes(b, x, codes, row, zero, columns, [&](Value, unsigned) { return scale; });
      });
    });
    return;
  }
  int64_t block = op.getGranularity() == Granularity::Block ? int64_t(*op.getBlock()) : columns;
  forRowsOfUnits(frame, b, rows, kRowsPerUnit, [&](Value row) {
    b.loop(zero, b.index(columns / block), 1, [&](Value i) {
      Value first = b.mulIndex(i, block);
      Value scale = emitScale(b, emitAmax(b, x, row, first, block, b.splat(0.0f)), codes);
      storeLane(scale, scales, {row, i});
      emitCodes(b, x, codes, row, first, block, [&](Value, unsigned) { return scale; });
    });
  });
}

const Family x86::kQuantize = {describeQuantize, buildQuantize};

static void describeDequantize(KernelFrame &frame) {
  auto op = cast<vit::DequantizeOp>(frame.op);
  frame.use(0);
  frame.use(1);
  frame.useResults();
  auto scales = cast<RankedTensorType>(op.getScales().getType());
  if (scales.getRank() == 2 && scales.getDimSize(1) != 0 && columnsOf(op.getCodes()) % scales.getDimSize(1) != 0)
    frame.fail("blocks that do not divide the columns");
  frame.finish("dequantize", "row", "f32",
               PlanExpr::binary(PlanExpr::Kind::CeilDiv, frame.operandDim(0, 0), PlanExpr(kRowsPerUnit)));
}

static void buildDequantize(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::DequantizeOp>(frame.op);
  Value codes = frame.operand(0), scales = frame.operand(1), result = frame.result(0), zero = b.index(0);
  auto type = cast<RankedTensorType>(op.getScales().getType());
  int64_t columns = columnsOf(op.getCodes());
  bool tensor = type.getRank() < 2 && type.hasStaticShape() && type.getNumElements() == 1;
  int64_t groups = type.getRank() == 2 ? type.getDimSize(1) : 1, block = columns / groups;
  forRowsOfUnits(frame, b, frame.dimValue(b, false, 0, 0), kRowsPerUnit, [&](Value row) {
    b.loop(zero, b.index(groups), 1, [&](Value group) {
      Value first = b.mulIndex(group, block);
      b.forColumns(block, [&](Value column, unsigned valid) {
        Value at = b.addIndex(first, column);
        Value scale = type.getRank() == 2 ? b.broadcast(b.loadScalar(scales, {row, group}))
                      : tensor            ? b.broadcast(b.loadScalar(scales, zero))
                                          : b.load(scales, at, valid);
        b.store(b.mul(b.load(codes, {row, at}, valid), scale), result, {row, at}, valid);
      });
    });
  });
}

const Family x86::kDequantize = {describeDequantize, buildDequantize};
