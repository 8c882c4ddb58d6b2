//===- Surgeon.h - removing inputs of a linear with least change ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Chooses which inputs of a linear can go, and the weights of those that stay so that
// its outputs change least: the optimal brain surgeon of Hassibi and Stork, Optimal
// Brain Surgeon and General Network Pruning, 1993, with whole columns for single weights.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <span>
#include <vector>

namespace vitrify {

/// What calibration saw of `count` inputs together.
struct NeuronMoments {
  int64_t count = 0;
  std::vector<float> mean, amax;  ///< [count]
  std::vector<float> covariance;  ///< [count, count]
};

/// A linear with fewer inputs.
struct PrunedLinear {
  std::vector<int64_t> kept;      ///< ascending
  std::vector<float> weights;     ///< [rows, kept]
  double error = 0;               ///< root of (error power / power) of the outputs about their mean, by the moments
};

/// Removes inputs of `weights` [rows, count] for as long as the relative error stays within `tolerance`. Those in `gone`
/// and those that are always 0 by the moments go first, at no cost. As many are kept as is a multiple of `granule`, at
/// least one granule (or all). The caller adds weights * mean - pruned * mean(kept) to the bias.
/// Errors: moments of another size, or with values that are not finite.
StatusOr<PrunedLinear> pruneInputs(std::span<const float> weights, int64_t rows, const NeuronMoments &moments,
                                   const std::vector<bool> &gone, double tolerance, int64_t granule);

} // namespace vitrify
