//===- Quantize.cpp - quantise/dequantise pairs for fp8 and int8, casts for 16 bits -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Epilogues.h"
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Support/Float8.h"
#include "vitrify/Weights/Ranges.h"
#include "vitrify/Weights/Recipe.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_QUANTIZE
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

/// What a quantised linear's operands become.
struct Codes {
  Type element;
  double largest;     ///< magnitude of a code
  StringRef suffix;   ///< of the names of weights
};

class QuantizePass : public vitrify::vit::impl::QuantizeBase<QuantizePass> {
public:
  using QuantizeBase::QuantizeBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    RecipeBuilder recipes(module);
    if (activations != "auto" && activations != "static" && activations != "token") {
      module.emitError() << "unknown activations '" << activations.getValue() << "', expected auto, static or token";
      return signalPassFailure();
    }
    if (!ranges.empty()) {
      auto loaded = Ranges::load(ranges);
      if (!loaded) {
        module.emitError() << loaded.status().message();
        return signalPassFailure();
      }
      seen = std::move(*loaded);
    }
    // The first layer that cannot be quantised is the error: the others most often lack the same thing.
    if (!(fp8WeightMax > 0 && fp8WeightMax <= kE4M3Max)) {
      module.emitError() << "fp8-weight-max: expected a number above 0 and up to 448, found " << fp8WeightMax.getValue();
      return signalPassFailure();
    }
    WalkResult done = module.walk([&](LayerOpInterface op) {
      auto kind = op->getAttrOfType<PrecisionKindAttr>("vit.precision");
      if (!kind)
        return WalkResult::advance();
      op->removeAttr("vit.precision");
      switch (kind.getValue()) {
      case PrecisionKind::F32: break;
      case PrecisionKind::BF16: narrow(op, Builder(op.getContext()).getBF16Type(), recipes); break;
      case PrecisionKind::F16: narrow(op, Builder(op.getContext()).getF16Type(), recipes); break;
      case PrecisionKind::NVFP4: return WalkResult(quantizeBlocks(op, recipes));
      case PrecisionKind::FP8Block: return WalkResult(quantizeBothInBlocks(op, recipes));
      case PrecisionKind::FP8:
      case PrecisionKind::FP8Tensor:
      case PrecisionKind::FP8Token:
      case PrecisionKind::Int8: return WalkResult(quantize(op, kind.getValue(), recipes));
      }
      return WalkResult::advance();
    });
    if (done.wasInterrupted())
      signalPassFailure();
  }

private:
  void narrow(LayerOpInterface op, Type element, RecipeBuilder &recipes);
  LogicalResult quantize(LayerOpInterface layer, PrecisionKind precision, RecipeBuilder &recipes);
  LogicalResult quantizeBothInBlocks(LayerOpInterface layer, RecipeBuilder &recipes);
  LogicalResult quantizeBlocks(LayerOpInterface layer, RecipeBuilder &recipes);
  bool byToken(LinearOp op, bool int8);
  FailureOr<Value> quantizeInput(LinearOp op, const Codes &codes, bool token, RecipeBuilder &recipes);
  FailureOr<WeightOp> scaleOf(LinearOp op, Value input, const Codes &codes, RecipeBuilder &recipes);

  std::optional<Ranges> seen;
  llvm::StringMap<WeightOp> scales;               ///< by name
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
    if (type.getElementType() == element || isa<Float4E2M1FNType>(type.getElementType()))
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

FailureOr<WeightOp> QuantizePass::scaleOf(LinearOp op, Value input, const Codes &codes, RecipeBuilder &recipes) {
  std::string name = valueName(input);
  if (!seen)
    return op.emitOpError() << "needs the range of its input '" << name << "': give ranges.json (vitrify calibrate)";
  auto range = seen->values.find(name);
  if (range == seen->values.end())
    return op.emitOpError() << "needs the range of its input '" << name << "', which " << ranges.getValue() << " lacks";
  name += codes.element.isInteger(8) ? ".scale.i8" : ".scale";
  WeightOp &weight = scales[name];
  if (weight)
    return weight;
  auto scale = static_cast<float>(range->second.range / codes.largest);
  auto type = RankedTensorType::get({1}, Builder(op.getContext()).getF32Type());
  weight = recipes.create(op.getLoc(), name, type, [&](OpBuilder &b) -> Value {
    return LiteralOp::create(b, op.getLoc(), DenseElementsAttr::get(type, scale));
  });
  return weight;
}

