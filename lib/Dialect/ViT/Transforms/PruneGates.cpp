//===- PruneGates.cpp - neurons that never do anything leave both linears -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Mlp.h"
#include "Recipes.h"
#include "Report.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Weights/Surgeon.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace vitrify::vit {
#define GEN_PASS_DEF_PRUNEGATES
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

/// Neurons are kept in multiples of this, so that rows stay aligned and tiles full.
constexpr int64_t kGranule = 16;

/// What becomes of one set of neurons.
struct Decision {
  SmallVector<int64_t> kept;
  int64_t exact = 0, approximate = 0;
  double error = 0;
  std::vector<float> weights;            ///< [N, kept] of the second linear, empty when they are as they were
  SmallVector<std::vector<float>> shift; ///< [N] by MLP: what the mean of what left adds to its bias
};

class PruneGatesPass : public vitrify::vit::impl::PruneGatesBase<PruneGatesPass> {
public:
  using PruneGatesBase::PruneGatesBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!(tolerance >= 0 && tolerance < 1)) {
      module.emitError() << "the tolerance of pruning is " << tolerance.getValue() << ", expected a number from 0 to below 1";
      return signalPassFailure();
    }
    if (tolerance > 0 && activity.empty()) {
      module.emitError() << "a tolerance needs what calibration saw of the neurons: give activity (vitrify calibrate --activity)";
      return signalPassFailure();
    }
    if (!activity.empty()) {
      auto file = SafeTensorsFile::open(activity);
      if (!file) {
        module.emitError() << file.status().message();
        return signalPassFailure();
      }
      seen = std::make_shared<SafeTensorsFile>(std::move(*file));
    }
    SourceFiles files(module, folder);
    WeightValues values(module, files);
    RecipeBuilder recipes(module);
    for (MlpGroup &group : findMlpGroups(module))
      if (failed(prune(group, values, recipes)))
        return signalPassFailure();
    if (failed(writeWeights()))
      signalPassFailure();
  }

private:
  LogicalResult prune(MlpGroup &group, WeightValues &values, RecipeBuilder &recipes);
  FailureOr<NeuronMoments> momentsOf(const Mlp &mlp);
  LogicalResult decide(MlpGroup &group, const std::vector<bool> &dead, WeightValues &values, Decision &decision);
  LogicalResult operate(MlpGroup &group, const std::vector<bool> &dead, WeightValues &values, Decision &decision);
  void apply(MlpGroup &group, const Decision &decision, RecipeBuilder &recipes);
  void tell(const MlpGroup &group, const Decision &decision);
  WeightOp gathered(GetOp get, int64_t axis, ArrayRef<int64_t> kept, RecipeBuilder &recipes);
  WeightOp stored(GetOp get, const Decision &decision, RecipeBuilder &recipes);
  LogicalResult writeWeights();

  std::shared_ptr<SafeTensorsFile> seen; ///< shared, as passes are copied
  llvm::StringMap<WeightOp> made; ///< by the weight and what was done to it
  struct Made {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
    ReadOp read;
  };
  std::vector<Made> newTensors;
};

LogicalResult PruneGatesPass::prune(MlpGroup &group, WeightValues &values, RecipeBuilder &recipes) {
  if (!group.refusal.empty()) {
    emitRemark(group.mlps[0].second.getLoc()) << "neurons of " << group.mlps[0].name() << " stay: " << group.refusal;
    return success();
  }
  std::vector<bool> dead(size_t(group.neurons), true);
  for (const Mlp &mlp : group.mlps) {
    std::vector<bool> mine = deadNeurons(mlp, values);
    for (size_t j = 0; j < dead.size(); ++j)
      dead[j] = dead[j] && mine[j];
  }
  Decision decision;
  if (failed(decide(group, dead, values, decision)))
    return failure();
  tell(group, decision);
  if (int64_t(decision.kept.size()) < group.neurons)
    apply(group, decision, recipes);
  return success();
}

/// What calibration saw of the neurons of one MLP.
FailureOr<NeuronMoments> PruneGatesPass::momentsOf(const Mlp &mlp) {
  LinearOp second = mlp.second;
  std::string name = valueName(second.getInput());
  NeuronMoments moments;
  moments.count = mlp.neurons();
  std::vector<int64_t> vectorShape = {moments.count}, matrixShape = {moments.count, moments.count};
  auto read = [&](StringRef what, const std::vector<int64_t> &shape, std::vector<float> &out) -> LogicalResult {
    const TensorInfo *info = seen->find(name + "." + what.str());
    if (!info)
      return second.emitOpError() << "needs what calibration saw of its input: " << activity.getValue() << " lacks '" << name << "." << what << "'";
    if (info->dtype != DType::F32 || info->shape != shape)
      return second.emitOpError() << "has " << moments.count << " neurons, but '" << info->name << "' of " << activity.getValue() << " is "
                                       << dtypeName(info->dtype).data() << " " << shapeString(info->shape);
    auto bytes = seen->data(*info);
    out.resize(bytes.size() / sizeof(float));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return success();
  };
  if (failed(read("mean", vectorShape, moments.mean)) || failed(read("amax", vectorShape, moments.amax)) ||
      failed(read("covariance", matrixShape, moments.covariance)))
    return failure();
  return moments;
}

