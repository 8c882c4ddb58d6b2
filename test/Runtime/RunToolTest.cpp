//===- RunToolTest.cpp - vitrify-run as a user calls it -------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TestBundle.h"

#include "vitrify/Support/File.h"
#include "vitrify/Support/Npy.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <png.h>
#include <span>
#include <sys/wait.h>

using namespace vitrify;
using namespace vitrify::test;
using testing::HasSubstr;
using testing::StartsWith;

namespace {

struct Ran {
  int status = -1;
  std::string out;
};

Ran runTool(const std::string &arguments) {
  Ran result;
  FILE *pipe = popen((std::string(TEST_RUN_TOOL) + " " + arguments + " 2>&1").c_str(), "r");
  if (!pipe)
    return result;
  char buffer[4096];
  while (size_t n = std::fread(buffer, 1, sizeof buffer, pipe))
    result.out.append(buffer, n);
  int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

class RunTool : public testing::Test {
protected:
  TempFolder folder;
  std::string bundle = folder / "b";

  void SetUp() override { writeTestBundle(bundle); }

  std::string writePixels(const std::string &name, const std::vector<float> &pixels, std::vector<int64_t> shape) {
    std::string path = folder / name;
    EXPECT_TRUE(writeNpy(path, DType::F32, shape, std::as_bytes(std::span(pixels))).ok());
    return path;
  }
  std::string writePng(const std::string &name, int width, int height, const std::vector<uint8_t> &grey) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = unsigned(width);
    image.height = unsigned(height);
    image.format = PNG_FORMAT_GRAY;
    std::string path = folder / name;
    EXPECT_TRUE(png_image_write_to_file(&image, path.c_str(), 0, grey.data(), 0, nullptr));
    return path;
  }
  /// One line that begins with the tool's name, exit status 1, and no result.
  std::string error(const std::string &arguments) {
    Ran ran = runTool(arguments);
    EXPECT_EQ(ran.status, 1) << ran.out;
    EXPECT_THAT(ran.out, StartsWith("vitrify-run: error: "));
    EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 1) << ran.out;
    return ran.out.substr(0, ran.out.size() - 1).substr(std::string("vitrify-run: error: ").size());
  }
};

TEST_F(RunTool, ArraysInArraysOut) {
  std::vector<float> pixels = randomPixels(11, 1);
  std::string in = writePixels("x.npy", pixels, {11, 1, 5, 7}), out = folder / "y.npy";
  for (const char *batch : {"", " --batch 3", " --batch=1 --low-memory --threads 1"}) {
    Ran ran = runTool(bundle + " --entry=forward --input " + in + " --output=" + out + batch);
    ASSERT_EQ(ran.status, 0) << ran.out;
    EXPECT_EQ(ran.out, "");
    auto result = readNpy(out);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result->shape, (std::vector<int64_t>{11, kClasses}));
    std::vector<float> logits = *result->toFloats(), expected = expectedLogits(pixels);
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(logits[i], expected[i], 1e-4f);
  }
}

TEST_F(RunTool, ImagesAndLabels) {
  std::vector<uint8_t> a, b;
  std::vector<float> pixels;
  for (int i = 0; i < kPixels; ++i)
    a.push_back(uint8_t(i * 7));
  for (int i = 0; i < kPixels; ++i)
    b.push_back(uint8_t(255 - i * 5));
  for (const auto *image : {&a, &b})
    for (uint8_t value : *image)
      pixels.push_back(float((value / 255.0 - 0.25) / 0.5));
  std::string inputs = " --input " + writePng("a.png", 7, 5, a) + " --input " + writePng("b.png", 7, 5, b);
  Ran ran = runTool(bundle + " --entry forward --top-k 2" + inputs);
  ASSERT_EQ(ran.status, 0) << ran.out;
  std::vector<float> expected = expectedLogits(pixels);
  size_t best = size_t(std::max_element(expected.begin(), expected.begin() + 10) - expected.begin());
  EXPECT_THAT(ran.out, StartsWith(folder / "a.png: " + std::to_string(best) + " (class " + std::to_string(best) + ") "));
  EXPECT_THAT(ran.out, HasSubstr("\n" + (folder / "b.png") + ": "));
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), ','), 2);
}

