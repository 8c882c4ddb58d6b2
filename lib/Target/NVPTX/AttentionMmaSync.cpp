//===- AttentionMmaSync.cpp - flash attention on 16-bit mma.sync (sm_80 and newer) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A warp has 16 query rows; queries stay in registers, keys and values come in tiles through a three-stage cp.async
// pipeline, as rows that eight lanes of an ldmatrix read from eight different banks. Keys are worked off in blocks of 16,
// heads in 16 columns and a last 8, so 197 tokens cost 208 x 208 and a head of 72 costs 72.
//
// Up to 256 keys: all tiles of keys first, the scores of a row in registers, one softmax, then all tiles of values.
// More: a tile has keys and values, the softmax is kept online in base 2 and rescaled once a tile. Tiles that every row of
// the warp sees whole are not masked; the others go by blocks of 16 that are masked, or skipped when nothing is seen.
// Source of the scheme: Dao, FlashAttention-2, 2023.
//===----------------------------------------------------------------------===//
#include "AttentionBlock.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr float kLog2E = 1.44269504088896f;
constexpr float kMasked = -1.0e30f; // far below any score, far above the end of f32

class AttentionBuilder : public AttentionBlock {
public:
  AttentionBuilder(GpuBuilder &g, vit::AttentionOp op, const AttentionTile &tile, const Arguments &args, ValueRange scalars,
                   ValueRange pointers)
      : AttentionBlock(g, op, tile, args, scalars, pointers), bf16(op.getQuery().getType().getElementType().isBF16()) {}
  void build();

private:
  struct Softmax {
    std::array<Value, 2> maximum, sum; // of rows g and g + 8 of the warp's tile
    SmallVector<Value> output;         // by 8-column fragment: c0..c3
    SmallVector<Value> flat() const;
    static Softmax of(ValueRange values);
    static Softmax start(GpuBuilder &g, const AttentionTile &t);
  };

  // Tensor core.
  std::array<Value, 4> load4(Value base, ArrayRef<Value> offsets, int step, int row, bool transpose);
  std::array<Value, 2> load2(Value base, Value offset, int row, bool transpose);
  void mma(SmallVectorImpl<Value> &acc, unsigned at, ArrayRef<Value> a, ArrayRef<Value> b);
  void loadQuery();
  SmallVector<Value> scores(Value keys, int block);
  void accumulate(SmallVectorImpl<Value> &output, ArrayRef<Value> scores, Value values, int block);

  // Softmax.
  Value visible(Value key, Value row);
  void mask(SmallVectorImpl<Value> &scores, Value firstKey);
  Softmax step(const Softmax &in, Value firstKey, Value stage, int firstBlock, int blocks, bool masked);
  std::array<Value, 2> softmax(SmallVectorImpl<SmallVector<Value>> &scores, int keys);
  Value rowMaximum(Value v);
  SmallVector<Value> fragment(ArrayRef<Value> p);
  bool negativeScale() { return op.getScale().isNegative(); }
  Value scale() { return g.fconst(static_cast<float>(op.getScale().convertToDouble()) * kLog2E); }
  /// What is left to multiply scores with, in base 2.
  Value factor() { return negativeScale() ? g.fconst(1.0f) : scale(); }

  void onePass(bool works);
  void online();
  void store(const Softmax &state);
  void store(EpilogueEmitter &epilogue, Value row, Value column, ArrayRef<Value> values);

  Softmax choose(Value condition, const Softmax &otherwise, llvm::function_ref<Softmax()> then,
                 llvm::function_ref<Softmax()> other = nullptr);

  bool bf16;
  Value warpRow;                         // the warp's first row in the segment
  SmallVector<SmallVector<Value>> query; // A fragments by 16 columns, of 2 registers for the last 8
};

