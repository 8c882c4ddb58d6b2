//===- LinearSums.h - in what a linear may sum, and how long -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Target/KnownTargets.h"

namespace vitrify::nvptx {

/// How the products of a linear are summed.
struct SumForm {
  bool f16 = false;         ///< inside the tensor core in f16, moved into f32 every `promoteDepth` elements of K
  int64_t promoteDepth = 0; ///< elements of K that mma.sync sums before the f32 accumulators take them; 0: all
};

/// f16 for FP8 where the chip has such an instruction and no x can make a sum leave f16: the recipe of w must prove that
/// its codes are small, as scales of amax / 4.5 do (448 x 4.5 x 32 < 65504). Blocks of K with scales of their own end where
/// their scale does.
SumForm sumFormOf(vit::LinearOp op, const TargetRow &row);

/// Elements of K that share their scales, of x and of w together; 0 without scales along K.
int64_t scaledDepthOf(vit::LinearOp op);

/// The largest magnitude of the E4M3 codes of a weight that its recipe proves; 448 where it proves nothing.
double codeBoundOf(vit::LinearOp op);

} // namespace vitrify::nvptx
