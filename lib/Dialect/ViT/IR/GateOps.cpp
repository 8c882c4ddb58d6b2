//===- GateOps.cpp - verifiers of the gate family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

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

//===----------------------------------------------------------------------===//
// group_tokens, grouped_linear
//===----------------------------------------------------------------------===//

/// Sizes of lists of `blocks` blocks over `rows` rows.
static LogicalResult verifyLists(Operation *op, Value list, Value starts, int64_t rows, int64_t blocks, int64_t chunk) {
  bool isDynamic = ShapedType::isDynamic(rows);
  int64_t entries = isDynamic ? rows : rows * blocks;
  int64_t bounds = isDynamic ? rows : (rows + chunk - 1) / chunk + 1;
  if (failed(expectShape(op, "rows", cast<ShapedType>(list.getType()), {entries})))
    return failure();
  return expectShape(op, "starts", cast<ShapedType>(starts.getType()), {bounds, blocks});
}

LogicalResult GroupTokensOp::verify() {
  auto gate = getGate().getType();
  // group_tokens_c1
  if (ShapedType::isDynamic(gate.getDimSize(1)) || getChunkAttr().getInt() < 1)
    return emitOpError() << "expected a static number of blocks and a chunk of at least 1 row, found " << gate << " and "
                         << getChunkAttr().getInt();
  // group_tokens_c2
  return verifyLists(*this, getRows(), getStarts(), gate.getDimSize(0), gate.getDimSize(1), getChunk());
}

LogicalResult GroupTokensOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  OpFoldResult rows = tensor::getMixedSize(builder, getLoc(), getGate(), 0);
  AffineExpr m = builder.getAffineDimExpr(0);
  int64_t blocks = getGate().getType().getDimSize(1);
  shapes.push_back({sizeExpr(builder, getLoc(), m * blocks, {rows})});
  shapes.push_back({sizeExpr(builder, getLoc(), m.ceilDiv(int64_t(getChunk())) + 1, {rows}), builder.getIndexAttr(blocks)});
  return success();
}

LogicalResult GroupedLinearOp::verify() {
  auto input = getInput().getType(), weight = getWeight().getType();
  int64_t n = weight.getDimSize(0), k = weight.getDimSize(1), rows = input.getDimSize(0), blocks = getBlocks();
  bool columns = getAxis() == GroupedAxis::Columns;
  // grouped_linear_c1
  if (ShapedType::isDynamic(n) || ShapedType::isDynamic(k) || input.getDimSize(1) != k)
    return emitOpError() << "expected an input [rows, K] and a weight [N, K] with static N and K, found " << input
                         << " and " << weight;
  // grouped_linear_c2
  auto isFloat = [](Type type) { return type.isF32() || type.isF16() || type.isBF16(); };
  Type x = input.getElementType(), w = weight.getElementType();
  if (!(isFloat(x) && isFloat(w)) && x != w)
    return emitOpError() << "expected floats, f8E4M3FN or i8 on both sides, found " << x << " and " << w;
  // grouped_linear_c3
  if (blocks < 1 || (columns ? n : k) % blocks || getChunkAttr().getInt() < 1)
    return emitOpError() << "expected a chunk of at least 1 row and a static number of blocks that divides "
                         << (columns ? n : k) << ", found " << getChunkAttr().getInt() << " and " << getStarts().getType();
  if (failed(verifyLists(*this, getRows(), getStarts(), rows, blocks, getChunk())))
    return failure();
  // grouped_linear_c4
  for (Value list : {Value(getRows()), Value(getStarts())})
    if (auto group = list.getDefiningOp<GroupTokensOp>(); group && group.getChunk() != getChunk()) {
      auto error = emitOpError() << "expected the chunk of its lists, " << group.getChunk() << ", found " << getChunk();
      error.attachNote(group.getLoc()) << "lists are made here";
      return error;
    }
  if (failed(verifyEpilogue(*this, rows, false)))
    return failure();
  // grouped_linear_c5
  for (Type result : getResultTypes())
    if (columns && (cast<ShapedType>(result).getDimSize(1) != n || getBlock() % int64_t(getGroup())))
      return emitOpError() << "expected results of " << n << " columns in groups that divide a block of " << getBlock()
                           << " columns, found " << result << " in groups of " << getGroup();
  return success();
}

LogicalResult GroupedLinearOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t GroupedLinearOp::getAccumulatorColumns() { return getWeight().getType().getDimSize(0); }
