//===- FuseEpilogue.cpp - moves elementwise ops into the epilogue of their producer -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Support/Float8.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/IRMapping.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_FUSEEPILOGUE
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

AffineMap columnMap(MLIRContext *c) { return AffineMap::get(2, 0, {getAffineDimExpr(1, c)}, c); }
AffineMap elementMap(MLIRContext *c) { return AffineMap::getMultiDimIdentityMap(2, c); }
AffineMap scalarMap(MLIRContext *c) { return AffineMap::get(2, 0, c); }

/// An operand that a consumer brings into the epilogue, and the element type of its block argument.
struct NewOperand {
  Value value;
  AffineMap map;
};

class Fuser {
public:
  Fuser(ModuleOp module, RecipeBuilder &recipes, const SupportsFn &supports)
      : module(module), recipes(recipes), supports(supports) {}

  /// Fuses `consumer` into the producer of one of its operands. On refusal `reason` is set unless there was nothing to try.
  bool fuse(Operation *consumer, std::string &reason);

private:
  bool fuseToken(QuantizeOp quantize, std::string &reason);
  bool collect(Operation *consumer, Value produced, SmallVectorImpl<NewOperand> &extra, std::string &reason);
  Value apply(OpBuilder &b, Operation *consumer, Value produced, Value element, ArrayRef<Value> extra);
  Value reciprocalOf(OpBuilder &builder, Value scale);

  bool fits(Operation *producer, Operation *fused, std::string &reason) const;

  ModuleOp module;
  RecipeBuilder &recipes;
  const SupportsFn &supports; ///< empty: everything
};

/// An elementwise op whose operand an epilogue can compute.
bool isFusable(Operation *op) {
  if (auto quantize = dyn_cast<QuantizeOp>(op))
    return quantize.getScale() || quantize.getGranularity() == Granularity::Token;
  if (auto convert = dyn_cast<ConvertOp>(op))
    return isa<RankedTensorType>(convert.getType());
  if (auto act = dyn_cast<ActOp>(op))
    return isa<RankedTensorType>(act.getType());
  return isa<ResidualOp>(op);
}

bool Fuser::collect(Operation *consumer, Value produced, SmallVectorImpl<NewOperand> &extra, std::string &reason) {
  MLIRContext *c = consumer->getContext();
  if (auto residual = dyn_cast<ResidualOp>(consumer)) {
    Value other = residual.getInput() == produced ? residual.getBranch() : residual.getInput();
    if (residual.getInput() == residual.getBranch()) {
      reason = "both operands are one value";
      return false;
    }
    extra.push_back({other, elementMap(c)});
    if (residual.getScale())
      extra.push_back({residual.getScale(), columnMap(c)});
  }
  if (auto quantize = dyn_cast<QuantizeOp>(consumer)) {
    if (!quantize.getScale().getDefiningOp<GetOp>()) {
      reason = "its scale is found at run time";
      return false;
    }
    extra.push_back({quantize.getScale(), quantize.getGranularity() == Granularity::Tensor ? scalarMap(c) : columnMap(c)});
  }
  return true;
}

/// The reciprocal of a scale weight, as a weight: the division becomes the multiplication that vit.quantize is defined by.
Value Fuser::reciprocalOf(OpBuilder &builder, Value scale) {
  auto get = scale.getDefiningOp<GetOp>();
  std::string name = get.getName().str() + ".reciprocal";
  auto type = cast<RankedTensorType>(get.getType());
  WeightOp weight = recipes.lookup(name);
  if (!weight)
    weight = recipes.create(get.getLoc(), name, type, [&](OpBuilder &b) -> Value {
      Value s = GetOp::create(b, get.getLoc(), type, get.getName());
      return RecipOp::create(b, get.getLoc(), type, s);
    });
  return RecipeBuilder::get(builder, get.getLoc(), weight);
}

