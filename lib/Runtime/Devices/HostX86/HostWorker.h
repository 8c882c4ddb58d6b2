//===- HostWorker.h - runs schedules on the CPU -----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The executable and worker of the CPU.
//===----------------------------------------------------------------------===//
#pragma once

#include "KernelLibrary.h"
#include "vitrify/Runtime/Devices/HostX86/HostWeights.h"
#include "vitrify/Runtime/Devices/HostX86/Residency.h"

#include <atomic>

namespace vitrify {

class HostExecutable final : public DeviceExecutable {
public:
  HostExecutable(const Plan &plan, KernelLibrary library, std::unique_ptr<HostWeights> weights,
                 const DeviceOptions &options)
      : plan(plan), library(std::move(library)), weights(std::move(weights)), options(options) {
    if (options.weightBudget)
      residency = std::make_unique<WeightResidency>(this->weights->file(), options.weightBudget);
  }

  DeviceMemoryNeeds memoryNeeds(const Schedule &schedule) const override { return memoryNeeds(schedule, options.threads); }
  DeviceMemoryNeeds memoryNeeds(const Schedule &schedule, unsigned threads) const;
  /// In how many panels a kernel's units come; 0: not by panel.
  int64_t panelsOf(uint32_t kernel) const;
  StatusOr<std::unique_ptr<DeviceWorker>> createWorker(const WorkerOptions &options) override;

  const Plan &plan;
  const KernelLibrary library;
  const std::unique_ptr<HostWeights> weights;
  const DeviceOptions options;
  std::unique_ptr<WeightResidency> residency; ///< under a weight budget
};

/// A thread's copy of one panel.
struct PanelSlot {
  std::atomic<bool> taken{false};
  std::byte *memory = nullptr;
  int64_t panel = -1;
  std::vector<void *> buffers;
  std::atomic<int64_t> nextPart{0}; ///< of one of the last panels
};

class HostWorker final : public DeviceWorker {
public:
  HostWorker(HostExecutable &executable, const WorkerOptions &options)
      : executable(executable), options(options), pool(options.threads ? options.threads : executable.options.threads) {}

  Status prepare(const Schedule &schedule) override { return prepare(schedule, nullptr); }
  Status run(const WorkerRun &run) override;

private:
  struct Launch;
  struct PanelLaunch;
  Status prepare(const Schedule &schedule, const StopToken *stop);
  /// Host memory of an argument, aligned as kernels expect: the caller's, or a copy.
  Status placeArguments(const WorkerRun &run);
  std::byte *address(const ScheduledOperand &operand) const;
  Status launch(const ScheduledStep &step, const StopToken *stop);
  /// The same with weight `which` of the step packed panel by panel into `memory`, a panel a thread.
  void launchByPanel(const ScheduledStep &step, int which, std::byte *memory, const StopToken *stop);
  /// launch() under a weight budget: holds the step's weights meanwhile, and lets those of later steps be read in.
  Status launchWithin(WeightResidency &residency, const Schedule &schedule, size_t index, const StopToken *stop);
  std::vector<const TensorInfo *> tensorsOf(const ScheduledStep &step) const;

  HostExecutable &executable;
  const WorkerOptions options;
  ThreadPool pool;
  HostBlock ownArena, scratch, staging;
  std::byte *arena = nullptr;
  std::vector<std::byte *> inputs, outputs;
  std::vector<void *> buffers;
  std::unique_ptr<PanelSlot[]> panelSlots; ///< one a thread
  size_t aheadUntil = 0; ///< steps before this one were asked for
};

} // namespace vitrify