/// Whether the input's scales are found row by row at run time.
bool QuantizePass::byToken(LinearOp op, bool int8) {
  if (activations != "auto")
    return activations == "token";
  if (!int8)
    return false;
  if (op.getInput().getDefiningOp<NormOp>())
    return true;
  std::string name = valueName(op.getInput());
  if (seen && seen->values.count(name))
    return false;
  emitRemark(op.getLoc()) << "layer " << op.getLayers()[0] << ": no range of its input '" << name
                          << "' is known, so that it is quantised by token in a step of its own";
  return true;
}

/// The input as codes and back.
FailureOr<Value> QuantizePass::quantizeInput(LinearOp op, const Codes &codes, bool token, RecipeBuilder &recipes) {
  Location loc = op.getLoc();
  OpBuilder builder(op);
  auto x = op.getInput().getType();
  auto codesType = RankedTensorType::get(x.getShape(), codes.element);
  auto layers = builder.getStrArrayAttr({valueName(op.getInput()) + (codes.element.isInteger(8) ? "#i8" : "#q")});
  Value scale;
  auto granularity = Granularity::Token;
  Type scalesType = RankedTensorType::get({x.getDimSize(0), 1}, builder.getF32Type());
  if (!token) {
    auto weight = scaleOf(op, op.getInput(), codes, recipes);
    if (failed(weight))
      return failure();
    scale = RecipeBuilder::get(builder, loc, *weight);
    granularity = Granularity::Tensor;
    scalesType = scale.getType();
  }
  auto quantized = QuantizeOp::create(builder, loc, codesType, scalesType, granularity, op.getInput(), scale, IntegerAttr(), layers);
  return DequantizeOp::create(builder, loc, x.clone(builder.getF32Type()), quantized.getCodes(), token ? quantized.getScales() : scale, layers)
      .getResult();
}

/// The layer as a linear whose weight is one of the module, or an error.
static FailureOr<LinearOp> linearOf(LayerOpInterface layer) {
  auto op = dyn_cast<LinearOp>(layer.getOperation());
  if (!op)
    return layer->emitOpError() << "has no form in codes: only vit.linear has";
  if (!op.getWeight().getDefiningOp<GetOp>())
    return op.emitOpError() << "has a weight that is no vit.weight";
  return op;
}

LogicalResult QuantizePass::quantize(LayerOpInterface layer, PrecisionKind precision, RecipeBuilder &recipes) {
  Location loc = layer.getLoc();
  auto found = linearOf(layer);
  if (failed(found))
    return failure();
  LinearOp op = *found;
  auto get = op.getWeight().getDefiningOp<GetOp>();
  OpBuilder builder(op);
  Type f32 = builder.getF32Type();
  const bool int8 = precision == PrecisionKind::Int8, whole = precision == PrecisionKind::FP8Tensor;
  Codes kind = int8 ? Codes{builder.getI8Type(), kI8Max, ".i8"} : Codes{Float8E4M3FNType::get(op.getContext()), kE4M3Max, whole ? ".e4m3.tensor" : ".e4m3"};
  bool token = precision == PrecisionKind::FP8Token || (!whole && byToken(op, int8));
  auto input = quantizeInput(op, kind, token, recipes);
  if (failed(input))
    return failure();
  auto w = op.getWeight().getType();

  std::string base = get.getName().str();
  auto scaleType = RankedTensorType::get({whole ? 1 : w.getDimSize(0)}, f32);
  // Weights of several precisions may come from one tensor.
  std::string scaleName = base + (int8 ? ".scale.i8" : whole ? ".scale.tensor" : ".scale");
  WeightOp weightScale = recipes.lookup(scaleName);
  if (!weightScale)
    weightScale = recipes.create(loc, scaleName, scaleType, [&](OpBuilder &b) -> Value {
      Value v = GetOp::create(b, loc, w, base);
      return AmaxOp::create(b, loc, scaleType, v, whole ? IntegerAttr() : b.getI64IntegerAttr(1), DenseI64ArrayAttr(),
                            b.getF64FloatAttr(int8 ? kind.largest : fp8WeightMax.getValue()));
    });
  auto codesType = RankedTensorType::get(w.getShape(), kind.element);
  WeightOp codes = recipes.lookup(base + kind.suffix.str());
  if (!codes)
    codes = recipes.create(loc, base + kind.suffix.str(), codesType, [&](OpBuilder &b) -> Value {
      Value v = GetOp::create(b, loc, w, base);
      Value t = GetOp::create(b, loc, scaleType, weightScale.getSymName());
      return RoundOp::create(b, loc, codesType, v, t, DenseI64ArrayAttr());
    });
  // One scale an output channel is one a row of w, which vit.dequantize wants as [N, 1].
  auto columnType = RankedTensorType::get({w.getDimSize(0), 1}, f32);
  WeightOp columnScale = whole ? weightScale : recipes.lookup(scaleName + ".column");
  if (!columnScale)
    columnScale = recipes.create(loc, scaleName + ".column", columnType, [&](OpBuilder &b) -> Value {
      Value t = GetOp::create(b, loc, scaleType, weightScale.getSymName());
      return ReshapeOp::create(b, loc, columnType, t);
    });
  Value column = RecipeBuilder::get(builder, loc, columnScale);
  Value weight = DequantizeOp::create(builder, loc, RankedTensorType::get(w.getShape(), f32),
                                      RecipeBuilder::get(builder, loc, codes), column, builder.getStrArrayAttr({base}));
  op.getInputMutable().set(*input);
  op.getWeightMutable().set(weight);
  ++quantized;
  return success();
}

