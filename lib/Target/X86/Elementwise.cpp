//===- Elementwise.cpp - activations, GLU, residual and conversions on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Matrices are walked by rows, since their operands may be views; tensors of other ranks as one sequence.
//===----------------------------------------------------------------------===//
#include "KernelFrame.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

static constexpr int64_t kElementsPerUnit = 8192;

static bool isMatrix(Operation *op) { return cast<RankedTensorType>(op->getResult(0).getType()).getRank() == 2; }

static int64_t rowsPerUnit(Operation *op) {
  int64_t columns = cast<RankedTensorType>(op->getResult(0).getType()).getDimSize(1);
  return std::max<int64_t>(1, kElementsPerUnit / std::max<int64_t>(columns, 1));
}

static StringRef prefixOf(Operation *op) {
  return TypeSwitch<Operation *, StringRef>(op)
      .Case<vit::ActOp>([](auto act) { return stringifyActKind(act.getKind()); })
      .Case<vit::GluOp>([](auto) { return "glu"; })
      .Case<vit::ResidualOp>([](auto) { return "residual"; })
      .Default([](auto) { return "convert"; });
}

static void describeElementwise(KernelFrame &frame) {
  Operation *op = frame.op;
  bool matrix = isMatrix(op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    frame.use(i, /*flat=*/!matrix);
  frame.useResults(/*flat=*/!matrix);
  if (!frame.reason.empty())
    return;
  using Kind = PlanExpr::Kind;
  PlanExpr units;
  if (matrix) {
    units = PlanExpr::binary(Kind::CeilDiv, frame.operandDim(0, 0), PlanExpr(rowsPerUnit(op)));
  } else {
    PlanExpr total(1);
    for (int64_t dim = 0; dim < cast<RankedTensorType>(op->getResult(0).getType()).getRank(); ++dim)
      total = PlanExpr::binary(Kind::Mul, total, frame.operandDim(0, dim));
    units = PlanExpr::binary(Kind::CeilDiv, total, PlanExpr(kElementsPerUnit));
  }
  frame.finish(prefixOf(op), "row", "f32", units);
}

/// The result at a place from lanes of the operands there.
static Value emitValue(LaneBuilder &b, Operation *op, MathMode mode,
                       llvm::function_ref<Value(unsigned operand)> load) {
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  Value result = TypeSwitch<Operation *, Value>(op)
                     .Case<vit::ActOp>([&](auto act) { return buildActivation(b, act.getKind(), load(0), mode); })
                     .Case<vit::GluOp>([&](auto glu) {
                       return b.mul(buildActivation(b, glu.getKind(), load(0), mode), load(1));
                     })
                     .Case<vit::ResidualOp>([&](auto residual) {
                       return residual.getScale() ? b.fma(load(2), load(1), load(0)) : b.add(load(0), load(1));
                     })
                     .Default([&](auto) { return load(0); });
  if (element.isInteger(8))
    return buildRoundI8(b, result);
  return isa<Float8E4M3FNType>(element) ? buildRoundE4M3(b, result) : result;
}

static void buildElementwise(KernelFrame &frame, LaneBuilder &b) {
  Operation *op = frame.op;
  MathMode mode = EpilogueEmitter::mathMode(op);
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  Value result = frame.result(0);
  if (isMatrix(op)) {
    forRowsOfUnits(frame, b, frame.dimValue(b, false, 0, 0), rowsPerUnit(op), [&](Value row) {
      b.forColumns(type.getDimSize(1), [&](Value column, unsigned valid) {
        Value value = emitValue(b, op, mode, [&](unsigned i) {
          Value memref = frame.operand(i);
          bool vector = cast<MemRefType>(memref.getType()).getRank() == 1;
          return vector ? b.load(memref, column, valid) : b.load(memref, {row, column}, valid);
        });
        b.store(value, result, {row, column}, valid);
      });
    });
    return;
  }
  Value total = b.index(1);
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    total = arith::MulIOp::create(b, total, frame.dimValue(b, false, 0, dim));
  Value first = b.mulIndex(frame.begin, kElementsPerUnit);
  Value last = b.minIndex(b.mulIndex(frame.end, kElementsPerUnit), total);
  Value whole = b.addIndex(first, b.mulIndex(b.divIndex(b.subIndex(last, first), b.lanes), b.lanes));
  auto emit = [&](Value at, unsigned valid) {
    Value value = emitValue(b, op, mode, [&](unsigned i) { return b.load(frame.operand(i), at, valid); });
    b.store(value, result, at, valid);
  };
  b.loop(first, whole, b.lanes, [&](Value at) { emit(at, b.lanes); });
  b.loop(whole, last, 1, [&](Value at) { emit(at, 1); });
}

const Family x86::kElementwise = {describeElementwise, buildElementwise};
