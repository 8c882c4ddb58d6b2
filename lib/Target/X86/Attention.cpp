//===- Attention.cpp - attention on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A work unit is a block of queries of one head and segment. Keys and values are packed as the panels of a linear are, so
// that both products are tiles of some queries:
//   S[query][key]  = Q (rows as they lie, broadcast) times K^T (keys in the lanes)
//   O[query][d]   += P (elements broadcast) times V (d in the lanes)
// Where the number of keys is known, the probabilities of a tile of queries are made beside the second product of the tile
// before. Where all keys fit, heads that one call computes several blocks of are packed once. Otherwise it goes over blocks
// of keys with the running maximum and sum of Milakov and Gimelshein (Online normalizer calculation for softmax, 2018). Scores are never stored for
// more than a tile. The sum of a row stays in lanes until its end.
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
  Value keys;                         ///< a number for the keys of this head and segment; where they stay packed
  Value causalOffset;                 ///< key position that query 0 of the block still sees
};

/// Keys of one block, packed.
struct KeyBlock {
  Value first, count; ///< rows of k and v
  Value vectors;      ///< of lanes
  Value steps;        ///< of the product with V; those beyond the last key add 0
};

class Emitter {
public:
  Emitter(KernelFrame &frame, LaneBuilder &b, const AttentionShape &shape)
      : b(b), op(cast<vit::AttentionOp>(frame.op)), shape(shape), rows(shape.tile.rows),
        depth(shape.dot ? 2 : 1), factor(op.getScale().convertToDouble()), epilogue(frame.epilogue(b)) {
    q = frame.operand(op.getQueryMutable().getOperandNumber());
    k = frame.operand(op.getKeyMutable().getOperandNumber());
    v = frame.operand(op.getValueMutable().getOperandNumber());
    if (op.getKeyMask())
      mask = frame.operand(op.getKeyMaskMutable()[0].getOperandNumber());
    // Where every key is seen, the greatest score is that of the raw sums, and the scale is part of the exponent.
    plain = !op.getCausal() && !mask && factor > 0;
    Type f32 = b.getF32Type(), stored = shape.dot ? Type(b.getBF16Type()) : f32;
    int64_t lanes = b.lanes, states = shape.whole ? 2 * rows : shape.queries;
    packedK = b.scratch({shape.paddedKeys(lanes) / lanes, shape.steps(), lanes * depth}, stored);
    packedV = b.scratch({int64_t(llvm::divideCeil(shape.keys, depth)), shape.paddedDim(lanes) * depth}, stored);
    seen = b.scratch({shape.paddedKeys(lanes)}, b.getI32Type());
    scores = b.scratch({rows, shape.paddedKeys(lanes)}, f32);
    probabilities = b.scratch({2 * rows, shape.paddedKeys(lanes)}, stored);
    output = b.scratch({shape.whole ? rows : shape.queries, shape.paddedDim(lanes)}, f32);
    partial = b.scratch({rows, lanes}, f32);
    offsets = b.scratch({rows, lanes}, f32);
    sums = b.scratch({states, lanes}, f32);
    if (!shape.whole) {
      maxima = b.scratch({states, lanes}, f32);
      factors = b.scratch({states, lanes}, f32);
    }
    packed = b.scratch({1}, b.getIndexType());
    memref::StoreOp::create(b, b.index(-1), packed, ValueRange{b.index(0)});
  }

  void emit(const Work &work);

private:
  MicroKernel kind() const { return shape.dot ? MicroKernel::DotBF16 : MicroKernel::FmaF32; }
  VectorType packedType() {
    return shape.dot ? VectorType::get({2 * b.lanes}, b.getBF16Type()) : b.f32Lanes();
  }
  Value loadPacked(Value memref, ValueRange at) { return vector::LoadOp::create(b, packedType(), memref, at); }
  Value splatOf(Value memref, Value row) { return b.load(memref, {row, b.index(0)}); }
  /// Rows of state of a tile of queries: where all keys fit, two tiles take turns.
  Value stateRow(Value tile, int64_t row) {
    return b.addIndex(shape.whole ? b.mulIndex(b.remIndex(tile, 2), rows) : b.mulIndex(tile, rows), row);
  }
  /// e^(score - maximum), with score and offset as they are stored.
  Value power(Value score, Value offset);

