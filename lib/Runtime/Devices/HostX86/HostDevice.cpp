//===- HostDevice.cpp - the CPU as a device -------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/HostDevice.h"

#include "HostWorker.h"

using namespace vitrify;

namespace {

class HostDevice final : public Device {
public:
  HostDevice(const DeviceOptions &options, CpuFeatures features) : options(options), features(std::move(features)) {
    if (this->options.threads == 0)
      this->options.threads = usableThreads();
  }

  std::string name() const override { return "cpu"; }
  unsigned threads() const override { return options.threads; }
  StatusOr<const ManifestTarget *> chooseTarget(const Manifest &manifest) const override {
    return chooseCpuTarget(manifest, features);
  }
  Status checkTarget(const ManifestTarget &target) const override { return checkCpuTarget(target, features); }

  StatusOr<std::unique_ptr<DeviceExecutable>> load(const ExecutableSource &source) override {
    if (options.weightBudget && !options.lowMemory)
      return invalidArgument("a weight budget needs the low memory mode");
    VITRIFY_ASSIGN_OR_RETURN(KernelLibrary library,
                             KernelLibrary::open(*source.bundle, source.target->code, *source.plan));
    VITRIFY_ASSIGN_OR_RETURN(std::unique_ptr<HostWeights> weights,
                             HostWeights::create(*source.plan, *source.weights, options.lowMemory));
    if (options.weightBudget)
      VITRIFY_RETURN_IF_ERROR(smallestWeightBudget(*source.plan, [&](const std::vector<unsigned> &step) {
                                std::vector<const TensorInfo *> tensors;
                                for (unsigned weight : step)
                                  tensors.push_back(&weights->stored(weight));
                                return WeightResidency::bytesOf(tensors);
                              }).check(options.weightBudget));
    return std::unique_ptr<DeviceExecutable>(
        new HostExecutable(*source.plan, std::move(library), std::move(weights), options));
  }

private:
  DeviceOptions options;
  const CpuFeatures features;
};

} // namespace

int64_t HostExecutable::panelsOf(uint32_t kernel) const {
  const auto &metrics = plan.kernels[kernel].metrics;
  auto found = metrics.find("panels");
  return found == metrics.end() ? 0 : found->second;
}

DeviceMemoryNeeds HostExecutable::memoryNeeds(const Schedule &schedule, unsigned threads) const {
  DeviceMemoryNeeds needs;
  needs.arenaBytes = schedule.arenaBytes;
  needs.weightBytes = weights->residentBytes(schedule.weights);
  if (options.weightBudget)
    needs.weightBytes = std::min(needs.weightBytes, options.weightBudget);
  for (const ScheduledStep &step : schedule.steps)
    if (step.kind == ScheduledStep::Kind::Launch)
      needs.scratchBytes = std::max(needs.scratchBytes, weights->scratchBytes(step, panelsOf(step.kernel), threads));
  // Arguments that the caller aligns to 64 bytes are used where they are.
  for (const auto *list : {&schedule.inputs, &schedule.outputs})
    for (const ScheduledArgument &argument : *list)
      needs.stagingBytes += (argument.bytes + 63) / 64 * 64;
  return needs;
}

StatusOr<std::unique_ptr<DeviceWorker>> HostExecutable::createWorker(const WorkerOptions &worker) {
  if (worker.stream)
    return invalidArgument("a stream was given, but the program runs on the CPU");
  if (reinterpret_cast<uintptr_t>(worker.memory) % 64)
    return invalidArgument("the given memory is not aligned to 64 bytes");
  return std::unique_ptr<DeviceWorker>(new HostWorker(*this, worker));
}

std::unique_ptr<Device> vitrify::createHostDevice(const DeviceOptions &options, CpuFeatures features) {
  return std::make_unique<HostDevice>(options, std::move(features));
}
