//===- MatrixSumTest.cpp - the sums of tensor cores, every way --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The fast and the plain sum of every CPU level against a third one in integers
// that starts from the codes, for all rules and types, on random operands and
// on zeros, subnormals, extremes and cancellations; and all other tests here at
// every level.
//===----------------------------------------------------------------------===//
#include "../../lib/Emulator/MatrixTile.h"
#include "Harness.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <unistd.h>
#include <random>

using namespace vitrify;
using namespace vitrify::emulator;
using namespace vitrify::emulator::test;

namespace {

struct Format {
  const char *name;
  int expBits, manBits;
  uint32_t special; ///< magnitudes from here on are no finite numbers
  int bias() const { return (1 << (expBits - 1)) - 1; }
  int emin() const { return 1 - bias(); }
};
constexpr Format kF16{"f16", 5, 10, 0x7c00}, kBF16{"bf16", 8, 7, 0x7f80}, kTF32{"tf32", 8, 10, 0x3fc00},
    kE4M3{"e4m3", 4, 3, 0x7f}, kE5M2{"e5m2", 5, 2, 0x7c};

/// A finite number: mantissa 2^(exponent - manBits).
struct Number {
  int64_t mantissa = 0;
  int exponent = 0, manBits = 0;
};
Number number(uint32_t code, const Format &f) {
  uint32_t magnitude = code & ((1u << (f.expBits + f.manBits)) - 1);
  int field = int(magnitude >> f.manBits);
  int64_t m = magnitude & ((1u << f.manBits) - 1);
  if (field)
    m |= int64_t(1) << f.manBits;
  return {code >> (f.expBits + f.manBits) & 1 ? -m : m, std::max(field, 1) - f.bias(), f.manBits};
}
double value(const Number &n) { return std::ldexp(double(n.mantissa), n.exponent - n.manBits); }

/// m 2^e with nothing but whole bits kept, toward zero.
int64_t shifted(int64_t m, int e) {
  int64_t magnitude = std::abs(m);
  if (!m)
    return 0;
  magnitude = e >= 0 ? magnitude << e : e > -63 ? magnitude >> -e : 0;
  return m < 0 ? -magnitude : magnitude;
}

float oracle(const std::vector<Number> &a, const std::vector<Number> &b, float acc, const SumTask &task) {
  const SumRule &rule = task.rule;
  for (uint32_t k0 = 0; k0 < task.k && std::isfinite(acc); k0 += rule.group) {
    uint32_t end = std::min<uint32_t>(task.k, k0 + rule.group);
    int top = rule.fractionBits <= 13 ? -132 : -133;
    for (uint32_t k = k0; k < end; ++k)
      if (a[k].mantissa && b[k].mantissa)
        top = std::max(top, a[k].exponent + b[k].exponent);
    uint32_t bits = std::bit_cast<uint32_t>(acc);
    int64_t mantissa = bits & 0x7fffff;
    int exponent = int(bits >> 23 & 255) - 127;
    if (exponent == -127)
      exponent = -126;
    else
      mantissa |= 0x800000;
    mantissa = bits >> 31 ? -mantissa : mantissa;
    if (!rule.lateAddend && mantissa)
      top = std::max(top, exponent - (std::countl_zero(uint64_t(std::abs(mantissa))) - 40));
    int64_t sum = rule.lateAddend ? 0 : shifted(mantissa, exponent - 23 + rule.fractionBits - top);
    for (uint32_t k = k0; k < end; ++k)
      sum += shifted(a[k].mantissa * b[k].mantissa,
                     a[k].exponent - a[k].manBits + b[k].exponent - b[k].manBits + rule.fractionBits - top);
    // Keep resultBits + 1 significant bits, and none below 2^(-126 - resultBits).
    uint64_t magnitude = uint64_t(std::abs(sum));
    int lowest = 64 - std::countl_zero(magnitude) - 1 - rule.resultBits; // position of the last bit kept
    lowest = std::max({lowest, -126 - rule.resultBits - (top - rule.fractionBits), 0});
    magnitude = lowest > 63 ? 0 : magnitude >> lowest << lowest;
    float r = float(std::ldexp(double(magnitude), top - rule.fractionBits));
    r = sum < 0 && magnitude ? -r : r;
    acc = rule.lateAddend ? r + acc : r;
    if (task.half)
      acc = float(_Float16(acc));
  }
  return acc;
}

enum class Draw { Any, Small, Subnormal, Zeros, Extreme, Cancel };

class Problem {
public:
  Problem(const Format &a, const Format &b, uint32_t k, bool halfC, Draw draw, std::mt19937 &rng) {
    auto code = [&](const Format &f) {
      uint32_t sign = (rng() & 1) << (f.expBits + f.manBits), magnitude = 0, field = 1u << f.manBits;
      uint32_t middle = uint32_t(f.bias()) << f.manBits;
      switch (draw) {
      case Draw::Any: magnitude = rng() % f.special; break;
      case Draw::Small: magnitude = middle - 2 * field + rng() % (4 * field); break;
      case Draw::Subnormal: magnitude = rng() % 3 ? rng() % field : rng() % f.special; break;
      case Draw::Zeros: magnitude = rng() % 8 ? 0 : rng() % f.special; break;
      case Draw::Extreme: magnitude = rng() % 2 ? f.special - 1 - rng() % field : rng() % field; break;
      case Draw::Cancel: magnitude = middle + rng() % field; break;
      }
      return sign | magnitude;
    };
    for (uint32_t x = 0; x < k; ++x) {
      for (int m = 0; m < 16; ++m)
        na[m].push_back(number(code(a), a));
      for (int n = 0; n < 8; ++n)
        nb[n].push_back(number(code(b), b));
      if (draw == Draw::Cancel && x % 2) {
        // The negative of the product before, or one that differs in the last place.
        for (int m = 0; m < 16; ++m)
          na[m][x] = na[m][x - 1];
        for (int n = 0; n < 8; ++n) {
          nb[n][x] = nb[n][x - 1];
          nb[n][x].mantissa = -nb[n][x].mantissa + (rng() % 4 == 0);
        }
      }
    }
    int low = 0, high = 0;
    auto put = [&](const Number &n, float &v, int32_t &e, int &least, int &most) {
      v = float(value(n));
      e = n.mantissa ? n.exponent : kNoExponent;
      if (n.mantissa) {
        least = std::min(least, n.exponent);
        most = std::max(most, n.exponent);
      }
    };
    int lowB = 0, highB = 0;
    for (uint32_t x = 0; x < k; ++x) {
      for (int m = 0; m < 16; ++m)
        put(na[m][x], tile.a[x][m], tile.ea[x][m], low, high);
      for (int n = 0; n < 8; ++n)
        put(nb[n][x], tile.b[x][n], tile.eb[x][n], lowB, highB);
    }
    tile.extreme = low + lowB < -90 || high + highB > 120;
    for (auto &column : tile.c)
      for (float &c : column) {
        switch (rng() % 6) {
        case 0: c = 0; break;
        case 1: c = -0.0f; break;
        case 2: c = std::bit_cast<float>(uint32_t(rng()) & 0x807fffffu); break; // subnormal
        case 3: c = std::bit_cast<float>(uint32_t(rng()) & 0xbfffffffu); break; // below 2
        case 4: c = std::ldexp(float(int32_t(rng())), -31 - int(rng() % 8)); break;
        default: c = std::ldexp(float(int32_t(rng())), -31 + int(rng() % 24)); break;
        }
        if (halfC)
          c = float(_Float16(c));
      }
  }

