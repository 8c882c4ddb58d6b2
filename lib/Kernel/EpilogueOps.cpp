//===- EpilogueOps.cpp - single ops of an epilogue on lanes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "EpilogueOps.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"

#include <limits>

using namespace mlir;
using namespace vitrify;
using vector::CombiningKind;

static bool isLaneFloat(Type element) {
  return element.isF32() || element.isBF16() || element.isF16() || isa<Float8E4M3FNType>(element);
}

std::string vitrify::whyNotOnLanes(Operation *op, bool largeGroup) {
  auto named = [&] { return "'" + op->getName().getStringRef().str() + "' in an epilogue"; };
  for (Type type : op->getResultTypes()) {
    Type element = getElementTypeOrSelf(type);
    bool codes = element.isInteger(8) && isa<vit::ConvertOp>(op);
    if (!isLaneFloat(element) && !element.isInteger(1) && !element.isInteger(32) && !codes)
      return named() + " on another type than f32, bf16, f16, f8E4M3FN, i32 or i1";
  }
  if (isa<vit::YieldOp, vit::ActOp, vit::ConvertOp, vector::BroadcastOp>(op))
    return "";
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
    return largeGroup && dense && !dense.isSplat() ? "a constant that is no splat in an epilogue of a large group" : "";
  }
  if (auto reduction = dyn_cast<vector::ReductionOp>(op)) {
    switch (reduction.getKind()) {
    case CombiningKind::ADD:
    case CombiningKind::MUL:
    case CombiningKind::MAXNUMF:
    case CombiningKind::MAXIMUMF:
    case CombiningKind::MINNUMF:
    case CombiningKind::MINIMUMF:
      return "";
    default:
      return "a reduction other than add, mul, min and max of floats in an epilogue";
    }
  }
  if (isa<vector::ExtractOp, vector::InsertOp, vector::FromElementsOp, vector::ShuffleOp>(op)) {
    if (largeGroup)
      return named() + " of a large group";
    auto extract = dyn_cast<vector::ExtractOp>(op);
    auto insert = dyn_cast<vector::InsertOp>(op);
    if ((extract && (extract.getStaticPosition().size() != 1 || extract.hasDynamicPosition())) ||
        (insert && (insert.getStaticPosition().size() != 1 || insert.hasDynamicPosition())))
      return named() + " at a position that is not static";
    return "";
  }
  if (isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp, arith::NegFOp, arith::MaximumFOp,
          arith::MinimumFOp, arith::MaxNumFOp, arith::MinNumFOp, arith::CmpFOp, arith::SelectOp, arith::TruncFOp,
          arith::ExtFOp, arith::AndIOp, arith::OrIOp, arith::XOrIOp, arith::AddIOp, arith::SubIOp, arith::MulIOp,
          arith::CmpIOp, arith::SIToFPOp, arith::FPToSIOp, math::FmaOp, math::AbsFOp, math::SqrtOp, math::RsqrtOp,
          math::ExpOp, math::TanhOp, math::ErfOp, math::FloorOp, math::CeilOp, math::RoundEvenOp, math::CopySignOp>(op))
    return "";
  return named();
}

Value vitrify::buildConstantLanes(LaneBuilder &b, Attribute value, unsigned component) {
  auto splatOf = [&](Attribute scalar) -> Value {
    if (auto number = dyn_cast<FloatAttr>(scalar))
      return b.splat(float(number.getValueAsDouble()));
    auto integer = cast<IntegerAttr>(scalar);
    VectorType type = b.laneType(integer.getType());
    return arith::ConstantOp::create(b, DenseElementsAttr::get(type, integer.getValue()));
  };
  if (auto dense = dyn_cast<DenseElementsAttr>(value)) {
    auto values = dense.getValues<Attribute>();
    return splatOf(dense.isSplat() ? values[0] : values[component]);
  }
  return splatOf(value);
}

