//===- TestBundle.cpp - a small bundle made by hand -----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TestBundle.h"

#include "vitrify/Bundle/Writer.h"
#include "vitrify/Support/File.h"
#include "vitrify/Support/Float8.h"
#include "vitrify/Weights/SafeTensors.h"
#include "vitrify/Weights/WeightStore.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

using namespace vitrify;
using namespace vitrify::test;

namespace {

void must(const Status &status) {
  if (status.ok())
    return;
  std::fprintf(stderr, "test bundle: %s\n", status.message().c_str());
  std::abort();
}
template <typename T> T must(StatusOr<T> value) {
  must(value.status());
  return std::move(*value);
}

std::vector<float> randomFloats(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(-1, 1);
  std::vector<float> result(count);
  for (float &value : result)
    value = distribution(generator);
  return result;
}

std::vector<float> w1() { return randomFloats(kHidden * kPixels, 1); }
std::vector<float> b1() { return randomFloats(kHidden, 2); }
std::vector<float> b2() { return randomFloats(kClasses, 4); }
std::vector<uint8_t> w2() {
  std::vector<float> values = randomFloats(kClasses * kHidden, 3);
  std::vector<uint8_t> codes(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    codes[i] = encodeE4M3(values[i] * (i % 7 == 0 ? 0.01f : 3.0f)); // subnormals too
  return codes;
}
constexpr float kScale1 = 0.75f, kScale2 = 0.125f;

template <typename T> std::vector<std::byte> bytesOf(const std::vector<T> &values) {
  std::vector<std::byte> result(values.size() * sizeof(T));
  std::memcpy(result.data(), values.data(), result.size());
  return result;
}

PlanExpr times(const PlanExpr &a, const PlanExpr &b) { return PlanExpr::binary(PlanExpr::Kind::Mul, a, b); }

struct PlanBuilder {
  Plan plan;
  PlanProgram program;

  unsigned kernel(const std::string &name, unsigned scalars, unsigned buffers) {
    for (unsigned i = 0; i < plan.kernels.size(); ++i)
      if (plan.kernels[i].name == name)
        return i;
    plan.kernels.push_back({name, "row", "f32", std::string(64, '0'), scalars, buffers, {}});
    return unsigned(plan.kernels.size()) - 1;
  }
  void start(const std::string &name, const std::string &symbol, int64_t max) {
    program = {};
    program.name = name;
    program.symbols = {{symbol, 1, std::min<int64_t>(4, max), max}};
  }
  unsigned buffer(const std::string &name, PlanBuffer::Kind kind, std::vector<PlanExpr> shape, PlanExpr offset = 0) {
    PlanExpr bytes = 4;
    for (const PlanExpr &dim : shape)
      bytes = times(bytes, dim);
    program.buffers.push_back({name, kind, DType::F32, std::move(shape), offset, bytes, "", ""});
    unsigned index = unsigned(program.buffers.size()) - 1;
    if (kind == PlanBuffer::Kind::Input)
      program.inputs.push_back({name, index});
    if (kind == PlanBuffer::Kind::Output)
      program.outputs.push_back({name, index});
    return index;
  }
  PlanStep launch(const std::string &layer, std::vector<unsigned> kernels, PlanExpr units, std::vector<PlanExpr> args,
                  std::vector<unsigned> weights, unsigned read, unsigned write) {
    PlanStep step;
    step.layers = {layer};
    step.kernels = std::move(kernels);
    int64_t max = program.symbols[0].max;
    step.ranges = step.kernels.size() == 1 ? std::vector<std::pair<int64_t, int64_t>>{{1, max}}
                                           : std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {4, max}};
    step.dispatch = PlanExpr::symbol(0);
    for (size_t i = 0; i < step.kernels.size(); ++i) {
      step.grids.push_back({units, 1, 1});
      step.blocks.push_back({1, 1, 1});
      step.shared_bytes.push_back(0);
    }
    step.args = std::move(args);
    step.weights = std::move(weights);
    step.reads = {{read, 0}};
    step.writes = {{write, 0}};
    return step;
  }
  PlanStep copy(unsigned read, unsigned write, PlanExpr bytes) {
    PlanStep step;
    step.kind = PlanStep::Kind::Copy;
    step.layers = {"copy"};
    step.reads = {{read, 0}};
    step.writes = {{write, 0}};
    step.bytes = bytes;
    return step;
  }
  void finish(PlanExpr arenaBytes) {
    program.arena_bytes = arenaBytes;
    plan.programs.push_back(program);
  }
};

Plan makePlan(const std::string &target, bool nk, int64_t turns) {
  using Kind = PlanBuffer::Kind;
  PlanBuilder b;
  b.plan.target = target;
  const std::string layout1 = nk ? "nk" : "panel:w16:k1:F32", layout2 = nk ? "nk" : "panel:w16:k2:BF16";
  b.plan.weights = {{"fc1.w", "fc1.w", DType::F32, {kHidden, kPixels}, layout1},
                    {"fc1.b", "fc1.b", DType::F32, {kHidden}, "nk"},
                    {"fc1.scale", "fc1.scale", DType::F32, {1}, "nk"},
                    {"fc2.w", "fc2.w", DType::F8E4M3, {kClasses, kHidden}, layout2},
                    {"fc2.b", "fc2.b", DType::F32, {kClasses}, "nk"},
                    {"fc2.scale", "fc2.scale", DType::F32, {1}, "nk"}};
  const PlanExpr n = PlanExpr::symbol(0);

  b.start("double", "rows", kMaxImages);
  unsigned x = b.buffer("x", Kind::Input, {n, kClasses}), y = b.buffer("y", Kind::Output, {n, kClasses});
  const unsigned twice = b.kernel("twice", 1, 2);
  b.program.steps.push_back(b.launch("double", {twice}, n, {kClasses}, {}, x, y));
  b.finish(0);

  b.start("forward", "images", kMaxImages);
  x = b.buffer("pixels", Kind::Input, {n, 1, 5, 7});
  y = b.buffer("logits", Kind::Output, {n, kClasses});
  const PlanExpr align = PlanExpr::binary(PlanExpr::Kind::Mul, times(n, 2), 64); // kHidden floats fit in 128 bytes
  unsigned h1 = b.buffer("fc1#out", Kind::Arena, {n, kHidden}, 0);
  unsigned h2 = b.buffer("fc2#in", Kind::Arena, {n, kHidden}, align);
  unsigned linear1 = b.kernel(nk ? "linear_f32_nk" : "linear_f32_panel16", 2, 5);
  unsigned linear2 = b.kernel(nk ? "linear_f8_nk" : "linear_bf16_panel16", 2, 5);
  b.program.steps.push_back(b.launch("fc1", {linear1}, n, {kHidden, kPixels}, {0, 1, 2}, x, h1));
  b.program.steps.push_back(
      b.launch("act", {b.kernel("relu_small", 1, 2), b.kernel("relu_large", 1, 2)}, n, {kHidden}, {}, h1, h2));
  b.program.steps.push_back(b.launch("fc2", {linear2}, n, {kClasses, kHidden}, {3, 4, 5}, h2, y));
  b.finish(times(align, 2));

  b.start("early", "rows", kMaxImages);
  x = b.buffer("x", Kind::Input, {n, kClasses});
  y = b.buffer("y", Kind::Output, {n, kClasses});
  unsigned t = b.buffer("t", Kind::Arena, {n, kClasses}, 0);
  unsigned m = b.buffer("max", Kind::Arena, {1}, 64 * kMaxImages);
  const PlanExpr bytes = times(n, 4 * kClasses);
  b.program.steps.push_back(b.copy(x, t, bytes));
  b.program.steps.push_back(b.launch("max", {b.kernel("row_max", 1, 2)}, 1, {times(n, kClasses)}, {}, t, m));
  b.program.steps.push_back(b.copy(t, y, bytes));
  PlanStep exit;
  exit.kind = PlanStep::Kind::ExitIf;
  exit.layers = {"exit"};
  exit.reads = {{m, 0}};
  exit.threshold = 10;
  b.program.steps.push_back(exit);
  PlanStep call;
  call.kind = PlanStep::Kind::Call;
  call.layers = {"call"};
  call.callee = "double";
  call.reads = {{t, 0}};
  call.writes = {{y, 0}};
  b.program.steps.push_back(call);
  PlanStep odd;
  odd.kind = PlanStep::Kind::If;
  odd.layers = {"if"};
  odd.condition = PlanExpr::binary(PlanExpr::Kind::Mod, n, 2);
  odd.body.push_back(
      b.launch("relu", {b.kernel("relu_small", 1, 2), b.kernel("relu_large", 1, 2)}, n, {kClasses}, {}, t, y));
  b.program.steps.push_back(odd);
  b.finish(64 * kMaxImages + 64);

  b.start("slow", "count", 64);
  x = b.buffer("x", Kind::Input, {n});
  y = b.buffer("y", Kind::Output, {n});
  unsigned a0 = b.buffer("a0", Kind::Arena, {n}, 0), a1 = b.buffer("a1", Kind::Arena, {n}, 256);
  const unsigned slow = b.kernel("slow", 1, 2);
  for (int i = 0; i < 16; ++i) {
    unsigned from = i == 0 ? x : i % 2 ? a0 : a1, to = i == 15 ? y : i % 2 ? a1 : a0;
    b.program.steps.push_back(b.launch("slow" + std::to_string(i), {slow}, n, {turns}, {}, from, to));
  }
  b.finish(512);
  return b.plan;
}

} // namespace

