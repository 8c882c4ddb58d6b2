//===- Context.cpp - one request at a time --------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Arguments.h"
#include "vitrify/Runtime/Program.h"

using namespace vitrify;

void StopToken::begin(uint64_t limitNs) {
  limit = limitNs;
  if (limit)
    deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit);
  running.store(++number);
}

bool StopToken::stopRequested() const {
  return cancelled.load(std::memory_order_relaxed) == number || (limit && std::chrono::steady_clock::now() >= deadline);
}

Status StopToken::check() const {
  if (cancelled.load(std::memory_order_relaxed) == number)
    return {StatusCode::Cancelled, "the run was cancelled"};
  if (limit && std::chrono::steady_clock::now() >= deadline)
    return {StatusCode::Cancelled, "the run passed its time limit of " + std::to_string(limit) + " ns"};
  return {};
}

StatusOr<std::unique_ptr<Context>> Context::create(std::shared_ptr<Program> program, const WorkerOptions &options) {
  std::unique_ptr<Context> context(new Context());
  VITRIFY_ASSIGN_OR_RETURN(context->worker, program->executable().createWorker(options));
  context->owner = std::move(program);
  return context;
}

namespace {
/// Holds a context for one call.
class Busy {
public:
  explicit Busy(std::atomic<bool> &flag) : flag(flag), taken(!flag.exchange(true)) {}
  ~Busy() {
    if (taken)
      flag.store(false);
  }
  Status status() const {
    return taken ? Status() : invalidArgument("the context is in use by another call: use one context a request");
  }

private:
  std::atomic<bool> &flag;
  const bool taken;
};
} // namespace

Status Context::prepare(const std::string &entry, const std::vector<int64_t> &symbols) {
  Busy hold(busy);
  VITRIFY_RETURN_IF_ERROR(hold.status());
  VITRIFY_ASSIGN_OR_RETURN(uint32_t index, owner->findEntry(entry));
  VITRIFY_ASSIGN_OR_RETURN(std::shared_ptr<const Schedule> schedule, owner->schedule(index, symbols));
  return worker->prepare(*schedule);
}

Status Context::wait() {
  Busy hold(busy);
  VITRIFY_RETURN_IF_ERROR(hold.status());
  return worker->wait();
}

Status Context::run(const std::string &entry, const vitrify_tensor *inputs, size_t numInputs, vitrify_tensor *outputs,
                    size_t numOutputs, const vitrify_run_options &options) {
  Busy hold(busy);
  VITRIFY_RETURN_IF_ERROR(hold.status());
  VITRIFY_ASSIGN_OR_RETURN(uint32_t index, owner->findEntry(entry));
  stop.begin(options.time_limit_ns);
  Status status = runChecked(index, inputs, numInputs, outputs, numOutputs, options);
  stop.end();
  return status;
}

Status Context::runChecked(uint32_t index, const vitrify_tensor *inputs, size_t numInputs, vitrify_tensor *outputs,
                           size_t numOutputs, const vitrify_run_options &options) {
  const ManifestEntry &entry = owner->entry(index);
  VITRIFY_ASSIGN_OR_RETURN(std::vector<int64_t> symbols, owner->bind(index, inputs, numInputs));
  if (numOutputs != entry.outputs.size())
    return invalidArgument("entry '" + entry.name + "' gives " + std::to_string(entry.outputs.size()) +
                           " outputs, found room for " + std::to_string(numOutputs));
  VITRIFY_ASSIGN_OR_RETURN(std::shared_ptr<const Schedule> schedule, owner->schedule(index, symbols));

  WorkerRun run;
  run.schedule = schedule;
  run.stop = &stop;
  run.async = options.flags & VITRIFY_RUN_ASYNC;
  auto stage = [&](std::vector<std::byte> &memory, const ScheduledArgument &argument, bool copies,
                   const vitrify_tensor &tensor) -> BoundArgument {
    if (run.async && tensor.memory != VITRIFY_DEVICE)
      run.async = false;
    if (!copies)
      return {tensor.data, argument.bytes, tensor.memory == VITRIFY_DEVICE};
    memory.resize(argument.bytes);
    return {memory.data(), argument.bytes, false};
  };
  inputStaging.resize(numInputs);
  outputStaging.resize(numOutputs);
  // Everything is checked before anything is written.
  std::vector<bool> copyOut(numOutputs);
  for (size_t i = 0; i < numOutputs; ++i) {
    bool copies = false;
    if (schedule->outputs[i].shape.size() > VITRIFY_MAX_RANK)
      return unsupported("output '" + entry.outputs[i].name + "' has more than 8 dimensions");
    VITRIFY_RETURN_IF_ERROR(checkOutput(entry.outputs[i], schedule->outputs[i], outputs[i], copies));
    copyOut[i] = copies;
    run.outputs.push_back(stage(outputStaging[i], schedule->outputs[i], copies, outputs[i]));
  }
  for (size_t i = 0; i < numInputs; ++i) {
    bool copies = false;
    VITRIFY_RETURN_IF_ERROR(
        checkInput(entry.inputs[i], schedule->inputs[i], inputs[i], owner->preprocess(), copies));
    run.inputs.push_back(stage(inputStaging[i], schedule->inputs[i], copies, inputs[i]));
    if (copies)
      convertInput(schedule->inputs[i], inputs[i], owner->preprocess(), inputStaging[i].data());
  }

  times.clear();
  if (options.flags & VITRIFY_RUN_PROFILE)
    run.profile = &times;
  Status status = worker->run(run);
  stepTimes.clear();
  for (const StepTime &time : times)
    stepTimes.push_back({time.layers.c_str(), time.kernel.c_str(), time.ns});
  VITRIFY_RETURN_IF_ERROR(status);
  for (size_t i = 0; i < numOutputs; ++i) {
    const ScheduledArgument &argument = schedule->outputs[i];
    if (copyOut[i])
      convertOutput(argument, outputStaging[i].data(), outputs[i]);
    outputs[i].rank = int32_t(argument.shape.size());
    std::copy(argument.shape.begin(), argument.shape.end(), outputs[i].shape);
  }
  return {};
}
