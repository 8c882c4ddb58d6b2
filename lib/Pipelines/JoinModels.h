//===- JoinModels.h - several models as entries of one module -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <string>
#include <vector>

namespace vitrify {

/// Parses model files into one module. One file is itself. Of several, each one's function is named by its file
/// ("small.mlir": @small); symbols and layers of all but the first begin with that name and a slash, and paths of their
/// sources become absolute. Weights of equal values are one after vit-deduplicate-weights, as in one model.
/// Errors (emitted): a file that does not parse, two files of one name, a model of several functions, models whose
/// preprocess.json differ.
mlir::OwningOpRef<mlir::ModuleOp> parseModels(mlir::MLIRContext &context, const std::vector<std::string> &files);

} // namespace vitrify
