//===- ExposeValues.cpp - every named value becomes a result of its function -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_EXPOSEVALUES
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify::vit;

namespace {

class ExposeValuesPass : public vitrify::vit::impl::ExposeValuesBase<ExposeValuesPass> {
  void runOnOperation() override {
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (!func.isExternal() && failed(expose(func)))
        return signalPassFailure();
  }

  LogicalResult expose(func::FuncOp func) {
    if (!func.getBody().hasOneBlock())
      return func.emitError() << "expected one block";
    auto ret = cast<func::ReturnOp>(func.getBody().front().getTerminator());
    llvm::StringSet<> names;
    for (unsigned i = 0; i < func.getNumResults(); ++i)
      if (auto name = func.getResultAttrOfType<StringAttr>(i, "vit.name"))
        names.insert(name);
    SmallVector<unsigned> indices;
    SmallVector<Type> types;
    SmallVector<DictionaryAttr> attributes;
    SmallVector<Value> values;
    Builder builder(func.getContext());
    for (Operation &op : func.getBody().front().without_terminator()) {
      auto layers = op.getAttrOfType<ArrayAttr>("layers");
      if (!layers)
        continue;
      for (OpResult result : op.getResults()) {
        auto type = dyn_cast<RankedTensorType>(result.getType());
        if (!type)
          continue;
        std::string name = "value:" + llvm::join(layers.getAsValueRange<StringAttr>(), "+");
        if (op.getNumResults() > 1)
          name += "." + std::to_string(result.getResultNumber());
        if (!names.insert(name).second)
          return op.emitError() << "two values are called '" << name << "'";
        indices.push_back(func.getNumResults());
        types.push_back(type);
        attributes.push_back(builder.getDictionaryAttr(builder.getNamedAttr("vit.name", builder.getStringAttr(name))));
        values.push_back(result);
        ++exposed;
      }
    }
    if (failed(func.insertResults(indices, types, attributes)))
      return failure();
    ret.getOperandsMutable().append(values);
    return success();
  }
};

} // namespace