TEST_F(RunTool, BadImages) {
  const std::string run = bundle + " --entry forward --input ";
  EXPECT_EQ(error(run + writePng("big.png", 8, 5, std::vector<uint8_t>(40))),
            "'" + (folder / "big.png") +
                "': the image is 8 x 5 pixels, the model takes 7 x 5 and preprocess.json says no resize to it");
  std::string text = folder / "text.png";
  ASSERT_TRUE(writeFileAtomically(text, "this is not a picture").ok());
  EXPECT_EQ(error(run + text), "'" + text + "' is neither a PNG nor a JPEG image");
  std::string good = writePng("good.png", 7, 5, std::vector<uint8_t>(35, 9)), bytes = *readFile(good);
  for (size_t length : {size_t(8), size_t(20), size_t(40), bytes.size() - 20, bytes.size() - 5}) {
    std::string cut = folder / "cut.png";
    ASSERT_TRUE(writeFileAtomically(cut, bytes.substr(0, length)).ok());
    EXPECT_THAT(error(run + cut), StartsWith("'" + cut + "': damaged PNG: ")) << length;
  }
  EXPECT_THAT(error(run + (folder / "none.png")), HasSubstr("none.png"));
  EXPECT_THAT(error(run + folder.path()), HasSubstr(folder.path()));
}

TEST_F(RunTool, BadArrays) {
  const std::string run = bundle + " --entry forward --input ";
  EXPECT_EQ(error(run + writePixels("s.npy", randomPixels(2, 1), {2, 35})),
            "input 'pixels': expected [images, 1, 5, 7], found [2, 35]");
  EXPECT_EQ(error(run + writePixels("e.npy", {}, {0, 1, 5, 7})),
            "--batch is 0, the bundle takes 1 to 8 images");
  std::vector<int32_t> integers(35);
  std::string ints = folder / "i.npy";
  ASSERT_TRUE(writeNpy(ints, DType::I32, std::vector<int64_t>{1, 1, 5, 7}, std::as_bytes(std::span(integers))).ok());
  EXPECT_EQ(error(run + ints), "'" + ints + "': input 'pixels' takes F32, found I32");
  std::string good = writePixels("g.npy", randomPixels(2, 1), {2, 1, 5, 7}), text = folder / "t.npy";
  ASSERT_TRUE(writeFileAtomically(text, "0 1 2 3").ok());
  EXPECT_THAT(error(run + text), HasSubstr(text));
  std::string cut = folder / "c.npy";
  ASSERT_TRUE(writeFileAtomically(cut, readFile(good)->substr(0, 200)).ok());
  EXPECT_THAT(error(run + cut), HasSubstr(cut));
  EXPECT_EQ(error(run + good + " --batch 0"), "--batch takes a number from 1 to 1000000, found '0'");
  EXPECT_EQ(error(run + good + " --batch 9"), "--batch is 9, the bundle takes 1 to 8 images");
  EXPECT_EQ(error(run + good + " --input " + good), "entry 'forward' takes 1 arrays, found 2");
  std::string denied = folder / "missing" ;
  EXPECT_THAT(error(run + good + " --output " + denied + "/y.npy"), HasSubstr(denied));
}

TEST_F(RunTool, BadOptionsAndBundles) {
  std::string good = writePixels("g.npy", randomPixels(2, 1), {2, 1, 5, 7});
  const std::string tail = " --entry forward --input " + good;
  EXPECT_EQ(error(bundle), "no --input given, see --help");
  EXPECT_EQ(error("--input " + good), "no bundle given, see --help");
  EXPECT_EQ(error(bundle + tail + " --frobnicate"), "unknown option --frobnicate, see --help");
  EXPECT_EQ(error(bundle + tail + " --device tpu"), "unknown device 'tpu', expected cpu, cuda or cuda:N");
  EXPECT_THAT(error(bundle + tail + " --device emulator"), HasSubstr("emulate"));
  EXPECT_THAT(error(bundle + tail + " --device cuda"),
              testing::AnyOf(HasSubstr("no CUDA driver: "), HasSubstr("finds no GPU"), HasSubstr("this GPU has")));
  EXPECT_EQ(error(bundle + tail + " --target sm_90a"), "the bundle has no target 'sm_90a', it has x86-64-v3");
  EXPECT_THAT(error(folder / "nothing" + tail), HasSubstr(folder / "nothing"));
  EXPECT_THAT(error(folder.path() + tail), HasSubstr("manifest.json"));
  EXPECT_THAT(error(bundle + tail + " --top-k many"), HasSubstr("--top-k takes a number"));
  EXPECT_THAT(error(bundle + tail + " --weight-budget 16"), HasSubstr("the weight budget of 16 bytes is too small: step '"));
  Ran help = runTool("--help");
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("Examples:"));
}

