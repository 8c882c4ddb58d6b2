//===- Attention.cpp - attention on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A work unit is a block of queries of one head and segment. Everything is kept transposed, with queries in the lanes:
//   S^T[key][query]  = K (rows as they lie, broadcast) times Q^T (packed once a unit)
//   softmax          down the columns, so maxima and sums are elementwise and nothing is reduced across lanes
//   O^T[d][query]   += V^T (elements broadcast) times P^T
// over blocks of keys with the running maximum m and sum l of Milakov and Gimelshein (Online normalizer calculation for
// softmax, 2018), so the scores of a block of keys for two vectors of queries are all that is ever stored. With bf16
// products, P and V are packed as pairs of keys. At the end O^T is divided by l, transposed and given to the epilogue.
//===----------------------------------------------------------------------===//
#include "AttentionShape.h"
#include "Segments.h"

#include <limits>
#include <numbers>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

namespace {
/// A block of queries and the keys of its segment. All are index values.
struct Work {
  Value head, query, queryCount, out; ///< rows of q and of the result
  Value key, keyCount;                ///< rows of k and v
  Value causalOffset;                 ///< key position that query 0 of the block still sees
};

class Emitter {
public:
  Emitter(KernelFrame &frame, LaneBuilder &b, const AttentionShape &shape)
      : frame(frame), b(b), op(cast<vit::AttentionOp>(frame.op)), shape(shape), epilogue(frame.epilogue(b)) {
    q = frame.operand(op.getQueryMutable().getOperandNumber());
    k = frame.operand(op.getKeyMutable().getOperandNumber());
    v = frame.operand(op.getValueMutable().getOperandNumber());
    if (op.getKeyMask())
      mask = frame.operand(op.getKeyMaskMutable()[0].getOperandNumber());
    Type f32 = b.getF32Type(), word = shape.dot ? Type(b.getI32Type()) : f32;
    int64_t lanes = b.lanes, pad = 16; // tiles may store this many rows beyond the last key
    packedQ = b.scratch({shape.queries / (2 * lanes) + 1, shape.steps(), 2 * lanes}, word);
    scores = b.scratch({shape.keys + pad, 2 * lanes}, f32);
    if (shape.dot) {
      packedP = b.scratch({shape.keys / 2 + 1, 2 * lanes}, word);
      packedV = b.scratch({shape.keys / 2 + 1, shape.headDim}, word);
    }
    output = b.scratch({shape.headDim, shape.queries + lanes}, f32);
    maxima = b.scratch({shape.queries + lanes}, f32);
    sums = b.scratch({shape.queries + lanes}, f32);
    factors = b.scratch({2 * lanes}, f32);
    rows = b.scratch({lanes, int64_t(llvm::alignTo(shape.headDim, lanes))}, f32);
  }

  void emit(const Work &work);

private:
  void packQueries(const Work &work, Value groups);
  void packValues(Value firstKey, Value count, Value column);
  void emitScores(int64_t vectors, Value panel, Value firstKey, Value count, Value column);
  void emitSoftmax(const Work &work, int64_t vectors, Value query, Value firstKey, Value count);
  void emitOutput(int64_t vectors, Value query, Value firstKey, Value count, Value column);
  void emitKeys(const Work &work, int64_t vectors, Value query, Value panel, Value firstKey, Value count, Value column);
  void finish(const Work &work, Value groups);

  KernelFrame &frame;
  LaneBuilder &b;
  vit::AttentionOp op;
  const AttentionShape &shape;
  EpilogueEmitter epilogue;
  Value q, k, v, mask;
  Value packedQ, scores, packedP, packedV, output, maxima, sums, factors, rows;
};
} // namespace

