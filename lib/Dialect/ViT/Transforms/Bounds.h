//===- Bounds.h - what values can be, from weights alone -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Sources.h"

#include "llvm/ADT/StringMap.h"

#include <cmath>

namespace vitrify::vit {

/// Every value that something can have lies in [low, high].
struct Bounds {
  double low = -HUGE_VAL, high = HUGE_VAL;
  bool isZero() const { return low == 0 && high == 0; }
};

/// Weights that come straight from a file, as numbers; read once.
class WeightValues {
public:
  WeightValues(mlir::ModuleOp module, const SourceFiles &files) : symbols(module), files(files) {}
  /// The elements, or an empty list when the value is no weight that is a float tensor of an opened file.
  const std::vector<float> &of(mlir::Value value);

private:
  mlir::SymbolTable symbols;
  const SourceFiles &files;
  llvm::StringMap<std::vector<float>> known;
};

/// Bounds of `weights . x + shift` for one row of weights [K] over all x that `input` can be. Known for the output of a
/// layer or RMS norm: before gamma and beta it has at most the Euclidean norm sqrt(K), and for a layer norm the sum 0.
/// Widened by what rounding in f32 can add.
Bounds boundsOfProduct(mlir::Value input, llvm::ArrayRef<float> weights, double shift, WeightValues &values);

/// Bounds of what column `column` of a linear's epilogue yields, for an accumulator within `accumulator`. `gateOf` gives
/// the bounds of operands that depend on the row, by operand index.
Bounds boundsOfEpilogue(LinearOp linear, int64_t column, Bounds accumulator, WeightValues &values,
                        llvm::function_ref<Bounds(unsigned)> gateOf);

/// Bounds of an activation's result.
Bounds boundsOfAct(ActKind kind, Bounds x);

/// Blocks of a gate that are off for every token.
std::vector<bool> blocksNeverOn(GateOp gate, WeightValues &values);

} // namespace vitrify::vit
