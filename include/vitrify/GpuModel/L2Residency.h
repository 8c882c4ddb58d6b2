//===- L2Residency.h - what of a launch's operands comes from memory -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Launches follow each other on one L2: what one wrote, the next reads from there
// when it still fits. A model of whole operands: the cache keeps what was used last
// (LRU), a byte that is read again hits when everything that was touched since, and
// everything that this launch touches, fits beside it (the stack distance, taken at
// its largest), and what was written goes to memory when it is pushed out, or never
// when it is overwritten before. Sources: Mattson et al., Evaluation techniques for
// storage hierarchies, 1970 (stack distance); NVIDIA Ada GPU Architecture whitepaper
// v2.1 (a write-back L2 shared by all SMs).
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

namespace vitrify {

/// Bytes [begin, end) of one allocation.
struct MemoryRange {
  uint64_t space = 0; ///< which allocation: the arena, an argument, a weight
  int64_t begin = 0, end = 0;
};

/// An L2 and what lies in it. It starts empty: nothing of an earlier run is counted on.
class L2Residency {
public:
  explicit L2Residency(int64_t capacityBytes) : capacity(capacityBytes) {}

  struct Traffic {
    int64_t readBytes = 0;    ///< that no launch before left in L2
    int64_t writtenBytes = 0; ///< dirty, pushed out while this launch ran

    int64_t bytes() const { return readBytes + writtenBytes; }
  };
  /// One launch, after those before it. Ranges that overlap count once.
  Traffic launch(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes);

private:
  struct Entry {
    MemoryRange range;
    bool dirty = false;
  };
  /// Takes a range out of the cache; returns its pieces there.
  std::vector<Entry> take(const MemoryRange &range);

  int64_t capacity;
  std::list<Entry> entries; ///< disjoint, the last used first
};

} // namespace vitrify
