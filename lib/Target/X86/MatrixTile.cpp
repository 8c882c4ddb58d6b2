//===- MatrixTile.cpp - register tiles over packed panels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The accumulators live in registers over the whole of K, so they are values carried by the loop; a tile with fewer
// rows at the end is a body of its own, chosen outside the loop over K. The finished tile goes through a scratch of a
// few kilobytes to the epilogue, which is then one piece of code for all bodies and free to see whole groups of columns.
//===----------------------------------------------------------------------===//
#include "MatrixTile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

MicroKernel x86::chooseMicroKernel(const TargetRow &row, DType activations, Type weightElement) {
  if (activations == DType::U8)
    return row.has(MicroKernel::DotI8) ? MicroKernel::DotI8 : MicroKernel::MaddI16;
  bool narrowWeight = weightElement.isBF16() || isa<Float8E4M3FNType, Float4E2M1FNType>(weightElement);
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

static VectorType bytesOf(LaneBuilder &b, int64_t perLane) { return VectorType::get({perLane * b.lanes}, b.getI8Type()); }

/// Bytes [k, k + count) of a row of codes in every lane, as the micro-kernel takes them; those up to its depth are 0.
static Value broadcastBytes(LaneBuilder &b, MicroKernel kind, Value a, Value row, Value k, int64_t count) {
  bool dot = kind == MicroKernel::DotI8;
  int64_t depth = dot ? 4 : 2;
  Type wordType = b.getIntegerType(depth * 8);
  Value word;
  if (count == depth) {
    Value bytes = vector::LoadOp::create(b, VectorType::get({depth}, b.getI8Type()), a, ValueRange{row, k});
    Value one = vector::BitCastOp::create(b, VectorType::get({1}, wordType), bytes);
    word = vector::ExtractOp::create(b, one, ArrayRef<int64_t>{0});
  } else {
    for (int64_t i = 0; i < count; ++i) {
      Value byte = memref::LoadOp::create(b, a, ValueRange{row, b.addIndex(k, i)});
      Value part = arith::ExtUIOp::create(b, wordType, byte);
      Value shift = arith::ConstantOp::create(b, b.getIntegerAttr(wordType, 8 * i));
      part = i ? Value(arith::ShLIOp::create(b, part, shift)) : part;
      word = word ? Value(arith::OrIOp::create(b, word, part)) : part;
    }
  }
  Value words = vector::BroadcastOp::create(b, VectorType::get({b.lanes}, wordType), word);
  Value bytes = vector::BitCastOp::create(b, bytesOf(b, depth), words);
  return dot ? bytes : Value(arith::ExtUIOp::create(b, VectorType::get({2 * b.lanes}, b.getI16Type()), bytes));
}

Value x86::multiplyAdd(LaneBuilder &b, MicroKernel kind, Value acc, Value x, Value y) {
  auto call = [&](StringRef name, ValueRange operands) -> Value {
    return LLVM::CallIntrinsicOp::create(b, b.i32Lanes(), b.getStringAttr(name), operands).getResult(0);
  };
  switch (kind) {
  case MicroKernel::DotBF16:
    return x86vector::DotBF16Op::create(b, acc, x, y);
  case MicroKernel::DotI8:
    return call("llvm.x86.avx512.vpdpbusd.512", {acc, x, y});
  case MicroKernel::MaddI16:
    return arith::AddIOp::create(b, acc, call(b.lanes == 16 ? "llvm.x86.avx512.pmaddw.d.512" : "llvm.x86.avx2.pmadd.wd", {x, y}));
  default:
    return b.fma(x, y, acc);
  }
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
      sum = multiplyAdd(b, kind, sum, element, columns[j]);
    }
  }
  return next;
}