SmallVector<Value> AttentionBuilder::Softmax::flat() const {
  SmallVector<Value> all = {maximum[0], maximum[1], sum[0], sum[1]};
  all.append(output.begin(), output.end());
  return all;
}
AttentionBuilder::Softmax AttentionBuilder::Softmax::of(ValueRange v) {
  return {{v[0], v[1]}, {v[2], v[3]}, SmallVector<Value>(v.drop_front(4))};
}
AttentionBuilder::Softmax AttentionBuilder::Softmax::start(GpuBuilder &g, const AttentionTile &t) {
  Value none = g.fconst(kMasked), zero = g.fconst(0.0f);
  return {{none, none}, {zero, zero}, SmallVector<Value>(t.chunks() * 4, zero)};
}

AttentionBuilder::Softmax AttentionBuilder::choose(Value condition, const Softmax &otherwise,
                                                   llvm::function_ref<Softmax()> then, llvm::function_ref<Softmax()> other) {
  SmallVector<Value> before = otherwise.flat();
  auto ifOp = g.create<scf::IfOp>(ValueRange(before).getTypes(), condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  SmallVector<Value> yes = then().flat();
  g.create<scf::YieldOp>(yes);
  g.b.setInsertionPointToStart(ifOp.elseBlock());
  SmallVector<Value> no = other ? other().flat() : before;
  g.create<scf::YieldOp>(no);
  return Softmax::of(ifOp.getResults());
}

//===----------------------------------------------------------------------===//
// Tensor core
//===----------------------------------------------------------------------===//

std::array<Value, 4> AttentionBuilder::load4(Value base, ArrayRef<Value> offsets, int step, int row, bool transpose) {
  return g.ldmatrix4(g.gep(g.gep(base, offsets[step]), row * t.rowBytes()), transpose);
}

std::array<Value, 2> AttentionBuilder::load2(Value base, Value offset, int row, bool transpose) {
  auto type = LLVM::LLVMStructType::getLiteral(g.b.getContext(), {g.i32(), g.i32()});
  Value both = g.intrinsic(transpose ? "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.trans.b16"
                                     : "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.b16",
                           type, {g.gep(g.gep(base, offset), row * t.rowBytes())});
  return {g.extract(both, 0), g.extract(both, 1)};
}

/// acc[at..at + 3] += a b, over 16 of K, or 8 when a has two registers and b one.
void AttentionBuilder::mma(SmallVectorImpl<Value> &acc, unsigned at, ArrayRef<Value> a, ArrayRef<Value> b) {
  auto type = LLVM::LLVMStructType::getLiteral(g.b.getContext(), {g.f32(), g.f32(), g.f32(), g.f32()});
  SmallVector<Value> operands(a);
  operands.append(b.begin(), b.end());
  if (!bf16)
    for (Value &v : operands)
      v = g.create<LLVM::BitcastOp>(VectorType::get(2, g.b.getF16Type()), v);
  for (int r = 0; r < 4; ++r)
    operands.push_back(acc[at + r]);
  std::string name = std::string("llvm.nvvm.mma.m16n8k") + (a.size() == 2 ? "8" : "16") + ".row.col." + (bf16 ? "bf16" : "f32.f32");
  Value d = g.intrinsic(name, type, operands);
  for (int r = 0; r < 4; ++r)
    acc[at + r] = g.extract(d, r);
}

void AttentionBuilder::loadQuery() {
  Value base = g.gep(stageAt(t.stages - 1), g.mul(warp, 16 * t.rowBytes()));
  for (int step = 0; step < t.chunks() / 2; ++step)
    query.push_back(llvm::to_vector(load4(base, valueOffsets, step, 0, /*transpose=*/false)));
  if (t.chunks() % 2)
    query.push_back(llvm::to_vector(load2(base, lastOffset, 0, /*transpose=*/false)));
}

/// Scores of 16 keys, scaled only when the scale would turn their order round: two fragments. Score c of fragment f: row g + 8 (c / 2), key 8 f + 2 t + c % 2.
SmallVector<Value> AttentionBuilder::scores(Value keys, int block) {
  SmallVector<Value> s(8, g.fconst(0.0f));
  for (int step = 0; step < t.chunks() / 2; ++step) {
    auto b = load4(keys, keyOffsets, step, block * 16, /*transpose=*/false);
    mma(s, 0, query[step], {b[0], b[1]});
    mma(s, 4, query[step], {b[2], b[3]});
  }
  if (t.chunks() % 2) {
    auto b = load2(keys, lastOffset, block * 16, /*transpose=*/false);
    mma(s, 0, query.back(), {b[0]});
    mma(s, 4, query.back(), {b[1]});
  }
  if (negativeScale())
    for (Value &v : s)
      v = g.fmul(v, scale());
  return s;
}

/// output += probabilities of 16 keys times their values.
void AttentionBuilder::accumulate(SmallVectorImpl<Value> &output, ArrayRef<Value> p, Value values, int block) {
  for (int step = 0; step < t.chunks() / 2; ++step) {
    auto b = load4(values, valueOffsets, step, block * 16, /*transpose=*/true);
    mma(output, step * 8, p, {b[0], b[1]});
    mma(output, step * 8 + 4, p, {b[2], b[3]});
  }
  if (t.chunks() % 2) {
    auto b = load2(values, lastOffset, block * 16, /*transpose=*/true);
    mma(output, (t.chunks() - 1) * 4, p, {b[0], b[1]});
  }
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

/// Whether a query row sees a key (both counted in the segment).
Value AttentionBuilder::visible(Value key, Value row) {
  Value in = g.slt(key, keyCount);
  if (op.getCausal())
    in = g.andi(in, g.create<arith::CmpIOp>(arith::CmpIPredicate::sle, key, g.add(row, g.sub(keyCount, queryCount))).getResult());
  if (op.getKeyMask()) {
    unsigned number = op.getKeyMaskMutable().begin()->getOperandNumber();
    Value place = g.add(keyFirst, g.smin(key, g.sub(keyCount, g.c32(1))));
    Value mask = g.load(g.i32(), g.gep(pointers[args.ofOperand[number]], g.mul(g.zext64(place), 4)), 4);
    in = g.andi(in, g.create<arith::CmpIOp>(arith::CmpIPredicate::ne, mask, g.c32(0)).getResult());
  }
  return in;
}

/// Masks scores of 16 keys.
void AttentionBuilder::mask(SmallVectorImpl<Value> &s, Value firstKey) {
  Value row = g.add(warpRow, g.shr(lane, 2)), key = g.add(firstKey, g.mul(g.andi(lane, 3), 2));
  for (int i = 0; i < 8; ++i)
    s[i] = g.select(visible(g.add(key, (i / 4) * 8 + i % 2), g.add(row, (i / 2 % 2) * 8)), s[i], g.fconst(kMasked));
}

/// The largest of a row's maxima that its four lanes hold.
Value AttentionBuilder::rowMaximum(Value v) {
  v = g.fmax(v, g.shuffleXor(v, 1));
  return g.fmax(v, g.shuffleXor(v, 2));
}

/// 16 probabilities of the warp's rows as an A fragment.
SmallVector<Value> AttentionBuilder::fragment(ArrayRef<Value> p) {
  SmallVector<Value> a;
  for (int i = 0; i < 8; i += 2)
    a.push_back(g.toHalf2(p[i], p[i + 1], bf16));
  return a;
}

/// One step of the online softmax over `blocks` x 16 keys of a stage.
AttentionBuilder::Softmax AttentionBuilder::step(const Softmax &in, Value firstKey, Value stage, int firstBlock, int blocks,
                                                 bool masked) {
  SmallVector<SmallVector<Value>> s;
  for (int block = firstBlock; block < firstBlock + blocks; ++block) {
    s.push_back(scores(stage, block));
    if (masked)
      mask(s.back(), g.add(firstKey, block * 16));
  }
  Softmax out = in;
  for (int half = 0; half < 2; ++half) {
    Value best = in.maximum[half];
    for (auto &block : s)
      for (int i : {0, 1, 4, 5})
        best = g.fmax(best, block[i + half * 2]);
    best = rowMaximum(best);
    Value shift = g.fmul(best, g.create<arith::NegFOp>(factor()));
    Value shrink = g.exp2(g.fma(in.maximum[half], factor(), shift));
    Value sum = g.fmul(in.sum[half], shrink);
    for (auto &block : s)
      for (int i : {0, 1, 4, 5}) {
        Value &v = block[i + half * 2], p = g.exp2(g.fma(v, factor(), shift));
        // A masked score must not count when the maximum is a masked one too.
        if (masked)
          p = g.select(g.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, v, g.fconst(kMasked * 0.5f)).getResult(), p, g.fconst(0.0f));
        v = p;
        sum = g.fadd(sum, p);
      }
    out.maximum[half] = best;
    out.sum[half] = sum;
    for (auto [i, o] : llvm::enumerate(out.output))
      if (int(i / 2 % 2) == half)
        o = g.fmul(o, shrink);
  }
  for (int block = 0; block < blocks; ++block)
    accumulate(out.output, fragment(s[block]), g.gep(stage, t.matrixBytes()), firstBlock + block);
  return out;
}

/// The softmax of all scores of a row, `keys` of which exist: probabilities as A fragments, and their sums.
std::array<Value, 2> AttentionBuilder::softmax(SmallVectorImpl<SmallVector<Value>> &s, int keys) {
  // Null where the key exists for sure.
  auto seen = [&](size_t block, int c) {
    int left = keys - int(block) * 16 - (c / 4) * 8 - c % 2;
    return left > 6 ? Value() : g.slt(g.mul(g.andi(lane, 3), 2), g.c32(left));
  };
  std::array<Value, 2> sums;
  for (int half = 0; half < 2; ++half) {
    Value best = g.fconst(kMasked), sum = g.fconst(0.0f);
    for (auto [b, block] : llvm::enumerate(s))
      for (int i : {0, 1, 4, 5}) {
        Value in = seen(b, i);
        best = g.fmax(best, in ? g.select(in, block[i + half * 2], best) : block[i + half * 2]);
      }
    Value shift = g.fmul(rowMaximum(best), g.create<arith::NegFOp>(factor()));
    for (auto [b, block] : llvm::enumerate(s))
      for (int i : {0, 1, 4, 5}) {
        Value &v = block[i + half * 2];
        v = g.exp2(g.fma(v, factor(), shift));
        if (Value in = seen(b, i))
          v = g.select(in, v, g.fconst(0.0f));
        sum = g.fadd(sum, v);
      }
    sums[half] = sum;
  }
  for (SmallVector<Value> &block : s)
    block = fragment(block);
  return sums;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

void AttentionBuilder::store(EpilogueEmitter &epilogue, Value row, Value column, ArrayRef<Value> values) {
  epilogue.beginColumns(column);
  when(g.slt(row, queryCount), [&] { epilogue.emitRow(g.add(outputFirst, row), values); });
}

void AttentionBuilder::store(const Softmax &state) {
  int64_t columns = op.getQuery().getType().getDimSize(1);
  EpilogueEmitter runs(g, op.getEpilogue(), 1, epilogueIns(op, args, pointers), epilogueResults(op, args, pointers), columns, 8);
  EpilogueEmitter pairs(g, op.getEpilogue(), 1, epilogueIns(op, args, pointers), epilogueResults(op, args, pointers), columns, 2);
  Value row0 = g.add(warpRow, g.shr(lane, 2)), column0 = g.mul(headIndex, t.head), third = g.andi(lane, 3);
  for (int half = 0; half < 2; ++half) {
    Value total = state.sum[half];
    total = g.fadd(total, g.shuffleXor(total, 1));
    total = g.fadd(total, g.shuffleXor(total, 2));
    // No key seen: the result is 0, not 0 / 0.
    Value none = g.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, total, g.fconst(0.0f));
    Value inverse = g.select(none, g.fconst(0.0f), g.rcp(total));
    Value row = g.add(row0, half * 8);
    auto value = [&](int fragment, int c) { return g.fmul(state.output[fragment * 4 + half * 2 + c], inverse); };
    int fragment = 0;
    for (; fragment + 4 <= t.chunks(); fragment += 4) {
      // Thread t of four holds columns 2t, 2t + 1 of four fragments; after two exchanges it has fragment t whole.
      SmallVector<std::array<Value, 2>> v;
      for (int j = 0; j < 4; ++j)
        v.push_back({value(fragment + j, 0), value(fragment + j, 1)});
      for (int bit : {1, 2}) {
        Value odd = g.create<arith::CmpIOp>(arith::CmpIPredicate::ne, g.andi(third, bit), g.c32(0));
        for (int j = 0; j < 4; ++j) {
          if (j & bit)
            continue;
          for (int c = 0; c < 2; ++c) {
            Value low = v[j][c], high = v[j + bit][c];
            Value other = g.shuffleXor(g.select(odd, low, high), bit);
            v[j][c] = g.select(odd, other, low);
            v[j + bit][c] = g.select(odd, high, other);
          }
        }
      }
      SmallVector<Value> run;
      for (int j = 0; j < 4; ++j)
        run.append({v[j][0], v[j][1]});
      store(runs, row, g.add(g.add(column0, fragment * 8), g.mul(third, 8)), run);
    }
    for (; fragment < t.chunks(); ++fragment)
      store(pairs, row, g.add(g.add(column0, fragment * 8), g.mul(third, 2)), {value(fragment, 0), value(fragment, 1)});
  }
}

//===----------------------------------------------------------------------===//
// The two kernels
//===----------------------------------------------------------------------===//

/// All keys, softmax, all values. A warp that has no rows (`works` false) only copies and waits with the others.
void AttentionBuilder::onePass(bool works) {
  int keys = t.onePassKeys, tiles = (keys + t.keys - 1) / t.keys;
  auto rowsOf = [&](int tile) { return std::min(t.keys, keys - tile * t.keys); };
  auto issue = [&](int i) {
    if (i < 2 * tiles) {
      int tile = i % tiles, rows = rowsOf(tile);
      copyTile(stageAt(i % t.stages), 1 + i / tiles, g.c32(tile), rows % 16 ? g.c32(rows) : Value(), (rows + 15) / 16 * 16);
    }
    g.cpAsyncCommit();
  };
  for (int i = 0; i + 1 < t.stages; ++i)
    issue(i);
  Softmax state = Softmax::start(g, t);
  SmallVector<SmallVector<Value>> s; // by 16 keys
  for (int i = 0; i < 2 * tiles; ++i) {
    if (i == 0) {
      // The last stage has the queries until every warp has taken its own.
      g.cpAsyncWait(t.stages - 1);
      g.barrier();
      if (works)
        loadQuery();
    }
    // The tile has landed, and every warp is done with the stage that is filled next.
    g.cpAsyncWait(t.stages - 2);
    g.barrier();
    issue(i + t.stages - 1);
    if (!works)
      continue;
    int tile = i % tiles, blocks = (rowsOf(tile) + 15) / 16;
    for (int block = 0; block < blocks; ++block) {
      if (i < tiles) {
        s.push_back(scores(stageAt(i % t.stages), block));
        continue;
      }
      SmallVector<Value> &p = s[tile * (t.keys / 16) + block];
      accumulate(state.output, p, stageAt(i % t.stages), block);
    }
    if (i + 1 == tiles)
      state.sum = softmax(s, keys);
  }
  if (works)
    store(state);
}

void AttentionBuilder::online() {
  Value offset = g.sub(keyCount, queryCount), zero = g.c32(0);
  auto seenBy = [&](Value rows) { // keys that the first `rows` rows see
    return op.getCausal() ? g.smax(g.smin(keyCount, g.add(rows, offset)), zero) : keyCount;
  };
  Value tiles = g.div(g.add(seenBy(g.add(queryBlock, t.rows())), t.keys - 1), t.keys);
  auto issue = [&](Value tile, Value stage) {
    when(g.slt(tile, tiles), [&] {
      Value count = g.sub(keyCount, g.mul(tile, t.keys));
      copyTile(stage, 1, tile, count, t.keys);
      copyTile(g.gep(stage, t.matrixBytes()), 2, tile, count, t.keys);
    });
    g.cpAsyncCommit();
  };
  for (int i = 0; i + 1 < t.stages; ++i)
    issue(g.c32(i), stageAt(i));
  // The last stage has the queries until every warp has taken its own.
  g.cpAsyncWait(t.stages - 1);
  g.barrier();
  loadQuery();

  // A warp whose rows lie past the segment's end only helps to copy.
  Value works = g.slt(warpRow, queryCount);
  Value warpLast = g.select(works, seenBy(g.add(warpRow, 16)), zero), wholeLast = g.select(works, seenBy(g.add(warpRow, 1)), zero);
  SmallVector<Value> initial = Softmax::start(g, t).flat();
  size_t carried = initial.size();
  initial.append({zero, g.c32((t.stages - 1) * t.stageBytes())}); // offsets of the stages that are read and filled
  auto loop = g.create<scf::ForOp>(zero, tiles, g.c32(1), initial);
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    ValueRange carry = loop.getRegionIterArgs();
    Value tile = loop.getInductionVar(), reading = carry[carried], filling = carry[carried + 1];
    // The tile has landed, and every warp is done with the stage that is filled next.
    g.cpAsyncWait(t.stages - 2);
    g.barrier();
    issue(g.add(tile, t.stages - 1), g.gep(shared, filling));
    Value stage = g.gep(shared, reading), firstKey = g.mul(tile, t.keys);
    Softmax state = Softmax::of(carry.take_front(carried));
    auto byBlocks = [&] {
      Softmax now = state;
      for (int block = 0; block < t.keys / 16; ++block)
        now = choose(g.slt(g.add(firstKey, block * 16), warpLast), now,
                     [&] { return step(now, firstKey, stage, block, 1, /*masked=*/true); });
      return now;
    };
    if (op.getKeyMask())
      state = byBlocks();
    else
      state = choose(g.create<arith::CmpIOp>(arith::CmpIPredicate::sle, g.add(firstKey, t.keys), wholeLast), state,
                     [&] { return step(state, firstKey, stage, 0, t.keys / 16, /*masked=*/false); }, byBlocks);
    SmallVector<Value> out = state.flat();
    for (Value at : {reading, filling}) {
      Value moved = g.add(at, t.stageBytes());
      out.push_back(g.select(g.eq(moved, g.c32(t.sharedBytes())), zero, moved));
    }
    g.create<scf::YieldOp>(out);
  }
  store(Softmax::of(loop.getResults().take_front(carried)));
}

void AttentionBuilder::build() {
  begin();
  warpRow = g.add(queryBlock, g.mul(warp, 16));
  auto start = [&] {
    copyQuery();
    g.cpAsyncCommit();
  };
  if (!op.getUniform()) // the grid has more blocks than the segments need
    return when(g.slt(queryBlock, queryCount), [&] {
      start();
      online();
    });
  start();
  if (!t.onePassKeys)
    return online();
  if ((*op.getUniform() + 15) / 16 % t.warps == 0) // every warp of every block has rows
    return onePass(/*works=*/true);
  auto ifOp = g.create<scf::IfOp>(g.slt(warpRow, queryCount), /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  onePass(/*works=*/true);
  g.b.setInsertionPointToStart(ifOp.elseBlock());
  onePass(/*works=*/false);
}

} // namespace

void nvptx::emitAttentionMmaSync(GpuBuilder &g, vit::AttentionOp op, const AttentionTile &tile, const Arguments &args,
                                 ValueRange scalars, ValueRange pointers) {
  AttentionBuilder(g, op, tile, args, scalars, pointers).build();
}
