//===- MlpOps.cpp - verifiers and folders of the mlp family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult LinearOp::verify() { return success(); }

LogicalResult LinearOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t LinearOp::getAccumulatorColumns() { return getWeight().getType().getDimSize(0); }

LogicalResult ActOp::verify() { return success(); }

LogicalResult ActOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

void ActOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {}

LogicalResult GluOp::verify() { return success(); }

LogicalResult GluOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