SmallVector<Value> x86::emitProduct(LaneBuilder &b, MicroKernel kind, int64_t rows, int64_t vectors, Value steps,
                                    ValueRange init, llvm::function_ref<Value(int64_t, Value)> loadA,
                                    llvm::function_ref<Value(int64_t, Value)> loadB, llvm::function_ref<void(Value)> each,
                                    const Beside *beside, int64_t unrolled) {
  /// Steps [first, first + count), `unroll` at a time; what goes on with `each` need not be so fine.
  auto range = [&](Value first, Value count, int64_t unroll, ValueRange carried) {
    return b.loop(first, b.addIndex(first, count), unroll, carried, [&](Value step, ValueRange sums) {
      SmallVector<Value> next(sums);
      if (each)
        each(step);
      for (int64_t i = 0; i < unroll; ++i)
        next = emitStep(b, kind, rows, vectors, b.addIndex(step, i), next, loadA, loadB);
      return next;
    });
  };
  std::optional<int64_t> known = getConstantIntValue(steps);
  if (!beside) {
    int64_t whole = known ? *known / unrolled * unrolled : 0;
    SmallVector<Value> acc(init);
    if (whole)
      acc = range(b.index(0), b.index(whole), unrolled, acc);
    return range(b.index(whole), b.subIndex(steps, b.index(whole)), 1, acc);
  }
  // With 16 registers two steps at once spill.
  int64_t ofItem = *known / beside->items, unroll = ofItem % 2 || b.lanes < 16 ? 1 : 2;
  SmallVector<Value> acc = b.loop(b.index(0), b.index(beside->items), 1, init, [&](Value item, ValueRange carried) {
    beside->emit(item);
    return range(b.mulIndex(item, ofItem), b.index(ofItem), unroll, carried);
  });
  int64_t done = beside->items * ofItem;
  return range(b.index(done), b.index(*known - done), 1, acc);
}

Value x86::loadPanelStep(LaneBuilder &b, const MicroTile &micro, Value panels, Value panel, Value step, int64_t vector) {
  bool dot = micro.kind == MicroKernel::DotBF16, codes = micro.codes();
  int64_t depth = micro.depth();
  int64_t header = codes ? 4 / depth : 0; // steps of a panel that hold its sums
  VectorType type = codes ? bytesOf(b, depth) : dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  Value raw = vector::LoadOp::create(b, type, panels,
                                     ValueRange{panel, b.addIndex(step, header), b.index(vector * b.lanes * depth)});
  if (micro.kind != MicroKernel::MaddI16)
    return raw;
  return arith::ExtSIOp::create(b, VectorType::get({2 * b.lanes}, b.getI16Type()), raw);
}

Value x86::loadRowStep(LaneBuilder &b, const MicroTile &micro, Value a, Value row, Value column, int64_t elements) {
  if (micro.codes())
    return broadcastBytes(b, micro.kind, a, row, column, elements);
  if (micro.kind == MicroKernel::DotBF16)
    return broadcastPair(b, a, row, column, elements == 1);
  return b.broadcast(b.loadScalar(a, {row, column}));
}

SmallVector<Value> x86::panelSums(LaneBuilder &b, const MicroTile &micro, int64_t rows, Value panels, Value panel) {
  bool codes = micro.codes();
  int64_t vectors = micro.tile.vectors;
  SmallVector<Value> acc(rows * vectors, codes ? Value() : b.splat(0.0f));
  for (int64_t j = 0; codes && j < vectors; ++j) {
    // Bytes are codes plus 128: the sums take off what that adds.
    int64_t at = 4 * j * b.lanes, stepBytes = micro.width() * micro.depth();
    Value sums = vector::LoadOp::create(b, bytesOf(b, 4), panels,
                                        ValueRange{panel, b.index(at / stepBytes), b.index(at % stepBytes)});
    for (int64_t i = 0; i < rows; ++i)
      acc[i * vectors + j] = vector::BitCastOp::create(b, b.i32Lanes(), sums);
  }
  return acc;
}

