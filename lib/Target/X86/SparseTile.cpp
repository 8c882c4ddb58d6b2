//===- SparseTile.cpp - linears that skip zeros of their input on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A tile first looks at a few of its columns: where most are in use it is computed like any other. Else it looks at all: vectors of steps (an f32, or a pair of bf16, is 32 bits) are joined over the rows, and
// the numbers of those that are not 0 are packed into a list. That is one instruction for 16 steps and a row, where the
// product takes one for a step, a row and a vector of columns. The product then runs over the list.
//===----------------------------------------------------------------------===//
#include "SparseTile.h"

#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

static constexpr int64_t kSampledVectors = 8;
/// Of the steps that are looked at: with more in use the list costs more than it saves.
static constexpr double kWorthwhileShare = 0.6;

bool x86::skipsZeros(vit::LinearOp linear, const MicroTile &micro) {
  int64_t k = linear.getWeight().getType().getDimSize(1);
  auto element = linear.getInput().getType().getElementType();
  // Half precision is widened while it is read: its zeros are not looked for.
  bool stored = micro.kind == MicroKernel::DotBF16 || (micro.kind == MicroKernel::FmaF32 && element.isF32());
  return linear->hasAttr("vit.skip_zeros") && stored && k % (micro.depth() * micro.lanes) == 0;
}

/// Joins rows [m, m + rows) over vectors of steps from `from` to `to`: which steps of them have a row that is not 0, given to
/// `each` with the first of them and what was carried.
static SmallVector<Value> joinRows(LaneBuilder &b, const MicroTile &micro, int64_t rows, Value a, Value m, Value from, Value to,
                                   ValueRange init,
                                   llvm::function_ref<SmallVector<Value>(Value base, Value isUsed, ValueRange)> each) {
  bool dot = micro.kind == MicroKernel::DotBF16;
  VectorType stored = dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  Value zero = b.splatI32(0);
  return b.loop(from, to, b.lanes, init, [&](Value base, ValueRange carried) {
    Value joined = zero;
    for (int64_t i = 0; i < rows; ++i) {
      Value values = vector::LoadOp::create(b, stored, a, ValueRange{b.addIndex(m, i), b.mulIndex(base, micro.depth())});
      joined = arith::OrIOp::create(b, joined, Value(vector::BitCastOp::create(b, b.i32Lanes(), values)));
    }
    return each(base, arith::CmpIOp::create(b, arith::CmpIPredicate::ne, joined, zero), carried);
  });
}

void x86::emitSparseTile(LaneBuilder &b, const MicroTile &micro, int64_t rows, Value a, Value m, int64_t k, Value panels,
                         Value panel, Value steps, Value scratch, const PanelPrefetch *prefetch) {
  bool dot = micro.kind == MicroKernel::DotBF16;
  int64_t depth = micro.depth(), vectors = micro.tile.vectors, all = k / depth;
  VectorType stored = dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  Value zero = b.splatI32(0), one = b.splatI32(1);
  auto toScratch = [&](ArrayRef<Value> acc) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        b.store(acc[i * vectors + j], scratch, {b.index(i), b.index(j * b.lanes)}, b.lanes);
  };

  // A few vectors tell whether there is enough to skip for the list to pay; the sums are the same either way.
  int64_t sampled = std::min<int64_t>(kSampledVectors * b.lanes, all);
  SmallVector<Value> seen = joinRows(b, micro, rows, a, m, b.index(0), b.index(sampled), ValueRange{zero},
                                     [&](Value, Value isUsed, ValueRange carried) {
    return SmallVector<Value>{arith::AddIOp::create(b, carried[0], Value(arith::SelectOp::create(b, isUsed, one, zero)))};
  });
  Value used = vector::ReductionOp::create(b, vector::CombiningKind::ADD, seen[0]);
  Value isDense = arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, used, b.i32(int32_t(double(sampled) * kWorthwhileShare)));
  b.ifThen(isDense, [&] { toScratch(emitTile(b, micro, rows, a, m, b.index(0), k, panels, panel, prefetch)); }, [&] {
    Value count = joinRows(b, micro, rows, a, m, b.index(0), b.index(all), ValueRange{b.index(0)},
                           [&](Value base, Value isUsed, ValueRange carried) {
      Value first = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), base));
      Value numbers = arith::AddIOp::create(b, first, b.iota());
      if (b.lanes == 16) {
        // Into a register and stored whole: packing straight into memory takes some hundred cycles on Zen 4.
        Value packed = x86vector::MaskCompressOp::create(b, isUsed, numbers, Value(), ElementsAttr());
        vector::StoreOp::create(b, packed, steps, ValueRange{carried[0]});
      } else {
        // The builder with a default alignment exchanges mask and value (MLIR 22.1).
        vector::CompressStoreOp::create(b, steps, ValueRange{carried[0]}, isUsed, numbers, IntegerAttr());
      }
      Value ones = arith::SelectOp::create(b, isUsed, one, zero);
      Value found = vector::ReductionOp::create(b, vector::CombiningKind::ADD, ones);
      return SmallVector<Value>{b.addIndex(carried[0], Value(arith::IndexCastOp::create(b, b.getIndexType(), found)))};
    })[0];

    Value step; // the one that the list names
    auto loadB = [&](int64_t j, Value) -> Value {
      return vector::LoadOp::create(b, stored, panels, ValueRange{panel, step, b.index(j * b.lanes * depth)});
    };
    auto loadA = [&](int64_t i, Value) -> Value {
      Value row = b.addIndex(m, i), column = b.mulIndex(step, depth);
      return dot ? broadcastPair(b, a, row, column, false) : b.broadcast(b.loadScalar(a, {row, column}));
    };
    auto name = [&](Value place) {
      Value number = memref::LoadOp::create(b, steps, ValueRange{place});
      step = arith::IndexCastOp::create(b, b.getIndexType(), number);
    };
    SmallVector<Value> acc(rows * vectors, b.splat(0.0f));
    toScratch(emitProduct(b, micro.kind, rows, vectors, count, acc, loadA, loadB, name));
  });
}
