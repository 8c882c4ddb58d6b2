//===- Schedule.h - a plan with its numbers filled in -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One entry of a plan for one set of symbol values: every expression evaluated,
// kernels chosen, conditions decided, calls inlined. Made once a set and cached;
// devices run it step by step.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace vitrify {

/// An address: `offset` bytes into the arena, or into the memory of an argument of the entry.
struct ScheduledOperand {
  enum class Base : uint8_t { Arena, Input, Output };
  Base base = Base::Arena;
  uint32_t argument = 0;
  uint64_t offset = 0;
};

struct ScheduledStep {
  enum class Kind : uint8_t { Launch, Copy, ExitIf };
  Kind kind = Kind::Launch;
  std::string layers;               ///< names joined by spaces
  uint32_t kernel = 0;              ///< index into Plan::kernels
  std::array<int64_t, 3> grid{1, 1, 1}, block{1, 1, 1};
  int64_t sharedBytes = 0;
  std::vector<int64_t> scalars;
  std::vector<uint32_t> weights;    ///< indices into Plan::weights
  std::vector<ScheduledOperand> reads, writes;
  uint64_t bytes = 0;               ///< Copy
  float threshold = 0;              ///< ExitIf
  uint32_t target = 0;              ///< ExitIf: the step to go on with
};

struct ScheduledArgument {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

struct Schedule {
  uint32_t program = 0;             ///< index into Plan::programs
  std::vector<int64_t> symbols;
  std::vector<ScheduledArgument> inputs, outputs;
  uint64_t arenaBytes = 0;          ///< of the entry and all that it calls
  std::vector<uint32_t> weights;    ///< all that it reads, once each, in order of use
  std::vector<ScheduledStep> steps;
};

/// Evaluates a verified plan. InvalidArgument: a symbol out of its bounds ("images is 0, expected 1 to 64").
StatusOr<Schedule> makeSchedule(const Plan &plan, uint32_t program, const std::vector<int64_t> &symbols);

/// The schedules of a plan that were used last. Thread-safe.
class ScheduleCache {
public:
  explicit ScheduleCache(const Plan &plan, size_t limit = 64) : plan(plan), limit(limit) {}
  StatusOr<std::shared_ptr<const Schedule>> get(uint32_t program, const std::vector<int64_t> &symbols);

private:
  const Plan &plan;
  size_t limit;
  std::mutex mutex;
  std::vector<std::shared_ptr<const Schedule>> recent; ///< newest last
};

/// The most bytes of weights that one step reads: the least that a run can do with if only those of the step in progress
/// are held.
struct WeightNeed {
  uint64_t bytes = 0;
  std::string step; ///< its first layer

  /// ResourceExhausted, with the smallest budget that works, if this one is smaller.
  Status check(uint64_t budget) const;
};
/// Over all steps of a plan; `bytesOf` gives the bytes that a step's weights take together on the device.
WeightNeed smallestWeightBudget(const Plan &plan, const std::function<uint64_t(const std::vector<unsigned> &weights)> &bytesOf);

} // namespace vitrify