Value x86::codesOfZero(LaneBuilder &b, const MicroTile &micro) {
  bool dot = micro.kind == MicroKernel::DotI8;
  VectorType type = VectorType::get({(dot ? 4 : 2) * b.lanes}, b.getIntegerType(dot ? 8 : 16));
  return arith::ConstantOp::create(b, DenseElementsAttr::get(type, b.getIntegerAttr(type.getElementType(), APInt(dot ? 8 : 16, kByteZero))));
}

/// Of a panel that is kept in 16 bits, on the stack and in the second-level cache.
static constexpr int64_t kWidePanelBytes = 112 * 1024;

/// A pair of codes of 16 bits in all lanes.
static Value loadWide(LaneBuilder &b, Value widened, Value row, Value column) {
  Value pair = vector::LoadOp::create(b, VectorType::get({2}, b.getI16Type()), widened, ValueRange{row, column});
  Value word = vector::ExtractOp::create(b, Value(vector::BitCastOp::create(b, VectorType::get({1}, b.getI32Type()), pair)),
                                         ArrayRef<int64_t>{0});
  return vector::BitCastOp::create(b, VectorType::get({2 * b.lanes}, b.getI16Type()),
                                   Value(vector::BroadcastOp::create(b, b.i32Lanes(), word)));
}

SmallVector<Value> x86::emitTile(LaneBuilder &b, const MicroTile &micro, int64_t rows, Value a, Value aRow,
                                 Value aColumn, int64_t k, Value panels, Value panel, const PanelPrefetch *prefetch,
                                 const Beside *beside, Value widened, Value widenedPanel) {
  int64_t depth = micro.depth(), vectors = micro.tile.vectors;
  auto loadB = [&](int64_t j, Value step) -> Value {
    if (!widenedPanel)
      return loadPanelStep(b, micro, panels, panel, step, j);
    VectorType words = VectorType::get({2 * b.lanes}, b.getI16Type());
    return vector::LoadOp::create(b, words, widenedPanel, ValueRange{step, b.index(j * 2 * b.lanes)});
  };
  auto loadA = [&](int64_t elements) {
    return [&, elements](int64_t i, Value step) -> Value {
      Value column = b.addIndex(aColumn, b.mulIndex(step, depth));
      return widened ? loadWide(b, widened, b.index(i), column) : loadRowStep(b, micro, a, b.addIndex(aRow, i), column, elements);
    };
  };
  SmallVector<Value> acc = panelSums(b, micro, rows, panels, panel);
  Value next;
  if (prefetch) {
    int64_t panelElements = llvm::product_of(cast<MemRefType>(panels.getType()).getShape().drop_front());
    Value tile = b.divIndex(aRow, micro.tile.rows);
    next = b.addIndex(b.mulIndex(b.addIndex(panel, 1), panelElements), Value(arith::MulIOp::create(b, tile, prefetch->chunk)));
  }
  auto bring = [&](Value step) {
    if (!prefetch)
      return;
    Value at = b.addIndex(next, Value(arith::MulIOp::create(b, step, prefetch->step)));
    memref::PrefetchOp::create(b, prefetch->flat, ValueRange{at}, /*isWrite=*/false, /*localityHint=*/2, /*isDataCache=*/true);
    // The rows of the next tile lie one after the other, as far from its first as this tile has come times its height.
    Value ahead = b.addIndex(aColumn, b.mulIndex(step, micro.tile.rows * depth));
    memref::PrefetchOp::create(b, a, ValueRange{b.addIndex(aRow, micro.tile.rows), ahead}, /*isWrite=*/false, /*localityHint=*/2,
                               /*isDataCache=*/true);
  };
  acc = emitProduct(b, micro.kind, rows, vectors, b.index(k / depth), acc, loadA(depth), loadB, bring, beside);
  if (k % depth)
    acc = emitStep(b, micro.kind, rows, vectors, b.index(k / depth), acc, loadA(k % depth), loadB);
  return acc;
}

