//===- NarrowResidual.cpp - the residual stream in 16 bits -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Weights/Ranges.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/SetVector.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_NARROWRESIDUAL
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

/// Largest calibrated magnitude of a stream in f16: sums of two such values are far from its largest number.
constexpr double kHalfLimit = 8192.0;

bool isF32Rows(Value v) {
  auto type = dyn_cast<RankedTensorType>(v.getType());
  return type && type.getRank() == 2 && type.getElementType().isF32();
}

/// The operand that rows move through unchanged, and that the result shares its element type with; null for other ops.
OpOperand *carriedRows(Operation *op) {
  if (auto assemble = dyn_cast<AssembleTokensOp>(op))
    return &assemble.getPatchesMutable();
  if (auto scatter = dyn_cast<ScatterRowsOp>(op))
    return &scatter.getInputMutable();
  if (auto merge = dyn_cast<MergePatchesOp>(op))
    return &merge.getInputMutable();
  if (auto pool = dyn_cast<PoolOp>(op))
    return &pool.getInputMutable();
  return nullptr;
}

class NarrowResidualPass : public vitrify::vit::impl::NarrowResidualBase<NarrowResidualPass> {
public:
  using NarrowResidualBase::NarrowResidualBase;

  void runOnOperation() override {
    if (type == "f32")
      return;
    if (type != "f16" && type != "bf16") {
      getOperation().emitError() << "unknown type of the residual stream '" << type.getValue() << "', expected f32, f16 or bf16";
      return signalPassFailure();
    }
    llvm::SetVector<Value> stream;
    getOperation().walk([&](ResidualOp op) {
      collect(op.getInput(), stream);
      collect(op.getResult(), stream);
    });
    auto wide = largestRange(stream.getArrayRef());
    if (failed(wide))
      return signalPassFailure();
    Builder builder(&getContext());
    element = type == "f16" ? Type(builder.getF16Type()) : Type(builder.getBF16Type());
    if (element.isF16() && wide->first > kHalfLimit) {
      emitRemark(getOperation().getLoc()) << "the residual stream is bf16: '" << wide->second << "' reaches "
                                          << static_cast<int64_t>(wide->first) << ", f16 is used to 8192";
      element = builder.getBF16Type();
    }
    for (Value value : stream)
      if (isF32Rows(value))
        narrow(value);
    // The rows that a head reads: what picks rows and is narrowed anyway picks narrow rows just as well.
    SmallVector<PoolOp> pools; // conversions are erased on the way
    getOperation().walk([&](PoolOp op) { pools.push_back(op); });
    for (PoolOp op : pools) {
      bool only = !op->use_empty() && llvm::all_of(op->getUsers(), [&](Operation *user) {
        auto convert = dyn_cast<ConvertOp>(user);
        return isa<tensor::DimOp>(user) || (convert && getElementTypeOrSelf(convert.getType()) == element);
      });
      if (only && isF32Rows(op.getInput()) && op.getInput().getDefiningOp<EpilogueOpInterface>() && op.getKind() == PoolKind::Token)
        narrow(op.getInput());
    }
  }

private:
  void collect(Value value, llvm::SetVector<Value> &stream) {
    if (!isF32Rows(value) || !value.getDefiningOp() || !stream.insert(value))
      return;
    if (OpOperand *rows = carriedRows(value.getDefiningOp()))
      collect(rows->get(), stream);
  }

  /// The largest calibrated magnitude of these values, and whose it is.
  FailureOr<std::pair<double, std::string>> largestRange(ArrayRef<Value> values) {
    std::pair<double, std::string> largest{0, ""};
    if (ranges.empty())
      return largest;
    auto seen = Ranges::load(ranges);
    if (!seen)
      return getOperation().emitError() << seen.status().message();
    for (Value value : values)
      if (auto source = value.getDefiningOp<LayerOpInterface>())
        for (auto layer : source.getLayers().getAsRange<StringAttr>())
          if (auto found = seen->values.find(layer.str()); found != seen->values.end() && found->second.amax > largest.first)
            largest = {found->second.amax, layer.str()};
    return largest;
  }

  void narrow(Value value);
  void replaceUses(Value wide, Value narrow);

  Type element; ///< of the stream
};

/// Makes a value narrow: what moves rows has narrow operands then, a conversion follows everything else.
void NarrowResidualPass::narrow(Value value) {
  Operation *op = value.getDefiningOp();
  ++narrowed;
  if (OpOperand *rows = carriedRows(op)) {
    // The operand is narrowed first; its users, this op among them, follow.
    if (isF32Rows(rows->get()))
      return narrow(rows->get());
  }
  OpBuilder builder(op->getContext());
  builder.setInsertionPointAfterValue(value);
  auto narrowType = cast<RankedTensorType>(value.getType()).clone(element);
  auto convert = ConvertOp::create(builder, op->getLoc(), narrowType, value, false);
  replaceUses(value, convert.getResult());
}

/// Lets the users of `wide` read `narrow`, through a conversion back where they take f32 alone.
void NarrowResidualPass::replaceUses(Value wide, Value narrow) {
  Value back;
  SmallVector<OpOperand *> uses = llvm::map_to_vector(wide.getUses(), [](OpOperand &use) { return &use; });
  for (OpOperand *use : uses) {
    Operation *user = use->getOwner();
    if (user == narrow.getDefiningOp() || isa<tensor::DimOp>(user))
      continue;
    if (auto convert = dyn_cast<ConvertOp>(user); convert && convert.getType() == narrow.getType()) {
      convert.getResult().replaceAllUsesWith(narrow);
      convert.erase();
      continue;
    }
    auto norm = dyn_cast<NormOp>(user);
    if (isa<ResidualOp, ConvertOp, QuantizeOp>(user) || (norm && use == &norm.getInputMutable())) {
      use->set(narrow);
      continue;
    }
    if (carriedRows(user) == use) {
      use->set(narrow);
      if (auto scatter = dyn_cast<ScatterRowsOp>(user); scatter && isF32Rows(scatter.getSource())) {
        OpBuilder builder(user);
        scatter.getSourceMutable().set(ConvertOp::create(
            builder, user->getLoc(), cast<RankedTensorType>(scatter.getSource().getType()).clone(element), scatter.getSource(), false));
      }
      Value result = user->getResult(0);
      result.setType(cast<RankedTensorType>(result.getType()).clone(element));
      replaceUses(result, result);
      continue;
    }
    if (!back) {
      OpBuilder builder(user->getContext());
      builder.setInsertionPointAfterValue(narrow);
      back = ConvertOp::create(builder, user->getLoc(), cast<RankedTensorType>(narrow.getType()).clone(Float32Type::get(user->getContext())),
                               narrow, false);
    }
    use->set(back);
  }
}

} // namespace
