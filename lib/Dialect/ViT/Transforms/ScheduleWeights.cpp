//===- ScheduleWeights.cpp - orders weights by first use and drops those that nothing uses -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Report.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

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
    tellUnshared(symbols);
  }

  void tellUnshared(SymbolTable &symbols);
};

/// Says which tensors of the checkpoint ended up in several stored weights, as when layers that share one compute in
/// different formats or join it with different others, and what that costs.
void ScheduleWeightsPass::tellUnshared(SymbolTable &symbols) {
  ModuleOp module = getOperation();
  llvm::SetVector<Operation *> stored;
  for (auto func : module.getOps<func::FuncOp>())
    func.walk([&](GetOp get) {
      if (auto weight = symbols.lookup<WeightOp>(get.getName()))
        stored.insert(weight);
    });
  llvm::MapVector<std::pair<StringRef, StringRef>, std::pair<ReadOp, llvm::SetVector<Operation *>>> holders;
  for (Operation *root : stored) {
    std::function<void(Operation *)> visit = [&](Operation *from) {
      from->walk([&](Operation *op) {
        if (auto read = dyn_cast<ReadOp>(op)) {
          auto &[first, weights] = holders[{read.getSource(), read.getTensor()}];
          first = read;
          weights.insert(root);
        } else if (auto get = dyn_cast<GetOp>(op)) {
          if (auto weight = symbols.lookup<WeightOp>(get.getName()))
            visit(weight);
        }
      });
    };
    visit(root);
  }
  Builder builder(module.getContext());
  for (auto &[tensor, holder] : holders) {
    auto &[read, weights] = holder;
    int64_t count = cast<RankedTensorType>(read.getType()).getNumElements(), bytes = 0;
    SmallVector<StringRef> names;
    for (Operation *op : weights) {
      auto type = cast<RankedTensorType>(cast<WeightOp>(op).getType());
      if (type.getNumElements() < count) // a scale or a sum of it, or a part
        continue;
      if (!names.empty())
        bytes += count * type.getElementTypeBitWidth() / 8;
      names.push_back(cast<WeightOp>(op).getSymName());
    }
    if (names.size() < 2)
      continue;
    emitRemark(read.getLoc()) << "tensor '" << tensor.second << "' is in " << names.size() << " stored weights ("
                              << llvm::join(names, ", ") << "): " << bytes << " bytes more than if they shared it";
    appendReport(module, "unshared",
                 {builder.getNamedAttr("tensor", builder.getStringAttr(tensor.second)),
                  builder.getNamedAttr("weights", builder.getStrArrayAttr(names)),
                  builder.getNamedAttr("extra_bytes", builder.getI64IntegerAttr(bytes))});
  }
}

} // namespace
