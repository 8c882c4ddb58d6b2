//===- AttentionShape.h - block sizes of attention on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "MatrixTile.h"

namespace vitrify::x86 {

struct AttentionShape {
  bool dot = false;     ///< bf16 products
  bool uniform = false; ///< every unit sees the same number of keys, in blocks of nearly the same size
  bool whole = false;   ///< all of them in one block
  int64_t headDim = 0;
  int64_t queries = 0;  ///< of a unit, a multiple of the tile's rows
  int64_t keys = 0;     ///< of a block
  RegisterTile tile{6, 4, 6};
  int64_t steps() const { return dot ? (headDim + 1) / 2 : headDim; } ///< of the loop over head_dim
  int64_t paddedKeys(int64_t lanes) const { return llvm::alignTo(keys, uniform ? lanes : tile.vectors * lanes); }
  int64_t paddedDim(int64_t lanes) const { return llvm::alignTo(headDim, lanes); }
};

/// Block sizes for the frame's attention; none (with frame.reason set) when there is no kernel.
std::optional<AttentionShape> attentionShape(KernelFrame &frame);

/// acc + a . b over pairs of bf16.
mlir::Value emitDot(LaneBuilder &b, mlir::Value acc, mlir::Value x, mlir::Value y);

} // namespace vitrify::x86
