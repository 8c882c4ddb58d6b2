//===- Schedule.cpp - a plan with its numbers filled in -------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Schedule.h"

#include <algorithm>

using namespace vitrify;

namespace {

/// Evaluates one program; calls make another builder that appends to the same schedule.
class Builder {
public:
  Builder(const Plan &plan, Schedule &schedule, const PlanProgram &program, const std::vector<int64_t> &symbols)
      : plan(plan), schedule(schedule), program(program), symbols(symbols) {}

  /// Where the arguments' memory is: the entry's own, or what a caller passes.
  std::vector<ScheduledOperand> inputs, outputs;

  Status build() {
    VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, size(program.arena_bytes, "arena_bytes"));
    schedule.arenaBytes = std::max(schedule.arenaBytes, uint64_t(bytes));
    VITRIFY_RETURN_IF_ERROR(resolveBuffers());
    VITRIFY_RETURN_IF_ERROR(steps(program.steps));
    for (size_t exit : exits)
      schedule.steps[exit].target = uint32_t(schedule.steps.size());
    return {};
  }

  StatusOr<std::vector<ScheduledArgument>> arguments(const std::vector<PlanArgument> &list) const {
    std::vector<ScheduledArgument> result;
    for (const PlanArgument &argument : list) {
      const PlanBuffer &buffer = program.buffers[argument.buffer];
      ScheduledArgument out;
      out.dtype = buffer.dtype;
      for (const PlanExpr &dim : buffer.shape) {
        VITRIFY_ASSIGN_OR_RETURN(int64_t value, size(dim, argument.name));
        out.shape.push_back(value);
      }
      VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(out.dtype, out.shape));
      out.bytes = uint64_t(bytes);
      result.push_back(std::move(out));
    }
    return result;
  }

private:
  StatusOr<int64_t> value(const PlanExpr &expr, const std::string &what) const {
    auto result = expr.evaluate(symbols);
    if (!result.ok())
      return result.status().prefixed("program '" + program.name + "', " + what);
    return result;
  }

  StatusOr<int64_t> size(const PlanExpr &expr, const std::string &what) const {
    VITRIFY_ASSIGN_OR_RETURN(int64_t result, value(expr, what));
    if (result < 0)
      return internalError("program '" + program.name + "', " + what + ": " + std::to_string(result) + " is negative");
    return result;
  }

  Status resolveBuffers() {
    places.resize(program.buffers.size());
    for (size_t i = 0; i < program.buffers.size(); ++i) {
      if (program.buffers[i].kind != PlanBuffer::Kind::Arena)
        continue;
      VITRIFY_ASSIGN_OR_RETURN(int64_t offset, size(program.buffers[i].offset, program.buffers[i].name));
      places[i] = {ScheduledOperand::Base::Arena, 0, uint64_t(offset)};
    }
    for (size_t i = 0; i < program.inputs.size(); ++i)
      places[program.inputs[i].buffer] = inputs[i];
    for (size_t i = 0; i < program.outputs.size(); ++i)
      places[program.outputs[i].buffer] = outputs[i];
    return {};
  }

  StatusOr<std::vector<ScheduledOperand>> operands(const std::vector<PlanOperand> &list, const std::string &what) const {
    std::vector<ScheduledOperand> result;
    for (const PlanOperand &operand : list) {
      VITRIFY_ASSIGN_OR_RETURN(int64_t offset, size(operand.offset, what));
      ScheduledOperand place = places[operand.buffer];
      place.offset += uint64_t(offset);
      result.push_back(place);
    }
    return result;
  }

  Status steps(const std::vector<PlanStep> &list) {
    for (const PlanStep &step : list) {
      std::string name;
      for (const std::string &layer : step.layers)
        name += (name.empty() ? "" : " ") + layer;
      VITRIFY_RETURN_IF_ERROR(add(step, name.empty() ? "a step" : name, name));
    }
    return {};
  }

  Status add(const PlanStep &step, const std::string &what, const std::string &layers) {
    ScheduledStep out;
    out.layers = layers;
    switch (step.kind) {
    case PlanStep::Kind::If: {
      VITRIFY_ASSIGN_OR_RETURN(int64_t condition, value(step.condition, what));
      return condition ? steps(step.body) : Status();
    }
    case PlanStep::Kind::Call: return call(step, what);
    case PlanStep::Kind::Copy: {
      out.kind = ScheduledStep::Kind::Copy;
      VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, size(step.bytes, what));
      out.bytes = uint64_t(bytes);
      break;
    }
    case PlanStep::Kind::ExitIf:
      out.kind = ScheduledStep::Kind::ExitIf;
      out.threshold = step.threshold;
      exits.push_back(schedule.steps.size());
      break;
    case PlanStep::Kind::Launch: {
      VITRIFY_RETURN_IF_ERROR(launch(step, what, out));
      if (out.grid[0] == 0 || out.grid[1] == 0 || out.grid[2] == 0)
        return {};
      break;
    }
    }
    VITRIFY_ASSIGN_OR_RETURN(out.reads, operands(step.reads, what));
    VITRIFY_ASSIGN_OR_RETURN(out.writes, operands(step.writes, what));
    schedule.steps.push_back(std::move(out));
    return {};
  }

  Status launch(const PlanStep &step, const std::string &what, ScheduledStep &out) {
    VITRIFY_ASSIGN_OR_RETURN(int64_t dispatch, value(step.dispatch, what));
    size_t variant = 0;
    while (variant < step.ranges.size() &&
           (dispatch < step.ranges[variant].first || dispatch > step.ranges[variant].second))
      ++variant;
    if (variant >= step.kernels.size())
      return internalError("program '" + program.name + "', " + what + ": no kernel serves " +
                           std::to_string(dispatch));
    out.kernel = step.kernels[variant];
    for (size_t i = 0; i < 3; ++i) {
      if (i < step.grids[variant].size()) {
        VITRIFY_ASSIGN_OR_RETURN(out.grid[i], size(step.grids[variant][i], what));
      }
      if (i < step.blocks[variant].size())
        out.block[i] = step.blocks[variant][i];
    }
    out.sharedBytes = variant < step.shared_bytes.size() ? step.shared_bytes[variant] : 0;
    for (const PlanExpr &arg : step.args) {
      VITRIFY_ASSIGN_OR_RETURN(int64_t scalar, value(arg, what));
      out.scalars.push_back(scalar);
    }
    out.weights.assign(step.weights.begin(), step.weights.end());
    for (uint32_t weight : out.weights)
      if (std::ranges::find(schedule.weights, weight) == schedule.weights.end())
        schedule.weights.push_back(weight);
    return {};
  }

  Status call(const PlanStep &step, const std::string &what) {
    auto callee = std::ranges::find(plan.programs, step.callee, &PlanProgram::name);
    if (callee == plan.programs.end())
      return internalError(what + ": no program '" + step.callee + "'");
    std::vector<int64_t> values;
    for (const PlanSymbol &symbol : callee->symbols) {
      auto own = std::ranges::find(program.symbols, symbol.name, &PlanSymbol::name);
      if (own == program.symbols.end())
        return internalError(what + ": no symbol '" + symbol.name + "'");
      values.push_back(symbols[own - program.symbols.begin()]);
    }
    Builder inner(plan, schedule, *callee, values);
    VITRIFY_ASSIGN_OR_RETURN(inner.inputs, operands(step.reads, what));
    VITRIFY_ASSIGN_OR_RETURN(inner.outputs, operands(step.writes, what));
    return inner.build();
  }

  const Plan &plan;
  Schedule &schedule;
  const PlanProgram &program;
  const std::vector<int64_t> &symbols;
  std::vector<ScheduledOperand> places; ///< of the buffers
  std::vector<size_t> exits;            ///< ExitIf steps of this program
};

} // namespace

