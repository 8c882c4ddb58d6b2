//===- EmbedOps.cpp - verifiers and folders of the embed family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

//===----------------------------------------------------------------------===//
// patch_embed
//===----------------------------------------------------------------------===//

LogicalResult PatchEmbedOp::verify() {
  // patch_embed_c1: the rank is checked by the operand's type.
  ArrayRef<int64_t> pixels = getPixels().getType().getShape(), weight = getWeight().getType().getShape();
  int64_t ph = getPatchHeightAttr().getInt(), pw = getPatchWidthAttr().getInt();
  // patch_embed_c2
  if (ph < 1 || pw < 1)
    return emitOpError() << "expected a patch of at least 1 x 1, found " << ph << " x " << pw;
  for (auto [size, patch] : {std::pair(pixels[heightAxis()], ph), std::pair(pixels[widthAxis()], pw)})
    if (!ShapedType::isDynamic(size) && size % patch)
      return emitOpError() << "expected a patch that divides the image, found " << ph << " x " << pw << " of "
                           << getPixels().getType();
  // patch_embed_c3
  if (ShapedType::isDynamic(weight[0]) || ShapedType::isDynamic(weight[1]) || ShapedType::isDynamic(channels()))
    return emitOpError("expected a static weight and a static number of channels");
  int64_t size;
  if (llvm::MulOverflow(ph, pw, size) || llvm::MulOverflow(size, channels(), size) || weight[1] != size)
    return emitOpError() << "expected a weight of " << channels() << " * " << ph << " * " << pw << " columns, found "
                         << getWeight().getType();
  // patch_embed_c4
  int64_t rows = ShapedType::kDynamic;
  if (!ShapedType::isDynamicShape(pixels))
    rows = pixels[0] * (pixels[heightAxis()] / ph) * (pixels[widthAxis()] / pw);
  return verifyEpilogue(*this, rows, false); // patch_embed_c5
}

LogicalResult PatchEmbedOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  auto size = [&](int64_t axis) { return tensor::getMixedSize(builder, getLoc(), getPixels(), axis); };
  AffineExpr d = getAffineDimExpr(0, getContext());
  OpFoldResult down = sizeExpr(builder, getLoc(), d.floorDiv(getPatchHeight()), {size(heightAxis())});
  OpFoldResult across = sizeExpr(builder, getLoc(), d.floorDiv(getPatchWidth()), {size(widthAxis())});
  OpFoldResult rows = sizeProduct(builder, getLoc(), sizeProduct(builder, getLoc(), size(0), down), across);
  return reifyRows(builder, *this, rows, shapes);
}

int64_t PatchEmbedOp::getAccumulatorColumns() { return getWeight().getType().getDimSize(0); }

//===----------------------------------------------------------------------===//
// assemble_tokens
//===----------------------------------------------------------------------===//

/// Rows of an optional operand, 0 when it is absent.
static int64_t rowsOf(Value value) { return value ? cast<RankedTensorType>(value.getType()).getDimSize(0) : 0; }

LogicalResult AssembleTokensOp::verify() {
  auto patches = getPatches().getType();
  int64_t rows = patches.getDimSize(0), d = patches.getDimSize(1);
  // assemble_tokens_c1
  if (failed(verifySegments(*this, getUniform(), getCuSeqlens(), rows)))
    return failure();
  // assemble_tokens_c2
  for (auto [name, value] : {std::pair("prefix", getPrefix()), std::pair("registers", getRegisters()),
                             std::pair("position", getPosition())}) {
    if (!value)
      continue;
    if (failed(expectShape(*this, name, cast<ShapedType>(value.getType()), {ShapedType::kDynamic, d})))
      return failure();
    if (value != getPosition() && ShapedType::isDynamic(rowsOf(value)))
      return emitOpError() << "expected a static number of rows of " << name << ", found " << value.getType();
  }
  // assemble_tokens_c3
  int64_t tokens = rowsOf(getPrefix()), extra = rowsOf(getRegisters());
  if (getPosition() && getUniform()) {
    int64_t own = *getUniform(), found = rowsOf(getPosition());
    if (!fits(found, own) && !fits(found, own + tokens))
      return emitOpError() << "expected a position of " << own << " or " << own + tokens << " rows, found " << found;
  }
  // assemble_tokens_c4
  auto result = getResult().getType();
  int64_t images = segmentCount(getUniform(), getCuSeqlens(), rows);
  int64_t total = ShapedType::isDynamic(rows) || ShapedType::isDynamic(images) ? ShapedType::kDynamic
                                                                              : rows + images * (tokens + extra);
  if (result.getElementType() != patches.getElementType())
    return emitOpError() << "expected a result of " << patches.getElementType() << ", found " << result;
  return expectShape(*this, "result", result, {total, d});
}

LogicalResult AssembleTokensOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  AffineExpr rows, offsets;
  bindDims(getContext(), rows, offsets);
  int64_t more = rowsOf(getPrefix()) + rowsOf(getRegisters());
  SmallVector<OpFoldResult> sizes = {tensor::getMixedSize(builder, getLoc(), getPatches(), 0)};
  AffineExpr total;
  if (getUniform()) {
    total = rows + rows.floorDiv(*getUniform()) * more;
  } else {
    total = rows + (offsets - 1) * more;
    sizes.push_back(tensor::getMixedSize(builder, getLoc(), getCuSeqlens(), 0));
  }
  return reifyRows(builder, *this, sizeExpr(builder, getLoc(), total, sizes), shapes);
}

