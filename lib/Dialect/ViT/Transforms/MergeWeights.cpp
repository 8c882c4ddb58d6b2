//===- MergeWeights.cpp - one vit.weight for equal recipes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/OperationSupport.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_MERGEWEIGHTS
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

bool equalBodies(WeightOp a, WeightOp b) {
  return a.getType() == b.getType() &&
         OperationEquivalence::isRegionEquivalentTo(&a.getBody(), &b.getBody(), OperationEquivalence::IgnoreLocations);
}

class MergeWeightsPass : public vitrify::vit::impl::MergeWeightsBase<MergeWeightsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    // A merge can make the recipes over the merged weights equal: repeat until nothing changes.
    for (bool changed = true; changed;) {
      changed = false;
      llvm::StringMap<SmallVector<WeightOp>> kept; // by the names of the body's ops and symbols: equal bodies, equal bucket
      DenseMap<StringAttr, StringAttr> replacement;
      for (auto weight : llvm::make_early_inc_range(module.getOps<WeightOp>())) {
        std::string bucket;
        llvm::raw_string_ostream os(bucket);
        weight.getBody().walk([&](Operation *op) {
          os << op->getName() << op->getAttrDictionary();
        });
        SmallVector<WeightOp> &candidates = kept[bucket];
        WeightOp *same = llvm::find_if(candidates, [&](WeightOp other) { return equalBodies(other, weight); });
        if (same == candidates.end()) {
          candidates.push_back(weight);
          continue;
        }
        emitRemark(weight.getLoc()) << "weight '" << weight.getSymName() << "' is '" << same->getSymName() << "'";
        replacement[weight.getSymNameAttr()] = same->getSymNameAttr();
        weight.erase();
        ++merged;
        changed = true;
      }
      if (!changed)
        break;
      // Not only vit.get names weights: so do the scales of E4M3 values.
      AttrTypeReplacer replacer;
      replacer.addReplacement([&](FlatSymbolRefAttr name) -> std::optional<Attribute> {
        if (StringAttr other = replacement.lookup(name.getAttr()))
          return FlatSymbolRefAttr::get(other);
        return std::nullopt;
      });
      module.walk([&](Operation *op) { replacer.replaceElementsIn(op); });
    }
  }
};

} // namespace
