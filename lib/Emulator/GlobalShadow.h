//===- GlobalShadow.h - race shadow of global memory ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Cells for the 4-byte granules of global memory: who wrote and read last. A
// cell's stamps carry the launch, so that nothing is cleared between launches.
//===----------------------------------------------------------------------===//
#pragma once

#include "Grid.h"

#include <unordered_map>

namespace vitrify::emulator {

/// Who made an access, packed. 0: nobody.
/// launch 10 | block 22 | warp 5 | lane 5 | clock 22
using Stamp = uint64_t;

struct Cell {
  uint64_t write = 0, read = 0, read2 = 0;
  uint32_t writePc = 0, readPc = 0;
};

/// What a synchronisation variable passes on: clocks of warps of blocks.
struct SyncClocks {
  std::unordered_map<uint64_t, uint32_t> clocks; ///< block * 32 + warp to clock
};

struct GlobalShadow {
  uint64_t base = 0, span = 0;
  Cell *cells = nullptr;
  uint32_t launch = 0;
  std::mutex mutex;
  std::unordered_map<uint64_t, SyncClocks> syncs; ///< by address
  ~GlobalShadow();
};

std::unique_ptr<GlobalShadow> acquireGlobalShadow(Device &device, uint32_t launch);

} // namespace vitrify::emulator
