//===- TileTable.cpp - register tiles of matrix products -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A step of the inner loop loads `vectors` of B, broadcasts `rows` elements of A and issues rows * vectors
// multiply-adds; rows * vectors + vectors + 1 registers are live. With two loads and two multiply-adds a cycle every
// tile here but the last of each list is bound by the multiply-adds.
//===----------------------------------------------------------------------===//
#include "vitrify/Kernel/TileTable.h"

#include <algorithm>
#include <array>
#include <span>

using namespace vitrify;

namespace {
struct Row {
  int64_t rows, vectors;
  double cost; ///< of a column, relative to the best tile
};
constexpr std::array<Row, 4> kWide = {{{6, 4, 1.0}, {8, 3, 1.01}, {12, 2, 1.03}, {14, 1, 1.15}}};
constexpr std::array<Row, 2> kNarrow = {{{6, 2, 1.0}, {10, 1, 1.1}}};

/// Every tile of rows reads the whole panel: one that leaves no room in the second-level cache comes from further away.
constexpr int64_t kPanelBytes = 512 * 1024;
/// Of A's rows in a work unit.
constexpr int64_t kUnitBytes = 36 * 1024;

std::span<const Row> tableFor(unsigned registers) {
  return registers >= 32 ? std::span<const Row>(kWide) : std::span<const Row>(kNarrow);
}
} // namespace

std::optional<RegisterTile> vitrify::chooseLinearTile(int64_t columns, int64_t group, unsigned lanes,
                                                      unsigned registers, int64_t columnBytes, int64_t within) {
  std::optional<RegisterTile> best;
  double bestCost = 0;
  for (const Row &row : tableFor(registers)) {
    int64_t width = row.vectors * lanes;
    if (width % group != 0 || within % width != 0)
      continue;
    double cost = double((columns + width - 1) / width * width) * row.cost;
    if (width * columnBytes > kPanelBytes)
      cost *= 1.06;
    if (best && cost >= bestCost)
      continue;
    // Units of some microseconds: threads end a step within one of each other, and seldom ask for more.
    int64_t rows = std::clamp<int64_t>(kUnitBytes / std::max<int64_t>(columnBytes, 1), 1, 48);
    best = RegisterTile{row.rows, row.vectors, (rows + row.rows - 1) / row.rows * row.rows};
    bestCost = cost;
  }
  return best;
}

RegisterTile vitrify::chooseAttentionTile(unsigned registers) {
  const Row &row = tableFor(registers).front();
  return RegisterTile{row.rows, row.vectors, row.rows};
}