LogicalResult PruneGatesPass::decide(MlpGroup &group, const std::vector<bool> &dead, WeightValues &values, Decision &decision) {
  const int64_t count = group.neurons;
  if (seen && group.block == 1 && group.second)
    return operate(group, dead, values, decision);
  // Whole blocks of a gate, single neurons otherwise.
  std::vector<bool> gone = dead, unseen(size_t(count), false);
  if (seen) {
    unseen.assign(size_t(count), true);
    for (const Mlp &mlp : group.mlps) {
      auto moments = momentsOf(mlp);
      if (failed(moments))
        return failure();
      for (size_t j = 0; j < unseen.size(); ++j)
        unseen[j] = unseen[j] && moments->amax[j] == 0;
    }
  }
  int64_t block = group.block, blocks = count / block, off = 0;
  std::vector<bool> leaves(size_t(blocks), true);
  SmallVector<bool> exact(size_t(blocks), true);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t j = b * block; j < (b + 1) * block; ++j) {
      leaves[size_t(b)] = leaves[size_t(b)] && (gone[size_t(j)] || unseen[size_t(j)]);
      exact[size_t(b)] = exact[size_t(b)] && gone[size_t(j)];
    }
    off += leaves[size_t(b)];
  }
  // A top-k gate needs k blocks to choose from, any linear an input; and rows stay aligned.
  int64_t least = std::max<int64_t>(group.leastBlocks, 1), unit = std::max<int64_t>(1, kGranule / std::gcd(kGranule, block));
  int64_t want = std::min(blocks, std::max((blocks - off + unit - 1) / unit * unit, (least + unit - 1) / unit * unit));
  for (bool spareExact : {false, true}) // what leaves last: what only calibration speaks against
    for (int64_t b = 0; b < blocks && blocks - off < want; ++b)
      if (leaves[size_t(b)] && exact[size_t(b)] == spareExact) {
        leaves[size_t(b)] = false;
        --off;
      }
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t j = b * block; j < (b + 1) * block; ++j)
      if (!leaves[size_t(b)])
        decision.kept.push_back(j);
      else
        ++(exact[size_t(b)] ? decision.exact : decision.approximate);
  return success();
}

/// Single neurons by the optimal brain surgeon: what the others can stand for goes, and their weights take it over.
LogicalResult PruneGatesPass::operate(MlpGroup &group, const std::vector<bool> &dead, WeightValues &values, Decision &decision) {
  LinearOp second = group.mlps[0].second;
  const std::vector<float> &weights = values.of(second.getWeight());
  int64_t n = second.getWeight().getType().getDimSize(0);
  auto count = size_t(group.neurons);
  // Layers that share the weights: their moments about their own means add up, each layer's bias takes its own mean.
  NeuronMoments all;
  SmallVector<NeuronMoments> each;
  for (const Mlp &mlp : group.mlps) {
    auto moments = momentsOf(mlp);
    if (failed(moments))
      return failure();
    if (each.empty())
      all = *moments;
    else
      for (size_t i = 0; i < count * count; ++i)
        all.covariance[i] += moments->covariance[i];
    for (size_t i = 0; i < count; ++i)
      all.amax[i] = std::max(all.amax[i], moments->amax[i]);
    each.push_back(std::move(*moments));
  }
  auto pruned = pruneInputs(weights, n, all, dead, tolerance, kGranule);
  if (!pruned)
    return second->emitOpError() << activity.getValue() << ": " << pruned.status().message();
  decision.kept.assign(pruned->kept.begin(), pruned->kept.end());
  decision.error = pruned->error;
  std::vector<bool> keeps(count);
  for (int64_t j : decision.kept)
    keeps[size_t(j)] = true;
  for (size_t j = 0; j < count; ++j)
    if (!keeps[j])
      ++(dead[j] ? decision.exact : decision.approximate);
  if (decision.approximate == 0)
    return success(); // the weights are as they were
  decision.weights = std::move(pruned->weights);
  size_t kept = decision.kept.size();
  for (const NeuronMoments &moments : each) {
    std::vector<float> shift(static_cast<size_t>(n));
    for (size_t r = 0; r < shift.size(); ++r) {
      double sum = 0;
      for (size_t j = 0; j < count; ++j)
        sum += dead[j] ? 0 : double(weights[r * count + j]) * moments.mean[j];
      for (size_t k = 0; k < kept; ++k)
        sum -= dead[size_t(decision.kept[k])] ? 0 : double(decision.weights[r * kept + k]) * moments.mean[size_t(decision.kept[k])];
      shift[r] = float(sum);
    }
    decision.shift.push_back(std::move(shift));
  }
  return success();
}

