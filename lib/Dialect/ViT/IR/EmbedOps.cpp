//===- EmbedOps.cpp - verifiers and folders of the embed family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult PatchEmbedOp::verify() { return success(); }

LogicalResult PatchEmbedOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t PatchEmbedOp::getAccumulatorColumns() { return getWeight().getType().getDimSize(0); }

LogicalResult AssembleTokensOp::verify() { return success(); }

LogicalResult AssembleTokensOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult PosGatherOp::verify() { return success(); }

LogicalResult PosGatherOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult MergePatchesOp::verify() { return success(); }

LogicalResult MergePatchesOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

OpFoldResult MergePatchesOp::fold(FoldAdaptor adaptor) { return {}; }

LogicalResult EmbedOp::verify() { return success(); }

LogicalResult EmbedOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult ScatterRowsOp::verify() { return success(); }

LogicalResult ScatterRowsOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult PoolOp::verify() { return success(); }

LogicalResult PoolOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
