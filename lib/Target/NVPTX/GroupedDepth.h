//===- GroupedDepth.h - sums over the blocks of K that a gate turned on -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "LinearMmaSync.h"

namespace vitrify::nvptx {

/// How the rows of a launch are cut.
struct GroupedDepthTile {
  static constexpr int kColumns = 64, kDepthBytes = 64, kStages = 4, kWarpColumns = 2, kItemBytes = 16;
  int rows = 256;     ///< whose sums a CTA keeps in shared memory; a multiple of the lists' chunk
  int tileRows = 64;  ///< gathered at once; a multiple of 16

  int threads() const { return tileRows / 16 * kWarpColumns * 32; }
  int stageBytes() const { return (tileRows + kColumns) * kDepthBytes; }
  int sumBytes() const { return rows * kColumns * 4; }
  /// Tiles of rows that a CTA may have to do.
  int64_t items(int64_t blocks) const { return blocks * ((rows + tileRows - 1) / tileRows); }
  int64_t sharedBytes(int64_t blocks) const {
    return sumBytes() + kStages * stageBytes() + 8 * blocks + kItemBytes * items(blocks);
  }
};

/// Everything the code depends on beside its epilogue.
struct GroupedDepthKernel {
  MatrixType type = MatrixType::F8E4M3;
  int64_t columns = 0;      ///< N
  int64_t blocks = 0;       ///< of K
  int64_t blockBytes = 0;   ///< of K, a multiple of 16
  int64_t chunk = 0;        ///< rows that the lists are counted by
  int64_t inputStride = 0;  ///< bytes from row to row
  int64_t weightStride = 0;
  int64_t startsStride = 0; ///< elements
  GroupedDepthTile tile;
};

/// The grid is (ceildiv(rows, tile.rows), ceildiv(N, tile.kColumns)). A CTA keeps the sums of its rows in shared memory and
/// goes through the blocks in order: rows that a block lists are gathered in tiles, multiplied by the block's part of w, and
/// what comes out is added to their sums, block after block, so that results do not depend on what runs when.
void emitGroupedDepth(GpuBuilder &g, const GroupedDepthKernel &kernel, Value rows, Value input, Value weight, Value list,
                      Value starts, EpilogueEmitter &epilogue);

} // namespace vitrify::nvptx
