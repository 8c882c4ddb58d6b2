//===- InspectTest.cpp - reports say what is in the bundle ---------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "../Support/TempFolder.h"
#include "SamplePlan.h"
#include "vitrify/Bundle/Inspect.h"

using namespace vitrify;
using namespace vitrify::test;

TEST(Inspect, ReportsWhatIsInTheBundle) {
  TempFolder folder;
  ASSERT_TRUE(writeSampleBundle(folder.path("m")).ok());
  auto bundle = Bundle::open(folder.path("m"));
  auto report = inspectBundle(*bundle);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ((*report)["model"]["license"], "Apache-2.0");
  const Json &weights = (*report)["weights"];
  EXPECT_EQ(weights["file_bytes"], std::filesystem::file_size(folder.path("m/weights.safetensors")));
  EXPECT_EQ(weights["tensor_bytes"], 16 * 8 * 4 + 4);
  EXPECT_EQ(weights["saved_by_sharing"], 16 * 8 * 4);
  EXPECT_EQ(weights["bytes_by_dtype"]["F32"], 16 * 8 * 4 + 4);
  EXPECT_EQ(weights["tensors"][0]["shared_with"][0], "b1.w");
  ASSERT_EQ((*report)["targets"].size(), 2u);
  const Json &target = (*report)["targets"][0];
  EXPECT_EQ(target["code_bytes"], std::filesystem::file_size(folder.path("m/targets/x86-64-v3/kernels.so")));
  EXPECT_EQ(target["layers"][0]["instructions"], "f32");
  EXPECT_EQ(target["kernels"][0]["steps"], 4); // three launches and one in a body
  EXPECT_EQ(target["kernels"][0]["metrics"]["registers"], 24);
  const Json &program = target["programs"][0];
  EXPECT_EQ(program["arena_bytes"]["tuned"], 8 * 128);
  EXPECT_EQ(program["arena_bytes"]["max"], 64 * 128);
  EXPECT_EQ(program["steps"].size(), 6u);
  EXPECT_EQ(program["steps"][0]["grid"], Json({2, 1, 1}));
  EXPECT_EQ(program["steps"][1]["weights"][0], "b1.w");
  EXPECT_EQ(program["steps"][4]["body"][0]["reads"][0], "b2.out");
  EXPECT_EQ(program["buffers"][1]["bytes"]["max"], 64 * 64);
  EXPECT_EQ((*report)["preprocess"]["labels"][1], "one");

  std::string text = printInspection(*report);
  for (const char *part : {"Entry forward(pixels F32[images, 16]) -> (logits F32[images, 16])", "images from 1 to 64, tuned for 8",
                           "linear_f32_k8", "asked for", "exit_if", "b1.w", "arena 1,024 bytes (1.0 KiB) at the tuned shapes",
                           "512 bytes saved by sharing", "4.0  "})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(Inspect, RefusesADamagedPlan) {
  TempFolder folder;
  ASSERT_TRUE(writeSampleBundle(folder.path("m")).ok());
  std::string plan = TempFolder::read(folder.path("m/targets/x86-64-v4/plan.json"));
  plan[plan.find("b0.out")] = 'c';
  folder.write("m/targets/x86-64-v4/plan.json", plan);
  auto bundle = Bundle::open(folder.path("m"));
  ASSERT_TRUE(bundle.ok());
  EXPECT_NE(inspectBundle(*bundle).status().message().find("plan.json' of bundle"), std::string::npos);
}
