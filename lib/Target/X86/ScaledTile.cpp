//===- ScaledTile.cpp - linears with scales along K on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A block's product is accumulated in registers as any other; what it adds to the sum is scaled once a block. The sums
// wait in the scratch of a few kilobytes that the epilogue reads anyway: a load and a store an accumulator and block,
// beside the hundreds of instructions of the block itself.
//===----------------------------------------------------------------------===//
#include "ScaledTile.h"

#include <numeric>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

static int64_t columnsOf(Value scales) { return cast<RankedTensorType>(scales.getType()).getDimSize(1); }

std::optional<ScaleBlocks> x86::scaleBlocksOf(KernelFrame &frame, vit::LinearOp linear, const MicroTile &micro) {
  int64_t k = linear.getWeight().getType().getDimSize(1), count = 1;
  for (Value scales : {linear.getXScales(), linear.getWScales()})
    if (scales)
      count = std::lcm(count, columnsOf(scales));
  if (Value scales = linear.getWScales(); scales && !isWeight(scales))
    frame.fail("scales of the second factor that are no weight of the module");
  if (micro.codes())
    frame.fail("scales along K of i8 codes");
  if (k % count != 0 || k / count % micro.depth() != 0)
    frame.fail("scales along K for every " + std::to_string(k / count) + " values, where " + std::to_string(micro.depth()) +
               " are multiplied at once");
  if (!frame.reason.empty())
    return std::nullopt;
  return ScaleBlocks{count, k / count};
}

/// Scales of a vector of columns for one block of K; `high` rows of `along`.
static Value loadWeightScales(LaneBuilder &b, Value scales, int64_t high, int64_t along, Value column, int64_t columns, Value block) {
  int64_t rows = llvm::divideCeil(columns, high); // of the weight, that share a scale
  if (high == 1)
    return b.broadcast(b.loadScalar(scales, {b.index(0), block}));
  // Columns beyond N take the last scale: what they are is never stored.
  if (rows % b.lanes == 0)
    return b.broadcast(b.loadScalar(scales, {b.minIndex(b.divIndex(column, rows), b.index(high - 1)), block}));
  Value lane = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), column));
  Value index = arith::DivUIOp::create(b, arith::AddIOp::create(b, lane, b.iota()), b.splatI32(rows));
  index = arith::MinUIOp::create(b, index, b.splatI32(high - 1));
  Value offset = arith::MulIOp::create(b, index, b.splatI32(along));
  return vector::GatherOp::create(b, b.f32Lanes(), scales, ValueRange{b.index(0), block}, offset, b.tailMask(b.lanes),
                                  b.splat(0.0f));
}

void x86::emitScaledTile(LaneBuilder &b, vit::LinearOp linear, const MicroTile &micro, ScaleBlocks blocks, int64_t rows, Value a,
                         Value m, Value panels, Value panel, Value xScales, Value wScales, Value scratch) {
  int64_t columns = linear.getWeight().getType().getDimSize(0);
  bool dot = micro.kind == MicroKernel::DotBF16;
  int64_t depth = micro.depth(), vectors = micro.tile.vectors, steps = blocks.columns / depth;
  VectorType vectorType = dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  auto place = [&](int64_t i, int64_t j) { return SmallVector<Value>{b.index(i), b.index(j * b.lanes)}; };
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < vectors; ++j)
      b.store(b.splat(0.0f), scratch, place(i, j), b.lanes);
  Value firstColumn = b.mulIndex(panel, micro.width());
  b.loop(b.index(0), b.index(blocks.count), 1, [&](Value block) {
    Value firstStep = b.mulIndex(block, steps);
    auto loadB = [&](int64_t j, Value step) -> Value {
      return vector::LoadOp::create(b, vectorType, panels, ValueRange{panel, b.addIndex(firstStep, step), b.index(j * b.lanes * depth)});
    };
    auto loadA = [&](int64_t i, Value step) -> Value {
      Value row = b.addIndex(m, i), column = b.mulIndex(b.addIndex(firstStep, step), depth);
      return dot ? broadcastPair(b, a, row, column, false) : b.broadcast(b.loadScalar(a, {row, column}));
    };
    SmallVector<Value> acc(rows * vectors, b.splat(0.0f));
    acc = emitProduct(b, micro.kind, rows, vectors, b.index(steps), acc, loadA, loadB);
    auto own = [&](Value scales) { return b.divIndex(block, blocks.count / columnsOf(scales)); };
    SmallVector<Value> weightScales;
    for (int64_t j = 0; wScales && j < vectors; ++j)
      weightScales.push_back(loadWeightScales(b, wScales, cast<RankedTensorType>(linear.getWScales().getType()).getDimSize(0),
                                              columnsOf(linear.getWScales()), b.addIndex(firstColumn, j * b.lanes), columns,
                                              own(linear.getWScales())));
    for (int64_t i = 0; i < rows; ++i) {
      Value x = xScales ? b.broadcast(b.loadScalar(xScales, {b.addIndex(m, i), own(linear.getXScales())})) : Value();
      for (int64_t j = 0; j < vectors; ++j) {
        Value scale = !wScales ? x : x ? b.mul(x, weightScales[j]) : weightScales[j];
        b.store(b.fma(acc[i * vectors + j], scale, b.load(scratch, place(i, j))), scratch, place(i, j), b.lanes);
      }
    }
  });
}
