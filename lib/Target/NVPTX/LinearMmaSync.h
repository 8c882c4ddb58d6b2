//===- LinearMmaSync.h - linear kernels for chips whose mma.sync takes FP8 (sm_89, sm_120a) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"
#include "LinearTile.h"
#include "PatchInput.h"

#include <map>

namespace vitrify::nvptx {

/// Scales that vary along K: f32, one for each block of K of a row of x or of some columns of w.
struct DepthScales {
  Value pointer;               ///< null: none, which is 1 everywhere
  int64_t stride = 0;          ///< elements from one row of scales to the next
  int64_t depth = 0;           ///< elements of K that share a scale; a multiple of 32
  int64_t height = 1;          ///< rows of x or w that share a scale
};

/// Rows of x, and of the result, that a list in global memory names: `rows` of the kernel are its entries then.
struct RowList {
  Value entries; ///< pointer to the first, i32
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
  std::optional<RowList> list;       ///< rows are gathered

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

/// c + a b of one mma.sync: `wide` is the 16-row operand, n0 and n1 the 8-column one, `c` 4 f32 (or 2 pairs of f16 for sums of
/// FP8 in `f16`). The struct of results.
Value emitMma(GpuBuilder &g, MatrixType type, llvm::ArrayRef<Value> wide, Value n0, Value n1, llvm::ArrayRef<Value> c, bool f16);

/// KernelSpec::facts of a product [rows, depth] x [depth, columns] of elements of so many bytes.
std::map<std::string, int64_t> linearFacts(const LinearTile &tile, int64_t columns, int64_t depth, int64_t bytes);

} // namespace vitrify::nvptx