//===----------------------------------------------------------------------===//
// pos_gather, merge_patches, embed, scatter_rows
//===----------------------------------------------------------------------===//

LogicalResult PosGatherOp::verify() {
  // pos_gather_c1
  auto index = getIndex().getType();
  if (failed(expectShape(*this, "weights", getWeights().getType(), index.getShape())))
    return failure();
  // pos_gather_c2
  auto table = getTable().getType(), result = getResult().getType();
  if (result.getElementType() != table.getElementType())
    return emitOpError() << "expected a result of " << table.getElementType() << ", found " << result;
  return expectShape(*this, "result", result, {index.getDimSize(0), table.getDimSize(1)});
}

LogicalResult PosGatherOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  shapes.push_back({tensor::getMixedSize(builder, getLoc(), getIndex(), 0),
                    tensor::getMixedSize(builder, getLoc(), getTable(), 1)});
  return success();
}

LogicalResult MergePatchesOp::verify() {
  auto input = getInput().getType(), result = getResult().getType();
  int64_t rows = input.getDimSize(0), d = input.getDimSize(1), factor = getFactorAttr().getInt();
  // merge_patches_c1
  if (factor < 1 || (!ShapedType::isDynamic(rows) && rows % factor))
    return emitOpError() << "expected a factor of at least 1 that divides the rows, found " << factor << " for " << input;
  // merge_patches_c2
  if (result.getElementType() != input.getElementType())
    return emitOpError() << "expected a result of " << input.getElementType() << ", found " << result;
  int64_t wide = d;
  if (!ShapedType::isDynamic(d) && llvm::MulOverflow(d, factor, wide))
    return emitOpError() << "expected columns that do not overflow, found " << factor << " * " << d;
  return expectShape(*this, "result", result, {quotient(rows, factor), wide});
}

LogicalResult MergePatchesOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  AffineExpr size = getAffineDimExpr(0, getContext());
  auto dim = [&](int64_t axis) { return tensor::getMixedSize(builder, getLoc(), getInput(), axis); };
  shapes.push_back({sizeExpr(builder, getLoc(), size.floorDiv(getFactor()), {dim(0)}),
                    sizeExpr(builder, getLoc(), size * getFactor(), {dim(1)})});
  return success();
}

OpFoldResult MergePatchesOp::fold(FoldAdaptor) {
  return getFactor() == 1 && getInput().getType() == getType() ? OpFoldResult(getInput()) : OpFoldResult();
}

LogicalResult EmbedOp::verify() {
  // embed_c1
  auto table = getTable().getType(), result = getResult().getType();
  if (result.getElementType() != table.getElementType())
    return emitOpError() << "expected a result of " << table.getElementType() << ", found " << result;
  return expectShape(*this, "result", result, {getIds().getType().getDimSize(0), table.getDimSize(1)});
}

LogicalResult EmbedOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  shapes.push_back({tensor::getMixedSize(builder, getLoc(), getIds(), 0),
                    tensor::getMixedSize(builder, getLoc(), getTable(), 1)});
  return success();
}

LogicalResult ScatterRowsOp::verify() {
  auto input = getInput().getType(), source = getSource().getType();
  // scatter_rows_c1
  if (source.getElementType() != input.getElementType() || !fits(source.getDimSize(1), input.getDimSize(1)))
    return emitOpError() << "expected a source of the input's columns and element type, found " << source << " for "
                         << input;
  // scatter_rows_c2
  if (failed(expectShape(*this, "index", getIndex().getType(), {source.getDimSize(0)})))
    return failure();
  // scatter_rows_c3
  if (getResult().getType() != input)
    return emitOpError() << "expected a result of the input's type " << input << ", found " << getResult().getType();
  return success();
}

LogicalResult ScatterRowsOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

//===----------------------------------------------------------------------===//
// pool
//===----------------------------------------------------------------------===//

LogicalResult PoolOp::verify() {
  auto input = getInput().getType(), result = getResult().getType();
  // pool_c1
  if (failed(verifySegments(*this, getUniform(), getCuSeqlens(), input.getDimSize(0))))
    return failure();
  // pool_c2
  int64_t first = getFirstAttr().getInt();
  if (first < 0 || (getUniform() && first >= static_cast<int64_t>(*getUniform())))
    return emitOpError() << "expected a token of the segment, found " << first;
  // pool_c3
  if (result.getElementType() != input.getElementType())
    return emitOpError() << "expected a result of " << input.getElementType() << ", found " << result;
  return expectShape(*this, "result", result,
                     {segmentCount(getUniform(), getCuSeqlens(), input.getDimSize(0)), input.getDimSize(1)});
}

LogicalResult PoolOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  AffineExpr size = getAffineDimExpr(0, getContext());
  OpFoldResult images =
      getUniform() ? sizeExpr(builder, getLoc(), size.floorDiv(*getUniform()),
                              {tensor::getMixedSize(builder, getLoc(), getInput(), 0)})
                   : sizeExpr(builder, getLoc(), size - 1, {tensor::getMixedSize(builder, getLoc(), getCuSeqlens(), 0)});
  shapes.push_back({images, tensor::getMixedSize(builder, getLoc(), getInput(), 1)});
  return success();
}
