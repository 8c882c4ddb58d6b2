//===- Elementwise.cpp - ops that stayed apart, one run of columns a thread -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Activations, gates, residuals, conversions and row copies that no epilogue took in. They are bound by memory: a
// thread computes eight consecutive columns of a row.
//===----------------------------------------------------------------------===//
#include "Runs.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

bool supportsElementwise(Operation *op, const TargetRow &, std::string &reason) {
  if (resultType(op).getRank() != 2) {
    reason = "elementwise ops on rank " + std::to_string(resultType(op).getRank());
    return false;
  }
  if (auto quantize = dyn_cast<vit::QuantizeOp>(op); quantize && !quantize.getScale()) {
    reason = "a scale of a whole tensor that is found at run time";
    return false;
  }
  for (Type type : llvm::concat<const Type>(SmallVector<Type>(op->getOperandTypes()), SmallVector<Type>(op->getResultTypes())))
    if (getElementTypeOrSelf(type).isInteger(8)) {
      reason = "codes of i8";
      return false;
    }
  return succeeded(argumentsOf(op, reason));
}

std::vector<KernelSpec> elementwiseSpecs(Operation *op, const TargetRow &row) {
  Arguments args = argumentsOf(op);
  KernelSpec spec = runSpec(op, row, args, op->getName().stripDialect().str());
  spec.layerKind = "row";
  return {spec};
}

/// Scales of codes, addressed by what their shape says.
EpilogueOperand scaleOf(vit::DequantizeOp op, const Arguments &args, ValueRange pointers) {
  auto shape = cast<RankedTensorType>(op.getScales().getType()).getShape();
  int64_t columns = resultType(op).getDimSize(1);
  EpilogueOperand scale = operandOf(op, 1, args, pointers, shape.size() == 2, shape.back() != 1);
  if (shape.size() == 2 && shape[1] > 1 && shape[1] < columns) {
    MLIRContext *c = op.getContext();
    scale.map = AffineMap::get(2, 0, {getAffineDimExpr(0, c), getAffineDimExpr(1, c).floorDiv(columns / shape[1])}, c);
  }
  return scale;
}

/// The static scales of a quantisation are its second result; those who have the first row write them.
void storeScales(GpuBuilder &g, const EpilogueOperand &out, bool channel, Value row, Value column, ArrayRef<Value> scale) {
  Value mine = g.eq(row, g.c32(0));
  if (!channel)
    mine = g.andi(mine, g.eq(column, g.c32(0)));
  auto ifOp = g.create<scf::IfOp>(mine, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, {out}, out.rowStride, channel ? kRun : 1);
  emitter.beginColumns(column);
  emitter.storeResult(0, g.c32(0), channel ? scale : scale.take_front(1));
}

void buildElementwise(GpuBuilder &g, Operation *op, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  Arguments args = argumentsOf(op);
  ValueRange pointers = arguments.drop_front(1);
  Region none;
  SmallVector<EpilogueOperand> results = {epilogueResults(op, args, pointers)[0]};
  EpilogueEmitter emitter(g, none, 1, {}, results, resultType(op).getDimSize(1), kRun);
  forRun(g, op, arguments.take_front(1), [&](Value row, Value column) {
    auto load = [&](unsigned number, bool perRow) {
      return emitter.loadRun(operandOf(op, number, args, pointers, perRow, true), row, column);
    };
    SmallVector<Value> x = load(0, true);
    if (auto act = dyn_cast<vit::ActOp>(op)) {
      for (Value &v : x)
        v = emitActivation(g, act.getKind(), v);
    } else if (auto glu = dyn_cast<vit::GluOp>(op)) {
      SmallVector<Value> up = load(1, true);
      for (auto [v, u] : llvm::zip_equal(x, up))
        v = g.fmul(emitActivation(g, glu.getKind(), v), u);
    } else if (auto residual = dyn_cast<vit::ResidualOp>(op)) {
      SmallVector<Value> branch = load(1, true), scale;
      if (residual.getScale())
        scale = load(2, false);
      for (unsigned i = 0; i < kRun; ++i)
        x[i] = scale.empty() ? g.fadd(x[i], branch[i]) : g.fma(scale[i], branch[i], x[i]);
    } else if (auto quantize = dyn_cast<vit::QuantizeOp>(op)) {
      bool channel = quantize.getGranularity() == vit::Granularity::Channel;
      SmallVector<Value> scale =
          emitter.loadRun(operandOf(op, 1, args, pointers, false, channel), Value(), column);
      storeScales(g, epilogueResults(op, args, pointers)[1], channel, row, column, scale);
      for (auto [v, s] : llvm::zip_equal(x, scale))
        v = g.fmul(v, g.create<arith::DivFOp>(g.fconst(1.0f), s));
    } else if (auto dequantize = dyn_cast<vit::DequantizeOp>(op)) {
      SmallVector<Value> scale = emitter.loadRun(scaleOf(dequantize, args, pointers), row, column);
      for (auto [v, s] : llvm::zip_equal(x, scale))
        v = g.fmul(v, s);
    }
    // vit.convert: loading widens and storing narrows.
    emitter.beginColumns(column);
    emitter.emitRow(row, x);
  });
}

} // namespace

const Family nvptx::kElementwiseFamily = {
    [](Operation *op) {
      return isa<vit::ActOp, vit::GluOp, vit::ResidualOp, vit::ConvertOp, vit::QuantizeOp, vit::DequantizeOp>(op);
    },
    supportsElementwise, elementwiseSpecs, buildElementwise};
