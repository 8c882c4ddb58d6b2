//===- CudaWorker.h - runs schedules on a GPU -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One stream, one arena, pinned copies of host arguments, and a graph for each
// schedule that runs more than once on the same addresses.
//===----------------------------------------------------------------------===//
#pragma once

#include "CudaExecutable.h"
#include "CudaStreamedWeights.h"

#include <list>

namespace vitrify {

class CudaWorker final : public DeviceWorker {
public:
  static StatusOr<std::unique_ptr<DeviceWorker>> create(CudaExecutable &executable, const WorkerOptions &options);
  ~CudaWorker() override;

  Status prepare(const Schedule &schedule) override;
  Status run(const WorkerRun &run) override;
  Status wait() override;

private:
  /// What a captured graph was made for; addresses are baked into it.
  struct Graph {
    std::shared_ptr<const Schedule> schedule;
    std::vector<cuda::CUdeviceptr> addresses; ///< arena, inputs, outputs
    CudaGraphExec exec;
    unsigned runs = 0;
  };

  CudaWorker(CudaExecutable &executable, const WorkerOptions &options)
      : executable(executable), api(executable.api), options(options) {}
  Status check(cuda::CUresult result, const std::string &call) const { return cudaStatus(api, result, call); }
  Status prepareCurrent(const Schedule &schedule);
  Status placeArguments(const WorkerRun &run);
  Status runCurrent(const WorkerRun &run);
  /// Enqueues steps from `first` on until the end or the next ExitIf, whose index it returns.
  StatusOr<size_t> enqueue(const WorkerRun &run, size_t first, cuda::CUstream stream);
  Status enqueueStep(const ScheduledStep &step, cuda::CUstream stream);
  Status launch(const ScheduledStep &step, const std::vector<const TensorInfo *> &streamed, cuda::CUstream stream);
  /// All steps, by a graph from the second time on.
  Status enqueueAll(const WorkerRun &run);
  Status capture(const WorkerRun &run, Graph &graph);
  Status exitIf(const ScheduledStep &step, bool &taken);
  cuda::CUdeviceptr address(const ScheduledOperand &operand) const;
  cuda::CUstream stream() const;

  CudaExecutable &executable;
  const cuda::CudaApi &api;
  const WorkerOptions options;
  CudaStream ownStream, captureStream;
  CudaMemory ownArena, argumentMemory;
  CudaPinned pinned;
  std::unique_ptr<CudaStreamedWeights> streamedWeights; ///< under a weight budget
  cuda::CUdeviceptr arena = 0;
  std::vector<cuda::CUdeviceptr> inputs, outputs;
  std::list<Graph> graphs;        ///< most recently used first
  std::vector<CudaEvent> events;  ///< of the profile: one before the first step, one after each
  std::vector<size_t> timed;      ///< steps between them
};

} // namespace vitrify
