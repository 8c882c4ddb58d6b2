//===- LinearSums.cpp - in what a linear may sum, and how long -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "LinearSums.h"

#include "EpilogueGelu.h"

#include "vitrify/Support/Float8.h"

#include "llvm/ADT/TypeSwitch.h"

#include <numeric>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr double kLargestCode = 448, kLargestF16 = 65504;
constexpr int64_t kStageBytes = 128, kStepBytes = 32; // of K: the longest stage, and one mma.sync

/// Largest magnitude of the codes that a recipe yields.
double boundOf(Value codes) {
  Value value = weightDefinition(codes);
  Operation *op = value.getDefiningOp();
  if (!op)
    return kLargestCode;
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case<vit::RoundOp>([](auto round) {
        auto amax = weightDefinition(round.getScale()).template getDefiningOp<vit::AmaxOp>();
        if (!amax || round.getBlock() || weightDefinition(amax.getInput()) != weightDefinition(round.getInput()))
          return kLargestCode;
        // |x| / scale is at most the divisor, but for the rounding of the quotient; a divisor that is a code stays one.
        double divisor = amax.getDivisor().convertToDouble();
        auto asFloat = static_cast<float>(divisor);
        bool isCode = divisor <= kLargestCode && decodeE4M3(encodeE4M3(asFloat)) == asFloat && asFloat == divisor;
        return std::min(kLargestCode, isCode ? divisor : divisor * 1.125);
      })
      .Case<vit::SliceOp, vit::GatherOp, vit::ConcatOp, vit::ReshapeOp, vit::PadOp, vit::TransposeOp>([](Operation *moved) {
        double bound = 0;
        for (Value operand : moved->getOperands())
          if (isa<Float8E4M3FNType>(getElementTypeOrSelf(operand.getType())))
            bound = std::max(bound, boundOf(operand));
        return bound;
      })
      .Default([](Operation *) { return kLargestCode; });
}

} // namespace

double vitrify::nvptx::codeBoundOf(vit::LinearOp op) { return boundOf(op.getWeight()); }

int64_t vitrify::nvptx::scaledDepthOf(vit::LinearOp op) {
  int64_t depth = op.getWeight().getType().getDimSize(1), block = 0;
  for (Value scales : {op.getXScales(), op.getWScales()})
    if (scales)
      block = std::gcd(block, depth / cast<RankedTensorType>(scales.getType()).getDimSize(1));
  return block;
}

SumForm vitrify::nvptx::sumFormOf(vit::LinearOp op, const TargetRow &row) {
  Type element = op.getInput().getType().getElementType();
  int64_t bytes = element.getIntOrFloatBitWidth() / 8, step = kStepBytes / bytes, scaled = scaledDepthOf(op);
  SumForm form;
  int64_t longest = kStageBytes / bytes;
  if (isa<Float8E4M3FNType>(element) && row.has(MicroKernel::MmaSyncE4M3F16)) {
    auto safe = static_cast<int64_t>(kLargestF16 / (kLargestCode * codeBoundOf(op))) / step * step;
    if (safe > 0) {
      form.f16 = true;
      // Longer sums in f16 lose bits that FP8 has.
      longest = std::min<int64_t>(safe, 2 * step);
    }
  }
  if (!form.f16 && !scaled)
    return form;
  for (form.promoteDepth = longest; scaled && scaled % form.promoteDepth;)
    form.promoteDepth -= step;
  while (kStageBytes / bytes % form.promoteDepth)
    form.promoteDepth -= step;
  return form;
}
