//===- SoakTest.cpp - many requests of many contexts on one program -------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Threads with contexts of their own run batches of all sizes, are cancelled and
// run into time limits, make contexts anew, and all answers are right while memory
// stays flat. VITRIFY_SOAK_IMAGES says how many images (default 4,000 a mode).
//===----------------------------------------------------------------------===//
#include "Devices.h"

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VITRIFY_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define VITRIFY_ADDRESS_SANITIZER
#endif
#ifdef VITRIFY_ADDRESS_SANITIZER
#include <sanitizer/allocator_interface.h>
#endif

using namespace vitrify;
using namespace vitrify::test;

namespace {

int64_t soakImages() {
  const char *text = std::getenv("VITRIFY_SOAK_IMAGES");
  return text ? std::atoll(text) : 4000;
}

/// Bytes of this process that are in memory. Under the address sanitizer freed blocks stay there for a while, so that
/// those count which are not freed.
int64_t heldBytes() {
#ifdef VITRIFY_ADDRESS_SANITIZER
  return int64_t(__sanitizer_get_current_allocated_bytes());
#else
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * 4096;
#endif
}

struct Mode {
  const char *name;
  bool lowMemory, byPanel;
};

class Soak : public testing::TestWithParam<Mode> {
protected:
  void SetUp() override {
    TestBundleOptions options;
    options.turns = 2000;
    if (GetParam().byPanel)
      options.change = [](ManifestTarget &, Plan &plan) { workByPanel(plan); };
    writeTestBundle(folder / "b", options);
    ProgramOptions how;
    how.deviceOptions.lowMemory = GetParam().lowMemory;
    how.deviceOptions.threads = 2;
    auto opened = Program::open(folder / "b", how);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    program = *opened;
  }

  /// One request with a batch of its own; the error, or "".
  static std::string request(Context &context, unsigned seed, int64_t images) {
    std::vector<float> pixels = randomPixels(images, seed), expected = expectedLogits(pixels);
    auto logits = runOne(context, "forward", pixels, {images, 1, 5, 7}, expected.size());
    if (!logits.ok())
      return logits.status().message();
    for (size_t i = 0; i < expected.size(); ++i)
      if (std::abs((*logits)[i] - expected[i]) > 1e-4f)
        return "wrong logits";
    return "";
  }

  /// A long run that is cancelled from elsewhere, or stopped by its limit: it ends with that, or was done before.
  static std::string interrupted(Context &context, bool cancel) {
    std::vector<float> x(64, 3.0f);
    vitrify_run_options limit{};
    limit.time_limit_ns = cancel ? 0 : 20000;
    std::thread other;
    if (cancel)
      other = std::thread([&] { context.cancel(); });
    auto result = runOne(context, "slow", x, {64}, 64, limit);
    if (other.joinable())
      other.join();
    if (result.ok())
      return *result == x ? "" : "wrong copy";
    return result.status().code() == StatusCode::Cancelled ? "" : result.status().message();
  }

  void soak(int64_t images, unsigned seed) {
    std::atomic<int64_t> left{images};
    std::vector<std::string> errors(4);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < errors.size(); ++t)
      threads.emplace_back([&, t] {
        std::mt19937 random(seed * 16 + t);
        std::unique_ptr<Context> context;
        while (errors[t].empty()) {
          const int64_t batch = 1 + random() % kMaxImages;
          if (left.fetch_sub(batch) <= 0)
            return;
          if (!context || random() % 64 == 0) {
            auto made = Context::create(program, {});
            if (!made.ok()) {
              errors[t] = made.status().message();
              return;
            }
            context = std::move(*made);
          }
          errors[t] = request(*context, unsigned(random()), batch);
          if (errors[t].empty() && random() % 32 == 0)
            errors[t] = interrupted(*context, random() % 2);
        }
      });
    for (std::thread &thread : threads)
      thread.join();
    EXPECT_EQ(errors, std::vector<std::string>(4));
  }

  TempFolder folder;
  std::shared_ptr<Program> program;
};

TEST_P(Soak, RightAnswersInFlatMemory) {
  const int64_t images = soakImages();
  soak(images / 2, 1); // arenas, schedules and the allocator's own pools have come to their size
  const int64_t before = heldBytes();
  soak(images / 2, 2);
  EXPECT_LT(heldBytes() - before, int64_t(4) << 20);
}

INSTANTIATE_TEST_SUITE_P(Modes, Soak,
                         testing::Values(Mode{"Fast", false, false}, Mode{"LowMemory", true, false},
                                         Mode{"ByPanel", true, true}),
                         [](const auto &info) { return std::string(info.param.name); });

} // namespace
