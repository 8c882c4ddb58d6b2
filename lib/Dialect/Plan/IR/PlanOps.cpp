//===- PlanOps.cpp - verifiers and folders of what a plan holds -----------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/IR/Plan.h"

#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace vitrify::plan;

//===----------------------------------------------------------------------===//
// Target, kernel, weight
//===----------------------------------------------------------------------===//

LogicalResult TargetOp::verify() {
  // plan_target_c1
  auto good = [](char c) { return llvm::isAlnum(c) || StringRef("_.-+").contains(c); };
  if (getName().empty() || !llvm::all_of(getName(), good))
    return emitOpError() << "expected a name of letters, digits and _.-+, found '" << getName() << "'";
  // plan_target_c2
  for (Operation &op : getBody().front())
    if (!isa<KernelOp, WeightOp, ProgramOp>(op))
      return emitOpError("expected kernels, weights and programs only").attachNote(op.getLoc()) << "found here";
  return success();
}

LogicalResult KernelOp::verify() {
  // plan_kernel_c1
  StringRef digest = getSha256();
  if (digest.size() != 64 || !llvm::all_of(digest, llvm::isHexDigit))
    return emitOpError() << "expected 64 hexadecimal digits of sha256, found '" << digest << "'";
  // plan_kernel_c2
  auto outside = [](uint64_t count) { return count > 4096; };
  if (outside(getScalars()) || outside(getBuffers()))
    return emitOpError() << "expected 0 to 4096 scalars and buffers, found " << getScalarsAttr().getInt() << " and "
                         << getBuffersAttr().getInt();
  // plan_kernel_c3
  if (DictionaryAttr metrics = getMetricsAttr())
    for (NamedAttribute metric : metrics)
      if (auto value = dyn_cast<IntegerAttr>(metric.getValue()); !value || !value.getType().isInteger(64))
        return emitOpError() << "expected an i64 as metric '" << metric.getName().getValue() << "', found "
                             << metric.getValue();
  return success();
}

LogicalResult WeightOp::verify() {
  // plan_weight_c1
  auto type = cast<RankedTensorType>(getType());
  if (!type.hasStaticShape() || !isBufferElement(type.getElementType()))
    return emitOpError() << "expected a static tensor of a buffer's element type, found " << type;
  // plan_weight_c2
  if (getTensor().empty() || getLayout().empty())
    return emitOpError("expected a tensor and a layout that are not empty");
  return success();
}

//===----------------------------------------------------------------------===//
// Program
//===----------------------------------------------------------------------===//

SmallVector<BufferOp> ProgramOp::inputs() {
  SmallVector<BufferOp> found;
  for (auto buffer : getBody().getOps<BufferOp>())
    if (buffer.getKind() == BufferKind::Input)
      found.push_back(buffer);
  return found;
}

SmallVector<BufferOp> ProgramOp::outputs() {
  SmallVector<BufferOp> found;
  if (Block &block = getBody().front(); !block.empty())
    if (auto last = dyn_cast<ReturnOp>(block.back()))
      for (Value value : last.getOutputs())
        if (auto buffer = value.getDefiningOp<BufferOp>())
          found.push_back(buffer);
  return found;
}

/// Symbols that an op's expressions use and the program does not declare.
static LogicalResult checkSymbols(Operation *op, const llvm::StringSet<> &declared) {
  // Bodies are walked op by op, so attributes of this op only.
  LogicalResult result = success();
  op->getAttrDictionary().walk([&](ExprAttr expr) {
    if (failed(result) || expr.getKind() != ExprKind::Symbol || declared.contains(expr.getSymbol().getValue()))
      return;
    result = op->emitOpError() << "symbol '" << expr.getSymbol().getValue() << "' is not one of the program's";
  });
  return result;
}

LogicalResult ProgramOp::verify() {
  // plan_program_c1
  llvm::StringSet<> symbols;
  for (auto symbol : getSymbols().getAsRange<SymbolAttr>())
    if (!symbols.insert(symbol.getName()).second)
      return emitOpError() << "symbol '" << symbol.getName() << "' is declared twice";
  // plan_program_c2
  Block &block = getBody().front();
  if (block.empty() || !isa<ReturnOp>(block.back()))
    return emitOpError("expected plan.return at the end");
  for (Operation &op : block)
    if (!isa<BufferOp, ViewOp, LaunchOp, CopyOp, IfOp, ExitIfOp, CallOp, ReturnOp>(op))
      return emitOpError("expected buffers, views and steps only").attachNote(op.getLoc()) << "found here";
  // plan_program_c3
  WalkResult walked = (*this)->walk(
      [&](Operation *op) { return failed(checkSymbols(op, symbols)) ? WalkResult::interrupt() : WalkResult::advance(); });
  if (walked.wasInterrupted())
    return failure();
  // plan_program_c4
  llvm::StringSet<> names, arguments[3];
  for (auto buffer : getBody().getOps<BufferOp>()) {
    if (!names.insert(buffer.getName()).second)
      return emitOpError() << "two buffers are named '" << buffer.getName() << "'";
    auto argument = buffer.getArgument();
    if (argument && !arguments[static_cast<unsigned>(buffer.getKind())].insert(*argument).second)
      return emitOpError() << "two " << stringifyBufferKind(buffer.getKind()) << " arguments are named '" << *argument
                           << "'";
  }
  return success();
}

