//===- Verify.cpp - shape and type rules that op families share -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Verify.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace vitrify::vit;

bool vitrify::vit::shapesFit(ShapedType a, ShapedType b) {
  return a.getRank() == b.getRank() &&
         llvm::all_of(llvm::zip(a.getShape(), b.getShape()), [](auto p) { return fits(std::get<0>(p), std::get<1>(p)); });
}

static std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (auto [i, size] : llvm::enumerate(shape))
    text += (i ? ", " : "") + (ShapedType::isDynamic(size) ? std::string("?") : std::to_string(size));
  return text + "]";
}

LogicalResult vitrify::vit::expectShape(Operation *op, StringRef what, ShapedType type, ArrayRef<int64_t> shape) {
  bool good = type.getRank() == static_cast<int64_t>(shape.size());
  for (size_t i = 0; good && i < shape.size(); ++i)
    good = fits(type.getDimSize(i), shape[i]);
  return good ? success() : op->emitOpError() << "expected " << what << ' ' << shapeText(shape) << ", found " << type;
}

LogicalResult vitrify::vit::verifySegments(Operation *op, std::optional<int64_t> uniform, Value cuSeqlens,
                                           int64_t rows) {
  if (uniform.has_value() == static_cast<bool>(cuSeqlens))
    return op->emitOpError("expected exactly one of uniform and cu_seqlens");
  if (uniform && *uniform < 1)
    return op->emitOpError() << "expected uniform segments of at least 1 row, found " << *uniform;
  if (uniform && !ShapedType::isDynamic(rows) && rows % *uniform)
    return op->emitOpError() << "expected a multiple of " << *uniform << " rows, found " << rows;
  return success();
}

int64_t vitrify::vit::segmentCount(std::optional<int64_t> uniform, Value cuSeqlens, int64_t rows) {
  if (uniform)
    return quotient(rows, *uniform);
  int64_t offsets = cast<ShapedType>(cuSeqlens.getType()).getDimSize(0);
  return ShapedType::isDynamic(offsets) ? offsets : offsets - 1;
}

//===----------------------------------------------------------------------===//
// Epilogues
//===----------------------------------------------------------------------===//

namespace {
/// A map that epilogue_c1 allows.
struct MapForm {
  bool row = false, column = false;
  int64_t block = 1; ///< g of (m, n floordiv g)
};
} // namespace

static std::optional<MapForm> classify(AffineMap map) {
  MapForm form;
  if (map.getNumDims() != 2 || map.getNumSymbols() != 0 || map.getNumResults() > 2)
    return std::nullopt;
  for (auto [i, result] : llvm::enumerate(map.getResults())) {
    if (auto dim = dyn_cast<AffineDimExpr>(result)) {
      // m before n, and each once.
      bool &seen = dim.getPosition() == 0 ? form.row : form.column;
      if (seen || (dim.getPosition() == 0 && i != 0))
        return std::nullopt;
      seen = true;
      continue;
    }
    auto floordiv = dyn_cast<AffineBinaryOpExpr>(result);
    if (!floordiv || floordiv.getKind() != AffineExprKind::FloorDiv || !form.row)
      return std::nullopt;
    auto dim = dyn_cast<AffineDimExpr>(floordiv.getLHS());
    auto divisor = dyn_cast<AffineConstantExpr>(floordiv.getRHS());
    if (!dim || dim.getPosition() != 1 || !divisor || divisor.getValue() < 1)
      return std::nullopt;
    form.column = true;
    form.block = divisor.getValue();
  }
  return form;
}

/// The shape that a map covers; () is one element, of rank 0 or 1.
static LogicalResult verifyOperandShape(EpilogueOpInterface op, unsigned number, RankedTensorType type, MapForm form,
                                        int64_t rows, int64_t columns) {
  SmallVector<int64_t> shape;
  if (form.row)
    shape.push_back(rows);
  if (form.column)
    shape.push_back(columns / form.block + (columns % form.block != 0));
  if (shape.empty() && (type.getRank() == 0 || (type.getRank() == 1 && type.getDimSize(0) == 1)))
    return success();
  if (shape.empty())
    shape.push_back(1);
  // Scales of tokens are [rows, 1].
  if (form.row && !form.column && type.getRank() == 2)
    shape.push_back(1);
  return expectShape(op, "epilogue operand " + std::to_string(number), type, shape);
}

