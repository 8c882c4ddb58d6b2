//===- WeightsToRecipe.h - vit.source and vit.weight to a weight store -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Weights/WeightStore.h"

#include "mlir/IR/BuiltinOps.h"

namespace vitrify {

/// The recipe of each vit.weight and the file of each vit.source of the module. Paths of sources are relative to
/// `baseFolder`. Errors are emitted at the op: a file that is missing or no longer the one the module names, a tensor of
/// another type, a recipe that does not hold together.
mlir::LogicalResult fillWeightStore(mlir::ModuleOp module, const std::string &baseFolder, WeightStore &store);

} // namespace vitrify
