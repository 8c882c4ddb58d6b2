//===- NormOps.cpp - verifiers and folders of the norm family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult NormOp::verify() { return success(); }

LogicalResult NormOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t NormOp::getAccumulatorColumns() { return getInput().getType().getDimSize(1); }

LogicalResult ResidualOp::verify() { return success(); }

LogicalResult ResidualOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
