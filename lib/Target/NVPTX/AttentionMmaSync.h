//===- AttentionMmaSync.h - flash attention on 16-bit mma.sync (sm_80 and newer) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Family.h"

namespace vitrify::nvptx {

/// How an attention kernel cuts its work: a block has `warps` x 16 query rows of one head and segment.
struct AttentionTile {
  int64_t head = 64;      ///< head dimension, a multiple of 8 up to 128
  int warps = 4;          ///< 1, 2 or 4
  int64_t onePassKeys = 0; ///< keys of every segment when all their scores stay in registers, up to 256; 0: online softmax
  int keys = 64;          ///< rows of a stage of the cp.async pipeline
  int stages = 3;         ///< of that pipeline

  int rows() const { return 16 * warps; }
  int threads() const { return 32 * warps; }
  int chunks() const { return head / 8; } ///< 16-byte chunks of a row
  /// Rows of 4, 8 or 16 chunks are swizzled; others are an odd number of chunks long, which needs no swizzle.
  bool swizzled() const { return chunks() == 4 || chunks() == 8 || chunks() == 16; }
  int rowBytes() const { return (swizzled() ? chunks() : chunks() | 1) * 16; }
  int matrixBytes() const { return keys * rowBytes(); }
  /// A stage of the one-pass kernel holds keys or values, one of the online kernel both. Queries pass through the last.
  int stageBytes() const { return (onePassKeys ? 1 : 2) * matrixBytes(); }
  int sharedBytes() const { return stages * stageBytes(); }
};

/// Emits the body of an attention kernel. `scalars` are rows of q, rows of k and, with cu_seqlens, segments + 1. The grid
/// is (blocks of all segments, heads), the block tile.threads(), dynamic shared memory tile.sharedBytes().
void emitAttentionMmaSync(GpuBuilder &g, vit::AttentionOp op, const AttentionTile &tile, const Arguments &args,
                          ValueRange scalars, ValueRange pointers);

} // namespace vitrify::nvptx
