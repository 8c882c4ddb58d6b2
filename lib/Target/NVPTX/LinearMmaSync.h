//===- LinearMmaSync.h - linear kernels for chips whose mma.sync takes FP8 (sm_89, sm_120a) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

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

/// Everything a linear kernel is built from; two linears with equal fields share a kernel.
struct LinearKernel {
  MatrixType type = MatrixType::F8E4M3;
  int64_t columns = 0;         ///< N
  int64_t depth = 0;           ///< K, elements
  int64_t inputStride = 0;     ///< bytes from one row of x to the next
  int64_t weightStride = 0;    ///< bytes from one row of w to the next
  LinearTile tile;
  mlir::Region *epilogue = nullptr; ///< null or empty: the accumulator is the result
  uint64_t group = 1;
  /// Operands of the epilogue in the order of its block's arguments; pointers are filled in by the builder.
  llvm::SmallVector<EpilogueOperand> ins;
  llvm::SmallVector<EpilogueOperand> results;
  /// Position of each pointer among the kernel's pointer arguments.
  unsigned weightArgument = 0, inputArgument = 0;
  llvm::SmallVector<unsigned> inArguments, resultArguments;
  unsigned pointerArguments = 0;
};

/// Builds `gpu.func @name(rows: i64, depthTiles: i64, pointers...)` at the builder's insertion point. The grid is
/// (ceildiv(rows, tile.rows), ceildiv(N, tile.columns), 1), the block tile.threads(), dynamic shared memory
/// tile.sharedBytes(). `depthTiles` is ceildiv(K bytes, tile.depthBytes): an argument so that the loop is not unrolled.
/// Scheme: swizzled cp.async pipeline, ldmatrix, mma.sync.m16n8k32 (FP8) or m16n8k16 (16-bit), f32 accumulators.
mlir::gpu::GPUFuncOp buildLinearMmaSync(mlir::OpBuilder &builder, mlir::Location loc, llvm::StringRef name,
                                        const LinearKernel &kernel);

} // namespace vitrify::nvptx
