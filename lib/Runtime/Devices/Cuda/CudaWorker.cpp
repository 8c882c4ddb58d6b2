//===- CudaWorker.cpp - runs schedules on a GPU ---------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "CudaWorker.h"

#include <algorithm>
#include <cstring>

using namespace vitrify;
using namespace vitrify::cuda;

namespace {
constexpr uint64_t kAlign = 256;
constexpr size_t kGraphs = 8; ///< kept a worker
uint64_t alignUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

template <typename Memory>
Status grow(const CudaApi &api, Memory &memory, uint64_t bytes, const std::string &what) {
  if (memory.bytes >= bytes)
    return {};
  memory = Memory();
  VITRIFY_ASSIGN_OR_RETURN(memory, Memory::allocate(api, bytes, what));
  return {};
}

bool hasExit(const Schedule &schedule) {
  return std::ranges::any_of(schedule.steps,
                             [](const ScheduledStep &step) { return step.kind == ScheduledStep::Kind::ExitIf; });
}
} // namespace

StatusOr<std::unique_ptr<DeviceWorker>> CudaWorker::create(CudaExecutable &executable, const WorkerOptions &options) {
  CudaScope scope(executable.api, executable.primary.context);
  VITRIFY_RETURN_IF_ERROR(scope.status());
  std::unique_ptr<CudaWorker> worker(new CudaWorker(executable, options));
  if (!options.stream) {
    VITRIFY_ASSIGN_OR_RETURN(worker->ownStream, createCudaStream(executable.api));
  }
  return std::unique_ptr<DeviceWorker>(std::move(worker));
}

CudaWorker::~CudaWorker() {
  CudaScope scope(api, executable.primary.context, 2);
  if (stream()) // there is none when creating it failed
    (void)api.cuStreamSynchronize(stream());
  graphs.clear();
  events.clear();
  streamedWeights.reset();
  ownArena = CudaMemory();
  argumentMemory = CudaMemory();
  pinned = CudaPinned();
  captureStream.reset();
  ownStream.reset();
}

CUstream CudaWorker::stream() const {
  return options.stream ? static_cast<CUstream>(options.stream) : ownStream.get();
}

Status CudaWorker::prepare(const Schedule &schedule) {
  CudaScope scope(api, executable.primary.context);
  VITRIFY_RETURN_IF_ERROR(scope.status());
  return prepareCurrent(schedule);
}

Status CudaWorker::prepareCurrent(const Schedule &schedule) {
  DeviceMemoryNeeds needs = executable.memoryNeeds(schedule);
  const uint64_t hostBytes = needs.stagingBytes + kAlign; // and the value that an early exit asks for
  const bool arenaGrows = !options.memory && ownArena.bytes < needs.arenaBytes;
  if (arenaGrows || argumentMemory.bytes < needs.stagingBytes || pinned.bytes < hostBytes) {
    // What is freed may still be in use by asynchronous runs, and graphs hold its addresses.
    VITRIFY_RETURN_IF_ERROR(check(api.cuStreamSynchronize(stream()), "cuStreamSynchronize"));
    graphs.clear();
  }
  if (options.memory) {
    if (options.memoryBytes < needs.arenaBytes)
      return resourceExhausted("this run needs an arena of " + std::to_string(needs.arenaBytes) + " bytes, " +
                               std::to_string(options.memoryBytes) + " were given");
    arena = reinterpret_cast<CUdeviceptr>(options.memory);
  } else {
    VITRIFY_RETURN_IF_ERROR(grow(api, ownArena, needs.arenaBytes, "the arena of this run"));
    arena = ownArena.address.get();
  }
  VITRIFY_RETURN_IF_ERROR(grow(api, argumentMemory, needs.stagingBytes, "copies of arguments"));
  VITRIFY_RETURN_IF_ERROR(grow(api, pinned, hostBytes, "copies of arguments"));
  if (!executable.weightBudget())
    return executable.requireWeights(schedule.weights);
  if (!streamedWeights) {
    VITRIFY_ASSIGN_OR_RETURN(streamedWeights,
                             CudaStreamedWeights::create(api, executable.bundleWeights(), executable.weightBudget()));
  }
  return {};
}

