//===- LinearMmaSync.h - linear kernels for chips whose mma.sync takes FP8 (sm_89, sm_120a) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"

namespace vitrify::nvptx {

/// Shape of a linear kernel's work. Bytes of K are the unit because FP8 and 16-bit operands move alike.
struct LinearTile {
  int rows = 128;        ///< of the CTA tile; a multiple of 16 * warpRows
  int columns = 128;     ///< of the CTA tile; a multiple of 32 * warpColumns
  int depthBytes = 64;   ///< of K in a stage: 64 or 128
  int stages = 4;        ///< of the cp.async pipeline, at least 2
  int warpRows = 2;
  int warpColumns = 2;

  int threads() const { return 32 * warpRows * warpColumns; }
  int sharedBytes() const { return stages * (rows + columns) * depthBytes; }
};

enum class MatrixType { F8E4M3, F16, BF16 };

/// The input of a patch embedding: row (b, i, j) of x is the patch at (i, j) of image b, column (c, y, x) its pixel.
struct PatchInput {
  int64_t channels = 0, patchHeight = 0, patchWidth = 0;
  mlir::Type element;          ///< f32, f16 or bf16
  Value height, width;         ///< of the image, i64 arguments
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
};

/// Emits the body of a linear kernel. The grid is (ceildiv(rows, tile.rows), ceildiv(N, tile.columns), 1), the block
/// tile.threads(), dynamic shared memory tile.sharedBytes(). `depth` is K as an i64 argument: its value is known, but a
/// constant would have the loop unrolled. Scheme: swizzled cp.async pipeline, ldmatrix, mma.sync.m16n8k32 (FP8) or
/// m16n8k16 (16-bit), f32 accumulators.
void emitLinearMmaSync(GpuBuilder &g, const LinearKernel &kernel, Value rows, Value depth, Value input, Value weight,
                       EpilogueEmitter &epilogue);

/// Consecutive columns that a thread of this kernel owns; the width of its epilogue.
inline constexpr unsigned kLinearRun = 8;

} // namespace vitrify::nvptx
