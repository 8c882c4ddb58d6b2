//===- ConformanceTest.cpp - what every device must do --------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Devices.h"

#include <gmock/gmock.h>
#include <thread>

using namespace vitrify;
using namespace vitrify::test;
using testing::HasSubstr;

namespace {

class Conformance : public testing::TestWithParam<DeviceKind> {
protected:
  TempFolder folder;
  TestDevice device{GetParam()};

  void SetUp() override {
    if (std::string why = device.missing(); !why.empty())
      GTEST_SKIP() << why;
  }
  std::shared_ptr<Program> open(TestBundleOptions options) {
    writeTestBundle(folder / "b", options);
    auto program = device.open(folder / "b");
    if (!program.ok())
      ADD_FAILURE() << program.status().message();
    return program.ok() ? *program : nullptr;
  }
  std::shared_ptr<Program> open() { return open(device.bundleOptions()); }
  std::unique_ptr<Context> context(const std::shared_ptr<Program> &program, WorkerOptions options = {}) {
    auto made = Context::create(program, options);
    if (!made.ok())
      ADD_FAILURE() << made.status().message();
    return made.ok() ? std::move(*made) : nullptr;
  }
  std::vector<float> must(StatusOr<std::vector<float>> result) {
    if (!result.ok())
      ADD_FAILURE() << result.status().message();
    return result.ok() ? *result : std::vector<float>();
  }
  std::string error(const StatusOr<std::vector<float>> &result) {
    EXPECT_FALSE(result.ok());
    return result.status().message();
  }
};

TEST_P(Conformance, ForwardGivesTheLogits) {
  auto program = open();
  auto ctx = context(program);
  for (int64_t images : {1, 3, 4, 8, 1}) {
    std::vector<float> pixels = randomPixels(images, unsigned(images));
    auto logits = runOne(*ctx, "forward", pixels, {images, 1, 5, 7}, size_t(images * kClasses));
    expectNear(must(logits), expectedLogits(pixels));
  }
}

TEST_P(Conformance, TwoInputsTwoAnswersAndTheSameAgain) {
  auto program = open();
  auto ctx = context(program);
  std::vector<float> a = randomPixels(2, 1), b = randomPixels(2, 2);
  std::vector<std::vector<float>> answers;
  for (int round = 0; round < 4; ++round) // the first run may take another path than later ones
    for (const auto *pixels : {&a, &b})
      answers.push_back(must(runOne(*ctx, "forward", *pixels, {2, 1, 5, 7}, 2 * kClasses)));
  EXPECT_NE(answers[0], answers[1]);
  for (size_t i = 2; i < answers.size(); ++i)
    EXPECT_EQ(answers[i], answers[i % 2]) << "run " << i;
}

TEST_P(Conformance, CopiesExitsCallsAndConditions) {
  auto program = open();
  auto ctx = context(program);
  auto values = [](int64_t rows, float largest) {
    std::vector<float> x;
    for (int64_t i = 0; i < rows * kClasses; ++i)
      x.push_back(float(i % 5) - 2.5f);
    x[3] = largest;
    return x;
  };
  for (int round = 0; round < 3; ++round) {
    std::vector<float> x = values(2, 10.5f);
    EXPECT_EQ(must(runOne(*ctx, "early", x, {2, kClasses}, x.size())), x); // exits
    x = values(4, 10.0f);                                                  // not greater: goes on
    std::vector<float> twice = x;
    for (float &value : twice)
      value *= 2;
    EXPECT_EQ(must(runOne(*ctx, "early", x, {4, kClasses}, x.size())), twice);
    x = values(5, 1);
    std::vector<float> relu = x;
    for (float &value : relu)
      value = std::max(value, 0.0f);
    EXPECT_EQ(must(runOne(*ctx, "early", x, {5, kClasses}, x.size())), relu);
  }
}

TEST_P(Conformance, RefusesWrongInputs) {
  auto program = open();
  auto ctx = context(program);
  std::vector<float> pixels = randomPixels(9, 1);
  auto run = [&](std::vector<int64_t> shape, const std::string &entry = "forward") {
    return error(runOne(*ctx, entry, pixels, std::move(shape), 90));
  };
  EXPECT_EQ(run({0, 1, 5, 7}), "input 'pixels': images is 0, expected 1 to 8");
  EXPECT_EQ(run({9, 1, 5, 7}), "input 'pixels': images is 9, expected 1 to 8");
  EXPECT_EQ(run({-1, 1, 5, 7}), "input 'pixels': images is -1, expected 1 to 8");
  EXPECT_EQ(run({2, 1, 7, 5}), "input 'pixels': expected [images, 1, 5, 7], found [2, 1, 7, 5]");
  EXPECT_EQ(run({2, 35}), "input 'pixels': expected [images, 1, 5, 7], found [2, 35]");
  EXPECT_EQ(run({2, 1, 5, 7}, "backward"), "no entry 'backward', the bundle has double, forward, early, slow");

  std::vector<float> logits(20);
  vitrify_tensor in = tensorOf(pixels, {2, 1, 5, 7}), out = tensorOf(logits, {});
  auto runTensors = [&](std::vector<vitrify_tensor> ins, std::vector<vitrify_tensor> outs) {
    return ctx->run("forward", ins.data(), ins.size(), outs.data(), outs.size(), {}).message();
  };
  EXPECT_EQ(runTensors({}, {out}), "entry 'forward' takes 1 inputs (pixels), found 0");
  EXPECT_EQ(runTensors({in}, {}), "entry 'forward' gives 1 outputs, found room for 0");
  vitrify_tensor bad = in;
  bad.bytes = 279;
  EXPECT_EQ(runTensors({bad}, {out}), "input 'pixels': needs 280 bytes for [2, 1, 5, 7] F32, found 279");
  bad = in;
  bad.dtype = VITRIFY_I32;
  EXPECT_EQ(runTensors({bad}, {out}), "input 'pixels': expected F32, found I32");
  bad = out;
  bad.bytes = 79;
  EXPECT_EQ(runTensors({in}, {bad}), "output 'logits': needs 80 bytes for [2, 10] F32, found 79");
  bad = in;
  bad.rank = 9;
  EXPECT_THAT(runTensors({bad}, {out}), HasSubstr("rank or dtype is out of range"));
  EXPECT_EQ(runTensors({in}, {out}), "");
}

TEST_P(Conformance, ConvertsHostTypesAndFrames) {
  auto program = open();
  auto ctx = context(program);
  // Values that all formats hold.
  std::vector<float> pixels;
  for (int64_t i = 0; i < 2 * kPixels; ++i)
    pixels.push_back(float(i % 9 - 4) / 4);
  std::vector<float> expected = must(runOne(*ctx, "forward", pixels, {2, 1, 5, 7}, 20));
  std::vector<uint16_t> half;
  for (float value : pixels) {
    _Float16 h = _Float16(value);
    half.push_back(std::bit_cast<uint16_t>(h));
  }
  std::vector<float> logits(20);
  vitrify_tensor in = tensorOf(pixels, {2, 1, 5, 7}), out = tensorOf(logits, {});
  in.data = half.data();
  in.bytes = half.size() * 2;
  in.dtype = VITRIFY_F16;
  ASSERT_EQ(ctx->run("forward", &in, 1, &out, 1, {}).message(), "");
  EXPECT_EQ(logits, expected);

  std::vector<uint16_t> halfLogits(20);
  out.data = halfLogits.data();
  out.bytes = 40;
  out.dtype = VITRIFY_F16;
  ASSERT_EQ(ctx->run("forward", &in, 1, &out, 1, {}).message(), "");
  for (size_t i = 0; i < 20; ++i)
    EXPECT_NEAR(float(std::bit_cast<_Float16>(halfLogits[i])), expected[i], 2e-3f * std::abs(expected[i]) + 1e-3f);

  // Frames: (value / 255 - 0.25) / 0.5, one channel.
  std::vector<uint8_t> frames;
  std::vector<float> normal;
  for (int64_t i = 0; i < 2 * kPixels; ++i) {
    frames.push_back(uint8_t(i * 7));
    normal.push_back(float((double(frames.back()) / 255 - 0.25) / 0.5));
  }
  vitrify_tensor image{frames.data(), frames.size(), VITRIFY_U8, VITRIFY_HOST, 1, 4, {2, 5, 7, 1}};
  out = tensorOf(logits, {});
  ASSERT_EQ(ctx->run("forward", &image, 1, &out, 1, {}).message(), "");
  expectNear(logits, expectedLogits(normal));
  EXPECT_EQ(out.rank, 2);
  EXPECT_EQ(out.shape[0], 2);
  EXPECT_EQ(out.shape[1], kClasses);
  image.shape[1] = 7;
  image.shape[2] = 5;
  EXPECT_EQ(ctx->run("forward", &image, 1, &out, 1, {}).message(),
            "input 'pixels': expected [images, 5, 7, 1], found [2, 7, 5, 1]");
}

TEST_P(Conformance, UnalignedMemory) {
  auto program = open();
  auto ctx = context(program);
  std::vector<float> pixels = randomPixels(3, 5), memory(3 * kPixels + 1), logits(3 * kClasses + 1, 77.0f);
  std::copy(pixels.begin(), pixels.end(), memory.begin() + 1);
  vitrify_tensor in = tensorOf(memory, {3, 1, 5, 7}), out = tensorOf(logits, {});
  in.data = memory.data() + 1;
  in.bytes -= 4;
  out.data = logits.data() + 1;
  out.bytes -= 4;
  ASSERT_EQ(ctx->run("forward", &in, 1, &out, 1, {}).message(), "");
  EXPECT_EQ(logits[0], 77.0f);
  expectNear({logits.begin() + 1, logits.end()}, expectedLogits(pixels));
}

TEST_P(Conformance, ConcurrentContexts) {
  auto program = open();
  std::vector<std::thread> threads;
  std::vector<std::string> errors(4);
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      auto ctx = Context::create(program, {});
      for (int i = 0; ctx.ok() && i < 20; ++i) {
        int64_t images = 1 + (i + t) % 8;
        std::vector<float> pixels = randomPixels(images, t * 100 + unsigned(i)), expected = expectedLogits(pixels);
        auto logits = runOne(**ctx, "forward", pixels, {images, 1, 5, 7}, expected.size());
        if (!logits.ok())
          errors[t] = logits.status().message();
        else
          for (size_t k = 0; k < expected.size(); ++k)
            if (std::abs((*logits)[k] - expected[k]) > 1e-4f)
              errors[t] = "wrong logits";
      }
      if (!ctx.ok())
        errors[t] = ctx.status().message();
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(errors, std::vector<std::string>(4));
}

TEST_P(Conformance, OneRunAtATime) {
  TestBundleOptions options = device.bundleOptions();
  options.turns *= 20;
  auto program = open(options);
  auto ctx = context(program);
  std::vector<float> x(64, 3.0f);
  std::atomic<int> refused{0}, passed{0};
  auto job = [&] {
    auto result = runOne(*ctx, "slow", x, {64}, 64);
    if (result.ok() && *result == x)
      ++passed;
    else if (!result.ok() && result.status().message().find("in use") != std::string::npos)
      ++refused;
  };
  std::thread a(job), b(job);
  a.join();
  b.join();
  EXPECT_EQ(passed + refused, 2);
  EXPECT_GE(passed, 1);
}

TEST_P(Conformance, CancelAndTimeLimit) {
  if (device.runsKernelsWhole())
    GTEST_SKIP() << "a kernel of a GPU ends before it can be cancelled";
  TestBundleOptions options = device.bundleOptions();
  options.turns = 1000000;
  auto program = open(options);
  auto ctx = context(program);
  std::vector<float> x(64, 3.0f);
  vitrify_run_options limit{};
  limit.time_limit_ns = 1000000;
  auto result = runOne(*ctx, "slow", x, {64}, 64, limit);
  EXPECT_EQ(result.status().code(), StatusCode::Cancelled);
  EXPECT_EQ(error(result), "the run passed its time limit of 1000000 ns");

  std::atomic<bool> done{false};
  ctx = context(program); // a new one: without a graph, so that steps come one by one
  std::thread canceller([&] {
    while (!done) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ctx->cancel();
    }
  });
  result = runOne(*ctx, "slow", x, {64}, 64);
  done = true;
  canceller.join();
  EXPECT_EQ(result.status().code(), StatusCode::Cancelled);
  EXPECT_EQ(error(result), "the run was cancelled");
  // A cancelled context runs again, and a cancel without a run does nothing.
  ctx->cancel();
  std::vector<float> pixels = randomPixels(1, 3);
  expectNear(must(runOne(*ctx, "forward", pixels, {1, 1, 5, 7}, kClasses)), expectedLogits(pixels));
}