static LogicalResult verifyArgument(EpilogueOpInterface op, unsigned number, Type found, Type element, bool vector) {
  Type expected = vector ? VectorType::get({static_cast<int64_t>(op.getGroup())}, element) : element;
  if (found == expected)
    return success();
  return op->emitOpError() << "expected " << expected << " as argument " << number << " of the epilogue, found "
                           << found;
}

static LogicalResult verifyYield(EpilogueOpInterface op, YieldOp yield, int64_t rows, int64_t columns) {
  if (yield.getNumOperands() != op->getNumResults())
    return op->emitOpError() << "expected " << op->getNumResults() << " yielded values, one a result, found "
                             << yield.getNumOperands();
  int64_t group = op.getGroup();
  for (auto [number, value, result] : llvm::enumerate(yield.getOperands(), op->getResults())) {
    auto type = cast<RankedTensorType>(result.getType());
    int64_t lanes = 1;
    if (auto vector = dyn_cast<VectorType>(value.getType())) {
      if (group == 1 || vector.getRank() != 1 || vector.isScalable())
        return op->emitOpError() << "expected a scalar " << (group == 1 ? "" : "or a vector of one dimension ")
                                 << "as yielded value " << number << ", found " << vector;
      lanes = vector.getNumElements();
    }
    if (getElementTypeOrSelf(value.getType()) != type.getElementType())
      return op->emitOpError() << "expected result " << number << " of the yielded element type "
                               << getElementTypeOrSelf(value.getType()) << ", found " << type;
    if (type.getRank() != 2 || ShapedType::isDynamic(type.getDimSize(1)))
      return op->emitOpError() << "expected result " << number << " to be [rows, " << columns / group * lanes
                               << "], found " << type;
    if (failed(expectShape(op, "result " + std::to_string(number), type, {rows, columns / group * lanes})))
      return failure();
  }
  return success();
}

