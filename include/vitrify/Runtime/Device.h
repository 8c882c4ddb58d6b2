//===- Device.h - what every device implements ------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A device makes an executable of a target's plan, code and weights; an executable
// makes workers, each with its own memory, that run schedules. A new device is one
// folder below Devices/ that implements these three classes, and a row in the list
// of Program.cpp; the conformance suite in test/Runtime then runs on it.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Verifier.h"
#include "vitrify/Runtime/Schedule.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vitrify {

/// Tells the caller of the library something. `level`: 0 error, 1 warning, 2 information.
using LogFunction = std::function<void(int level, const std::string &message)>;

/// Asked between steps and work units whether the run must end. cancel() from any thread; the rest from the running one.
class StopToken {
public:
  /// A run begins. `limitNs` from now on, 0 for no limit.
  void begin(uint64_t limitNs);
  void end() { running.store(0); }
  /// Stops the run that is in progress and no later one.
  void cancel() {
    if (uint64_t now = running.load())
      cancelled.store(now);
  }
  bool stopRequested() const;
  /// A Cancelled error when the run must end.
  Status check() const;

private:
  std::atomic<uint64_t> running{0}, cancelled{0}; ///< numbers of runs
  uint64_t number = 0, limit = 0;
  std::chrono::steady_clock::time_point deadline;
};

/// Memory of one argument.
struct BoundArgument {
  void *data = nullptr;
  uint64_t bytes = 0;
  bool onDevice = false; ///< an address of the device; host memory otherwise
};

struct StepTime {
  std::string layers, kernel;
  uint64_t ns = 0;
};

struct WorkerRun {
  std::shared_ptr<const Schedule> schedule;
  std::vector<BoundArgument> inputs, outputs; ///< dense, of the schedule's types and sizes
  const StopToken *stop = nullptr;
  std::vector<StepTime> *profile = nullptr;   ///< filled with a time a step, if not null
  bool async = false;                         ///< may return when the work is queued
};

struct WorkerOptions {
  unsigned threads = 0;       ///< 0: the device's
  void *memory = nullptr;     ///< the caller's arena
  uint64_t memoryBytes = 0;
  void *stream = nullptr;
};

/// Memory that a worker and its executable need for one schedule.
struct DeviceMemoryNeeds {
  uint64_t arenaBytes = 0, stagingBytes = 0, weightBytes = 0, scratchBytes = 0;
};

/// Arena and stream of one request at a time.
class DeviceWorker {
public:
  virtual ~DeviceWorker() = default;
  /// Allocates and lays out what run() of this schedule would.
  virtual Status prepare(const Schedule &schedule) = 0;
  virtual Status run(const WorkerRun &run) = 0;
  /// Waits for asynchronous runs.
  virtual Status wait() { return {}; }
};

/// A target's code and weights on a device. Thread-safe.
class DeviceExecutable {
public:
  virtual ~DeviceExecutable() = default;
  virtual DeviceMemoryNeeds memoryNeeds(const Schedule &schedule) const = 0;
  virtual StatusOr<std::unique_ptr<DeviceWorker>> createWorker(const WorkerOptions &options) = 0;
};

/// What an executable is made from. All of it outlives the executable.
struct ExecutableSource {
  const Bundle *bundle = nullptr;
  const ManifestTarget *target = nullptr;
  const Plan *plan = nullptr;
  const BundleWeights *weights = nullptr;
};

struct DeviceOptions {
  unsigned threads = 0;       ///< 0: as many as this process may use
  bool lowMemory = false;
  uint64_t weightBudget = 0;
  LogFunction log;
};

class Device {
public:
  virtual ~Device() = default;
  /// "cpu", or the GPU's name.
  virtual std::string name() const = 0;
  /// Threads of a worker; 0 where the question makes no sense.
  virtual unsigned threads() const { return 0; }
  /// The target of the bundle that runs best here. Unsupported says in one sentence what the bundle has and what is needed.
  virtual StatusOr<const ManifestTarget *> chooseTarget(const Manifest &manifest) const = 0;
  /// Ok if this target runs here, else the sentence.
  virtual Status checkTarget(const ManifestTarget &target) const = 0;
  /// Loads the code, whose digest is checked first. Nothing of it runs.
  virtual StatusOr<std::unique_ptr<DeviceExecutable>> load(const ExecutableSource &source) = 0;
};

} // namespace vitrify