  void packKeys(const KeyBlock &block, Value column);
  void packValues(const KeyBlock &block, Value column);
  void packSeen(const KeyBlock &block);
  void pack(const KeyBlock &block, Value column);
  void emitScores(const Work &work, const KeyBlock &block, Value tile);
  void emitMaxima(Value tile);
  void emitProbabilities(Value tile, Value row, Value vector);
  void emitOutput(const KeyBlock &block, Value tile, const Beside *beside);
  void finish(const Work &work, Value tile);
  void emitSpread(const Work &work, const KeyBlock &block);
  void emitBlock(const Work &work, const KeyBlock &block);

  LaneBuilder &b;
  vit::AttentionOp op;
  const AttentionShape &shape;
  const int64_t rows, depth;
  const double factor;
  bool plain;
  EpilogueEmitter epilogue;
  Value q, k, v, mask;
  Value packedK, packedV, seen, scores, probabilities, output, partial, offsets, sums, maxima, factors, packed;
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
/// K^T: elements [2 s, 2 s + 2) of each key at step s. The last key stands in for those that the last vector lacks, so that
/// no maximum changes.
void Emitter::packKeys(const KeyBlock &block, Value column) {
  int64_t lanes = b.lanes;
  Value last = b.subIndex(block.count, b.index(1));
  b.loop(b.index(0), block.vectors, 1, [&](Value vector) {
    SmallVector<Value> keyRows;
    for (int64_t i = 0; i < lanes; ++i)
      keyRows.push_back(b.addIndex(block.first, b.minIndex(b.addIndex(b.mulIndex(vector, lanes), i), last)));
    auto packWords = [&](Value step, unsigned elements) {
      Value at = b.addIndex(column, b.mulIndex(step, depth));
      SmallVector<Value> words;
      for (Value row : keyRows) {
        words.push_back(shape.dot ? Value(vector::BitCastOp::create(b, b.i32Lanes(), b.loadRaw(packedType(), k, {row, at}, elements)))
                                  : b.load(k, {row, at}, elements));
      }
      words = transposeLanes(b, std::move(words));
      for (unsigned s = 0; s < llvm::divideCeil(elements, depth); ++s) {
        Value word = shape.dot ? Value(vector::BitCastOp::create(b, packedType(), words[s])) : words[s];
        vector::StoreOp::create(b, word, packedK, ValueRange{vector, b.addIndex(step, s), b.index(0)});
      }
    };
    int64_t whole = shape.headDim / (lanes * depth) * lanes;
    b.loop(b.index(0), b.index(whole), lanes, [&](Value step) { packWords(step, lanes * depth); });
    if (int64_t rest = shape.headDim - whole * depth)
      packWords(b.index(whole), rest);
  });
}

/// V as it lies, or pairs of its rows, the second 0 after the last key.
void Emitter::packValues(const KeyBlock &block, Value column) {
  auto packRows = [&](Value step, bool both) {
    Value row = b.addIndex(block.first, b.mulIndex(step, depth));
    b.forColumns(shape.headDim, [&](Value d, unsigned valid) {
      Value at = b.addIndex(column, d), value;
      if (shape.dot) {
        VectorType type = b.laneType(b.getBF16Type());
        value = wordOf(b, b.loadRaw(type, v, {row, at}, valid));
        if (both)
          value = pairOf(b, value, wordOf(b, b.loadRaw(type, v, {b.addIndex(row, 1), at}, valid)));
        value = vector::BitCastOp::create(b, packedType(), value);
      } else {
        value = b.load(v, {row, at}, valid);
      }
      vector::StoreOp::create(b, value, packedV, ValueRange{step, b.mulIndex(d, depth)});
    });
  };
  Value whole = b.divIndex(block.count, depth);
  b.loop(b.index(0), whole, 1, [&](Value step) { packRows(step, true); });
  Value end = b.ceilDivIndex(block.count, depth);
  b.loop(whole, end, 1, [&](Value step) { packRows(step, false); });
  b.loop(end, block.steps, 1, [&](Value step) {
    Value zero = arith::ConstantOp::create(b, b.getZeroAttr(packedType()));
    b.loop(b.index(0), b.index(shape.paddedDim(b.lanes) * depth), b.lanes * depth,
           [&](Value at) { vector::StoreOp::create(b, zero, packedV, ValueRange{step, at}); });
  });
}

/// All ones for the keys that may be seen, 0 for others and beyond the last.
void Emitter::packSeen(const KeyBlock &block) {
  b.loop(b.index(0), block.vectors, 1, [&](Value vector) {
    Value first = b.mulIndex(vector, b.lanes);
    Value place = arith::AddIOp::create(b, b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), first)), b.iota());
    Value end = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), block.count));
    Value inside = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, place, end);
    Value words = arith::ExtSIOp::create(b, b.i32Lanes(), inside);
    vector::StoreOp::create(b, words, seen, ValueRange{first});
  });
  if (mask)
    b.loop(b.index(0), block.count, 1, [&](Value key) {
      Value bit = memref::LoadOp::create(b, mask, ValueRange{b.addIndex(block.first, key)});
      Value shown = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, bit, b.i32(0));
      memref::StoreOp::create(b, arith::ExtSIOp::create(b, b.getI32Type(), shown), seen, ValueRange{key});
    });
}

