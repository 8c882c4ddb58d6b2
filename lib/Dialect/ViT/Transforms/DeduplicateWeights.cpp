//===- DeduplicateWeights.cpp - one stored weight for layers that have the same one -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Epilogues.h"
#include "Recipes.h"
#include "Report.h"
#include "Sources.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Weights/Similarity.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

#include <cstring>

namespace vitrify::vit {
#define GEN_PASS_DEF_DEDUPLICATEWEIGHTS
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
} // namespace vitrify::vit

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

namespace {

/// Elements of a literal that the dialect allows.
constexpr int64_t kLiteralElements = 65536;

/// Eight bytes at each of 32 places: what differs there is not compared in full.
std::string sampleOf(std::span<const std::byte> bytes) {
  std::string sample;
  for (size_t i = 0; i < 32; ++i) {
    size_t at = bytes.size() <= 8 ? 0 : (bytes.size() - 8) / 31 * i;
    sample.append(reinterpret_cast<const char *>(bytes.data()) + at, std::min<size_t>(8, bytes.size()));
  }
  return sample;
}

std::string tensorName(ReadOp read) { return (read.getSource() + ":" + read.getTensor()).str(); }

/// A weight that is a tensor of a file, the linears that multiply by it, and no other use.
struct Matrix {
  WeightOp weight;
  ReadOp read;
  std::string steps; ///< what is done to the tensor before it is used
  SmallVector<LinearOp> linears;
};

class DeduplicateWeightsPass : public vitrify::vit::impl::DeduplicateWeightsBase<DeduplicateWeightsPass> {
public:
  using DeduplicateWeightsBase::DeduplicateWeightsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!(lowRank >= 0 && lowRank < 1)) {
      module.emitError() << "the tolerance of low-rank sharing is " << lowRank.getValue() << ", expected a number from 0 to below 1";
      return signalPassFailure();
    }
    SourceFiles files(module, folder);
    for (const auto &[name, why] : files.closed())
      emitRemark(module.getLoc()) << "the values of source '" << name << "' are not compared: " << why;
    shareEqualTensors(files);
    if (scaled || lowRank > 0)
      shareMatrices(files);
  }

private:
  void shareEqualTensors(const SourceFiles &files);
  void shareMatrices(const SourceFiles &files);
  bool shareScaled(Matrix &matrix, Matrix &base, const SourceFiles &files, RecipeBuilder &recipes);
  bool shareLowRank(Matrix &matrix, Matrix &base, const SourceFiles &files, RecipeBuilder &recipes);
  void balanceSiblings(RecipeBuilder &recipes);
  void multiply(LinearOp &linear, Value weight, WeightOp factors);
  WeightOp literal(RecipeBuilder &recipes, Location loc, const Twine &name, ArrayRef<int64_t> shape, ArrayRef<float> values);

  /// Linears that got a factor, by what they read: linears beside them get one too, so that they still join.
  llvm::SetVector<Operation *> multiplied;
};

//===----------------------------------------------------------------------===//
// Equal bytes
//===----------------------------------------------------------------------===//

/// Every read of a tensor becomes one of the first tensor with these bytes and this type; recipes that become equal are
/// vit-merge-weights' to merge.
void DeduplicateWeightsPass::shareEqualTensors(const SourceFiles &files) {
  ModuleOp module = getOperation();
  Builder builder(module.getContext());
  llvm::MapVector<std::pair<StringRef, StringRef>, SmallVector<ReadOp>> readsOf;
  module.walk([&](ReadOp read) { readsOf[{read.getSource(), read.getTensor()}].push_back(read); });
  std::map<std::string, SmallVector<ReadOp>> kept; // by sample and type: the first read of each distinct tensor
  llvm::MapVector<Operation *, SmallVector<std::string>> groups;
  for (auto &[tensor, reads] : readsOf) {
    std::span<const std::byte> bytes = files.bytes(reads[0]);
    if (bytes.empty())
      continue;
    std::string bucket;
    llvm::raw_string_ostream(bucket) << reads[0].getType() << sampleOf(bytes);
    SmallVector<ReadOp> &candidates = kept[bucket];
    ReadOp same;
    for (ReadOp other : candidates) {
      std::span<const std::byte> known = files.bytes(other);
      if (!same && known.size() == bytes.size() && std::memcmp(known.data(), bytes.data(), bytes.size()) == 0)
        same = other;
      files.release(other);
    }
    files.release(reads[0]);
    if (!same) {
      candidates.push_back(reads[0]);
      continue;
    }
    groups[same].push_back(tensorName(reads[0]));
    ++shared;
    sharedBytes += bytes.size();
    for (ReadOp read : reads) {
      read.setSource(same.getSource());
      read.setTensor(same.getTensor());
    }
  }
  for (auto &[first, others] : groups) {
    auto read = cast<ReadOp>(first);
    int64_t bytes = int64_t(files.bytes(read).size());
    emitRemark(read.getLoc()) << others.size() << (others.size() == 1 ? " tensor equals '" : " tensors equal '") << tensorName(read)
                              << "' (" << llvm::join(others, ", ") << "): " << bytes * int64_t(others.size()) << " bytes saved";
    SmallVector<Attribute> names;
    for (const std::string &name : others)
      names.push_back(builder.getStringAttr(name));
    appendReport(module, "deduplicate",
                 {builder.getNamedAttr("how", builder.getStringAttr("bytes")),
                  builder.getNamedAttr("kept", builder.getStringAttr(tensorName(read))),
                  builder.getNamedAttr("replaced", builder.getArrayAttr(names)),
                  builder.getNamedAttr("bytes", builder.getI64IntegerAttr(bytes)),
                  builder.getNamedAttr("saved_bytes", builder.getI64IntegerAttr(bytes * int64_t(others.size())))});
  }
}

