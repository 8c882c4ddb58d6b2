//===- LinearTile.h - how a linear kernel cuts its work -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <string>

namespace vitrify::nvptx {

/// Types of the operands of a product.
enum class MatrixType { F8E4M3, F16, BF16 };

/// How a linear kernel cuts its work. Bytes of K are the unit because FP8 and 16-bit operands move alike. Rows are tokens
/// and columns the outputs of the layer, whichever of them is the 16-row operand of mma.sync.
struct LinearTile {
  int rows = 128;        ///< of the CTA tile
  int columns = 128;     ///< of the CTA tile
  int depthBytes = 64;   ///< of K in a stage: 64 or 128
  int stages = 4;        ///< of the cp.async pipeline, at least 2
  int warpRows = 2;      ///< warps side by side along the rows
  int warpColumns = 2;   ///< and along the columns
  bool swapped = false;  ///< w is the 16-row operand and x the 8-column one: rows come in eights, not in sixteens
  int split = 1;         ///< parts of K, each summed by CTAs of its own; blockIdx.z is the part

  int warpTileRows() const { return rows / warpRows; }
  int warpTileColumns() const { return columns / warpColumns; }
  int threads() const { return 32 * warpRows * warpColumns; }
  int stageBytes() const { return (rows + columns) * depthBytes; }
  int sharedBytes() const { return stages * stageBytes(); }
  /// f32 accumulators of a thread.
  int accumulators() const { return warpTileRows() * warpTileColumns() / 32; }
  /// Rows that all threads copy at once: one 16-byte chunk each.
  int rowsPerCopy() const { return threads() * 16 / depthBytes; }
  /// Whether the emitter has code for this shape.
  bool valid() const {
    return warpTileRows() % (swapped ? 8 : 16) == 0 && warpTileColumns() % (swapped ? 64 : 32) == 0 &&
           rows % warpRows == 0 && columns % warpColumns == 0 && rowsPerCopy() % 8 == 0 && stages >= 2;
  }
  /// "64x96x64s4w23", then "t" for swapped operands and "k3" for three parts of K.
  std::string name() const;
};

/// Consecutive columns that a thread of a linear kernel owns; the width of its epilogue.
inline constexpr unsigned kLinearRun = 8;

} // namespace vitrify::nvptx
