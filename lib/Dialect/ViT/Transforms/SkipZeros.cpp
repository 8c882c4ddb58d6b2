//===- SkipZeros.cpp - linears whose input is mostly zeros -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_SKIPZEROS
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

/// Whether a ReLU, or a gate that is 0 for blocks that are off, decides if an epilogue's value is 0.
bool isOftenZero(Value value, LinearOp linear) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    unsigned index = argument.getArgNumber();
    return index > 0 && linear.getEpilogueIns()[index - 1].getDefiningOp<GateOp>();
  }
  Operation *op = value.getDefiningOp();
  if (auto act = dyn_cast<ActOp>(op))
    return act.getKind() == ActKind::Relu;
  if (isa<ConvertOp, arith::TruncFOp, arith::ExtFOp>(op))
    return isOftenZero(op->getOperand(0), linear);
  if (isa<arith::MulFOp>(op))
    return isOftenZero(op->getOperand(0), linear) || isOftenZero(op->getOperand(1), linear);
  return false;
}

bool isOftenZero(Value value) {
  if (auto act = value.getDefiningOp<ActOp>())
    return act.getKind() == ActKind::Relu;
  auto linear = value.getDefiningOp<LinearOp>();
  if (!linear || linear.getEpilogue().empty() || linear.getGroup() != 1)
    return false;
  return isOftenZero(linear.getEpilogue().front().getTerminator()->getOperand(0), linear);
}

class SkipZerosPass : public vitrify::vit::impl::SkipZerosBase<SkipZerosPass> {
  void runOnOperation() override {
    getOperation().walk([&](LinearOp op) {
      if (!isOftenZero(op.getInput()))
        return;
      op->setAttr("vit.skip_zeros", UnitAttr::get(op.getContext()));
      emitRemark(op.getLoc()) << "layer " << op.getLayers()[0] << " skips columns of its input that are 0 in all rows it computes at once";
      ++marked;
    });
  }
};

} // namespace