TEST_P(Conformance, ProfileNamesTheSteps) {
  auto program = open();
  auto ctx = context(program);
  vitrify_run_options options{};
  options.flags = VITRIFY_RUN_PROFILE;
  for (int64_t images : {2, 5}) {
    std::vector<float> pixels = randomPixels(images, 3);
    expectNear(must(runOne(*ctx, "forward", pixels, {images, 1, 5, 7}, size_t(images * kClasses), options)),
               expectedLogits(pixels));
    const std::vector<vitrify_step_time> &steps = ctx->profile();
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_STREQ(steps[0].layers, "fc1");
    EXPECT_STREQ(steps[1].kernel, images < 4 ? "relu_small" : "relu_large");
    EXPECT_STREQ(steps[2].layers, "fc2");
    if (device.isHost())
      EXPECT_GT(steps[0].ns, 0u);
  }
  must(runOne(*ctx, "forward", randomPixels(1, 1), {1, 1, 5, 7}, kClasses));
  EXPECT_TRUE(ctx->profile().empty());
}

TEST_P(Conformance, MemoryIsKnownBeforeAndArenaMayBeGiven) {
  auto program = open();
  auto schedule = program->schedule(*program->findEntry("forward"), {8});
  ASSERT_TRUE(schedule.ok());
  DeviceMemoryNeeds needs = program->executable().memoryNeeds(**schedule);
  EXPECT_EQ(needs.arenaBytes, 8u * 128 * 2);
  EXPECT_GT(needs.weightBytes, kHidden * kPixels * 4);
  EXPECT_GE(needs.stagingBytes, 8 * (kPixels + kClasses) * 4);
  if (!device.isHost())
    return;
  std::vector<float> pixels = randomPixels(8, 3);
  WorkerOptions options;
  options.memoryBytes = needs.arenaBytes;
  std::vector<float> backing(needs.arenaBytes / 4 + 512, 5.0f);
  options.memory = reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(backing.data()) + 255) / 256 * 256);
  auto ctx = context(program, options);
  expectNear(must(runOne(*ctx, "forward", pixels, {8, 1, 5, 7}, 80)), expectedLogits(pixels));
  auto *end = static_cast<float *>(options.memory) + needs.arenaBytes / 4;
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(end[i], 5.0f);
  options.memoryBytes = needs.arenaBytes - 1;
  ctx = context(program, options);
  auto refused = runOne(*ctx, "forward", pixels, {8, 1, 5, 7}, 80);
  EXPECT_EQ(refused.status().code(), StatusCode::ResourceExhausted);
  EXPECT_EQ(error(refused), "this run needs an arena of 2048 bytes, 2047 were given");
}

