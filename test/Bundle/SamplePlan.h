//===- SamplePlan.h - a small valid plan and bundle for tests ------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"
#include "vitrify/Bundle/Verifier.h"
#include "vitrify/Bundle/Writer.h"
#include "vitrify/Support/ContentHash.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

namespace vitrify::test {

inline PlanExpr images() { return PlanExpr::symbol(0); }
inline PlanExpr times(const PlanExpr &a, int64_t b) { return PlanExpr::binary(PlanExpr::Kind::Mul, a, PlanExpr(b)); }

inline PlanBuffer buffer(std::string name, PlanBuffer::Kind kind, int64_t columns, int64_t offset) {
  PlanBuffer result;
  result.name = std::move(name);
  result.kind = kind;
  result.shape = {images(), PlanExpr(columns)};
  result.offset = kind == PlanBuffer::Kind::Arena ? times(images(), offset) : PlanExpr(0);
  result.size = times(images(), 4 * columns);
  return result;
}

inline PlanOperand whole(unsigned buffer) {
  PlanOperand operand;
  operand.buffer = buffer;
  return operand;
}

inline PlanStep launch(unsigned kernel, std::vector<unsigned> weights, unsigned read, unsigned write) {
  PlanStep step;
  step.layers = {"b" + std::to_string(read)};
  step.kernels = {kernel};
  step.ranges = {{1, 64}};
  step.dispatch = images();
  step.grids = {{PlanExpr::binary(PlanExpr::Kind::CeilDiv, images(), PlanExpr(4)), PlanExpr(1), PlanExpr(1)}};
  step.blocks = {{1, 1, 1}};
  step.shared_bytes = {0};
  step.args = {images()};
  step.weights = std::move(weights);
  step.reads = {whole(read)};
  step.writes = {whole(write)};
  return step;
}

/// pixels -> linear -> hidden -> linear -> logits, for 1 to 64 images; every kind of step and every field is in use.
inline Plan samplePlan(const std::string &target = "x86-64-v3") {
  Plan plan;
  plan.target = target;
  std::string digest(64, 'a');
  plan.kernels = {{"linear_f32_k8", "linear", "f32", digest, 1, 3, {{"registers", 24}}}};
  plan.weights = {{"b0.w", "b0.w", DType::F32, {16, 8}, "nk"}, {"b1.w", "b0.w", DType::F32, {16, 8}, "packed64"},
                  {"b0.sx", "b0.sx", DType::F32, {1}, "nk"}};
  PlanProgram program;
  program.name = "forward";
  program.symbols = {{"images", 1, 8, 64}};
  program.buffers = {buffer("pixels", PlanBuffer::Kind::Input, 16, 0), buffer("b0.out", PlanBuffer::Kind::Arena, 16, 0),
                     buffer("b1.out", PlanBuffer::Kind::Arena, 16, 64), buffer("b2.out", PlanBuffer::Kind::Arena, 16, 0),
                     buffer("logits", PlanBuffer::Kind::Output, 16, 0)};
  program.buffers[1].numeric = "F8_E4M3";
  program.buffers[1].scale = "b0.sx";
  program.inputs = {{"pixels", 0}};
  program.outputs = {{"logits", 4}};
  program.arena_bytes = times(images(), 128);
  PlanStep copy;
  copy.kind = PlanStep::Kind::Copy;
  copy.bytes = times(images(), 64);
  copy.reads = {whole(3)};
  copy.writes = {whole(4)};
  PlanStep conditional;
  conditional.kind = PlanStep::Kind::If;
  conditional.condition = PlanExpr::binary(PlanExpr::Kind::Mod, images(), PlanExpr(2));
  conditional.body = {launch(0, {1}, 3, 4)};
  PlanStep exit;
  exit.kind = PlanStep::Kind::ExitIf;
  exit.threshold = 0.9f;
  exit.reads = {whole(4)};
  program.steps = {launch(0, {0}, 0, 1), launch(0, {1}, 1, 2), launch(0, {0}, 2, 3), copy, conditional, exit};
  plan.programs = {program};
  return plan;
}

/// Weights that fit samplePlan: b0.w and b0.sx.
inline void addSampleWeights(WeightStore &store) {
  auto add = [&](const std::string &name, std::vector<int64_t> shape) {
    std::vector<float> values(static_cast<size_t>(*elementCount(shape)));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = 0.25f * static_cast<float>(i + 1);
    auto bytes = std::as_bytes(std::span(values));
    Recipe recipe;
    ASSERT_TRUE(recipe.yield(*recipe.literal({DType::F32, shape}, {bytes.begin(), bytes.end()})).ok());
    ASSERT_TRUE(store.addWeight(name, std::move(recipe)).ok());
  };
  add("b0.w", {16, 8});
  add("b1.w", {16, 8});
  add("b0.sx", {1});
}

inline Manifest sampleManifest() {
  Manifest manifest;
  manifest.producer = "vitrify test";
  manifest.precision = "fp8";
  manifest.model = {"sample", "vit", "made by a test", "Apache-2.0"};
  return manifest;
}

inline ManifestTarget sampleTarget(const std::string &name) {
  ManifestTarget target;
  target.name = name;
  target.device = "cpu";
  target.needs = {"avx2", "fma"};
  target.toolchain = "none";
  target.layers = {{"b0", "f32", "linear_f32_k8", "b0.sx", ""}, {"b1", "f32", "linear_f32_k8", "", "asked for"}};
  return target;
}

inline Preprocess samplePreprocess() {
  Preprocess p;
  p.channels = 1;
  p.height = 4;
  p.width = 4;
  p.mean = {0.5};
  p.std = {0.25};
  p.labels = {"zero", "one"};
  return p;
}

/// Writes a bundle of two targets with preprocessing.
inline Status writeSampleBundle(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(BundleWriter writer, BundleWriter::create(path));
  WeightStore store;
  addSampleWeights(store);
  std::vector<WeightRequest> requests = {{"b0.w"}, {"b1.w"}, {"b0.sx"}};
  VITRIFY_ASSIGN_OR_RETURN(WeightWriteReport report, store.write(writer.weightsPath(), requests, {}));
  VITRIFY_RETURN_IF_ERROR(writer.addWeights(report));
  for (const char *target : {"x86-64-v3", "x86-64-v4"}) {
    std::string code = std::string("not really code of ") + target;
    VITRIFY_RETURN_IF_ERROR(
        writer.addTarget(sampleTarget(target), samplePlan(target), std::as_bytes(std::span(code)), "kernels.so"));
  }
  VITRIFY_RETURN_IF_ERROR(writer.setPreprocess(samplePreprocess()));
  return writer.commit(sampleManifest());
}

/// The text of a changed manifest, ended by a digest that fits.
inline std::string sealed(nlohmann::ordered_json manifest) {
  manifest.erase("sha256");
  std::string text = manifest.dump();
  text.pop_back();
  return text + ",\n \"sha256\": \"" + toHex(sha256(text)) + "\"\n}\n";
}

} // namespace vitrify::test
