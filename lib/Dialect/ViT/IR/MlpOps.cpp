//===- MlpOps.cpp - verifiers and canonicalisations of the mlp family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

//===----------------------------------------------------------------------===//
// linear
//===----------------------------------------------------------------------===//

static bool isFloat(Type type) { return type.isF32() || type.isF16() || type.isBF16(); }

LogicalResult LinearOp::verify() {
  auto input = getInput().getType(), weight = getWeight().getType();
  int64_t n = weight.getDimSize(0), k = weight.getDimSize(1), rows = input.getDimSize(0);
  // linear_c1
  if (ShapedType::isDynamic(n) || ShapedType::isDynamic(k) || input.getDimSize(1) != k)
    return emitOpError() << "expected an input [rows, K] and a weight [N, K] with static N and K, found " << input
                         << " and " << weight;
  // linear_c2
  Type x = input.getElementType(), w = weight.getElementType();
  bool weightOnly = isFloat(x) && (isa<Float8E4M3FNType, Float4E2M1FNType>(w));
  bool codes = x == w && (isa<Float8E4M3FNType>(x) || x.isInteger(8));
  if (!(isFloat(x) && isFloat(w)) && !codes && !weightOnly)
    return emitOpError() << "expected floats, f8E4M3FN or i8 on both sides, or a weight alone of f8E4M3FN or f4E2M1FN, found "
                         << x << " and " << w;
  if (Value scales = getWScales(); scales && !getElementTypeOrSelf(scales).isF32() && !isa<Float4E2M1FNType>(w))
    return emitOpError() << "expected w_scales in f32, or in f8E4M3FN with a weight of f4E2M1FN, found " << scales.getType() << " and "
                         << weight;
  // linear_c3
  if (Value scales = getXScales()) {
    auto type = cast<RankedTensorType>(scales.getType());
    int64_t blocks = type.getDimSize(1);
    if (!fits(type.getDimSize(0), rows) || blocks < 1 || k % blocks)
      return emitOpError() << "expected x_scales of x's rows and a divisor of " << k << " columns, found " << type;
  }
  if (Value scales = getWScales()) {
    auto type = cast<RankedTensorType>(scales.getType());
    int64_t high = type.getDimSize(0), blocks = type.getDimSize(1);
    // [ceil(N / h), K / g] for some h: that of the fewest rows a block.
    auto ceilDiv = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
    if (high < 1 || high > n || ceilDiv(n, ceilDiv(n, high)) != high || blocks < 1 || k % blocks)
      return emitOpError() << "expected w_scales of " << n << " rows divided into blocks and a divisor of " << k
                           << " columns, found " << type;
  }
  // linear_c4
  if (Value gate = getActive()) {
    auto type = cast<RankedTensorType>(gate.getType());
    int64_t blocks = type.getDimSize(1);
    if (!fits(type.getDimSize(0), rows) || blocks < 1 || n % blocks)
      return emitOpError() << "expected a gate of x's rows and a divisor of " << n << " blocks, found " << type;
  }
  return verifyEpilogue(*this, rows, false);
}

LogicalResult LinearOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

int64_t LinearOp::getAccumulatorColumns() { return getWeight().getType().getDimSize(0); }

//===----------------------------------------------------------------------===//
// act, glu
//===----------------------------------------------------------------------===//

LogicalResult ActOp::verify() {
  // act_c1: the op's trait compares the types.
  // act_c2
  bool tensor = isa<RankedTensorType>(getInput().getType());
  if (tensor != getLayers().has_value())
    return emitOpError() << "expected " << (tensor ? "layers on a tensor" : "no layers on a scalar or vector");
  return success();
}

LogicalResult ActOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}

namespace {
/// relu of relu is relu; the one that stays takes both layers' names.
struct ReluOfRelu : OpRewritePattern<ActOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ActOp op, PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<ActOp>();
    if (op.getKind() != ActKind::Relu || !inner || inner.getKind() != ActKind::Relu)
      return rewriter.notifyMatchFailure(op, "expected relu of relu");
    if (op.getLayers()) {
      if (!inner->hasOneUse())
        return rewriter.notifyMatchFailure(op, "expected an inner relu that only this op uses");
      SmallVector<Attribute> names(inner.getLayersAttr().begin(), inner.getLayersAttr().end());
      names.append(op.getLayersAttr().begin(), op.getLayersAttr().end());
      rewriter.modifyOpInPlace(inner, [&] { inner.setLayersAttr(rewriter.getArrayAttr(names)); });
    }
    rewriter.replaceOp(op, inner.getResult());
    return success();
  }
};
} // namespace

void ActOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<ReluOfRelu>(context);
}

LogicalResult GluOp::verify() {
  // glu_c1
  if (getGate().getType() != getUp().getType() || getGate().getType() != getResult().getType())
    return emitOpError() << "expected gate, up and result of one type, found " << getGate().getType() << ", "
                         << getUp().getType() << " and " << getResult().getType();
  return success();
}

LogicalResult GluOp::reifyResultShapes(OpBuilder &builder, ReifiedRankedShapedTypeDims &shapes) {
  return reifyFromFirstOperand(builder, *this, shapes);
}