/// The transpose of lanes x lanes values, by log2(lanes) perfect shuffles.
static SmallVector<Value> transposeLanes(LaneBuilder &b, SmallVector<Value> values) {
  unsigned n = b.lanes;
  SmallVector<int64_t> low, high;
  for (unsigned i = 0; i < n; ++i) {
    low.push_back(i / 2 + (i % 2) * n);
    high.push_back(n / 2 + i / 2 + (i % 2) * n);
  }
  for (unsigned step = 1; step < n; step *= 2) {
    SmallVector<Value> next(n);
    for (unsigned i = 0; i < n / 2; ++i) {
      next[2 * i] = vector::ShuffleOp::create(b, values[i], values[i + n / 2], low);
      next[2 * i + 1] = vector::ShuffleOp::create(b, values[i], values[i + n / 2], high);
    }
    values = std::move(next);
  }
  return values;
}

/// Bits of bf16 lanes widened to i32.
static Value wordOf(LaneBuilder &b, Value bf16Lanes) {
  Value bits = arith::BitcastOp::create(b, b.laneType(b.getIntegerType(16)), bf16Lanes);
  return arith::ExtUIOp::create(b, b.i32Lanes(), bits);
}
static Value pairOf(LaneBuilder &b, Value low, Value high) {
  return arith::OrIOp::create(b, low, Value(arith::ShLIOp::create(b, high, b.splatI32(16))));
}
/// Q^T: words (pairs of bf16, or f32) of `lanes` queries at a time.
void Emitter::packQueries(const Work &work, Value groups) {
  int64_t lanes = b.lanes, depth = shape.dot ? 2 : 1;
  Value column = b.mulIndex(work.head, shape.headDim);
  b.loop(b.index(0), groups, 1, [&](Value group) {
    Value first = b.mulIndex(group, lanes), panel = b.divIndex(group, 2);
    Value place = b.mulIndex(b.remIndex(group, 2), lanes);
    SmallVector<Value> queryRows;
    Value last = b.subIndex(work.queryCount, b.index(1));
    for (int64_t i = 0; i < lanes; ++i)
      queryRows.push_back(b.addIndex(work.query, b.minIndex(b.addIndex(first, i), last)));
    auto packWords = [&](Value step, unsigned elements) {
      Value at = b.addIndex(column, b.mulIndex(step, depth));
      SmallVector<Value> block;
      for (Value row : queryRows) {
        if (!shape.dot) {
          block.push_back(b.load(q, {row, at}, elements));
          continue;
        }
        Value raw = b.loadRaw(VectorType::get({2 * lanes}, b.getBF16Type()), q, {row, at}, elements);
        block.push_back(vector::BitCastOp::create(b, b.i32Lanes(), raw));
      }
      block = transposeLanes(b, std::move(block));
      for (unsigned s = 0; s < llvm::divideCeil(elements, depth); ++s)
        vector::StoreOp::create(b, block[s], packedQ, ValueRange{panel, b.addIndex(step, s), place});
    };
    int64_t whole = shape.headDim / (lanes * depth) * lanes;
    b.loop(b.index(0), b.index(whole), lanes, [&](Value step) { packWords(step, lanes * depth); });
    if (int64_t rest = shape.headDim - whole * depth)
      packWords(b.index(whole), rest);
  });
}

/// Pairs of value rows, the second 0 after the last key.
void Emitter::packValues(Value firstKey, Value count, Value column) {
  auto packRows = [&](Value pair, bool both) {
    Value row = b.addIndex(firstKey, b.mulIndex(pair, 2));
    b.forColumns(shape.headDim, [&](Value d, unsigned valid) {
      Value at = b.addIndex(column, d);
      VectorType type = b.laneType(b.getBF16Type());
      Value word = wordOf(b, b.loadRaw(type, v, {row, at}, valid));
      if (both)
        word = pairOf(b, word, wordOf(b, b.loadRaw(type, v, {b.addIndex(row, 1), at}, valid)));
      if (valid == b.lanes)
        vector::StoreOp::create(b, word, packedV, ValueRange{pair, d});
      else
        vector::MaskedStoreOp::create(b, packedV, ValueRange{pair, d}, b.tailMask(valid), word);
    });
  };
  Value pairs = b.divIndex(count, 2), end = b.ceilDivIndex(count, 2);
  b.loop(b.index(0), pairs, 1, [&](Value pair) { packRows(pair, true); });
  b.loop(pairs, end, 1, [&](Value pair) { packRows(pair, false); });
}

