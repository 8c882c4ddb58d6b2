//===- Mlp.cpp - neurons between two linears -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Mlp.h"

#include "Epilogues.h"

#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

bool isFloatWeight(Value value) {
  return value.getDefiningOp<GetOp>() && isa<FloatType>(getElementTypeOrSelf(value.getType())) &&
         getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth() >= 16;
}

bool isColumn(AffineMap map) { return map.getNumResults() == 1 && map.getResult(0) == getAffineDimExpr(1, map.getContext()); }

/// g of (m, n floordiv g), or 0.
int64_t blockOf(AffineMap map) {
  if (map.getNumResults() != 2 || map.getResult(0) != getAffineDimExpr(0, map.getContext()))
    return 0;
  auto binary = dyn_cast<AffineBinaryOpExpr>(map.getResult(1));
  auto g = binary ? dyn_cast<AffineConstantExpr>(binary.getRHS()) : AffineConstantExpr();
  return g && binary.getKind() == AffineExprKind::FloorDiv ? g.getValue() : 0;
}

/// Plain linear of one result: rows and epilogue columns can leave it.
bool isPlain(LinearOp op) {
  return op && op.getGroup() == 1 && op->getNumResults() == 1 && !op.getXScales() && !op.getWScales() && isFloatWeight(op.getWeight());
}

/// Whether entries of this linear's columns can leave, all of its epilogue's operands being scalars, entries a row, weights
/// with an entry a column, or (if `mlp` is given) one gate of blocks.
bool canNarrow(LinearOp op, Mlp *mlp) {
  if (!isPlain(op) || !op.getResult(0).hasOneUse())
    return false;
  for (auto [operand, map] : llvm::zip(op.getEpilogueIns(), op.getMaps().getAsValueRange<AffineMapAttr>())) {
    if (map.getNumResults() == 0 || (map.getNumResults() == 1 && map.getResult(0) == getAffineDimExpr(0, op.getContext())))
      continue;
    if (isColumn(map)) {
      if (!isFloatWeight(operand))
        return false;
      continue;
    }
    auto gate = operand.getDefiningOp<GateOp>();
    int64_t block = blockOf(map);
    if (!mlp || !gate || !block || mlp->gate || !canNarrow(gate.getScores().getDefiningOp<LinearOp>(), nullptr) ||
        llvm::any_of(gate->getUsers(), [&](Operation *user) { return user != op; }))
      return false;
    mlp->gate = gate;
    mlp->block = block;
  }
  return !op.getActive() || (mlp && mlp->gate && op.getActive() == mlp->gate.getResult());
}

std::optional<Mlp> match(LinearOp second) {
  if (!isPlain(second) || second.getActive())
    return std::nullopt;
  Mlp mlp;
  mlp.second = second;
  SmallVector<Value> open = {second.getInput()};
  while (!open.empty()) {
    Value value = open.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (!op || !value.hasOneUse())
      return std::nullopt;
    if (auto linear = dyn_cast<LinearOp>(op)) {
      if (!canNarrow(linear, &mlp))
        return std::nullopt;
      mlp.firsts.push_back(linear);
    } else if (auto glu = dyn_cast<GluOp>(op)) {
      mlp.between.push_back(op);
      open.append({glu.getUp(), glu.getGate()});
    } else if (isa<ActOp, ConvertOp>(op)) {
      mlp.between.push_back(op);
      open.push_back(op->getOperand(0));
    } else {
      return std::nullopt;
    }
  }
  // Attention's output projection and the like have no first linear of the same columns.
  if (llvm::any_of(mlp.firsts, [&](LinearOp first) { return first.getAccumulatorColumns() != mlp.neurons(); }))
    return std::nullopt;
  bool computes = !mlp.between.empty() || !mlp.firsts[0].getEpilogue().empty();
  return computes ? std::optional(mlp) : std::nullopt;
}