  void check(const SumTask &task, const char *what) {
    float expected[8][16];
    for (int n = 0; n < 8; ++n)
      for (int m = 0; m < 16; ++m)
        expected[n][m] = oracle(na[m], nb[n], tile.c[n][m], task);
    TileSums levels[] = {base::tileSums(), v3::tileSums(), v4::tileSums()};
    for (int level = 0; level <= cpuLevel(); ++level)
      for (bool fast : {false, true}) {
        if (fast && tile.extreme)
          continue;
        float out[8][16];
        (fast ? levels[level].fast : levels[level].plain)(tile, task, out);
        for (int n = 0; n < 8; ++n)
          for (int m = 0; m < 16; ++m) {
            float want = expected[n][m];
            ASSERT_EQ(std::bit_cast<uint32_t>(out[n][m]), std::bit_cast<uint32_t>(want))
                << what << (fast ? " fast" : " plain") << " level " << level << " output " << m << ", " << n << ": "
                << out[n][m] << " not " << want << ", c " << tile.c[n][m];
          }
      }
    fastRuns += !tile.extreme;
  }
  static inline int fastRuns = 0;

private:
  Tile tile;
  std::vector<Number> na[16], nb[8];
};

struct Case {
  Format a, b;
  uint32_t k;
  SumRule rule;
  bool half;
};

TEST(MatrixSum, FastPlainAndIntegerSumsAgree) {
  constexpr SumRule adaF16{24, 23, 8}, adaF8{13, 13, 16}, hopperF16{25, 23, 16}, wideF8{25, 23, 32},
      lateF8{25, 23, 32, true}, adaTF32{24, 23, 4}, hopperTF32{25, 23, 8};
  const Case cases[] = {
      {kF16, kF16, 16, adaF16, false},   {kF16, kF16, 8, adaF16, true},     {kF16, kF16, 16, hopperF16, false},
      {kF16, kF16, 16, hopperF16, true}, {kBF16, kBF16, 16, adaF16, false}, {kBF16, kBF16, 16, hopperF16, false},
      {kTF32, kTF32, 8, adaTF32, false}, {kTF32, kTF32, 4, hopperTF32, false}, {kE4M3, kE4M3, 32, adaF8, false},
      {kE4M3, kE5M2, 32, adaF8, true},   {kE5M2, kE5M2, 16, adaF8, false},  {kE4M3, kE4M3, 32, wideF8, false},
      {kE5M2, kE4M3, 32, wideF8, true},  {kE4M3, kE4M3, 32, lateF8, false}, {kE5M2, kE5M2, 32, lateF8, false},
  };
  std::mt19937 rng(20);
  for (const Case &c : cases) {
    Problem::fastRuns = 0;
    for (Draw draw : {Draw::Any, Draw::Small, Draw::Subnormal, Draw::Zeros, Draw::Extreme, Draw::Cancel})
      for (int repeat = 0; repeat < 12; ++repeat) {
        std::string what = std::string(c.a.name) + " x " + c.b.name + " k" + std::to_string(c.k) + " " +
                           std::to_string(c.rule.fractionBits) + " bits, draw " + std::to_string(int(draw));
        Problem(c.a, c.b, c.k, c.half, draw, rng).check({c.rule, c.k, c.half}, what.c_str());
        if (HasFatalFailure())
          return;
      }
    EXPECT_GE(Problem::fastRuns, 24) << c.a.name; // bf16 and tf32 have draws beyond the fast sum's range
  }
}

TEST(MatrixSum, TheLargestTermsDoNotOverflow) {
  // All products at their largest: the sum of sixteen comes within 0.1 % of 2^31.
  for (bool negative : {false, true}) {
    Tile tile{};
    for (auto &column : tile.a)
      for (float &v : column)
        v = 65504;
    for (auto &row : tile.b)
      for (float &v : row)
        v = negative ? -65504 : 65504;
    for (auto &e : tile.ea)
      std::fill(std::begin(e), std::end(e), 15);
    for (auto &e : tile.eb)
      std::fill(std::begin(e), std::end(e), 15);
    SumTask task{{25, 23, 16}, 16, false};
    TileSums levels[] = {base::tileSums(), v3::tileSums(), v4::tileSums()};
    for (int level = 0; level <= cpuLevel(); ++level) {
      float plain[8][16], fast[8][16];
      levels[level].plain(tile, task, plain);
      levels[level].fast(tile, task, fast);
      EXPECT_EQ(plain[0][0], (negative ? -1 : 1) * 16 * 65504.0f * 65504.0f);
      EXPECT_EQ(std::memcmp(plain, fast, sizeof plain), 0);
    }
  }
}

/// Two chained products of 64 problems with infinities and NaNs among the operands, as a hash of the result's bits.
TEST(MatrixSum, DISABLED_PrintHash) {
  struct Shape {
    const char *chip, *instruction;
    int aRegs, bRegs, cRegs;
  };
  const Shape shapes[] = {
      {"sm_89", "m16n8k16.row.col.f32.f16.f16.f32", 4, 2, 4},   {"sm_89", "m16n8k16.row.col.f16.f16.f16.f16", 4, 2, 2},
      {"sm_89", "m16n8k8.row.col.f32.bf16.bf16.f32", 2, 1, 4},  {"sm_89", "m16n8k8.row.col.f32.tf32.tf32.f32", 4, 2, 4},
      {"sm_89", "m16n8k32.row.col.f32.e4m3.e5m2.f32", 4, 2, 4}, {"sm_90a", "m16n8k32.row.col.f32.e5m2.e5m2.f32", 4, 2, 4},
      {"sm_120a", "m16n8k16.row.col.f16.e4m3.e4m3.f16", 2, 1, 2}, {"sm_90a", "m16n8k16.row.col.f32.bf16.bf16.f32", 4, 2, 4},
  };
  uint64_t hash = 0;
  for (const Shape &s : shapes) {
    Emulated e(s.chip);
    auto list = [](const char *prefix, int first, int n) {
      std::string out = "{";
      for (int i = 0; i < n; ++i)
        out += (i ? "," : "") + std::string(prefix) + std::to_string(first + i);
      return out + "}";
    };
    std::string body = "ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 32, %r1;\n"
                       "mul.wide.u32 %rd2, %r3, 64; add.s64 %rd3, %rd1, %rd2;\n";
    for (int r = 0; r < 12; ++r)
      body += "ld.global.b32 %r" + std::to_string(10 + r) + ", [%rd3+" + std::to_string(4 * r) + "];\n";
    bool wide = s.cRegs == 4;
    for (int r = 0; wide && r < 4; ++r)
      body += "mov.b32 %f" + std::to_string(r) + ", %r" + std::to_string(18 + r) + ";\n";
    std::string c = wide ? list("%f", 0, 4) : list("%r", 18, 2);
    for (int repeat = 0; repeat < 2; ++repeat)
      body += std::string("mma.sync.aligned.") + s.instruction + " " + c + ", " + list("%r", 10, s.aRegs) + ", " +
              list("%r", 14, s.bRegs) + ", " + c + ";\n";
    for (int r = 0; r < s.cRegs; ++r)
      body += (wide ? "st.global.f32 [%rd3+" : "st.global.b32 [%rd3+") + std::to_string(48 + 4 * r) + "], %" +
              (wide ? "f" + std::to_string(r) : "r" + std::to_string(18 + r)) + ";\n";
    e.load(kernelText(".param .u64 p", body, s.chip));
    std::mt19937 rng(33);
    std::vector<uint32_t> data(64 * 32 * 16);
    for (size_t i = 0; i < data.size(); ++i) {
      // Blocks differ: any bits at all; rare infinities and NaNs; none of them.
      size_t kind = i / 512 % 4;
      uint32_t v = uint32_t(rng());
      if (kind && (kind < 3 || rng() % 2048))
        v &= 0xbfffbfffu & (i % 16 < 8 ? 0xbfbfbfbfu : ~0u);
      data[i] = v;
    }
    uint64_t p = e.upload(data);
    e.runOk(blocks(64, 32), p);
    for (uint32_t v : e.download<uint32_t>(p, data.size()))
      hash = (hash ^ v) * 0x100000001b3;
  }
  std::printf("hash %016llx\n", static_cast<unsigned long long>(hash));
}

std::string runAtLevel(const char *level, const char *filter) {
  std::string command = std::string("VITRIFY_EMULATOR_ISA=") + level +
                        " /proc/self/exe --gtest_also_run_disabled_tests --gtest_filter='" + filter + "' 2>&1";
  // /proc/self would be the shell: name this program.
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  self[n > 0 ? n : 0] = 0;
  command.replace(command.find("/proc/self/exe"), std::strlen("/proc/self/exe"), self);
  std::string out;
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe)
    return {};
  char text[4096];
  while (size_t got = fread(text, 1, sizeof text, pipe))
    out.append(text, got);
  EXPECT_EQ(pclose(pipe), 0) << out;
  return out;
}

TEST(MatrixSum, LevelsOfTheCpuGiveTheSameBits) {
  std::string first;
  for (const char *level : {"base", "v3", "v4"}) {
    std::string out = runAtLevel(level, "*-MatrixSum.LevelsOfTheCpu*:Launch.*:Parser.*");
    size_t at = out.find("hash ");
    ASSERT_NE(at, std::string::npos) << out;
    std::string hash = out.substr(at, 21);
    if (first.empty())
      first = hash;
    EXPECT_EQ(hash, first) << level;
  }
}

} // namespace
