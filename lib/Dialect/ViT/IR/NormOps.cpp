//===- NormOps.cpp - verifiers of the norm family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult NormOp::verify() {
  auto input = getInput().getType();
  int64_t d = input.getDimSize(1), width = getWidth() ? getWidthAttr().getInt() : d;
  if (ShapedType::isDynamic(d))
    return emitOpError() << "expected a static number of columns, found " << input;
  // norm_c1
  if (width < 1 || d % width)
    return emitOpError() << "expected a width that divides the " << d << " columns, found " << width;
  // norm_c2
  for (auto [name, value] : {std::pair("gamma", getGamma()), std::pair("beta", getBeta())})
    if (value && failed(expectShape(*this, name, cast<ShapedType>(value.getType()), {width})))
      return failure();
  // norm_c3
  if (getKind() == NormKind::Rms && getBeta())
    return emitOpError("expected no beta for rms");
  // norm_c4
  if (!getEps().isFinite() || getEps().isZero() || getEps().isNegative())
    return emitOpError() << "expected a positive eps, found " << getEps().convertToDouble();
  return verifyEpilogue(*this, input.getDimSize(0), true); // norm_c5
}

LogicalResult NormOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t NormOp::getAccumulatorColumns() { return getInput().getType().getDimSize(1); }

LogicalResult ResidualOp::verify() {
  // residual_c1
  auto input = getInput().getType();
  for (auto [name, type] : {std::pair("a branch", getBranch().getType()), std::pair("a result", getResult().getType())})
    if (failed(expectShape(*this, name, type, input.getShape())))
      return failure();
  // residual_c2
  if (getScale())
    return expectShape(*this, "scale", getScale().getType(), {input.getDimSize(1)});
  return success();
}

LogicalResult ResidualOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
