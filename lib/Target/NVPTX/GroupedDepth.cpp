//===- GroupedDepth.cpp - sums over the blocks of K that a gate turned on -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The pipeline of LinearMmaSync.cpp over a sequence of items, each the rows of one block's list that a tile holds, of which
// every stage is 64 bytes of the block's K. A table of the items is made first, one a thread. The row that a thread copies
// for an item is read from the list one item ahead. Warps whose rows of a tile are beyond the list's end multiply nothing.
//===----------------------------------------------------------------------===//
#include "GroupedDepth.h"

#include "LinearCopies.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vitrify::nvptx;

namespace {

using Tile = GroupedDepthTile;
constexpr int kChunk = 16, kStepBytes = 32, kSums = 16; // bytes of a cp.async; of K a mma.sync; f32 of a thread

class DepthBuilder {
public:
  DepthBuilder(GpuBuilder &g, const GroupedDepthKernel &kernel) : g(g), k(kernel), t(kernel.tile) {}
  void build(Value rows64, Value input, Value weight, Value list, Value starts, EpilogueEmitter &epilogue);

private:
  struct Item {
    Value entry, block, rows; ///< first entry in the list, block of K, rows of the tile that exist
  };
  int64_t stagesOfItem() const { return (k.blockBytes + Tile::kDepthBytes - 1) / Tile::kDepthBytes; }
  void when(Value condition, llvm::function_ref<void()> body);
  void clearSums();
  Value makeItems(Value starts);
  Item item(Value index);
  Value listed(Value entry) { return g.load(g.i32(), g.gep(list, g.mul(g.zext64(entry), 4)), 4); }
  Value rowFor(const Item &item) { return listed(g.add(item.entry, g.smin(copyRow, g.sub(item.rows, g.c32(1))))); }
  void issue(Value stage, const Item &item, Value part, Value row);
  SmallVector<Value> multiply(Value stage, ValueRange sums);
  void addToSums(const Item &item, ValueRange sums);

  GpuBuilder &g;
  const GroupedDepthKernel &k;
  const Tile &t;
  Value shared, sums, table, rows, firstRow, firstColumn, lane, warpRow, warpColumn, tid, list, input, weight;
  Value copyRow, copyChunk, copyTarget;
  SmallVector<Value> weightTargets, weightRows, weightExists, wideOffsets, narrowOffsets;
};

void DepthBuilder::when(Value condition, llvm::function_ref<void()> body) {
  auto ifOp = g.create<scf::IfOp>(condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  body();
}

void DepthBuilder::clearSums() {
  Type four = VectorType::get(4, g.i32());
  Value zero = g.create<LLVM::ZeroOp>(four);
  auto loop = g.create<scf::ForOp>(g.mul(tid, 16), g.c32(t.sumBytes()), g.c32(t.threads() * 16));
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(loop.getBody());
  g.store(zero, g.gep(sums, loop.getInductionVar()), 16);
}

/// The table of items, and how many there are. Every thread finds the item of its number.
Value DepthBuilder::makeItems(Value starts) {
  Value counts = g.gep(table, Tile::kItemBytes * t.items(k.blocks)), chunks = g.div(g.add(rows, k.chunk - 1), k.chunk);
  Value chunk = g.mul(g.blockX(), t.rows / k.chunk), after = g.smin(g.add(chunk, t.rows / k.chunk), chunks);
  auto count = g.create<scf::ForOp>(tid, g.c32(k.blocks), g.c32(t.threads()));
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(count.getBody());
    Value block = count.getInductionVar();
    for (int i = 0; i < 2; ++i) {
      Value element = g.add(g.mul(g.zext64(i ? after : chunk), k.startsStride), g.zext64(block));
      g.store(g.load(g.i32(), g.gep(starts, g.mul(element, 4)), 4), g.gep(counts, g.add(g.mul(block, 8), i * 4)), 4);
    }
  }
  g.barrier();
  auto walk = g.create<scf::ForOp>(g.c32(0), g.c32(k.blocks), g.c32(1), ValueRange{g.c32(0), g.c32(0), g.c32(0), g.c32(0)});
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(walk.getBody());
    Value block = walk.getInductionVar(), before = walk.getRegionIterArg(0);
    Value from = g.load(g.i32(), g.gep(counts, g.mul(block, 8)), 4), to = g.load(g.i32(), g.gep(counts, g.add(g.mul(block, 8), 4)), 4);
    Value next = g.add(before, g.div(g.add(g.sub(to, from), t.tileRows - 1), t.tileRows));
    Value isMine = g.create<arith::AndIOp>(g.create<arith::CmpIOp>(arith::CmpIPredicate::sle, before, tid), g.slt(tid, next));
    Value first = g.add(from, g.mul(g.sub(tid, before), t.tileRows));
    SmallVector<Value> carried{next, g.select(isMine, g.add(g.mul(block, rows), first), walk.getRegionIterArg(1)),
                               g.select(isMine, block, walk.getRegionIterArg(2)),
                               g.select(isMine, g.smin(g.sub(to, first), g.c32(t.tileRows)), walk.getRegionIterArg(3))};
    g.create<scf::YieldOp>(carried);
  }
  Value total = walk.getResult(0);
  when(g.slt(tid, total), [&] {
    SmallVector<Value> fields{walk.getResult(1), walk.getResult(2), walk.getResult(3), g.c32(0)};
    g.store(g.create<vector::FromElementsOp>(VectorType::get(4, g.i32()), fields), g.gep(table, g.mul(tid, Tile::kItemBytes)), 16);
  });
  g.barrier();
  return total;
}

