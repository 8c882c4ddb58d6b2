//===- Recipes.cpp - building and copying weight recipes in passes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Recipes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace vitrify::vit;

WeightOp RecipeBuilder::create(Location loc, StringRef name, RankedTensorType type,
                               llvm::function_ref<Value(OpBuilder &)> body) {
  OpBuilder builder(module.getContext());
  // Weights stand before the functions that use them.
  auto functions = module.getOps<func::FuncOp>();
  if (functions.empty())
    builder.setInsertionPointToEnd(module.getBody());
  else
    builder.setInsertionPoint(*functions.begin());
  std::string unique = name.str();
  for (int i = 2; symbols.lookup(unique); ++i)
    unique = (name + "." + std::to_string(i)).str();
  auto weight = WeightOp::create(builder, loc, unique, type);
  Block &block = weight.getBody().emplaceBlock();
  builder.setInsertionPointToStart(&block);
  Value result = body(builder);
  YieldOp::create(builder, loc, result);
  symbols.insert(weight);
  return weight;
}

GetOp RecipeBuilder::get(OpBuilder &builder, Location loc, WeightOp weight) {
  return GetOp::create(builder, loc, weight.getType(), weight.getSymName());
}

std::string vitrify::vit::valueName(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    auto func = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
    auto name = func ? func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "vit.name") : StringAttr();
    return name ? name.str() : "";
  }
  if (auto layers = value.getDefiningOp()->getAttrOfType<ArrayAttr>("layers"); layers && !layers.empty())
    return cast<StringAttr>(layers[layers.size() - 1]).str();
  return "";
}

bool vitrify::vit::givesScores(LinearOp linear) {
  return llvm::any_of(linear->getUsers(), llvm::IsaPred<GateOp>);
}