void vitrify::test::workByPanel(Plan &plan) {
  for (PlanKernel &kernel : plan.kernels)
    if (size_t at = kernel.name.find("_panel16"); at != std::string::npos) {
      kernel.name.replace(at, 8, "_by_panel");
      kernel.num_scalars = 3;
      kernel.metrics["panels"] = kernel.name.find("f32") != std::string::npos ? (kHidden + 15) / 16 : (kClasses + 15) / 16;
    }
  for (PlanStep &step : plan.programs[1].steps)
    if (auto panels = plan.kernels[step.kernels[0]].metrics.find("panels");
        panels != plan.kernels[step.kernels[0]].metrics.end()) {
      step.args.push_back(step.grids[0][0]);
      step.grids[0][0] = PlanExpr::binary(PlanExpr::Kind::Mul, step.grids[0][0], PlanExpr(panels->second));
    }
}

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "vitrify-test-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    std::abort();
  folder = pattern;
}
TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void vitrify::test::writeTestBundle(const std::string &path, const TestBundleOptions &options) {
  BundleWriter writer = must(BundleWriter::create(path));
  WeightStore store;
  std::vector<WeightRequest> requests;
  auto add = [&](const std::string &name, DType dtype, std::vector<int64_t> shape, std::vector<std::byte> bytes) {
    Recipe recipe;
    must(recipe.yield(must(recipe.literal({dtype, std::move(shape)}, std::move(bytes)))));
    must(store.addWeight(name, std::move(recipe)));
    requests.push_back({name});
  };
  if (options.twoChunks)
    add("unused", DType::F32, {300, 1000}, bytesOf(randomFloats(300000, 9)));
  add("fc1.w", DType::F32, {kHidden, kPixels}, bytesOf(w1()));
  add("fc1.b", DType::F32, {kHidden}, bytesOf(b1()));
  add("fc1.scale", DType::F32, {1}, bytesOf(std::vector<float>{kScale1}));
  add("fc2.w", DType::F8E4M3, {kClasses, kHidden}, bytesOf(w2()));
  add("fc2.b", DType::F32, {kClasses}, bytesOf(b2()));
  add("fc2.scale", DType::F32, {1}, bytesOf(std::vector<float>{kScale2}));
  must(writer.addWeights(must(store.write(writer.weightsPath(), requests, {}))));
  for (const std::string &name : options.targets) {
    bool isCuda = name.starts_with("sm_");
    ManifestTarget target;
    target.name = name;
    target.device = isCuda ? "cuda" : "cpu";
    target.needs = {isCuda ? "compute_" + name.substr(3) : "avx2"};
    target.toolchain = "test";
    Plan plan = makePlan(name, isCuda || options.nk, options.turns);
    if (options.change)
      options.change(target, plan);
    std::string code = isCuda && !options.ptx ? "recorded " + name
                                              : must(readFile(isCuda ? TEST_KERNELS_PTX : TEST_KERNELS_SO));
    must(writer.addTarget(target, plan, std::as_bytes(std::span(code)), isCuda ? "kernels.fatbin" : "kernels.so"));
  }
  if (options.preprocess) {
    Preprocess preprocess;
    preprocess.channels = 1;
    preprocess.height = 5;
    preprocess.width = 7;
    preprocess.mean = {0.25};
    preprocess.std = {0.5};
    for (int i = 0; i < kClasses; ++i)
      preprocess.labels.push_back("class " + std::to_string(i));
    must(writer.setPreprocess(preprocess));
  }
  Manifest manifest;
  manifest.producer = "vitrify test";
  manifest.precision = "fp8";
  manifest.model = {"tiny", "test", "none", "Apache-2.0"};
  must(writer.commit(manifest));
}

