//===- MatrixTile.cpp - register tiles over packed panels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The accumulators live in registers over the whole of K, so they are values carried by the loop; a tile with fewer
// rows at the end is a body of its own, chosen outside the loop over K. The finished tile goes through a scratch of a
// few kilobytes to the epilogue, which is then one piece of code for all bodies and free to see whole groups of columns.
//===----------------------------------------------------------------------===//
#include "MatrixTile.h"

#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

MicroKernel x86::chooseMicroKernel(const TargetRow &row, DType activations, Type weightElement) {
  bool narrowWeight = weightElement.isBF16() || isa<Float8E4M3FNType>(weightElement);
  bool dot = row.has(MicroKernel::DotBF16) && activations == DType::BF16 && narrowWeight;
  return dot ? MicroKernel::DotBF16 : MicroKernel::FmaF32;
}

Value x86::broadcastPair(LaneBuilder &b, Value a, Value row, Value k, bool single) {
  VectorType pairs = VectorType::get({2 * b.lanes}, b.getBF16Type());
  Value word;
  if (single) {
    Value element = memref::LoadOp::create(b, a, ValueRange{row, k});
    Value bits = arith::BitcastOp::create(b, b.getIntegerType(16), element);
    word = arith::ExtUIOp::create(b, b.getI32Type(), bits);
  } else {
    Value pair = vector::LoadOp::create(b, VectorType::get({2}, b.getBF16Type()), a, ValueRange{row, k});
    Value one = vector::BitCastOp::create(b, VectorType::get({1}, b.getI32Type()), pair);
    word = vector::ExtractOp::create(b, one, ArrayRef<int64_t>{0});
  }
  return vector::BitCastOp::create(b, pairs, Value(vector::BroadcastOp::create(b, b.i32Lanes(), word)));
}

static SmallVector<Value> emitStep(LaneBuilder &b, MicroKernel kind, int64_t rows, int64_t vectors, Value step,
                                   ValueRange acc, llvm::function_ref<Value(int64_t, Value)> loadA,
                                   llvm::function_ref<Value(int64_t, Value)> loadB) {
  SmallVector<Value> columns, next(acc);
  for (int64_t j = 0; j < vectors; ++j)
    columns.push_back(loadB(j, step));
  for (int64_t i = 0; i < rows; ++i) {
    Value element = loadA(i, step);
    for (int64_t j = 0; j < vectors; ++j) {
      Value &sum = next[i * vectors + j];
      sum = kind == MicroKernel::DotBF16 ? Value(x86vector::DotBF16Op::create(b, sum, element, columns[j]))
                                         : b.fma(element, columns[j], sum);
    }
  }
  return next;
}

SmallVector<Value> x86::emitProduct(LaneBuilder &b, MicroKernel kind, int64_t rows, int64_t vectors, Value steps,
                                    ValueRange init, llvm::function_ref<Value(int64_t, Value)> loadA,
                                    llvm::function_ref<Value(int64_t, Value)> loadB) {
  return b.loop(b.index(0), steps, 1, init, [&](Value step, ValueRange carried) {
    return emitStep(b, kind, rows, vectors, step, carried, loadA, loadB);
  });
}

SmallVector<Value> x86::emitTile(LaneBuilder &b, const MicroTile &micro, int64_t rows, Value a, Value aRow,
                                 Value aColumn, int64_t k, Value panels, Value panel) {
  bool dot = micro.kind == MicroKernel::DotBF16;
  int64_t depth = micro.depth(), vectors = micro.tile.vectors;
  VectorType vectorType = dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  auto loadB = [&](int64_t j, Value step) -> Value {
    return vector::LoadOp::create(b, vectorType, panels, ValueRange{panel, step, b.index(j * b.lanes * depth)});
  };
  auto loadA = [&](bool single) {
    return [&, single](int64_t i, Value step) -> Value {
      Value row = b.addIndex(aRow, i), column = b.addIndex(aColumn, b.mulIndex(step, depth));
      return dot ? broadcastPair(b, a, row, column, single) : b.broadcast(b.loadScalar(a, {row, column}));
    };
  };
  SmallVector<Value> acc(rows * vectors, b.splat(0.0f));
  acc = emitProduct(b, micro.kind, rows, vectors, b.index(k / depth), acc, loadA(false), loadB);
  if (k % depth)
    acc = emitStep(b, micro.kind, rows, vectors, b.index(k / depth), acc, loadA(true), loadB);
  return acc;
}

void x86::emitPanelRows(LaneBuilder &b, const MicroTile &micro, Value a, Value aOrigin, int64_t k, Value panels,
                        Value panel, int64_t columns, Value first, Value last, Value scratch,
                        EpilogueEmitter &epilogue) {
  int64_t rows = micro.tile.rows, width = micro.width();
  Value firstColumn = b.mulIndex(panel, width);
  b.loop(first, last, rows, [&](Value m) {
    Value count = b.minIndex(b.index(rows), b.subIndex(last, m));
    Value aRow = b.subIndex(m, aOrigin);
    auto body = [&](int64_t bodyRows) {
      SmallVector<Value> acc = emitTile(b, micro, bodyRows, a, aRow, b.index(0), k, panels, panel);
      for (int64_t i = 0; i < bodyRows; ++i)
        for (int64_t j = 0; j < micro.tile.vectors; ++j)
          b.store(acc[i * micro.tile.vectors + j], scratch, {b.index(i), b.index(j * b.lanes)}, b.lanes);
    };
    SmallVector<int64_t> cases;
    for (int64_t i = 1; i < rows; ++i)
      cases.push_back(i);
    auto choice = scf::IndexSwitchOp::create(b, TypeRange(), count, cases, cases.size());
    auto fill = [&](Region &region, int64_t bodyRows) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToEnd(&region.emplaceBlock());
      body(bodyRows);
      scf::YieldOp::create(b);
    };
    fill(choice.getDefaultRegion(), rows);
    for (auto [i, region] : llvm::enumerate(choice.getCaseRegions()))
      fill(region, cases[i]);

    separately(b, "epilogue", [&] { b.loop(b.index(0), count, 1, [&](Value i) {
      Value row = b.addIndex(m, i);
      auto load = [&](Value column, unsigned) {
        // Columns beyond N were computed with zeros: reading them is harmless.
        return b.load(scratch, {i, b.subIndex(column, firstColumn)});
      };
      auto emit = [&](int64_t span) { epilogue.emitSpan(row, firstColumn, span, load); };
      int64_t rest = columns % width;
      if (rest == 0)
        return emit(width);
      if (columns < width)
        return emit(rest);
      Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, panel, b.index(columns / width));
      b.ifThen(isLast, [&] { emit(rest); }, [&] { emit(width); });
    }); });
  });
}
