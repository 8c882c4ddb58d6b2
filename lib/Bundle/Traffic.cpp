//===- Traffic.cpp - what a plan moves from and to memory ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Traffic.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

using namespace vitrify;

namespace {

int64_t at(const PlanExpr &expr, const std::vector<int64_t> &symbols) {
  auto value = expr.evaluate(symbols);
  return value.ok() ? *value : 0;
}

int64_t weightBytes(const PlanWeight &weight) {
  int64_t bits = dtypeBits(weight.dtype);
  for (int64_t dim : weight.shape)
    bits *= dim;
  return bits / 8;
}

/// "b12" of "b12.fc1"; "" for other names.
std::string blockOf(const std::string &layer) {
  size_t dot = layer.find('.');
  if (layer.size() < 3 || layer[0] != 'b' || dot == std::string::npos || dot < 2)
    return "";
  bool digits = layer.find_first_not_of("0123456789", 1) == dot;
  return digits ? layer.substr(0, dot) : "";
}

/// The steps of one encoder block and what is known of it.
class Block {
public:
  Block(const Plan &plan, const PlanProgram &program, const std::vector<int64_t> &symbols)
      : plan(plan), program(program), symbols(symbols) {}

  void add(const PlanStep &step) {
    steps.push_back(&step);
    for (const std::string &layer : step.layers)
      byLayer.try_emplace(layer.substr(layer.find('.') + 1), &step);
  }

  /// The least bytes, or -1 when a layer is missing.
  int64_t minimum() const {
    for (const char *layer : {"ln1", "q", "k", "v", "attn", "proj", "res1", "ln2", "fc1", "fc2", "res2"})
      if (!byLayer.contains(layer))
        return -1;
    const PlanWeight *proj = matrixOf("proj"), *fc1 = matrixOf("fc1"), *fc2 = matrixOf("fc2"), *q = matrixOf("q");
    int64_t residual = residualBytes();
    if (!proj || !fc1 || !fc2 || !q || residual < 0 || proj->shape[0] <= 0)
      return -1;
    const PlanBuffer &stream = program.buffers[residualBuffer];
    int64_t rows = residual * 8 / dtypeBits(stream.dtype) / proj->shape[0];
    // What a linear reads has the type of its weight.
    auto read = [&](const PlanWeight *weight) { return rows * weight->shape[1] * int64_t(dtypeBits(weight->dtype)) / 8; };
    int64_t qkv = 0;
    std::set<unsigned> written;
    for (const char *layer : {"q", "k", "v"})
      for (const PlanOperand &operand : byLayer.at(layer)->writes)
        if (!program.buffers[operand.buffer].name.ends_with("#parts") && written.insert(operand.buffer).second)
          qkv += at(program.buffers[operand.buffer].size, symbols);
    int64_t bytes = residual + read(q);              // norm
    bytes += read(q) + qkv;                          // q, k, v
    bytes += qkv + read(proj);                       // attention
    bytes += read(proj) + 2 * residual;              // projection
    bytes += residual + read(fc1);                   // norm
    bytes += read(fc1) + read(fc2);                  // fc1
    bytes += read(fc2) + 2 * residual;               // fc2
    std::set<unsigned> weights;
    for (const PlanStep *step : steps)
      for (unsigned weight : step->weights)
        if (weights.insert(weight).second)
          bytes += weightBytes(plan.weights[weight]);
    return bytes;
  }

  std::vector<const PlanStep *> steps;

private:
  /// The largest weight of rank 2 that the layer's step reads.
  const PlanWeight *matrixOf(const char *layer) const {
    const PlanWeight *best = nullptr;
    for (unsigned index : byLayer.at(layer)->weights) {
      const PlanWeight &weight = plan.weights[index];
      if (weight.shape.size() == 2 && (!best || weightBytes(weight) > weightBytes(*best)))
        best = &weight;
    }
    return best;
  }

  /// Of the stream between the blocks: what the step of the first residual writes; the widest, when it writes codes too.
  int64_t residualBytes() const {
    int64_t most = -1;
    for (const PlanOperand &operand : byLayer.at("res1")->writes)
      if (int64_t bytes = at(program.buffers[operand.buffer].size, symbols);
          bytes > most && !program.buffers[operand.buffer].name.ends_with("#parts")) {
        most = bytes;
        residualBuffer = operand.buffer;
      }
    return most;
  }

  const Plan &plan;
  const PlanProgram &program;
  const std::vector<int64_t> &symbols;
  std::map<std::string, const PlanStep *, std::less<>> byLayer;
  mutable unsigned residualBuffer = 0;
};

} // namespace

static void execute(const std::vector<PlanStep> &steps, const std::vector<int64_t> &symbols, std::vector<const PlanStep *> &out) {
  for (const PlanStep &step : steps) {
    if (step.kind == PlanStep::Kind::Launch || step.kind == PlanStep::Kind::Copy)
      out.push_back(&step);
    if (step.kind == PlanStep::Kind::If && at(step.condition, symbols) != 0)
      execute(step.body, symbols, out);
  }
}

std::vector<const PlanStep *> vitrify::executedSteps(const PlanProgram &program, const std::vector<int64_t> &symbols) {
  std::vector<const PlanStep *> out;
  execute(program.steps, symbols, out);
  return out;
}

