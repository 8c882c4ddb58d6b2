//===- Shapes.h - sizes of values as expressions over an entry's symbols -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace vitrify {

/// The dimensions of every tensor of a function, over the symbols that `vit.dims` declares on its arguments.
class ShapeTable {
public:
  /// Reads the arguments; an error is emitted at the function: a dynamic dimension without a symbol, or one symbol with
  /// two sets of bounds.
  mlir::LogicalResult addArguments(mlir::func::FuncOp func);
  /// Derives the results of an op from its operands. Fails silently for an op it has no rule for.
  mlir::LogicalResult addResults(mlir::Operation *op);

  const std::vector<PlanExpr> &shapeOf(mlir::Value value) const;
  const std::vector<PlanSymbol> &symbols() const { return allSymbols; }

private:
  llvm::DenseMap<mlir::Value, std::vector<PlanExpr>> shapes;
  std::vector<PlanSymbol> allSymbols;
};

/// lhs op rhs with constants folded, and 1 * x, x / 1, (x * c) / c reduced: rows of one image print as they are meant.
PlanExpr simplified(PlanExpr::Kind kind, const PlanExpr &lhs, const PlanExpr &rhs);
/// `expr` with its symbols replaced.
PlanExpr substitute(const PlanExpr &expr, llvm::ArrayRef<PlanExpr> values);

} // namespace vitrify
