//===- AttentionShape.cpp - block sizes of attention on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "AttentionShape.h"

#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

/// Queries of a unit: units enough for a few threads, but keys are seldom packed twice.
static constexpr int64_t kQueries = 108;
/// Keys of a block where not all are taken at once.
static constexpr int64_t kKeys = 256;
/// Stays well below a thread's stack, and within the second-level cache.
static constexpr int64_t kMaxScratch = 232 * 1024;

static int64_t scratchBytes(const AttentionShape &shape, int64_t lanes) {
  int64_t rows = shape.tile.rows, keys = shape.paddedKeys(lanes), bytes = shape.dot ? 2 : 4;
  int64_t states = shape.whole ? 2 * rows : shape.queries;
  return keys * shape.steps() * 4 + llvm::alignTo(shape.keys, 2) * shape.paddedDim(lanes) * bytes // K^T and V
         + keys * (4 + rows * (4 + 2 * bytes))                                                  // seen, S, P
         + (shape.whole ? rows : shape.queries) * shape.paddedDim(lanes) * 4                    // O
         + (2 * rows + states * (shape.whole ? 1 : 3)) * lanes * 4;
}

/// `n` in blocks of nearly equal size, at most `most`, a multiple of `unit`.
static int64_t balancedBlock(int64_t n, int64_t most, int64_t unit) {
  return llvm::alignTo(llvm::divideCeil(n, llvm::divideCeil(n, most)), unit);
}

std::optional<AttentionShape> x86::attentionShape(KernelFrame &frame) {
  auto op = cast<vit::AttentionOp>(frame.op);
  if (!frame.reason.empty())
    return std::nullopt;
  AttentionShape shape;
  shape.headDim = op.getHeadDim();
  auto isBF16 = [](Value value) { return cast<RankedTensorType>(value.getType()).getElementType().isBF16(); };
  shape.dot = frame.row.has(MicroKernel::DotBF16) && isBF16(op.getQuery()) && isBF16(op.getKey()) && isBF16(op.getValue());
  frame.fail(EpilogueEmitter::whyUnsupported(op, shape.headDim, frame.row.lanes));
  int64_t lanes = frame.row.lanes;
  shape.tile = chooseAttentionTile(frame.row.registers);
  const int64_t queries = op.getUniform() ? int64_t(*op.getUniform()) : kQueries;
  shape.queries = balancedBlock(queries, kQueries, shape.tile.rows);
  if (op.getUniform()) {
    shape.uniform = shape.whole = true;
    shape.keys = op.getKvUniform().value_or(*op.getUniform());
    if (scratchBytes(shape, lanes) <= kMaxScratch)
      return shape;
  }
  shape.whole = false;
  const int64_t keys = op.getUniform() ? shape.keys : kKeys;
  for (int64_t mostQueries = kQueries, mostKeys = kKeys;; mostQueries /= 2, mostKeys = std::max<int64_t>(32, mostKeys / 2)) {
    shape.queries = balancedBlock(queries, std::max(mostQueries, shape.tile.rows), shape.tile.rows);
    shape.keys = balancedBlock(keys, mostKeys, 2);
    if (scratchBytes(shape, lanes) <= kMaxScratch)
      break;
    if (mostQueries < shape.tile.rows) {
      frame.fail("a head_dim of " + std::to_string(shape.headDim));
      break;
    }
  }
  if (!frame.reason.empty())
    return std::nullopt;
  return shape;
}

Value x86::emitDot(LaneBuilder &b, Value acc, Value x, Value y) { return x86vector::DotBF16Op::create(b, acc, x, y); }
