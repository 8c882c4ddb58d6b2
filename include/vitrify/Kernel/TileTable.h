//===- TileTable.h - register tiles of matrix products ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <optional>

namespace vitrify {

/// A register tile of `rows` x (`vectors` * lanes) accumulators.
struct RegisterTile {
  int64_t rows;
  int64_t vectors;
  int64_t rowsPerUnit; ///< rows of a work unit, a multiple of `rows`
};

/// The tile for N columns in panels whose width `group` divides, on a machine of so many lanes and vector registers, where a
/// panel has `columnBytes` a column. Where `within` is not 0, panels may not cross its multiples. None when no width fits.
std::optional<RegisterTile> chooseLinearTile(int64_t columns, int64_t group, unsigned lanes, unsigned registers,
                                             int64_t columnBytes, int64_t within = 0);
/// The tile of queries of attention.
RegisterTile chooseAttentionTile(unsigned registers);

} // namespace vitrify
