//===- GlobalShadow.h - race shadow of memory -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Cells for the 4-byte granules of global and shared memory: who wrote and read
// last. Cells live for one launch; a cell holds the last write and two reads.
//===----------------------------------------------------------------------===//
#pragma once

#include "Grid.h"

#include <unordered_map>

namespace vitrify::emulator {

/// Who made an access, to which bytes of the granule. 0: nobody. From the top: 1 | block 24 | warp 5 | Part 4 | lane 5 |
/// atomic 1 | clock 24.
using Stamp = uint64_t;

struct alignas(32) Cell {
  Stamp write, read, read2;
  uint32_t writePc, readPc;
};
static_assert(sizeof(Cell) == 32);

/// Clocks of warps: block * 32 + warp to clock.
using Clocks = std::unordered_map<uint64_t, uint32_t>;

/// What a synchronisation variable passes on.
struct SyncState {
  Clocks clocks;
  bool crossesBlocks = false; ///< some release had a scope beyond the block
};

struct GlobalShadow {
  uint64_t base = 0, span = 0;
  Cell *cells = nullptr;
  std::mutex mutex;
  std::unordered_map<uint64_t, SyncState> syncs; ///< by address
  std::atomic<bool> anySync{false};
  ~GlobalShadow();
};

std::unique_ptr<GlobalShadow> acquireGlobalShadow(Device &device, uint32_t launch);

struct SharedShadow {
  // The parts of cells, each by granule, so that four granules make one vector.
  std::vector<Stamp> write, read, read2;
  std::vector<uint32_t> writePc, readPc;
  std::vector<uint16_t> pending; ///< by granule: 1 + thread whose cp.async was not waited for
  std::vector<uint32_t> pendingPc;
  bool copies = false; ///< the block has started an asynchronous copy
  std::unordered_map<uint64_t, SyncState> syncs;
};

} // namespace vitrify::emulator