//===----------------------------------------------------------------------===//
// Equal up to a factor, and up to a matrix of low rank
//===----------------------------------------------------------------------===//

/// The matrices of a module in order, each once: weights of different names may read one tensor by now.
SmallVector<Matrix> matricesOf(ModuleOp module, const SourceFiles &files) {
  SmallVector<Matrix> matrices;
  llvm::StringMap<size_t> known;
  SymbolTable symbols(module);
  llvm::StringMap<SmallVector<GetOp>> gets;
  module.walk([&](GetOp get) { gets[get.getName()].push_back(get); });
  llvm::StringSet<> mixed; // used by something else than a linear
  for (auto weight : module.getOps<WeightOp>()) {
    ReadOp read = readOf(weight);
    auto type = cast<RankedTensorType>(weight.getType());
    if (!read || type.getRank() != 2 || files.bytes(read).empty())
      continue;
    Matrix matrix{weight, read, "", {}};
    llvm::raw_string_ostream os(matrix.steps);
    for (Operation &op : weight.getBody().front())
      if (!isa<ReadOp>(op))
        os << op.getName() << op.getOperandTypes()[0];
    std::string key = tensorName(read) + matrix.steps;
    for (GetOp get : gets[weight.getSymName()])
      for (OpOperand &use : get->getUses()) {
        auto linear = dyn_cast<LinearOp>(use.getOwner());
        if (linear && &use == &linear.getWeightMutable() && linear.getGroup() == 1 && !linear.getXScales() && !linear.getWScales())
          matrix.linears.push_back(linear);
        else
          mixed.insert(key);
      }
    auto [place, isNew] = known.try_emplace(key, matrices.size());
    if (isNew)
      matrices.push_back(std::move(matrix));
    else
      llvm::append_range(matrices[place->second].linears, matrix.linears);
  }
  llvm::erase_if(matrices, [&](Matrix &m) { return mixed.contains(tensorName(m.read) + m.steps) || m.linears.empty(); });
  return matrices;
}

/// Mean square of the difference over some elements, relative to b's.
double sampledDistance(DType dtype, std::span<const std::byte> a, std::span<const std::byte> b) {
  size_t size = dtypeBits(dtype) / 8, count = a.size() / size, step = std::max<size_t>(1, count / 4096) | 1;
  double distance = 0, norm = 0;
  for (size_t i = 0; i < count; i += step) {
    float x = floatsOf(dtype, a.subspan(i * size, size))[0], y = floatsOf(dtype, b.subspan(i * size, size))[0];
    distance += double(x - y) * (x - y);
    norm += double(y) * y;
  }
  return norm > 0 ? distance / norm : HUGE_VAL;
}

void DeduplicateWeightsPass::shareMatrices(const SourceFiles &files) {
  RecipeBuilder recipes(getOperation());
  SmallVector<Matrix> matrices = matricesOf(getOperation(), files);
  SmallVector<Matrix *> kept;
  for (Matrix &matrix : matrices) {
    DType dtype = *dtypeOf(getElementTypeOrSelf(matrix.read.getType()));
    bool done = false;
    Matrix *nearest = nullptr;
    double distance = HUGE_VAL;
    for (Matrix *base : kept) {
      if (done || base->weight.getType() != matrix.weight.getType() || base->read.getType() != matrix.read.getType() ||
          base->steps != matrix.steps)
        continue;
      done = scaled && shareScaled(matrix, *base, files, recipes);
      if (done || lowRank == 0 || !isFloat(dtype))
        continue;
      double d = sampledDistance(dtype, files.bytes(base->read), files.bytes(matrix.read));
      if (d < distance) {
        distance = d;
        nearest = base;
      }
    }
    if (!done && nearest)
      done = shareLowRank(matrix, *nearest, files, recipes);
    files.release(matrix.read);
    if (!done)
      kept.push_back(&matrix);
  }
  balanceSiblings(recipes);
}

