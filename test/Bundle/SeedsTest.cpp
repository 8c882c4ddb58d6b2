//===- SeedsTest.cpp - the fuzzers' seeds are what the writers write -----===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Run with VITRIFY_WRITE_SEEDS=1 to write test/Fuzz/corpus again.
#include "../Support/TempFolder.h"
#include "SamplePlan.h"
#include "vitrify/Support/Npy.h"

#include <cstdlib>

using namespace vitrify;
using namespace vitrify::test;

namespace {
/// Name below test/Fuzz/corpus and content of each seed.
std::map<std::string, std::string> seeds() {
  TempFolder folder;
  EXPECT_TRUE(writeSampleBundle(folder.path("m")).ok());
  std::map<std::string, std::string> files = {
      {"plan-fuzz/two-steps.json", printPlan(samplePlan())},
      {"plan-fuzz/gpu.json",
       [] {
         Plan plan = samplePlan("sm_89");
         plan.programs[0].steps[0].blocks = {{128, 1, 1}};
         return printPlan(plan);
       }()},
      {"manifest-fuzz/manifest.json", TempFolder::read(folder.path("m/manifest.json"))},
      {"manifest-fuzz/preprocess.json", TempFolder::read(folder.path("m/preprocess.json"))},
      {"safetensors-fuzz/weights.safetensors", TempFolder::read(folder.path("m/weights.safetensors"))},
  };
  for (DType type : {DType::F32, DType::F16, DType::U8}) {
    int64_t shape[] = {2, 3};
    std::vector<std::byte> data(static_cast<size_t>(*tensorBytes(type, shape)), std::byte{1});
    EXPECT_TRUE(writeNpy(folder.path("x.npy"), type, shape, data).ok());
    files["npy-fuzz/" + std::string(dtypeName(type)) + ".npy"] = TempFolder::read(folder.path("x.npy"));
  }
  return files;
}
} // namespace

TEST(Seeds, AreWhatTheWritersWrite) {
  bool write = std::getenv("VITRIFY_WRITE_SEEDS") != nullptr;
  for (const auto &[name, content] : seeds()) {
    std::string path = std::string(VITRIFY_FUZZ_CORPUS) + "/" + name;
    if (write) {
      std::filesystem::create_directories(std::filesystem::path(path).parent_path());
      EXPECT_TRUE(writeFileAtomically(path, content).ok());
    }
    EXPECT_EQ(TempFolder::read(path), content) << name << " is stale: run with VITRIFY_WRITE_SEEDS=1";
  }
}
