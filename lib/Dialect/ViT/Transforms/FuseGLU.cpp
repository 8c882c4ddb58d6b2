//===- FuseGLU.cpp - the two linears of a gated linear unit become one, unit included -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_FUSEGLU
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

bool isColumn(AffineMap map) { return map.getNumResults() == 1 && map.getResult(0) == getAffineDimExpr(1, map.getContext()); }

/// Why the linear cannot be half of a unit's, or "".
std::string whyApart(LinearOp op, GluOp glu) {
  std::string name = "'" + valueName(op.getResult(0)) + "' ";
  if (op.getGroup() != 1 || op->getNumResults() != 1 || op.getActive() || op.getXScales() || op.getWScales())
    return name + "has groups of columns, several results, scales along K or rows that are off";
  if (!op.getWeight().getDefiningOp<GetOp>() || !getElementTypeOrSelf(op.getWeight().getType()).isF32() ||
      !getElementTypeOrSelf(op.getResult(0).getType()).isF32())
    return name + "has a weight or a result that is no f32 of the module";
  for (auto [in, map] : llvm::zip(op.getEpilogueIns(), op.getMaps().getAsValueRange<AffineMapAttr>()))
    if (isColumn(map) ? !in.getDefiningOp<GetOp>() : map.getNumResults() == 2)
      return name + "has an epilogue operand that is no weight by column";
  for (Operation *user : op.getResult(0).getUsers())
    if (user != glu && !isa<tensor::DimOp>(user))
      return name + "has other users";
  return "";
}

class FuseGLUPass : public vitrify::vit::impl::FuseGLUBase<FuseGLUPass> {
  void runOnOperation() override {
    RecipeBuilder recipes(getOperation());
    SmallVector<GluOp> units;
    getOperation().walk([&](GluOp op) { units.push_back(op); });
    for (GluOp glu : units) {
      std::string reason = why(glu);
      if (reason.empty())
        fuse(glu, recipes);
      else
        emitRemark(glu.getLoc()) << glu.getLayers()[0] << " stays apart: " << reason;
    }
  }

  std::string why(GluOp glu);
  void fuse(GluOp glu, RecipeBuilder &recipes);
};

std::string FuseGLUPass::why(GluOp glu) {
  auto gate = glu.getGate().getDefiningOp<LinearOp>(), up = glu.getUp().getDefiningOp<LinearOp>();
  if (!gate || !up || gate == up)
    return "gate and up are not two linears";
  if (gate.getInput() != up.getInput())
    return "gate and up have different inputs";
  for (LinearOp op : {gate, up})
    if (std::string reason = whyApart(op, glu); !reason.empty())
      return reason;
  return "";
}

/// The elements of two weights of one shape in turns along the first axis: a0, b0, a1, b1, ...
Value interleave(Value a, Value b, const Twine &name, RecipeBuilder &recipes, OpBuilder &builder, Location loc) {
  auto type = cast<RankedTensorType>(a.getType());
  int64_t n = type.getDimSize(0), rest = type.getNumElements() / n;
  auto tall = type.clone(type.getRank() == 1 ? SmallVector<int64_t>{2 * n} : SmallVector<int64_t>{2 * n, rest});
  WeightOp weight = recipes.create(loc, name.str(), tall, [&](OpBuilder &b_) -> Value {
    SmallVector<Value> sides;
    for (Value side : {a, b}) {
      Value v = GetOp::create(b_, loc, type, side.getDefiningOp<GetOp>().getName());
      sides.push_back(type.getRank() == 1 ? Value(ReshapeOp::create(b_, loc, type.clone({n, 1}), v)) : v);
    }
    Value wide = ConcatOp::create(b_, loc, type.clone({n, 2 * rest}), sides, 1);
    return ReshapeOp::create(b_, loc, tall, wide);
  });
  return RecipeBuilder::get(builder, loc, weight);
}

