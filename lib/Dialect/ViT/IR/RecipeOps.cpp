//===- RecipeOps.cpp - verifiers and folders of the steps of a recipe -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"

#include <cmath>

using namespace mlir;
using namespace vitrify::vit;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The result's element type and shape, both exact.
static LogicalResult expectType(Operation *op, Type element, ArrayRef<int64_t> shape) {
  auto expected = RankedTensorType::get(shape, element);
  Type found = op->getResult(0).getType();
  return found == expected ? success() : op->emitOpError() << "expected a result of " << expected << ", found " << found;
}

static LogicalResult expectAxis(Operation *op, RankedTensorType type, int64_t axis) {
  if (axis >= 0 && axis < type.getRank() && type.hasStaticShape())
    return success();
  return op->emitOpError() << "expected an axis of a static tensor, found axis " << axis << " of " << type;
}

static bool isFloat(Type type) { return type.isF32() || type.isF16() || type.isBF16(); }

static int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

LogicalResult SliceOp::verify() {
  auto input = typeOf(getInput());
  int64_t axis = getAxisAttr().getInt(), begin = getBeginAttr().getInt(), end = getEndAttr().getInt();
  // slice_c1
  if (failed(expectAxis(*this, input, axis)))
    return failure();
  if (begin < 0 || begin >= end || end > input.getDimSize(axis))
    return emitOpError() << "expected 0 <= from < to <= " << input.getDimSize(axis) << ", found " << begin << " and "
                         << end;
  // slice_c2
  SmallVector<int64_t> shape(input.getShape());
  shape[axis] = end - begin;
  return expectType(*this, input.getElementType(), shape);
}

LogicalResult GatherOp::verify() {
  auto input = typeOf(getInput());
  int64_t axis = getAxisAttr().getInt();
  // gather_c1
  if (failed(expectAxis(*this, input, axis)))
    return failure();
  for (int64_t index : getIndices())
    if (index < 0 || index >= input.getDimSize(axis))
      return emitOpError() << "expected indices from 0 to " << input.getDimSize(axis) - 1 << ", found " << index;
  // gather_c2
  SmallVector<int64_t> shape(input.getShape());
  shape[axis] = getIndices().size();
  return expectType(*this, input.getElementType(), shape);
}

LogicalResult ConcatOp::verify() {
  // concat_c1
  if (getInputs().empty())
    return emitOpError("expected at least one tensor");
  auto first = typeOf(getInputs()[0]);
  int64_t axis = getAxisAttr().getInt(), sum = 0;
  if (failed(expectAxis(*this, first, axis)))
    return failure();
  SmallVector<int64_t> shape(first.getShape());
  for (Value input : getInputs()) {
    auto type = typeOf(input);
    if (type.getRank() == first.getRank())
      shape[axis] = type.getDimSize(axis);
    if (type != RankedTensorType::get(shape, first.getElementType()) || !type.hasStaticShape())
      return emitOpError() << "expected tensors like " << first << " but for axis " << axis << ", found " << type;
    if (llvm::AddOverflow(sum, shape[axis], sum))
      return emitOpError("expected an axis that does not overflow");
  }
  // concat_c2
  shape[axis] = sum;
  return expectType(*this, first.getElementType(), shape);
}

LogicalResult TransposeOp::verify() {
  // transpose_c1
  auto input = typeOf(getInput());
  if (input.getRank() != 2)
    return emitOpError() << "expected a matrix, found " << input;
  return expectType(*this, input.getElementType(), {input.getDimSize(1), input.getDimSize(0)});
}

LogicalResult ReshapeOp::verify() {
  // reshape_c1
  auto input = typeOf(getInput()), result = typeOf(getResult());
  if (input.getElementType() != result.getElementType() || !input.hasStaticShape() || !result.hasStaticShape() ||
      input.getNumElements() != result.getNumElements())
    return emitOpError() << "expected static tensors of one element type and count, found " << input << " and " << result;
  return success();
}