CUdeviceptr CudaWorker::address(const ScheduledOperand &operand) const {
  switch (operand.base) {
  case ScheduledOperand::Base::Arena: return arena + operand.offset;
  case ScheduledOperand::Base::Input: return inputs[operand.argument] + operand.offset;
  case ScheduledOperand::Base::Output: return outputs[operand.argument] + operand.offset;
  }
  return 0;
}

Status CudaWorker::placeArguments(const WorkerRun &run) {
  uint64_t at = 0;
  auto place = [&](const std::vector<BoundArgument> &arguments, std::vector<CUdeviceptr> &places, bool copyIn) -> Status {
    places.clear();
    for (const BoundArgument &argument : arguments) {
      if (argument.onDevice) {
        places.push_back(reinterpret_cast<CUdeviceptr>(argument.data));
        continue;
      }
      places.push_back(argumentMemory.address.get() + at);
      if (copyIn && argument.bytes) {
        std::memcpy(pinned.data() + at, argument.data, argument.bytes);
        VITRIFY_RETURN_IF_ERROR(
            check(api.cuMemcpyHtoDAsync(places.back(), pinned.data() + at, argument.bytes, stream()),
                  "cuMemcpyHtoDAsync of an input"));
      }
      at += alignUp(argument.bytes);
    }
    return {};
  };
  VITRIFY_RETURN_IF_ERROR(place(run.inputs, inputs, true));
  return place(run.outputs, outputs, false);
}

Status CudaWorker::enqueueStep(const ScheduledStep &step, CUstream to) {
  if (step.kind == ScheduledStep::Kind::Copy)
    return check(api.cuMemcpyDtoDAsync(address(step.writes[0]), address(step.reads[0]), step.bytes, to),
                 "cuMemcpyDtoDAsync of '" + step.layers + "'");
  if (!streamedWeights)
    return launch(step, {}, to);
  std::vector<const TensorInfo *> tensors;
  for (uint32_t weight : step.weights)
    tensors.push_back(executable.tensor(weight));
  VITRIFY_RETURN_IF_ERROR(streamedWeights->stage(tensors, to));
  VITRIFY_RETURN_IF_ERROR(launch(step, tensors, to));
  return streamedWeights->used(tensors, to);
}

Status CudaWorker::launch(const ScheduledStep &step, const std::vector<const TensorInfo *> &streamed, CUstream to) {
  std::vector<uint64_t> values;
  values.reserve(step.scalars.size() + step.weights.size() + step.reads.size() + step.writes.size());
  for (int64_t scalar : step.scalars)
    values.push_back(uint64_t(scalar));
  for (size_t i = 0; i < step.weights.size(); ++i)
    values.push_back(streamedWeights ? streamedWeights->place(streamed[i]) : executable.weight(step.weights[i]));
  for (const ScheduledOperand &operand : step.reads)
    values.push_back(address(operand));
  for (const ScheduledOperand &operand : step.writes)
    values.push_back(address(operand));
  std::vector<void *> params;
  for (uint64_t &value : values)
    params.push_back(&value);
  const std::string &name = executable.plan.kernels[step.kernel].name;
  constexpr int64_t kMax = 0x7fffffff;
  for (int i = 0; i < 3; ++i)
    if (step.grid[size_t(i)] > (i ? 65535 : kMax) || step.block[size_t(i)] < 1 || step.block[size_t(i)] > 1024)
      return unsupported("kernel '" + name + "' for '" + step.layers + "': a grid of " + shapeString(step.grid) +
                         " blocks of " + shapeString(step.block) + " threads is beyond what CUDA launches");
  return check(api.cuLaunchKernel(executable.functions[step.kernel], unsigned(step.grid[0]), unsigned(step.grid[1]),
                                  unsigned(step.grid[2]), unsigned(step.block[0]), unsigned(step.block[1]),
                                  unsigned(step.block[2]), unsigned(step.sharedBytes), to, params.data(), nullptr),
               "cuLaunchKernel of '" + name + "' for '" + step.layers + "'");
}

