//===- Recipes.h - building and copying weight recipes in passes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace vitrify::vit {

/// Adds derived weights to a module. Names are unique by construction: a suffix `.2`, `.3`, ... is added when taken.
class RecipeBuilder {
public:
  explicit RecipeBuilder(mlir::ModuleOp module) : module(module), symbols(module) {}

  /// A new weight whose region `body` builds; `body` returns the value to yield.
  WeightOp create(mlir::Location loc, llvm::StringRef name, mlir::RankedTensorType type,
                  llvm::function_ref<mlir::Value(mlir::OpBuilder &)> body);
  /// `vit.get` of a weight at the builder's insertion point.
  static GetOp get(mlir::OpBuilder &builder, mlir::Location loc, WeightOp weight);
  WeightOp lookup(llvm::StringRef name) { return symbols.lookup<WeightOp>(name); }

private:
  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
};

/// The name a value has in ranges, plans and reports: the last layer of the op that makes it; "" for arguments without one.
std::string valueName(mlir::Value value);

/// Whether a vit.gate chooses by what the linear computes: one bit of it may turn a block on or off.
bool givesScores(LinearOp linear);

} // namespace vitrify::vit
