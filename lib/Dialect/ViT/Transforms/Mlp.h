//===- Mlp.h - neurons between two linears -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Bounds.h"
#include "Recipes.h"

namespace vitrify::vit {

/// Neurons: one or two linears that make them, elementwise ops, and the linear that sums them up.
struct Mlp {
  LinearOp second;
  llvm::SmallVector<LinearOp> firsts;              ///< two for a gated linear unit
  llvm::SmallVector<mlir::Operation *> between;    ///< act, glu, convert; their results have a column a neuron
  GateOp gate;                                     ///< of blocks of neurons, or null
  int64_t block = 1;                               ///< neurons a block

  int64_t neurons() const { return LinearOp(second).getWeight().getType().getDimSize(1); }
  std::string name() const { return mlir::cast<mlir::StringAttr>(LinearOp(firsts[0]).getLayers()[0]).getValue().str(); }
};

/// MLPs that share a weight with an entry a neuron: what leaves one leaves all.
struct MlpGroup {
  llvm::SmallVector<Mlp> mlps;
  int64_t neurons = 0;
  int64_t block = 1;
  int64_t leastBlocks = 0;  ///< that a gate needs to choose from
  bool second = false;      ///< all multiply by the same second weight
  std::string refusal;      ///< why nothing can leave, or empty
};

/// All MLPs of the module, with float weights that are weights of the module, in groups. What almost is one has no entry.
llvm::SmallVector<MlpGroup> findMlpGroups(mlir::ModuleOp module);

/// Neurons whose contribution is 0 for every input: their value is, or every weight that it is multiplied by.
std::vector<bool> deadNeurons(const Mlp &mlp, WeightValues &values);

/// Adds numbers to what a linear's accumulator starts with: to its bias if it has one.
void shiftBias(LinearOp linear, llvm::ArrayRef<float> shift, RecipeBuilder &recipes);

} // namespace vitrify::vit
