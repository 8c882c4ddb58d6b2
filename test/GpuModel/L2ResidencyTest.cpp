//===- L2ResidencyTest.cpp - operands in L2, by hand ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/L2Residency.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

using namespace vitrify;

namespace {

using Ranges = std::vector<MemoryRange>;
constexpr uint64_t kArena = 0, kWeight = 1;

TEST(L2Residency, WhatWasWrittenIsReadFromThere) {
  L2Residency l2(100);
  EXPECT_EQ(l2.launch(Ranges{{kWeight, 0, 20}}, Ranges{{kArena, 0, 40}}).readBytes, 20);
  auto next = l2.launch(Ranges{{kArena, 0, 40}}, Ranges{{kArena, 40, 60}});
  EXPECT_EQ(next.readBytes, 0);
  EXPECT_EQ(next.writtenBytes, 0);
}

TEST(L2Residency, ALaunchThatTouchesTooMuchHitsNothing) {
  L2Residency l2(100);
  l2.launch({}, Ranges{{kArena, 0, 40}});
  // 40 of it and 70 besides: by the time the last of the 40 is read, it may be gone.
  auto next = l2.launch(Ranges{{kArena, 0, 40}, {kWeight, 0, 70}}, {});
  EXPECT_EQ(next.readBytes, 110);
  EXPECT_EQ(next.writtenBytes, 10); // 110 do not fit
}

TEST(L2Residency, TheOldestLeavesAndIsWrittenOnce) {
  L2Residency l2(100);
  l2.launch({}, Ranges{{kArena, 0, 60}});
  auto pushed = l2.launch(Ranges{{kWeight, 0, 80}}, {});
  EXPECT_EQ(pushed.readBytes, 80);
  EXPECT_EQ(pushed.writtenBytes, 40);
  auto again = l2.launch(Ranges{{kWeight, 100, 200}}, {});
  EXPECT_EQ(again.readBytes, 100);
  EXPECT_EQ(again.writtenBytes, 20); // what was left of the 60; the weights are clean
}

TEST(L2Residency, WhatIsOverwrittenInTimeNeverLeaves) {
  L2Residency l2(100);
  int64_t bytes = 0;
  for (int i = 0; i < 10; ++i) {
    bytes += l2.launch({}, Ranges{{kArena, 0, 40}}).bytes();
    bytes += l2.launch(Ranges{{kArena, 0, 40}}, Ranges{{kArena, 40, 90}}).bytes();
  }
  EXPECT_EQ(bytes, 0);
}

TEST(L2Residency, PartsOfRangesHitAlone) {
  L2Residency l2(100);
  l2.launch({}, Ranges{{kArena, 10, 30}});
  EXPECT_EQ(l2.launch(Ranges{{kArena, 0, 50}}, {}).readBytes, 30);
  EXPECT_EQ(l2.launch(Ranges{{kArena, 20, 60}, {kArena, 0, 10}}, {}).readBytes, 10);
}

/// Random launches on caches of several sizes: the largest reads what no launch touched before, and a smaller one never reads less
/// than a larger one (LRU is a stack algorithm). No more is written back than was written.
TEST(L2Residency, LargerCachesReadLess) {
  std::mt19937 random(7);
  auto number = [&](int below) { return int(random() % unsigned(below)); };
  std::vector<L2Residency> caches;
  for (int64_t capacity : {1000, 120, 80, 50, 20})
    caches.emplace_back(capacity);
  std::set<std::pair<uint64_t, int64_t>> seen;
  int64_t writes = 0;
  std::vector<int64_t> back(caches.size(), 0), read(caches.size(), 0);
  for (int step = 0; step < 3000; ++step) {
    if (step % 50 == 0)
      seen.clear();
    // Every 50 launches on other addresses.
    auto some = [&] {
      Ranges ranges;
      for (int i = number(3); i > 0; --i) {
        int64_t begin = number(60);
        ranges.push_back({uint64_t(step / 50 * 2 + number(2)), begin, begin + 1 + number(25)});
      }
      return ranges;
    };
    Ranges reads = some(), written = some();
    int64_t fresh = 0;
    std::set<std::pair<uint64_t, int64_t>> now;
    for (const MemoryRange &r : reads)
      for (int64_t b = r.begin; b < r.end; ++b)
        if (now.insert({r.space, b}).second)
          fresh += !seen.contains({r.space, b});
    for (const MemoryRange &r : written)
      for (int64_t b = r.begin; b < r.end; ++b) {
        writes += 1;
        now.insert({r.space, b});
      }
    seen.insert(now.begin(), now.end());
    int64_t before = 0;
    for (size_t i = 0; i < caches.size(); ++i) {
      auto traffic = caches[i].launch(reads, written);
      if (i == 0)
        EXPECT_EQ(traffic.readBytes, fresh);
      EXPECT_GE(traffic.readBytes, before);
      before = traffic.readBytes;
      read[i] += traffic.readBytes;
      back[i] += traffic.writtenBytes;
      EXPECT_LE(back[i], writes);
    }
  }
  for (size_t i = 1; i < caches.size(); ++i)
    EXPECT_GT(read[i], read[i - 1]);
}

} // namespace