WeightOp DeduplicateWeightsPass::literal(RecipeBuilder &recipes, Location loc, const Twine &name, ArrayRef<int64_t> shape,
                                         ArrayRef<float> values) {
  auto type = RankedTensorType::get(shape, Float32Type::get(&getContext()));
  return recipes.create(loc, name.str(), type, [&](OpBuilder &b) -> Value {
    auto elements = llvm::all_equal(values) ? DenseElementsAttr::get(type, values[0]) : DenseElementsAttr::get(type, values);
    return LiteralOp::create(b, loc, elements);
  });
}

void DeduplicateWeightsPass::multiply(LinearOp &linear, Value weight, WeightOp factors) {
  OpBuilder builder(linear);
  Location loc = linear.getLoc();
  Value factor = RecipeBuilder::get(builder, loc, factors);
  AffineMap column = AffineMap::get(2, 0, {builder.getAffineDimExpr(1)}, &getContext());
  linear = prependToEpilogue(linear, linear.getInput(), weight, factor, column, [&](OpBuilder &b, Value acc, Value element) -> Value {
    return arith::MulFOp::create(b, loc, acc, element);
  });
}

/// A weight that is another one times a number, or a number a row: linears multiply by the other, and their accumulator by
/// the number.
bool DeduplicateWeightsPass::shareScaled(Matrix &matrix, Matrix &base, const SourceFiles &files, RecipeBuilder &recipes) {
  auto type = cast<RankedTensorType>(matrix.weight.getType());
  DType dtype = *dtypeOf(getElementTypeOrSelf(matrix.read.getType()));
  int64_t n = type.getDimSize(0), k = type.getDimSize(1);
  std::span<const std::byte> a = files.bytes(base.read), b = files.bytes(matrix.read);
  size_t rowBytes = b.size() / size_t(n);
  for (int64_t row : {n / 2, n - 1}) // most pairs have nothing in common, which one row tells
    if (!rowFactors(dtype, a.subspan(size_t(row) * rowBytes, rowBytes), b.subspan(size_t(row) * rowBytes, rowBytes), 1, k))
      return false;
  auto factors = rowFactors(dtype, a, b, n, k);
  files.release(base.read);
  if (!factors || n > kLiteralElements)
    return false;
  bool one = llvm::all_equal(*factors);
  std::string name = matrix.weight.getSymName().str();
  WeightOp ratio = literal(recipes, matrix.weight.getLoc(), name + ".ratio", {n}, *factors);
  for (LinearOp &linear : matrix.linears) {
    OpBuilder builder(linear);
    multiply(linear, RecipeBuilder::get(builder, linear.getLoc(), base.weight), ratio);
    multiplied.insert(linear);
  }
  Builder builder(&getContext());
  auto remark = emitRemark(matrix.weight.getLoc());
  remark << "weight '" << name << "' is '" << base.weight.getSymName() << "' times ";
  if (one)
    remark << double((*factors)[0]);
  else
    remark << "a factor for each row";
  remark << ", which its layer's scale takes: " << b.size() << " bytes saved";
  ++shared;
  sharedBytes += b.size();
  appendReport(getOperation(), "deduplicate",
               {builder.getNamedAttr("how", builder.getStringAttr(one ? "factor" : "factor of each row")),
                builder.getNamedAttr("kept", builder.getStringAttr(base.weight.getSymName())),
                builder.getNamedAttr("replaced", builder.getStrArrayAttr({name})),
                builder.getNamedAttr("factor", builder.getF64FloatAttr((*factors)[0])),
                builder.getNamedAttr("bytes", builder.getI64IntegerAttr(int64_t(b.size()))),
                builder.getNamedAttr("saved_bytes", builder.getI64IntegerAttr(int64_t(b.size())))});
  return true;
}