DepthBuilder::Item DepthBuilder::item(Value index) {
  Value fields = g.load(VectorType::get(4, g.i32()), g.gep(table, g.mul(index, Tile::kItemBytes)), 16);
  auto field = [&](int i) { return g.create<vector::ExtractOp>(fields, i).getResult(); };
  return {field(0), field(1), field(2)};
}

/// Copies part `part` of an item's K: this thread's chunk of row `row` of x, and of its rows of w.
void DepthBuilder::issue(Value stage, const Item &item, Value part, Value row) {
  Value byte = g.add(g.mul(part, Tile::kDepthBytes), g.mul(copyChunk, kChunk));
  Value isInside; // null where every chunk of a stage exists
  if (k.blockBytes % Tile::kDepthBytes != 0) {
    isInside = g.slt(byte, g.c32(k.blockBytes));
    byte = g.select(isInside, byte, g.c32(0));
  }
  Value offset = g.add(g.mul(g.zext64(item.block), k.blockBytes), g.zext64(byte));
  auto bytes = [&](Value exists) {
    Value both = exists && isInside ? g.create<arith::AndIOp>(exists, isInside).getResult() : exists ? exists : isInside;
    return both ? g.select(both, g.c32(kChunk), g.c32(0)) : Value();
  };
  Value from = g.gep(input, g.add(g.mul(g.zext64(row), k.inputStride), offset));
  g.cpAsync16(g.gep(stage, copyTarget), from, bytes(g.slt(copyRow, item.rows)));
  for (auto [target, weightRow, exists] : llvm::zip_equal(weightTargets, weightRows, weightExists))
    g.cpAsync16(g.gep(stage, target), g.gep(weight, g.add(g.mul(g.zext64(weightRow), k.weightStride), offset)), bytes(exists));
}

SmallVector<Value> DepthBuilder::multiply(Value stage, ValueRange initial) {
  SmallVector<Value> c(initial);
  for (int step = 0; step < Tile::kDepthBytes / kStepBytes; ++step) {
    auto wide = g.ldmatrix4(g.gep(stage, wideOffsets[step]));
    for (unsigned n = 0; n < 4; n += 2) {
      auto pair = g.ldmatrix4(g.gep(g.gep(stage, narrowOffsets[step]), int64_t(n) * 8 * Tile::kDepthBytes));
      for (unsigned j = 0; j < 2; ++j) {
        MutableArrayRef<Value> own = MutableArrayRef<Value>(c).slice((n + j) * 4, 4);
        Value d = emitMma(g, k.type, wide, pair[2 * j], pair[2 * j + 1], own, false);
        for (unsigned r = 0; r < 4; ++r)
          own[r] = g.extract(d, r);
      }
    }
  }
  return c;
}

