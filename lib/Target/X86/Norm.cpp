//===- Norm.cpp - layer norm and RMS norm on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A work unit is a few rows. Statistics take two passes over the width columns of a group, then the normalised values
// are computed where the epilogue reads them. An epilogue that sees more columns than a group has (a scale for a whole
// row of several heads) reads them from the stack instead.
//===----------------------------------------------------------------------===//
#include "KernelFrame.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

static constexpr int64_t kRowsPerUnit = 8;
static constexpr int64_t kMaxScratchColumns = 48 * 1024; // 192 KiB of f32
static constexpr int64_t kSums = 4;

static int64_t columnsOf(vit::NormOp norm) {
  return cast<RankedTensorType>(norm.getInput().getType()).getDimSize(1);
}

static void describeNorm(KernelFrame &frame) {
  auto norm = cast<vit::NormOp>(frame.op);
  unsigned input = norm.getInputMutable().getOperandNumber();
  frame.use(input);
  if (norm.getGamma())
    frame.use(norm.getGammaMutable()[0].getOperandNumber());
  if (norm.getBeta())
    frame.use(norm.getBetaMutable()[0].getOperandNumber());
  frame.useEpilogue();
  frame.useResults();
  if (!frame.reason.empty())
    return;
  int64_t columns = columnsOf(norm), width = norm.getWidth().value_or(columns);
  frame.fail(EpilogueEmitter::whyUnsupported(norm, columns, frame.row.lanes));
  if (int64_t(norm.getGroup()) > width && columns > kMaxScratchColumns)
    return frame.fail("an epilogue group of " + std::to_string(norm.getGroup()) + " columns");
  PlanExpr units = PlanExpr::binary(PlanExpr::Kind::CeilDiv, frame.operandDim(input, 0), PlanExpr(kRowsPerUnit));
  std::string prefix = norm.getKind() == vit::NormKind::Layer ? "layer_norm" : "rms_norm";
  frame.finish(prefix + "_d" + std::to_string(columns), "row", "f32", units);
}

namespace {
/// Mean and reciprocal standard deviation of a group of columns, as lanes; no mean for RMS.
struct Statistics {
  Value mean, scale;
};
} // namespace

static Statistics emitStatistics(LaneBuilder &b, vit::NormOp norm, Value x, Value row, Value first, int64_t width) {
  bool layer = norm.getKind() == vit::NormKind::Layer;
  // Several sums at once: one alone would wait for each of its additions.
  auto sumOf = [&](llvm::function_ref<Value(Value, unsigned)> term) {
    int64_t step = kSums * b.lanes, whole = width / step * step;
    SmallVector<Value> sums(kSums, b.splat(0.0f));
    auto termAt = [&](Value column, unsigned valid) {
      return term(b.load(x, {row, b.addIndex(first, column)}, valid), valid);
    };
    sums = b.loop(b.index(0), b.index(whole), step, sums, [&](Value column, ValueRange carried) {
      SmallVector<Value> next;
      for (int64_t i = 0; i < kSums; ++i)
        next.push_back(b.add(carried[i], termAt(b.addIndex(column, i * b.lanes), b.lanes)));
      return next;
    });
    for (int64_t at = whole, i = 0; at < width; at += b.lanes, ++i) {
      unsigned valid = std::min<int64_t>(b.lanes, width - at);
      sums[i] = b.add(sums[i], termAt(b.index(at), valid));
    }
    Value all = b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]));
    Value total = b.reduce(vector::CombiningKind::ADD, all);
    return Value(arith::DivFOp::create(b, total, b.f32(float(width))));
  };
  Statistics result;
  if (layer)
    result.mean = b.broadcast(sumOf([](Value v, unsigned) { return v; }));
  Value variance = sumOf([&](Value v, unsigned valid) {
    if (!layer)
      return b.mul(v, v);
    Value difference = b.sub(v, result.mean);
    if (valid < b.lanes)
      difference = b.select(b.tailMask(valid), difference, b.splat(0.0f));
    return b.mul(difference, difference);
  });
  Value eps = b.f32(float(norm.getEps().convertToDouble()));
  Value deviation = math::SqrtOp::create(b, Value(arith::AddFOp::create(b, variance, eps)));
  result.scale = b.broadcast(Value(arith::DivFOp::create(b, b.f32(1.0f), deviation)));
  return result;
}

static void buildNorm(KernelFrame &frame, LaneBuilder &b) {
  auto norm = cast<vit::NormOp>(frame.op);
  unsigned input = norm.getInputMutable().getOperandNumber();
  Value x = frame.operand(input);
  Value gamma = norm.getGamma() ? frame.operand(norm.getGammaMutable()[0].getOperandNumber()) : Value();
  Value beta = norm.getBeta() ? frame.operand(norm.getBetaMutable()[0].getOperandNumber()) : Value();
  int64_t columns = columnsOf(norm), width = norm.getWidth().value_or(columns);
  // What reduces over a group reads its values more than once.
  int64_t group = norm.getGroup();
  bool wholeRow = group > width || width % group != 0 || (group > b.lanes && columns <= kMaxScratchColumns);
  Value scratch = wholeRow ? b.scratch({int64_t(llvm::alignTo(columns, b.lanes))}, b.getF32Type()) : Value();
  EpilogueEmitter epilogue = frame.epilogue(b);
  forRowsOfUnits(frame, b, frame.dimValue(b, false, input, 0), kRowsPerUnit, [&](Value row) {
    b.loop(b.index(0), b.index(columns), width, [&](Value first) {
      Statistics statistics = emitStatistics(b, norm, x, row, first, width);
      auto normalised = [&](Value column, unsigned valid) {
        Value v = b.load(x, {row, column}, valid);
        if (statistics.mean)
          v = b.sub(v, statistics.mean);
        v = b.mul(v, statistics.scale);
        Value inGroup = b.subIndex(column, first);
        Value g = gamma ? b.load(gamma, inGroup, valid) : Value();
        Value o = beta ? b.load(beta, inGroup, valid) : Value();
        if (g)
          v = o ? b.fma(v, g, o) : b.mul(v, g);
        else if (o)
          v = b.add(v, o);
        return v;
      };
      if (!wholeRow)
        return epilogue.emitSpan(row, first, width, normalised);
      b.forColumns(width, [&](Value column, unsigned valid) {
        Value at = b.addIndex(first, column);
        b.store(normalised(at, valid), scratch, at, valid);
      });
    });
    if (wholeRow)
      epilogue.emitSpan(row, b.index(0), columns,
                        [&](Value column, unsigned valid) { return b.load(scratch, column, valid); });
  });
}

const Family x86::kNorm = {describeNorm, buildNorm};