/// E4M3 with a scale for each 128 columns of a row of the input, found as the program runs, and for each 128 x 128 of the weight.
LogicalResult QuantizePass::quantizeBothInBlocks(LayerOpInterface layer, RecipeBuilder &recipes) {
  constexpr int64_t kBlock = 128;
  Location loc = layer.getLoc();
  auto found = linearOf(layer);
  if (failed(found))
    return failure();
  LinearOp op = *found;
  OpBuilder builder(op);
  auto w = op.getWeight().getType(), x = op.getInput().getType();
  const int64_t n = w.getDimSize(0), k = w.getDimSize(1);
  if (k % kBlock)
    return op.emitOpError() << "has " << k << " columns, expected a multiple of " << kBlock << " for fp8_block";
  Type f32 = builder.getF32Type(), e4m3 = Float8E4M3FNType::get(op.getContext());
  // A linear's scales say no sizes of blocks: N is divided evenly.
  const int64_t high = llvm::divideCeil(n, llvm::divideCeil(n, kBlock)), rows = llvm::divideCeil(n, high);
  std::string base = op.getWeight().getDefiningOp<GetOp>().getName().str();
  auto scaleType = RankedTensorType::get({rows, k / kBlock}, f32), codesType = w.clone(e4m3);
  auto block = builder.getDenseI64ArrayAttr({high, kBlock});
  auto once = [&](StringRef suffix, RankedTensorType type, llvm::function_ref<Value(OpBuilder &)> body) {
    WeightOp known = recipes.lookup(base + suffix.str());
    return known ? known : recipes.create(loc, base + suffix.str(), type, body);
  };
  WeightOp scales = once(".scale.block", scaleType, [&](OpBuilder &b) -> Value {
    Value v = GetOp::create(b, loc, w, base);
    return AmaxOp::create(b, loc, scaleType, v, IntegerAttr(), block, b.getF64FloatAttr(fp8WeightMax));
  });
  WeightOp codes = once(".e4m3.block", codesType, [&](OpBuilder &b) -> Value {
    Value v = GetOp::create(b, loc, w, base), t = GetOp::create(b, loc, scaleType, scales.getSymName());
    return RoundOp::create(b, loc, codesType, v, t, block);
  });
  auto layers = builder.getStrArrayAttr({valueName(op.getInput()) + "#q"});
  auto quantize = QuantizeOp::create(builder, loc, RankedTensorType::get(x.getShape(), e4m3), RankedTensorType::get({x.getDimSize(0), k / kBlock}, f32),
                                     Granularity::Block, op.getInput(), Value(), builder.getI64IntegerAttr(kBlock), layers);
  op.getInputMutable().set(quantize.getCodes());
  op.getWeightMutable().set(RecipeBuilder::get(builder, loc, codes));
  op.getXScalesMutable().assign(quantize.getScales());
  op.getWScalesMutable().assign(Value(RecipeBuilder::get(builder, loc, scales)));
  ++quantized;
  return success();
}