LogicalResult vitrify::vit::verifyEpilogue(EpilogueOpInterface op, int64_t rows, bool anyFloat) {
  int64_t columns = op.getAccumulatorColumns(), group = op.getGroup();
  if (ShapedType::isDynamic(columns))
    return op->emitOpError("expected a static number of columns");
  Region &region = op.getEpilogue();
  if (region.empty()) {
    // linear_c5
    if (op->getNumResults() != 1 || !op.getEpilogueIns().empty() || !op.getMaps().empty() || group != 1)
      return op->emitOpError("expected one result and no epilogue operands, maps or group without an epilogue");
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    if (!type.getElementType().isF32() && !(anyFloat && type.getElementType().isF16()) &&
        !(anyFloat && type.getElementType().isBF16()))
      return op->emitOpError() << "expected an f32 result without an epilogue, found " << type;
    return expectShape(op, "result", type, {rows, columns});
  }
  if (!region.hasOneBlock())
    return op->emitOpError("expected one block in the epilogue");
  Block &block = region.front();
  // epilogue_c4
  if (group < 1 || columns % group)
    return op->emitOpError() << "expected a group that divides the " << columns << " columns, found " << group;
  // epilogue_c1
  if (op.getMaps().size() != op.getEpilogueIns().size())
    return op->emitOpError() << "expected " << op.getEpilogueIns().size() << " maps, one an epilogue operand, found "
                             << op.getMaps().size();
  // epilogue_c3
  if (block.getNumArguments() != op.getEpilogueIns().size() + 1)
    return op->emitOpError() << "expected " << op.getEpilogueIns().size() + 1
                             << " arguments of the epilogue, the accumulator and one an operand, found "
                             << block.getNumArguments();
  if (failed(verifyArgument(op, 0, block.getArgument(0).getType(), Float32Type::get(op->getContext()), group > 1)))
    return failure();
  for (auto [number, operand, map] :
       llvm::enumerate(op.getEpilogueIns(), op.getMaps().getAsValueRange<AffineMapAttr>())) {
    // epilogue_c1
    std::optional<MapForm> form = classify(map);
    if (!form)
      return op->emitOpError() << "expected map " << number
                               << " to be (m, n) to (), (n), (m), (m, n) or (m, n floordiv g), found " << AffineMapAttr::get(map);
    // epilogue_c2
    auto type = cast<RankedTensorType>(operand.getType());
    if (failed(verifyOperandShape(op, number, type, *form, rows, columns)))
      return failure();
    // epilogue_c3: one value for the group where its columns share a block.
    bool vector = group > 1 && form->column && form->block % group != 0;
    if (failed(verifyArgument(op, number + 1, block.getArgument(number + 1).getType(), type.getElementType(), vector)))
      return failure();
  }
  // epilogue_c6
  auto yield = block.empty() ? YieldOp() : dyn_cast<YieldOp>(block.back());
  if (!yield)
    return op->emitOpError("expected a vit.yield at the end of the epilogue");
  for (Operation &inner : block.without_terminator())
    if (inner.getNumRegions() || (!isa<ActOp, ConvertOp>(inner) &&
                                  !llvm::is_contained({"arith", "math", "vector"}, inner.getName().getDialectNamespace())))
      return op->emitOpError("expected arith, math, vector, vit.act and vit.convert ops in the epilogue")
                 .attachNote(inner.getLoc())
             << "found " << inner.getName();
  // epilogue_c5
  return verifyYield(op, yield, rows, columns);
}

//===----------------------------------------------------------------------===//
// Result shapes
//===----------------------------------------------------------------------===//

LogicalResult vitrify::vit::reifyFromFirstOperand(OpBuilder &builder, Operation *op,
                                                  ReifiedRankedShapedTypeDims &shapes) {
  for (Type type : op->getResultTypes()) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor)
      return failure();
    SmallVector<OpFoldResult> dims;
    for (auto [axis, size] : llvm::enumerate(tensor.getShape()))
      dims.push_back(ShapedType::isDynamic(size)
                         ? tensor::getMixedSize(builder, op->getLoc(), op->getOperand(0), axis)
                         : OpFoldResult(builder.getIndexAttr(size)));
    shapes.push_back(std::move(dims));
  }
  return success();
}

LogicalResult vitrify::vit::reifyRows(OpBuilder &builder, Operation *op, OpFoldResult rows,
                                      ReifiedRankedShapedTypeDims &shapes) {
  for (Type type : op->getResultTypes()) {
    SmallVector<OpFoldResult> dims;
    for (int64_t size : cast<RankedTensorType>(type).getShape())
      dims.push_back(ShapedType::isDynamic(size) ? rows : OpFoldResult(builder.getIndexAttr(size)));
    shapes.push_back(std::move(dims));
  }
  return success();
}

OpFoldResult vitrify::vit::sizeExpr(OpBuilder &builder, Location loc, AffineExpr expr, ArrayRef<OpFoldResult> dims) {
  return affine::makeComposedFoldedAffineApply(builder, loc, AffineMap::get(dims.size(), 0, expr), dims);
}

OpFoldResult vitrify::vit::sizeProduct(OpBuilder &builder, Location loc, OpFoldResult a, OpFoldResult b) {
  AffineExpr d = getAffineDimExpr(0, builder.getContext());
  if (std::optional<int64_t> constant = getConstantIntValue(b))
    return sizeExpr(builder, loc, d * *constant, {a});
  if (std::optional<int64_t> constant = getConstantIntValue(a))
    return sizeExpr(builder, loc, d * *constant, {b});
  return arith::MulIOp::create(builder, loc, cast<Value>(a), cast<Value>(b)).getResult();
}
