//===- LinearTilesTest.cpp - tiles of linears by the launch model -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "../../../lib/Target/NVPTX/LinearTiles.h"

#include <gtest/gtest.h>

using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

const Chip &chip(const char *name) { return **findChip(name); }

LinearProblem problem(int64_t columns, int64_t depth, double instructions, double bytes) {
  LinearProblem p;
  p.columns = columns;
  p.depth = depth;
  p.epilogueInstructions = instructions;
  p.epilogueBytes = bytes;
  return p;
}

/// The four linears of a layer of ViT-B: q, k and v; projection and residual; fc1, GELU and requantise; fc2 and residual.
std::vector<LinearProblem> vitBase() {
  return {problem(2304, 768, 2, 2), problem(768, 768, 4.2, 4), problem(3072, 768, 12, 1), problem(768, 3072, 4.2, 4)};
}

constexpr unsigned kMost = 6;

std::vector<int64_t> rowsOfImages() {
  std::vector<int64_t> rows;
  for (int64_t images : {1, 2, 4, 8, 16, 32, 64})
    rows.push_back(197 * images);
  return rows;
}

const LinearTile &serving(const std::vector<LinearChoice> &choices, int64_t rows) {
  for (const LinearChoice &choice : choices)
    if (rows <= choice.rowsMax)
      return choice.tile;
  return choices.back().tile;
}

/// Milliseconds of the 12 layers on a chip, with tiles chosen for these.
double estimate(const std::vector<const Chip *> &tuned, const Chip &on, int64_t images) {
  double sum = 0;
  for (const LinearProblem &p : vitBase())
    sum += 12e-6 * costOf(p, serving(chooseTiles(p, tuned, rowsOfImages(), kMost), 197 * images), 197 * images, on);
  return sum;
}

TEST(LinearTiles, estimateOfViTBase) {
  // Milliseconds that tiles chosen for one chip have reached by the model, weights read from memory; a change that makes them longer
  // must say why.
  struct Line {
    const char *chip;
    int64_t images;
    double reached;
  };
  const std::vector<const Chip *> all = {&chip("RTX 4090"), &chip("L4"), &chip("L40S")};
  for (const Line &line : {Line{"RTX 4090", 1, 0.20}, {"RTX 4090", 8, 0.94}, {"RTX 4090", 32, 3.40},
                           {"L4", 1, 0.37}, {"L4", 8, 1.39}, {"L4", 32, 4.89},
                           {"L40S", 1, 0.19}, {"L40S", 8, 0.54}, {"L40S", 32, 1.73}}) {
    const Chip &on = chip(line.chip);
    double tuned = estimate({&on}, on, line.images), shared = estimate(all, on, line.images), macs = 0;
    for (const LinearProblem &p : vitBase())
      macs += 12.0 * 197 * line.images * p.columns * p.depth;
    double least = macs / on.tensorF8 / on.smCount / on.clockKHz; // of tensor instructions alone
    std::printf("%s, %ld images: %.3f ms tuned for it, %.3f ms for all of sm_89, %.3f ms of tensor instructions\n", line.chip,
                long(line.images), tuned, shared, least);
    EXPECT_LT(tuned, line.reached) << line.chip << ", " << line.images;
    EXPECT_GT(tuned, least);
    EXPECT_LT(tuned, shared * 1.001);
    EXPECT_LT(shared, tuned * 1.3);
  }
}

TEST(LinearTiles, sumsInF16HelpGeForceAlone) {
  for (const char *name : {"RTX 4090", "L40S"}) {
    double f32 = 0, f16 = 0;
    for (LinearProblem p : vitBase())
      for (bool half : {false, true}) {
        p.f16Sums = half;
        p.promoteDepth = half ? 32 : 0;
        std::vector<const Chip *> chips = {&chip(name)};
        (half ? f16 : f32) += costOf(p, serving(chooseTiles(p, chips, rowsOfImages(), kMost), 6304), 6304, chip(name));
      }
    EXPECT_EQ(f16 < 0.8 * f32, std::string_view(name) == "RTX 4090") << name << ": " << f16 << " against " << f32;
  }
}

TEST(LinearTiles, rangesCoverAllRowsAndTheLastIsNotSplit) {
  for (const LinearProblem &p : vitBase()) {
    std::vector<const Chip *> chips = {&chip("RTX 4090")};
    auto choices = chooseTiles(p, chips, rowsOfImages(), kMost);
    ASSERT_FALSE(choices.empty());
    EXPECT_LE(choices.size(), kMost);
    EXPECT_EQ(choices.back().rowsMax, INT64_MAX);
    EXPECT_EQ(choices.back().tile.split, 1);
    for (size_t i = 0; i < choices.size(); ++i) {
      EXPECT_TRUE(buildable(p, choices[i].tile, *chips[0])) << choices[i].tile.name();
      if (i)
        EXPECT_GT(choices[i].rowsMax, choices[i - 1].rowsMax);
    }
  }
}

TEST(LinearTiles, theLastRangeIsSplitWhereRowsAreBounded) {
  std::vector<const Chip *> chips = {&chip("L40S")};
  std::vector<int64_t> few = {16};
  LinearProblem p = problem(768, 12288, 4.2, 4);
  auto open = chooseTiles(p, chips, few, kMost), bounded = chooseTiles(p, chips, few, kMost, true);
  EXPECT_EQ(open.back().tile.split, 1);
  EXPECT_GT(bounded.back().tile.split, 1);
  EXPECT_EQ(bounded.back().rowsMax, 16);
}

TEST(LinearTiles, oneImageFillsTheChip) {
  // At least three quarters of the SMs of a 4090 have a block of each linear.
  std::vector<const Chip *> chips = {&chip("RTX 4090")};
  for (const LinearProblem &p : vitBase()) {
    LinearTile tile = chooseTiles(p, chips, rowsOfImages(), kMost).front().tile;
    EXPECT_GE(launchOf(p, tile, 197).blocks, 0.75 * 128) << tile.name();
  }
}

TEST(LinearTiles, splitOnlyWhereAllowed) {
  LinearProblem p = problem(768, 3072, 4.5, 4);
  p.maySplit = false;
  for (const LinearTile &tile : candidateTiles(p, chip("L40S")))
    ASSERT_EQ(tile.split, 1);
}

TEST(LinearTiles, workOfALaunchByHand) {
  // 2 x 3 blocks of 128x64, K = 256 in 4 stages of 64 bytes, two warps of 64x64: 4 x 8 fragments.
  LinearProblem p = problem(192, 256, 3, 2);
  KernelLaunch launch = launchOf(p, {128, 64, 64, 3, 2, 1, false, 1}, 200);
  EXPECT_EQ(launch.blocks, 6);
  EXPECT_EQ(launch.threadsPerBlock, 64);
  EXPECT_EQ(launch.sharedBytesPerBlock, 3u * 192 * 64);
  EXPECT_EQ(launch.loop.macs.f8, 128.0 * 64 * 256);
  EXPECT_EQ(launch.usefulMacs, 200.0 * 192 * 256);
  EXPECT_EQ(launch.loop.l2Bytes, (100 + 64) * 256.0);      // the second row of blocks reads 72 rows
  EXPECT_GE(launch.loop.warpInstructions, 2 * 8 * (32 + 8)); // mma.sync and ldmatrix.x4
}

} // namespace
