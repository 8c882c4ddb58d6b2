//===- Similarity.cpp - what two matrices have in common ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/Similarity.h"

#include "vitrify/Support/Float8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

using namespace vitrify;

std::vector<float> vitrify::floatsOf(DType dtype, std::span<const std::byte> bytes) {
  size_t n = bytes.size() * 8 / dtypeBits(dtype);
  std::vector<float> values(n);
  // The bytes of a mapped tensor are not always aligned for their type.
  std::vector<uint16_t> halves(dtypeBits(dtype) == 16 ? n : 0);
  if (!halves.empty())
    std::memcpy(halves.data(), bytes.data(), bytes.size());
  switch (dtype) {
  case DType::F16: decodeF16(halves.data(), values.data(), n); break;
  case DType::BF16: decodeBF16(halves.data(), values.data(), n); break;
  case DType::F8E4M3: decodeE4M3(reinterpret_cast<const uint8_t *>(bytes.data()), values.data(), n); break;
  default: std::memcpy(values.data(), bytes.data(), bytes.size()); break;
  }
  return values;
}

namespace {

/// Numbers that a factor may be.
struct Interval {
  double low = -HUGE_VAL, high = HUGE_VAL;
  bool empty() const { return !(low <= high); }
  void meet(Interval other) {
    low = std::max(low, other.low);
    high = std::min(high, other.high);
  }
};

/// The next number of a type away from zero or towards it.
float neighbour(DType dtype, float value, bool away) {
  uint32_t bits;
  if (dtype == DType::F32 || dtype == DType::BF16) {
    std::memcpy(&bits, &value, 4);
    uint32_t step = dtype == DType::F32 ? 1u : 0x10000u;
    bits = away ? bits + step : bits - step;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  uint16_t half;
  encodeF16(&value, &half, 1);
  half = uint16_t(away ? half + 1 : half - 1);
  decodeF16(&half, &value, 1);
  return value;
}

/// Products that may round to b, from one halfway point to the other. At these ties the even one is taken, so they are
/// kept, and a little more for a product that was rounded to f32 before: the chosen factor is tried out afterwards.
Interval roundingRange(DType dtype, float b) {
  constexpr double kSlack = 1 + 0x1p-23;
  float magnitude = std::fabs(b);
  double out = neighbour(dtype, magnitude, true);
  double high = (std::isfinite(out) ? (double(magnitude) + out) / 2 : double(magnitude)) * kSlack;
  double low = magnitude == 0 ? -high : (double(magnitude) + neighbour(dtype, magnitude, false)) / 2 / kSlack;
  return b < 0 ? Interval{-high, -low} : Interval{low, high};
}

/// Factors c with round(c a) = b.
Interval factorRange(DType dtype, float a, float b) {
  if (a == 0)
    return b == 0 ? Interval{} : Interval{1, 0};
  Interval range = roundingRange(dtype, b);
  double x = range.low / a, y = range.high / a;
  return {std::min(x, y), std::max(x, y)};
}

/// A power of two of the interval, or a number from its middle; 0 if no f32 but 0 lies in it.
float chooseFactor(Interval range) {
  if (range.empty())
    return 0;
  if (range.low <= 1 && 1 <= range.high)
    return 1;
  double sign = range.high < 0 || (range.low < 0 && -range.low > range.high) ? -1 : 1;
  double low = sign > 0 ? range.low : -range.high, high = sign > 0 ? range.high : -range.low;
  if (std::isfinite(high) && high > 0) {
    double power = std::exp2(std::floor(std::log2(high)));
    if (power >= low && power <= high && std::isnormal(float(power)))
      return float(sign * power);
  }
  auto middle = float(low / 2 + high / 2);
  return std::isnormal(middle) && middle >= low && middle <= high ? float(sign * middle) : 0.0f;
}

} // namespace

/// Whether every y is c x, rounded to f32 and then to the type.
static bool isMultiple(DType dtype, const std::vector<float> &x, const std::vector<float> &y, float c) {
  for (size_t k = 0; k < x.size(); ++k) {
    float product = c * x[k];
    uint16_t half;
    if (dtype == DType::BF16) {
      half = encodeBF16(product);
      product = decodeBF16(half);
    } else if (dtype == DType::F16) {
      half = encodeF16(product);
      product = decodeF16(half);
    }
    if (product != y[k])
      return false;
  }
  return true;
}

std::optional<std::vector<float>> vitrify::rowFactors(DType dtype, std::span<const std::byte> a,
                                                      std::span<const std::byte> b, int64_t rows, int64_t columns) {
  if ((dtype != DType::F32 && dtype != DType::F16 && dtype != DType::BF16) || a.size() != b.size() || rows < 1)
    return std::nullopt;
  size_t rowBytes = size_t(columns) * dtypeBits(dtype) / 8;
  auto rowOf = [&](std::span<const std::byte> bytes, int64_t row) {
    return floatsOf(dtype, bytes.subspan(size_t(row) * rowBytes, rowBytes));
  };
  std::vector<float> factors;
  Interval all;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<float> x = rowOf(a, row), y = rowOf(b, row);
    Interval range;
    for (size_t k = 0; k < x.size(); ++k) {
      if (!std::isfinite(x[k]) || !std::isfinite(y[k]))
        return std::nullopt;
      range.meet(factorRange(dtype, x[k], y[k]));
      if (range.empty())
        return std::nullopt;
    }
    float factor = chooseFactor(range);
    if (factor == 0 || !isMultiple(dtype, x, y, factor))
      return std::nullopt;
    all.meet(range);
    factors.push_back(factor);
  }
  float common = chooseFactor(all);
  bool fits = common != 0;
  for (int64_t row = 0; row < rows && fits; ++row)
    fits = isMultiple(dtype, rowOf(a, row), rowOf(b, row), common);
  if (fits)
    std::fill(factors.begin(), factors.end(), common);
  return factors;
}

