//===- EpilogueGelu.cpp - GELU that ends in E4M3 codes, at what the codes can show -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "EpilogueGelu.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

/// Fitted for the smallest maximum of |x (clamp(0.5 + x q(x^2)) - Phi(x))|, by linear programs over bounds; from x^0 on.
constexpr double kPhi[] = {0.39412066, -0.059644904, 0.006661798, -0.00040920498, 1.031867e-05};
/// The largest error, with what rounding to f32 adds.
constexpr double kPhiError = 1.08e-3;
/// Of r: the ninth power of 1 / r stays an f32.
constexpr double kLeastScale = 5e-4;

/// The position among the epilogue's operands of a block argument whose map is `wanted`; none for other values.
std::optional<unsigned> operandWith(vit::EpilogueOpInterface op, Value value, unsigned dims, bool column) {
  auto argument = dyn_cast<BlockArgument>(value);
  if (!argument || argument.getArgNumber() == 0)
    return std::nullopt;
  unsigned index = argument.getArgNumber() - 1;
  AffineMap map = cast<AffineMapAttr>(op.getMaps()[index]).getValue();
  if (map.getNumResults() != dims || !argument.getType().isF32())
    return std::nullopt;
  if (column && map.getResult(0) != getAffineDimExpr(1, op->getContext()))
    return std::nullopt;
  return index;
}

/// The number that a weight of one element is, when its recipe says so.
std::optional<double> knownNumber(Value value) {
  Value definition = weightDefinition(value);
  if (auto reciprocal = definition.getDefiningOp<vit::RecipOp>()) {
    auto number = knownNumber(reciprocal.getInput());
    return number && *number != 0 ? std::optional(1 / *number) : std::nullopt;
  }
  auto literal = definition.getDefiningOp<vit::LiteralOp>();
  auto elements = literal ? dyn_cast<DenseFPElementsAttr>(literal.getValue()) : DenseFPElementsAttr();
  if (!elements || elements.getNumElements() != 1)
    return std::nullopt;
  return (*elements.begin()).convertToDouble();
}

} // namespace

Value vitrify::nvptx::weightDefinition(Value value) {
  while (auto get = value.getDefiningOp<vit::GetOp>()) {
    auto weight = SymbolTable::lookupNearestSymbolFrom<vit::WeightOp>(get->getParentOfType<vit::WeightOp>() ?: get.getOperation(),
                                                                      get.getNameAttr());
    if (!weight)
      return value;
    value = weight.getBody().front().getTerminator()->getOperand(0);
  }
  return value;
}

std::optional<ScaledGelu> vitrify::nvptx::findScaledGelu(vit::EpilogueOpInterface op) {
  if (op.getEpilogue().empty() || op.getGroup() != 1)
    return std::nullopt;
  Block &body = op.getEpilogue().front();
  Value acc = body.getArgument(0);
  for (auto act : body.getOps<vit::ActOp>()) {
    Operation *affine = act.getInput().getDefiningOp();
    if (act.getKind() != vit::ActKind::GeluErf || !act.getResult().hasOneUse() || !affine || !affine->hasOneUse() ||
        !isa<arith::MulFOp, math::FmaOp>(affine))
      continue;
    Operation *product = *act->user_begin();
    if (!isa<arith::MulFOp>(product) || product->getOperand(0) == product->getOperand(1) || product->use_empty() ||
        !llvm::all_of(product->getUsers(), [](Operation *user) {
          auto convert = dyn_cast<vit::ConvertOp>(user);
          return convert && isa<Float8E4M3FNType>(convert.getType());
        }))
      continue;
    auto scale = operandWith(op, product->getOperand(product->getOperand(0) == act.getResult()), 0, false);
    unsigned column = affine->getOperand(0) == acc ? 1 : 0;
    if (!scale || affine->getOperand(1 - column) != acc)
      continue;
    auto factor = operandWith(op, affine->getOperand(column), 1, true);
    std::optional<unsigned> bias;
    if (isa<math::FmaOp>(affine) && !(bias = operandWith(op, affine->getOperand(2), 1, true)))
      continue;
    auto number = knownNumber(op.getEpilogueIns()[*scale]);
    if (!factor || !number || *number < kLeastScale || *number * kPhiError > 0.25)
      continue;
    return ScaledGelu{affine, act, product, *factor, *scale, bias};
  }
  return std::nullopt;
}

SmallVector<Value> vitrify::nvptx::scaledGeluCoefficients(GpuBuilder &g, Value scale) {
  Value inverse = g.rcp(scale), square = g.fmul(inverse, inverse);
  SmallVector<Value> coefficients;
  for (Value power = inverse; double c : kPhi) {
    coefficients.push_back(g.fmul(power, g.fconst(static_cast<float>(c))));
    power = g.fmul(power, square);
  }
  return coefficients;
}

Value vitrify::nvptx::emitScaledGelu(GpuBuilder &g, Value scaled, ArrayRef<Value> coefficients) {
  Value square = g.fmul(scaled, scaled), q = coefficients.back();
  for (Value c : llvm::reverse(coefficients.drop_back()))
    q = g.fma(q, square, c);
  Value phi = g.intrinsic("llvm.nvvm.fma.rn.sat.f", g.f32(), {q, scaled, g.fconst(0.5f)});
  return g.fmul(scaled, phi);
}
