//===- QuantOps.cpp - verifiers and folders of the quant family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult ConvertOp::verify() { return success(); }

LogicalResult ConvertOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

OpFoldResult ConvertOp::fold(FoldAdaptor adaptor) { return {}; }

LogicalResult QuantizeOp::verify() { return success(); }

LogicalResult QuantizeOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult DequantizeOp::verify() { return success(); }

LogicalResult DequantizeOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
