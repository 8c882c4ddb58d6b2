//===- CApiTest.cpp - libvitrify.so through its C interface ---------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TestBundle.h"

#include "vitrify/Runtime/vitrify.hpp"

#include <atomic>
#include <cstddef>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

using namespace vitrify::test;
using namespace vitrify::api;
using testing::HasSubstr;

namespace {

class CApi : public testing::Test {
protected:
  TempFolder folder;
  std::string bundle = folder / "b";
  void SetUp() override { writeTestBundle(bundle); }

  /// Message of a failed call; frees the status.
  static std::string message(vitrify_status *status, vitrify_code code = VITRIFY_INVALID_ARGUMENT) {
    EXPECT_EQ(vitrify_status_code(status), code);
    std::string text = vitrify_status_message(status);
    vitrify_status_free(status);
    return text;
  }
};

TEST_F(CApi, StatusOfNothingIsSuccess) {
  EXPECT_EQ(vitrify_status_code(nullptr), VITRIFY_OK);
  EXPECT_STREQ(vitrify_status_message(nullptr), "");
  vitrify_status_free(nullptr);
  EXPECT_THAT(vitrify_version(), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
}

TEST_F(CApi, RefusesNullAndWrongStructs) {
  vitrify_program *program = nullptr;
  vitrify_context *context = nullptr;
  EXPECT_EQ(message(vitrify_program_open(nullptr, nullptr, &program)), "path is null");
  EXPECT_EQ(message(vitrify_program_open(bundle.c_str(), nullptr, nullptr)), "program is null");
  vitrify_options options{};
  EXPECT_THAT(message(vitrify_program_open(bundle.c_str(), &options, &program)),
              HasSubstr("vitrify_options.struct_size is 0, expected sizeof(vitrify_options)"));
  options.struct_size = sizeof options;
  options.memory_mode = vitrify_memory_mode(7);
  EXPECT_EQ(message(vitrify_program_open(bundle.c_str(), &options, &program)), "memory_mode is 7, expected 0 or 1");
  options.memory_mode = VITRIFY_MEMORY_FAST;
  options.threads = 100000;
  EXPECT_THAT(message(vitrify_program_open(bundle.c_str(), &options, &program)), HasSubstr("expected at most 4096"));
  options.threads = 0;
  options.weight_budget = 1 << 20;
  EXPECT_EQ(message(vitrify_program_open(bundle.c_str(), &options, &program)),
            "a weight budget needs the low memory mode");
  EXPECT_EQ(program, nullptr);
  EXPECT_EQ(message(vitrify_program_open((folder / "none").c_str(), nullptr, &program), VITRIFY_NOT_FOUND).empty(),
            false);
  EXPECT_EQ(message(vitrify_context_create(nullptr, nullptr, &context)), "program is null");
  EXPECT_EQ(message(vitrify_run(nullptr, nullptr, nullptr, 0, nullptr, 0, nullptr)), "context is null");
  vitrify_program_destroy(nullptr);
  vitrify_context_destroy(nullptr);
  vitrify_context_cancel(nullptr);
}

TEST_F(CApi, AnOlderAndShorterStructKeepsDefaults) {
  vitrify_options options{};
  options.struct_size = offsetof(vitrify_options, driver); // as if what follows had been added later
  options.device = "cpu";
  options.memory_mode = vitrify_memory_mode(7); // beyond the caller's struct: not read
  vitrify_program *program = nullptr;
  check(vitrify_program_open(bundle.c_str(), &options, &program));
  vitrify_program_info info;
  std::memset(&info, 0x55, sizeof info);
  info.struct_size = offsetof(vitrify_program_info, target);
  check(vitrify_program_get_info(program, &info));
  EXPECT_STREQ(info.name, "tiny");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(info.target), 0x5555555555555555u); // nothing was written there
  vitrify_program_destroy(program);
}

TEST_F(CApi, Metadata) {
  Program program(bundle);
  vitrify_program_info info = program.info();
  EXPECT_STREQ(info.precision, "fp8");
  EXPECT_STREQ(info.target, "x86-64-v3");
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_STREQ(info.license, "Apache-2.0");
  EXPECT_EQ(info.num_labels, size_t(kClasses));
  EXPECT_STREQ(info.labels[3], "class 3");
  EXPECT_THAT(info.preprocess, HasSubstr("mean"));
  EXPECT_EQ(info.num_entries, 4u);
  vitrify_entry entry = program.find("forward");
  ASSERT_EQ(entry.num_symbols, 1u);
  EXPECT_STREQ(entry.symbols[0].name, "images");
  EXPECT_EQ(entry.symbols[0].min, 1);
  EXPECT_EQ(entry.symbols[0].tuned, 4);
  EXPECT_EQ(entry.symbols[0].max, 8);
  ASSERT_EQ(entry.num_inputs, 1u);
  EXPECT_STREQ(entry.inputs[0].name, "pixels");
  EXPECT_EQ(entry.inputs[0].dtype, VITRIFY_F32);
  ASSERT_EQ(entry.inputs[0].rank, 4);
  EXPECT_EQ(entry.inputs[0].dims[0].symbol, 0);
  EXPECT_EQ(entry.inputs[0].dims[3].symbol, -1);
  EXPECT_EQ(entry.inputs[0].dims[3].value, 7);
  vitrify_memory_info memory = program.memory("forward", {8});
  EXPECT_EQ(memory.arena_bytes, 2048u);
  EXPECT_EQ(memory.scratch_bytes, 0u);
  EXPECT_THROW(program.memory("forward", {9}), Error);
  EXPECT_THROW(program.memory("forward", {}), Error);
  EXPECT_THROW(program.memory("nothing", {1}), Error);
}

TEST_F(CApi, WrapperRunsAndThrows) {
  Program program(bundle);
  Context context(program);
  std::vector<float> pixels = randomPixels(3, 1), expected = expectedLogits(pixels);
  std::vector<Result> results = context.run({floats(pixels, {3, 1, 5, 7})}, "forward");
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].shape, (std::vector<int64_t>{3, kClasses}));
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(results[0].values[i], expected[i], 1e-4f);
  try {
    context.run({floats(pixels, {0, 1, 5, 7})}, "forward");
    FAIL();
  } catch (const Error &error) {
    EXPECT_EQ(error.code, VITRIFY_INVALID_ARGUMENT);
    EXPECT_STREQ(error.what(), "input 'pixels': images is 0, expected 1 to 8");
  }
}

