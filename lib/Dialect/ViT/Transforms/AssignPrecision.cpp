//===- AssignPrecision.cpp - says in which number format each layer computes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Weights/Ranges.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/Support/GlobPattern.h"
#include "llvm/Support/Regex.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_ASSIGNPRECISION
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

/// Largest calibrated magnitude that f16 is trusted with: products and sums of two such values stay in range.
constexpr double kHalfLimit = 8192.0;

struct Rule {
  PrecisionKind precision;
  std::string text;
  llvm::GlobPattern pattern;
};

class AssignPrecisionPass : public vitrify::vit::impl::AssignPrecisionBase<AssignPrecisionPass> {
public:
  using AssignPrecisionBase::AssignPrecisionBase;

  void runOnOperation() override {
    auto asked = parsePrecision(precision);
    auto sixteen = parsePrecision(half);
    if (!asked || !sixteen || (*sixteen != PrecisionKind::BF16 && *sixteen != PrecisionKind::F16)) {
      getOperation().emitError() << "unknown precision '" << (!asked ? precision.getValue() : half.getValue())
                                 << "', expected f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4";
      return signalPassFailure();
    }
    if (failed(parseRules()))
      return signalPassFailure();
    std::optional<Ranges> seen;
    if (!ranges.empty()) {
      auto loaded = Ranges::load(ranges);
      if (!loaded) {
        getOperation().emitError() << loaded.status().message();
        return signalPassFailure();
      }
      seen = std::move(*loaded);
    }
    getOperation().walk([&](LayerOpInterface op) { assign(op, *asked, *sixteen, seen ? &*seen : nullptr); });
  }

private:
  static std::optional<PrecisionKind> parsePrecision(StringRef text) {
    return symbolizePrecisionKind(text == "fp16" ? "f16" : text);
  }
  LogicalResult parseRules();
  void assign(LayerOpInterface op, PrecisionKind asked, PrecisionKind sixteen, const Ranges *seen);

  SmallVector<Rule> rules;
};

LogicalResult AssignPrecisionPass::parseRules() {
  for (StringRef text : keep) {
    auto [name, pattern] = text.split(':');
    auto kind = parsePrecision(name);
    auto glob = llvm::GlobPattern::create(pattern);
    if (!kind || pattern.empty() || !glob) {
      if (!glob)
        llvm::consumeError(glob.takeError());
      return getOperation().emitError() << "rule '" << text << "': expected PRECISION:PATTERN with f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4";
    }
    rules.push_back({*kind, text.str(), std::move(*glob)});
  }
  return success();
}

/// A precision of codes and scales.
bool isCodes(PrecisionKind kind) {
  return kind != PrecisionKind::F32 && kind != PrecisionKind::BF16 && kind != PrecisionKind::F16;
}

/// Columns that share a scale, and that must divide a layer's; 1 where all do.
int64_t blockOf(PrecisionKind kind) { return kind == PrecisionKind::NVFP4 ? 16 : kind == PrecisionKind::FP8Block ? 128 : 1; }

/// A linear of an encoder block ("b0.fc1") that neither gives a gate's scores nor is the thin half of a low-rank difference:
/// what fp8 and int8 are for.
bool isBlockLinear(Operation *op) {
  auto linear = dyn_cast<LinearOp>(op);
  if (!linear)
    return false;
  StringRef name = cast<StringAttr>(linear.getLayers()[0]).getValue();
  static const llvm::Regex block("^([^/]+/)?b[0-9]+\\."); // of a bundle of several models: "small/b0.fc1"
  return block.match(name) && !givesScores(linear) && !name.contains(".diff.");
}

/// The largest amax of the op's operands, and whose it is.
std::pair<double, std::string> largestRange(Operation *op, const Ranges &seen) {
  std::pair<double, std::string> largest{0, ""};
  for (Value operand : op->getOperands()) {
    while (auto slice = operand.getDefiningOp<tensor::ExtractSliceOp>())
      operand = slice.getSource();
    auto source = operand.getDefiningOp<LayerOpInterface>();
    if (!source)
      continue;
    for (auto layer : source.getLayers().getAsRange<StringAttr>()) {
      auto found = seen.values.find(layer.str());
      if (found != seen.values.end() && found->second.amax > largest.first)
        largest = {found->second.amax, layer.str()};
    }
  }
  return largest;
}

