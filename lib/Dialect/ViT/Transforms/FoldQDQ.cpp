//===- FoldQDQ.cpp - dequantise before a linear becomes a scale after it -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Epilogues.h"
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_FOLDQDQ
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

/// A linear between two dequantisations, and what they scale by.
struct Match {
  LinearOp linear;
  DequantizeOp input, weight;
  GetOp inputScale, weightScale; ///< [1], and [1] or [N, 1]
  Value tokenScales;             ///< [rows, 1] or [1] found at run time, instead of inputScale
};

/// Null with a reason when the linear does not fold; no reason when it has nothing to do with codes.
std::optional<Match> match(LinearOp op, std::string &reason) {
  Match m{op, op.getInput().getDefiningOp<DequantizeOp>(), op.getWeight().getDefiningOp<DequantizeOp>(), {}, {}, {}};
  if (!m.input && !m.weight)
    return std::nullopt;
  if (!m.input || !m.weight) {
    reason = m.input ? "its weight is not quantised" : "its input is not quantised";
    return std::nullopt;
  }
  m.inputScale = m.input.getScales().getDefiningOp<GetOp>();
  m.weightScale = m.weight.getScales().getDefiningOp<GetOp>();
  auto scales = m.input.getScales().getType();
  bool byToken = scales.getRank() == 2 && scales.getDimSize(1) == 1, byTensor = scales.getRank() == 1 && scales.getDimSize(0) == 1;
  if (!m.inputScale && (byToken || byTensor))
    m.tokenScales = m.input.getScales();
  if ((!m.inputScale && !m.tokenScales) || !m.weightScale) {
    reason = "a scale is found at run time";
    return std::nullopt;
  }
  auto shape = [](GetOp get) { return cast<RankedTensorType>(get.getType()).getShape(); };
  if (m.inputScale && shape(m.inputScale) != ArrayRef<int64_t>{1}) {
    reason = "its input has more than one scale";
    return std::nullopt;
  }
  int64_t n = op.getWeight().getType().getDimSize(0);
  if (shape(m.weightScale) != ArrayRef<int64_t>{1} && shape(m.weightScale) != ArrayRef<int64_t>{n, 1}) {
    reason = "its weight is scaled along K";
    return std::nullopt;
  }
  return m;
}

class FoldQDQPass : public vitrify::vit::impl::FoldQDQBase<FoldQDQPass> {
  void runOnOperation() override {
    RecipeBuilder recipes(getOperation());
    SmallVector<LinearOp> linears;
    getOperation().walk([&](LinearOp op) { linears.push_back(op); });
    for (LinearOp op : linears) {
      std::string reason;
      if (auto m = match(op, reason))
        fold(*m, recipes);
      else if (!reason.empty())
        emitRemark(op.getLoc()) << "layer " << op.getLayers()[0] << " keeps its dequantisation: " << reason;
    }
  }

  void fold(Match m, RecipeBuilder &recipes);
};

void FoldQDQPass::fold(Match m, RecipeBuilder &recipes) {
  LinearOp op = m.linear;
  Location loc = op.getLoc();
  OpBuilder builder(op);
  Type f32 = builder.getF32Type();
  int64_t n = op.getWeight().getType().getDimSize(0);
  auto scaleType = RankedTensorType::get({n}, f32);
  std::string base = cast<StringAttr>(op.getLayers()[0]).getValue().str();
  // acc * (s t): one multiplication for each result; two where s is known by row only.
  WeightOp product = recipes.create(loc, base + ".out_scale", scaleType, [&](OpBuilder &b) -> Value {
    auto weightType = cast<RankedTensorType>(m.weightScale.getType());
    Value t = GetOp::create(b, loc, weightType, m.weightScale.getName());
    if (weightType.getRank() == 1) { // one scale: every channel's
      Value one = LiteralOp::create(b, loc, DenseElementsAttr::get(scaleType, 1.0f));
      t = MulOp::create(b, loc, scaleType, one, t, false);
    } else {
      t = ReshapeOp::create(b, loc, scaleType, t);
    }
    if (m.tokenScales)
      return t;
    Value s = GetOp::create(b, loc, m.inputScale.getType(), m.inputScale.getName());
    return MulOp::create(b, loc, scaleType, t, s, false);
  });
  Value scale = RecipeBuilder::get(builder, loc, product);

  auto times = [&](OpBuilder &b, Value acc, Value factor) -> Value { return arith::MulFOp::create(b, loc, acc, factor); };
  if (m.tokenScales) {
    bool byTensor = cast<RankedTensorType>(m.tokenScales.getType()).getRank() == 1;
    AffineMap row = byTensor ? AffineMap::get(2, 0, op.getContext()) : AffineMap::get(2, 0, {builder.getAffineDimExpr(0)}, op.getContext());
    op = prependToEpilogue(op, op.getInput(), op.getWeight(), m.tokenScales, row, times);
  }
  AffineMap column = AffineMap::get(2, 0, {builder.getAffineDimExpr(1)}, op.getContext());
  prependToEpilogue(op, m.input.getCodes(), m.weight.getCodes(), scale, column, times);
  for (DequantizeOp dead : {m.input, m.weight}) {
    // Sizes can be asked of the codes just as well.
    dead.getResult().replaceUsesWithIf(dead.getCodes(), [](OpOperand &use) { return isa<tensor::DimOp>(use.getOwner()); });
    if (dead->use_empty())
      dead.erase();
  }
  ++this->folded;
}

} // namespace