StatusOr<size_t> CudaWorker::enqueue(const WorkerRun &run, size_t first, CUstream to) {
  const std::vector<ScheduledStep> &steps = run.schedule->steps;
  for (size_t i = first; i < steps.size(); ++i) {
    if (steps[i].kind == ScheduledStep::Kind::ExitIf)
      return i;
    if (run.stop)
      VITRIFY_RETURN_IF_ERROR(run.stop->check());
    VITRIFY_RETURN_IF_ERROR(enqueueStep(steps[i], to));
    if (run.profile) {
      timed.push_back(i);
      if (events.size() <= timed.size()) {
        VITRIFY_ASSIGN_OR_RETURN(CudaEvent event, createCudaEvent(api));
        events.push_back(std::move(event));
      }
      VITRIFY_RETURN_IF_ERROR(check(api.cuEventRecord(events[timed.size()].get(), to), "cuEventRecord"));
    }
  }
  return steps.size();
}

Status CudaWorker::capture(const WorkerRun &run, Graph &graph) {
  if (!captureStream) {
    VITRIFY_ASSIGN_OR_RETURN(captureStream, createCudaStream(api));
  }
  // On a stream of our own: the caller's may be one that cannot be captured, or have other users.
  CUstream to = captureStream.get();
  VITRIFY_RETURN_IF_ERROR(
      check(api.cuStreamBeginCapture(to, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture"));
  auto enqueued = enqueue(run, 0, to);
  CUgraph captured = nullptr;
  CUresult ended = api.cuStreamEndCapture(to, &captured);
  CudaGraph owner(api, captured);
  if (!enqueued.ok())
    return enqueued.status();
  VITRIFY_RETURN_IF_ERROR(check(ended, "cuStreamEndCapture"));
  CUgraphExec exec = nullptr;
  VITRIFY_RETURN_IF_ERROR(check(api.cuGraphInstantiate(&exec, captured, 0), "cuGraphInstantiate"));
  graph.exec = CudaGraphExec(api, exec);
  return {};
}

Status CudaWorker::enqueueAll(const WorkerRun &run) {
  std::vector<CUdeviceptr> addresses{arena};
  addresses.insert(addresses.end(), inputs.begin(), inputs.end());
  addresses.insert(addresses.end(), outputs.begin(), outputs.end());
  auto found = std::ranges::find_if(graphs, [&](const Graph &graph) {
    return graph.schedule == run.schedule && graph.addresses == addresses;
  });
  if (found == graphs.end()) {
    graphs.push_front({run.schedule, std::move(addresses), {}, 0});
    if (graphs.size() > kGraphs)
      graphs.pop_back();
  } else {
    graphs.splice(graphs.begin(), graphs, found);
  }
  Graph &graph = graphs.front();
  // A shape that comes once is not worth a graph.
  if (graph.runs++ == 0)
    return enqueue(run, 0, stream()).status();
  if (!graph.exec)
    VITRIFY_RETURN_IF_ERROR(capture(run, graph));
  return check(api.cuGraphLaunch(graph.exec.get(), stream()), "cuGraphLaunch");
}

Status CudaWorker::exitIf(const ScheduledStep &step, bool &taken) {
  std::byte *host = pinned.data() + pinned.bytes - kAlign;
  VITRIFY_RETURN_IF_ERROR(check(api.cuMemcpyDtoHAsync(host, address(step.reads[0]), sizeof(float), stream()),
                                "cuMemcpyDtoHAsync of an exit's value"));
  VITRIFY_RETURN_IF_ERROR(check(api.cuStreamSynchronize(stream()), "cuStreamSynchronize before '" + step.layers + "'"));
  float value;
  std::memcpy(&value, host, sizeof value);
  taken = value > step.threshold;
  return {};
}

Status CudaWorker::runCurrent(const WorkerRun &run) {
  const Schedule &schedule = *run.schedule;
  VITRIFY_RETURN_IF_ERROR(prepareCurrent(schedule));
  VITRIFY_RETURN_IF_ERROR(placeArguments(run));
  timed.clear();
  if (run.profile) {
    if (events.empty()) {
      VITRIFY_ASSIGN_OR_RETURN(CudaEvent event, createCudaEvent(api));
      events.push_back(std::move(event));
    }
    VITRIFY_RETURN_IF_ERROR(check(api.cuEventRecord(events[0].get(), stream()), "cuEventRecord"));
  }
  // Where weights come and go a graph's addresses would not hold.
  if (!hasExit(schedule) && !run.profile && !streamedWeights) {
    if (run.stop)
      VITRIFY_RETURN_IF_ERROR(run.stop->check());
    VITRIFY_RETURN_IF_ERROR(enqueueAll(run));
  } else {
    for (size_t i = 0; i < schedule.steps.size();) {
      VITRIFY_ASSIGN_OR_RETURN(i, enqueue(run, i, stream()));
      if (i == schedule.steps.size())
        break;
      bool taken = false;
      VITRIFY_RETURN_IF_ERROR(exitIf(schedule.steps[i], taken));
      i = taken ? schedule.steps[i].target : i + 1;
    }
  }
  uint64_t at = 0;
  for (const BoundArgument &argument : run.inputs)
    at += argument.onDevice ? 0 : alignUp(argument.bytes);
  const uint64_t firstOutput = at;
  for (size_t i = 0; i < run.outputs.size(); ++i) {
    if (run.outputs[i].onDevice || !run.outputs[i].bytes)
      continue;
    VITRIFY_RETURN_IF_ERROR(check(api.cuMemcpyDtoHAsync(pinned.data() + at, outputs[i], run.outputs[i].bytes, stream()),
                                  "cuMemcpyDtoHAsync of an output"));
    at += alignUp(run.outputs[i].bytes);
  }
  if (run.async && !run.profile)
    return {};
  VITRIFY_RETURN_IF_ERROR(check(api.cuStreamSynchronize(stream()), "cuStreamSynchronize at the end of the run"));
  if (run.stop)
    VITRIFY_RETURN_IF_ERROR(run.stop->check());
  at = firstOutput;
  for (const BoundArgument &output : run.outputs) {
    if (output.onDevice || !output.bytes)
      continue;
    std::memcpy(output.data, pinned.data() + at, output.bytes);
    at += alignUp(output.bytes);
  }
  for (size_t i = 0; run.profile && i < timed.size(); ++i) {
    float milliseconds = 0;
    VITRIFY_RETURN_IF_ERROR(
        check(api.cuEventElapsedTime(&milliseconds, events[i].get(), events[i + 1].get()), "cuEventElapsedTime"));
    const ScheduledStep &step = schedule.steps[timed[i]];
    bool launched = step.kind == ScheduledStep::Kind::Launch;
    run.profile->push_back({step.layers, launched ? executable.plan.kernels[step.kernel].name : "",
                            uint64_t(double(milliseconds) * 1e6)});
  }
  return {};
}

Status CudaWorker::run(const WorkerRun &run) {
  CudaScope scope(api, executable.primary.context);
  VITRIFY_RETURN_IF_ERROR(scope.status());
  Status status = runCurrent(run);
  // The caller may free its memory after an error: nothing of this run may be under way.
  if (!status.ok())
    (void)api.cuStreamSynchronize(stream());
  return status;
}

Status CudaWorker::wait() {
  CudaScope scope(api, executable.primary.context);
  VITRIFY_RETURN_IF_ERROR(scope.status());
  return check(api.cuStreamSynchronize(stream()), "cuStreamSynchronize");
}
