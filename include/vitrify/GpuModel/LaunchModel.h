//===- LaunchModel.h - an estimate of a kernel launch -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The time of one launch on one chip, from what a block executes: the slowest
// pipe of the busiest SM, plus what nothing hides (the first loads of a round,
// the epilogue of the last one), or DRAM, whichever is longer. The same formula
// chooses tiles (from computed work) and judges binaries (from counted work).
// Every result is an estimate; none was measured on a chip.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/GpuModel/Chips.h"

#include <string_view>

namespace vitrify {

/// Multiply-adds of tensor-core instructions, by operand and accumulator type; padding included.
struct TensorMacs {
  double f16 = 0, f16AccF16 = 0, f8 = 0, f8AccF16 = 0, i8 = 0;

  double total() const { return f16 + f16AccF16 + f8 + f8AccF16 + i8; }
};

/// What one block executes in one part of the kernel, summed over its warps.
struct BlockWork {
  TensorMacs macs;
  double warpInstructions = 0; ///< issued, tensor instructions included
  double mufuInstructions = 0; ///< warp instructions to the special function unit
  double sharedWavefronts = 0; ///< 128-byte passes through shared memory
  double l2Bytes = 0;          ///< bytes asked of L2
};

/// One launch.
struct KernelLaunch {
  double blocks = 1; ///< T
  int threadsPerBlock = 128, registersPerThread = 128;
  uint64_t sharedBytesPerBlock = 0;
  BlockWork loop;     ///< the main loop; all of it for a kernel without one
  BlockWork epilogue; ///< after the main loop
  int stages = 1;         ///< buffers of the main loop's copies; stages - 1 are in flight
  double stageBytes = 0;  ///< bytes of one buffer; 0: loads in flight are not modelled
  double usefulMacs = 0;  ///< of the whole launch, without padding; 0: not a tensor kernel
  double dramBytes = 0;   ///< of the whole launch, from and to memory: cold, each operand once and each result once; warm, what
                          ///< launches before it did not leave in L2 (L2Residency.h)
  double operandBytes = 0; ///< of the whole launch, each operand and result once: what crosses L2 at least
};

/// Cycles of the busiest SM for one part of the kernel, by pipe.
struct PipeCycles {
  double tensor = 0, issue = 0, mufu = 0, shared = 0, l2 = 0;

  double longest() const;
  std::string_view name() const; ///< of the longest
};

struct LaunchEstimate {
  int residentPerSM = 0;        ///< R; 0 when a block does not fit, and nothing else is set
  double residentWarps = 0;     ///< on the busiest SM
  double blocksOnBusiestSM = 0, rounds = 0;
  double usefulShare = 1;       ///< u: useful / executed tensor MACs
  double fillShare = 1;         ///< w: T / (rounds S R)
  double pipeCeiling = 1;       ///< c: tensor / longest pipe of the main loop
  double l2BytesPerCycle = 0;   ///< demand of the main loop, per SM, at the speed of its longest other pipe
  double bytesInFlight = 0;     ///< per SM
  double epilogueShare = 0;     ///< exposed e / (e + main loop)
  PipeCycles loop, epilogue;    ///< of all blocks of the busiest SM
  double loopCycles = 0, fillCycles = 0, exposedEpilogueCycles = 0, dramNs = 0;
  double nanoseconds = 0;       ///< without the launch's own cost (Chip::launchOverheadNs)
  std::string_view limiter;     ///< "tensor", "issue", "mufu", "shared", "l2", "latency", "dram"
};

/// The estimate. Formula:
///   busiest = floor(T / S R) R + ceil((T mod S R) / S),  rounds = ceil(T / (S R))
///   loop    = busiest x max(tensor, issue / 4, MUFU lanes / mufuPerClock, wavefronts, L2 bytes / l2BytesPerClock,
///             L2 bytes / (bytes in flight / l2LatencyCycles))
///   epilogue= busiest x the same of the epilogue; where R > 1 and more than one round runs, another block's main loop
///             hides all but the last round's
///   fill    = one memory latency a round when R = 1, one in all otherwise
///   time    = max(fill + loop + exposed epilogue, DRAM bytes / bandwidth + one latency,
///             operand bytes / (SMs x l2BytesPerClock) + one latency)
/// A SM with fewer than 4 resident warps has that share of its tensor and issue rate.
LaunchEstimate estimateLaunch(const KernelLaunch &launch, const Chip &chip);

} // namespace vitrify
