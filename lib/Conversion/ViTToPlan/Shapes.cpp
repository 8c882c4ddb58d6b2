//===- Shapes.cpp - sizes of values as expressions over an entry's symbols -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Shapes.h"

#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vitrify;
using Kind = PlanExpr::Kind;

namespace {

/// The operands of the root, as expressions of their own.
std::pair<PlanExpr, PlanExpr> operandsOf(const PlanExpr &e) {
  auto cut = [&](int32_t root) {
    PlanExpr part;
    part.nodes.assign(e.nodes.begin(), e.nodes.begin() + root + 1);
    return part;
  };
  return {cut(e.nodes.back().lhs), cut(e.nodes.back().rhs)};
}

std::optional<int64_t> constantOf(const PlanExpr &e) {
  const PlanExpr::Node &root = e.nodes.back();
  return root.kind == Kind::Constant ? std::optional<int64_t>(root.value) : std::nullopt;
}

} // namespace

PlanExpr vitrify::simplified(Kind kind, const PlanExpr &lhs, const PlanExpr &rhs) {
  auto l = constantOf(lhs), r = constantOf(rhs);
  if (l && r) {
    auto value = PlanExpr::binary(kind, PlanExpr(*l), PlanExpr(*r)).evaluate({});
    if (value)
      return PlanExpr(*value);
  }
  if (kind == Kind::Mul && l && !r)
    return simplified(kind, rhs, lhs);
  if (r && *r == 1 && (kind == Kind::Mul || kind == Kind::FloorDiv || kind == Kind::CeilDiv))
    return lhs;
  if (r && *r == 0 && (kind == Kind::Add || kind == Kind::Sub))
    return lhs;
  if (r && *r > 0 && lhs.nodes.back().kind == Kind::Mul) {
    auto [x, c] = operandsOf(lhs);
    if (auto factor = constantOf(c)) {
      if (kind == Kind::Mul)
        return simplified(Kind::Mul, x, PlanExpr(*factor * *r));
      if ((kind == Kind::FloorDiv || kind == Kind::CeilDiv) && *factor % *r == 0)
        return simplified(Kind::Mul, x, PlanExpr(*factor / *r));
    }
  }
  return PlanExpr::binary(kind, lhs, rhs);
}

PlanExpr vitrify::substitute(const PlanExpr &expr, ArrayRef<PlanExpr> values) {
  SmallVector<PlanExpr> built;
  for (const PlanExpr::Node &node : expr.nodes) {
    if (node.kind == Kind::Constant)
      built.push_back(PlanExpr(node.value));
    else if (node.kind == Kind::Symbol)
      built.push_back(values[node.value]);
    else
      built.push_back(simplified(node.kind, built[node.lhs], built[node.rhs]));
  }
  return built.back();
}

LogicalResult ShapeTable::addArguments(func::FuncOp func) {
  for (BlockArgument argument : func.getArguments()) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type)
      return func.emitError() << "argument " << argument.getArgNumber() << " of an entry must be a tensor, found "
                              << argument.getType();
    auto dims = func.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "vit.dims");
    unsigned next = 0;
    std::vector<PlanExpr> shape;
    for (int64_t size : type.getShape()) {
      if (!ShapedType::isDynamic(size)) {
        shape.push_back(PlanExpr(size));
        continue;
      }
      auto dim = dims && next < dims.size() ? dyn_cast<vit::DimAttr>(dims[next]) : vit::DimAttr();
      ++next;
      if (!dim)
        return func.emitError() << "argument " << argument.getArgNumber() << " needs a vit.dims entry for each of its "
                                << type.getNumDynamicDims() << " dynamic dimensions";
      PlanSymbol symbol{dim.getName().str(), dim.getMin(), dim.getTuned(), dim.getMax()};
      unsigned index = 0;
      while (index < allSymbols.size() && allSymbols[index].name != symbol.name)
        ++index;
      if (index == allSymbols.size())
        allSymbols.push_back(symbol);
      else if (allSymbols[index].min != symbol.min || allSymbols[index].tuned != symbol.tuned ||
               allSymbols[index].max != symbol.max)
        return func.emitError() << "dimension '" << symbol.name << "' has two different sets of bounds";
      shape.push_back(PlanExpr::symbol(index));
    }
    shapes[argument] = std::move(shape);
  }
  return success();
}