/// The consumer on one element.
Value Fuser::apply(OpBuilder &b, Operation *consumer, Value produced, Value element, ArrayRef<Value> extra) {
  Location loc = consumer->getLoc();
  Type f32 = b.getF32Type();
  auto widened = [&](Value v) -> Value { return v.getType() == f32 ? v : Value(arith::ExtFOp::create(b, loc, f32, v)); };
  if (auto act = dyn_cast<ActOp>(consumer))
    return ActOp::create(b, loc, element.getType(), act.getKind(), element, ArrayAttr());
  if (auto convert = dyn_cast<ConvertOp>(consumer)) {
    Type to = getElementTypeOrSelf(convert.getType());
    if (convert.getSaturate())
      return ConvertOp::create(b, loc, to, element, true);
    if (to.getIntOrFloatBitWidth() < element.getType().getIntOrFloatBitWidth())
      return arith::TruncFOp::create(b, loc, to, element);
    return arith::ExtFOp::create(b, loc, to, element);
  }
  if (auto residual = dyn_cast<ResidualOp>(consumer)) {
    bool isBranch = residual.getBranch() == produced;
    Value other = widened(extra[0]), own = widened(element);
    Value branch = isBranch ? own : other, stream = isBranch ? other : own;
    if (extra.size() > 1)
      branch = arith::MulFOp::create(b, loc, branch, widened(extra[1]));
    return arith::AddFOp::create(b, loc, stream, branch);
  }
  // vit.quantize: extra[0] is the reciprocal of its scale.
  Value scaled = arith::MulFOp::create(b, loc, widened(element), extra[0]);
  return ConvertOp::create(b, loc, getElementTypeOrSelf(consumer->getResult(0).getType()), scaled, true);
}

/// Whether the target runs the fused op as well. What it cannot run apart either is for the conversion to report.
bool Fuser::fits(Operation *producer, Operation *fused, std::string &reason) const {
  std::string missing, ignored;
  if (!supports || supports(fused, missing) || !supports(producer, ignored))
    return true;
  reason = "the target has no kernel for both: " + missing;
  return false;
}

/// Whether one op alone reads the value: sizes can be asked of what it is fused to just as well.
static bool onlyUser(Value value) {
  return llvm::count_if(value.getUsers(), [](Operation *user) { return !isa<tensor::DimOp>(user); }) == 1;
}

/// Lets questions for the size of `from` ask `to` instead, which is an op later in the block.
static void moveSizes(Value from, Value to) {
  for (OpOperand &use : llvm::make_early_inc_range(from.getUses()))
    if (auto dim = dyn_cast<tensor::DimOp>(use.getOwner())) {
      use.set(to);
      if (dim->isBeforeInBlock(to.getDefiningOp()))
        dim->moveAfter(to.getDefiningOp());
    }
}

/// Whether an epilogue gives one number for each group of columns.
static bool yieldsScalar(EpilogueOpInterface op) {
  return !op.getEpilogue().empty() && !isa<VectorType>(op.getEpilogue().front().getTerminator()->getOperand(0).getType());
}

/// A norm whose rows are quantised each by its own scale: an epilogue that sees whole rows.
bool Fuser::fuseToken(QuantizeOp quantize, std::string &reason) {
  auto norm = quantize.getInput().getDefiningOp<NormOp>();
  if (!norm) {
    reason = "a scale by token needs whole rows, which only a norm sees";
    return false;
  }
  if (!onlyUser(quantize.getInput())) {
    reason = "its operand '" + valueName(quantize.getInput()) + "' has other users";
    return false;
  }
  if (!norm.getEpilogue().empty()) {
    reason = "its producer has an epilogue";
    return false;
  }
  OpBuilder builder(quantize);
  Location loc = norm.getLoc();
  int64_t columns = norm.getAccumulatorColumns();
  Type f32 = builder.getF32Type(), code = getElementTypeOrSelf(quantize.getCodes().getType());
  SmallVector<Attribute> layers(norm.getLayers().getValue());
  llvm::append_range(layers, quantize.getLayers());
  OperationState state(loc, norm->getName(), norm->getOperands(), quantize->getResultTypes(), norm->getAttrs());
  state.attributes.set("layers", builder.getArrayAttr(layers));
  state.attributes.set("group", builder.getI64IntegerAttr(columns));
  Block &block = state.addRegion()->emplaceBlock();
  auto row = VectorType::get({columns}, f32);
  Value x = block.addArgument(row, loc);
  OpBuilder b(quantize.getContext());
  b.setInsertionPointToEnd(&block);
  auto constant = [&](float value) -> Value { return arith::ConstantOp::create(b, loc, f32, b.getF32FloatAttr(value)); };
  Value magnitude = math::AbsFOp::create(b, loc, x);
  Value amax = vector::ReductionOp::create(b, loc, vector::CombiningKind::MAXNUMF, magnitude);
  Value some = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, amax, constant(0));
  Value quotient = arith::DivFOp::create(b, loc, amax, constant(code.isInteger(8) ? kI8Max : kE4M3Max));
  Value scale = arith::SelectOp::create(b, loc, some, quotient, constant(1));
  Value reciprocal = arith::DivFOp::create(b, loc, constant(1), scale);
  Value scaled = arith::MulFOp::create(b, loc, x, Value(vector::BroadcastOp::create(b, loc, row, reciprocal)));
  Value codes = ConvertOp::create(b, loc, VectorType::get({columns}, code), scaled, true);
  YieldOp::create(b, loc, ValueRange{codes, scale});
  Operation *fused = builder.create(state);
  if (!fits(norm, fused, reason)) {
    fused->erase();
    return false;
  }
  moveSizes(quantize.getInput(), fused->getResult(0));
  quantize->replaceAllUsesWith(fused->getResults());
  quantize->erase();
  norm->erase();
  return true;
}

