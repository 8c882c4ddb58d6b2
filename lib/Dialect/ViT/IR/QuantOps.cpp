//===- QuantOps.cpp - verifiers and folders of the quant family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"

using namespace mlir;
using namespace vitrify::vit;

//===----------------------------------------------------------------------===//
// convert
//===----------------------------------------------------------------------===//

static bool isCode(Type type) { return isa<Float8E4M3FNType>(type) || type.isInteger(8); }

LogicalResult ConvertOp::verify() {
  Type from = getInput().getType(), to = getResult().getType();
  // convert_c1
  auto in = dyn_cast<ShapedType>(from), out = dyn_cast<ShapedType>(to);
  bool same = !in && !out;
  if (in && out)
    same = isa<VectorType>(from) == isa<VectorType>(to) && in.getShape() == out.getShape();
  if (!same)
    return emitOpError() << "expected a result of the operand's shape, found " << from << " to " << to;
  // convert_c2
  Type element = getElementTypeOrSelf(to);
  if (getElementTypeOrSelf(from) == element)
    return emitOpError() << "expected another element type, found " << element << " twice";
  // convert_c3
  bool codes = isCode(element);
  if (codes != getSaturate())
    return emitOpError() << "expected " << (codes ? "sat to " : "no sat to ") << element;
  return success();
}

LogicalResult ConvertOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

/// True if every value of one type is one of the other: a conversion that rounds nothing.
static bool isExact(Type from, Type to) { return isCode(from) || (!from.isF32() && to.isF32()); }

OpFoldResult ConvertOp::fold(FoldAdaptor) {
  // convert(convert(x)) is one conversion when the inner one is exact, and none when it leads back. Codes are not
  // folded back to themselves: both NaN codes of E4M3 would have to be one, and -128 is given back as -127.
  auto inner = getInput().getDefiningOp<ConvertOp>();
  if (!inner)
    return {};
  Type from = getElementTypeOrSelf(inner.getInput().getType()), to = getElementTypeOrSelf(getType());
  if (!isExact(from, getElementTypeOrSelf(inner.getType())))
    return {};
  if (from == to)
    return isCode(from) ? OpFoldResult() : OpFoldResult(inner.getInput());
  getInputMutable().assign(inner.getInput());
  return getResult();
}

//===----------------------------------------------------------------------===//
// quantize, dequantize
//===----------------------------------------------------------------------===//

LogicalResult QuantizeOp::verify() {
  auto input = getInput().getType();
  int64_t rows = input.getDimSize(0), d = input.getDimSize(1);
  // quantize_c1
  if (failed(expectShape(*this, "codes", getCodes().getType(), input.getShape())))
    return failure();
  // quantize_c3
  Granularity granularity = getGranularity();
  bool needed = granularity == Granularity::Channel;
  if (needed && !getScale())
    return emitOpError("expected a scale for channel granularity");
  if (getScale() && !needed && granularity != Granularity::Tensor)
    return emitOpError() << "expected no scale for " << stringifyGranularity(granularity)
                         << " granularity, which finds its own";
  // quantize_c4
  if (getBlock().has_value() != (granularity == Granularity::Block))
    return emitOpError("expected a block for block granularity and for no other");
  int64_t block = getBlock() ? getBlockAttr().getInt() : 1;
  if (block < 1 || (getBlock() && (ShapedType::isDynamic(d) || d % block)))
    return emitOpError() << "expected a block that divides the columns of " << input << ", found " << block;
  // quantize_c2
  SmallVector<int64_t> shape;
  switch (granularity) {
  case Granularity::Tensor:
    shape = {1};
    break;
  case Granularity::Channel:
    shape = {d};
    break;
  case Granularity::Token:
    shape = {rows, 1};
    break;
  case Granularity::Block:
    shape = {rows, d / block};
    break;
  }
  if (getScale() && failed(expectShape(*this, "scale", getScale().getType(), shape)))
    return failure();
  return expectShape(*this, "scales", getScales().getType(), shape);
}

LogicalResult QuantizeOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult DequantizeOp::verify() {
  auto codes = getCodes().getType(), scales = getScales().getType();
  // dequantize_c1
  if (failed(expectShape(*this, "result", getResult().getType(), codes.getShape())))
    return failure();
  // dequantize_c2
  int64_t rows = codes.getDimSize(0), d = codes.getDimSize(1);
  bool vector = scales.getRank() == 1 && (scales.getDimSize(0) == 1 || fits(scales.getDimSize(0), d));
  bool matrix = scales.getRank() == 2 && fits(scales.getDimSize(0), rows);
  if (matrix && !ShapedType::isDynamic(scales.getDimSize(1)) && !ShapedType::isDynamic(d))
    matrix = scales.getDimSize(1) > 0 && d % scales.getDimSize(1) == 0;
  if (!vector && !matrix)
    return emitOpError() << "expected scales [1], [D], [rows, 1] or [rows, D / block] for " << codes << ", found "
                         << scales;
  return success();
}

LogicalResult DequantizeOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
