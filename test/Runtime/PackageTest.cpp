//===- PackageTest.cpp - the installed library as others use it -----------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TestBundle.h"

#include "vitrify/Support/File.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

using namespace vitrify;
using namespace vitrify::test;
using testing::HasSubstr;

namespace {

/// Output of a command with "exit N" at the end.
std::string shell(const std::string &command) {
  std::string out;
  FILE *pipe = popen(("(" + command + ") 2>&1; echo exit $?").c_str(), "r");
  char buffer[4096];
  while (size_t n = pipe ? std::fread(buffer, 1, sizeof buffer, pipe) : 0)
    out.append(buffer, n);
  if (pipe)
    pclose(pipe);
  return out;
}

TEST(Package, TheExampleBuildsAgainstTheInstalledPackage) {
  TempFolder folder;
  const std::string prefix = folder / "prefix", build = folder / "build";
  std::string out = shell("cmake --install " TEST_BUILD " --component runtime --prefix " + prefix);
  ASSERT_THAT(out, HasSubstr("exit 0"));
  out = shell("cmake -S " TEST_EXAMPLE " -B " + build + " -G Ninja -DCMAKE_CXX_COMPILER=" TEST_CXX
              " '-DCMAKE_CXX_FLAGS=" TEST_FLAGS "' -DCMAKE_PREFIX_PATH=" + prefix + " && cmake --build " + build);
  ASSERT_THAT(out, HasSubstr("exit 0")) << out;

  TestBundleOptions options;
  options.change = [](ManifestTarget &, Plan &plan) { // the example runs the first entry
    std::erase_if(plan.programs, [](const PlanProgram &program) { return program.name != "forward"; });
  };
  writeTestBundle(folder / "b", options);
  std::string pixels(35, '\0');
  std::vector<float> normal;
  for (size_t i = 0; i < 35; ++i) {
    pixels[i] = char(i * 7);
    normal.push_back(float((double(uint8_t(pixels[i])) / 255 - 0.25) / 0.5));
  }
  ASSERT_TRUE(writeFileAtomically(folder / "x.pgm", "P5\n7 5\n255\n" + pixels).ok());
  std::vector<float> logits = expectedLogits(normal);
  auto best = std::max_element(logits.begin(), logits.end());
  out = shell(build + "/classify " + (folder / "b") + " " + (folder / "x.pgm"));
  int found = -1;
  float score = 0;
  ASSERT_EQ(std::sscanf(out.c_str(), "class %d %f", &found, &score), 2) << out;
  EXPECT_EQ(found, best - logits.begin());
  EXPECT_NEAR(score, *best, 1e-4f);
  EXPECT_THAT(shell(build + "/classify " + (folder / "none") + " " + (folder / "x.pgm")), HasSubstr("error: "));
  EXPECT_THAT(shell(prefix + "/bin/vitrify-run --help"), HasSubstr("exit 0"));
}

TEST(Package, ExportsTheCInterfaceAlone) {
  std::string names = shell("nm -D --defined-only " TEST_LIBRARY " | awk '{print $3}'");
  size_t count = 0;
  for (size_t at = 0; at < names.size();) {
    size_t end = names.find('\n', at);
    std::string name = names.substr(at, end - at);
    at = end + 1;
    if (name.starts_with("vitrify_"))
      ++count;
    else
      EXPECT_TRUE(name.starts_with("exit") || name.starts_with("VITRIFY_") || name.empty()) << name;
  }
  EXPECT_GE(count, 18u);
  EXPECT_THAT(shell("readelf -d " TEST_LIBRARY), HasSubstr("Library soname: [libvitrify.so.0]"));
  EXPECT_THAT(shell("ldd " TEST_LIBRARY), testing::Not(testing::AnyOf(HasSubstr("LLVM"), HasSubstr("MLIR"))));
#ifdef TEST_RELEASE
  EXPECT_LT(std::filesystem::file_size(TEST_LIBRARY), 1000000u);
#endif
}

} // namespace