void Emitter::pack(const KeyBlock &block, Value column) {
  separately(b, "pack", [&] {
    packKeys(block, column);
    packValues(block, column);
    packSeen(block);
  });
}

/// S of a tile of queries; a row beyond the last query repeats it.
void Emitter::emitScores(const Work &work, const KeyBlock &block, Value tile) {
  int64_t lanes = b.lanes;
  Value column = b.mulIndex(work.head, shape.headDim), last = b.subIndex(work.queryCount, b.index(1));
  SmallVector<Value> queryRows;
  for (int64_t i = 0; i < rows; ++i)
    queryRows.push_back(b.addIndex(work.query, b.minIndex(b.addIndex(b.mulIndex(tile, rows), i), last)));
  Value hidden = b.splat(-std::numeric_limits<float>::infinity()), scale = b.splat(float(factor));
  for (int64_t i = 0; i < rows; ++i)
    b.store(b.splat(-1e30f), partial, {b.index(i), b.index(0)}, lanes);
  auto emitGroup = [&](Value firstVector, int64_t vectors) {
    auto loadA = [&](bool single) {
      return [&, single](int64_t i, Value step) -> Value {
        Value at = b.addIndex(column, b.mulIndex(step, depth));
        return shape.dot ? broadcastPair(b, q, queryRows[i], at, single) : b.broadcast(b.loadScalar(q, {queryRows[i], at}));
      };
    };
    auto loadB = [&](int64_t j, Value step) { return loadPacked(packedK, {b.addIndex(firstVector, j), step, b.index(0)}); };
    SmallVector<Value> acc(rows * vectors, b.splat(0.0f));
    int64_t whole = shape.headDim / depth;
    acc = emitProduct(b, kind(), rows, vectors, b.index(whole), acc, loadA(false), loadB, nullptr, nullptr, 8);
    if (shape.headDim % depth)
      for (int64_t i = 0; i < rows; ++i) {
        Value element = loadA(true)(i, b.index(whole));
        for (int64_t j = 0; j < vectors; ++j)
          acc[i * vectors + j] = emitDot(b, acc[i * vectors + j], element, loadB(j, b.index(whole)));
      }
    for (int64_t i = 0; i < rows; ++i) {
      Value top = splatOf(partial, b.index(i)), limit;
      if (op.getCausal()) {
        Value sees = b.addIndex(b.addIndex(work.causalOffset, b.mulIndex(tile, rows)), i);
        limit = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), sees));
      }
      for (int64_t j = 0; j < vectors; ++j) {
        Value t = acc[i * vectors + j], key = b.mulIndex(b.addIndex(firstVector, j), lanes);
        if (!plain) {
          Value words = vector::LoadOp::create(b, b.i32Lanes(), seen, ValueRange{key});
          t = b.select(arith::CmpIOp::create(b, arith::CmpIPredicate::ne, words, b.splatI32(0)), b.mul(t, scale), hidden);
        }
        if (limit) {
          Value inSegment = b.addIndex(b.subIndex(block.first, work.key), key);
          Value position = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), inSegment));
          position = arith::AddIOp::create(b, position, b.iota());
          t = b.select(arith::CmpIOp::create(b, arith::CmpIPredicate::sle, position, limit), t, hidden);
        }
        b.store(t, scores, {b.index(i), key}, lanes);
        top = b.max(t, top);
      }
      b.store(top, partial, {b.index(i), b.index(0)}, lanes);
    }
  };
  std::optional<int64_t> known = getConstantIntValue(block.vectors);
  int64_t most = shape.tile.vectors;
  if (!known) {
    b.loop(b.index(0), block.vectors, most, [&](Value first) { emitGroup(first, most); });
    return;
  }
  // Groups of nearly equal width: narrow ones do not hide the latency of their sums.
  int64_t groups = llvm::divideCeil(*known, most), width = *known / groups, wider = *known % groups;
  b.loop(b.index(0), b.index(wider * (width + 1)), width + 1, [&](Value first) { emitGroup(first, width + 1); });
  b.loop(b.index(wider * (width + 1)), b.index(*known), width, [&](Value first) { emitGroup(first, width); });
}