bool Fuser::fuse(Operation *consumer, std::string &reason) {
  if (auto quantize = dyn_cast<QuantizeOp>(consumer); quantize && !quantize.getScale())
    return fuseToken(quantize, reason);
  // The producer of the branch comes first: the stream is an operand that waits in memory.
  SmallVector<Value> candidates;
  if (auto residual = dyn_cast<ResidualOp>(consumer))
    candidates = {residual.getBranch(), residual.getInput()};
  else
    candidates = {consumer->getOperand(0)};
  EpilogueOpInterface producer;
  Value produced;
  for (Value candidate : candidates) {
    auto op = candidate.getDefiningOp<EpilogueOpInterface>();
    if (!op)
      continue;
    if (!onlyUser(candidate)) {
      reason = "its operand '" + valueName(candidate) + "' has other users";
      continue;
    }
    if (op->getNumResults() != 1 || (op.getGroup() != 1 && !yieldsScalar(op))) {
      reason = "its producer has several results or a vector for a group of columns";
      continue;
    }
    producer = op;
    produced = candidate;
    break;
  }
  if (!producer)
    return false;
  SmallVector<NewOperand> extra;
  if (!collect(consumer, produced, extra, reason))
    return false;
  reason.clear();
  // Operands of an epilogue over groups are by the accumulator's columns, which the consumer does not know.
  if (producer.getGroup() > 1 && llvm::any_of(extra, [](const NewOperand &operand) { return operand.map.isFunctionOfDim(1); })) {
    reason = "it has operands by column, and its producer groups of columns";
    return false;
  }

  // The fused op stands where the consumer stood, where all operands are known.
  OpBuilder builder(consumer);
  Location loc = producer.getLoc();
  auto quantize = dyn_cast<QuantizeOp>(consumer);
  Attribute scaleName;
  if (quantize) {
    scaleName = quantize.getScale().getDefiningOp<GetOp>().getNameAttr();
    extra[0].value = reciprocalOf(builder, quantize.getScale());
  }
  SmallVector<Value> ins(producer.getEpilogueIns());
  SmallVector<Attribute> maps(producer.getMaps().begin(), producer.getMaps().end());
  for (const NewOperand &operand : extra) {
    ins.push_back(operand.value);
    maps.push_back(AffineMapAttr::get(operand.map));
  }
  SmallVector<Attribute> layers(cast<LayerOpInterface>(producer.getOperation()).getLayers().getValue());
  if (auto own = consumer->getAttrOfType<ArrayAttr>("layers"))
    layers.append(own.begin(), own.end());

  // The body: the producer's, then the consumer on what it yielded.
  Region body;
  Block &block = body.emplaceBlock();
  Type f32 = builder.getF32Type();
  Value acc = block.addArgument(producer.getGroup() > 1 ? Type(VectorType::get({int64_t(producer.getGroup())}, f32)) : f32, loc);
  IRMapping mapping;
  Value element = acc;
  {
    OpBuilder inner(consumer->getContext()); // the region has no op yet to take the context from
    inner.setInsertionPointToEnd(&block);
    if (!producer.getEpilogue().empty()) {
      Block &old = producer.getEpilogue().front();
      mapping.map(old.getArgument(0), acc);
      for (BlockArgument argument : old.getArguments().drop_front())
        mapping.map(argument, block.addArgument(argument.getType(), loc));
      for (Operation &op : old.without_terminator())
        inner.clone(op, mapping);
      element = mapping.lookup(old.getTerminator()->getOperand(0));
    }
    SmallVector<Value> arguments;
    for (const NewOperand &operand : extra)
      arguments.push_back(block.addArgument(getElementTypeOrSelf(operand.value.getType()), loc));
    Value result = apply(inner, consumer, produced, element, arguments);
    YieldOp::create(inner, loc, result);
  }

  OperationState state(loc, producer->getName());
  SmallVector<Value> operands(producer->getOperands());
  operands.append(ins.begin() + producer.getEpilogueIns().size(), ins.end());
  state.addOperands(operands);
  state.addTypes(consumer->getResult(0).getType());
  state.addAttributes(producer->getAttrs());
  state.addRegion()->takeBody(body);
  // Operand segments count the epilogue's operands last.
  if (auto segments = producer->getAttrOfType<DenseI32ArrayAttr>("operandSegmentSizes")) {
    SmallVector<int32_t> sizes(segments.asArrayRef());
    sizes.back() += extra.size();
    state.attributes.set("operandSegmentSizes", builder.getDenseI32ArrayAttr(sizes));
  }
  state.attributes.set("maps", builder.getArrayAttr(maps));
  state.attributes.set("layers", builder.getArrayAttr(layers));
  if (scaleName)
    state.attributes.set("vit.scales", builder.getArrayAttr({scaleName}));
  Operation *fused = builder.create(state);
  if (!fits(producer, fused, reason)) {
    fused->erase();
    return false;
  }
  if (quantize)
    quantize.getScales().replaceAllUsesWith(quantize.getScale());
  moveSizes(produced, fused->getResult(0));
  consumer->getResult(0).replaceAllUsesWith(fused->getResult(0));
  consumer->erase();
  producer.erase();
  return true;
}

