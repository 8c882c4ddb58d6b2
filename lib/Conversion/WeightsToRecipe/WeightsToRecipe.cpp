//===- WeightsToRecipe.cpp - vit.source and vit.weight to a weight store -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Conversion/WeightsToRecipe/WeightsToRecipe.h"

#include "vitrify/Dialect/ViT/IR/ElementTypes.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace vitrify;

namespace {

vitrify::TensorType tensorType(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return {*dtypeOf(tensor.getElementType()), {tensor.getShape().begin(), tensor.getShape().end()}};
}

StatusOr<RecipeValue> literalOf(Recipe &recipe, vit::LiteralOp op) {
  auto elements = dyn_cast<DenseElementsAttr>(op.getValue());
  if (!elements)
    return invalidArgument("a literal must be a dense attribute");
  vitrify::TensorType type = tensorType(op.getType());
  ArrayRef<char> raw = elements.getRawData();
  std::vector<std::byte> bytes(type.bytesOfRows(type.rows()));
  if (raw.empty() || bytes.size() % raw.size() != 0)
    return invalidArgument("a literal of " + type.str() + " with " + std::to_string(raw.size()) + " bytes");
  for (size_t i = 0; i < bytes.size(); ++i) // a splat holds one element
    bytes[i] = static_cast<std::byte>(raw[i % raw.size()]);
  return recipe.literal(type, std::move(bytes));
}

std::vector<int64_t> blockOf(std::optional<ArrayRef<int64_t>> block) {
  return block ? std::vector<int64_t>(block->begin(), block->end()) : std::vector<int64_t>();
}

StatusOr<RecipeValue> convert(Recipe &recipe, Operation *op, const DenseMap<Value, RecipeValue> &values) {
  using Kind = RecipeNode::Kind;
  using Result = StatusOr<RecipeValue>;
  auto in = [&](Value v) { return values.lookup(v); };
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<vit::ReadOp>([&](auto o) { return recipe.read(o.getSource().str(), o.getTensor().str(), tensorType(o.getType())); })
      .Case<vit::LiteralOp>([&](auto o) { return literalOf(recipe, o); })
      .Case<vit::GetOp>([&](auto o) { return recipe.get(o.getName().str(), tensorType(o.getType())); })
      .Case<vit::SliceOp>([&](auto o) { return recipe.slice(in(o.getInput()), o.getAxis(), o.getBegin(), o.getEnd()); })
      .Case<vit::GatherOp>([&](auto o) { return recipe.gather(in(o.getInput()), o.getAxis(), o.getIndices().vec()); })
      .Case<vit::ConcatOp>([&](auto o) {
        std::vector<RecipeValue> parts;
        for (Value v : o.getInputs())
          parts.push_back(in(v));
        return recipe.concat(parts, o.getAxis());
      })
      .Case<vit::TransposeOp>([&](auto o) { return recipe.transpose(in(o.getInput())); })
      .Case<vit::ReshapeOp>([&](auto o) { return recipe.reshape(in(o.getInput()), tensorType(o.getType()).shape); })
      .Case<vit::CastOp>([&](auto o) { return recipe.cast(in(o.getInput()), tensorType(o.getType()).dtype); })
      .Case<vit::AmaxOp>([&](auto o) {
        if (auto block = o.getBlock())
          return recipe.amaxBlocks(in(o.getInput()), block->vec(), o.getDivisor().convertToDouble());
        return recipe.amax(in(o.getInput()), o.getAxis().has_value(), o.getDivisor().convertToDouble());
      })
      .Case<vit::SumOp>([&](auto o) { return recipe.sum(in(o.getInput())); })
      .Case<vit::RecipOp>([&](auto o) { return recipe.recip(in(o.getInput())); })
      .Case<vit::MulOp>([&](auto o) { return recipe.binary(Kind::Mul, in(o.getLhs()), in(o.getRhs()), o.getColumns()); })
      .Case<vit::AddOp>([&](auto o) { return recipe.binary(Kind::Add, in(o.getLhs()), in(o.getRhs()), o.getColumns()); })
      .Case<vit::SubOp>([&](auto o) { return recipe.binary(Kind::Sub, in(o.getLhs()), in(o.getRhs()), o.getColumns()); })
      .Case<vit::RoundOp>([&](auto o) {
        return recipe.round(in(o.getInput()), in(o.getScale()), blockOf(o.getBlock()), tensorType(o.getType()).dtype);
      })
      .Case<vit::DequantOp>([&](auto o) { return recipe.dequant(in(o.getCodes()), in(o.getScale()), blockOf(o.getBlock())); })
      .Case<vit::BlocksOp>([&](auto o) { return recipe.blocks(in(o.getCodes()), in(o.getScales())); })
      .Case<vit::PadOp>([&](auto o) { return recipe.pad(in(o.getInput()), o.getAxis(), o.getMultiple()); })
      .Default([](Operation *o) -> Result {
        return invalidArgument("'" + o->getName().getStringRef().str() + "' is no recipe op");
      });
}

LogicalResult addWeight(vit::WeightOp weight, WeightStore &store) {
  Recipe recipe;
  DenseMap<Value, RecipeValue> values;
  for (Operation &op : weight.getBody().front()) {
    if (auto yield = dyn_cast<vit::YieldOp>(op)) {
      Status status = recipe.yield(values.lookup(yield.getOperand(0)));
      if (!status.ok())
        return yield.emitError() << status.message();
      continue;
    }
    auto value = convert(recipe, &op, values);
    if (!value)
      return op.emitError() << value.status().message();
    values[op.getResult(0)] = *value;
  }
  Status status = store.addWeight(weight.getSymName().str(), std::move(recipe));
  return status.ok() ? success() : weight.emitError() << status.message();
}

} // namespace

LogicalResult vitrify::fillWeightStore(ModuleOp module, const std::string &baseFolder, WeightStore &store) {
  for (auto source : module.getOps<vit::SourceOp>()) {
    SmallString<256> path(source.getPath());
    if (llvm::sys::path::is_relative(path) && !baseFolder.empty()) {
      path = baseFolder;
      llvm::sys::path::append(path, source.getPath());
    }
    auto digest = parseDigest(source.getHeaderSha256().str());
    if (!digest)
      return source.emitError() << digest.status().message();
    Status status = store.addSource(source.getSymName().str(), path.str().str(), source.getSize(), *digest);
    if (!status.ok())
      return source.emitError() << status.message();
  }
  for (auto weight : module.getOps<vit::WeightOp>())
    if (failed(addWeight(weight, store)))
      return failure();
  Status status = store.check();
  return status.ok() ? success() : module.emitError() << status.message();
}