std::vector<float> vitrify::test::expectedLogits(const std::vector<float> &pixels) {
  std::vector<float> fc1w = w1(), fc1b = b1(), fc2b = b2(), result;
  std::vector<uint8_t> fc2w = w2();
  for (size_t image = 0; image < pixels.size() / kPixels; ++image) {
    std::vector<double> hidden;
    for (int64_t n = 0; n < kHidden; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < kPixels; ++k)
        sum += double(pixels[image * kPixels + size_t(k)]) * fc1w[size_t(n * kPixels + k)];
      hidden.push_back(std::max(0.0, fc1b[size_t(n)] + kScale1 * sum));
    }
    for (int64_t n = 0; n < kClasses; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < kHidden; ++k)
        sum += hidden[size_t(k)] * decodeE4M3(fc2w[size_t(n * kHidden + k)]);
      result.push_back(float(fc2b[size_t(n)] + kScale2 * sum));
    }
  }
  return result;
}

std::vector<float> vitrify::test::randomPixels(int64_t images, unsigned seed) {
  return randomFloats(size_t(images * kPixels), 1000 + seed);
}

void vitrify::test::flipBit(const std::string &path, uint64_t offset) {
  FILE *file = std::fopen(path.c_str(), "r+b");
  if (!file || std::fseek(file, long(offset), SEEK_SET) != 0)
    std::abort();
  int byte = std::fgetc(file);
  if (byte == EOF || std::fseek(file, long(offset), SEEK_SET) != 0 || std::fputc(byte ^ 1, file) == EOF)
    std::abort();
  std::fclose(file);
}

uint64_t vitrify::test::tensorOffset(const std::string &bundle, const std::string &tensor) {
  SafeTensorsFile file = must(SafeTensorsFile::open(bundle + "/weights.safetensors"));
  const TensorInfo *info = file.find(tensor);
  if (!info)
    std::abort();
  return info->begin;
}