void AssignPrecisionPass::assign(LayerOpInterface op, PrecisionKind asked, PrecisionKind sixteen, const Ranges *seen) {
  bool matrix = isa<LinearOp, AttentionOp, PatchEmbedOp>(op.getOperation());
  // Of a checkpoint's own NVFP4 codes only the input's type is left to choose.
  auto given = dyn_cast<LinearOp>(op.getOperation());
  if (given && isa<Float4E2M1FNType>(given.getWeight().getType().getElementType()) && given.getInput().getType().getElementType().isF32()) {
    op->setAttr("vit.precision", PrecisionKindAttr::get(op.getContext(), isCodes(asked) ? sixteen : asked));
    return;
  }
  // A matrix op with narrow operands was decided on when the module was first optimised.
  auto isNarrow = [&](Value v) {
    return !getElementTypeOrSelf(v).isF32() && !getElementTypeOrSelf(v).isUnsignedInteger(); // bytes of frames say nothing
  };
  if (matrix && llvm::any_of(op->getOperands().take_front(2), isNarrow))
    return;
  // So was a linear of a checkpoint's own codes.
  if (auto linear = dyn_cast<LinearOp>(op.getOperation()); linear && linear.getWeight().getDefiningOp<DequantizeOp>())
    return;
  PrecisionKind chosen = PrecisionKind::F32;
  std::string note;
  if (matrix) {
    chosen = asked;
    if (isCodes(asked) && !isBlockLinear(op))
      chosen = sixteen;
    else if (asked == PrecisionKind::F16 || asked == PrecisionKind::BF16)
      chosen = asked;
    for (const Rule &rule : rules)
      for (auto layer : op.getLayers().getAsRange<StringAttr>())
        if (rule.pattern.match(layer.getValue())) {
          chosen = rule.precision;
          note = "rule " + rule.text;
        }
    if (isCodes(chosen) && !isa<LinearOp>(op.getOperation())) {
      note = (stringifyPrecisionKind(chosen) + " is for linears").str();
      emitRemark(op.getLoc()) << "layer " << op.getLayers()[0] << " stays in 16 bits: " << note;
      chosen = sixteen;
    }
    if (auto linear = dyn_cast<LinearOp>(op.getOperation()); linear && linear.getWeight().getType().getDimSize(1) % blockOf(chosen)) {
      note = "its " + std::to_string(linear.getWeight().getType().getDimSize(1)) + " columns are no multiple of " + std::to_string(blockOf(chosen)) +
             ", as blocks of " + stringifyPrecisionKind(chosen).str() + " are";
      chosen = sixteen;
    }
    // What the other factor is: codes of nvfp4 are expanded to that type.
    PrecisionKind half = chosen == PrecisionKind::NVFP4 ? sixteen : chosen;
    if (half == PrecisionKind::F16 && seen) {
      auto [amax, name] = largestRange(op, *seen);
      if (amax > kHalfLimit) {
        (chosen == PrecisionKind::NVFP4 ? half : chosen) = PrecisionKind::BF16;
        note = "'" + name + "' reaches " + std::to_string(static_cast<int64_t>(amax)) + ", f16 is used to 8192";
      }
    }
    if (chosen == PrecisionKind::NVFP4)
      op->setAttr("vit.half", PrecisionKindAttr::get(op.getContext(), half));
    if (!note.empty()) {
      ++overridden;
      emitRemark(op.getLoc()) << "layer " << op.getLayers()[0] << " computes in " << stringifyPrecisionKind(chosen) << ": " << note;
      op->setAttr("vit.precision_note", StringAttr::get(op.getContext(), note));
    }
  }
  op->setAttr("vit.precision", PrecisionKindAttr::get(op.getContext(), chosen));
}

} // namespace
