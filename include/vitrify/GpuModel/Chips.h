//===- Chips.h - constants of GPUs --------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One table of chip constants, for the emulator and for the choice of kernels:
// limits that launches are held to, the rules of tensor-core sums, and the rates
// that the launch model's estimates use.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace vitrify {

/// How a tensor core sums: every product and the addend are aligned to the largest exponent, cut to `fractionBits`
/// bits (toward zero), summed exactly, and the sum is cut to `resultBits` fraction bits, `group` terms at a time.
struct SumRule {
  uint8_t fractionBits; ///< fraction bits kept of each aligned term
  uint8_t resultBits;   ///< fraction bits of the f32 result: 23 (all) or 13
  uint8_t group;        ///< products of one K group; K larger than it is summed group by group in order
  bool lateAddend = false; ///< the addend is not aligned with the products but added afterwards, rounded to nearest
};

/// One chip. Rates are for a whole SM and a clock.
struct Chip {
  std::string_view name;   ///< "RTX 4090"
  std::string_view target; ///< "sm_89", "sm_90a", ...: what PTX it accepts
  int major, minor;        ///< compute capability
  int smCount;
  int clockKHz;            ///< boost clock
  int memoryClockKHz, memoryBusBits;
  uint64_t memoryBytes;
  double memoryBytesPerSecond;
  uint64_t l2Bytes;
  double l2BytesPerClock;        ///< per SM, sustained
  int maxThreadsPerSM, maxBlocksPerSM, registersPerSM;
  int sharedPerSM, sharedPerBlockOptin, sharedReservedPerBlock; ///< bytes
  int fp32PerClock, mufuPerClock;      ///< lanes
  int sharedBytesPerClock;             ///< 128: one wavefront
  int tensorF16, tensorF16AccF16;      ///< multiply-adds a clock and SM, f16/bf16 operands, f32 or f16 accumulators
  int tensorF8, tensorF8AccF16, tensorI8;
  double memoryLatencyNs, launchOverheadNs; ///< one DRAM round trip under load; one kernel's fixed cost in a graph
  int l2LatencyCycles;                      ///< of a hit, mean over the SMs
  SumRule f16Sum, f8Sum;               ///< mma.sync rules
  bool sumModelled;                    ///< true where no hardware evidence was at hand for the rule
  std::string_view source;             ///< where the figures come from

  int warpsPerSM() const { return maxThreadsPerSM / 32; }
};

/// All chips, in the order of the default device list.
std::span<const Chip> chips();
/// By name ("RTX 4090", "rtx4090"; case and spaces are ignored) or by target ("sm_89": its first chip; "sm_90" finds
/// sm_90a). NotFound names the known ones.
StatusOr<const Chip *> findChip(std::string_view nameOrTarget);

/// CTAs of one kernel that fit on one SM at once, with what limits them. 0 when one does not fit.
int residentBlocksPerSM(const Chip &chip, int threadsPerBlock, int registersPerThread, uint64_t sharedBytesPerBlock);

} // namespace vitrify
