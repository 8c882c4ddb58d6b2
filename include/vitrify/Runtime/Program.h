//===- Program.h - a bundle opened on a device ------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The classes behind the C interface: Program (immutable, shared) and Context (one
// request at a time). vitrify.h says what each call means.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Runtime/Device.h"
#include "vitrify/Runtime/vitrify.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vitrify {

struct ProgramOptions {
  std::string device = "cpu"; ///< "cpu", "cuda", "cuda:N"
  std::string target;         ///< "": the best
  std::string driver;         ///< "": libcuda.so.1
  std::string publicKey;      ///< path of a PEM file; "": no signature asked for
  DeviceOptions deviceOptions;
  /// Replaces the device that `device` names; for tests that inject a driver.
  std::function<StatusOr<std::unique_ptr<Device>>(const DeviceOptions &)> makeDevice;
};

class Program {
public:
  static StatusOr<std::shared_ptr<Program>> open(const std::string &path, const ProgramOptions &options);
  ~Program();

  const Bundle &bundle() const { return *opened; }
  const ManifestTarget &target() const { return *chosen; }
  const Plan &plan() const { return thePlan; }
  const std::optional<Preprocess> &preprocess() const { return images; }
  Device &device() const { return *theDevice; }
  DeviceExecutable &executable() const { return *code; }
  ScheduleCache &schedules() const { return *cache; }
  const vitrify_program_info &info() const;

  /// Index of an entry; "" is the first. NotFound names those that there are.
  StatusOr<uint32_t> findEntry(const std::string &name) const;
  const ManifestEntry &entry(uint32_t index) const { return opened->manifest().entries[index]; }
  /// The schedule of an entry for symbol values.
  StatusOr<std::shared_ptr<const Schedule>> schedule(uint32_t entry, const std::vector<int64_t> &symbols) const;
  /// Symbol values from the inputs' shapes.
  StatusOr<std::vector<int64_t>> bind(uint32_t entry, const vitrify_tensor *inputs, size_t count) const;

private:
  struct Info;
  Program() = default;

  std::optional<Bundle> opened;
  std::optional<BundleWeights> weights;
  const ManifestTarget *chosen = nullptr;
  Plan thePlan;
  std::vector<uint32_t> programOfEntry;
  std::optional<Preprocess> images;
  std::unique_ptr<Device> theDevice;
  std::unique_ptr<DeviceExecutable> code; ///< destroyed before what it was made from
  std::unique_ptr<ScheduleCache> cache;
  std::unique_ptr<Info> text;
};

class Context {
public:
  static StatusOr<std::unique_ptr<Context>> create(std::shared_ptr<Program> program, const WorkerOptions &options);

  Status prepare(const std::string &entry, const std::vector<int64_t> &symbols);
  Status run(const std::string &entry, const vitrify_tensor *inputs, size_t numInputs, vitrify_tensor *outputs,
             size_t numOutputs, const vitrify_run_options &options);
  void cancel() { stop.cancel(); }
  Status wait();
  const std::vector<vitrify_step_time> &profile() const { return stepTimes; }
  const Program &program() const { return *owner; }

private:
  Status runChecked(uint32_t entry, const vitrify_tensor *inputs, size_t numInputs, vitrify_tensor *outputs,
                    size_t numOutputs, const vitrify_run_options &options);

  std::shared_ptr<Program> owner;
  std::unique_ptr<DeviceWorker> worker; ///< destroyed before the program
  StopToken stop;
  std::atomic<bool> busy{false};
  std::vector<std::vector<std::byte>> inputStaging, outputStaging;
  std::vector<StepTime> times;
  std::vector<vitrify_step_time> stepTimes;
};

} // namespace vitrify
