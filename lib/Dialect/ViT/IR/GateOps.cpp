//===- GateOps.cpp - verifiers of the gate family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult GateOp::verify() {
  auto scores = getScores().getType();
  int64_t blocks = scores.getDimSize(1);
  // gate_c1
  if (ShapedType::isDynamic(blocks))
    return emitOpError() << "expected a static number of blocks, found " << scores;
  if (getKind() == GateKind::TopK) {
    if (!getK() || getThreshold() || getKAttr().getInt() < 1 || getKAttr().getInt() > blocks)
      return emitOpError() << "expected a k from 1 to " << blocks << " and no threshold for topk";
  } else if (!getThreshold() || getK() || !getThreshold()->isFinite()) {
    return emitOpError("expected a finite threshold and no k for threshold");
  }
  // gate_c2
  return expectShape(*this, "result", getResult().getType(), scores.getShape());
}

LogicalResult GateOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
