//===- AttentionBlock.cpp - a block of attention: its rows, and their way to shared memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "AttentionBlock.h"

#include <climits>
#include <numeric>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

void AttentionBlock::begin() {
  shared = g.dynamicShared();
  tid = g.threadX();
  lane = g.andi(tid, 31);
  warp = g.shr(tid, 5);
  headIndex = g.blockY();
  findSegment();
  prepareCopies();
}

//===----------------------------------------------------------------------===//
// Segments
//===----------------------------------------------------------------------===//

void AttentionBlock::findSegment() {
  if (!op.getUniform())
    return findSegmentByTable();
  int64_t q = *op.getUniform(), k = op.getKvUniform().value_or(q);
  int64_t blocks = (q + t.rows() - 1) / t.rows();
  Value segment = g.div(g.blockX(), blocks);
  bool probe = op.getQuery().getType().getDimSize(0) == q && op.getKvUniform();
  outputFirst = g.mul(segment, q);
  queryFirst = probe ? g.c32(0) : outputFirst;
  queryCount = g.c32(q);
  queryBlock = g.mul(g.sub(g.blockX(), g.mul(segment, blocks)), t.rows());
  keyFirst = g.mul(segment, k);
  keyCount = g.c32(k);
}

void AttentionBlock::findSegmentByTable() {
  // Walk over the segments until their blocks reach this one; past the last, the count is 0 and nothing is done.
  unsigned numberQ = op.getCuSeqlensQMutable().begin()->getOperandNumber();
  Value cu = pointers[args.ofOperand[numberQ]], block = g.blockX();
  Value segments = g.sub(g.trunc32(scalars[2]), g.c32(1));
  auto at = [&](Value table, Value i) { return g.load(g.i32(), g.gep(table, g.mul(g.zext64(i), 4)), 4); };
  auto loop = g.create<scf::ForOp>(g.c32(0), segments, g.c32(1), ValueRange{g.c32(0), g.c32(0), g.c32(-1)});
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value i = loop.getInductionVar();
    ValueRange state = loop.getRegionIterArgs(); // blocks so far, first row in the segment, segment
    Value length = g.sub(at(cu, g.add(i, 1)), at(cu, i));
    Value end = g.add(state[0], g.div(g.add(length, t.rows() - 1), t.rows()));
    Value here = g.andi(g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, block, state[0]).getResult(), g.slt(block, end));
    Value row = g.mul(g.sub(block, state[0]), t.rows());
    g.create<scf::YieldOp>(ValueRange{end, g.select(here, row, state[1]), g.select(here, i, state[2])});
  }
  Value segment = loop.getResult(2);
  Value found = g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, segment, g.c32(0));
  segment = g.smax(segment, g.c32(0));
  queryFirst = at(cu, segment);
  queryCount = g.select(found, g.sub(at(cu, g.add(segment, 1)), queryFirst), g.c32(0));
  queryBlock = loop.getResult(1);
  outputFirst = queryFirst;
  keyFirst = queryFirst;
  keyCount = queryCount;
  if (op.getCuSeqlensK()) {
    Value cuK = pointers[args.ofOperand[op.getCuSeqlensKMutable().begin()->getOperandNumber()]];
    keyFirst = at(cuK, segment);
    keyCount = g.select(found, g.sub(at(cuK, g.add(segment, 1)), keyFirst), g.c32(0));
  }
}

//===----------------------------------------------------------------------===//
// Copies to shared memory
//===----------------------------------------------------------------------===//

/// The chunks that this thread copies of any tile, and the lane's rows of ldmatrix.
void AttentionBlock::prepareCopies() {
  auto swizzle = [&](Value row) { return t.chunks() == 4 ? g.andi(g.shr(row, 1), 3) : g.andi(row, 7); };
  auto offset = [&](Value row, Value chunk) {
    return g.add(g.mul(row, t.rowBytes()), g.mul(t.swizzled() ? g.xori(chunk, swizzle(row)) : chunk, 16));
  };
  // When a row is copied by so many threads that their places repeat, a copy is another one's, some rows further.
  int rows = std::max(t.keys, t.rows()), step = t.threads() / t.chunks();
  int period = t.threads() % t.chunks() == 0 ? 8 / std::gcd(8, step) : INT_MAX;
  for (int i = 0; i * t.threads() < rows * t.chunks(); ++i) {
    if (i >= period) {
      int past = i / period * period;
      copies.push_back(copies[i - past]);
      copies.back().further = past * step;
      continue;
    }
    Value chunk = g.add(tid, i * t.threads()), row = g.div(chunk, t.chunks()), column = g.rem(chunk, t.chunks());
    copies.push_back({row, g.mul(column, 16), offset(row, column), 0});
  }
  Value lane8 = g.andi(lane, 7), matrix = g.shr(lane, 3), odd = g.andi(matrix, 1), second = g.shr(matrix, 1);
  // Matrices of k: (keys 0-7, columns 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
  // Matrices of q and of v, transposed: (rows 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  Value key = offset(g.add(lane8, g.shl(second, 3)), odd), value = offset(g.add(lane8, g.shl(odd, 3)), second);
  for (int step = 0; step < t.chunks() / 2; ++step) {
    auto along = [&](Value at) { return t.swizzled() ? (step ? g.xori(at, g.c32(step * 32)) : at) : g.add(at, step * 32); };
    keyOffsets.push_back(along(key));
    valueOffsets.push_back(along(value));
  }
  if (t.chunks() % 2)
    lastOffset = g.add(g.mul(g.andi(lane, 15), t.rowBytes()), (t.chunks() - 1) * 16);
}

/// Copies `rows` rows of a head from `firstRow` on, `count` of which exist (null: all); the others become zeros.
void AttentionBlock::copyRows(Value target, unsigned operand, Value firstRow, Value head, Value count, int rows) {
  Value base = g.gep(pointers[args.ofOperand[operand]],
                     g.mul(g.add(g.mul(g.zext64(firstRow), args.rowStride[operand]), g.zext64(g.mul(head, t.head))), 2));
  int64_t total = rows * t.chunks(), stride = args.rowStride[operand] * 2;
  for (int i = 0; i * t.threads() < total; ++i) {
    const Copy &c = copies[i];
    auto copy = [&] {
      Value source = g.gep(g.gep(base, g.zext64(g.add(g.mul(c.row, stride), c.column))), c.further * stride), bytes = g.c32(16);
      if (count) {
        Value inside = g.slt(g.add(c.row, c.further), count);
        source = g.select(inside, source, base);
        bytes = g.select(inside, bytes, g.c32(0));
      }
      g.cpAsync16(g.gep(g.gep(target, c.target), c.further * t.rowBytes()), source, bytes);
    };
    if ((i + 1) * t.threads() <= total)
      copy();
    else
      when(g.slt(g.add(tid, i * t.threads()), g.c32(total)), copy);
  }
}

void AttentionBlock::copyTile(Value target, unsigned operand, Value tile, Value count, int rows) {
  Value kvHead = g.div(headIndex, int64_t(op.getHeads() / op.getKvHeads()));
  copyRows(target, operand, g.add(keyFirst, g.mul(tile, t.keys)), kvHead, count, rows);
}

void AttentionBlock::copyQuery() {
  copyRows(stageAt(t.stages - 1), 0, g.add(queryFirst, queryBlock), headIndex, g.sub(queryCount, queryBlock), t.rows());
}
