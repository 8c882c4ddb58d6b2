//===- FuseQKV.cpp - linears of one input become one linear -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/IR/IRMapping.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/OperationSupport.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_FUSEQKV
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

/// Only weights by column in the epilogue: such linears can stand side by side.
bool isColumn(AffineMap map) { return map.getNumResults() == 1 && map.getResult(0) == getAffineDimExpr(1, map.getContext()); }

/// Rows of the weight that share a scale along K; 0 when the blocks are of different sizes.
int64_t scaleRows(LinearOp op) {
  int64_t n = op.getWeight().getType().getDimSize(0);
  int64_t blocks = cast<RankedTensorType>(op.getWScales().getType()).getDimSize(0);
  return n % blocks == 0 ? n / blocks : 0;
}

/// A weight of the module, or its codes times scales by row or of all.
bool isJoinable(Value weight) {
  if (weight.getDefiningOp<GetOp>())
    return true;
  auto codes = weight.getDefiningOp<DequantizeOp>();
  if (!codes || !codes.getCodes().getDefiningOp<GetOp>() || !codes.getScales().getDefiningOp<GetOp>())
    return false;
  auto scales = codes.getScales().getType();
  return scales.getRank() == 1 ? scales.getDimSize(0) == 1 : scales.getDimSize(1) == 1;
}

bool canJoin(LinearOp op) {
  if (op.getGroup() != 1 || op->getNumResults() != 1 || op.getActive() || !isJoinable(op.getWeight()))
    return false;
  if (op.getWScales() && (!op.getWScales().getDefiningOp<GetOp>() || !scaleRows(op)))
    return false;
  // What has an element a column is concatenated, so it must be a weight; what has none must be the same.
  for (auto [in, map] : llvm::zip(op.getEpilogueIns(), op.getMaps().getAsValueRange<AffineMapAttr>()))
    if (isColumn(map) ? !in.getDefiningOp<GetOp>() : map.getNumResults() == 2)
      return false;
  return true;
}

bool sameScales(LinearOp a, LinearOp b) {
  if (!a.getWeight().getDefiningOp<GetOp>() != !b.getWeight().getDefiningOp<GetOp>())
    return false;
  if (a.getXScales() != b.getXScales() || !a.getWScales() != !b.getWScales())
    return false;
  auto columns = [](LinearOp op) { return cast<RankedTensorType>(op.getWScales().getType()).getDimSize(1); };
  return !a.getWScales() || (scaleRows(a) == scaleRows(b) && columns(a) == columns(b));
}

bool sameOperands(LinearOp a, LinearOp b) {
  for (auto [x, y, map] : llvm::zip(a.getEpilogueIns(), b.getEpilogueIns(), a.getMaps().getAsValueRange<AffineMapAttr>()))
    if (!isColumn(map) && x != y)
      return false;
  return true;
}

StringRef roleOf(LinearOp op) { return cast<StringAttr>(op.getLayers()[0]).getValue().rsplit('.').second; }

/// What computes in another precision than the layer's own linears.
bool isHelper(LinearOp op) {
  return givesScores(op) || cast<StringAttr>(op.getLayers()[0]).getValue().contains(".diff.");
}

bool sameShape(LinearOp a, LinearOp b) {
  return isHelper(a) == isHelper(b) && a.getInput() == b.getInput() && a.getMaps() == b.getMaps() && sameOperands(a, b) && sameScales(a, b) &&
         a.getWeight().getType().getElementType() == b.getWeight().getType().getElementType() &&
         cast<RankedTensorType>(a.getResult(0).getType()).getElementType() ==
             cast<RankedTensorType>(b.getResult(0).getType()).getElementType() &&
         OperationEquivalence::isRegionEquivalentTo(&a.getEpilogue(), &b.getEpilogue(), OperationEquivalence::IgnoreLocations);
}

class FuseQKVPass : public vitrify::vit::impl::FuseQKVBase<FuseQKVPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    RecipeBuilder recipes(module);
    for (auto func : module.getOps<func::FuncOp>()) {
      SmallVector<LinearOp> linears;
      func.walk([&](LinearOp op) { linears.push_back(op); });
      DenseSet<Operation *> joined;
      for (LinearOp first : linears) {
        if (joined.contains(first) || !canJoin(first))
          continue;
        SmallVector<LinearOp> group = {first};
        for (LinearOp other : linears)
          if (other != first && !joined.contains(other) && canJoin(other) && sameShape(first, other))
            group.push_back(other);
        if (group.size() == 1)
          continue;
        for (LinearOp op : group)
          joined.insert(op);
        join(group, recipes);
      }
    }
  }

  void join(ArrayRef<LinearOp> group, RecipeBuilder &recipes);
};

/// A weight whose rows (or elements) are those of `parts` one after the other.
Value concatWeights(ArrayRef<Value> parts, StringRef name, RecipeBuilder &recipes, OpBuilder &builder, Location loc) {
  auto first = cast<RankedTensorType>(parts[0].getType());
  SmallVector<int64_t> shape(first.getShape());
  shape[0] = 0;
  for (Value part : parts)
    shape[0] += cast<RankedTensorType>(part.getType()).getDimSize(0);
  auto type = RankedTensorType::get(shape, first.getElementType());
  WeightOp weight = recipes.create(loc, name, type, [&](OpBuilder &b) -> Value {
    SmallVector<Value> values;
    for (Value part : parts)
      values.push_back(GetOp::create(b, loc, part.getType(), part.getDefiningOp<GetOp>().getName()));
    return ConcatOp::create(b, loc, type, values, 0);
  });
  return RecipeBuilder::get(builder, loc, weight);
}