/// Linears that read what a multiplied one reads get factors of 1: they can then be joined as before.
void DeduplicateWeightsPass::balanceSiblings(RecipeBuilder &recipes) {
  for (Operation *op : llvm::to_vector(multiplied)) {
    Value input = cast<LinearOp>(op).getInput();
    for (Operation *user : llvm::to_vector(input.getUsers())) {
      auto sibling = dyn_cast<LinearOp>(user);
      if (!sibling || multiplied.contains(user) || sibling.getGroup() != 1 || sibling.getInput() != input || sibling.getActive())
        continue;
      int64_t n = sibling.getWeight().getType().getDimSize(0);
      std::string name = "ones." + std::to_string(n);
      WeightOp ones = recipes.lookup(name);
      if (!ones)
        ones = literal(recipes, sibling.getLoc(), name, {n}, SmallVector<float>(size_t(n), 1.0f));
      multiply(sibling, sibling.getWeight(), ones);
      multiplied.insert(sibling);
    }
  }
}

/// A weight that differs from another by a matrix of low rank: x b^T is about x a^T + (x down^T) up^T.
bool DeduplicateWeightsPass::shareLowRank(Matrix &matrix, Matrix &base, const SourceFiles &files, RecipeBuilder &recipes) {
  auto type = cast<RankedTensorType>(matrix.weight.getType());
  DType dtype = *dtypeOf(getElementTypeOrSelf(matrix.read.getType()));
  int64_t n = type.getDimSize(0), k = type.getDimSize(1);
  int64_t bytes = int64_t(files.bytes(matrix.read).size());
  // The two factors are stored in 16 or 32 bits; a pair that saves less than half is not worth two more kernels.
  int64_t maxRank = std::min(bytes / (8 * (n + k)), kLiteralElements / std::max(n, k));
  std::vector<float> a = floatsOf(dtype, files.bytes(base.read)), b = floatsOf(dtype, files.bytes(matrix.read));
  files.release(base.read);
  auto difference = lowRankDifference(a, b, n, k, maxRank, lowRank);
  if (!difference)
    return false;
  int64_t rank = difference->rank, saved = bytes - 4 * rank * (n + k);
  std::string name = matrix.weight.getSymName().str();
  WeightOp up = literal(recipes, matrix.weight.getLoc(), name + ".diff.up", {n, rank}, difference->up);
  WeightOp down = literal(recipes, matrix.weight.getLoc(), name + ".diff.down", {rank, k}, difference->down);
  for (LinearOp &linear : matrix.linears) {
    OpBuilder builder(linear);
    Location loc = linear.getLoc();
    std::string layer = cast<StringAttr>(linear.getLayers()[0]).getValue().str();
    int64_t rows = linear.getInput().getType().getDimSize(0);
    auto multiplyBy = [&](Value x, WeightOp w, int64_t columns, const Twine &layerName) -> Value {
      auto result = RankedTensorType::get({rows, columns}, builder.getF32Type());
      return LinearOp::create(builder, loc, TypeRange{result}, x, RecipeBuilder::get(builder, loc, w), Value(), Value(), Value(),
                              builder.getStrArrayAttr({layerName.str()}), ValueRange(), builder.getAffineMapArrayAttr({}),
                              builder.getI64IntegerAttr(1))
          .getResult(0);
    };
    Value narrow = multiplyBy(linear.getInput(), down, rank, layer + ".diff.down");
    Value wide = multiplyBy(narrow, up, n, layer + ".diff.up");
    Value weight = RecipeBuilder::get(builder, loc, base.weight);
    linear = prependToEpilogue(linear, linear.getInput(), weight, wide, AffineMap::getMultiDimIdentityMap(2, &getContext()),
                               [&](OpBuilder &b, Value acc, Value element) -> Value { return arith::AddFOp::create(b, loc, acc, element); });
  }
  Builder builder(&getContext());
  emitRemark(matrix.weight.getLoc()) << "weight '" << name << "' is '" << base.weight.getSymName() << "' and a difference of rank " << rank
                                     << " with a relative error of " << difference->error << ": " << saved << " bytes saved";
  ++shared;
  sharedBytes += saved;
  appendReport(getOperation(), "deduplicate",
               {builder.getNamedAttr("how", builder.getStringAttr("low rank")),
                builder.getNamedAttr("kept", builder.getStringAttr(base.weight.getSymName())),
                builder.getNamedAttr("replaced", builder.getStrArrayAttr({name})),
                builder.getNamedAttr("rank", builder.getI64IntegerAttr(rank)),
                builder.getNamedAttr("error", builder.getF64FloatAttr(difference->error)),
                builder.getNamedAttr("bytes", builder.getI64IntegerAttr(bytes)),
                builder.getNamedAttr("saved_bytes", builder.getI64IntegerAttr(saved))});
  return true;
}

} // namespace