int vitrify::chosenKernel(const PlanStep &step, const std::vector<int64_t> &symbols) {
  int64_t dispatch = at(step.dispatch, symbols);
  for (size_t i = 0; step.kind == PlanStep::Kind::Launch && i < step.kernels.size(); ++i)
    if (dispatch >= step.ranges[i].first && dispatch <= step.ranges[i].second)
      return int(i);
  return -1;
}

/// The buffers that a launch reads and writes. q, k and v are views of one buffer; together they are it. A split product reads no
/// operand of its epilogue and writes parts alone.
struct StepBuffers {
  std::vector<unsigned> reads, writes;
  bool split = false;
};
static bool isParts(const PlanBuffer &buffer) { return buffer.name.ends_with("#parts"); }
static StepBuffers buffersOf(const Plan &plan, const PlanProgram &program, const PlanStep &step, int chosen) {
  StepBuffers buffers;
  if (step.kind == PlanStep::Kind::Launch) {
    const auto &metrics = plan.kernels[step.kernels[size_t(chosen)]].metrics;
    const auto parts = metrics.find("split");
    buffers.split = parts != metrics.end() && parts->second > 1;
  }
  std::set<unsigned> seen;
  for (const PlanOperand &operand : step.reads)
    if (isParts(program.buffers[operand.buffer]) ||
        (seen.insert(operand.buffer).second && (!buffers.split || seen.size() == 1)))
      buffers.reads.push_back(operand.buffer);
  seen.clear();
  for (const PlanOperand &operand : step.writes)
    if ((isParts(program.buffers[operand.buffer]) || !buffers.split) && seen.insert(operand.buffer).second)
      buffers.writes.push_back(operand.buffer);
  return buffers;
}

int64_t vitrify::stepTraffic(const Plan &plan, const PlanProgram &program, const PlanStep &step,
                             const std::vector<int64_t> &symbols) {
  if (step.kind == PlanStep::Kind::Copy)
    return 2 * at(step.bytes, symbols);
  int chosen = chosenKernel(step, symbols);
  if (chosen < 0)
    return 0;
  int64_t bytes = 0;
  for (unsigned weight : std::set<unsigned>(step.weights.begin(), step.weights.end()))
    bytes += weightBytes(plan.weights[weight]);
  StepBuffers buffers = buffersOf(plan, program, step, chosen);
  for (const std::vector<unsigned> *list : {&buffers.reads, &buffers.writes})
    for (unsigned buffer : *list)
      if (!isParts(program.buffers[buffer]))
        bytes += at(program.buffers[buffer].size, symbols);
  return bytes;
}

StepRanges vitrify::stepRanges(const Plan &plan, const PlanProgram &program, const PlanStep &step,
                               const std::vector<int64_t> &symbols) {
  StepRanges ranges;
  const int chosen = chosenKernel(step, symbols);
  if (step.kind != PlanStep::Kind::Copy && chosen < 0)
    return ranges;
  const uint64_t firstWeight = program.buffers.size() + 1;
  auto rangeOf = [&](unsigned index) -> MemoryRange {
    const PlanBuffer &buffer = program.buffers[index];
    int64_t size = at(buffer.size, symbols);
    if (buffer.kind != PlanBuffer::Kind::Arena)
      return {index + 1, 0, size};
    int64_t offset = at(buffer.offset, symbols);
    return {0, offset, offset + size};
  };
  StepBuffers buffers = buffersOf(plan, program, step, chosen);
  for (unsigned buffer : buffers.reads)
    ranges.reads.push_back(rangeOf(buffer));
  for (unsigned buffer : buffers.writes)
    ranges.writes.push_back(rangeOf(buffer));
  for (unsigned weight : step.weights) {
    // Weights of one tensor are one copy in memory when they have one layout.
    auto first = std::ranges::find_if(plan.weights, [&](const PlanWeight &other) {
      return other.tensor == plan.weights[weight].tensor && other.layout == plan.weights[weight].layout;
    });
    ranges.reads.push_back({firstWeight + uint64_t(first - plan.weights.begin()), 0, weightBytes(plan.weights[weight])});
  }
  return ranges;
}

PlanTraffic vitrify::planTraffic(const Plan &plan, const PlanProgram &program, const std::vector<int64_t> &symbols) {
  PlanTraffic traffic;
  std::map<std::string, Block> blocks;
  for (const PlanStep *step : executedSteps(program, symbols)) {
    int64_t bytes = stepTraffic(plan, program, *step, symbols);
    traffic.bytes += bytes;
    traffic.launches += step->kind == PlanStep::Kind::Launch;
    std::string block = step->layers.empty() ? "" : blockOf(step->layers[0]);
    if (block.empty())
      traffic.minimum += bytes;
    else
      blocks.try_emplace(block, plan, program, symbols).first->second.add(*step);
  }
  for (const auto &[name, block] : blocks) {
    int64_t least = block.minimum();
    ++traffic.blocks;
    for (const PlanStep *step : block.steps) {
      traffic.blockLaunches += step->kind == PlanStep::Kind::Launch;
      if (least < 0)
        traffic.minimum += stepTraffic(plan, program, *step, symbols);
    }
    if (least >= 0)
      traffic.minimum += least;
  }
  return traffic;
}