/// S^T of a block of keys for `vectors` vectors of queries. The last tile overlaps the one before it instead of reading
/// beyond the keys; fewer keys than a tile go one by one.
void Emitter::emitScores(int64_t vectors, Value panel, Value firstKey, Value count, Value column) {
  RegisterTile tile = chooseAttentionTile(frame.row.registers, vectors);
  auto emitRows = [&](int64_t tileRows, Value start) {
    VectorType word = shape.dot ? b.i32Lanes() : b.f32Lanes();
    VectorType pairs = VectorType::get({2 * b.lanes}, b.getBF16Type());
    auto loadB = [&](int64_t j, Value step) -> Value {
      Value raw = vector::LoadOp::create(b, word, packedQ, ValueRange{panel, step, b.index(j * b.lanes)});
      return shape.dot ? Value(vector::BitCastOp::create(b, pairs, raw)) : raw;
    };
    auto loadA = [&](bool single) {
      return [&, single](int64_t i, Value step) -> Value {
        Value row = b.addIndex(b.addIndex(firstKey, start), i);
        Value at = b.addIndex(column, b.mulIndex(step, shape.dot ? 2 : 1));
        return shape.dot ? broadcastPair(b, k, row, at, single) : b.broadcast(b.loadScalar(k, {row, at}));
      };
    };
    MicroKernel kind = shape.dot ? MicroKernel::DotBF16 : MicroKernel::FmaF32;
    int64_t whole = shape.dot ? shape.headDim / 2 : shape.headDim;
    SmallVector<Value> acc(tileRows * vectors, b.splat(0.0f));
    acc = emitProduct(b, kind, tileRows, vectors, b.index(whole), acc, loadA(false), loadB);
    if (shape.dot && shape.headDim % 2)
      for (int64_t i = 0; i < tileRows; ++i) {
        Value element = loadA(true)(i, b.index(whole));
        for (int64_t j = 0; j < vectors; ++j)
          acc[i * vectors + j] = emitDot(b, acc[i * vectors + j], element, loadB(j, b.index(whole)));
      }
    for (int64_t i = 0; i < tileRows; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        b.store(acc[i * vectors + j], scores, {b.addIndex(start, i), b.index(j * b.lanes)}, b.lanes);
  };
  Value enough = arith::CmpIOp::create(b, arith::CmpIPredicate::sge, count, b.index(tile.rows));
  b.ifThen(
      enough,
      [&] {
        Value last = b.subIndex(count, b.index(tile.rows));
        b.loop(b.index(0), count, tile.rows, [&](Value start) { emitRows(tile.rows, b.minIndex(start, last)); });
      },
      [&] { b.loop(b.index(0), count, 1, [&](Value start) { emitRows(1, start); }); });
}

/// Scores to probabilities, in place or as pairs; leaves in `factors` by what earlier sums must be multiplied.
void Emitter::emitSoftmax(const Work &work, int64_t vectors, Value query, Value firstKey, Value count) {
  // Where every key is seen, the greatest score is that of the raw sums, and the scale is part of the exponent. Then
  // exp(s (x - m)) is 2^(s log2(e) (x - m)), which ends as bf16.
  const double factor = op.getScale().convertToDouble();
  const bool plain = !op.getCausal() && !mask && factor > 0;
  Value scale = b.splat(float(plain && shape.dot ? factor * std::numbers::log2e : factor));
  Value hidden = b.splat(-std::numeric_limits<float>::infinity());
  auto columnOf = [&](int64_t j) { return b.index(j * b.lanes); };
  auto lanesFrom = [&](Value index) {
    return arith::AddIOp::create(b, b.broadcast(Value(arith::IndexCastOp::create(b, b.getI32Type(), index))), b.iota());
  };
  SmallVector<Value> init, limits;
  for (int64_t j = 0; j < vectors; ++j) {
    Value at = b.addIndex(query, columnOf(j));
    init.push_back(b.load(maxima, at, b.lanes));
    if (op.getCausal())
      limits.push_back(lanesFrom(b.addIndex(work.causalOffset, at)));
  }
  SmallVector<Value> top = b.loop(b.index(0), count, 1, init, [&](Value key, ValueRange carried) {
    SmallVector<Value> next;
    Value position, visible;
    if (op.getCausal()) {
      Value inSegment = b.subIndex(b.addIndex(firstKey, key), work.key);
      position = b.broadcast(Value(arith::IndexCastOp::create(b, b.getI32Type(), inSegment)));
    }
    if (mask) {
      Value bit = memref::LoadOp::create(b, mask, ValueRange{b.addIndex(firstKey, key)});
      Value shown = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, bit, b.i32(0));
      visible = vector::BroadcastOp::create(b, b.laneType(b.getI1Type()), shown);
    }
    for (int64_t j = 0; j < vectors; ++j) {
      Value t = b.load(scores, {key, columnOf(j)}, b.lanes);
      if (plain) {
        next.push_back(b.max(t, carried[j]));
        continue;
      }
      t = b.mul(t, scale);
      if (position)
        t = b.select(arith::CmpIOp::create(b, arith::CmpIPredicate::sle, position, limits[j]), t, hidden);
      if (visible)
        t = b.select(visible, t, hidden);
      b.store(t, scores, {key, columnOf(j)}, b.lanes);
      next.push_back(b.max(t, carried[j]));
    }
    return next;
  });

  MathMode mode = shape.dot ? MathMode::Fast : MathMode::Exact;
  SmallVector<Value> offset;
  for (int64_t j = 0; j < vectors; ++j)
    offset.push_back(plain ? b.neg(b.mul(top[j], scale)) : top[j]);
  auto power = [&](Value score, int64_t j) {
    if (!plain)
      return buildExpNonPositive(b, b.sub(score, top[j]), mode);
    Value x = b.fma(score, scale, offset[j]);
    return shape.dot ? buildExp2NonPositive(b, x) : buildExpNonPositive(b, x, mode);
  };
  auto emitKey = [&](Value key, ValueRange carried, SmallVector<Value> &sum) {
    SmallVector<Value> p;
    for (int64_t j = 0; j < vectors; ++j) {
      p.push_back(power(b.load(scores, {key, columnOf(j)}, b.lanes), j));
      sum.push_back(b.add(carried[j], p.back()));
    }
    return p;
  };
  SmallVector<Value> zeros(vectors, b.splat(0.0f)), total;
  if (!shape.dot) {
    total = b.loop(b.index(0), count, 1, zeros, [&](Value key, ValueRange carried) {
      SmallVector<Value> sum;
      SmallVector<Value> p = emitKey(key, carried, sum);
      for (int64_t j = 0; j < vectors; ++j)
        b.store(p[j], scores, {key, columnOf(j)}, b.lanes);
      return sum;
    });
  } else {
    auto narrow = [&](Value p) { return wordOf(b, b.fromF32(p, b.getBF16Type())); };
    auto storePair = [&](Value pair, int64_t j, Value word) {
      vector::StoreOp::create(b, word, packedP, ValueRange{pair, columnOf(j)});
    };
    Value pairs = b.divIndex(count, 2), end = b.ceilDivIndex(count, 2);
    total = b.loop(b.index(0), pairs, 1, zeros, [&](Value pair, ValueRange carried) {
      SmallVector<Value> sum, both;
      Value key = b.mulIndex(pair, 2);
      SmallVector<Value> even = emitKey(key, carried, sum);
      SmallVector<Value> odd = emitKey(b.addIndex(key, 1), sum, both);
      for (int64_t j = 0; j < vectors; ++j)
        storePair(pair, j, pairOf(b, narrow(even[j]), narrow(odd[j])));
      return both;
    });
    total = b.loop(pairs, end, 1, total, [&](Value pair, ValueRange carried) {
      SmallVector<Value> sum;
      SmallVector<Value> even = emitKey(b.mulIndex(pair, 2), carried, sum);
      for (int64_t j = 0; j < vectors; ++j)
        storePair(pair, j, narrow(even[j]));
      return sum;
    });
  }
  for (int64_t j = 0; j < vectors; ++j) {
    Value at = b.addIndex(query, columnOf(j));
    Value earlier = power(init[j], j);
    b.store(b.fma(b.load(sums, at, b.lanes), earlier, total[j]), sums, at, b.lanes);
    b.store(earlier, factors, columnOf(j), b.lanes);
    b.store(top[j], maxima, at, b.lanes);
  }
}