void FuseGLUPass::fuse(GluOp glu, RecipeBuilder &recipes) {
  auto gate = glu.getGate().getDefiningOp<LinearOp>(), up = glu.getUp().getDefiningOp<LinearOp>();
  OpBuilder builder(glu);
  Location loc = glu.getLoc();
  MLIRContext *context = glu.getContext();
  Type f32 = builder.getF32Type();
  auto pair = VectorType::get({2}, f32);
  std::string name = cast<StringAttr>(glu.getLayers()[0]).getValue().str();
  Value weight = interleave(gate.getWeight(), up.getWeight(), name + ".w", recipes, builder, loc);

  // Operands by column are pairs too: of both sides where both have one at that place, else the one twice.
  SmallVector<Value> ins;
  SmallVector<Attribute> maps;
  Block body;
  Value acc = body.addArgument(pair, loc);
  OpBuilder inner(context);
  inner.setInsertionPointToEnd(&body);
  SmallVector<Value> halves;
  for (auto [side, op] : llvm::enumerate(std::array{gate, up})) {
    IRMapping mapping;
    Value own = vector::ExtractOp::create(inner, loc, acc, int64_t(side));
    if (op.getEpilogue().empty()) {
      halves.push_back(own);
      continue;
    }
    Block &old = op.getEpilogue().front();
    mapping.map(old.getArgument(0), own);
    for (auto [i, map] : llvm::enumerate(op.getMaps().getAsValueRange<AffineMapAttr>())) {
      Value in = op.getEpilogueIns()[i];
      Type element = getElementTypeOrSelf(in.getType());
      if (!isColumn(map)) {
        ins.push_back(in);
        maps.push_back(AffineMapAttr::get(map));
        mapping.map(old.getArgument(i + 1), body.addArgument(element, loc));
        continue;
      }
      bool shared = i < gate.getEpilogueIns().size() && i < up.getEpilogueIns().size() &&
                    gate.getMaps()[i] == up.getMaps()[i] && gate.getEpilogueIns()[i].getType() == up.getEpilogueIns()[i].getType();
      Value other = shared ? (side ? gate : up).getEpilogueIns()[i] : in;
      if (side == 0 || !shared) {
        std::string suffix = i == 0 ? ".b" : "." + std::to_string(i);
        ins.push_back(interleave(in, other, name + suffix + (shared || side == 0 ? "" : ".up"), recipes, builder, loc));
        maps.push_back(AffineMapAttr::get(map));
        body.addArgument(VectorType::get({2}, element), loc);
      }
      // The pair that was just added, or the gate's at the same place.
      Value both = side == 0 || !shared ? body.getArguments().back() : body.getArgument(i + 1);
      mapping.map(old.getArgument(i + 1), vector::ExtractOp::create(inner, loc, both, int64_t(side)));
    }
    for (Operation &step : old.without_terminator())
      inner.clone(step, mapping);
    halves.push_back(mapping.lookup(old.getTerminator()->getOperand(0)));
  }
  Value on = ActOp::create(inner, loc, f32, glu.getKind(), halves[0], ArrayAttr());
  YieldOp::create(inner, loc, ValueRange{arith::MulFOp::create(inner, loc, on, halves[1])});

  SmallVector<Attribute> layers;
  for (ArrayAttr part : {gate.getLayers(), up.getLayers(), glu.getLayers()})
    llvm::append_range(layers, part);
  auto all = LinearOp::create(builder, loc, TypeRange{glu.getResult().getType()}, gate.getInput(), weight, Value(), Value(), Value(),
                              builder.getArrayAttr(layers), ins, builder.getArrayAttr(maps), builder.getI64IntegerAttr(2));
  all.getEpilogue().push_back(new Block);
  Block &block = all.getEpilogue().front();
  for (BlockArgument argument : body.getArguments())
    argument.replaceAllUsesWith(block.addArgument(argument.getType(), loc));
  block.getOperations().splice(block.end(), body.getOperations());
  for (LinearOp op : {gate, up})
    op.getResult(0).replaceUsesWithIf(all.getResult(0), [](OpOperand &use) { return isa<tensor::DimOp>(use.getOwner()); });
  glu.getResult().replaceAllUsesWith(all.getResult(0));
  glu.erase();
  gate.erase();
  up.erase();
  emitRemark(loc) << "layer " << layers.front() << " is one linear with its gated unit";
  ++fused;
}

} // namespace
