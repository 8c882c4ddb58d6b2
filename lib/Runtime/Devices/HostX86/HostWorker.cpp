//===- HostWorker.cpp - runs schedules on the CPU -------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "HostWorker.h"

#include <algorithm>
#include <chrono>
#include <cstring>

using namespace vitrify;

namespace {

constexpr uint64_t kAlign = 64;
uint64_t alignUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

/// Makes `block` at least this large; its content is lost.
Status grow(HostBlock &block, uint64_t bytes, const std::string &what) {
  if (block.size() >= bytes)
    return {};
  block = HostBlock();
  VITRIFY_ASSIGN_OR_RETURN(block, HostBlock::allocate(bytes, what));
  return {};
}

} // namespace

Status HostWorker::prepare(const Schedule &schedule, const StopToken *stop) {
  DeviceMemoryNeeds needs = executable.memoryNeeds(schedule, pool.size());
  if (options.memory) {
    if (options.memoryBytes < needs.arenaBytes)
      return resourceExhausted("this run needs an arena of " + std::to_string(needs.arenaBytes) + " bytes, " +
                               std::to_string(options.memoryBytes) + " were given");
    arena = static_cast<std::byte *>(options.memory);
  } else {
    VITRIFY_RETURN_IF_ERROR(grow(ownArena, needs.arenaBytes, "the arena of this run"));
    arena = ownArena.data();
  }
  VITRIFY_RETURN_IF_ERROR(grow(scratch, needs.scratchBytes, "room for the largest weight"));
  // In low memory mode a weight's pages are touched when its step comes, not all at the start.
  return executable.options.lowMemory ? Status() : executable.weights->require(schedule.weights, pool, stop);
}

std::byte *HostWorker::address(const ScheduledOperand &operand) const {
  switch (operand.base) {
  case ScheduledOperand::Base::Arena: return arena + operand.offset;
  case ScheduledOperand::Base::Input: return inputs[operand.argument] + operand.offset;
  case ScheduledOperand::Base::Output: return outputs[operand.argument] + operand.offset;
  }
  return nullptr;
}

Status HostWorker::placeArguments(const WorkerRun &run) {
  uint64_t need = 0;
  auto isAligned = [](const BoundArgument &argument) { return reinterpret_cast<uintptr_t>(argument.data) % kAlign == 0; };
  for (const auto *list : {&run.inputs, &run.outputs})
    for (const BoundArgument &argument : *list) {
      if (argument.onDevice)
        return invalidArgument("an argument is in device memory, but the program runs on the CPU");
      if (!isAligned(argument))
        need += alignUp(argument.bytes);
    }
  VITRIFY_RETURN_IF_ERROR(grow(staging, need, "copies of unaligned arguments"));
  uint64_t at = 0;
  auto place = [&](const std::vector<BoundArgument> &arguments, std::vector<std::byte *> &places, bool copyIn) {
    places.clear();
    for (const BoundArgument &argument : arguments) {
      auto *data = static_cast<std::byte *>(argument.data);
      if (!isAligned(argument)) {
        data = staging.data() + at;
        at += alignUp(argument.bytes);
        if (copyIn)
          std::memcpy(data, argument.data, argument.bytes);
      }
      places.push_back(data);
    }
  };
  place(run.inputs, inputs, true);
  place(run.outputs, outputs, false);
  return {};
}

struct HostWorker::Launch {
  vitrify_x86_kernel kernel;
  const int64_t *scalars;
  void *const *buffers;
  const StopToken *stop;

  static void body(void *self, int64_t begin, int64_t end) {
    auto &launch = *static_cast<Launch *>(self);
    if (!launch.stop || !launch.stop->stopRequested())
      launch.kernel(launch.scalars, launch.buffers, begin, end);
  }
};