/// Rows (axis 0) or columns (axis 1) of a weight that stay.
WeightOp PruneGatesPass::gathered(GetOp get, int64_t axis, ArrayRef<int64_t> kept, RecipeBuilder &recipes) {
  WeightOp &weight = made[(get.getName() + "#" + Twine(axis)).str()];
  if (weight)
    return weight;
  auto type = cast<RankedTensorType>(get.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[size_t(axis)] = int64_t(kept.size());
  auto result = RankedTensorType::get(shape, type.getElementType());
  weight = recipes.create(get.getLoc(), (get.getName() + ".kept").str(), result, [&](OpBuilder &b) -> Value {
    Value all = GetOp::create(b, get.getLoc(), type, get.getName());
    return GatherOp::create(b, get.getLoc(), result, all, axis, kept);
  });
  return weight;
}

/// The second linear's weights after surgery: tensors of a file of their own.
WeightOp PruneGatesPass::stored(GetOp get, const Decision &decision, RecipeBuilder &recipes) {
  WeightOp &weight = made[(get.getName() + "#stored").str()];
  if (weight)
    return weight;
  ModuleOp module = getOperation();
  std::string source = "pruned", name = get.getName().str() + ".pruned";
  if (newTensors.empty()) {
    OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
    SourceOp::create(builder, module.getLoc(), source, "pruned", 9, std::string(64, '0')); // filled in when it is written
  }
  auto type = cast<RankedTensorType>(get.getType());
  std::vector<int64_t> shape = {type.getDimSize(0), int64_t(decision.kept.size())};
  auto result = RankedTensorType::get(shape, Float32Type::get(&getContext()));
  ReadOp read;
  weight = recipes.create(get.getLoc(), name, result, [&](OpBuilder &b) -> Value {
    read = ReadOp::create(b, get.getLoc(), result, source, name);
    return read;
  });
  newTensors.push_back({name, shape, decision.weights, read});
  return weight;
}

LogicalResult PruneGatesPass::writeWeights() {
  if (newTensors.empty())
    return success();
  ModuleOp module = getOperation();
  SmallString<256> path(activity.getValue());
  llvm::sys::path::replace_extension(path, "pruned.safetensors");
  (void)llvm::sys::fs::make_absolute(path);
  auto report = [&](const Status &status) -> LogicalResult { return status.ok() ? success() : module.emitError() << status.message(); };
  std::vector<std::pair<std::string, size_t>> names;
  for (const Made &tensor : newTensors)
    names.emplace_back(tensor.name, 2);
  auto writer = SafeTensorsWriter::create(path.str().str(), SafeTensorsWriter::headerBytes(names));
  if (!writer)
    return report(writer.status());
  for (const Made &tensor : newTensors)
    if (failed(report(writer->begin(tensor.name, DType::F32, tensor.shape))) ||
        failed(report(writer->write(std::as_bytes(std::span(tensor.values))))) || failed(report(writer->end())))
      return failure();
  if (failed(report(writer->finish())))
    return failure();
  auto file = SafeTensorsFile::open(path.str().str());
  if (!file)
    return report(file.status());
  auto source = SymbolTable(module).lookup<SourceOp>("pruned");
  source.setPath(path);
  source.setSize(int64_t(file->mapped().size()));
  source.setHeaderSha256(toHex(file->header().digest));
  return success();
}

void PruneGatesPass::apply(MlpGroup &group, const Decision &decision, RecipeBuilder &recipes) {
  int64_t kept = int64_t(decision.kept.size());
  SmallVector<int64_t> blocks; // of gates: the first neuron of each block that stays
  for (int64_t j : decision.kept)
    if (j % group.block == 0)
      blocks.push_back(j / group.block);
  auto narrow = [](Value value, int64_t columns) {
    auto type = cast<RankedTensorType>(value.getType());
    value.setType(RankedTensorType::get({type.getDimSize(0), columns}, type.getElementType()));
  };
  // Everything of a linear that has an entry a neuron: its weight's rows and its epilogue's columns.
  auto narrowRows = [&](LinearOp linear, ArrayRef<int64_t> rows) {
    OpBuilder builder(linear);
    for (OpOperand &operand : linear->getOpOperands()) {
      bool isWeight = &operand == &linear.getWeightMutable();
      auto ins = linear.getEpilogueInsMutable();
      int64_t epilogue = int64_t(operand.getOperandNumber()) - int64_t(ins.empty() ? 0 : ins.begin()->getOperandNumber());
      bool perColumn = !ins.empty() && epilogue >= 0 && epilogue < int64_t(ins.size()) &&
                       cast<AffineMapAttr>(linear.getMaps()[unsigned(epilogue)]).getValue().getNumResults() == 1 &&
                       cast<AffineMapAttr>(linear.getMaps()[unsigned(epilogue)]).getValue().getResult(0) == builder.getAffineDimExpr(1);
      if (isWeight || perColumn)
        operand.set(RecipeBuilder::get(builder, linear.getLoc(), gathered(operand.get().getDefiningOp<GetOp>(), 0, rows, recipes)));
    }
    narrow(linear.getResult(0), int64_t(rows.size()));
  };
  for (auto [i, mlp] : llvm::enumerate(group.mlps)) {
    if (mlp.gate) {
      narrowRows(mlp.gate.getScores().getDefiningOp<LinearOp>(), blocks);
      narrow(mlp.gate.getResult(), int64_t(blocks.size()));
    }
    for (LinearOp first : mlp.firsts)
      narrowRows(first, decision.kept);
    for (Operation *op : mlp.between)
      narrow(op->getResult(0), kept);
    OpBuilder builder(mlp.second);
    auto get = mlp.second.getWeight().getDefiningOp<GetOp>();
    WeightOp weight = decision.weights.empty() ? gathered(get, 1, decision.kept, recipes) : stored(get, decision, recipes);
    mlp.second.getWeightMutable().set(RecipeBuilder::get(builder, mlp.second.getLoc(), weight));
    if (!decision.shift.empty())
      shiftBias(mlp.second, decision.shift[i], recipes);
  }
}

void PruneGatesPass::tell(const MlpGroup &group, const Decision &decision) {
  Builder builder(&getContext());
  int64_t gone = group.neurons - int64_t(decision.kept.size());
  prunedExact += decision.exact * int64_t(group.mlps.size());
  prunedApproximate += decision.approximate * int64_t(group.mlps.size());
  llvm::StringSet<> counted; // a shared weight is stored once
  for (const Mlp &mlp : group.mlps) {
    int64_t perNeuron = 0, bytes = 0;
    auto count = [&](Value weight, int64_t elements) {
      perNeuron += elements;
      auto get = weight.getDefiningOp<GetOp>();
      if (counted.insert(get.getName()).second)
        bytes += gone * elements * getElementTypeOrSelf(get.getType()).getIntOrFloatBitWidth() / 8;
    };
    for (LinearOp first : mlp.firsts)
      count(first.getWeight(), first.getWeight().getType().getDimSize(1));
    LinearOp second = mlp.second;
    count(second.getWeight(), second.getWeight().getType().getDimSize(0));
    auto kept = int64_t(decision.kept.size());
    emitRemark(second.getLoc()) << mlp.name() << ": " << kept << " of " << group.neurons << " neurons kept, " << decision.exact
                                << " removed exactly, " << decision.approximate << " approximately (relative error " << decision.error << "), "
                                << bytes << " bytes and " << gone * perNeuron << " of " << group.neurons * perNeuron << " MACs a token saved";
    appendReport(getOperation(), "prune-gates",
                 {builder.getNamedAttr("layer", builder.getStringAttr(mlp.name())),
                  builder.getNamedAttr("neurons", builder.getI64IntegerAttr(group.neurons)),
                  builder.getNamedAttr("kept", builder.getI64IntegerAttr(kept)),
                  builder.getNamedAttr("exact", builder.getI64IntegerAttr(decision.exact)),
                  builder.getNamedAttr("approximate", builder.getI64IntegerAttr(decision.approximate)),
                  builder.getNamedAttr("error", builder.getF64FloatAttr(decision.error)),
                  builder.getNamedAttr("saved_bytes", builder.getI64IntegerAttr(bytes)),
                  builder.getNamedAttr("macs", builder.getI64IntegerAttr(group.neurons * perNeuron)),
                  builder.getNamedAttr("saved_macs", builder.getI64IntegerAttr(gone * perNeuron))});
  }
}

} // namespace
