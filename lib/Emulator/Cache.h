//===- Cache.h - counts of memory traffic -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Sectors, bank conflicts and a simple model of L1 and L2: set-associative, LRU,
// 32-byte sectors in 128-byte lines.
//===----------------------------------------------------------------------===//
#pragma once

#include "Grid.h"

namespace vitrify::emulator {

/// One cache of lines with sector masks.
class SectorCache {
public:
  SectorCache(uint64_t bytes, unsigned ways);
  struct Result {
    unsigned missedSectors = 0, writtenBackSectors = 0;
  };
  /// Touches the sectors of `line` (address / 128) in the mask.
  Result touch(uint64_t line, unsigned sectors, bool write);
  /// Sectors that were written and not yet written back.
  uint64_t dirtySectors() const;

private:
  struct Line {
    uint64_t tag = ~uint64_t(0), used = 0;
    uint8_t valid = 0, dirty = 0;
  };
  std::vector<Line> lines;
  uint64_t sets;
  unsigned ways;
  uint64_t tick = 0;
};

struct CacheModel {
  explicit CacheModel(const Chip &chip);
  std::mutex mutex;
  SectorCache l2;
};

void countGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent, bool write);
void countShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent);

} // namespace vitrify::emulator