TEST_F(CApi, LowMemoryWithAndWithoutABudget) {
  std::vector<float> pixels = randomPixels(8, 1), expected = expectedLogits(pixels);
  for (uint64_t budget : {uint64_t(0), uint64_t(2884), uint64_t(3000), uint64_t(1) << 30}) {
    vitrify_options options{};
    options.memory_mode = VITRIFY_MEMORY_LOW;
    options.weight_budget = budget;
    options.threads = 2;
    Program program(bundle, options);
    EXPECT_GT(program.memory("forward", {8}).scratch_bytes, 0u);
    if (budget)
      EXPECT_LE(program.memory("forward", {8}).weight_bytes, budget);
    Context context(program);
    for (int round = 0; round < 3; ++round) {
      std::vector<float> found = context.run({floats(pixels, {8, 1, 5, 7})}, "forward")[0].values;
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_NEAR(found[i], expected[i], 1e-4f);
    }
  }
}

TEST_F(CApi, LowMemoryPanelByPanel) {
  // One panel a thread is in memory, not the whole weight; a row alone is shared by threads that each make the panel.
  TempFolder other;
  TestBundleOptions how;
  how.change = [](vitrify::ManifestTarget &, vitrify::Plan &plan) { workByPanel(plan); };
  writeTestBundle(other / "b", how);
  for (uint32_t threads : {1u, 2u, 5u})
    for (vitrify_memory_mode mode : {VITRIFY_MEMORY_FAST, VITRIFY_MEMORY_LOW}) {
      vitrify_options options{};
      options.memory_mode = mode;
      options.threads = threads;
      Program program(other / "b", options);
      // Of fc1, the larger; as much again is left free behind each, in whole pages.
      uint64_t slot = (2 * kPixels * 16 * 4 + 4095) / 4096 * 4096;
      EXPECT_EQ(program.memory("forward", {8}).scratch_bytes, mode == VITRIFY_MEMORY_LOW ? threads * slot : 0u);
      Context context(program);
      for (int64_t images : {1, 8, 3}) {
        std::vector<float> pixels = randomPixels(images, 4), expected = expectedLogits(pixels);
        std::vector<float> found = context.run({floats(pixels, {images, 1, 5, 7})}, "forward")[0].values;
        for (size_t i = 0; i < expected.size(); ++i)
          EXPECT_NEAR(found[i], expected[i], 1e-4f);
      }
    }
}

