//===- Bounds.cpp - what values can be, from weights alone -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Bounds.h"

#include "vitrify/Weights/Similarity.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;

const std::vector<float> &WeightValues::of(Value value) {
  static const std::vector<float> none;
  auto get = value.getDefiningOp<GetOp>();
  if (!get)
    return none;
  auto [place, isNew] = known.try_emplace(get.getName());
  if (!isNew)
    return place->second;
  auto weight = symbols.lookup<WeightOp>(get.getName());
  ReadOp read = weight ? readOf(weight) : ReadOp();
  if (!read || !isa<FloatType>(getElementTypeOrSelf(read.getType())))
    return place->second;
  DType dtype = *dtypeOf(getElementTypeOrSelf(read.getType()));
  if (dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16)
    place->second = floatsOf(dtype, files.bytes(read));
  return place->second;
}

namespace {

Bounds product(Bounds x, Bounds y) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (double a : {x.low, x.high})
    for (double b : {y.low, y.high}) {
      double p = a == 0 || b == 0 ? 0 : a * b; // values are finite: 0 times an open bound is 0
      low = std::min(low, p);
      high = std::max(high, p);
    }
  return {low, high};
}

/// Outwards by a rounding of f32, but for 0, which rounds to itself.
Bounds widened(Bounds x) {
  auto out = [](double v, double sign) { return v == 0 || !std::isfinite(v) ? v : v + sign * (std::fabs(v) * 0x1p-22 + 0x1p-140); };
  return {out(x.low, -1), out(x.high, 1)};
}

} // namespace

Bounds vitrify::vit::boundsOfProduct(Value input, ArrayRef<float> weights, double shift, WeightValues &values) {
  auto norm = input.getDefiningOp<NormOp>();
  size_t k = weights.size();
  if (!norm || norm.getWidth() || !norm.getEpilogue().empty() || norm.getResult(0) != input || cast<RankedTensorType>(norm.getInput().getType()).getDimSize(1) != int64_t(k))
    return {};
  const std::vector<float> *gamma = nullptr, *beta = nullptr;
  if (Value g = norm.getGamma()) {
    gamma = &values.of(g);
    if (gamma->size() != k)
      return {};
  }
  if (Value b = norm.getBeta()) {
    beta = &values.of(b);
    if (beta->size() != k)
      return {};
  }
  double mean = 0, centre = shift, size = std::fabs(shift);
  std::vector<double> scaled(k);
  for (size_t i = 0; i < k; ++i) {
    scaled[i] = double(weights[i]) * (gamma ? (*gamma)[i] : 1.0f);
    mean += scaled[i] / double(k);
    double b = beta ? double(weights[i]) * (*beta)[i] : 0;
    centre += b;
    size += std::fabs(b);
  }
  if (norm.getKind() != NormKind::Layer)
    mean = 0; // only a layer norm's output has no component along 1
  double square = 0, magnitude = 0;
  for (double w : scaled) {
    square += (w - mean) * (w - mean);
    magnitude += std::fabs(w);
  }
  double radius = std::sqrt(square * double(k));
  // Rounding: the norm's output and K products and sums in f32, each off by 2^-24 of what is at most |w| sqrt(K).
  double slack = (double(k) + 8) * 0x1p-23 * (magnitude * std::sqrt(double(k)) + size) + 0x1p-120;
  return {centre - radius - slack, centre + radius + slack};
}

Bounds vitrify::vit::boundsOfAct(ActKind kind, Bounds x) {
  switch (kind) {
  case ActKind::Relu: return {std::max(x.low, 0.0), std::max(x.high, 0.0)};
  case ActKind::Sigmoid: return {0, 1};
  case ActKind::Tanh: return {-1, 1};
  default: return {};
  }
}

