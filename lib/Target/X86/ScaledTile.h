//===- ScaledTile.h - linears with scales along K on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "MatrixTile.h"

namespace vitrify::x86 {

/// How the scales of a linear lie along K: in `count` blocks of `columns`, all of them covering K.
struct ScaleBlocks {
  int64_t count = 0;
  int64_t columns = 0;
};

/// The blocks of a linear with x_scales or w_scales, or why there is no kernel for them.
std::optional<ScaleBlocks> scaleBlocksOf(KernelFrame &frame, vit::LinearOp linear, const MicroTile &micro);

/// Rows [m, m + rows) of one panel into `scratch`: the sum over the blocks of K of the block's product times the scales of
/// x's row and of w's rows. `xScales` and `wScales` may be null.
void emitScaledTile(LaneBuilder &b, vit::LinearOp linear, const MicroTile &micro, ScaleBlocks blocks, int64_t rows, mlir::Value a,
                    mlir::Value m, mlir::Value panels, mlir::Value panel, mlir::Value xScales, mlir::Value wScales,
                    mlir::Value scratch);

} // namespace vitrify::x86