/// A thread owns eight neighbouring columns of two rows of the tile; no other has these rows and columns in this item.
void DepthBuilder::addToSums(const Item &item, ValueRange values) {
  Type four = VectorType::get(4, g.f32());
  for (int half = 0; half < 2; ++half) {
    Value place = g.add(g.add(g.mul(warpRow, 16), g.shr(lane, 2)), half * 8);
    when(g.slt(place, item.rows), [&] {
      Value own = g.sub(listed(g.add(item.entry, place)), firstRow);
      Value column = g.add(g.mul(warpColumn, 32), g.mul(g.andi(lane, 3), kLinearRun));
      Value at = g.gep(sums, g.mul(g.add(g.mul(own, Tile::kColumns), column), 4));
      for (int v = 0; v < 2; ++v) {
        Value before = g.load(four, g.gep(at, v * 16), 16);
        SmallVector<Value> lanes;
        for (int i = 0; i < 4; ++i)
          lanes.push_back(values[(v * 2 + i / 2) * 4 + half * 2 + i % 2]);
        Value more = g.create<vector::FromElementsOp>(four, lanes);
        g.store(g.create<arith::AddFOp>(before, more), g.gep(at, v * 16), 16);
      }
    });
  }
}

void DepthBuilder::build(Value rows64, Value x, Value w, Value lists, Value starts, EpilogueEmitter &epilogue) {
  input = x, weight = w, list = lists;
  shared = g.dynamicShared();
  sums = g.gep(shared, Tile::kStages * t.stageBytes());
  table = g.gep(sums, t.sumBytes());
  rows = g.trunc32(rows64);
  tid = g.threadX();
  lane = g.andi(tid, 31);
  Value warp = g.shr(tid, 5);
  warpRow = g.div(warp, Tile::kWarpColumns);
  warpColumn = g.rem(warp, Tile::kWarpColumns);
  firstRow = g.mul(g.blockX(), t.rows);
  firstColumn = g.mul(g.blockY(), Tile::kColumns);

  // What the thread copies: one chunk of a row of x, and of as many rows of w as it takes.
  copyRow = g.div(tid, Tile::kDepthBytes / kChunk);
  copyChunk = g.rem(tid, Tile::kDepthBytes / kChunk);
  auto target = [&](Value placed) {
    return g.add(g.mul(placed, Tile::kDepthBytes), g.mul(swizzledChunk(g, copyChunk, placed, Tile::kDepthBytes), kChunk));
  };
  copyTarget = target(copyRow);
  for (int at = 0; at < Tile::kColumns; at += t.tileRows) {
    Value row = g.add(copyRow, at), column = g.add(firstColumn, row);
    weightTargets.push_back(g.add(target(placeWeightRow(g, row, false)), t.tileRows * Tile::kDepthBytes));
    weightRows.push_back(g.smin(column, g.c32(k.columns - 1)));
    weightExists.push_back(k.columns % Tile::kColumns ? g.slt(column, g.c32(k.columns)) : Value());
  }
  Value matrix = g.shr(lane, 3);
  Value wideRow = g.add(g.mul(warpRow, 16), g.andi(lane, 15));
  Value narrowRow = g.add(g.mul(warpColumn, 32), g.add(g.andi(lane, 7), g.shl(g.shr(matrix, 1), 3)));
  for (int step = 0; step < Tile::kDepthBytes / kStepBytes; ++step) {
    auto offset = [&](Value row, Value chunk) {
      return g.add(g.mul(row, Tile::kDepthBytes), g.mul(swizzledChunk(g, chunk, row, Tile::kDepthBytes), kChunk));
    };
    wideOffsets.push_back(offset(wideRow, g.add(g.shr(lane, 4), 2 * step)));
    narrowOffsets.push_back(g.add(offset(narrowRow, g.add(g.andi(matrix, 1), 2 * step)), t.tileRows * Tile::kDepthBytes));
  }

  clearSums();
  Value items = makeItems(starts), end = g.mul(items, stagesOfItem()), last = g.sub(items, g.c32(1));
  int stages = Tile::kStages, each = stagesOfItem(), ahead = stages - 1;
  when(g.slt(g.c32(0), items), [&] {
    for (int s = 0; s < ahead; ++s) {
      when(g.slt(g.c32(s), end), [&] {
        Item next = item(g.c32(s / each));
        issue(g.gep(shared, s * t.stageBytes()), next, g.c32(s % each), rowFor(next));
      });
      g.cpAsyncCommit();
    }
    auto bounded = [&](Value index) { return g.smin(index, last); };
    SmallVector<Value> initial(kSums, g.fconst(0.0f));
    // Offsets of the stages read and filled; item and part that are multiplied, and that are copied; the row copied now and then.
    initial.append({g.c32(0), g.c32(ahead * t.stageBytes()), g.c32(0), g.c32(0), g.c32(ahead / each), g.c32(ahead % each),
                    rowFor(item(bounded(g.c32(ahead / each)))), rowFor(item(bounded(g.c32(ahead / each + 1))))});
    auto loop = g.create<scf::ForOp>(g.c32(0), end, g.c32(1), initial);
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    ValueRange carried = loop.getRegionIterArgs().drop_front(kSums);
    Value reading = carried[0], filling = carried[1], done = carried[2], donePart = carried[3], next = carried[4],
          nextPart = carried[5], row = carried[6], rowAfter = carried[7];
    g.cpAsyncWait(stages - 2);
    g.barrier();
    when(g.slt(g.add(loop.getInductionVar(), ahead), end),
         [&] { issue(g.gep(shared, filling), item(next), nextPart, row); });
    g.cpAsyncCommit();
    Item now = item(done);
    SmallVector<Type> types(kSums, g.f32());
    auto product = g.create<scf::IfOp>(types, g.slt(g.mul(warpRow, 16), now.rows), /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard inner(g.b);
      ValueRange before = loop.getRegionIterArgs().take_front(kSums);
      g.b.setInsertionPointToStart(product.thenBlock());
      g.create<scf::YieldOp>(multiply(g.gep(shared, reading), before));
      g.b.setInsertionPointToStart(product.elseBlock());
      g.create<scf::YieldOp>(before);
    }
    Value isWhole = g.eq(donePart, g.c32(each - 1));
    auto added = g.create<scf::IfOp>(types, isWhole, /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(added.thenBlock());
      addToSums(now, product.getResults());
      g.create<scf::YieldOp>(SmallVector<Value>(kSums, g.fconst(0.0f)));
      g.b.setInsertionPointToStart(added.elseBlock());
      g.create<scf::YieldOp>(product.getResults());
    }
    Value isLastPart = g.eq(nextPart, g.c32(each - 1)), after = g.select(isLastPart, g.add(next, 1), next);
    auto newRow = g.create<scf::IfOp>(TypeRange{g.i32()}, isLastPart, /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(newRow.thenBlock());
      g.create<scf::YieldOp>(ValueRange{rowFor(item(bounded(g.add(next, 2))))});
      g.b.setInsertionPointToStart(newRow.elseBlock());
      g.create<scf::YieldOp>(ValueRange{rowAfter});
    }
    auto moved = [&](Value offset) {
      Value further = g.add(offset, t.stageBytes());
      return g.select(g.eq(further, g.c32(stages * t.stageBytes())), g.c32(0), further);
    };
    SmallVector<Value> out(added.getResults());
    out.append({moved(reading), moved(filling), g.select(isWhole, g.add(done, 1), done),
                g.select(isWhole, g.c32(0), g.add(donePart, 1)), after, g.select(isLastPart, g.c32(0), g.add(nextPart, 1)),
                g.select(isLastPart, rowAfter, row), newRow.getResult(0)});
    g.create<scf::YieldOp>(out);
  });
  g.barrier();

  int runs = Tile::kColumns / kLinearRun;
  Value run = g.rem(tid, runs);
  epilogue.beginColumns(g.add(firstColumn, g.mul(run, kLinearRun)));
  Value height = g.smin(g.c32(t.rows), g.sub(rows, firstRow));
  auto loop = g.create<scf::ForOp>(g.div(tid, runs), height, g.c32(t.threads() / runs));
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(loop.getBody());
  Value own = loop.getInductionVar();
  Value at = g.gep(sums, g.mul(g.add(g.mul(own, Tile::kColumns), g.mul(run, kLinearRun)), 4));
  SmallVector<Value> values;
  for (int v = 0; v < 2; ++v) {
    Value part = g.load(VectorType::get(4, g.f32()), g.gep(at, v * 16), 16);
    for (int i = 0; i < 4; ++i)
      values.push_back(g.create<vector::ExtractOp>(part, i));
  }
  epilogue.emitRow(g.add(firstRow, own), values);
}

} // namespace

void vitrify::nvptx::emitGroupedDepth(GpuBuilder &g, const GroupedDepthKernel &kernel, Value rows, Value input, Value weight,
                                      Value list, Value starts, EpilogueEmitter &epilogue) {
  DepthBuilder(g, kernel).build(rows, input, weight, list, starts, epilogue);
}