/// NVFP4: t = amax / (6 * 448) of the tensor, s = E4M3(amax of 16 / 6 * (1 / t)), codes = E2M1(w * (1 / (s t))): every block's
/// scale is in E4M3's range, and its largest weight about 6, E2M1's largest (as NVIDIA's Model Optimizer chooses them,
/// modelopt/torch/quantization/qtensor/nvfp4_tensor.py). The input is in 16 bits; t is a factor of the sum.
LogicalResult QuantizePass::quantizeBlocks(LayerOpInterface layer, RecipeBuilder &recipes) {
  Location loc = layer.getLoc();
  auto found = linearOf(layer);
  if (failed(found))
    return failure();
  LinearOp op = *found;
  auto get = op.getWeight().getDefiningOp<GetOp>();
  auto half = op->getAttrOfType<PrecisionKindAttr>("vit.half");
  op->removeAttr("vit.half");
  OpBuilder builder(op);
  auto w = op.getWeight().getType();
  const int64_t n = w.getDimSize(0), k = w.getDimSize(1);
  if (k % kNvfp4Block)
    return op.emitOpError() << "has " << k << " columns, expected a multiple of " << kNvfp4Block << " for nvfp4";
  Type f32 = builder.getF32Type();
  auto one = RankedTensorType::get({1}, f32), blocks = RankedTensorType::get({n, k / kNvfp4Block}, f32);
  auto scaleType = blocks.clone(Float8E4M3FNType::get(op.getContext())), codesType = w.clone(Float4E2M1FNType::get(op.getContext()));
  std::string base = get.getName().str();
  auto once = [&](StringRef suffix, RankedTensorType type, llvm::function_ref<Value(OpBuilder &)> body) {
    std::string name = base + suffix.str();
    WeightOp known = recipes.lookup(name);
    return known ? known : recipes.create(loc, name, type, body);
  };
  auto block = builder.getDenseI64ArrayAttr({1, kNvfp4Block});
  WeightOp tensorScale = once(".nvfp4.tensor", one, [&](OpBuilder &b) -> Value {
    Value v = GetOp::create(b, loc, w, base);
    return AmaxOp::create(b, loc, one, v, IntegerAttr(), DenseI64ArrayAttr(), b.getF64FloatAttr(kE2M1Max * kE4M3Max));
  });
  WeightOp scales = once(".nvfp4.scale", scaleType, [&](OpBuilder &b) -> Value {
    Value v = GetOp::create(b, loc, w, base), t = GetOp::create(b, loc, one, tensorScale.getSymName());
    Value most = AmaxOp::create(b, loc, blocks, v, IntegerAttr(), block, b.getF64FloatAttr(kE2M1Max));
    return RoundOp::create(b, loc, scaleType, most, t, DenseI64ArrayAttr());
  });
  WeightOp codes = once(".nvfp4", codesType, [&](OpBuilder &b) -> Value {
    Value v = GetOp::create(b, loc, w, base), t = GetOp::create(b, loc, one, tensorScale.getSymName());
    Value s = CastOp::create(b, loc, blocks, Value(GetOp::create(b, loc, scaleType, scales.getSymName())));
    return RoundOp::create(b, loc, codesType, v, Value(MulOp::create(b, loc, blocks, s, t, false)), block);
  });
  op.getWeightMutable().set(RecipeBuilder::get(builder, loc, codes));
  op.getWScalesMutable().assign(Value(RecipeBuilder::get(builder, loc, scales)));
  narrow(op, half && half.getValue() == PrecisionKind::F16 ? Type(builder.getF16Type()) : Type(builder.getBF16Type()), recipes);
  prependToEpilogue(op, op.getInput(), op.getWeight(), RecipeBuilder::get(builder, loc, tensorScale), AffineMap::get(2, 0, op.getContext()),
                    [&](OpBuilder &b, Value acc, Value factor) -> Value { return arith::MulFOp::create(b, loc, acc, factor); });
  ++quantized;
  return success();
}

} // namespace