TEST_P(Conformance, BadWeightChunkFailsTheRun) {
  TestBundleOptions options = device.bundleOptions();
  options.twoChunks = true;
  writeTestBundle(folder / "b", options);
  flipBit(folder / "b/weights.safetensors", tensorOffset(folder / "b", "fc2.w") + 7);
  auto program = device.open(folder / "b");
  ASSERT_TRUE(program.ok()) << program.status().message();
  auto ctx = context(*program);
  for (int round = 0; round < 2; ++round) {
    auto result = runOne(*ctx, "forward", randomPixels(1, 1), {1, 1, 5, 7}, kClasses);
    EXPECT_EQ(result.status().code(), StatusCode::DataLoss);
    EXPECT_THAT(error(result), HasSubstr("fc1.w")); // the chunk's first tensor
  }
  // What needs no weights still runs.
  std::vector<float> x(kClasses, 1.5f);
  EXPECT_EQ(must(runOne(*ctx, "double", x, {1, kClasses}, kClasses)), std::vector<float>(kClasses, 3.0f));
}

TEST_P(Conformance, RefusesDamagedFiles) {
  for (const char *file : {"plan.json", "code"}) {
    TestBundleOptions options = device.bundleOptions();
    writeTestBundle(folder / "b", options);
    std::string name = std::string(file) == "code" ? (device.isHost() ? "kernels.so" : "kernels.fatbin") : file;
    flipBit(folder / "b/targets/" + options.targets[0] + "/" + name, 3);
    auto program = device.open(folder / "b");
    ASSERT_FALSE(program.ok());
    EXPECT_EQ(program.status().code(), StatusCode::DataLoss) << program.status().message();
    EXPECT_THAT(program.status().message(), HasSubstr(name));
  }
}