/// a * b + c in an epilogue is one fma.
struct ToFma : OpRewritePattern<arith::AddFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::AddFOp op, PatternRewriter &rewriter) const override {
    if (!isa<EpilogueOpInterface>(op->getParentOp()) || !op.getType().isF32())
      return rewriter.notifyMatchFailure(op, "expected an f32 sum in an epilogue");
    for (auto [product, other] : {std::pair(op.getLhs(), op.getRhs()), std::pair(op.getRhs(), op.getLhs())})
      if (auto mul = product.getDefiningOp<arith::MulFOp>(); mul && mul->hasOneUse()) {
        rewriter.replaceOpWithNewOp<math::FmaOp>(op, mul.getLhs(), mul.getRhs(), other);
        return success();
      }
    return rewriter.notifyMatchFailure(op, "expected a product as an operand");
  }
};

class FuseEpiloguePass : public vitrify::vit::impl::FuseEpilogueBase<FuseEpiloguePass> {
public:
  explicit FuseEpiloguePass(SupportsFn supports = {}) : supports(std::move(supports)) {}

private:
  SupportsFn supports;

  void runOnOperation() override {
    RecipeBuilder recipes(getOperation());
    Fuser fuser(getOperation(), recipes, supports);
    // In program order: what has been fused is the producer of what comes next.
    SmallVector<Operation *> consumers;
    getOperation().walk([&](Operation *op) {
      if (isFusable(op))
        consumers.push_back(op);
    });
    for (Operation *op : consumers) {
      std::string reason;
      Location loc = op->getLoc();
      auto layers = op->getAttrOfType<ArrayAttr>("layers");
      std::string name = layers && !layers.empty() ? cast<StringAttr>(layers[0]).str() : op->getName().getStringRef().str();
      if (fuser.fuse(op, reason))
        ++fused;
      else if (!reason.empty())
        emitRemark(loc) << name << " stays apart: " << reason;
    }
    RewritePatternSet patterns(&getContext());
    patterns.add<ToFma>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
  }
};

} // namespace

std::unique_ptr<Pass> vitrify::vit::createFuseEpilogue(SupportsFn supports) {
  return std::make_unique<FuseEpiloguePass>(std::move(supports));
}