LogicalResult ReturnOp::verify() {
  // plan_return_c1
  auto program = (*this)->getParentOfType<ProgramOp>();
  SmallPtrSet<Operation *, 4> missing;
  for (auto buffer : program.getBody().getOps<BufferOp>())
    if (buffer.getKind() == BufferKind::Output)
      missing.insert(buffer);
  for (Value value : getOutputs())
    if (Operation *source = value.getDefiningOp(); !source || !missing.erase(source))
      return emitOpError("expected each output buffer once and nothing else");
  if (!missing.empty())
    return emitOpError("expected every output buffer, found ")
           << getNumOperands() << " of " << getNumOperands() + missing.size();
  return success();
}

//===----------------------------------------------------------------------===//
// Buffer and view
//===----------------------------------------------------------------------===//

BufferOp vitrify::plan::baseBuffer(Value value) {
  while (auto view = value.getDefiningOp<ViewOp>())
    value = view.getSource();
  return value.getDefiningOp<BufferOp>();
}

LogicalResult BufferOp::verify() {
  // plan_buffer_c1
  bool arena = getKind() == BufferKind::Arena;
  if (arena && (getArgument() || !getOffset()))
    return emitOpError("a buffer of the arena has an offset and no argument");
  if (!arena && (!getArgument() || getArgument()->empty() || getOffset()))
    return emitOpError("an input or output has an argument's name and no offset");
  // plan_buffer_c2
  std::optional<int64_t> offset = arena ? getOffset()->constant() : std::nullopt;
  if (offset && (*offset < 0 || *offset % 64 != 0))
    return emitOpError() << "expected an offset that is a multiple of 64 and not negative, found " << *offset;
  // plan_buffer_c3
  Type element = getType().getElement();
  bool wide = isa<Float32Type, Float16Type, BFloat16Type>(element);
  if (auto numeric = getNumeric())
    if (!wide && !(*numeric == Numeric::I8 ? element.isInteger(8) : isa<Float8E4M3FNType>(element)))
      return emitOpError() << stringifyNumeric(*numeric) << " values are not held in " << element;
  // plan_buffer_c5
  int64_t bits = element.getIntOrFloatBitWidth();
  std::optional<int64_t> size = getSize().constant();
  bool constant = size.has_value();
  for (auto dim : getShape().getAsRange<ExprAttr>()) {
    std::optional<int64_t> value = dim.constant();
    if (value && (*value < 0 || llvm::MulOverflow(bits, *value, bits)))
      return emitOpError() << "expected dimensions that are not negative and do not overflow, found " << *value;
    constant &= value.has_value();
  }
  int64_t bytes = bits / 8 + (bits % 8 != 0);
  if (constant && *size < bytes)
    return emitOpError() << "expected a size of at least the shape's " << bytes
                         << " bytes, found " << *size;
  // plan_buffer_c6
  if (getName().empty())
    return emitOpError("expected a name");
  return success();
}

LogicalResult BufferOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // plan_buffer_c4
  if (auto scale = getScaleAttr(); scale && !symbols.lookupNearestSymbolFrom<WeightOp>(*this, scale))
    return emitOpError() << "scale " << scale << " is no weight of this target";
  return success();
}

LogicalResult ViewOp::verify() {
  // plan_view_c1
  if (std::optional<int64_t> offset = getOffset().constant(); offset && *offset < 0)
    return emitOpError() << "expected an offset that is not negative, found " << *offset;
  return success();
}

OpFoldResult ViewOp::fold(FoldAdaptor) {
  return getOffset().constant() == 0 ? OpFoldResult(getSource()) : OpFoldResult();
}

namespace {
/// A view of a view starts at the sum of the offsets.
struct JoinViews : OpRewritePattern<ViewOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ViewOp view, PatternRewriter &rewriter) const override {
    auto inner = view.getSource().getDefiningOp<ViewOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(view, "expected a view of a view");
    ExprAttr offset = simplified(ExprKind::Add, inner.getOffset(), view.getOffset());
    if (offset.depth() > kMaxExprDepth)
      return rewriter.notifyMatchFailure(view, "expected a sum of offsets within the depth limit");
    rewriter.replaceOpWithNewOp<ViewOp>(view, view.getType(), inner.getSource(), offset);
    return success();
  }
};
} // namespace

void ViewOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *context) {
  patterns.add<JoinViews>(context);
}
