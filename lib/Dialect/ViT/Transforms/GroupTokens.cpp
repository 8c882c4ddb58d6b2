//===- GroupTokens.cpp - MLPs over the rows that each block of a gate is on for -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What grouping saves is estimated from how tiles of rows fill up: with a share p of blocks on, a block's list over a chunk
// of n rows has a binomial number of entries, which take whole tiles. That errs where tokens choose blocks together, to the
// pessimistic side: lists of unequal lengths fill tiles better than ones of equal lengths do.
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

namespace vitrify::vit {
#define GEN_PASS_DEF_GROUPTOKENS
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

/// What grouping costs on top of the tiles' work, as a share of it, and the fewest rows that it is good for.
struct Overhead {
  double share;
  int64_t leastRows;
};
/// Register tiles: gathering rows and keeping sums in memory between blocks, measured on ViT-B's sizes. Fragments of tensor
/// cores (16 rows): small tiles along K wait for the second-level cache; what the launch model estimates for ViT-B on an RTX
/// 4090, with fewer rows a loss.
Overhead overheadOf(int64_t tile) { return tile >= 16 ? Overhead{0.92, 1025} : Overhead{0.06, 1}; }
/// Above this a layer stays dense: less is within what times of a run differ by.
constexpr double kWorthwhile = 0.95;

struct GatedMlp {
  GateOp gate;
  LinearOp first, second;
};

/// Whether an epilogue's value is 0 for every finite accumulator where the gate's weight, argument `gate`, is 0.
bool isZeroWithGate(Value value, BlockArgument gate) {
  if (value == gate)
    return true;
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  if (auto act = dyn_cast<ActOp>(op))
    return act.getKind() != ActKind::Sigmoid && isZeroWithGate(act.getInput(), gate);
  if (isa<ConvertOp, arith::TruncFOp, arith::ExtFOp, arith::NegFOp>(op))
    return isZeroWithGate(op->getOperand(0), gate);
  if (isa<arith::MulFOp>(op))
    return isZeroWithGate(op->getOperand(0), gate) || isZeroWithGate(op->getOperand(1), gate);
  return false;
}

/// Finds the second linear, or says why the two are no MLP whose blocks the gate turns off.
std::optional<std::string> whyNotGated(GatedMlp &mlp) {
  LinearOp first = mlp.first;
  if (first.getXScales() || first.getWScales() || first.getActive())
    return "its first linear has scales along K";
  if (first->getNumResults() != 1 || first.getGroup() != 1 || first.getEpilogue().empty())
    return "its first linear makes more than one value an accumulator";
  BlockArgument weight;
  for (auto [i, operand] : llvm::enumerate(first.getEpilogueIns()))
    if (operand == mlp.gate.getResult())
      weight = first.getEpilogue().front().getArgument(i + 1);
  if (!isZeroWithGate(first.getEpilogue().front().getTerminator()->getOperand(0), weight))
    return "a block that is off is not 0 after its first linear";
  if (!first.getResult(0).hasOneUse())
    return "something else reads its hidden values";
  mlp.second = dyn_cast<LinearOp>(*first.getResult(0).user_begin());
  if (!mlp.second || mlp.second.getInput() != first.getResult(0))
    return "no linear takes its hidden values";
  if (mlp.second.getXScales() || mlp.second.getWScales() || mlp.second.getActive())
    return "its second linear has scales along K";
  return std::nullopt;
}

/// Tiles' work for `n` rows, in rows: the last tile takes as long as its rows do, or the time for its loads.
double tileRows(int64_t n, int64_t tile, double least) {
  int64_t rest = n % tile;
  return double(n - rest) + (rest ? std::max(double(rest), least) : 0.0);
}

/// Rows of the hidden states at the size that the module is tuned for: images times the rows of a segment. 0 when it does not say.
int64_t tunedRows(func::FuncOp function) {
  int64_t images = 1, segment = 0;
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (auto dims = function.getArgAttrOfType<ArrayAttr>(i, "vit.dims"); dims && !dims.empty())
      images = std::max<int64_t>(images, cast<DimAttr>(dims[0]).getTuned());
  function.walk([&](AttentionOp op) { segment = std::max<int64_t>(segment, op.getUniform().value_or(0)); });
  return images * segment;
}

/// The work of grouped linears over that of dense ones, where a share p of blocks is on.
double costRatio(double p, int64_t rows, int64_t chunk, int64_t tile, double least) {
  int64_t n = std::min(rows, chunk);
  double overhead = 1 + overheadOf(tile).share;
  double expected = 0, probability = std::pow(1 - p, double(n));
  if (p >= 1)
    return overhead;
  // Binomial: from one count to the next; where (1 - p)^n vanishes, the mean stands for all.
  if (probability < 1e-280)
    return (tileRows(std::llround(n * p), tile, least) + tile / 4.0) / tileRows(n, tile, least) * overhead;
  for (int64_t count = 1; count <= n; ++count) {
    probability *= double(n - count + 1) / double(count) * p / (1 - p);
    expected += probability * tileRows(count, tile, least);
  }
  return expected / tileRows(n, tile, least) * overhead;
}

class GroupTokensPass : public vitrify::vit::impl::GroupTokensBase<GroupTokensPass> {
public:
  GroupTokensPass() = default;
  GroupTokensPass(const GroupTokensOptions &options, SupportsFn supports = {}) : GroupTokensBase(options), supports(std::move(supports)) {}

private:
  SupportsFn supports;

