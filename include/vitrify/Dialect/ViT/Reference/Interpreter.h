//===- Interpreter.h - evaluates vit modules, slowly and plainly -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The oracle of every later stage: each op by its formula, sums in f64, results
// rounded once to the type of the result. It is itself checked against PyTorch.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Reference/Value.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace vitrify::vit {

/// Sees every result of an op that names layers, right after it was computed. `layers` are the names.
using ValueObserver =
    std::function<void(mlir::Operation *op, mlir::ArrayAttr layers, unsigned resultNumber, const RefTensor &value)>;

/// Evaluates functions of one module. Weights are evaluated when first used and kept.
class Interpreter {
public:
  /// Paths of vit.source are relative to `baseFolder`.
  Interpreter(mlir::ModuleOp module, std::string baseFolder);
  ~Interpreter();

  void setObserver(ValueObserver seen) { observer = std::move(seen); }

  /// Results of `function` for these arguments, whose types must fit. Errors are emitted at the op that failed.
  mlir::FailureOr<std::vector<RefTensor>> run(mlir::func::FuncOp function, std::vector<RefTensor> arguments);

  /// The value of a vit.weight. The error names a file that changed, a tensor of another type, a weight that derives
  /// from itself.
  mlir::FailureOr<std::shared_ptr<const RefTensor>> weight(mlir::FlatSymbolRefAttr name, mlir::Operation *user);

private:
  struct Sources;
  mlir::ModuleOp module;
  std::string baseFolder;
  std::unique_ptr<Sources> sources;
  std::map<std::string, std::shared_ptr<const RefTensor>> weights; ///< null while being evaluated
  ValueObserver observer;
};

} // namespace vitrify::vit
