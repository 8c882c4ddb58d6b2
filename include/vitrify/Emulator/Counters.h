//===- Counters.h - what a kernel did, and an estimate of its time -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Counts of one launch, by kernel and by PTX line, and what the launch model
// makes of them: an estimated time on a chip. Counts are exact for the
// emulated schedule; times are estimates and labelled so.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/GpuModel/LaunchModel.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify::emulator {

enum class InstClass : uint8_t {
  Integer, Float32, Float16, Float64, Conversion, Mufu, Predicate, Move, Control, Barrier, Shuffle,
  LoadGlobal, StoreGlobal, LoadShared, StoreShared, LoadLocal, StoreLocal, LoadConst, Atomic, AsyncCopy,
  MatrixLoad, Tensor, Fence, Other,
};
inline constexpr unsigned kInstClasses = unsigned(InstClass::Other) + 1;
std::string_view instClassName(InstClass c);

/// Memory work of a line or a kernel.
struct MemoryCounts {
  uint64_t globalRequests = 0;   ///< warp instructions to global memory
  uint64_t globalSectors = 0;    ///< 32-byte sectors touched
  uint64_t globalBytes = 0;      ///< bytes that lanes asked for
  uint64_t sharedRequests = 0;
  uint64_t sharedWavefronts = 0; ///< 128-byte passes
  uint64_t sharedLeast = 0;      ///< passes without bank conflicts
  uint64_t l2Bytes = 0;          ///< sectors that missed the modelled L1, in bytes
  uint64_t dramBytes = 0;        ///< missed the modelled L2, and written back
};

struct LineCounts {
  uint32_t ptxLine = 0;
  std::string instruction;
  std::string sourceFile;
  uint32_t sourceLine = 0;
  InstClass instClass = InstClass::Other;
  uint64_t warpInstructions = 0, threadInstructions = 0;
  uint64_t divergentBranches = 0;
  MemoryCounts memory;
};

struct Counters {
  std::string kernel, chip;
  std::array<uint32_t, 3> grid{}, block{};
  uint32_t registers = 0, sharedBytes = 0;
  int residentPerSM = 0;
  uint64_t warpInstructions = 0, threadInstructions = 0;
  std::array<uint64_t, kInstClasses> warpByClass{};
  uint64_t branches = 0, divergentBranches = 0;
  uint64_t barrierWaits = 0, asyncWaits = 0;
  uint64_t tensorMacsF16 = 0, tensorMacsF16AccF16 = 0, tensorMacsF8 = 0, tensorMacsF8AccF16 = 0, tensorMacsI8 = 0,
           tensorMacsOther = 0;
  MemoryCounts memory;
  std::vector<LineCounts> lines; ///< by PTX line
};

/// The launch as the model takes it: averages over its blocks, everything in the main loop.
KernelLaunch launchOf(const Counters &counters);
LaunchEstimate estimate(const Counters &counters, const Chip &chip);

std::string countersToJson(const Counters &counters, const Chip &chip);
/// A table for people; `lines`: the busiest lines to print.
std::string formatCounters(const Counters &counters, const Chip &chip, unsigned lines = 20);

} // namespace vitrify::emulator
