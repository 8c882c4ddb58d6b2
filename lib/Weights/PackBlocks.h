//===- PackBlocks.h - NVFP4 weights in panels -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Weights/Pack.h"

namespace vitrify {

/// How NVFP4 blocks of a stored shape lie: rows [N, K / 16 * 18] as recipes give them, or panels [ceil(N / W), K / 16, 18 W].
struct BlockGeometry {
  int64_t rows = 0;   ///< N; of panels, with what fills the last
  int64_t groups = 0; ///< K / 16
  int64_t panels = 0;
  bool inPanels = false;
};
/// An error for shapes that are neither.
StatusOr<BlockGeometry> blockGeometry(const PackLayout &layout, std::span<const int64_t> shape);

/// pack() of a layout with `blocks`.
void packBlocks(const PackLayout &layout, const BlockGeometry &geometry, const std::byte *source, std::byte *packed,
                int64_t begin, int64_t end);

} // namespace vitrify