LogicalResult ShapeTable::addResults(Operation *op) {
  if (op->getNumResults() == 0)
    return success();
  if (auto group = dyn_cast<vit::GroupTokensOp>(op)) {
    const PlanExpr m = shapeOf(group.getGate())[0];
    PlanExpr blocks(group.getGate().getType().getDimSize(1));
    PlanExpr chunks = simplified(Kind::CeilDiv, m, PlanExpr(int64_t(group.getChunk())));
    shapes[group.getRows()] = {simplified(Kind::Mul, m, blocks)};
    shapes[group.getStarts()] = {simplified(Kind::Add, chunks, PlanExpr(1)), blocks};
    return success();
  }
  // Rows of the results; the other dimensions are those of the types.
  std::optional<PlanExpr> rows;
  auto rowsOf = [&](Value v) { return shapeOf(v)[0]; };
  auto staticRows = [](Value v) -> int64_t { return v ? cast<RankedTensorType>(v.getType()).getDimSize(0) : 0; };
  llvm::TypeSwitch<Operation *>(op)
      .Case<vit::PatchEmbedOp>([&](auto o) {
        const auto &pixels = shapeOf(o.getPixels());
        PlanExpr down = simplified(Kind::FloorDiv, pixels[o.heightAxis()], PlanExpr(int64_t(o.getPatchHeight())));
        PlanExpr across = simplified(Kind::FloorDiv, pixels[o.widthAxis()], PlanExpr(int64_t(o.getPatchWidth())));
        rows = simplified(Kind::Mul, pixels[0], simplified(Kind::Mul, down, across));
      })
      .Case<vit::AssembleTokensOp>([&](auto o) {
        int64_t extra = staticRows(o.getPrefix()) + staticRows(o.getRegisters());
        PlanExpr patches = rowsOf(o.getPatches());
        PlanExpr images = o.getUniform() ? simplified(Kind::FloorDiv, patches, PlanExpr(int64_t(*o.getUniform())))
                                         : simplified(Kind::Sub, rowsOf(o.getCuSeqlens()), PlanExpr(1));
        rows = o.getUniform() ? simplified(Kind::Mul, images, PlanExpr(int64_t(*o.getUniform()) + extra))
                              : simplified(Kind::Add, patches, simplified(Kind::Mul, images, PlanExpr(extra)));
      })
      .Case<vit::PoolOp>([&](auto o) {
        rows = o.getUniform() ? simplified(Kind::FloorDiv, rowsOf(o.getInput()), PlanExpr(int64_t(*o.getUniform())))
                              : simplified(Kind::Sub, rowsOf(o.getCuSeqlens()), PlanExpr(1));
      })
      .Case<vit::MergePatchesOp>([&](auto o) {
        rows = simplified(Kind::FloorDiv, rowsOf(o.getInput()), PlanExpr(int64_t(o.getFactor())));
      })
      .Case<vit::PosGatherOp>([&](auto o) { rows = rowsOf(o.getIndex()); })
      .Case<vit::EmbedOp>([&](auto o) { rows = rowsOf(o.getIds()); })
      .Case<vit::AttentionOp>([&](auto o) {
        rows = rowsOf(o.getQuery());
        if (o.getUniform() && o.getKvUniform() && staticRows(o.getQuery()) == int64_t(*o.getUniform()))
          rows = simplified(Kind::Mul, simplified(Kind::FloorDiv, rowsOf(o.getKey()), PlanExpr(int64_t(*o.getKvUniform()))),
                            PlanExpr(int64_t(*o.getUniform())));
      })
      .Case<vit::GetOp>([&](auto) { rows = PlanExpr(0); })
      .Case<tensor::ExtractSliceOp>([&](auto o) { rows = rowsOf(o.getSource()); })
      .Default([&](Operation *o) {
        if (isa<vit::ViTDialect>(o->getDialect()))
          rows = rowsOf(o->getOperand(0));
      });
  if (!rows)
    return failure();
  for (Value result : op->getResults()) {
    auto type = cast<RankedTensorType>(result.getType());
    std::vector<PlanExpr> shape;
    for (auto [axis, size] : llvm::enumerate(type.getShape()))
      shape.push_back(!ShapedType::isDynamic(size) ? PlanExpr(size) : axis == 0 ? *rows : PlanExpr(-1));
    shapes[result] = std::move(shape);
  }
  return success();
}

const std::vector<PlanExpr> &ShapeTable::shapeOf(Value value) const {
  auto found = shapes.find(value);
  assert(found != shapes.end() && "operands are added before their users");
  return found->second;
}