/// O^T = O^T alpha + V^T P^T over the keys of a block.
void Emitter::emitOutput(int64_t vectors, Value query, Value firstKey, Value count, Value column) {
  MicroKernel kind = shape.dot ? MicroKernel::DotBF16 : MicroKernel::FmaF32;
  VectorType pairs = VectorType::get({2 * b.lanes}, b.getBF16Type());
  Value steps = shape.dot ? b.ceilDivIndex(count, 2) : count;
  SmallVector<Value> alpha;
  for (int64_t j = 0; j < vectors; ++j)
    alpha.push_back(b.load(factors, b.index(j * b.lanes), b.lanes));
  auto emitRows = [&](int64_t tileRows, Value d) {
    auto place = [&](int64_t i, int64_t j) {
      return SmallVector<Value>{b.addIndex(d, i), b.addIndex(query, b.index(j * b.lanes))};
    };
    auto loadA = [&](int64_t i, Value step) -> Value {
      if (!shape.dot)
        return b.broadcast(b.loadScalar(v, {b.addIndex(firstKey, step), b.addIndex(b.addIndex(column, d), i)}));
      Value word = memref::LoadOp::create(b, packedV, ValueRange{step, b.addIndex(d, i)});
      return vector::BitCastOp::create(b, pairs, b.broadcast(word));
    };
    auto loadB = [&](int64_t j, Value step) -> Value {
      if (!shape.dot)
        return b.load(scores, {step, b.index(j * b.lanes)}, b.lanes);
      Value word = vector::LoadOp::create(b, b.i32Lanes(), packedP, ValueRange{step, b.index(j * b.lanes)});
      return vector::BitCastOp::create(b, pairs, word);
    };
    SmallVector<Value> acc;
    for (int64_t i = 0; i < tileRows; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        acc.push_back(b.mul(b.load(output, place(i, j), b.lanes), alpha[j]));
    acc = emitProduct(b, kind, tileRows, vectors, steps, acc, loadA, loadB);
    for (int64_t i = 0; i < tileRows; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        b.store(acc[i * vectors + j], output, place(i, j), b.lanes);
  };
  // Tiles of nearly equal height: at most two bodies.
  int64_t most = chooseAttentionTile(frame.row.registers, vectors).rows;
  int64_t height = llvm::divideCeil(shape.headDim, llvm::divideCeil(shape.headDim, most));
  int64_t whole = shape.headDim / height * height;
  b.loop(b.index(0), b.index(whole), height, [&](Value d) { emitRows(height, d); });
  if (shape.headDim > whole)
    emitRows(shape.headDim - whole, b.index(whole));
}

void Emitter::emitKeys(const Work &work, int64_t vectors, Value query, Value panel, Value firstKey, Value count,
                       Value column) {
  separately(b, "scores", [&] { emitScores(vectors, panel, firstKey, count, column); });
  separately(b, "softmax", [&] { emitSoftmax(work, vectors, query, firstKey, count); });
  separately(b, "output", [&] { emitOutput(vectors, query, firstKey, count, column); });
}

/// Divides by the sums, turns queries back into rows and stores them through the epilogue.
void Emitter::finish(const Work &work, Value groups) {
  int64_t lanes = b.lanes;
  Value firstColumn = b.mulIndex(work.head, shape.headDim), zero = b.splat(0.0f);
  b.loop(b.index(0), groups, 1, [&](Value group) {
    Value query = b.mulIndex(group, lanes);
    Value sum = b.load(sums, query, b.lanes);
    Value inverse = b.select(b.less(zero, sum), b.div(b.splat(1.0f), sum), zero);
    b.forColumns(shape.headDim, [&](Value d, unsigned valid) {
      SmallVector<Value> block;
      for (unsigned i = 0; i < lanes; ++i)
        block.push_back(i < valid ? b.mul(b.load(output, {b.addIndex(d, i), query}, b.lanes), inverse) : zero);
      block = transposeLanes(b, std::move(block));
      for (unsigned i = 0; i < lanes; ++i)
        b.store(block[i], rows, {b.index(i), d}, b.lanes);
    });
    Value count = b.minIndex(b.index(lanes), b.subIndex(work.queryCount, query));
    b.loop(b.index(0), count, 1, [&](Value i) {
      epilogue.emitSpan(b.addIndex(b.addIndex(work.out, query), i), firstColumn, shape.headDim,
                        [&](Value column, unsigned) { return b.load(rows, {i, b.subIndex(column, firstColumn)}, b.lanes); });
    });
  });
}

void Emitter::emit(const Work &work) {
  int64_t lanes = b.lanes;
  Value groups = b.ceilDivIndex(work.queryCount, lanes);
  Value kvHead = b.divIndex(work.head, op.getHeads() / op.getKvHeads());
  Value column = b.mulIndex(kvHead, shape.headDim);
  packQueries(work, groups);
  b.loop(b.index(0), groups, 1, [&](Value group) {
    Value query = b.mulIndex(group, lanes);
    b.store(b.splat(-1e30f), maxima, query, b.lanes);
    b.store(b.splat(0.0f), sums, query, b.lanes);
    b.loop(b.index(0), b.index(shape.headDim), 1,
           [&](Value d) { b.store(b.splat(0.0f), output, {d, query}, b.lanes); });
  });
  b.loop(b.index(0), work.keyCount, shape.keys, [&](Value start) {
    Value firstKey = b.addIndex(work.key, start);
    Value count = b.minIndex(b.index(shape.keys), b.subIndex(work.keyCount, start));
    if (shape.dot)
      packValues(firstKey, count, column);
    Value pairs = b.divIndex(groups, 2), end = b.ceilDivIndex(groups, 2);
    b.loop(b.index(0), pairs, 1, [&](Value panel) {
      emitKeys(work, 2, b.mulIndex(panel, 2 * lanes), panel, firstKey, count, column);
    });
    b.loop(pairs, end, 1, [&](Value panel) {
      emitKeys(work, 1, b.mulIndex(panel, 2 * lanes), panel, firstKey, count, column);
    });
  });
  finish(work, groups);
}

static void describeAttention(KernelFrame &frame) {
  auto op = cast<vit::AttentionOp>(frame.op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    frame.use(i);
  frame.useResults();
  auto shape = attentionShape(frame);
  if (!shape)
    return;
  using Kind = PlanExpr::Kind;
  PlanExpr heads(int64_t(op.getHeads()));
  PlanExpr keyRows = frame.operandDim(op.getKeyMutable().getOperandNumber(), 0);
  PlanExpr queryRows = frame.operandDim(op.getQueryMutable().getOperandNumber(), 0);
  PlanExpr units;
  if (op.getUniform()) {
    int64_t n = *op.getUniform(), m = op.getKvUniform().value_or(n);
    PlanExpr segments = PlanExpr::binary(Kind::FloorDiv, keyRows, PlanExpr(m));
    units = PlanExpr::binary(Kind::Mul, segments,
                             PlanExpr::binary(Kind::Mul, heads, PlanExpr(int64_t(llvm::divideCeil(n, shape->queries)))));
  } else {
    // Blocks of rows, whatever segments they touch.
    frame.operandDim(op.getCuSeqlensQMutable()[0].getOperandNumber(), 0);
    units = PlanExpr::binary(Kind::Mul, heads, PlanExpr::binary(Kind::CeilDiv, queryRows, PlanExpr(shape->queries)));
  }
  frame.finish("attention_" + std::string(shape->dot ? "bf16" : "f32") + "_h" + std::to_string(op.getHeads()) + "_d" +
                   std::to_string(shape->headDim),
               "attention", shape->dot ? "bf16" : "f32", units);
}

static void buildAttention(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::AttentionOp>(frame.op);
  AttentionShape shape = *attentionShape(frame);
  Emitter emitter(frame, b, shape);
  unsigned queryIndex = op.getQueryMutable().getOperandNumber();
  Value queryRows = frame.dimValue(b, false, queryIndex, 0);
  if (op.getUniform()) {
    int64_t n = *op.getUniform(), m = op.getKvUniform().value_or(n);
    int64_t blocks = llvm::divideCeil(n, shape.queries);
    // A query of exactly n rows is shared by all segments.
    Value shared = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, queryRows, b.index(n));
    b.loop(frame.begin, frame.end, 1, [&](Value unit) {
      Value first = b.mulIndex(b.remIndex(unit, blocks), shape.queries), pair = b.divIndex(unit, blocks);
      Value segment = b.divIndex(pair, op.getHeads());
      Value segmentRow = b.mulIndex(segment, n);
      Work work;
      work.head = b.remIndex(pair, op.getHeads());
      work.query = b.addIndex(first, Value(arith::SelectOp::create(b, shared, b.index(0), segmentRow)));
      work.queryCount = b.minIndex(b.index(shape.queries), b.subIndex(b.index(n), first));
      work.out = b.addIndex(segmentRow, first);
      work.key = b.mulIndex(segment, m);
      work.keyCount = b.index(m);
      work.causalOffset = b.addIndex(first, m - n);
      emitter.emit(work);
    });
    return;
  }
  unsigned cuQ = op.getCuSeqlensQMutable()[0].getOperandNumber();
  Value endsQ = frame.operand(cuQ);
  Value endsK = op.getCuSeqlensK() ? frame.operand(op.getCuSeqlensKMutable()[0].getOperandNumber()) : endsQ;
  Value segments = b.subIndex(frame.dimValue(b, false, cuQ, 0), b.index(1));
  Value blocks = b.ceilDivIndex(queryRows, shape.queries);
  b.loop(frame.begin, frame.end, 1, [&](Value unit) {
    Value first = b.mulIndex(Value(arith::RemUIOp::create(b, unit, blocks)), shape.queries);
    Value last = b.minIndex(b.addIndex(first, shape.queries), queryRows);
    Value head = arith::DivUIOp::create(b, unit, blocks);
    b.loop(b.index(0), segments, 1, [&](Value segment) {
      Value next = b.addIndex(segment, 1);
      Value startQ = b.loadIndex(endsQ, segment), endQ = b.loadIndex(endsQ, next);
      Value from = b.maxIndex(first, startQ), to = b.minIndex(last, endQ);
      Value some = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, from, to);
      b.ifThen(some, [&] {
        Value startK = b.loadIndex(endsK, segment), endK = b.loadIndex(endsK, next);
        Work work;
        work.head = head;
        work.query = work.out = from;
        work.queryCount = b.subIndex(to, from);
        work.key = startK;
        work.keyCount = b.subIndex(endK, startK);
        Value longer = b.subIndex(work.keyCount, b.subIndex(endQ, startQ));
        work.causalOffset = b.addIndex(b.subIndex(from, startQ), longer);
        emitter.emit(work);
      });
    });
  });
}

const Family x86::kAttention = {describeAttention, buildAttention};
