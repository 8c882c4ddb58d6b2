//===- AttentionShape.cpp - block sizes of attention on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "AttentionShape.h"

#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

/// Sizes near these keep scores, probabilities and values of a block in the first-level cache.
static constexpr int64_t kQueries = 112, kKeys = 128;
static constexpr int64_t kMaxScratch = 224 * 1024;

static int64_t scratchBytes(const AttentionShape &shape, int64_t lanes) {
  int64_t words = (shape.queries + 2 * lanes) * shape.steps()     // Q^T
                  + (shape.keys + 16) * 2 * lanes                  // S^T
                  + shape.headDim * (shape.queries + lanes)        // O^T
                  + lanes * (shape.headDim + lanes) + 2 * (shape.queries + lanes);
  if (shape.dot)
    words += (shape.keys / 2 + 1) * (2 * lanes + shape.headDim);
  return words * 4;
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
  int64_t lanes = frame.row.lanes, queries = op.getUniform() ? int64_t(*op.getUniform()) : kQueries;
  int64_t keys = op.getUniform() ? int64_t(op.getKvUniform().value_or(*op.getUniform())) : kKeys;
  for (int64_t mostQueries = kQueries, mostKeys = kKeys;; mostQueries /= 2, mostKeys = std::max<int64_t>(32, mostKeys / 2)) {
    shape.queries = balancedBlock(queries, std::max(mostQueries, lanes), lanes);
    shape.keys = balancedBlock(keys, mostKeys, 2);
    if (scratchBytes(shape, lanes) <= kMaxScratch)
      break;
    if (mostQueries < lanes) {
      frame.fail("a head_dim of " + std::to_string(shape.headDim));
      break;
    }
  }
  if (!frame.reason.empty())
    return std::nullopt;
  return shape;
}

Value x86::emitDot(LaneBuilder &b, Value acc, Value x, Value y) { return x86vector::DotBF16Op::create(b, acc, x, y); }
