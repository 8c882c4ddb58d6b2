//===- AttentionOps.cpp - verifiers of the attention family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace vitrify::vit;

//===----------------------------------------------------------------------===//
// attention
//===----------------------------------------------------------------------===//

/// True if the result's rows follow from the keys: queries of their own count a segment, or shared by all segments.
static bool rowsFollowKeys(AttentionOp op) {
  return op.getUniform() &&
         (op.getKvUniform() || op.getQuery().getType().getDimSize(0) == static_cast<int64_t>(*op.getUniform()));
}

LogicalResult AttentionOp::verify() {
  auto query = getQuery().getType(), key = getKey().getType(), value = getValue().getType();
  int64_t heads = getHeadsAttr().getInt(), kvHeads = getKvHeadsAttr().getInt(), columns = query.getDimSize(1);
  // attention_c1
  if (ShapedType::isDynamic(columns) || columns == 0 || heads < 1 || columns % heads)
    return emitOpError() << "expected heads that divide the query's static columns, found " << heads << " for " << query;
  if (kvHeads < 1 || heads % kvHeads)
    return emitOpError() << "expected kv_heads that divide the " << heads << " heads, found " << kvHeads;
  // attention_c2
  int64_t keys = key.getDimSize(0), kvColumns = columns / heads * kvHeads;
  if (failed(expectShape(*this, "key", key, {ShapedType::kDynamic, kvColumns})) ||
      failed(expectShape(*this, "value", value, {keys, kvColumns})))
    return failure();
  // attention_c3
  std::optional<int64_t> uniform = getUniform(), kvUniform = getKvUniform();
  bool probe = uniform && query.getDimSize(0) == *uniform;
  if (failed(verifySegments(*this, uniform, getCuSeqlensQ(), query.getDimSize(0))))
    return failure();
  if (kvUniform && !uniform)
    return emitOpError("expected kv_uniform only beside uniform");
  if (getCuSeqlensK() && !getCuSeqlensQ())
    return emitOpError("expected cu_seqlens_k only beside cu_seqlens_q");
  int64_t perSegment = kvUniform ? *kvUniform : uniform.value_or(1);
  if (perSegment < 1 || (!ShapedType::isDynamic(keys) && keys % perSegment))
    return emitOpError() << "expected a multiple of " << perSegment << " keys, found " << keys;
  if (getCuSeqlensK() &&
      failed(expectShape(*this, "cu_seqlens_k", getCuSeqlensK().getType(), getCuSeqlensQ().getType().getShape())))
    return failure();
  if (uniform && !probe && !fits(quotient(query.getDimSize(0), *uniform), quotient(keys, perSegment)))
    return emitOpError() << "expected as many segments of keys as of queries, found " << keys / perSegment << " and "
                         << query.getDimSize(0) / *uniform;
  // attention_c4
  if (!getScale().isFinite() || getScale().isZero())
    return emitOpError() << "expected a finite scale that is not 0, found " << getScale().convertToDouble();
  // attention_c5
  if (getKeyMask() && failed(expectShape(*this, "key_mask", getKeyMask().getType(), {keys})))
    return failure();
  // attention_c6
  int64_t rows = query.getDimSize(0);
  if (rowsFollowKeys(*this))
    rows = ShapedType::isDynamic(keys) ? keys : keys / perSegment * *uniform;
  return verifyEpilogue(*this, rows, true);
}

LogicalResult AttentionOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  if (!rowsFollowKeys(*this))
    return reifyFromFirstOperand(builder, *this, shapes);
  int64_t perSegment = getKvUniform() ? *getKvUniform() : *getUniform();
  AffineExpr keys = getAffineDimExpr(0, getContext());
  OpFoldResult rows = sizeExpr(builder, getLoc(), keys.floorDiv(perSegment) * static_cast<int64_t>(*getUniform()),
                               {tensor::getMixedSize(builder, getLoc(), getKey(), 0)});
  return reifyRows(builder, *this, rows, shapes);
}

int64_t AttentionOp::getAccumulatorColumns() { return getQuery().getType().getDimSize(1); }

int64_t AttentionOp::getHeadDim() { return getQuery().getType().getDimSize(1) / getHeads(); }

//===----------------------------------------------------------------------===//
// rope, cache_append
//===----------------------------------------------------------------------===//

LogicalResult RopeOp::verify() {
  auto input = getInput().getType();
  int64_t hd = getHeadDimAttr().getInt(), multiple = getKind() == RopeKind::Vision2D ? 4 : 2, d = input.getDimSize(1);
  // rope_c1
  if (hd < 1 || hd % multiple || ShapedType::isDynamic(d) || d % hd)
    return emitOpError() << "expected a head_dim that is a multiple of " << multiple << " and divides the columns, found "
                         << hd << " for " << input;
  if (getResult().getType() != input)
    return emitOpError() << "expected a result of the input's type " << input << ", found " << getResult().getType();
  // rope_c2
  int64_t axes = getKind() == RopeKind::Vision2D ? 2 : 3;
  if (failed(expectShape(*this, "positions", getPositions().getType(), {axes, input.getDimSize(0)})))
    return failure();
  // rope_c3
  if (std::optional<ArrayRef<int64_t>> sections = getSections()) {
    if (getKind() != RopeKind::MRope)
      return emitOpError("expected sections for mrope only");
    int64_t sum = 0;
    bool good = sections->size() == 3;
    for (int64_t section : *sections)
      good = good && section >= 0 && !llvm::AddOverflow(sum, section, sum);
    if (!good || sum != hd / 2)
      return emitOpError() << "expected 3 sections that add up to " << hd / 2;
  }
  // rope_c4
  double theta = getTheta().convertToDouble();
  if (!getTheta().isFinite() || theta <= 1)
    return emitOpError() << "expected a theta above 1, found " << theta;
  return success();
}

LogicalResult RopeOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

LogicalResult CacheAppendOp::verify() {
  auto cache = getCache().getType(), result = getResult().getType();
  // cache_append_c1
  if (cache != result)
    return emitOpError() << "expected a result of the cache's type " << cache << ", found " << result;
  // cache_append_c2
  auto rows = getRows().getType();
  if (rows.getElementType() != cache.getElementType() || !fits(rows.getDimSize(1), cache.getDimSize(2)))
    return emitOpError() << "expected rows of the cache's columns and element type, found " << rows << " for " << cache;
  // cache_append_c3
  int64_t segments = cache.getDimSize(0);
  if (failed(expectShape(*this, "lengths", getLengths().getType(), {segments})))
    return failure();
  return expectShape(*this, "cu_seqlens", getCuSeqlens().getType(),
                     {ShapedType::isDynamic(segments) ? segments : segments + 1});
}

LogicalResult CacheAppendOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