PanelPrefetch x86::preparePrefetch(LaneBuilder &b, const MicroTile &micro, int64_t k, Value panels, Value rows) {
  auto type = cast<MemRefType>(panels.getType());
  PanelPrefetch result;
  int64_t panelElements = llvm::product_of(type.getShape().drop_front());
  int64_t elements = type.getNumElements();
  result.flat = memref::ReinterpretCastOp::create(b, MemRefType::get({elements}, type.getElementType()), panels, int64_t(0),
                                                  ArrayRef<int64_t>{elements}, ArrayRef<int64_t>{1});
  Value tiles = b.ceilDivIndex(rows, micro.tile.rows);
  tiles = b.maxIndex(tiles, b.index(1));
  Value more = b.addIndex(b.index(panelElements), b.subIndex(tiles, b.index(1)));
  result.chunk = arith::DivUIOp::create(b, more, tiles);
  result.step = b.ceilDivIndex(result.chunk, std::max<int64_t>(1, k / micro.depth()));
  return result;
}

void x86::forRowCount(LaneBuilder &b, Value count, int64_t most, llvm::function_ref<void(int64_t)> body) {
  SmallVector<int64_t> cases;
  for (int64_t i = 1; i < most; ++i)
    cases.push_back(i);
  auto choice = scf::IndexSwitchOp::create(b, TypeRange(), count, cases, cases.size());
  auto fill = [&](Region &region, int64_t bodyRows) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(&region.emplaceBlock());
    body(bodyRows);
    scf::YieldOp::create(b);
  };
  fill(choice.getDefaultRegion(), most);
  for (auto [i, region] : llvm::enumerate(choice.getCaseRegions()))
    fill(region, cases[i]);
}

/// Sums as f32, which they may become only here, beside the next tile's products.
static Value loadSum(LaneBuilder &b, Value scratch, Value row, Value column) {
  if (!cast<MemRefType>(scratch.getType()).getElementType().isInteger())
    return b.load(scratch, {row, column});
  Value sums = b.loadRaw(b.i32Lanes(), scratch, {row, column}, b.lanes);
  return arith::SIToFPOp::create(b, b.f32Lanes(), sums);
}

/// The epilogue of one row of a finished tile.
static void emitRow(LaneBuilder &b, const MicroTile &micro, Value row, Value panel, int64_t columns, Value scratch,
                    Value scratchRow, EpilogueEmitter &epilogue) {
  int64_t width = micro.width();
  Value firstColumn = b.mulIndex(panel, width);
  auto load = [&](Value column, unsigned) {
    // Columns beyond N were computed with zeros: reading them is harmless.
    return loadSum(b, scratch, scratchRow, b.subIndex(column, firstColumn));
  };
  auto emit = [&](int64_t span) { epilogue.emitSpan(row, firstColumn, span, load); };
  int64_t rest = columns % width;
  if (rest == 0)
    return emit(width);
  if (columns < width)
    return emit(rest);
  Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, panel, b.index(columns / width));
  b.ifThen(isLast, [&] { emit(rest); }, [&] { emit(width); });
}

void x86::emitPanelRows(LaneBuilder &b, const MicroTile &micro, Value panel, int64_t columns, Value first, Value last,
                        Value scratch, EpilogueEmitter &epilogue, TileBody tile) {
  b.loop(first, last, micro.tile.rows, [&](Value m) {
    Value count = b.minIndex(b.index(micro.tile.rows), b.subIndex(last, m));
    forRowCount(b, count, micro.tile.rows, [&](int64_t rows) { tile(rows, m); });
    separately(b, "epilogue", [&] {
      b.loop(b.index(0), count, 1, [&](Value i) { emitRow(b, micro, b.addIndex(m, i), panel, columns, scratch, i, epilogue); });
    });
  });
}