Bounds vitrify::vit::boundsOfEpilogue(LinearOp linear, int64_t column, Bounds accumulator, WeightValues &values,
                                      llvm::function_ref<Bounds(unsigned)> gateOf) {
  if (linear.getEpilogue().empty())
    return accumulator;
  Block &block = linear.getEpilogue().front();
  DenseMap<Value, Bounds> known;
  known[block.getArgument(0)] = accumulator;
  for (auto [i, pair] : llvm::enumerate(llvm::zip(linear.getEpilogueIns(), linear.getMaps().getAsValueRange<AffineMapAttr>()))) {
    auto [operand, map] = pair;
    Bounds bounds;
    const std::vector<float> &numbers = values.of(operand);
    if (map.getNumResults() == 0 && numbers.size() == 1)
      bounds = {numbers[0], numbers[0]};
    else if (map.getNumResults() == 1 && map.getResult(0) == getAffineDimExpr(1, linear.getContext()) && size_t(column) < numbers.size())
      bounds = {numbers[size_t(column)], numbers[size_t(column)]};
    else
      bounds = gateOf(unsigned(i));
    known[block.getArgument(i + 1)] = bounds;
  }
  for (Operation &op : block) {
    if (auto yield = dyn_cast<YieldOp>(op))
      return yield.getOperands().size() == 1 ? known.lookup(yield.getOperand(0)) : Bounds();
    auto in = [&](unsigned i) { return known.lookup(op.getOperand(i)); };
    Bounds result;
    if (isa<arith::AddFOp>(op))
      result = widened({in(0).low + in(1).low, in(0).high + in(1).high});
    else if (isa<arith::SubFOp>(op))
      result = widened({in(0).low - in(1).high, in(0).high - in(1).low});
    else if (isa<arith::MulFOp>(op))
      result = widened(product(in(0), in(1)));
    else if (isa<arith::MaximumFOp, arith::MaxNumFOp>(op))
      result = {std::max(in(0).low, in(1).low), std::max(in(0).high, in(1).high)};
    else if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      if (auto value = dyn_cast<FloatAttr>(constant.getValue()))
        result = {value.getValueAsDouble(), value.getValueAsDouble()};
    } else if (auto act = dyn_cast<ActOp>(op))
      result = boundsOfAct(act.getKind(), in(0));
    if (std::isnan(result.low) || std::isnan(result.high)) // infinities of both signs met
      result = {};
    if (op.getNumResults() == 1)
      known[op.getResult(0)] = result;
  }
  return {};
}

std::vector<bool> vitrify::vit::blocksNeverOn(GateOp gate, WeightValues &values) {
  auto blocks = size_t(cast<RankedTensorType>(gate.getScores().getType()).getDimSize(1));
  std::vector<bool> off(blocks);
  auto linear = gate.getScores().getDefiningOp<LinearOp>();
  if (!linear || linear.getGroup() != 1)
    return off;
  const std::vector<float> &w = values.of(linear.getWeight());
  size_t k = w.size() / blocks;
  // Only a bias may follow the product: then a difference of scores is a product again.
  std::vector<float> bias(blocks);
  if (!linear.getEpilogue().empty()) {
    Block &block = linear.getEpilogue().front();
    auto add = dyn_cast<arith::AddFOp>(block.front());
    if (block.getNumArguments() != 2 || !add || std::distance(block.begin(), block.end()) != 2)
      return off;
    bias = values.of(linear.getEpilogueIns()[0]);
  }
  if (w.empty() || bias.size() != blocks)
    return off;
  auto row = [&](size_t j) { return ArrayRef<float>(w).slice(j * k, k); };
  for (size_t j = 0; j < blocks; ++j) {
    if (gate.getKind() == GateKind::Threshold) {
      off[j] = boundsOfProduct(linear.getInput(), row(j), bias[j], values).high < gate.getThreshold()->convertToDouble();
      continue;
    }
    // Off for every token if as many blocks as are kept score more for every token.
    int64_t better = 0;
    std::vector<float> difference(k);
    for (size_t i = 0; i < blocks && better < int64_t(*gate.getK()); ++i) {
      if (i == j)
        continue;
      double margin = 0;
      for (size_t c = 0; c < k; ++c) {
        difference[c] = row(j)[c] - row(i)[c];
        margin += std::fabs(row(j)[c]) + std::fabs(row(i)[c]);
      }
      // Each score is rounded on its own: so much for both.
      double slack = (double(k) + 8) * 0x1p-22 * (margin * std::sqrt(double(k)) * 4 + std::fabs(bias[i]) + std::fabs(bias[j]));
      better += boundsOfProduct(linear.getInput(), difference, double(bias[j]) - bias[i], values).high + slack < 0;
    }
    off[j] = better >= int64_t(*gate.getK());
  }
  return off;
}