/// Weights with an entry a neuron (or a block), by symbol, each with what its entries are along.
void forWeights(const Mlp &mlp, llvm::function_ref<void(GetOp)> visit) {
  auto visitLinear = [&](LinearOp linear) {
    visit(linear.getWeight().getDefiningOp<GetOp>());
    for (auto [operand, map] : llvm::zip(linear.getEpilogueIns(), linear.getMaps().getAsValueRange<AffineMapAttr>()))
      if (isColumn(map))
        visit(operand.getDefiningOp<GetOp>());
  };
  for (LinearOp first : mlp.firsts)
    visitLinear(first);
  if (mlp.gate)
    visitLinear(GateOp(mlp.gate).getScores().getDefiningOp<LinearOp>());
  visit(LinearOp(mlp.second).getWeight().getDefiningOp<GetOp>());
}

/// Uses of the weights in the MLPs, as (operation, operand) pairs.
int64_t usesOf(const Mlp &mlp, StringRef symbol) {
  int64_t uses = 0;
  forWeights(mlp, [&](GetOp get) { uses += get.getName() == symbol; });
  return uses;
}

} // namespace

SmallVector<MlpGroup> vitrify::vit::findMlpGroups(ModuleOp module) {
  SmallVector<Mlp> mlps;
  module.walk([&](LinearOp op) {
    if (auto mlp = match(op))
      mlps.push_back(std::move(*mlp));
  });
  llvm::EquivalenceClasses<size_t> classes;
  llvm::StringMap<size_t> firstUser;
  for (auto [i, mlp] : llvm::enumerate(mlps)) {
    classes.insert(i);
    forWeights(mlp, [&](GetOp get) {
      auto [place, isNew] = firstUser.try_emplace(get.getName(), i);
      classes.unionSets(place->second, i);
    });
  }
  llvm::MapVector<size_t, MlpGroup> groups;
  for (auto [i, mlp] : llvm::enumerate(mlps))
    groups[classes.getLeaderValue(i)].mlps.push_back(mlp);

  llvm::StringMap<int64_t> uses; // of each weight, as operands and in recipes
  module.walk([&](GetOp get) { uses[get.getName()] += get->getParentOfType<WeightOp>() ? 1 : std::distance(get->use_begin(), get->use_end()); });
  SmallVector<MlpGroup> result;
  for (auto &[leader, group] : groups) {
    Mlp &first = group.mlps[0];
    group.neurons = first.neurons();
    group.block = first.block;
    group.second = true;
    auto secondWeight = [](const Mlp &mlp) { return LinearOp(mlp.second).getWeight().getDefiningOp<GetOp>().getName(); };
    llvm::StringMap<int64_t> inside;
    for (Mlp &mlp : group.mlps) {
      if (mlp.neurons() != group.neurons || mlp.block != group.block)
        group.refusal = "'" + mlp.name() + "' shares a weight but has other blocks";
      if (mlp.gate && mlp.gate.getKind() == GateKind::TopK)
        group.leastBlocks = std::max<int64_t>(group.leastBlocks, int64_t(*mlp.gate.getK()));
      group.second = group.second && secondWeight(mlp) == secondWeight(first);
      llvm::StringSet<> seen;
      forWeights(mlp, [&](GetOp get) {
        if (seen.insert(get.getName()).second)
          inside[get.getName()] += usesOf(mlp, get.getName());
      });
    }
    for (auto &weight : inside)
      if (uses.lookup(weight.getKey()) != weight.second)
        group.refusal = "weight '" + weight.getKey().str() + "' is used elsewhere too";
    result.push_back(std::move(group));
  }
  return result;
}