/// Threads take whole panels, and in the end parts of the last ones, so that all end together. Each of the last panels
/// belongs to a thread, which packed it; others help, and pack it for themselves, once their own is done.
struct HostWorker::PanelLaunch {
  const HostWeights &weights;
  vitrify_x86_kernel kernel;
  const int64_t *scalars;
  uint32_t weight;
  size_t which;          ///< the weight's place among the buffers
  uint64_t panelBytes;
  int64_t unitsPerPanel;
  int64_t panels, whole, parts; ///< panels from `whole` on are split
  PanelSlot *slots;
  unsigned numSlots;
  const StopToken *stop;
  std::atomic<int64_t> next{0};

  /// Never more calls at once than slots.
  PanelSlot &take() const {
    for (unsigned i = 0;; i = (i + 1) % numSlots)
      if (!slots[i].taken.exchange(true, std::memory_order_acquire))
        return slots[i];
  }

  bool stopped() const { return stop && stop->stopRequested(); }

  void compute(PanelSlot &slot, int64_t panel, int64_t begin, int64_t end) const {
    if (slot.panel != panel) {
      weights.packPanel(weight, panel, slot.memory);
      slot.panel = panel;
      // The kernel finds this panel where it would be in the whole weight.
      auto base = reinterpret_cast<uintptr_t>(slot.memory) - uintptr_t(panel) * panelBytes;
      slot.buffers[which] = reinterpret_cast<void *>(base);
    }
    kernel(scalars, slot.buffers.data(), panel * unitsPerPanel + begin, panel * unitsPerPanel + end);
  }

  void work() {
    PanelSlot &slot = take();
    for (int64_t panel; !stopped() && (panel = next.fetch_add(1, std::memory_order_relaxed)) < whole;)
      compute(slot, panel, 0, unitsPerPanel);
    const int64_t last = panels - whole, own = (&slot - slots) % last;
    for (int64_t i = 0; i < last; ++i) {
      const int64_t panel = (own + i) % last;
      for (int64_t part; !stopped() && (part = slots[panel].nextPart.fetch_add(1, std::memory_order_relaxed)) < parts;)
        compute(slot, whole + panel, unitsPerPanel * part / parts, unitsPerPanel * (part + 1) / parts);
    }
    slot.taken.store(false, std::memory_order_release);
  }

  static void body(void *self, int64_t, int64_t) { static_cast<PanelLaunch *>(self)->work(); }
};

void HostWorker::launchByPanel(const ScheduledStep &step, int which, std::byte *memory, const StopToken *stop) {
  const HostWeights &weights = *executable.weights;
  const uint32_t weight = step.weights[size_t(which)];
  const int64_t panels = weights.panels(weight), units = step.grid[0] / panels, threads = pool.size();
  const uint64_t bytes = weights.packedSize(weight) / uint64_t(panels);
  const int64_t last = std::min(panels, threads);
  if (!panelSlots)
    panelSlots = std::make_unique<PanelSlot[]>(pool.size());
  for (unsigned i = 0; i < pool.size(); ++i) {
    panelSlots[i].memory = memory + i * HostWeights::panelSlotBytes(bytes);
    panelSlots[i].panel = -1;
    panelSlots[i].nextPart = 0;
    panelSlots[i].buffers = buffers;
  }
  const int64_t parts = std::min(units, 8 * ((threads + last - 1) / last));
  PanelLaunch call{weights, executable.library.kernel(step.kernel), step.scalars.data(), weight, size_t(which), bytes, units,
                   panels, panels - last, threads > 1 ? parts : 1, panelSlots.get(), pool.size(), stop};
  pool.run(threads, &PanelLaunch::body, &call);
}

