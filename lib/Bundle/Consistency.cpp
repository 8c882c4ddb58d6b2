//===- Consistency.cpp - what must agree between the files of a bundle ---===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Consistency.h"

#include "PlanJson.h"

#include <algorithm>
#include <set>
#include <unordered_map>

using namespace vitrify;

/// Shapes are compared as they print, so that the order of the nodes does not matter.
static bool sameArguments(const std::vector<ManifestArgument> &arguments, const std::vector<PlanArgument> &theirs,
                          const PlanProgram &program, const std::vector<PlanSymbol> &symbols) {
  if (arguments.size() != theirs.size())
    return false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const PlanBuffer &buffer = program.buffers[theirs[i].buffer];
    if (arguments[i].name != theirs[i].name || arguments[i].dtype != buffer.dtype ||
        arguments[i].shape.size() != buffer.shape.size())
      return false;
    for (size_t d = 0; d < buffer.shape.size(); ++d)
      if (printPlanExpr(arguments[i].shape[d], symbols) != printPlanExpr(buffer.shape[d], program.symbols))
        return false;
  }
  return true;
}

static bool sameSymbols(const std::vector<PlanSymbol> &a, const std::vector<PlanSymbol> &b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const PlanSymbol &x, const PlanSymbol &y) {
    return x.name == y.name && x.min == y.min && x.tuned == y.tuned && x.max == y.max;
  });
}

Status vitrify::checkPlanAgainst(const Plan &plan, const Manifest &manifest, const ManifestTarget &target,
                                 const SafeTensorsHeader &weights) {
  std::string where = "plan of target '" + target.name + "': ";
  if (plan.target != target.name)
    return dataLoss(where + "it is for target '" + plan.target + "'");
  std::unordered_map<std::string, const TensorInfo *> tensors;
  for (const TensorInfo &tensor : weights.tensors)
    tensors.emplace(tensor.name, &tensor);
  for (const PlanWeight &weight : plan.weights) {
    auto it = tensors.find(weight.tensor);
    if (it == tensors.end())
      return dataLoss(where + "weight '" + weight.name + "': no tensor '" + weight.tensor + "' in the weights");
    const TensorInfo &found = *it->second;
    if (found.dtype != weight.dtype || found.shape != weight.shape)
      return dataLoss(where + "weight '" + weight.name + "' is " + std::string(dtypeName(weight.dtype)) +
                      shapeString(weight.shape) + ", tensor '" + weight.tensor + "' is " +
                      std::string(dtypeName(found.dtype)) + shapeString(found.shape));
  }
  for (const ManifestEntry &entry : manifest.entries) {
    auto named = [&](const PlanProgram &program) { return program.name == entry.name; };
    auto program = std::find_if(plan.programs.begin(), plan.programs.end(), named);
    if (program == plan.programs.end())
      return dataLoss(where + "no program for the entry '" + entry.name + "'");
    if (!sameSymbols(entry.symbols, program->symbols) ||
        !sameArguments(entry.inputs, program->inputs, *program, entry.symbols) ||
        !sameArguments(entry.outputs, program->outputs, *program, entry.symbols))
      return dataLoss(where + "program '" + entry.name + "' has other arguments than the manifest's entry");
  }
  std::set<std::string> kernels;
  for (const PlanKernel &kernel : plan.kernels)
    kernels.insert(kernel.name);
  for (const ManifestLayer &layer : target.layers)
    if (!layer.kernel.empty() && !kernels.count(layer.kernel))
      return dataLoss("layer '" + layer.name + "' of target '" + target.name + "' names kernel '" + layer.kernel +
                      "', which the plan lacks");
  return {};
}
