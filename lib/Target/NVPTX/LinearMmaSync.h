//===- LinearMmaSync.h - linear kernels for chips whose mma.sync takes FP8 (sm_89, sm_120a) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"

#include <string>

namespace vitrify::nvptx {

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

enum class MatrixType { F8E4M3, F16, BF16 };

/// The input of a patch embedding: row (b, i, j) of x is the patch at (i, j) of image b, column (c, y, x) its pixel.
struct PatchInput {
  int64_t channels = 0, patchHeight = 0, patchWidth = 0;
  mlir::Type element;          ///< f32, f16 or bf16
  Value height, width;         ///< of the image, i64 arguments
};

/// Scales that vary along K: f32, one for each block of K of a row of x or of some columns of w.
struct DepthScales {
  Value pointer;               ///< null: none, which is 1 everywhere
  int64_t stride = 0;          ///< elements from one row of scales to the next
  int64_t depth = 0;           ///< elements of K that share a scale; a multiple of 32
  int64_t height = 1;          ///< rows of x or w that share a scale
};

/// Everything the code of a linear depends on beside its epilogue.
struct LinearKernel {
  MatrixType type = MatrixType::F8E4M3;
  int64_t columns = 0;         ///< N
  int64_t depth = 0;           ///< K, elements
  int64_t inputStride = 0;     ///< bytes from one row of x to the next
  int64_t weightStride = 0;    ///< bytes from one row of w to the next
  LinearTile tile;
  std::optional<PatchInput> patches; ///< x is read from images; 16-bit types only

  DepthScales inputScales, weightScales;
  /// Sums of f16 inside the tensor core, moved into f32 accumulators every `promoteDepth` elements of K. FP8 only; the
  /// sum of so many products must stay within 65504.
  bool f16Sums = false;
  /// Elements of K summed by mma.sync before they are added to the f32 accumulators; 0: all of them.
  int64_t promoteDepth = 0;

  int elementBytes() const { return type == MatrixType::F8E4M3 ? 1 : 2; }
};

/// Emits the body of a linear kernel. The grid is (ceildiv(rows, tile.rows), ceildiv(N, tile.columns), tile.split), the
/// block tile.threads(), dynamic shared memory tile.sharedBytes(). `depth` is K as an i64 argument: its value is known, but
/// a constant would have the loop unrolled. Scheme: swizzled cp.async pipeline, ldmatrix, mma.sync.m16n8k32 (FP8) or
/// m16n8k16 (16-bit), f32 accumulators. With split > 1 each CTA hands its own part of the sum to the epilogue.
void emitLinearMmaSync(GpuBuilder &g, const LinearKernel &kernel, Value rows, Value depth, Value input, Value weight,
                       EpilogueEmitter &epilogue);

/// Consecutive columns that a thread of this kernel owns; the width of its epilogue.
inline constexpr unsigned kLinearRun = 8;

} // namespace vitrify::nvptx