std::vector<bool> vitrify::vit::deadNeurons(const Mlp &mlp, WeightValues &values) {
  auto count = size_t(mlp.neurons());
  std::vector<bool> dead(count);
  LinearOp second = mlp.second;
  const std::vector<float> &w2 = values.of(second.getWeight());
  std::vector<bool> off = mlp.gate ? blocksNeverOn(mlp.gate, values) : std::vector<bool>();
  DenseMap<Value, std::vector<Bounds>> known;
  for (LinearOp first : mlp.firsts) {
    const std::vector<float> &w = values.of(first.getWeight());
    size_t k = w.size() / count;
    std::vector<Bounds> &bounds = known[first.getResult(0)];
    for (size_t j = 0; j < count; ++j) {
      // The bias is part of the product: together they are bounded more tightly, and widened once.
      Bounds sum = w.empty() ? Bounds() : boundsOfProduct(first.getInput(), ArrayRef<float>(w).slice(j * k, k), 0, values);
      bounds.push_back(boundsOfEpilogue(first, int64_t(j), sum, values, [&](unsigned operand) {
        bool isGate = mlp.gate && first.getEpilogueIns()[operand] == GateOp(mlp.gate).getResult();
        return isGate && off[j / size_t(mlp.block)] ? Bounds{0, 0} : Bounds();
      }));
    }
  }
  for (Operation *op : llvm::reverse(mlp.between)) {
    std::vector<Bounds> result(count);
    for (size_t j = 0; j < count; ++j) {
      auto of = [&](Value value) { return known[value].empty() ? Bounds() : known[value][j]; };
      if (auto act = dyn_cast<ActOp>(op)) {
        result[j] = boundsOfAct(act.getKind(), of(act.getInput()));
      } else if (auto glu = dyn_cast<GluOp>(op)) {
        if (boundsOfAct(glu.getKind(), of(glu.getGate())).isZero() || of(glu.getUp()).isZero())
          result[j] = {0, 0};
      } else if (of(op->getOperand(0)).isZero()) {
        result[j] = {0, 0};
      }
    }
    known[op->getResult(0)] = std::move(result);
  }
  size_t rows = w2.size() / count;
  for (size_t j = 0; j < count; ++j) {
    const auto &bounds = known[second.getInput()];
    bool unused = !w2.empty();
    for (size_t r = 0; r < rows && unused; ++r)
      unused = w2[r * count + j] == 0;
    dead[j] = unused || (!bounds.empty() && bounds[j].isZero());
  }
  return dead;
}

void vitrify::vit::shiftBias(LinearOp linear, ArrayRef<float> shift, RecipeBuilder &recipes) {
  OpBuilder builder(linear);
  Location loc = linear.getLoc();
  auto type = RankedTensorType::get({int64_t(shift.size())}, builder.getF32Type());
  std::string layer = cast<StringAttr>(linear.getLayers()[0]).getValue().str();
  WeightOp numbers = recipes.create(loc, layer + ".shift", type, [&](OpBuilder &b) -> Value {
    return LiteralOp::create(b, loc, DenseElementsAttr::get(type, shift));
  });
  // acc + bias at the start of the epilogue: the bias takes the shift.
  if (!linear.getEpilogue().empty()) {
    Block &block = linear.getEpilogue().front();
    auto add = dyn_cast<arith::AddFOp>(block.front());
    for (unsigned side : {0u, 1u}) {
      auto bias = add && add->getOperand(1 - side) == block.getArgument(0) ? dyn_cast<BlockArgument>(add->getOperand(side)) : BlockArgument();
      if (!bias || bias.getArgNumber() == 0 || !bias.hasOneUse())
        continue;
      unsigned index = bias.getArgNumber() - 1;
      OpOperand &operand = linear.getEpilogueInsMutable()[index];
      auto get = operand.get().getDefiningOp<GetOp>();
      if (!get || get.getType() != type || !isColumn(cast<AffineMapAttr>(linear.getMaps()[index]).getValue()))
        continue;
      WeightOp sum = recipes.create(loc, get.getName().str() + ".shifted", type, [&](OpBuilder &b) -> Value {
        Value old = GetOp::create(b, loc, type, get.getName());
        Value more = GetOp::create(b, loc, type, numbers.getSymName());
        return AddOp::create(b, loc, type, old, more, false);
      });
      operand.set(RecipeBuilder::get(builder, loc, sum));
      return;
    }
  }
  AffineMap column = AffineMap::get(2, 0, {builder.getAffineDimExpr(1)}, linear.getContext());
  Value operand = RecipeBuilder::get(builder, loc, numbers);
  prependToEpilogue(linear, linear.getInput(), linear.getWeight(), operand, column,
                    [&](OpBuilder &b, Value acc, Value element) -> Value { return arith::AddFOp::create(b, loc, acc, element); });
}