StatusOr<Schedule> vitrify::makeSchedule(const Plan &plan, uint32_t index, const std::vector<int64_t> &symbols) {
  const PlanProgram &program = plan.programs[index];
  if (symbols.size() != program.symbols.size())
    return invalidArgument("program '" + program.name + "' has " + std::to_string(program.symbols.size()) +
                           " symbols, found " + std::to_string(symbols.size()) + " values");
  for (size_t i = 0; i < symbols.size(); ++i) {
    const PlanSymbol &symbol = program.symbols[i];
    if (symbols[i] < symbol.min || symbols[i] > symbol.max)
      return invalidArgument(symbol.name + " is " + std::to_string(symbols[i]) + ", expected " +
                             std::to_string(symbol.min) + " to " + std::to_string(symbol.max));
  }
  Schedule schedule;
  schedule.program = index;
  schedule.symbols = symbols;
  Builder builder(plan, schedule, program, symbols);
  VITRIFY_ASSIGN_OR_RETURN(schedule.inputs, builder.arguments(program.inputs));
  VITRIFY_ASSIGN_OR_RETURN(schedule.outputs, builder.arguments(program.outputs));
  for (uint32_t i = 0; i < program.inputs.size(); ++i)
    builder.inputs.push_back({ScheduledOperand::Base::Input, i, 0});
  for (uint32_t i = 0; i < program.outputs.size(); ++i)
    builder.outputs.push_back({ScheduledOperand::Base::Output, i, 0});
  VITRIFY_RETURN_IF_ERROR(builder.build());
  return schedule;
}

StatusOr<std::shared_ptr<const Schedule>> ScheduleCache::get(uint32_t program, const std::vector<int64_t> &symbols) {
  {
    std::lock_guard lock(mutex);
    for (size_t i = recent.size(); i-- > 0;) {
      if (recent[i]->program != program || recent[i]->symbols != symbols)
        continue;
      std::shared_ptr<const Schedule> found = recent[i];
      recent.erase(recent.begin() + long(i));
      recent.push_back(found);
      return found;
    }
  }
  VITRIFY_ASSIGN_OR_RETURN(Schedule made, makeSchedule(plan, program, symbols));
  auto shared = std::make_shared<const Schedule>(std::move(made));
  std::lock_guard lock(mutex);
  recent.push_back(shared);
  if (recent.size() > limit)
    recent.erase(recent.begin());
  return shared;
}

static void visitSteps(const std::vector<PlanStep> &steps, const std::function<void(const PlanStep &)> &visit) {
  for (const PlanStep &step : steps) {
    visit(step);
    visitSteps(step.body, visit);
  }
}

Status WeightNeed::check(uint64_t budget) const {
  if (budget >= bytes)
    return {};
  return resourceExhausted("the weight budget of " + std::to_string(budget) + " bytes is too small: step '" + step + "' reads " +
                           std::to_string(bytes) + " bytes of weights at once; the smallest budget that works is " +
                           std::to_string(bytes));
}

WeightNeed vitrify::smallestWeightBudget(const Plan &plan,
                                         const std::function<uint64_t(const std::vector<unsigned> &weights)> &bytesOf) {
  WeightNeed need;
  for (const PlanProgram &program : plan.programs)
    visitSteps(program.steps, [&](const PlanStep &step) {
      uint64_t bytes = bytesOf(step.weights);
      if (bytes > need.bytes)
        need = {bytes, step.layers.empty() ? program.name : step.layers[0]};
    });
  return need;
}
