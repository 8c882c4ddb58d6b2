//===- Launch.h - running a kernel ------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// launch(): one grid of a loaded kernel, to its end, with checks and counters.
// Blocks run on host threads, started in index order, at most as many resident
// as the chip holds, and are preempted when they only wait.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Counters.h"
#include "vitrify/Emulator/Module.h"
#include "vitrify/Emulator/Report.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace vitrify::emulator {

/// Numbers as in CUresult.
enum class LaunchError : int {
  Success = 0,
  InvalidValue = 1,             ///< zero or too large grid or block, wrong size of parameters
  IllegalAddress = 700,
  OutOfResources = 701,         ///< threads, registers or shared memory beyond the chip
  Timeout = 702,
  Assert = 710,
  CooperativeTooLarge = 720,
  IllegalInstruction = 715,
  MisalignedAddress = 716,
  InvalidAddressSpace = 717,
  LaunchFailed = 719,           ///< trap, deadlock, stack overflow
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
};

enum class TensorSums : uint8_t { Chip, Plain }; ///< the chip's rule, or f32 multiply-adds in order

struct LaunchOptions {
  uint8_t checks = CheckAll;             ///< mask of Check
  TensorSums sums = TensorSums::Chip;
  bool perturbApprox = false;            ///< randomise ex2, rcp, ... inside the ISA's error bounds
  uint64_t seed = 0;                     ///< schedule and perturbation; 0: the plain order
  bool counters = false;
  unsigned hostThreads = 0;              ///< 0: one a core. 1 makes runs repeatable
  unsigned reportLimit = 100;            ///< reports kept; further ones are only counted
  bool stopAtFault = true;               ///< end the grid at the first memory fault, as hardware does
  uint64_t maxInstructions = 0;          ///< warp instructions of the grid before Timeout; 0: no limit
  const std::atomic<bool> *cancel = nullptr;
  /// Whether others than the grid (the host, other grids) may write what it polls. 0: they may at any time; else a number
  /// that changes with whatever they have done. Without it nobody may, and a grid that only polls is a deadlock. Called
  /// from the grid's host threads.
  std::function<uint64_t()> outsideActivity;
  std::function<void(std::string_view)> print; ///< vprintf's and __assertfail's text; default: stdout
};

struct LaunchResult {
  LaunchError error = LaunchError::Success;
  std::string message;           ///< why, one sentence; empty on success
  std::vector<Report> reports;
  uint64_t faults = 0;           ///< all found, kept or not
  Counters counters;             ///< filled if asked for
};

/// Bounds of the launch that do not need the module.
struct LaunchConfig {
  Dim3 grid, block;
  uint32_t dynamicShared = 0;
  bool cooperative = false;
  uint64_t gridWorkspace = 0; ///< %envreg1 (high half) and %envreg2: where cooperative groups keep the grid's barrier
};

/// Runs the grid. `params` is the packed parameter buffer of FunctionInfo::params. Blocks until the grid is done;
/// different launches may run at once on different host threads.
LaunchResult launch(const LoadedModule &module, std::string_view kernel, const LaunchConfig &config,
                    std::span<const uint8_t> params, const LaunchOptions &options = {});

/// CTAs of the kernel that one SM holds (cuOccupancyMaxActiveBlocksPerMultiprocessor).
StatusOr<int> residentBlocks(const LoadedModule &module, std::string_view kernel, int threadsPerBlock,
                             uint64_t dynamicShared);

} // namespace vitrify::emulator