/// From the lanes' maxima of a tile's scores to its rows', and what earlier sums must be multiplied by.
void Emitter::emitMaxima(Value tile) {
  Value scale = b.splat(float(plain && shape.dot ? -factor * std::numbers::log2e : -factor));
  for (int64_t i = 0; i < rows; ++i) {
    Value lanesTop = splatOf(partial, b.index(i)), state = stateRow(tile, i);
    Value top = b.broadcast(b.reduce(vector::CombiningKind::MAXNUMF, lanesTop));
    auto offsetOf = [&](Value maximum) { return plain ? b.mul(maximum, scale) : maximum; };
    Value sum = b.splat(0.0f);
    if (!shape.whole) {
      Value before = splatOf(maxima, state);
      top = b.max(before, top);
      Value earlier = power(before, offsetOf(top));
      sum = b.mul(splatOf(sums, state), earlier);
      b.store(earlier, factors, {state, b.index(0)}, b.lanes);
      b.store(top, maxima, {state, b.index(0)}, b.lanes);
    }
    b.store(sum, sums, {state, b.index(0)}, b.lanes);
    b.store(offsetOf(top), offsets, {b.index(i), b.index(0)}, b.lanes);
  }
}

Value Emitter::power(Value score, Value offset) {
  MathMode mode = shape.dot ? MathMode::Fast : MathMode::Exact;
  if (!plain)
    return buildExpNonPositive(b, b.sub(score, offset), mode);
  // exp(s (x - m)) is 2^(s log2(e) (x - m)), which ends as bf16.
  Value x = b.fma(score, b.splat(float(shape.dot ? factor * std::numbers::log2e : factor)), offset);
  return shape.dot ? buildExp2NonPositive(b, x) : buildExpNonPositive(b, x, mode);
}

/// A vector of probabilities in a row of the tile.
void Emitter::emitProbabilities(Value tile, Value row, Value vector) {
  Value key = b.mulIndex(vector, b.lanes), turn = b.mulIndex(b.remIndex(tile, 2), rows), zero = b.index(0);
  Value p = power(b.load(scores, {row, key}), splatOf(offsets, row));
  if (plain && !(shape.whole && shape.keys % b.lanes == 0)) {
    Value words = vector::LoadOp::create(b, b.i32Lanes(), seen, ValueRange{key});
    p = b.fromBits(arith::AndIOp::create(b, b.toBits(p), words));
  }
  Value state = b.addIndex(stateRow(tile, 0), row);
  b.store(b.add(splatOf(sums, state), p), sums, {state, zero}, b.lanes);
  b.store(p, probabilities, {b.addIndex(turn, row), key}, b.lanes);
}

