//===- SurgeonTest.cpp - inputs that go change the outputs least ----------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/Surgeon.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace vitrify;

namespace {

/// Samples [count, inputs], and their moments.
struct Samples {
  int64_t count, inputs;
  std::vector<float> values;
  NeuronMoments moments() const {
    NeuronMoments m;
    auto n = size_t(inputs);
    m.count = inputs;
    m.mean.resize(n);
    m.amax.resize(n);
    m.covariance.resize(n * n);
    std::vector<double> mean(n), cov(n * n);
    for (int64_t s = 0; s < count; ++s)
      for (size_t i = 0; i < n; ++i)
        mean[i] += at(s, i) / double(count);
    for (int64_t s = 0; s < count; ++s)
      for (size_t i = 0; i < n; ++i) {
        m.amax[i] = std::max(m.amax[i], std::fabs(float(at(s, i))));
        for (size_t j = 0; j < n; ++j)
          cov[i * n + j] += (at(s, i) - mean[i]) * (at(s, j) - mean[j]) / double(count);
      }
    std::copy(mean.begin(), mean.end(), m.mean.begin());
    std::copy(cov.begin(), cov.end(), m.covariance.begin());
    return m;
  }
  double at(int64_t s, size_t i) const { return values[size_t(s) * size_t(inputs) + i]; }
};

Samples randomSamples(int64_t count, int64_t inputs) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  Samples s{count, inputs, std::vector<float>(size_t(count * inputs))};
  for (float &value : s.values)
    value = std::max(0.0f, normal(random) + 0.2f);
  return s;
}

std::vector<float> randomWeights(size_t count) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  std::vector<float> w(count);
  for (float &value : w)
    value = normal(random);
  return w;
}

/// Relative error of the outputs about their means, over the samples themselves.
double measured(const Samples &s, const std::vector<float> &w, int64_t rows, const PrunedLinear &p) {
  double error = 0, power = 0;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> full, less;
    for (int64_t i = 0; i < s.count; ++i) {
      double a = 0, b = 0;
      for (size_t j = 0; j < size_t(s.inputs); ++j)
        a += w[size_t(r) * size_t(s.inputs) + j] * s.at(i, j);
      for (size_t k = 0; k < p.kept.size(); ++k)
        b += p.weights[size_t(r) * p.kept.size() + k] * s.at(i, size_t(p.kept[k]));
      full.push_back(a);
      less.push_back(b);
    }
    auto centre = [](std::vector<double> &v) {
      double mean = 0;
      for (double x : v)
        mean += x / double(v.size());
      for (double &x : v)
        x -= mean;
    };
    centre(full);
    centre(less);
    for (size_t i = 0; i < full.size(); ++i) {
      error += std::pow(full[i] - less[i], 2);
      power += full[i] * full[i];
    }
  }
  return std::sqrt(error / power);
}

TEST(Surgeon, DeadAndDoubledInputsGoAtNoCost) {
  Samples s = randomSamples(400, 16);
  for (int64_t i = 0; i < s.count; ++i) {
    s.values[size_t(i * 16 + 3)] = 0;                                        // dead
    s.values[size_t(i * 16 + 7)] = 2 * s.values[size_t(i * 16 + 5)];         // determined by another one
  }
  std::vector<float> w = randomWeights(6 * 16);
  auto p = pruneInputs(w, 6, s.moments(), std::vector<bool>(16), 0.05, 1);
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(p->kept.size(), 14u);
  EXPECT_EQ(std::count(p->kept.begin(), p->kept.end(), 3), 0);
  EXPECT_EQ(std::count(p->kept.begin(), p->kept.end(), 5) + std::count(p->kept.begin(), p->kept.end(), 7), 1);
  EXPECT_LE(measured(s, w, 6, *p), 0.02);
}

TEST(Surgeon, TheErrorIsWhatItSaysAndWithinTheTolerance) {
  Samples s = randomSamples(600, 24);
  std::vector<float> w = randomWeights(5 * 24);
  size_t before = 25;
  for (double tolerance : {0.0, 0.2, 0.5, 0.9}) {
    auto p = pruneInputs(w, 5, s.moments(), std::vector<bool>(24), tolerance, 1);
    ASSERT_TRUE(p.ok());
    EXPECT_LE(p->error, tolerance);
    EXPECT_NEAR(measured(s, w, 5, *p), p->error, 1e-3);
    EXPECT_LT(p->kept.size(), before);
    before = p->kept.size();
  }
  auto all = pruneInputs(w, 5, s.moments(), std::vector<bool>(24), 0, 1);
  EXPECT_EQ(all->weights, w); // nothing was free: nothing changed
  // Better than to drop the same inputs and leave the others as they are.
  auto p = pruneInputs(w, 5, s.moments(), std::vector<bool>(24), 0.5, 1);
  PrunedLinear plain = *p;
  for (size_t r = 0; r < 5; ++r)
    for (size_t k = 0; k < p->kept.size(); ++k)
      plain.weights[r * p->kept.size() + k] = w[r * 24 + size_t(p->kept[k])];
  EXPECT_LT(measured(s, w, 5, *p), measured(s, w, 5, plain));
}

TEST(Surgeon, KeepsWholeGranulesAndWhatMustGoIsGone) {
  Samples s = randomSamples(300, 40);
  std::vector<float> w = randomWeights(3 * 40);
  std::vector<bool> gone(40);
  gone[0] = gone[39] = true;
  auto p = pruneInputs(w, 3, s.moments(), gone, 0.5, 16);
  ASSERT_TRUE(p.ok());
  EXPECT_EQ(p->kept.size() % 16, 0u);
  EXPECT_EQ(std::count(p->kept.begin(), p->kept.end(), 0) + std::count(p->kept.begin(), p->kept.end(), 39), 0);
  auto least = pruneInputs(w, 3, s.moments(), std::vector<bool>(40, true), 0.5, 16);
  EXPECT_EQ(least->kept.size(), 16u); // a linear without inputs is none
}

TEST(Surgeon, RefusesMomentsThatDoNotFit) {
  Samples s = randomSamples(50, 8);
  std::vector<float> w = randomWeights(2 * 9);
  EXPECT_FALSE(pruneInputs(w, 2, s.moments(), std::vector<bool>(8), 0.1, 1).ok());
  NeuronMoments m = s.moments();
  m.covariance[3] = NAN;
  w.resize(2 * 8);
  EXPECT_NE(pruneInputs(w, 2, m, std::vector<bool>(8), 0.1, 1).status().message().find("not finite"), std::string::npos);
  m = s.moments();
  for (float &value : m.covariance)
    value = -value;
  EXPECT_NE(pruneInputs(w, 2, m, std::vector<bool>(8), 0.1, 1).status().message().find("not positive"), std::string::npos);
}

} // namespace