Status HostWorker::launch(const ScheduledStep &step, const StopToken *stop) {
  HostWeights &weights = *executable.weights;
  if (executable.options.lowMemory)
    VITRIFY_RETURN_IF_ERROR(weights.require(step.weights, pool, stop));
  buffers.clear();
  uint64_t at = 0;
  const int panelled = weights.byPanel(step, executable.panelsOf(step.kernel));
  for (uint32_t weight : step.weights) {
    const std::byte *data = weights.data(weight);
    if (!data && int(buffers.size()) != panelled) {
      weights.packInto(weight, scratch.data() + at, pool);
      data = scratch.data() + at;
      at += alignUp(weights.packedSize(weight));
    }
    buffers.push_back(const_cast<std::byte *>(data));
  }
  for (const ScheduledOperand &operand : step.reads)
    buffers.push_back(address(operand));
  for (const ScheduledOperand &operand : step.writes)
    buffers.push_back(address(operand));
  if (panelled >= 0) {
    launchByPanel(step, panelled, scratch.data() + at, stop);
    return {};
  }
  Launch call{executable.library.kernel(step.kernel), step.scalars.data(), buffers.data(), stop};
  pool.run(step.grid[0], &Launch::body, &call);
  return {};
}

std::vector<const TensorInfo *> HostWorker::tensorsOf(const ScheduledStep &step) const {
  std::vector<const TensorInfo *> tensors;
  for (uint32_t weight : step.weights)
    tensors.push_back(&executable.weights->stored(weight));
  return tensors;
}

Status HostWorker::launchWithin(WeightResidency &residency, const Schedule &schedule, size_t index, const StopToken *stop) {
  std::vector<const TensorInfo *> tensors = tensorsOf(schedule.steps[index]);
  VITRIFY_RETURN_IF_ERROR(residency.begin(tensors));
  // The system reads what comes next while this step computes.
  for (aheadUntil = std::max(aheadUntil, index + 1); aheadUntil < schedule.steps.size(); ++aheadUntil)
    if (const ScheduledStep &later = schedule.steps[aheadUntil];
        later.kind == ScheduledStep::Kind::Launch && !residency.readAhead(tensorsOf(later)))
      break;
  Status status = launch(schedule.steps[index], stop);
  residency.end(tensors);
  return status;
}

Status HostWorker::run(const WorkerRun &run) {
  const Schedule &schedule = *run.schedule;
  VITRIFY_RETURN_IF_ERROR(prepare(schedule, run.stop));
  VITRIFY_RETURN_IF_ERROR(placeArguments(run));
  aheadUntil = 0;
  using Clock = std::chrono::steady_clock;
  for (size_t i = 0; i < schedule.steps.size(); ++i) {
    const ScheduledStep &step = schedule.steps[i];
    if (run.stop)
      VITRIFY_RETURN_IF_ERROR(run.stop->check());
    Clock::time_point begin = run.profile ? Clock::now() : Clock::time_point();
    size_t next = i;
    switch (step.kind) {
    case ScheduledStep::Kind::Launch:
      VITRIFY_RETURN_IF_ERROR(executable.residency ? launchWithin(*executable.residency, schedule, i, run.stop)
                                                   : launch(step, run.stop));
      break;
    case ScheduledStep::Kind::Copy:
      std::memmove(address(step.writes[0]), address(step.reads[0]), step.bytes);
      break;
    case ScheduledStep::Kind::ExitIf: {
      float value;
      std::memcpy(&value, address(step.reads[0]), sizeof value);
      if (value > step.threshold)
        next = size_t(step.target) - 1;
      break;
    }
    }
    if (run.profile) {
      auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
      bool launched = step.kind == ScheduledStep::Kind::Launch;
      run.profile->push_back({step.layers, launched ? executable.plan.kernels[step.kernel].name : "", uint64_t(ns)});
    }
    i = next;
  }
  if (run.stop)
    VITRIFY_RETURN_IF_ERROR(run.stop->check());
  for (size_t i = 0; i < run.outputs.size(); ++i)
    if (outputs[i] != run.outputs[i].data)
      std::memcpy(run.outputs[i].data, outputs[i], run.outputs[i].bytes);
  return {};
}