//===----------------------------------------------------------------------===//
// Low rank
//===----------------------------------------------------------------------===//

namespace {

/// out[n, r] = m[n, k] * x[k, r].
void times(const std::vector<float> &m, int64_t n, int64_t k, const std::vector<double> &x, int64_t r,
           std::vector<double> &out) {
  out.assign(size_t(n * r), 0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j) {
      double value = m[size_t(i * k + j)];
      for (int64_t c = 0; c < r; ++c)
        out[size_t(i * r + c)] += value * x[size_t(j * r + c)];
    }
}

/// out[k, r] = m[n, k] transposed * x[n, r].
void transposedTimes(const std::vector<float> &m, int64_t n, int64_t k, const std::vector<double> &x, int64_t r,
                     std::vector<double> &out) {
  out.assign(size_t(k * r), 0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j) {
      double value = m[size_t(i * k + j)];
      for (int64_t c = 0; c < r; ++c)
        out[size_t(j * r + c)] += value * x[size_t(i * r + c)];
    }
}

/// Makes the columns of x [n, r] orthonormal, twice over for the rounding; a column that depends on the others becomes 0.
void orthonormalise(std::vector<double> &x, int64_t n, int64_t r) {
  for (int64_t c = 0; c < r; ++c) {
    double before = 0;
    for (int64_t i = 0; i < n; ++i)
      before += x[size_t(i * r + c)] * x[size_t(i * r + c)];
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t other = 0; other < c; ++other) {
        double dot = 0;
        for (int64_t i = 0; i < n; ++i)
          dot += x[size_t(i * r + c)] * x[size_t(i * r + other)];
        for (int64_t i = 0; i < n; ++i)
          x[size_t(i * r + c)] -= dot * x[size_t(i * r + other)];
      }
    double after = 0;
    for (int64_t i = 0; i < n; ++i)
      after += x[size_t(i * r + c)] * x[size_t(i * r + c)];
    double inverse = after > 1e-24 * before ? 1 / std::sqrt(after) : 0;
    for (int64_t i = 0; i < n; ++i)
      x[size_t(i * r + c)] *= inverse;
  }
}

} // namespace

std::optional<LowRankDifference> vitrify::lowRankDifference(std::span<const float> a, std::span<const float> b,
                                                            int64_t rows, int64_t columns, int64_t maxRank,
                                                            double tolerance) {
  maxRank = std::min({maxRank, rows, columns});
  std::vector<float> difference(a.size());
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference[i] = b[i] - a[i];
    norm += double(b[i]) * b[i];
  }
  if (maxRank < 1 || !std::isfinite(norm) || norm == 0)
    return std::nullopt;
  for (int64_t rank = 1; rank <= maxRank; rank = rank < maxRank ? std::min(2 * rank, maxRank) : maxRank + 1) {
    std::mt19937 random(1);
    std::vector<double> start(size_t(columns * rank)), left, right;
    for (double &value : start) // the same on every machine, unlike the library's distributions
      value = double(random()) / double(std::mt19937::max()) - 0.5;
    times(difference, rows, columns, start, rank, left);
    for (int iteration = 0; iteration < 3; ++iteration) {
      orthonormalise(left, rows, rank);
      transposedTimes(difference, rows, columns, left, rank, right);
      orthonormalise(right, columns, rank);
      times(difference, rows, columns, right, rank, left);
    }
    // difference is about left * right^T.
    LowRankDifference found;
    found.rank = rank;
    found.up.assign(left.begin(), left.end());
    found.down.resize(size_t(rank * columns));
    for (int64_t k = 0; k < columns; ++k)
      for (int64_t r = 0; r < rank; ++r)
        found.down[size_t(r * columns + k)] = float(right[size_t(k * rank + r)]);
    double left2 = 0;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < columns; ++k) {
        double rest = difference[size_t(i * columns + k)];
        for (int64_t r = 0; r < rank; ++r)
          rest -= double(found.up[size_t(i * rank + r)]) * found.down[size_t(r * columns + k)];
        left2 += rest * rest;
      }
    found.error = std::sqrt(left2 / norm);
    if (found.error <= tolerance)
      return found;
  }
  return std::nullopt;
}