TilePipeline::TilePipeline(LaneBuilder &b, const MicroTile &micro, int64_t k, Value panels, int64_t columns,
                           EpilogueEmitter &epilogue, const PanelPrefetch *prefetch)
    : b(b), micro(micro), k(k), columns(columns), panels(panels), epilogue(epilogue), prefetch(prefetch) {
  scratch = b.scratch({micro.tile.rows, micro.width()}, micro.codes() ? Type(b.getI32Type()) : Type(b.getF32Type()));
  // Vectors go one by one where nothing ties them together.
  items = micro.tile.rows * (epilogue.columnsAtOnce() == 1 ? micro.tile.vectors : 1);
  if (micro.kind == MicroKernel::MaddI16)
    widened = b.scratch({micro.tile.rows, int64_t(llvm::alignTo(k, 2 * b.lanes))}, b.getI16Type());
  const int64_t steps = llvm::divideCeil(k, micro.depth()), panelWords = micro.width() * micro.depth();
  if (widened && 2 * steps * panelWords <= kWidePanelBytes) {
    widenedPanel = b.scratch({steps, panelWords}, b.getI16Type());
    widenedIndex = b.scratch({1}, b.getIndexType());
    memref::StoreOp::create(b, b.index(-1), widenedIndex, ValueRange{b.index(0)});
  }
  pending = b.scratch({3}, b.getIndexType());
  memref::StoreOp::create(b, b.index(0), pending, ValueRange{b.index(0)});
}

/// A panel of codes in 16 bits, once for all rows that come with it.
void TilePipeline::widenPanel(Value panel) {
  Value there = memref::LoadOp::create(b, widenedIndex, ValueRange{b.index(0)});
  b.ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::ne, there, panel), [&] {
    b.loop(b.index(0), b.index(llvm::divideCeil(k, micro.depth())), 1, [&](Value step) {
      for (int64_t j = 0; j < micro.tile.vectors; ++j)
        vector::StoreOp::create(b, loadPanelStep(b, micro, panels, panel, step, j), widenedPanel,
                                ValueRange{step, b.index(j * 2 * b.lanes)});
    });
    memref::StoreOp::create(b, panel, widenedIndex, ValueRange{b.index(0)});
  });
}

/// Rows of codes in 16 bits, once for all columns of the panel; 0 beyond K.
void TilePipeline::widen(Value a, Value aRow, Value count) {
  int64_t step = 2 * b.lanes;
  auto part = [&](Value row, Value column, unsigned valid) {
    VectorType bytes = VectorType::get({step}, b.getI8Type()), words = VectorType::get({step}, b.getI16Type());
    Value raw = b.loadRaw(bytes, a, {b.addIndex(aRow, row), column}, valid);
    vector::StoreOp::create(b, arith::ExtUIOp::create(b, words, raw), widened, ValueRange{row, column});
  };
  b.loop(b.index(0), count, 1, [&](Value row) {
    b.loop(b.index(0), b.index(k / step * step), step, [&](Value column) { part(row, column, step); });
    if (k % step)
      part(row, b.index(k / step * step), k % step);
  });
}

/// A piece of the epilogue of the tile before, which has its full height.
void TilePipeline::emitItem(Value item) {
  int64_t perRow = items / micro.tile.rows, width = micro.width();
  Value row = b.addIndex(Value(memref::LoadOp::create(b, pending, ValueRange{b.index(1)})), b.divIndex(item, perRow));
  Value panel = memref::LoadOp::create(b, pending, ValueRange{b.index(2)}), scratchRow = b.divIndex(item, perRow);
  if (perRow == 1)
    return emitRow(b, micro, row, panel, columns, scratch, scratchRow, epilogue);
  Value inPanel = b.mulIndex(b.remIndex(item, perRow), b.lanes);
  Value column = b.addIndex(b.mulIndex(panel, width), inPanel);
  auto load = [&](Value, unsigned) { return loadSum(b, scratch, scratchRow, inPanel); };
  auto emit = [&](int64_t span) { epilogue.emitSpan(row, column, span, load); };
  if (columns % width == 0)
    return emit(b.lanes);
  Value whole = arith::CmpIOp::create(b, arith::CmpIPredicate::ule, column, b.index(columns - b.lanes));
  b.ifThen(whole, [&] { emit(b.lanes); }, [&] {
    if (int64_t rest = columns % b.lanes)
      b.ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::eq, column, b.index(columns - rest)), [&] { emit(rest); });
  });
}

