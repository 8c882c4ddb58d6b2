//===- Quantize.cpp - quantise/dequantise pairs for fp8, casts for 16 bits -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Weights/Ranges.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_QUANTIZE
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

constexpr double kE4M3Max = 448.0;

class QuantizePass : public vitrify::vit::impl::QuantizeBase<QuantizePass> {
public:
  using QuantizeBase::QuantizeBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    RecipeBuilder recipes(module);
    if (!ranges.empty()) {
      auto loaded = Ranges::load(ranges);
      if (!loaded) {
        module.emitError() << loaded.status().message();
        return signalPassFailure();
      }
      seen = std::move(*loaded);
    }
    // The first layer that cannot be quantised is the error: the others most often lack the same thing.
    WalkResult done = module.walk([&](LayerOpInterface op) {
      auto kind = op->getAttrOfType<PrecisionKindAttr>("vit.precision");
      if (!kind)
        return WalkResult::advance();
      op->removeAttr("vit.precision");
      switch (kind.getValue()) {
      case PrecisionKind::F32: break;
      case PrecisionKind::BF16: narrow(op, Builder(op.getContext()).getBF16Type(), recipes); break;
      case PrecisionKind::F16: narrow(op, Builder(op.getContext()).getF16Type(), recipes); break;
      case PrecisionKind::FP8: return WalkResult(quantize(cast<LinearOp>(op.getOperation()), recipes));
      case PrecisionKind::Int8:
        op->emitOpError() << "has no int8 form yet: choose f32, bf16, f16 or fp8";
        return WalkResult::interrupt();
      }
      return WalkResult::advance();
    });
    if (done.wasInterrupted())
      signalPassFailure();
  }

private:
  void narrow(LayerOpInterface op, Type element, RecipeBuilder &recipes);
  LogicalResult quantize(LinearOp op, RecipeBuilder &recipes);
  FailureOr<WeightOp> scaleOf(LinearOp op, Value input, RecipeBuilder &recipes);

  std::optional<Ranges> seen;
  llvm::StringMap<WeightOp> scales;               ///< by value name
  DenseMap<std::pair<StringAttr, Type>, WeightOp> cast16; ///< weight and type -> its cast
};

/// The inputs that a 16-bit matrix op takes: activations are converted, weights cast by recipe. Epilogue operands stay f32.
void QuantizePass::narrow(LayerOpInterface op, Type element, RecipeBuilder &recipes) {
  SmallVector<OpOperand *> inputs;
  if (auto linear = dyn_cast<LinearOp>(op.getOperation()))
    inputs = {&linear.getInputMutable(), &linear.getWeightMutable()};
  else if (auto attention = dyn_cast<AttentionOp>(op.getOperation()))
    inputs = {&attention.getQueryMutable(), &attention.getKeyMutable(), &attention.getValueMutable()};
  else if (auto patch = dyn_cast<PatchEmbedOp>(op.getOperation()))
    inputs = {&patch.getWeightMutable()}; // pixels are narrowed while they are unfolded
  OpBuilder builder(op);
  for (OpOperand *input : inputs) {
    Value value = input->get();
    auto type = cast<RankedTensorType>(value.getType());
    if (type.getElementType() == element)
      continue;
    auto narrowType = RankedTensorType::get(type.getShape(), element);
    if (auto get = value.getDefiningOp<GetOp>()) {
      WeightOp &weight = cast16[{get.getNameAttr().getAttr(), element}];
      if (!weight)
        weight = recipes.create(op.getLoc(), (get.getName() + (element.isBF16() ? ".bf16" : ".f16")).str(), narrowType,
                                [&](OpBuilder &b) -> Value {
                                  Value w = GetOp::create(b, op.getLoc(), type, get.getName());
                                  return CastOp::create(b, op.getLoc(), narrowType, w);
                                });
      input->set(RecipeBuilder::get(builder, op.getLoc(), weight));
      continue;
    }
    // A conversion of a slice is a slice of the conversion: the buffer is narrowed once, where it is written.
    if (auto slice = value.getDefiningOp<tensor::ExtractSliceOp>()) {
      auto sourceType = slice.getSourceType();
      OpBuilder at(slice);
      Value whole = slice.getSource();
      Value converted;
      for (Operation *user : whole.getUsers())
        if (auto convert = dyn_cast<ConvertOp>(user); convert && getElementTypeOrSelf(convert.getType()) == element)
          converted = convert.getResult();
      if (!converted) {
        at.setInsertionPointAfterValue(whole);
        converted = ConvertOp::create(at, op.getLoc(), RankedTensorType::get(sourceType.getShape(), element), whole, false);
      }
      builder.setInsertionPoint(op);
      Value narrowSlice = tensor::ExtractSliceOp::create(builder, op.getLoc(), narrowType, converted, slice.getMixedOffsets(),
                                                         slice.getMixedSizes(), slice.getMixedStrides());
      input->set(narrowSlice);
      continue;
    }
    input->set(ConvertOp::create(builder, op.getLoc(), narrowType, value, false));
  }
  ++narrowed;
}

