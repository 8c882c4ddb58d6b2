//===- SparseTile.cpp - linears that skip zeros of their input on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A tile first looks at its rows: vectors of steps (an f32, or a pair of bf16, is 32 bits) are joined over the rows, and
// the numbers of those that are not 0 are packed into a list. That is one instruction for 16 steps and a row, where the
// product takes one for a step, a row and a vector of columns. The product then runs over the list.
//===----------------------------------------------------------------------===//
#include "SparseTile.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

bool x86::skipsZeros(vit::LinearOp linear, const MicroTile &micro) {
  int64_t k = linear.getWeight().getType().getDimSize(1);
  auto element = linear.getInput().getType().getElementType();
  // Half precision is widened while it is read: its zeros are not looked for.
  bool stored = micro.kind == MicroKernel::DotBF16 || (micro.kind == MicroKernel::FmaF32 && element.isF32());
  return linear->hasAttr("vit.skip_zeros") && stored && k % (micro.depth() * micro.lanes) == 0;
}

void x86::emitSparseTile(LaneBuilder &b, const MicroTile &micro, int64_t rows, Value a, Value m, int64_t k, Value panels,
                         Value panel, Value steps, Value scratch) {
  bool dot = micro.kind == MicroKernel::DotBF16;
  int64_t depth = micro.depth(), vectors = micro.tile.vectors, all = k / depth;
  VectorType stored = dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  Value zero = b.splatI32(0), one = b.splatI32(1);
  Value count = b.loop(b.index(0), b.index(all), b.lanes, b.index(0), [&](Value base, ValueRange carried) {
    Value joined = zero;
    for (int64_t i = 0; i < rows; ++i) {
      Value values = vector::LoadOp::create(b, stored, a, ValueRange{b.addIndex(m, i), b.mulIndex(base, depth)});
      joined = arith::OrIOp::create(b, joined, Value(vector::BitCastOp::create(b, b.i32Lanes(), values)));
    }
    Value isUsed = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, joined, zero);
    Value first = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), base));
    Value numbers = arith::AddIOp::create(b, first, b.iota());
    // The builder with a default alignment exchanges mask and value (MLIR 22.1).
    vector::CompressStoreOp::create(b, steps, ValueRange{carried[0]}, isUsed, numbers, IntegerAttr());
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
  acc = emitProduct(b, micro.kind, rows, vectors, count, acc, loadA, loadB, name);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < vectors; ++j)
      b.store(acc[i * vectors + j], scratch, {b.index(i), b.index(j * b.lanes)}, b.lanes);
}
