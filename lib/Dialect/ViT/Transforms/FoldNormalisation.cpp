//===- FoldNormalisation.cpp - frames of bytes go into the patch embedding as they are -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

#include <cmath>

namespace vitrify::vit {
#define GEN_PASS_DEF_FOLDNORMALISATION
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

/// The patch embedding that alone reads the argument, or null with a reason.
PatchEmbedOp readerOf(BlockArgument argument, std::string &reason) {
  PatchEmbedOp reader;
  for (Operation *user : argument.getUsers()) {
    if (isa<tensor::DimOp>(user))
      continue;
    auto embed = dyn_cast<PatchEmbedOp>(user);
    if (!embed || reader) {
      reason = "other ops than one patch embedding read it";
      return nullptr;
    }
    reader = embed;
  }
  if (!reader)
    return nullptr;
  if (reader.getInterleaved() || !reader.getPixels().getType().getElementType().isF32())
    reason = "it is no image of f32 in planes";
  else if (!reader.getWeight().getDefiningOp<GetOp>() || !getElementTypeOrSelf(reader.getWeight().getType()).isF32())
    reason = "the weight of its patch embedding is no f32 weight of the module";
  else if (reader.getGroup() != 1)
    reason = "its patch embedding's epilogue sees groups of columns";
  return reason.empty() ? reader : PatchEmbedOp();
}

class FoldNormalisationPass : public vitrify::vit::impl::FoldNormalisationBase<FoldNormalisationPass> {
public:
  using FoldNormalisationBase::FoldNormalisationBase;

private:
  void runOnOperation() override;
  LogicalResult check(PatchEmbedOp embed);
  void fold(PatchEmbedOp embed, BlockArgument argument, RecipeBuilder &recipes);
};

void FoldNormalisationPass::runOnOperation() {
  RecipeBuilder recipes(getOperation());
  bool any = false;
  for (auto func : getOperation().getOps<func::FuncOp>()) {
    for (BlockArgument argument : func.getArguments()) {
      auto type = dyn_cast<RankedTensorType>(argument.getType());
      if (!type || type.getRank() != 4)
        continue;
      std::string reason;
      PatchEmbedOp embed = readerOf(argument, reason);
      if (!embed) {
        if (!reason.empty())
          emitRemark(argument.getLoc()) << valueName(argument) << " stays as it is: " << reason;
        continue;
      }
      if (failed(check(embed)))
        return signalPassFailure();
      fold(embed, argument, recipes);
      any = true;
    }
    func.setType(FunctionType::get(&getContext(), func.getBody().getArgumentTypes(), func.getResultTypes()));
  }
  if (!any) {
    getOperation().emitError("no input is an image that a patch embedding alone reads, so none can take frames of bytes");
    signalPassFailure();
  }
}

LogicalResult FoldNormalisationPass::check(PatchEmbedOp embed) {
  auto wrong = [&](const Twine &what) { return embed.emitError() << "frames of bytes: " << what; };
  if (mean.size() != deviation.size())
    return wrong("expected as many deviations as means, found " + Twine(deviation.size()) + " and " + Twine(mean.size()));
  if (!mean.empty() && int64_t(mean.size()) != embed.channels())
    return wrong("expected a mean for each of " + Twine(embed.channels()) + " channels, found " + Twine(mean.size()));
  for (double value : llvm::concat<const double>(ArrayRef<double>(mean), ArrayRef<double>(deviation), ArrayRef<double>(rescale)))
    if (!std::isfinite(value))
      return wrong("expected finite numbers");
  if (llvm::is_contained(deviation, 0.0) || rescale == 0)
    return wrong("expected deviations and a factor other than 0");
  return success();
}

void FoldNormalisationPass::fold(PatchEmbedOp embed, BlockArgument argument, RecipeBuilder &recipes) {
  OpBuilder builder(embed);
  Location loc = embed.getLoc();
  MLIRContext *c = &getContext();
  auto old = cast<RankedTensorType>(argument.getType());
  auto get = embed.getWeight().getDefiningOp<GetOp>();
  auto weightType = cast<RankedTensorType>(get.getType());
  int64_t columns = weightType.getDimSize(1), channels = embed.channels(), pixels = columns / channels;
  auto rowType = RankedTensorType::get({columns}, builder.getF32Type());
  auto biasType = RankedTensorType::get({weightType.getDimSize(0)}, builder.getF32Type());
  // By column of the weight as it was: channels are the slowest.
  auto byColumn = [&](OpBuilder &b, llvm::function_ref<double(int64_t)> of) -> Value {
    SmallVector<float> values;
    for (int64_t k = 0; k < columns; ++k)
      values.push_back(static_cast<float>(of(k / pixels)));
    return LiteralOp::create(b, loc, DenseElementsAttr::get(rowType, ArrayRef<float>(values)));
  };
  std::string name = get.getName().str();
  WeightOp scaled = recipes.create(loc, name + ".frames", weightType, [&](OpBuilder &b) -> Value {
    Value w = GetOp::create(b, loc, weightType, name);
    Value factor = byColumn(b, [&](int64_t channel) { return rescale / (deviation.empty() ? 1.0 : deviation[channel]); });
    w = MulOp::create(b, loc, weightType, w, factor, true);
    if (!interleaved)
      return w;
    SmallVector<int64_t> order;
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int64_t channel = 0; channel < channels; ++channel)
        order.push_back(channel * pixels + pixel);
    return GatherOp::create(b, loc, weightType, w, 1, order);
  });
  embed.getWeightMutable().set(RecipeBuilder::get(builder, loc, scaled));