/// The codes one after the other, times a scale for each row.
Value concatCodes(ArrayRef<Value> parts, StringRef name, RecipeBuilder &recipes, OpBuilder &builder, Location loc) {
  SmallVector<Value> codes, scales;
  for (Value part : parts) {
    auto one = part.getDefiningOp<DequantizeOp>();
    codes.push_back(one.getCodes());
    auto get = one.getScales().getDefiningOp<GetOp>();
    auto type = cast<RankedTensorType>(get.getType());
    int64_t n = one.getCodes().getType().getDimSize(0);
    if (type.getRank() == 2) {
      scales.push_back(get);
      continue;
    }
    auto all = RankedTensorType::get({n}, type.getElementType()), column = RankedTensorType::get({n, 1}, type.getElementType());
    WeightOp each = recipes.create(loc, (get.getName() + ".column").str(), column, [&](OpBuilder &b) -> Value {
      Value ones = LiteralOp::create(b, loc, DenseElementsAttr::get(all, 1.0f));
      Value scale = GetOp::create(b, loc, type, get.getName());
      return ReshapeOp::create(b, loc, column, MulOp::create(b, loc, all, ones, scale, false));
    });
    scales.push_back(RecipeBuilder::get(builder, loc, each));
  }
  Value all = concatWeights(codes, name, recipes, builder, loc);
  Value column = concatWeights(scales, (name + ".scale").str(), recipes, builder, loc);
  auto type = RankedTensorType::get(cast<RankedTensorType>(all.getType()).getShape(), builder.getF32Type());
  return DequantizeOp::create(builder, loc, type, all, column, builder.getStrArrayAttr({name}));
}

void FuseQKVPass::join(ArrayRef<LinearOp> group, RecipeBuilder &recipes) {
  LinearOp first = group[0];
  OpBuilder builder(first);
  Location loc = first.getLoc();
  // "b0.q", "b0.k", "b0.v" -> "b0.qkv".
  StringRef prefix = cast<StringAttr>(first.getLayers()[0]).getValue().rsplit('.').first;
  std::string name = prefix.str() + ".";
  SmallVector<Attribute> layers;
  int64_t columns = 0;
  for (LinearOp op : group) {
    name += roleOf(op).str();
    layers.append(op.getLayers().begin(), op.getLayers().end());
    columns += op.getWeight().getType().getDimSize(0);
  }
  auto gather = [&](auto valueOf, const Twine &suffix) {
    SmallVector<Value> parts;
    for (LinearOp op : group)
      parts.push_back(valueOf(op));
    return concatWeights(parts, (name + suffix).str(), recipes, builder, loc);
  };
  Value weight;
  if (first.getWeight().getDefiningOp<GetOp>()) {
    weight = gather([](LinearOp op) { return Value(op.getWeight()); }, ".w");
  } else {
    SmallVector<Value> parts;
    for (LinearOp op : group)
      parts.push_back(op.getWeight());
    weight = concatCodes(parts, name + ".w", recipes, builder, loc);
  }
  SmallVector<Value> ins;
  auto maps = llvm::to_vector(first.getMaps().getAsValueRange<AffineMapAttr>());
  for (size_t i = 0; i < first.getEpilogueIns().size(); ++i)
    ins.push_back(isColumn(maps[i]) ? gather([&](LinearOp op) { return op.getEpilogueIns()[i]; }, i == 0 ? ".b" : "." + Twine(i))
                                    : first.getEpilogueIns()[i]);
  Value scales;
  if (first.getWScales())
    scales = gather([](LinearOp op) { return op.getWScales(); }, ".w.scale");
  auto old = cast<RankedTensorType>(first.getResult(0).getType());
  auto type = RankedTensorType::get({old.getDimSize(0), columns}, old.getElementType());
  auto all = LinearOp::create(builder, loc, TypeRange{type}, first.getInput(), weight, first.getXScales(), scales, Value(),
                              builder.getArrayAttr(layers), ins, first.getMaps(), builder.getI64IntegerAttr(1));
  IRMapping mapping;
  first.getEpilogue().cloneInto(&all.getEpilogue(), mapping);
  for (NamedAttribute attribute : first->getDiscardableAttrs())
    all->setAttr(attribute.getName(), attribute.getValue());
  Value rows = tensor::DimOp::create(builder, loc, first.getInput(), 0);
  int64_t offset = 0;
  for (LinearOp op : group) {
    auto result = cast<RankedTensorType>(op.getResult(0).getType());
    int64_t width = result.getDimSize(1);
    OpFoldResult size = result.isDynamicDim(0) ? OpFoldResult(rows) : OpFoldResult(builder.getIndexAttr(result.getDimSize(0)));
    SmallVector<OpFoldResult> offsets = {builder.getIndexAttr(0), builder.getIndexAttr(offset)};
    SmallVector<OpFoldResult> sizes = {size, builder.getIndexAttr(width)};
    SmallVector<OpFoldResult> strides(2, builder.getIndexAttr(1));
    Value slice = tensor::ExtractSliceOp::create(builder, loc, result, all.getResult(0), offsets, sizes, strides);
    op.getResult(0).replaceAllUsesWith(slice);
    offset += width;
    emitRemark(op.getLoc()) << "layer " << op.getLayers()[0] << " is part of '" << name << "'";
    ++fused;
  }
  for (LinearOp op : group) {
    auto codes = op.getWeight().getDefiningOp<DequantizeOp>();
    op.erase();
    if (codes && codes->use_empty())
      codes.erase();
  }
}

} // namespace
