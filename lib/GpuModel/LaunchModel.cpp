//===- LaunchModel.cpp - an estimate of a kernel launch ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/LaunchModel.h"

#include <algorithm>
#include <cmath>

namespace vitrify {
namespace {

PipeCycles pipeCycles(const BlockWork &work, double blocks, double warps, const Chip &chip) {
  PipeCycles p;
  // Each of the four sub-partitions has its own scheduler and tensor core.
  double partitions = std::clamp(warps, 1.0, 4.0) / 4;
  const TensorMacs &m = work.macs;
  p.tensor = blocks / partitions *
             (m.f16 / chip.tensorF16 + m.f16AccF16 / chip.tensorF16AccF16 + m.f8 / chip.tensorF8 +
              m.f8AccF16 / chip.tensorF8AccF16 + m.i8 / chip.tensorI8);
  p.issue = blocks / partitions * work.warpInstructions / 4;
  p.mufu = blocks * work.mufuInstructions * 32 / chip.mufuPerClock;
  p.shared = blocks * work.sharedWavefronts * 128 / chip.sharedBytesPerClock;
  p.l2 = blocks * work.l2Bytes / chip.l2BytesPerClock;
  return p;
}

} // namespace

double PipeCycles::longest() const { return std::max({tensor, issue, mufu, shared, l2}); }

std::string_view PipeCycles::name() const {
  double most = longest();
  return most == tensor ? "tensor" : most == issue ? "issue" : most == mufu ? "mufu" : most == shared ? "shared" : "l2";
}

LaunchEstimate estimateLaunch(const KernelLaunch &launch, const Chip &chip) {
  LaunchEstimate e;
  e.residentPerSM =
      residentBlocksPerSM(chip, launch.threadsPerBlock, launch.registersPerThread, launch.sharedBytesPerBlock);
  if (!e.residentPerSM || launch.blocks <= 0)
    return e;
  double resident = e.residentPerSM, slots = resident * chip.smCount;
  double full = std::floor(launch.blocks / slots), rest = launch.blocks - full * slots;
  e.blocksOnBusiestSM = full * resident + std::ceil(rest / chip.smCount);
  e.rounds = std::ceil(launch.blocks / slots);
  e.fillShare = launch.blocks / (e.rounds * slots);
  double together = std::min(resident, e.blocksOnBusiestSM);
  e.residentWarps = together * ((launch.threadsPerBlock + 31) / 32);

  e.loop = pipeCycles(launch.loop, e.blocksOnBusiestSM, e.residentWarps, chip);
  e.epilogue = pipeCycles(launch.epilogue, e.blocksOnBusiestSM, e.residentWarps, chip);
  double executed = launch.blocks * (launch.loop.macs.total() + launch.epilogue.macs.total());
  if (launch.usefulMacs > 0 && executed > 0)
    e.usefulShare = launch.usefulMacs / executed;

  double latency = chip.memoryLatencyNs * chip.clockKHz * 1e-6; // cycles
  e.loopCycles = e.loop.longest();
  e.limiter = e.loop.name();
  e.bytesInFlight = together * std::max(launch.stages - 1, 1) * launch.stageBytes;
  if (launch.stageBytes > 0) {
    double arriving = e.blocksOnBusiestSM * launch.loop.l2Bytes * chip.l2LatencyCycles / e.bytesInFlight;
    if (arriving > e.loopCycles) {
      e.loopCycles = arriving;
      e.limiter = "latency";
    }
  }
  if (e.loop.tensor > 0)
    e.pipeCeiling = e.loop.tensor / e.loopCycles;
  double compute = std::max({e.loop.tensor, e.loop.issue, e.loop.mufu, e.loop.shared});
  if (compute > 0)
    e.l2BytesPerCycle = e.blocksOnBusiestSM * launch.loop.l2Bytes / compute;

  bool overlapped = e.residentPerSM > 1 && e.rounds > 1;
  e.fillCycles = latency * (e.residentPerSM > 1 ? 1 : e.rounds);
  e.exposedEpilogueCycles =
      e.epilogue.longest() * (overlapped ? std::min(1.0, together / e.blocksOnBusiestSM) : 1.0);
  if (e.exposedEpilogueCycles > 0)
    e.epilogueShare = e.exposedEpilogueCycles / (e.exposedEpilogueCycles + e.loopCycles);

  double cycles = e.fillCycles + e.loopCycles + e.exposedEpilogueCycles;
  e.nanoseconds = cycles * 1e6 / chip.clockKHz;
  if (e.fillCycles > e.loopCycles + e.exposedEpilogueCycles)
    e.limiter = "latency";
  e.dramNs = launch.dramBytes / chip.memoryBytesPerSecond * 1e9;
  double memory = e.dramNs + chip.memoryLatencyNs;
  if (memory > e.nanoseconds) {
    e.nanoseconds = memory;
    e.limiter = "dram";
  }
  double crossing = launch.operandBytes / (chip.smCount * chip.l2BytesPerClock) * 1e6 / chip.clockKHz + chip.memoryLatencyNs;
  if (launch.operandBytes > 0 && crossing > e.nanoseconds) {
    e.nanoseconds = crossing;
    e.limiter = "l2";
  }
  return e;
}

} // namespace vitrify
