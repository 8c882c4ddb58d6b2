//===- ExpandCodes.cpp - codes that a target cannot multiply are multiplied out -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_EXPANDCODES
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

class ExpandCodesPass : public vitrify::vit::impl::ExpandCodesBase<ExpandCodesPass> {
public:
  explicit ExpandCodesPass(SupportsFn supports = {}) : supports(std::move(supports)) {}

  void runOnOperation() override {
    RecipeBuilder recipes(getOperation());
    getOperation().walk([&](LinearOp op) {
      auto codes = op.getWeight().getDefiningOp<GetOp>();
      auto scales = op.getWScales() ? op.getWScales().getDefiningOp<GetOp>() : GetOp();
      if (!codes || !scales || op.getXScales() || !isa<Float4E2M1FNType>(op.getWeight().getType().getElementType()))
        return;
      std::string reason;
      if (supports && supports(op, reason))
        return;
      expand(op, codes, scales, recipes);
    });
  }

private:
  void expand(LinearOp op, GetOp codes, GetOp scales, RecipeBuilder &recipes);

  SupportsFn supports; ///< empty: nothing
};

void ExpandCodesPass::expand(LinearOp op, GetOp codes, GetOp scales, RecipeBuilder &recipes) {
  Location loc = op.getLoc();
  OpBuilder builder(op);
  Type element = op.getInput().getType().getElementType();
  auto codesType = cast<RankedTensorType>(codes.getType()), scaleType = cast<RankedTensorType>(scales.getType());
  auto f32 = codesType.clone(builder.getF32Type()), factors = scaleType.clone(builder.getF32Type()), result = codesType.clone(element);
  std::string name = (codes.getName() + ".expanded").str();
  WeightOp weight = recipes.lookup(name);
  if (!weight || weight.getType() != result)
    weight = recipes.create(loc, name, result, [&](OpBuilder &b) -> Value {
      Value c = GetOp::create(b, loc, codesType, codes.getName()), s = GetOp::create(b, loc, scaleType, scales.getName());
      if (scaleType != factors)
        s = CastOp::create(b, loc, factors, s);
      int64_t high = llvm::divideCeil(codesType.getDimSize(0), scaleType.getDimSize(0)), along = codesType.getDimSize(1) / scaleType.getDimSize(1);
      Value w = DequantOp::create(b, loc, f32, c, s, b.getDenseI64ArrayAttr({high, along}));
      return element.isF32() ? w : Value(CastOp::create(b, loc, result, w));
    });
  op.getWeightMutable().set(RecipeBuilder::get(builder, loc, weight));
  op.getWScalesMutable().clear();
  std::string note = "its codes of 4 bits are multiplied out, as there is no kernel for them";
  op->setAttr("vit.precision_note", builder.getStringAttr(note));
  emitRemark(loc) << "layer " << op.getLayers()[0] << ": " << note;
  ++expanded;
}

} // namespace

std::unique_ptr<Pass> vitrify::vit::createExpandCodes(SupportsFn supports) {
  return std::make_unique<ExpandCodesPass>(std::move(supports));
}
