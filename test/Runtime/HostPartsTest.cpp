//===- HostPartsTest.cpp - the parts of the CPU device --------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "../Support/TempFolder.h"
#include "vitrify/Runtime/Devices/HostX86/CpuFeatures.h"
#include "vitrify/Runtime/Devices/HostX86/HostMemory.h"
#include "vitrify/Weights/Pack.h"
#include "vitrify/Runtime/Devices/HostX86/Residency.h"
#include "vitrify/Runtime/Devices/HostX86/ThreadPool.h"
#include "vitrify/Support/Float8.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <thread>

using namespace vitrify;
using testing::HasSubstr;

namespace {

// ---- Packing: against the formula of the layout, element by element.

double valueAt(DType dtype, const std::byte *data, int64_t index) {
  uint16_t half;
  switch (dtype) {
  case DType::F32: {
    float value;
    std::memcpy(&value, data + index * 4, 4);
    return value;
  }
  case DType::BF16: std::memcpy(&half, data + index * 2, 2); return decodeBF16(half);
  case DType::F16: std::memcpy(&half, data + index * 2, 2); return decodeF16(half);
  case DType::F8E4M3: return decodeE4M3(uint8_t(data[index]));
  default: return int8_t(data[index]);
  }
}

std::vector<std::byte> randomWeight(DType dtype, size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(-3, 3);
  std::vector<std::byte> result(count * dtypeBits(dtype) / 8);
  for (size_t i = 0; i < count; ++i) {
    float value = distribution(generator);
    uint16_t half = dtype == DType::BF16 ? encodeBF16(value) : encodeF16(value);
    if (dtype == DType::F32)
      std::memcpy(&result[i * 4], &value, 4);
    else if (dtype == DType::BF16 || dtype == DType::F16)
      std::memcpy(&result[i * 2], &half, 2);
    else if (dtype == DType::I8)
      result[i] = std::byte(generator() % 256);
    else
      result[i] = std::byte(generator() % 256 == 0x7f ? 0 : generator() % 127); // no NaN
  }
  return result;
}

float roundTo(DType dtype, double value) {
  return dtype == DType::BF16  ? decodeBF16(encodeBF16(float(value)))
         : dtype == DType::F16 ? decodeF16(encodeF16(float(value)))
                               : float(value);
}

struct PackCase {
  const char *layout;
  DType stored;
};
class PackTest : public testing::TestWithParam<PackCase> {};

TEST_P(PackTest, PutsEveryElementInItsPlace) {
  auto layout = parseLayout(GetParam().layout, GetParam().stored);
  ASSERT_TRUE(layout.ok()) << layout.status().message();
  const DType stored = GetParam().stored;
  for (auto [N, K] : {std::pair<int64_t, int64_t>{1, 1}, {64, 64}, {65, 33}, {16, 100}, {130, 257}, {7, 16}, {200, 31}}) {
    std::vector<int64_t> shape{N, K};
    std::vector<std::byte> source = randomWeight(stored, size_t(N * K), unsigned(N + K));
    int64_t bytes = *packedBytes(*layout, shape), units = packUnits(*layout, shape);
    std::vector<std::byte> packed(size_t(bytes) + 64, std::byte(0xee));
    for (int64_t unit = units; unit-- > 0;) // any order, one at a time
      pack(*layout, stored, shape, source.data(), packed.data(), unit, unit + 1);
    for (size_t i = size_t(bytes); i < packed.size(); ++i)
      ASSERT_EQ(packed[i], std::byte(0xee)) << "wrote after the end";
    const int64_t W = layout->panels ? layout->width : 1, I = layout->panels ? layout->interleave : 1;
    const int64_t panels = layout->panels ? (N + W - 1) / W : N, groups = layout->panels ? (K + I - 1) / I : K;
    const int64_t header = layout->sums ? 4 * W : 0, panelElements = header + groups * W * I; // bytes are elements of I8
    ASSERT_EQ(bytes, panels * panelElements * int64_t(dtypeBits(layout->dtype)) / 8);
    for (int64_t n = 0; layout->sums && n < panels * W; ++n) {
      int32_t found, sum = 0;
      for (int64_t k = 0; n < N && k < K; ++k)
        sum += int32_t(valueAt(stored, source.data(), n * K + k));
      std::memcpy(&found, &packed[size_t(n / W * panelElements + 4 * (n % W))], 4);
      ASSERT_EQ(found, -128 * sum);
    }
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t g = 0; g < groups; ++g)
        for (int64_t w = 0; w < W; ++w)
          for (int64_t i = 0; i < I; ++i) {
            int64_t n = p * W + w, k = g * I + i;
            double expected = n < N && k < K ? valueAt(stored, source.data(), n * K + k) : 0;
            ASSERT_EQ(valueAt(layout->dtype, packed.data(), p * panelElements + header + (g * W + w) * I + i),
                      roundTo(layout->dtype, expected))
                << N << "x" << K << ": n " << n << ", k " << k;
          }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, PackTest,
    testing::Values(PackCase{"nk", DType::F32}, PackCase{"nk:BF16", DType::F32}, PackCase{"nk:F32", DType::F8E4M3},
                    PackCase{"panel:w64:k1:F32", DType::F32}, PackCase{"panel:w16:k1:F32", DType::F32},
                    PackCase{"panel:w8:k1:F32", DType::F32}, PackCase{"panel:w64:k2:BF16", DType::BF16},
                    PackCase{"panel:w64:k2:BF16", DType::F8E4M3}, PackCase{"panel:w64:k2:BF16", DType::F32},
                    PackCase{"panel:w16:k1:F32", DType::F8E4M3}, PackCase{"panel:w16:k1:F32", DType::BF16},
                    PackCase{"panel:w16:k1:F32", DType::F16}, PackCase{"panel:w64:k4:F8_E4M3", DType::F8E4M3},
                    PackCase{"panel:w64:k4:I8", DType::I8}, PackCase{"panel:w24:k3:F16", DType::F32},
                    PackCase{"panel:w64:k1:F16", DType::F8E4M3}, PackCase{"panel:w64:k4:I8:sums", DType::I8},
                    PackCase{"panel:w16:k2:I8:sums", DType::I8}, PackCase{"panel:w24:k1:I8:sums", DType::I8}));

TEST(Pack, AllCodesAsBF16) {
  auto layout = parseLayout("panel:w16:k2:BF16", DType::F8E4M3);
  ASSERT_TRUE(layout.ok());
  std::vector<int64_t> shape{8, 32};
  std::vector<std::byte> codes(256), packed(size_t(*packedBytes(*layout, shape)));
  for (int i = 0; i < 256; ++i)
    codes[size_t(i)] = std::byte(i);
  pack(*layout, DType::F8E4M3, shape, codes.data(), packed.data(), 0, 1);
  for (int i = 0; i < 256; ++i) {
    int n = i / 32, k = i % 32;
    uint16_t bits;
    std::memcpy(&bits, &packed[size_t(((k / 2) * 16 + n) * 2 + k % 2) * 2], 2);
    float found = decodeBF16(bits), expected = decodeE4M3(uint8_t(i));
    if (expected != expected)
      EXPECT_NE(found, found) << "code " << i;
    else
      EXPECT_EQ(std::signbit(found) ? -std::abs(found) : found, expected) << "code " << i;
    EXPECT_EQ(std::signbit(found), (i & 0x80) != 0);
  }
}

/// NVFP4 in rows and in panels gives the same panels, element by element; all codes meet all scales.
TEST(Pack, BlocksOfNvfp4) {
  for (auto [N, K, W] : {std::tuple<int64_t, int64_t, int64_t>{1, 16, 64}, {65, 48, 64}, {16, 32, 16}, {7, 16, 24}, {128, 512, 64}}) {
    const int64_t groups = K / 16, panels = (N + W - 1) / W;
    std::vector<std::byte> source(size_t(N * groups * 9));
    for (size_t i = 0; i < source.size(); ++i)
      source[i] = std::byte(i % 9 == 8 ? i / 9 : i * 167 + i / 9); // every scale, the NaNs too
    const std::vector<int64_t> shape{N, groups * 18};
    const std::string width = "panel:w" + std::to_string(W);
    auto stored = parseLayout(width + ":k16:F4", DType::F4E2M1);
    ASSERT_TRUE(stored.ok()) << stored.status().message();
    const std::vector<int64_t> inPanels = *packedShape(*stored, shape);
    ASSERT_EQ(inPanels, (std::vector<int64_t>{panels, groups, 18 * W}));
    std::vector<std::byte> four(size_t(*packedBytes(*stored, shape)));
    ASSERT_EQ(int64_t(four.size()), panels * groups * W * 9);
    for (int64_t unit = packUnits(*stored, shape); unit-- > 0;)
      pack(*stored, DType::F4E2M1, shape, source.data(), four.data(), unit, unit + 1);
    for (DType to : {DType::BF16, DType::F32}) {
      const int64_t I = to == DType::BF16 ? 2 : 1;
      auto layout = parseLayout(width + (I == 2 ? ":k2:BF16" : ":k1:F32"), DType::F4E2M1);
      ASSERT_TRUE(layout.ok());
      std::vector<std::byte> direct(size_t(*packedBytes(*layout, shape)), std::byte(0xee)), twice(direct.size());
      ASSERT_EQ(int64_t(direct.size()), panels * W * K * int64_t(dtypeBits(to)) / 8);
      ASSERT_EQ(*packedBytes(*layout, inPanels), int64_t(twice.size()));
      ASSERT_EQ(packUnits(*layout, inPanels), panels);
      pack(*layout, DType::F4E2M1, shape, source.data(), direct.data(), 0, panels);
      pack(*layout, DType::F4E2M1, inPanels, four.data(), twice.data(), 0, panels);
      ASSERT_EQ(direct, twice);
      for (int64_t n = 0; n < panels * W; ++n)
        for (int64_t k = 0; k < K; ++k) {
          double expected = 0;
          if (n < N) {
            const auto *block = reinterpret_cast<const uint8_t *>(source.data()) + (n * groups + k / 16) * 9;
            expected = double(decodeE2M1(block[k % 16 / 2] >> (k % 2 * 4) & 15)) * double(decodeE4M3(block[8]));
          }
          double found = valueAt(to, direct.data(), ((n / W * (K / I) + k / I) * W + n % W) * I + k % I);
          ASSERT_TRUE(found == expected || (found != found && expected != expected)) << n << ", " << k << ": " << found << ", expected " << expected;
        }
    }
  }
}

TEST(Pack, RefusesBadBlocks) {
  auto error = [](const char *text) { return parseLayout(text, DType::F4E2M1).status().message(); };
  for (const char *text : {"nk:BF16", "panel:w64:k1:BF16", "panel:w64:k2:F32", "panel:w64:k2:F16", "panel:w64:k2:F4", "panel:w64:k4:I8:sums"})
    EXPECT_THAT(error(text), HasSubstr("cannot be made from F4, expected panels of k1:F32, k2:BF16 or k16:F4")) << text;
  auto layout = parseLayout("panel:w64:k2:BF16", DType::F4E2M1);
  ASSERT_TRUE(layout.ok());
  for (std::vector<int64_t> shape : {std::vector<int64_t>{4, 20}, {18}, {2, 3, 18 * 32}, {2, 2, 2, 18}})
    EXPECT_THAT(packedBytes(*layout, shape).status().message(), HasSubstr("blocks of F4 in panels of 64: expected [N, 18 B] or [panels, B, 1152]"));
}

TEST(Pack, OtherRanks) {
  auto layout = parseLayout("panel:w16:k1:F32", DType::F32);
  EXPECT_EQ(*packedBytes(*layout, std::vector<int64_t>{5}), 5 * 16 * 4);       // one row
  EXPECT_EQ(*packedBytes(*layout, std::vector<int64_t>{5, 3, 2}), 6 * 16 * 4); // the rest is K
}

TEST(Pack, RefusesBadLayouts) {
  auto error = [](const char *layout, DType stored = DType::F32) {
    auto result = parseLayout(layout, stored);
    EXPECT_FALSE(result.ok()) << layout;
    return result.status().message();
  };
  EXPECT_THAT(error("rows"), HasSubstr("'rows' is unknown, expected nk, nk:DTYPE or panel:wW:kI:DTYPE"));
  EXPECT_THAT(error("panel:w64"), HasSubstr("is unknown"));
  EXPECT_THAT(error("panel:w0:k1:F32"), HasSubstr("expected w1 to w1024, found 'w0'"));
  EXPECT_THAT(error("panel:w64:k65:F32"), HasSubstr("expected k1 to k64"));
  EXPECT_THAT(error("panel:64:k1:F32"), HasSubstr("found '64'"));
  EXPECT_THAT(error("panel:w64:k1:F33"), HasSubstr("F33"));
  EXPECT_THAT(error("panel:w64:k1:F32:x"), HasSubstr("F32:x"));
  EXPECT_THAT(error("panel:w64:k1:F8_E4M3"), HasSubstr("cannot be made from F32"));
  EXPECT_THAT(error("panel:w64:k1:I8", DType::F8E4M3), HasSubstr("cannot be made from F8_E4M3"));
  EXPECT_EQ(panelLayout(64, 2, DType::BF16), "panel:w64:k2:BF16");
}

// ---- Threads.

TEST(ThreadPool, CoversEveryUnitOnce) {
  for (unsigned threads : {1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int64_t units : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(units));
      pool.forRange(units, [&](int64_t begin, int64_t end) {
        EXPECT_LT(begin, end);
        for (int64_t i = begin; i < end; ++i)
          ++seen[size_t(i)];
      });
      for (auto &count : seen)
        EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPool, ManyShortRegions) {
  ThreadPool pool(3);
  int64_t total = 0;
  std::vector<int64_t> parts(64);
  for (int round = 0; round < 20000; ++round) {
    // Plain memory: what threads wrote is seen when the region has ended, and they see what was written before.
    pool.forRange(16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        parts[size_t(i)] += round + i;
    });
    total += parts[size_t(round % 16)];
    if (round % 997 == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(200)); // the others fall asleep
  }
  EXPECT_GT(total, 0);
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(parts[size_t(i)], int64_t(20000) * 19999 / 2 + 20000 * i);
}

TEST(ThreadPool, StartsAndStopsAtOnce) {
  for (int i = 0; i < 200; ++i)
    ThreadPool pool(4);
}

TEST(ThreadPool, ThreadsSleepBetweenRegions) {
  ThreadPool pool(4);
  pool.forRange(8, [](int64_t, int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  auto cpuTime = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
  };
  double before = cpuTime();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LT(cpuTime() - before, 0.02); // three threads that spin would take up to 0.15 s
}

// ---- CPU features.

TEST(CpuFeatures, AgreeWithTheSystem) {
  // What Linux lists in /proc/cpuinfo is an independent reading of CPUID.
  std::set<std::string> flags;
  FILE *file = std::fopen("/proc/cpuinfo", "r");
  ASSERT_TRUE(file);
  std::vector<char> line(1 << 16);
  while (std::fgets(line.data(), int(line.size()), file) && flags.empty())
    if (std::strncmp(line.data(), "flags", 5) == 0)
      for (char *word = std::strtok(std::strchr(line.data(), ':') + 1, " \n"); word; word = std::strtok(nullptr, " \n"))
        flags.insert(word);
  std::fclose(file);
  CpuFeatures found = detectCpuFeatures();
  EXPECT_TRUE(found.contains("avx"));
  for (const char *name : {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe", "avx512f", "avx512bw", "avx512cd",
                           "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_vbmi2", "avx512_fp16",
                           "amx_tile", "avx_vnni", "sse4_1"})
    EXPECT_EQ(found.contains(name), flags.contains(name)) << name;
}

TEST(CpuFeatures, TheHighestRowThatRuns) {
  const CpuFeatures v3{"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"};
  CpuFeatures v4 = v3;
  v4.insert({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"});
  CpuFeatures vnni = v4, bf16;
  vnni.insert("avx512_vnni");
  bf16 = vnni;
  bf16.insert("avx512_bf16");
  Manifest manifest;
  for (const char *name : {"x86-64-v4", "sm_89", "x86-64-v4-bf16", "x86-64-v3", "x86-64-v4-vnni"}) {
    ManifestTarget target;
    target.name = name;
    target.device = std::string(name) == "sm_89" ? "cuda" : "cpu";
    manifest.targets.push_back(target);
  }
  auto choose = [&](const CpuFeatures &cpu) {
    auto target = chooseCpuTarget(manifest, cpu);
    return target.ok() ? (*target)->name : target.status().message();
  };
  EXPECT_EQ(choose(v3), "x86-64-v3");
  EXPECT_EQ(choose(v4), "x86-64-v4");
  EXPECT_EQ(choose(vnni), "x86-64-v4-vnni");
  EXPECT_EQ(choose(bf16), "x86-64-v4-bf16");
  manifest.targets.erase(manifest.targets.begin() + 3); // without v3
  CpuFeatures noBmi = bf16;
  noBmi.erase("bmi2");
  EXPECT_THAT(choose(noBmi), HasSubstr("needs a CPU with bmi2, which this one lacks"));
  EXPECT_THAT(choose(v3), HasSubstr("target x86-64-v4-bf16 needs a CPU with avx512f, avx512bw, avx512cd, avx512dq, "
                                    "avx512vl, avx512_vnni, avx512_bf16, which this one lacks"));
  // What the manifest asks for beyond its row counts too, in LLVM's spelling as well.
  manifest.targets = {manifest.targets[0]};
  manifest.targets[0].needs = {"avx512bf16"};
  EXPECT_THAT(choose(v4), HasSubstr("needs a CPU with avx512_bf16"));
  EXPECT_EQ(choose(bf16), "x86-64-v4");
}

// ---- Memory.

TEST(HostMemory, RefusesWhatThereIsNot) {
  auto block = HostBlock::allocate(uint64_t(1) << 60, "the arena of this run");
  ASSERT_FALSE(block.ok());
  EXPECT_EQ(block.status().code(), StatusCode::ResourceExhausted);
  EXPECT_THAT(block.status().message(), HasSubstr("the arena of this run needs 1152921504606846976 bytes, "));
  EXPECT_THAT(block.status().message(), HasSubstr(" are free"));
}

TEST(HostMemory, IsAlignedAndZero) {
  for (uint64_t bytes : {uint64_t(1), uint64_t(5000), uint64_t(3) << 20}) {
    auto block = HostBlock::allocate(bytes, "x");
    ASSERT_TRUE(block.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block->data()) % 4096, 0u);
    EXPECT_EQ(block->data()[bytes - 1], std::byte(0));
    std::memset(block->data(), 1, bytes);
  }
}

} // namespace

// ---- Weights that come and go.

namespace {
/// A file of `count` tensors of 8 KiB.
struct ResidencyFile {
  vitrify::test::TempFolder folder;
  std::vector<TensorInfo> tensors;
  MappedFile file;

  explicit ResidencyFile(size_t count) {
    folder.write("w", std::string(count * 8192, 'x'));
    file = std::move(*MappedFile::open(folder.path("w")));
    for (size_t i = 0; i < count; ++i)
      tensors.push_back({"t" + std::to_string(i), DType::U8, {8192}, i * 8192, (i + 1) * 8192});
  }
  std::vector<const TensorInfo *> list(std::initializer_list<size_t> which) const {
    std::vector<const TensorInfo *> result;
    for (size_t i : which)
      result.push_back(&tensors[i]);
    return result;
  }
};
} // namespace

TEST(WeightResidency, HoldsNoMoreThanTheBudget) {
  ResidencyFile f(6);
  WeightResidency residency(f.file, 3 * 8192);
  EXPECT_EQ(WeightResidency::bytesOf(f.list({0, 1, 0})), 2u * 8192); // each once
  EXPECT_TRUE(residency.begin(f.list({0, 1})).ok());
  EXPECT_TRUE(residency.readAhead(f.list({2})));
  EXPECT_FALSE(residency.readAhead(f.list({3}))); // two are read, one was asked for before
  residency.end(f.list({0, 1}));
  EXPECT_TRUE(residency.readAhead(f.list({3}))); // in place of 0
  EXPECT_TRUE(residency.readAhead(f.list({4}))); // of 1
  EXPECT_FALSE(residency.readAhead(f.list({5})));
  EXPECT_TRUE(residency.begin(f.list({2})).ok());
  residency.end(f.list({2}));
  EXPECT_TRUE(residency.begin(f.list({5, 0, 1})).ok()); // what was read ahead has to go: this step cannot wait
  residency.end(f.list({5, 0, 1}));
  EXPECT_EQ(residency.peakBytes(), 3u * 8192);
}

TEST(WeightResidency, StepsOfManyContextsWaitForEachOther) {
  ResidencyFile f(8);
  WeightResidency residency(f.file, 3 * 8192);
  std::vector<std::thread> threads;
  std::atomic<int> steps{0};
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 300; ++i) {
        std::vector<const TensorInfo *> mine = f.list({(i + t) % 8, (i * 3 + t) % 8});
        EXPECT_TRUE(residency.begin(mine).ok());
        residency.readAhead(f.list({(i + t + 1) % 8}));
        residency.end(mine);
        ++steps;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(steps, 1200);
  EXPECT_LE(residency.peakBytes(), 3u * 8192);
}

TEST(WeightResidency, AFileThatIsCutShortIsAnError) {
  ResidencyFile f(6);
  WeightResidency residency(f.file, 2 * 8192);
  ASSERT_TRUE(residency.begin(f.list({5})).ok());
  residency.end(f.list({5}));
  ASSERT_EQ(truncate(f.folder.path("w").c_str(), 3 * 8192), 0);
  Status status = residency.begin(f.list({4, 5}));
  EXPECT_EQ(status.message(), "'" + f.folder.path("w") + "' was cut to 24576 bytes while it was in use, from 49152");
  // Nothing is held by the step that failed, and one whose file is whole again runs.
  ASSERT_EQ(truncate(f.folder.path("w").c_str(), 6 * 8192), 0);
  ASSERT_TRUE(residency.begin(f.list({2, 4})).ok());
  EXPECT_EQ(f.file.bytes()[2 * 8192], std::byte('x'));
  residency.end(f.list({2, 4}));
  EXPECT_LE(residency.peakBytes(), 2u * 8192);
}