/// O of a tile over the keys of a block.
void Emitter::emitOutput(const KeyBlock &block, Value tile, const Beside *beside) {
  Value turn = b.mulIndex(b.remIndex(tile, 2), rows);
  Value firstRow = shape.whole ? b.index(0) : b.mulIndex(tile, rows);
  auto emitGroup = [&](Value firstVector, int64_t vectors, const Beside *besideGroup) {
    auto loadA = [&](int64_t i, Value step) -> Value {
      Value row = b.addIndex(turn, i), at = b.mulIndex(step, depth);
      return shape.dot ? broadcastPair(b, probabilities, row, at, false) : b.broadcast(b.loadScalar(probabilities, {row, at}));
    };
    auto loadB = [&](int64_t j, Value step) { return loadPacked(packedV, {step, b.mulIndex(b.addIndex(firstVector, j), b.lanes * depth)}); };
    auto place = [&](int64_t i, int64_t j) {
      return SmallVector<Value>{b.addIndex(firstRow, i), b.mulIndex(b.addIndex(firstVector, j), b.lanes)};
    };
    SmallVector<Value> acc;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        acc.push_back(shape.whole ? b.splat(0.0f) : b.mul(b.load(output, place(i, j)), splatOf(factors, stateRow(tile, i))));
    acc = emitProduct(b, kind(), rows, vectors, block.steps, acc, loadA, loadB, nullptr, besideGroup);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < vectors; ++j)
        b.store(acc[i * vectors + j], output, place(i, j), b.lanes);
  };
  int64_t all = shape.paddedDim(b.lanes) / b.lanes, groups = llvm::divideCeil(all, shape.tile.vectors), first = 0;
  for (int64_t group = 0; group < groups; ++group) {
    int64_t vectors = all / groups + (group < all % groups);
    emitGroup(b.index(first), vectors, group == 0 ? beside : nullptr);
    first += vectors;
  }
}

/// Divides a tile by its sums and stores it through the epilogue.
void Emitter::finish(const Work &work, Value tile) {
  Value first = b.mulIndex(tile, rows), column = b.mulIndex(work.head, shape.headDim), zero = b.splat(0.0f);
  separately(b, "finish", [&] {
    Value count = b.minIndex(b.index(rows), b.subIndex(work.queryCount, first));
    b.loop(b.index(0), count, 1, [&](Value i) {
      Value sum = b.broadcast(b.reduce(vector::CombiningKind::ADD, splatOf(sums, b.addIndex(stateRow(tile, 0), i))));
      Value inverse = b.select(b.less(zero, sum), b.div(b.splat(1.0f), sum), zero);
      Value from = shape.whole ? i : b.addIndex(first, i);
      epilogue.emitSpan(b.addIndex(b.addIndex(work.out, first), i), column, shape.headDim, [&](Value at, unsigned) {
        return b.mul(b.load(output, {from, b.subIndex(at, column)}), inverse);
      });
    });
  });
}