  GroupedLinearOp grouped(OpBuilder &builder, LinearOp linear, GroupedAxis axis, Value input, GroupTokensOp lists, double on) {
    auto op = GroupedLinearOp::create(builder, linear.getLoc(), linear.getResultTypes(), axis, input, linear.getWeight(), lists.getRows(),
                                      lists.getStarts(), uint64_t(chunk), linear.getLayersAttr(), linear.getEpilogueIns(),
                                      linear.getMapsAttr(), linear.getGroup());
    for (NamedAttribute attribute : linear->getDiscardableAttrs())
      if (attribute.getName() != "vit.skip_zeros")
        op->setDiscardableAttr(attribute.getName(), attribute.getValue());
    op->setDiscardableAttr("vit.share", builder.getF64FloatAttr(on)); // for the choice of tiles
    IRMapping mapping;
    linear.getEpilogue().cloneInto(&op.getEpilogue(), mapping);
    return op;
  }

  /// Replaces both linears, unless the target has no kernel for them: that is what comes back then.
  std::optional<std::string> rewrite(GatedMlp &mlp, double on) {
    OpBuilder builder(mlp.first);
    Location loc = mlp.gate.getLoc();
    auto gateType = mlp.gate.getType();
    int64_t rows = gateType.getDimSize(0), blocks = gateType.getDimSize(1);
    bool isDynamic = ShapedType::isDynamic(rows);
    Type i32 = builder.getI32Type();
    Type listType = RankedTensorType::get({isDynamic ? rows : rows * blocks}, i32);
    Type startsType = RankedTensorType::get({isDynamic ? rows : int64_t(llvm::divideCeil(rows, chunk)) + 1, blocks}, i32);
    GroupTokensOp lists;
    for (Operation *user : mlp.gate->getUsers())
      if (auto known = dyn_cast<GroupTokensOp>(user))
        lists = known;
    bool isNew = !lists;
    if (isNew) {
      OpBuilder after(mlp.gate->getContext());
      after.setInsertionPointAfter(mlp.gate);
      SmallVector<Attribute> names;
      for (auto name : mlp.gate.getLayers().getAsRange<StringAttr>())
        names.push_back(builder.getStringAttr(name.getValue() + "#rows"));
      lists = GroupTokensOp::create(after, loc, listType, startsType, mlp.gate.getResult(), uint64_t(chunk), builder.getArrayAttr(names));
    }
    GroupedLinearOp first = grouped(builder, mlp.first, GroupedAxis::Columns, mlp.first.getInput(), lists, on);
    builder.setInsertionPoint(mlp.second);
    GroupedLinearOp second = grouped(builder, mlp.second, GroupedAxis::Depth, first.getResult(0), lists, on);
    std::string reason;
    for (Operation *op : {lists.getOperation(), first.getOperation(), second.getOperation()})
      if (supports && !supports(op, reason)) {
        second.erase();
        first.erase();
        if (isNew)
          lists.erase();
        return "the target has no kernel: " + reason;
      }
    // Sizes that are asked of the old values come from their inputs.
    mlp.second.replaceAllUsesWith(second.getResults());
    mlp.second.erase();
    mlp.first.erase();
    return std::nullopt;
  }

  void runOnOperation() override {
    if (chunk < 1 || tile < 1 || rows < 1 || !(share > 0 && share <= 1)) {
      getOperation().emitError() << "expected chunk, tile and rows of at least 1 and a share in (0, 1]";
      return signalPassFailure();
    }
    SmallVector<std::pair<GateOp, LinearOp>> candidates;
    getOperation().walk([&](LinearOp linear) {
      for (Value operand : linear.getEpilogueIns())
        if (auto gate = operand.getDefiningOp<GateOp>()) {
          candidates.push_back({gate, linear});
          break; // the linear is replaced at the first
        }
    });
    for (auto [gate, linear] : candidates) {
      GatedMlp mlp{gate, linear, {}};
      std::string name = cast<StringAttr>(linear.getLayers()[0]).str();
      Location loc = linear.getLoc();
      std::optional<std::string> reason = whyNotGated(mlp);
      int64_t blocks = gate.getType().getDimSize(1);
      double on = gate.getK() ? double(*gate.getK()) / double(blocks) : double(share);
      int64_t tuned = tunedRows(linear->getParentOfType<func::FuncOp>()), height = tuned ? tuned : int64_t(rows);
      double ratio = costRatio(on, height, chunk, tile, least);
      std::string estimate = llvm::formatv("{0:F2} of the dense work at {1} rows, {2:P0} of {3} blocks being on", ratio, height, on, blocks);
      if (!reason && height < overheadOf(tile).leastRows)
        reason = llvm::formatv("{0} rows are too few for small tiles to pay", height).str();
      if (!reason && ratio > kWorthwhile)
        reason = "grouping would take " + estimate;
      if (!reason)
        reason = rewrite(mlp, on);
      if (reason) {
        emitRemark(loc) << name << " computes every block of its gate: " << *reason;
        continue;
      }
      emitRemark(loc) << name << " computes blocks for the rows that they are on for: " << estimate;
      ++groupedMlps;
    }
  }
};

} // namespace

std::unique_ptr<Pass> vitrify::vit::createGroupTokens(SupportsFn supports, const GroupTokensOptions &options) {
  return std::make_unique<GroupTokensPass>(options, std::move(supports));
}
