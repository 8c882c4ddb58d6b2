//===- GateOps.cpp - verifiers and folders of the gate family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult GateOp::verify() { return success(); }

LogicalResult GateOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