/// A block of a known size: tile by tile, each tile's probabilities beside the output of the one before.
void Emitter::emitSpread(const Work &work, const KeyBlock &block) {
  int64_t vectors = *getConstantIntValue(block.vectors);
  Value tiles = b.ceilDivIndex(work.queryCount, rows);
  auto is = [&](arith::CmpIPredicate predicate, Value x, Value y) { return arith::CmpIOp::create(b, predicate, x, y); };
  b.loop(b.index(0), b.addIndex(tiles, 1), 1, [&](Value tile) {
    Value isTile = is(arith::CmpIPredicate::ult, tile, tiles);
    b.ifThen(isTile, [&] {
      separately(b, "scores", [&] {
        emitScores(work, block, tile);
        emitMaxima(tile);
      });
    });
    auto item = [&](Value i) { emitProbabilities(tile, b.divIndex(i, vectors), b.remIndex(i, vectors)); };
    auto ifTile = [&](Value i) { b.ifThen(isTile, [&] { item(i); }); };
    int64_t items = rows * vectors, steps = *getConstantIntValue(block.steps);
    const bool spread = steps >= items;
    Beside beside{items, ifTile};
    Value isFirst = is(arith::CmpIPredicate::eq, tile, b.index(0));
    auto alone = [&] { separately(b, "softmax", [&] { b.loop(b.index(0), b.index(items), 1, item); }); };
    if (spread)
      b.ifThen(isFirst, alone);
    else
      b.ifThen(isTile, alone);
    b.ifThen(isFirst, [] {}, [&] {
      Value before = b.subIndex(tile, b.index(1));
      separately(b, "output", [&] { emitOutput(block, before, spread ? &beside : nullptr); });
      if (shape.whole)
        finish(work, before);
    });
  });
}

/// A block of any size.
void Emitter::emitBlock(const Work &work, const KeyBlock &block) {
  b.loop(b.index(0), b.ceilDivIndex(work.queryCount, rows), 1, [&](Value tile) {
    separately(b, "scores", [&] {
      emitScores(work, block, tile);
      emitMaxima(tile);
    });
    separately(b, "softmax", [&] {
      b.loop(b.index(0), b.index(rows), 1, [&](Value row) {
        b.loop(b.index(0), block.vectors, 1, [&](Value vector) { emitProbabilities(tile, row, vector); });
      });
    });
    separately(b, "output", [&] { emitOutput(block, tile, nullptr); });
  });
}

void Emitter::emit(const Work &work) {
  int64_t lanes = b.lanes;
  Value kvHead = b.divIndex(work.head, op.getHeads() / op.getKvHeads());
  Value column = b.mulIndex(kvHead, shape.headDim);
  if (shape.whole) {
    KeyBlock block{work.key, b.index(shape.keys), b.index(shape.paddedKeys(lanes) / lanes),
                   b.index(llvm::divideCeil(shape.keys, depth))};
    Value there = memref::LoadOp::create(b, packed, ValueRange{b.index(0)});
    b.ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::ne, there, work.keys), [&] {
      pack(block, column);
      memref::StoreOp::create(b, work.keys, packed, ValueRange{b.index(0)});
    });
    emitSpread(work, block);
    return;
  }
  Value tiles = b.ceilDivIndex(work.queryCount, rows);
  b.loop(b.index(0), b.mulIndex(tiles, rows), 1, [&](Value query) {
    b.store(b.splat(-1e30f), maxima, {query, b.index(0)}, lanes);
    b.store(b.splat(0.0f), sums, {query, b.index(0)}, lanes);
    b.loop(b.index(0), b.index(shape.paddedDim(lanes)), lanes,
           [&](Value d) { b.store(b.splat(0.0f), output, {query, d}, lanes); });
  });
  b.loop(b.index(0), work.keyCount, shape.keys, [&](Value start) {
    KeyBlock block;
    block.first = b.addIndex(work.key, start);
    block.count = b.minIndex(b.index(shape.keys), b.subIndex(work.keyCount, start));
    int64_t group = shape.tile.vectors;
    block.vectors = shape.uniform ? b.index(shape.paddedKeys(lanes) / lanes)
                                  : b.mulIndex(b.ceilDivIndex(block.count, group * lanes), group);
    block.steps = shape.uniform ? b.index(llvm::divideCeil(shape.keys, depth)) : b.ceilDivIndex(block.count, depth);
    pack(block, column);
    if (shape.uniform)
      emitSpread(work, block);
    else
      emitBlock(work, block);
  });
  b.loop(b.index(0), tiles, 1, [&](Value tile) { finish(work, tile); });
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
      work.keys = b.addIndex(b.mulIndex(segment, op.getKvHeads()), b.divIndex(work.head, op.getHeads() / op.getKvHeads()));
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