TEST_F(RunTool, ProfileAndBench) {
  std::string in = writePixels("x.npy", randomPixels(4, 1), {4, 1, 5, 7});
  Ran ran = runTool(bundle + " --entry forward --profile --input " + in);
  ASSERT_EQ(ran.status, 0) << ran.out;
  for (const char *word : {"fc1", "linear_f32_panel16", "relu_large", "fc2", "total"})
    EXPECT_THAT(ran.out, HasSubstr(word));
  for (const char *more : {"", " --contexts 2 --threads 1", " --batch 8"}) {
    ran = runTool(bundle + " --entry forward --bench 20 --warmup 2" + more);
    ASSERT_EQ(ran.status, 0) << ran.out;
    EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 1);
    auto json = nlohmann::json::parse(ran.out, nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << ran.out;
    EXPECT_EQ(json["device"], "cpu");
    EXPECT_EQ(json["precision"], "fp8");
    EXPECT_EQ(json["runs"], 20);
    EXPECT_GT(json["p50_ms"], 0.0);
    EXPECT_LE(json["p50_ms"], json["p90_ms"]);
    EXPECT_LE(json["p90_ms"], json["p99_ms"]);
    EXPECT_GT(json["images_per_s"], 0.0);
    EXPECT_GT(json["first_ms"], 0.0);
    EXPECT_GT(json["peak_rss_bytes"], 1 << 20);
  }
  EXPECT_EQ(error(bundle + " --entry forward --bench 5 --batch 9"), "--batch is 9, the bundle takes 1 to 8 images");
}

TEST_F(RunTool, BundleForAnotherCpu) {
  TestBundleOptions options;
  options.change = [](ManifestTarget &target, Plan &) { target.needs.push_back("amx_tile_7"); };
  writeTestBundle(folder / "other", options);
  EXPECT_EQ(error(folder / "other --bench 1"),
            "no code of this bundle runs on this CPU: target x86-64-v3 needs a CPU with amx_tile_7, which this one "
            "lacks: compile it with a lower --target such as x86-64-v3 too");
  options.change = nullptr;
  options.targets = {"sm_89"};
  writeTestBundle(folder / "gpu", options);
  EXPECT_EQ(error(folder / "gpu --bench 1"),
            "this bundle has code for sm_89 and none for a CPU: compile it with --target=x86-64-v3 too");
}

TEST_F(RunTool, Signature) {
  auto shell = [&](const std::string &command) { return std::system((command + " >/dev/null 2>&1").c_str()); };
  const std::string key = folder / "key.pem", open = folder / "public.pem", other = folder / "other.pem";
  ASSERT_EQ(shell("openssl genpkey -algorithm ed25519 -out " + key + " && openssl pkey -in " + key + " -pubout -out " +
                  open + " && openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out " + other),
            0);
  const std::string tail = " --entry forward --bench 1 --require-signature ";
  EXPECT_THAT(error(bundle + tail + open), HasSubstr("a signature is required"));
  ASSERT_EQ(shell("openssl pkeyutl -sign -rawin -inkey " + key + " -in " + bundle + "/manifest.json -out " + bundle +
                  "/manifest.json.sig"),
            0);
  EXPECT_EQ(runTool(bundle + tail + open).status, 0) << runTool(bundle + tail + open).out;
  EXPECT_THAT(error(bundle + tail + other), HasSubstr("was not made with the key"));
  EXPECT_THAT(error(bundle + tail + key), HasSubstr("not a PEM file with an Ed25519 public key"));
  // Signing is of these bytes: the same bundle written again with another model name is not signed.
  flipBit(bundle + "/manifest.json.sig", 10);
  EXPECT_THAT(error(bundle + tail + open), HasSubstr("was not made with the key"));
}

} // namespace