  // What the mean adds comes first in the epilogue.
  if (!mean.empty()) {
    WeightOp shift = recipes.create(loc, name + ".shift", biasType, [&](OpBuilder &b) -> Value {
      Value w = GetOp::create(b, loc, weightType, name);
      Value moved = byColumn(b, [&](int64_t channel) { return -mean[channel] / deviation[channel]; });
      return SumOp::create(b, loc, biasType, MulOp::create(b, loc, weightType, w, moved, true));
    });
    SmallVector<Value> ins = {RecipeBuilder::get(builder, loc, shift)};
    SmallVector<Attribute> maps = {AffineMapAttr::get(AffineMap::get(2, 0, {getAffineDimExpr(1, c)}, c))};
    llvm::append_range(ins, embed.getEpilogueIns());
    llvm::append_range(maps, embed.getMaps());
    Region body;
    Block &block = body.emplaceBlock();
    OpBuilder inner(c);
    inner.setInsertionPointToEnd(&block);
    Value acc = block.addArgument(builder.getF32Type(), loc);
    Value sum = arith::AddFOp::create(inner, loc, acc, block.addArgument(builder.getF32Type(), loc));
    if (embed.getEpilogue().empty()) {
      YieldOp::create(inner, loc, sum);
    } else {
      IRMapping mapping;
      Block &before = embed.getEpilogue().front();
      mapping.map(before.getArgument(0), sum);
      for (BlockArgument operand : before.getArguments().drop_front())
        mapping.map(operand, block.addArgument(operand.getType(), loc));
      for (Operation &op : before)
        inner.clone(op, mapping);
    }
    embed.getEpilogueInsMutable().assign(ins);
    embed.setMapsAttr(builder.getArrayAttr(maps));
    embed.getEpilogue().takeBody(body);
  }

  // The argument, and what says how large its dimensions are.
  auto byte = IntegerType::get(c, 8, IntegerType::Unsigned);
  SmallVector<int64_t> axes = {0, 1, 2, 3}; // new -> old
  if (interleaved)
    axes = {0, 2, 3, 1};
  SmallVector<int64_t> shape;
  for (int64_t axis : axes)
    shape.push_back(old.getDimSize(axis));
  argument.setType(RankedTensorType::get(shape, byte));
  for (Operation *user : llvm::make_early_inc_range(argument.getUsers()))
    if (auto dim = dyn_cast<tensor::DimOp>(user))
      if (auto axis = dim.getConstantIndex()) {
        OpBuilder at(dim);
        dim.getIndexMutable().set(arith::ConstantIndexOp::create(at, loc, llvm::find(axes, *axis) - axes.begin()));
      }
  if (interleaved)
    embed.setInterleaved(true);
  auto func = cast<func::FuncOp>(argument.getOwner()->getParentOp());
  // vit.dims has one entry a dynamic dimension, in order.
  if (auto dims = func.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "vit.dims"); dims && interleaved) {
    SmallVector<Attribute> ofAxis(4), moved;
    size_t next = 0;
    for (int64_t axis = 0; axis < 4 && next < dims.size(); ++axis)
      if (old.isDynamicDim(axis))
        ofAxis[axis] = dims[next++];
    for (int64_t axis : axes)
      if (ofAxis[axis])
        moved.push_back(ofAxis[axis]);
    func.setArgAttr(argument.getArgNumber(), "vit.dims", builder.getArrayAttr(moved));
  }
  emitRemark(loc) << valueName(argument) << " takes frames of bytes" << (interleaved ? ", channels side by side" : "");
  ++folded;
}

} // namespace