Value vitrify::buildOnLanes(LaneBuilder &b, Operation *op, ValueRange operands, MathMode mode) {
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  // Rounds f32 lanes to the op's own type; E4M3 stays f32 on its grid.
  auto rounded = [&](Value value) -> Value {
    return isa<Float8E4M3FNType>(element) ? value : b.fromF32(value, element);
  };
  SmallVector<Value> wide;
  for (Value operand : operands)
    wide.push_back(isa<FloatType>(getElementTypeOrSelf(operand.getType())) || isa<vit::ConvertOp>(op) ? b.toF32(operand) : operand);
  if (auto act = dyn_cast<vit::ActOp>(op))
    return rounded(buildActivation(b, act.getKind(), wide[0], mode));
  if (isa<vit::ConvertOp>(op) && element.isInteger(8))
    return buildRoundI8(b, wide[0]);
  if (isa<vit::ConvertOp>(op))
    return isa<Float8E4M3FNType>(element) ? buildRoundE4M3(b, wide[0]) : rounded(wide[0]);
  if (isa<arith::TruncFOp, arith::ExtFOp>(op))
    return rounded(wide[0]);
  if (isa<math::ExpOp>(op))
    return rounded(buildExp(b, wide[0], mode));
  if (isa<math::TanhOp>(op))
    return rounded(buildTanh(b, wide[0], mode));
  if (isa<math::ErfOp>(op))
    return rounded(buildErf(b, wide[0], mode));
  if (isa<math::FmaOp>(op))
    return rounded(b.fma(wide[0], wide[1], wide[2]));
  if (isa<math::RsqrtOp>(op))
    return rounded(b.div(b.splat(1.0f), Value(math::SqrtOp::create(b, wide[0]))));
  // All others are elementwise: the same op on lanes, floats in f32.
  bool isFloatResult = isa<FloatType>(element);
  OperationState state(b.getLoc(), op->getName().getStringRef(), wide,
                       b.laneType(isFloatResult ? Type(b.getF32Type()) : element), op->getAttrs());
  state.propertiesAttr = op->getPropertiesAsAttribute();
  Value result = b.create(state)->getResult(0);
  return isFloatResult ? rounded(result) : result;
}

Value vitrify::combineLanes(LaneBuilder &b, CombiningKind kind, Value x, Value y) {
  x = b.toF32(x), y = b.toF32(y);
  switch (kind) {
  case CombiningKind::ADD:
    return b.add(x, y);
  case CombiningKind::MUL:
    return b.mul(x, y);
  case CombiningKind::MINNUMF:
  case CombiningKind::MINIMUMF:
    return b.min(x, y);
  default:
    return b.max(x, y);
  }
}

Value vitrify::neutralLanes(LaneBuilder &b, CombiningKind kind) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (kind) {
  case CombiningKind::ADD:
    return b.splat(0.0f);
  case CombiningKind::MUL:
    return b.splat(1.0f);
  case CombiningKind::MINNUMF:
  case CombiningKind::MINIMUMF:
    return b.splat(kInfinity);
  default:
    return b.splat(-kInfinity);
  }
}

Value vitrify::reduceLanes(LaneBuilder &b, CombiningKind kind, Value value) {
  for (unsigned half = b.lanes / 2; half >= 1; half /= 2) {
    // Each lane meets the one `half` away, so all end with the total.
    SmallVector<int64_t> swap(b.lanes);
    for (unsigned i = 0; i < b.lanes; ++i)
      swap[i] = i ^ half;
    value = combineLanes(b, kind, value, vector::ShuffleOp::create(b, value, value, swap));
  }
  return value;
}

bool vitrify::alignedToLanes(Value index, unsigned lanes) {
  APInt constant;
  if (matchPattern(index, m_ConstantInt(&constant)))
    return constant.getSExtValue() % lanes == 0;
  if (auto multiply = index.getDefiningOp<arith::MulIOp>())
    return alignedToLanes(multiply.getLhs(), lanes) || alignedToLanes(multiply.getRhs(), lanes);
  if (auto add = index.getDefiningOp<arith::AddIOp>())
    return alignedToLanes(add.getLhs(), lanes) && alignedToLanes(add.getRhs(), lanes);
  // The counter of a loop that starts at a multiple and steps by one.
  if (auto argument = dyn_cast<BlockArgument>(index))
    if (auto loop = dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp()))
      if (argument == loop.getInductionVar())
        return alignedToLanes(loop.getLowerBound(), lanes) && alignedToLanes(loop.getStep(), lanes);
  return false;
}
