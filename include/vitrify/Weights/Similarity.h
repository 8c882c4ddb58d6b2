//===- Similarity.h - what two matrices have in common ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Deciding whether one stored weight can stand for another: equal, equal up to a
// factor, or different by a matrix of low rank.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/DType.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vitrify {

/// The factor c of each row with which every b[n, k] is c[n] * a[n, k] rounded to nearest even in `dtype` (F32, F16 or
/// BF16), or nothing. Both are row-major [rows, columns] of that type. A power of two is taken if one fits, else a number
/// from the middle of those that do; one number for all rows if there is one. A factor is finite and not 0; a row of zeros
/// has 1.
std::optional<std::vector<float>> rowFactors(DType dtype, std::span<const std::byte> a, std::span<const std::byte> b,
                                             int64_t rows, int64_t columns);

/// b is about a + up * down.
struct LowRankDifference {
  int64_t rank = 0;
  std::vector<float> up;   ///< [rows, rank]
  std::vector<float> down; ///< [rank, columns]
  double error = 0;        ///< ||b - a - up down|| / ||b||, Frobenius norms, of the rounded factors
};

/// The least rank of 1, 2, 4, ... up to `maxRank` with an error of at most `tolerance`, or nothing. a and b are [rows,
/// columns]. By subspace iteration from a fixed start (Halko, Martinsson and Tropp, SIAM Review 53(2), 2011, algorithm 4.4),
/// so the result is the same in every run.
std::optional<LowRankDifference> lowRankDifference(std::span<const float> a, std::span<const float> b, int64_t rows,
                                                   int64_t columns, int64_t maxRank, double tolerance);

/// Elements of a tensor of F32, F16, BF16 or F8_E4M3 as f32.
std::vector<float> floatsOf(DType dtype, std::span<const std::byte> bytes);

} // namespace vitrify