FailureOr<WeightOp> QuantizePass::scaleOf(LinearOp op, Value input, RecipeBuilder &recipes) {
  std::string name = valueName(input);
  if (!seen)
    return op.emitOpError() << "needs the range of its input '" << name << "': give ranges.json (vitrify calibrate)";
  auto range = seen->values.find(name);
  if (range == seen->values.end())
    return op.emitOpError() << "needs the range of its input '" << name << "', which " << ranges.getValue() << " lacks";
  WeightOp &weight = scales[name];
  if (weight)
    return weight;
  auto scale = static_cast<float>(range->second.range / kE4M3Max);
  auto type = RankedTensorType::get({1}, Builder(op.getContext()).getF32Type());
  weight = recipes.create(op.getLoc(), name + ".scale", type, [&](OpBuilder &b) -> Value {
    return LiteralOp::create(b, op.getLoc(), DenseElementsAttr::get(type, scale));
  });
  return weight;
}

LogicalResult QuantizePass::quantize(LinearOp op, RecipeBuilder &recipes) {
  Location loc = op.getLoc();
  auto get = op.getWeight().getDefiningOp<GetOp>();
  if (!get)
    return op.emitOpError() << "has a weight that is no vit.weight";
  auto scale = scaleOf(op, op.getInput(), recipes);
  if (failed(scale))
    return failure();
  OpBuilder builder(op);
  Type f32 = builder.getF32Type(), f8 = Float8E4M3FNType::get(op.getContext());
  auto x = op.getInput().getType(), w = op.getWeight().getType();
  std::string name = valueName(op.getInput());
  auto layers = builder.getStrArrayAttr({name + "#q"});

  Value s = RecipeBuilder::get(builder, loc, *scale);
  auto codesOfInput = QuantizeOp::create(builder, loc, RankedTensorType::get(x.getShape(), f8), s.getType(), Granularity::Tensor,
                                      op.getInput(), s, IntegerAttr(), layers);
  Value input = DequantizeOp::create(builder, loc, RankedTensorType::get(x.getShape(), f32), codesOfInput.getCodes(), s, layers);

  std::string base = get.getName().str();
  auto scaleType = RankedTensorType::get({w.getDimSize(0)}, f32);
  WeightOp weightScale = recipes.lookup(base + ".scale");
  if (!weightScale)
    weightScale = recipes.create(loc, base + ".scale", scaleType, [&](OpBuilder &b) -> Value {
      Value v = GetOp::create(b, loc, w, base);
      return AmaxOp::create(b, loc, scaleType, v, b.getI64IntegerAttr(1), b.getF64FloatAttr(kE4M3Max));
    });
  auto codesType = RankedTensorType::get(w.getShape(), f8);
  WeightOp codes = recipes.lookup(base + ".e4m3");
  if (!codes)
    codes = recipes.create(loc, base + ".e4m3", codesType, [&](OpBuilder &b) -> Value {
      Value v = GetOp::create(b, loc, w, base);
      Value t = GetOp::create(b, loc, scaleType, weightScale.getSymName());
      return RoundOp::create(b, loc, codesType, v, t, DenseI64ArrayAttr());
    });
  // One scale an output channel is one a row of w, which vit.dequantize wants as [N, 1].
  auto columnType = RankedTensorType::get({w.getDimSize(0), 1}, f32);
  WeightOp columnScale = recipes.lookup(base + ".scale.column");
  if (!columnScale)
    columnScale = recipes.create(loc, base + ".scale.column", columnType, [&](OpBuilder &b) -> Value {
      Value t = GetOp::create(b, loc, scaleType, weightScale.getSymName());
      return ReshapeOp::create(b, loc, columnType, t);
    });
  Value column = RecipeBuilder::get(builder, loc, columnScale);
  Value weight = DequantizeOp::create(builder, loc, RankedTensorType::get(w.getShape(), f32),
                                      RecipeBuilder::get(builder, loc, codes), column, builder.getStrArrayAttr({base}));
  op.getInputMutable().set(input);
  op.getWeightMutable().set(weight);
  ++quantized;
  return success();
}

} // namespace