/// The epilogue of the tile before, whatever its height.
void TilePipeline::flush() {
  Value count = memref::LoadOp::create(b, pending, ValueRange{b.index(0)});
  Value row = memref::LoadOp::create(b, pending, ValueRange{b.index(1)});
  Value panel = memref::LoadOp::create(b, pending, ValueRange{b.index(2)});
  separately(b, "epilogue", [&] {
    b.loop(b.index(0), count, 1,
           [&](Value i) { emitRow(b, micro, b.addIndex(row, i), panel, columns, scratch, i, epilogue); });
  });
}

void TilePipeline::emitRows(Value a, Value aOrigin, Value panel, Value first, Value last) {
  int64_t rows = micro.tile.rows;
  const bool spread = k / micro.depth() >= items;
  // What is left for less than two tiles is shared by both: low tiles do not hide what they load.
  Value all = b.subIndex(last, first), few = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, all, b.index(2 * rows));
  Value many = arith::CmpIOp::create(b, arith::CmpIPredicate::ugt, all, b.index(rows));
  if (widenedPanel)
    widenPanel(panel);
  Value half = b.ceilDivIndex(all, 2);
  Value height = b.select(arith::AndIOp::create(b, few, many), half, b.index(rows));
  b.loop(b.index(0), Value(arith::CeilDivUIOp::create(b, all, height)), 1, [&](Value tile) {
    Value m = b.addIndex(first, Value(arith::MulIOp::create(b, tile, height)));
    Value count = b.minIndex(height, b.subIndex(last, m)), aRow = b.subIndex(m, aOrigin);
    Value before = memref::LoadOp::create(b, pending, ValueRange{b.index(0)});
    auto isWhole = [&](Value n) { return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, n, b.index(rows)); };
    Value both = arith::ConstantOp::create(b, b.getBoolAttr(false));
    if (spread)
      both = arith::AndIOp::create(b, isWhole(before), isWhole(count));
    b.ifThen(both, [] {}, [&] { flush(); });
    if (widened)
      widen(a, aRow, count);
    forRowCount(b, count, rows, [&](int64_t bodyRows) {
      auto item = [&](Value i) {
        for (Value matrix : prefetch ? ArrayRef<Value>(prefetch->tiles) : ArrayRef<Value>()) {
          int64_t perRow = items / rows;
          Value column = b.addIndex(b.mulIndex(panel, micro.width()), b.mulIndex(b.remIndex(i, perRow), b.lanes));
          memref::PrefetchOp::create(b, matrix, ValueRange{b.addIndex(m, b.divIndex(i, perRow)), column},
                                     /*isWrite=*/false, /*localityHint=*/2, /*isDataCache=*/true);
        }
        b.ifThen(both, [&] { emitItem(i); });
      };
      Beside beside{items, item};
      SmallVector<Value> acc = emitTile(b, micro, bodyRows, a, aRow, b.index(0), k, panels, panel, prefetch,
                                        spread && bodyRows == rows ? &beside : nullptr, widened, widenedPanel);
      for (int64_t i = 0; i < bodyRows; ++i)
        for (int64_t j = 0; j < micro.tile.vectors; ++j)
          vector::StoreOp::create(b, acc[i * micro.tile.vectors + j], scratch, ValueRange{b.index(i), b.index(j * b.lanes)});
    });
    for (auto [i, value] : llvm::enumerate(SmallVector<Value>{count, m, panel}))
      memref::StoreOp::create(b, value, pending, ValueRange{b.index(i)});
  });
}

void TilePipeline::finish() { flush(); }
