//===- SimilarityTest.cpp - factors and low-rank differences of matrices --===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/Similarity.h"

#include "vitrify/Support/Float8.h"

#include "gtest/gtest.h"

#include <cmath>
#include <random>

using namespace vitrify;

namespace {

std::vector<float> randomMatrix(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

std::vector<std::byte> encoded(DType dtype, const std::vector<float> &values) {
  std::vector<std::byte> bytes(values.size() * dtypeBits(dtype) / 8);
  auto *halves = reinterpret_cast<uint16_t *>(bytes.data());
  if (dtype == DType::BF16)
    encodeBF16(values.data(), halves, values.size());
  else if (dtype == DType::F16)
    encodeF16(values.data(), halves, values.size());
  else
    std::copy(values.begin(), values.end(), reinterpret_cast<float *>(bytes.data()));
  return bytes;
}

/// b = round(c[n] a), of what a is stored as.
std::vector<std::byte> scaled(DType dtype, const std::vector<std::byte> &a, const std::vector<float> &c, int64_t columns) {
  std::vector<float> values = floatsOf(dtype, a);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = c[i / size_t(columns)] * values[i];
  return encoded(dtype, values);
}

TEST(RowFactors, FindsEveryFactorInEveryType) {
  for (DType dtype : {DType::F32, DType::F16, DType::BF16})
    for (float factor : {1.0f, 0.25f, -2.0f, 0.3f, -7.7f}) {
      auto a = encoded(dtype, randomMatrix(12 * 20, 3));
      std::vector<float> c(12, factor);
      auto b = scaled(dtype, a, c, 20);
      auto found = rowFactors(dtype, a, b, 12, 20);
      ASSERT_TRUE(found) << dtypeName(dtype) << " " << factor;
      EXPECT_EQ(scaled(dtype, a, *found, 20), b) << dtypeName(dtype) << " " << factor;
      if (std::exp2(std::round(std::log2(std::fabs(factor)))) == std::fabs(factor))
        EXPECT_EQ(*found, c);
      EXPECT_EQ(*std::min_element(found->begin(), found->end()), *std::max_element(found->begin(), found->end()));
    }
}

TEST(RowFactors, OneForEachRow) {
  auto a = encoded(DType::BF16, randomMatrix(4 * 16, 5));
  auto b = scaled(DType::BF16, a, {1, 0.5f, -4, 1.7f}, 16);
  auto found = rowFactors(DType::BF16, a, b, 4, 16);
  ASSERT_TRUE(found);
  EXPECT_EQ(scaled(DType::BF16, a, *found, 16), b);
  EXPECT_EQ((*found)[1], 0.5f);
}

TEST(RowFactors, RefusesWhatIsNoFactor) {
  std::vector<float> x = randomMatrix(4 * 16, 7);
  auto a = encoded(DType::F32, x);
  std::vector<float> y = x;
  for (float &value : y)
    value *= 2;
  auto twice = encoded(DType::F32, y);
  EXPECT_TRUE(rowFactors(DType::F32, a, twice, 4, 16));
  y[37] = std::nextafter(y[37], 100.0f); // one element off by one bit
  EXPECT_FALSE(rowFactors(DType::F32, a, encoded(DType::F32, y), 4, 16));
  y[37] = 0;
  EXPECT_FALSE(rowFactors(DType::F32, a, encoded(DType::F32, y), 4, 16));
  y.assign(y.size(), 0); // the factor 0 would lose the weight that it stands for
  EXPECT_FALSE(rowFactors(DType::F32, a, encoded(DType::F32, y), 4, 16));
  y[0] = INFINITY;
  EXPECT_FALSE(rowFactors(DType::F32, a, encoded(DType::F32, y), 4, 16));
  EXPECT_FALSE(rowFactors(DType::I8, a, a, 4, 64));
}

TEST(RowFactors, ZerosMeetZeros) {
  std::vector<float> x = randomMatrix(2 * 8, 9), y(16);
  for (size_t i = 0; i < 8; ++i)
    x[i] = 0; // a row of zeros in both
  for (size_t i = 8; i < 16; ++i)
    y[i] = x[i] * 0.5f;
  auto found = rowFactors(DType::F32, encoded(DType::F32, x), encoded(DType::F32, y), 2, 8);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)[1], 0.5f);
}

TEST(LowRank, FindsTheRankThatWasPutIn) {
  const int64_t n = 24, k = 40;
  for (int64_t rank : {1, 2, 4}) {
    std::vector<float> a = randomMatrix(size_t(n * k), 1), b = a;
    std::vector<float> u = randomMatrix(size_t(n * rank), 2), v = randomMatrix(size_t(rank * k), 3);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j)
        for (int64_t r = 0; r < rank; ++r)
          b[size_t(i * k + j)] += u[size_t(i * rank + r)] * v[size_t(r * k + j)];
    auto found = lowRankDifference(a, b, n, k, 8, 1e-5);
    ASSERT_TRUE(found) << rank;
    EXPECT_EQ(found->rank, rank);
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j) {
        double value = a[size_t(i * k + j)];
        for (int64_t r = 0; r < found->rank; ++r)
          value += double(found->up[size_t(i * found->rank + r)]) * found->down[size_t(r * k + j)];
        error += std::pow(value - b[size_t(i * k + j)], 2);
        norm += std::pow(b[size_t(i * k + j)], 2);
      }
    EXPECT_LE(std::sqrt(error / norm), 1e-5);
    EXPECT_NEAR(std::sqrt(error / norm), found->error, 1e-7);
  }
}

TEST(LowRank, RefusesWhatNeedsMore) {
  std::vector<float> a = randomMatrix(24 * 40, 1), b = randomMatrix(24 * 40, 2);
  EXPECT_FALSE(lowRankDifference(a, b, 24, 40, 8, 0.1));
  EXPECT_TRUE(lowRankDifference(a, b, 24, 40, 24, 1e-5)); // full rank holds anything
  EXPECT_FALSE(lowRankDifference(a, std::vector<float>(a.size()), 24, 40, 24, 0.1));
  EXPECT_FALSE(lowRankDifference(a, b, 24, 40, 0, 0.1));
}

} // namespace