TEST_F(CApi, LogsAndThreads) {
  std::vector<std::string> lines;
  vitrify_options options{};
  options.threads = 3;
  options.log = [](int level, const char *text, void *user) {
    static_cast<std::vector<std::string> *>(user)->push_back(std::to_string(level) + text);
  };
  options.log_user = &lines;
  Program program(bundle, options);
  EXPECT_EQ(program.info().threads, 3u);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0], "2opened '" + bundle + "' for x86-64-v3 on cpu");
}

// DLTensor of DLPack, declared again: the layout is what other libraries pass.
struct DLTensorLike {
  void *data;
  int32_t deviceType, deviceId, rank;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t offset;
};

TEST_F(CApi, DLPackTensors) {
  std::vector<float> pixels = randomPixels(2, 4), expected = expectedLogits(pixels);
  int64_t shape[] = {2, 1, 5, 7}, dense[] = {35, 99, 7, 1}, strided[] = {70, 35, 7, 1};
  std::vector<float> shifted(pixels.size() + 1);
  std::copy(pixels.begin(), pixels.end(), shifted.begin() + 1);
  DLTensorLike dl{shifted.data(), 1, 0, 4, 2, 32, 1, shape, nullptr, 4};
  Program program(bundle);
  Context context(program);
  for (int64_t *strides : {static_cast<int64_t *>(nullptr), dense}) { // a stride of a dimension of 1 says nothing
    dl.strides = strides;
    vitrify_tensor tensor;
    check(vitrify_tensor_from_dlpack(&dl, &tensor));
    std::vector<float> found = context.run({tensor}, "forward")[0].values;
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], 1e-4f);
  }
  vitrify_tensor tensor;
  dl.strides = strided;
  EXPECT_EQ(message(vitrify_tensor_from_dlpack(&dl, &tensor), VITRIFY_UNSUPPORTED),
            "DLPack tensor with stride 70 in dimension 0, expected 35: copy it first");
  dl.strides = nullptr;
  dl.code = 5;
  EXPECT_THAT(message(vitrify_tensor_from_dlpack(&dl, &tensor), VITRIFY_UNSUPPORTED), HasSubstr("type code 5"));
  dl.code = 2;
  dl.deviceType = 2;
  check(vitrify_tensor_from_dlpack(&dl, &tensor));
  EXPECT_EQ(tensor.memory, VITRIFY_DEVICE);
  EXPECT_THROW(context.run({tensor}, "forward"), Error); // the CPU cannot read it
}

TEST_F(CApi, ThreadsShareAProgram) {
  Program program(bundle);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Context context(program);
      std::vector<float> pixels = randomPixels(2, t), expected = expectedLogits(pixels);
      for (int i = 0; i < 25; ++i) {
        std::vector<float> found = context.run({floats(pixels, {2, 1, 5, 7})}, "forward")[0].values;
        for (size_t k = 0; k < expected.size(); ++k)
          wrong += std::abs(found[k] - expected[k]) > 1e-4f;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

} // namespace
