//===- LinearSplit.h - adds the parts of a linear whose K was split -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"

namespace vitrify::nvptx {

/// Threads of a block of the adding kernel.
inline constexpr int kReduceThreads = 128;

/// Elements of the parts, [split, rows, N] f32, from `rows` (i64) on for one part.
Value partOffset(GpuBuilder &g, Value rows, int64_t columns, Value part);

/// Emits the body of the kernel that adds `split` parts in order and applies the epilogue: a thread for eight columns of a
/// row. The grid is (ceildiv(rows ceildiv(N, 8), kReduceThreads), 1, 1).
void emitLinearReduce(GpuBuilder &g, int split, int64_t columns, Value rows, Value parts, EpilogueEmitter &epilogue);

} // namespace vitrify::nvptx
