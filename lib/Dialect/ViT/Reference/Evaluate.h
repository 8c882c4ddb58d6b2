//===- Evaluate.h - what the evaluators of the op families share --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/Reference/Interpreter.h"

#include <span>

namespace vitrify::vit::reference {

/// Values of a function's or region's SSA values, dropped after their last use.
class Environment {
public:
  const RefTensor &operator[](mlir::Value value) const { return *values.at(value); }
  const RefTensor *optional(mlir::Value value) const { return value ? values.at(value).get() : nullptr; }
  std::shared_ptr<const RefTensor> shared(mlir::Value value) const { return values.at(value); }
  void set(mlir::Value value, std::shared_ptr<const RefTensor> tensor) { values[value] = std::move(tensor); }
  void drop(mlir::Value value) { values.erase(value); }

private:
  std::map<mlir::Value, std::shared_ptr<const RefTensor>, bool (*)(mlir::Value, mlir::Value)> values{
      [](mlir::Value a, mlir::Value b) { return a.getAsOpaquePointer() < b.getAsOpaquePointer(); }};
};

using Results = std::vector<RefTensor>;

/// Segments of rows: `uniform` rows each, or the offsets of cu_seqlens. The error says what does not fit.
mlir::FailureOr<std::vector<int64_t>> segmentOffsets(mlir::Operation *op, std::optional<int64_t> uniform,
                                                     const RefTensor *cuSeqlens, int64_t rows);

/// f(x) of an activation, in f64.
double activate(ActKind kind, double x);

/// The epilogue's results for an accumulator [M, N] in f32; without a region, the accumulator itself.
mlir::FailureOr<Results> applyEpilogue(EpilogueOpInterface op, RefTensor accumulator, const Environment &values);

/// Accumulators of the ops with an epilogue.
mlir::FailureOr<RefTensor> accumulate(PatchEmbedOp op, const Environment &values);
mlir::FailureOr<RefTensor> accumulate(LinearOp op, const Environment &values);
mlir::FailureOr<RefTensor> accumulate(NormOp op, const Environment &values);
mlir::FailureOr<RefTensor> accumulate(AttentionOp op, const Environment &values);

/// Results of the others.
mlir::FailureOr<Results> evaluate(AssembleTokensOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(PosGatherOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(MergePatchesOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(EmbedOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(ScatterRowsOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(PoolOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(ResidualOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(ActOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(GluOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(GateOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(GroupTokensOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(GroupedLinearOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(RopeOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(CacheAppendOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(ConvertOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(QuantizeOp op, const Environment &values);
mlir::FailureOr<Results> evaluate(DequantizeOp op, const Environment &values);

/// A step of a weight's recipe (not vit.get and vit.read, which need the module).
mlir::FailureOr<RefTensor> evaluateRecipeOp(mlir::Operation *op, const Environment &values);

/// The tensor rounded to the element type of `type`.
RefTensor roundToType(RefTensor tensor, mlir::Type type);

/// Calls f(i) for i in [0, n) on the context's threads; f touches only what belongs to i.
void parallel(mlir::Operation *op, int64_t n, llvm::function_ref<void(int64_t)> f);

} // namespace vitrify::vit::reference
