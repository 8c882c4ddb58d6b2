//===- LaunchModelTest.cpp - the estimate against sums done by hand -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/LaunchModel.h"

#include <gtest/gtest.h>

using namespace vitrify;

namespace {

const Chip &chip(std::string_view name) { return **findChip(name); }

/// A 128 x 128 tile over K of FP8, alone on its SM.
KernelLaunch bigTile(double blocks, double depth) {
  KernelLaunch k;
  k.blocks = blocks;
  k.threadsPerBlock = 256;
  k.registersPerThread = 168;
  k.sharedBytesPerBlock = 64 << 10;
  k.loop.macs.f8 = 128 * 128 * depth;
  k.loop.l2Bytes = 256 * depth;
  k.stages = 4;
  k.stageBytes = 256 * 64;
  return k;
}

TEST(LaunchModel, OneTileATime) {
  const Chip &ada = chip("RTX 4090");
  LaunchEstimate e = estimateLaunch(bigTile(36, 768), ada);
  EXPECT_EQ(e.residentPerSM, 1);
  EXPECT_EQ(e.rounds, 1);
  EXPECT_EQ(e.blocksOnBusiestSM, 1);
  // 512 FP8 multiply-adds a clock: 128 * 128 * 768 / 512 cycles.
  EXPECT_DOUBLE_EQ(e.loop.tensor, 24576);
  EXPECT_EQ(e.limiter, "tensor");
  EXPECT_DOUBLE_EQ(e.pipeCeiling, 1);
  EXPECT_DOUBLE_EQ(e.fillShare, 36.0 / 128);
  EXPECT_NEAR(e.nanoseconds, 24576 / 2.52 + ada.memoryLatencyNs, 1e-6);
}

TEST(LaunchModel, ASecondRoundTakesAsLongAsTheFirst) {
  const Chip &ada = chip("RTX 4090");
  double one = estimateLaunch(bigTile(128, 768), ada).nanoseconds;
  LaunchEstimate two = estimateLaunch(bigTile(129, 768), ada);
  EXPECT_EQ(two.rounds, 2);
  EXPECT_NEAR(two.nanoseconds, 2 * one, 1e-6);
}

TEST(LaunchModel, ResidentBlocksShareTheirPipes) {
  const Chip &ada = chip("RTX 4090");
  KernelLaunch k = bigTile(129, 768);
  k.registersPerThread = 128;
  k.sharedBytesPerBlock = 48 << 10;
  LaunchEstimate e = estimateLaunch(k, ada);
  EXPECT_EQ(e.residentPerSM, 2);
  EXPECT_EQ(e.rounds, 1);
  EXPECT_EQ(e.blocksOnBusiestSM, 2);
  EXPECT_DOUBLE_EQ(e.loop.tensor, 2 * 24576);
  // 128 blocks leave one on each SM.
  k.blocks = 128;
  EXPECT_DOUBLE_EQ(estimateLaunch(k, ada).loop.tensor, 24576);
}

TEST(LaunchModel, TheSlowestPipeLimits) {
  const Chip &l4 = chip("L4");
  KernelLaunch k = bigTile(58, 768);
  k.stageBytes = 0;
  double tensor = estimateLaunch(k, l4).loop.tensor;
  k.loop.warpInstructions = 8 * tensor;
  LaunchEstimate e = estimateLaunch(k, l4);
  EXPECT_EQ(e.limiter, "issue");
  EXPECT_DOUBLE_EQ(e.pipeCeiling, 0.5);
  k.loop.mufuInstructions = 4 * tensor / 2; // 32 lanes at 16 a clock
  e = estimateLaunch(k, l4);
  EXPECT_EQ(e.limiter, "mufu");
  EXPECT_DOUBLE_EQ(e.pipeCeiling, 0.25);
}

TEST(LaunchModel, FewBytesInFlightAreSlow) {
  const Chip &l4 = chip("L4");
  KernelLaunch k = bigTile(58, 768);
  k.loop.macs.f8 /= 64; // a few rows only
  k.stages = 2;
  k.stageBytes = 2048;
  LaunchEstimate e = estimateLaunch(k, l4);
  EXPECT_EQ(e.limiter, "latency");
  EXPECT_NEAR(e.loopCycles, 256.0 * 768 * l4.l2LatencyCycles / 2048, 1e-6);
}

TEST(LaunchModel, OnlyTheLastEpilogueIsExposedWhenBlocksOverlap) {
  const Chip &ada = chip("RTX 4090");
  KernelLaunch k = bigTile(128 * 8, 768);
  k.registersPerThread = 128;
  k.sharedBytesPerBlock = 48 << 10;
  k.epilogue.warpInstructions = 4 * 1000;
  LaunchEstimate e = estimateLaunch(k, ada);
  EXPECT_EQ(e.rounds, 4);
  EXPECT_DOUBLE_EQ(e.exposedEpilogueCycles, 2 * 1000);
  k.registersPerThread = 200; // one block an SM: nothing hides them
  e = estimateLaunch(k, ada);
  EXPECT_EQ(e.residentPerSM, 1);
  EXPECT_DOUBLE_EQ(e.exposedEpilogueCycles, 8 * 1000);
}

TEST(LaunchModel, MemoryIsAFloor) {
  const Chip &l4 = chip("L4");
  KernelLaunch k = bigTile(58, 768);
  k.dramBytes = 300e6;
  LaunchEstimate e = estimateLaunch(k, l4);
  EXPECT_EQ(e.limiter, "dram");
  EXPECT_NEAR(e.nanoseconds, 1e6 + l4.memoryLatencyNs, 1e-3);
}

TEST(LaunchModel, OneWarpHasOneSchedulerAndOneTensorCore) {
  const Chip &ada = chip("RTX 4090");
  KernelLaunch k = bigTile(1, 768);
  k.threadsPerBlock = 32;
  EXPECT_DOUBLE_EQ(estimateLaunch(k, ada).loop.tensor, 4 * 24576);
}

TEST(LaunchModel, ABlockThatDoesNotFitHasNoTime) {
  KernelLaunch k = bigTile(1, 768);
  k.sharedBytesPerBlock = 200 << 10;
  LaunchEstimate e = estimateLaunch(k, chip("L4"));
  EXPECT_EQ(e.residentPerSM, 0);
  EXPECT_EQ(e.nanoseconds, 0);
}

TEST(Chips, AreFoundByNameAndTarget) {
  EXPECT_EQ((*findChip("rtx4090"))->name, "RTX 4090");
  EXPECT_EQ((*findChip("sm_90"))->target, "sm_90a");
  auto none = findChip("sm_50");
  ASSERT_FALSE(none);
  EXPECT_NE(none.status().message().find("RTX 4090 (sm_89)"), std::string::npos);
}

TEST(LaunchModel, OperandsCrossL2EvenWhenMemoryIsNotAsked) {
  const Chip &l4 = chip("L4");
  KernelLaunch k;
  k.blocks = 394;
  k.loop.warpInstructions = 1;
  k.operandBytes = k.dramBytes = 12e6;
  EXPECT_EQ(estimateLaunch(k, l4).limiter, "dram");
  EXPECT_NEAR(estimateLaunch(k, l4).nanoseconds, 12e6 / 300 + l4.memoryLatencyNs, 1e-3);
  k.dramBytes = 0; // 58 SMs, 16 bytes a clock each, 2.04 GHz
  EXPECT_EQ(estimateLaunch(k, l4).limiter, "l2");
  EXPECT_NEAR(estimateLaunch(k, l4).nanoseconds, 12e6 / (58 * 16 * 2.04) + l4.memoryLatencyNs, 1e-3);
}

} // namespace
