//===- ScheduleWeights.cpp - orders weights by first use and drops those that nothing uses -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_SCHEDULEWEIGHTS
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

class ScheduleWeightsPass : public vitrify::vit::impl::ScheduleWeightsBase<ScheduleWeightsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    SmallVector<WeightOp> order;
    DenseSet<Operation *> reached;
    // What a recipe reads comes before it.
    std::function<void(Operation *)> visit = [&](Operation *root) {
      root->walk([&](GetOp get) {
        auto weight = symbols.lookup<WeightOp>(get.getName());
        if (!weight || !reached.insert(weight).second)
          return;
        visit(weight);
        order.push_back(weight);
      });
    };
    for (auto func : module.getOps<func::FuncOp>())
      visit(func);
    for (auto weight : llvm::make_early_inc_range(module.getOps<WeightOp>()))
      if (!reached.contains(weight)) {
        weight.erase();
        ++dropped;
      }
    auto functions = module.getOps<func::FuncOp>();
    if (functions.empty())
      return;
    Operation *first = *functions.begin();
    for (WeightOp weight : order)
      weight->moveBefore(first);
  }
};

} // namespace
