//===- Float8Test.cpp - small formats against ml_dtypes ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Float8Tables.bin is made by make_float8_tables.py, which describes its order.
#include "vitrify/Support/File.h"
#include "vitrify/Support/Float8.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

using namespace vitrify;

namespace {
/// Reads the tables' parts one after the other.
class Tables {
public:
  Tables() {
    auto text = readFile(VITRIFY_TEST_DATA "/Float8Tables.bin");
    EXPECT_TRUE(text.ok());
    bytes = *text;
  }
  template <typename T> std::vector<T> take(size_t count) {
    std::vector<T> values(count);
    EXPECT_LE(at + count * sizeof(T), bytes.size());
    std::memcpy(values.data(), bytes.data() + at, count * sizeof(T));
    at += count * sizeof(T);
    return values;
  }
  bool atEnd() const { return at == bytes.size(); }

private:
  std::string bytes;
  size_t at = 0;
};

/// Equal bits, or both NaN: formats differ in the NaNs' payloads.
void expectSame(float found, uint32_t expected, unsigned input) {
  float wanted = std::bit_cast<float>(expected);
  if (std::isnan(wanted))
    EXPECT_TRUE(std::isnan(found)) << "input " << input;
  else
    EXPECT_EQ(std::bit_cast<uint32_t>(found), expected) << "input " << input;
}

struct Expected {
  Tables tables;
  std::vector<uint32_t> e4m3 = tables.take<uint32_t>(256), e5m2 = tables.take<uint32_t>(256);
  std::vector<uint32_t> e8m0 = tables.take<uint32_t>(256), e2m1 = tables.take<uint32_t>(16);
  std::vector<uint8_t> halvesE4M3 = tables.take<uint8_t>(65536), halvesE2M1 = tables.take<uint8_t>(65536);
  std::vector<uint32_t> halves = tables.take<uint32_t>(65536);
  std::vector<uint32_t> inputs = tables.take<uint32_t>(4096);
  std::vector<uint8_t> inputsE4M3 = tables.take<uint8_t>(4096), inputsE2M1 = tables.take<uint8_t>(4096);
  std::vector<uint16_t> inputsBF16 = tables.take<uint16_t>(4096), inputsF16 = tables.take<uint16_t>(4096);
};

const Expected &expected() {
  static const Expected tables;
  return tables;
}
} // namespace

TEST(Float8, TablesAreWhole) { EXPECT_TRUE(expected().tables.atEnd()); }

TEST(Float8, AllCodesDecode) {
  for (unsigned code = 0; code < 256; ++code) {
    expectSame(decodeE4M3(static_cast<uint8_t>(code)), expected().e4m3[code], code);
    expectSame(decodeE5M2(static_cast<uint8_t>(code)), expected().e5m2[code], code);
    expectSame(decodeE8M0(static_cast<uint8_t>(code)), expected().e8m0[code], code);
  }
  for (unsigned code = 0; code < 16; ++code)
    expectSame(decodeE2M1(static_cast<uint8_t>(code)), expected().e2m1[code], code);
}

TEST(Float8, AllHalvesDecodeAndEncode) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    float value = decodeF16(static_cast<uint16_t>(bits));
    expectSame(value, expected().halves[bits], bits);
    EXPECT_EQ(encodeE4M3(value), expected().halvesE4M3[bits]) << "f16 bits " << bits;
    EXPECT_EQ(encodeE2M1(value), expected().halvesE2M1[bits]) << "f16 bits " << bits;
    if (!std::isnan(value))
      EXPECT_EQ(encodeF16(value), bits);
  }
}

TEST(Float8, CodesSurviveARoundTrip) {
  for (unsigned code = 0; code < 256; ++code)
    EXPECT_EQ(encodeE4M3(decodeE4M3(static_cast<uint8_t>(code))), (code & 0x7f) == 0x7f ? 0x7f : code);
  for (unsigned code = 0; code < 16; ++code)
    EXPECT_EQ(encodeE2M1(decodeE2M1(static_cast<uint8_t>(code))), code);
}

TEST(Float8, FloatsEncode) {
  for (unsigned i = 0; i < 4096; ++i) {
    float value = std::bit_cast<float>(expected().inputs[i]);
    EXPECT_EQ(encodeE4M3(value), expected().inputsE4M3[i]) << value;
    EXPECT_EQ(encodeE2M1(value), expected().inputsE2M1[i]) << value;
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(decodeBF16(encodeBF16(value))));
      EXPECT_TRUE(std::isnan(decodeF16(encodeF16(value))));
      continue;
    }
    EXPECT_EQ(encodeBF16(value), expected().inputsBF16[i]) << value;
    EXPECT_EQ(encodeF16(value), expected().inputsF16[i]) << value;
  }
}

TEST(Float8, EveryFloatExponentRoundsToTheNearestCode) {
  // The nearest of all finite codes, found by search; ties go to the even code.
  std::vector<float> values;
  for (unsigned code = 0; code < 0x7f; ++code)
    values.push_back(decodeE4M3(static_cast<uint8_t>(code)));
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 0x12345) {
    float x = std::bit_cast<float>(bits);
    double best = std::numeric_limits<double>::infinity();
    unsigned nearest = 0;
    for (unsigned code = 0; code < values.size(); ++code) {
      double distance = std::fabs(static_cast<double>(x) - static_cast<double>(values[code]));
      if (distance < best || (distance == best && code % 2 == 0)) {
        best = distance;
        nearest = code;
      }
    }
    ASSERT_EQ(encodeE4M3(x), nearest) << x;
    ASSERT_EQ(encodeE4M3(-x), nearest | 0x80) << -x;
  }
}

TEST(Float8, ArraysEqualSingles) {
  const auto &bits = expected().inputs;
  std::vector<float> in(bits.size()), back(bits.size());
  std::memcpy(in.data(), bits.data(), 4 * bits.size());
  std::vector<uint8_t> codes(in.size()), scaled(in.size());
  std::vector<uint16_t> bf16(in.size()), f16(in.size());
  encodeE4M3(in.data(), codes.data(), in.size());
  encodeE4M3Scaled(in.data(), 0.37f, scaled.data(), in.size());
  encodeBF16(in.data(), bf16.data(), in.size());
  encodeF16(in.data(), f16.data(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(codes[i], encodeE4M3(in[i]));
    EXPECT_EQ(scaled[i], encodeE4M3(in[i] * 0.37f));
    EXPECT_EQ(bf16[i], encodeBF16(in[i]));
    EXPECT_EQ(f16[i], encodeF16(in[i]));
  }
  auto expectEach = [&](auto decode) {
    for (size_t i = 0; i < in.size(); ++i)
      expectSame(back[i], std::bit_cast<uint32_t>(decode(i)), static_cast<unsigned>(i));
  };
  decodeE4M3(codes.data(), back.data(), in.size());
  expectEach([&](size_t i) { return decodeE4M3(codes[i]); });
  decodeBF16(bf16.data(), back.data(), in.size());
  expectEach([&](size_t i) { return decodeBF16(bf16[i]); });
  decodeF16(f16.data(), back.data(), in.size());
  expectEach([&](size_t i) { return decodeF16(f16[i]); });
}
