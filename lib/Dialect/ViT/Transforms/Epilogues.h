//===- Epilogues.h - linears with one more step at the start of their epilogue -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"

namespace vitrify::vit {

/// Replaces `op` by a linear of `input` and `weight` whose epilogue begins with `step`: it is given the accumulator and the
/// element of `operand` that `map` selects (vectors both where the epilogue sees groups of columns), and returns what the old
/// epilogue takes for the accumulator.
LinearOp prependToEpilogue(LinearOp op, mlir::Value input, mlir::Value weight, mlir::Value operand, mlir::AffineMap map,
                           llvm::function_ref<mlir::Value(mlir::OpBuilder &, mlir::Value, mlir::Value)> step);

} // namespace vitrify::vit
