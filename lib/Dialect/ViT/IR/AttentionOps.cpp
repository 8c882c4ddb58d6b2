//===- AttentionOps.cpp - verifiers and folders of the attention family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult AttentionOp::verify() { return success(); }

LogicalResult AttentionOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t AttentionOp::getAccumulatorColumns() { return getQuery().getType().getDimSize(1); }

int64_t AttentionOp::getHeadDim() { return getQuery().getType().getDimSize(1) / getHeads(); }

LogicalResult RopeOp::verify() { return success(); }

LogicalResult RopeOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult CacheAppendOp::verify() { return success(); }

LogicalResult CacheAppendOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