LogicalResult CastOp::verify() {
  // cast_c1
  auto input = typeOf(getInput()), result = typeOf(getResult());
  if (!isa<FloatType>(input.getElementType()) || !isFloat(result.getElementType()))
    return emitOpError() << "expected a float type to f32, f16 or bf16, found " << input << " to " << result;
  return expectType(*this, result.getElementType(), input.getShape());
}

// amax_c2
static LogicalResult checkDivisor(AmaxOp op, double divisor) {
  if (std::isfinite(divisor) && divisor > 0)
    return success();
  return op.emitOpError() << "expected a positive divisor, found " << divisor;
}

LogicalResult AmaxOp::verify() {
  // amax_c1
  auto input = typeOf(getInput());
  Type f32 = Float32Type::get(getContext());
  if (!isFloat(input.getElementType()))
    return emitOpError() << "expected a float tensor, found " << input;
  double divisor = getDivisor().convertToDouble();
  if (auto block = getBlock()) {
    // amax_c3
    if (getAxis() || input.getRank() != 2 || block->size() != 2 || (*block)[0] < 1 || (*block)[1] < 1)
      return emitOpError() << "expected a block of two positive sizes of a matrix, and no axis, found " << input;
    if (failed(expectType(*this, f32, {ceilDiv(input.getDimSize(0), (*block)[0]), ceilDiv(input.getDimSize(1), (*block)[1])})))
      return failure();
    return checkDivisor(*this, divisor);
  }
  if (getAxis() && (*getAxis() != 1 || input.getRank() != 2))
    return emitOpError() << "expected axis 1 of a matrix, found axis " << getAxisAttr().getInt() << " of " << input;
  if (failed(expectType(*this, f32, {getAxis() ? input.getDimSize(0) : 1})))
    return failure();
  return checkDivisor(*this, divisor);
}

LogicalResult SumOp::verify() {
  // sum_c1
  auto input = typeOf(getInput());
  if (input.getRank() != 2)
    return emitOpError() << "expected a matrix, found " << input;
  return expectType(*this, Float32Type::get(getContext()), {input.getDimSize(0)});
}

LogicalResult RecipOp::verify() {
  // recip_c1
  return expectType(*this, Float32Type::get(getContext()), typeOf(getInput()).getShape());
}

// mul_c1, mul_c2, add_c1, add_c2, sub_c1, sub_c2
static LogicalResult verifyBinary(Operation *op, RankedTensorType x, RankedTensorType y, bool columns) {
  bool one = y.hasStaticShape() && y.getNumElements() == 1;
  bool byRow = y.getRank() == 1 && (x.getRank() == 1 || x.getRank() == 2) && y.getDimSize(0) == x.getDimSize(0);
  bool byColumn = y.getRank() == 1 && x.getRank() == 2 && y.getDimSize(0) == x.getDimSize(1);
  if (columns ? !byColumn : !one && !byRow && x.getShape() != y.getShape())
    return op->emitOpError() << "expected y of x's shape, of one element, [N] or with columns [K], found " << y
                             << " for " << x;
  return expectType(op, Float32Type::get(op->getContext()), x.getShape());
}

LogicalResult MulOp::verify() { return verifyBinary(*this, typeOf(getLhs()), typeOf(getRhs()), getColumns()); }
LogicalResult AddOp::verify() { return verifyBinary(*this, typeOf(getLhs()), typeOf(getRhs()), getColumns()); }
LogicalResult SubOp::verify() { return verifyBinary(*this, typeOf(getLhs()), typeOf(getRhs()), getColumns()); }

