//===- Traffic.h - what a plan moves from and to memory ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Bytes of weights and buffers that launches read and write, each operand of a
// launch once, and the least that encoder blocks need: seven kernels a block, norm
// with quantise, q/k/v, attention, projection with residual, norm with quantise,
// fc1 with activation and quantise, fc2 with residual.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"
#include "vitrify/GpuModel/L2Residency.h"

#include <vector>

namespace vitrify {

struct PlanTraffic {
  int64_t bytes = 0;    ///< of all launches and copies
  int64_t minimum = 0;  ///< the same with each complete encoder block at its least
  int64_t launches = 0;
  int64_t blocks = 0;   ///< encoder blocks that were found: layers "bN.*"
  int64_t blockLaunches = 0; ///< launches of them
};

/// The launches and copies that a program really executes at these values of its symbols, in order: bodies of If steps whose
/// condition holds are among them.
std::vector<const PlanStep *> executedSteps(const PlanProgram &program, const std::vector<int64_t> &symbols);
/// Which of a launch's kernels serves these values; -1 for other steps.
int chosenKernel(const PlanStep &step, const std::vector<int64_t> &symbols);
/// Bytes of one launch or copy at these values of the program's symbols. The parts of a product whose K is split are left
/// out: the compiler bounds their size so that they stay in L2 until the next launch adds them up, which writes the results.
int64_t stepTraffic(const Plan &plan, const PlanProgram &program, const PlanStep &step, const std::vector<int64_t> &symbols);
/// The operands of one launch or copy as ranges of memory, for a model of the L2 that launches follow each other on: the arena is one
/// allocation, every argument and every tensor of weights another. Parts of a split product are among them.
struct StepRanges {
  std::vector<MemoryRange> reads, writes;
};
StepRanges stepRanges(const Plan &plan, const PlanProgram &program, const PlanStep &step, const std::vector<int64_t> &symbols);
/// Of a program; called programs are left out.
PlanTraffic planTraffic(const Plan &plan, const PlanProgram &program, const std::vector<int64_t> &symbols);

} // namespace vitrify
