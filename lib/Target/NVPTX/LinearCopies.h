//===- LinearCopies.h - a linear's operand tiles on their way to shared memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A tile row is depthBytes long in shared memory and its 16-byte chunks are permuted by an XOR with bits of the row, so
// that the eight rows of an 8x8 matrix lie in different banks.
//
// Rows of w do not keep their order: a thread of mma.sync owns two neighbouring columns of each fragment (or, with swapped
// operands, single rows of them), and its epilogue wants eight neighbouring columns of the result. So the rows of w are
// placed such that what a thread owns in the fragments of a block lies side by side in the result:
//   w as the 8-column operand, blocks of 32:  column 8 a + 2 j + b of the block is row 8 j + 2 a + b  (fragment j)
//   w as the 16-row operand, blocks of 64:    column 8 r + 2 f + h of the block is row 16 f + 8 h + r (fragment f)
//===----------------------------------------------------------------------===//
#pragma once

#include "LinearMmaSync.h"

namespace vitrify::nvptx {

/// Where a row of w lies in its tile.
Value placeWeightRow(GpuBuilder &g, Value row, bool swapped);
/// The chunk's place in its row of the tile: `chunk` XOR bits of the placed row.
Value swizzledChunk(GpuBuilder &g, Value chunk, Value placedRow, int depthBytes);

/// The copies of one operand by one thread: in each stage it moves chunk tid % chunksPerRow of every rowsPerCopy-th row.
class OperandCopies {
public:
  enum class Kind : uint8_t { Input, Weight };
  /// `pointer` is at the tile's first row, or at row 0 where rows are gathered; `rows` is the tile's height, `limit` how many of them exist (i32), null when
  /// all do. `sharedBase` is the operand's place in a stage.
  OperandCopies(GpuBuilder &g, const LinearKernel &kernel, Kind kind, Value pointer, int64_t stride, int rows, Value limit,
                int sharedBase, Value firstRow);

  /// The thread's address at the first byte of K, moved along by `advance`.
  Value start() const { return source; }
  Value advance(Value pointer, Value bytes);
  Value advance(Value pointer, int64_t bytes);
  /// Copies the stage whose first byte of K is `firstByte` (i32). `pointer` has been moved that far.
  void issue(Value stage, Value pointer, Value firstByte);

private:
  int chunksPerRow() const { return tile.depthBytes / 16; }
  void copyByElements(Value target, Value source, Value bytes);

  GpuBuilder &g;
  const LinearKernel &kernel;
  const LinearTile &tile;
  int64_t stride;
  std::optional<PatchChunks> patches; ///< the input's rows are read from images
  bool tail;                 ///< the last stage reaches past the end of K
  Value source, chunkByte, firstRow;
  llvm::SmallVector<Value> sharedOffsets, valid, rowPointers; ///< by copy; valid is null where all rows exist
  llvm::SmallVector<Value> sourceOffsets; ///< i64
  Value lastMine;            ///< this thread has a chunk in the last copy; null when every thread has
};

} // namespace vitrify::nvptx