TEST_P(Conformance, RefusesAMissingKernel) {
  TestBundleOptions options = device.bundleOptions();
  options.change = [](ManifestTarget &, Plan &plan) {
    for (PlanKernel &kernel : plan.kernels)
      if (kernel.name == "twice")
        kernel.name = "thrice";
  };
  writeTestBundle(folder / "b", options);
  auto program = device.open(folder / "b");
  ASSERT_FALSE(program.ok());
  EXPECT_EQ(program.status().code(), StatusCode::NotFound);
  EXPECT_THAT(program.status().message(), HasSubstr("kernel 'thrice' is not in targets/"));
}

TEST_P(Conformance, RefusesAnUnknownLayout) {
  TestBundleOptions options = device.bundleOptions();
  options.change = [](ManifestTarget &, Plan &plan) { plan.weights[0].layout = "spiral"; };
  writeTestBundle(folder / "b", options);
  auto program = device.open(folder / "b");
  ASSERT_FALSE(program.ok());
  EXPECT_THAT(program.status().message(), HasSubstr("weight 'fc1.w'"));
  EXPECT_THAT(program.status().message(), HasSubstr("layout 'spiral'"));
}

TEST_P(Conformance, ContextOutlivesItsProgramsHandle) {
  auto program = open();
  auto ctx = context(program);
  program.reset();
  std::vector<float> pixels = randomPixels(1, 3);
  expectNear(must(runOne(*ctx, "forward", pixels, {1, 1, 5, 7}, kClasses)), expectedLogits(pixels));
}

INSTANTIATE_TEST_SUITE_P(Devices, Conformance, testing::ValuesIn(conformanceDevices()),
                         [](const auto &info) { return deviceName(info.param); });

} // namespace