/// True if scales are [1], [N] by row, or one for each block of h x g.
static LogicalResult verifyScale(Operation *op, RankedTensorType x, RankedTensorType scale,
                                 std::optional<ArrayRef<int64_t>> block) {
  if (block) {
    bool good = block->size() == 2 && (*block)[0] > 0 && (*block)[1] > 0 && x.getRank() == 2 && x.hasStaticShape();
    if (!good)
      return op->emitOpError() << "expected a block of two positive sizes on a matrix, found " << x;
    return expectShape(op, "scale", scale,
                       {ceilDiv(x.getDimSize(0), (*block)[0]), ceilDiv(x.getDimSize(1), (*block)[1])});
  }
  bool byRow = x.getRank() >= 1 && scale.getRank() == 1 && scale.getDimSize(0) == x.getDimSize(0);
  if (!byRow && !(scale.getRank() == 1 && scale.getDimSize(0) == 1))
    return op->emitOpError() << "expected scale [1] or [N], or a block, found " << scale << " for " << x;
  return success();
}

LogicalResult RoundOp::verify() {
  // round_c3: the operand's type excludes codes.
  // round_c1
  auto input = typeOf(getInput());
  if (failed(expectType(*this, typeOf(getResult()).getElementType(), input.getShape())))
    return failure();
  return verifyScale(*this, input, typeOf(getScale()), getBlock()); // round_c2
}

LogicalResult DequantOp::verify() {
  // dequant_c1
  auto codes = typeOf(getCodes());
  if (failed(expectType(*this, Float32Type::get(getContext()), codes.getShape())))
    return failure();
  return verifyScale(*this, codes, typeOf(getScale()), getBlock()); // dequant_c2
}

LogicalResult BlocksOp::verify() {
  // blocks_c1
  auto codes = typeOf(getCodes());
  int64_t n = codes.getDimSize(0), k = codes.getDimSize(1);
  if (!codes.hasStaticShape() || k % 16)
    return emitOpError() << "expected codes of a static shape with a multiple of 16 columns, found " << codes;
  if (failed(expectShape(*this, "scales", typeOf(getScales()), {n, k / 16})))
    return failure();
  return expectType(*this, codes.getElementType(), {n, k / 16 * 18}); // blocks_c2
}

LogicalResult PadOp::verify() {
  auto input = typeOf(getInput());
  int64_t axis = getAxisAttr().getInt(), multiple = getMultipleAttr().getInt();
  if (failed(expectAxis(*this, input, axis)))
    return failure();
  // pad_c1
  if (multiple < 1)
    return emitOpError() << "expected a multiple of at least 1, found " << multiple;
  // pad_c2
  SmallVector<int64_t> shape(input.getShape());
  if (llvm::MulOverflow(ceilDiv(shape[axis], multiple), multiple, shape[axis]))
    return emitOpError() << "expected an axis that does not overflow, found " << input << " to a multiple of " << multiple;
  return expectType(*this, input.getElementType(), shape);
}

//===----------------------------------------------------------------------===//
// Folders: a step that changes nothing is its operand, so that equal weights have equal recipes
//===----------------------------------------------------------------------===//

template <typename Op> static OpFoldResult sameType(Op op) {
  return op.getInput().getType() == op.getType() ? OpFoldResult(op.getInput()) : OpFoldResult();
}

OpFoldResult SliceOp::fold(FoldAdaptor) { return sameType(*this); }

OpFoldResult PadOp::fold(FoldAdaptor) { return sameType(*this); }

OpFoldResult CastOp::fold(FoldAdaptor) { return sameType(*this); }

OpFoldResult GatherOp::fold(FoldAdaptor) {
  for (auto [i, index] : llvm::enumerate(getIndices()))
    if (index != static_cast<int64_t>(i))
      return {};
  return sameType(*this);
}

OpFoldResult ConcatOp::fold(FoldAdaptor) {
  return getInputs().size() == 1 ? OpFoldResult(getInputs()[0]) : OpFoldResult();
}

OpFoldResult TransposeOp::fold(FoldAdaptor) {
  auto inner = getInput().getDefiningOp<TransposeOp>();
  return inner ? OpFoldResult(inner.getInput()) : OpFoldResult();
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  if (OpFoldResult same = sameType(*this))
    return same;
  auto inner = getInput().getDefiningOp<ReshapeOp>();
  if (!inner)
    return {};
  getInputMutable().assign(inner.getInput());
  return getResult();
}
