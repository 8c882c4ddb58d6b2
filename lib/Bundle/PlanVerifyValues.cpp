//===- PlanVerifyValues.cpp - plan checks at symbol values ---------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "PlanVerify.h"

#include <algorithm>
#include <span>

using namespace vitrify;

namespace {
std::string programPath(size_t index) { return "programs[" + std::to_string(index) + "]"; }

void collectLifetimes(std::span<const PlanStep> steps, size_t top, std::vector<Lifetime> &lifetimes) {
  for (const PlanStep &step : steps) {
    for (const auto *operands : {&step.reads, &step.writes})
      for (const PlanOperand &operand : *operands) {
        lifetimes[operand.buffer].first = std::min(lifetimes[operand.buffer].first, top);
        lifetimes[operand.buffer].last = std::max(lifetimes[operand.buffer].last, top);
      }
    collectLifetimes(step.body, top, lifetimes);
  }
}

/// A buffer's place at the values under check.
struct Extent {
  int64_t begin = 0, size = 0;
};

class ValueVerifier {
public:
  ValueVerifier(const Plan &plan, size_t index, const std::vector<int64_t> &symbols)
      : plan(plan), program(plan.programs[index]), symbols(symbols), path(programPath(index)) {}

  Status verify() {
    VITRIFY_RETURN_IF_ERROR(place());
    VITRIFY_RETURN_IF_ERROR(verifyOverlap());
    for (top = 0; top < program.steps.size(); ++top)
      VITRIFY_RETURN_IF_ERROR(verifyStep(program.steps[top], path + ".steps[" + std::to_string(top) + "]"));
    return {};
  }

private:
  /// Computes and checks the arena and every buffer's place in it.
  Status place() {
    VITRIFY_ASSIGN_OR_RETURN(arena, value(program.arena_bytes, path + ".arena_bytes"));
    if (arena < 0)
      return bad(path + ".arena_bytes", "negative: " + std::to_string(arena));
    return verifyExtents();
  }

  /// "where: message, when images = 3".
  Status bad(const std::string &where, const std::string &message) const {
    std::string at;
    for (size_t i = 0; i < symbols.size(); ++i)
      at += (i ? ", " : ", when ") + program.symbols[i].name + " = " + std::to_string(symbols[i]);
    return dataLoss(where + ": " + message + at);
  }

  StatusOr<int64_t> value(const PlanExpr &expr, const std::string &where) const {
    auto result = expr.evaluate(symbols);
    if (!result.ok())
      return bad(where, result.status().message());
    return result;
  }

  Status verifyExtents() {
    for (size_t i = 0; i < program.buffers.size(); ++i) {
      const PlanBuffer &buffer = program.buffers[i];
      std::string where = path + ".buffers[" + std::to_string(i) + "]";
      Extent extent;
      VITRIFY_ASSIGN_OR_RETURN(extent.begin, value(buffer.offset, where + ".offset"));
      VITRIFY_ASSIGN_OR_RETURN(extent.size, value(buffer.size, where + ".size"));
      std::vector<int64_t> shape;
      for (size_t d = 0; d < buffer.shape.size(); ++d) {
        VITRIFY_ASSIGN_OR_RETURN(int64_t dim, value(buffer.shape[d], where + ".shape[" + std::to_string(d) + "]"));
        shape.push_back(dim);
      }
      auto needed = tensorBytes(buffer.dtype, shape);
      if (!needed.ok())
        return bad(where + ".shape", needed.status().message());
      if (extent.size < *needed)
        return bad(where + ".size", "buffer '" + buffer.name + "' has " + std::to_string(extent.size) +
                                        " bytes, its shape " + shapeString(shape) + " needs " +
                                        std::to_string(*needed));
      if (buffer.kind != PlanBuffer::Kind::Arena) {
        if (extent.begin != 0)
          return bad(where + ".offset", "expected 0 for an argument, found " + std::to_string(extent.begin));
        if (extent.size != *needed)
          return bad(where + ".size", "argument '" + buffer.name + "' has " + std::to_string(extent.size) +
                                          " bytes, its shape has " + std::to_string(*needed));
      } else {
        if (extent.begin < 0 || extent.begin % 64 != 0)
          return bad(where + ".offset", "expected a multiple of 64, found " + std::to_string(extent.begin));
        if (extent.size > arena || extent.begin > arena - extent.size)
          return bad(where, "buffer '" + buffer.name + "' of " + std::to_string(extent.size) + " bytes at " +
                                std::to_string(extent.begin) + " leaves the arena of " + std::to_string(arena));
      }
      extents.push_back(extent);
    }
    return {};
  }

  Status verifyOverlap() {
    std::vector<Lifetime> lifetimes = lifetimesOf(program);
    std::vector<size_t> order;
    for (size_t i = 0; i < program.buffers.size(); ++i)
      if (program.buffers[i].kind == PlanBuffer::Kind::Arena && extents[i].size > 0 &&
          lifetimes[i].first <= lifetimes[i].last)
        order.push_back(i);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return extents[a].begin < extents[b].begin; });
    for (size_t a = 0; a < order.size(); ++a)
      for (size_t b = a + 1; b < order.size(); ++b) {
        size_t i = order[a], j = order[b];
        if (extents[j].begin >= extents[i].begin + extents[i].size)
          break;
        if (lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last)
          return bad(path + ".buffers[" + std::to_string(std::max(i, j)) + "]",
                     "buffers '" + program.buffers[std::min(i, j)].name + "' and '" +
                         program.buffers[std::max(i, j)].name + "' overlap and both live at step " +
                         std::to_string(std::max(lifetimes[i].first, lifetimes[j].first)));
      }
    return {};
  }

  /// Offset of an operand inside its buffer, with at least `bytes` after it.
  StatusOr<int64_t> operandOffset(const PlanOperand &operand, int64_t bytes, const std::string &where) const {
    VITRIFY_ASSIGN_OR_RETURN(int64_t offset, value(operand.offset, where + ".offset"));
    int64_t size = extents[operand.buffer].size;
    if (offset < 0 || bytes > size || offset > size - bytes)
      return bad(where, "bytes " + std::to_string(offset) + " to " + std::to_string(offset) + " + " +
                            std::to_string(bytes) + " leave buffer '" + program.buffers[operand.buffer].name + "' of " +
                            std::to_string(size));
    return offset;
  }

  Status verifyStep(const PlanStep &step, const std::string &where) {
    int64_t bytes = step.kind == PlanStep::Kind::ExitIf ? 4 : 0;
    if (step.kind == PlanStep::Kind::Copy) {
      VITRIFY_ASSIGN_OR_RETURN(bytes, value(step.bytes, where + ".bytes"));
      if (bytes < 0)
        return bad(where + ".bytes", "negative: " + std::to_string(bytes));
    }
    std::vector<int64_t> offsets;
    for (const auto *operands : {&step.reads, &step.writes})
      for (size_t o = 0; o < operands->size(); ++o) {
        std::string name = where + (operands == &step.reads ? ".reads[" : ".writes[") + std::to_string(o) + "]";
        const PlanOperand &operand = (*operands)[o];
        // A kernel's operand starts inside its buffer, unless the buffer is empty.
        int64_t least = step.kind == PlanStep::Kind::Launch ? std::min<int64_t>(1, extents[operand.buffer].size) : bytes;
        VITRIFY_ASSIGN_OR_RETURN(int64_t offset, operandOffset(operand, least, name));
        offsets.push_back(offset);
      }
    if (step.kind == PlanStep::Kind::Copy && step.reads[0].buffer == step.writes[0].buffer &&
        std::max(offsets[0], offsets[1]) - std::min(offsets[0], offsets[1]) < bytes)
      return bad(where, "copies between ranges of one buffer that overlap");
    if (step.kind == PlanStep::Kind::Launch)
      return verifyLaunch(step, where);
    if (step.kind == PlanStep::Kind::Call)
      return verifyCall(step, where);
    if (step.kind == PlanStep::Kind::If) {
      if (auto condition = value(step.condition, where + ".condition"); !condition.ok())
        return condition.status();
      for (size_t i = 0; i < step.body.size(); ++i)
        VITRIFY_RETURN_IF_ERROR(verifyStep(step.body[i], where + ".body[" + std::to_string(i) + "]"));
    }
    return {};
  }

  Status verifyLaunch(const PlanStep &step, const std::string &where) {
    VITRIFY_ASSIGN_OR_RETURN(int64_t dispatch, value(step.dispatch, where + ".dispatch"));
    size_t chosen = 0;
    while (chosen < step.ranges.size() &&
           (dispatch < step.ranges[chosen].first || dispatch > step.ranges[chosen].second))
      ++chosen;
    if (chosen == step.ranges.size())
      return bad(where + ".variants", "no kernel serves " + std::to_string(dispatch) + ", the ranges go from " +
                                          std::to_string(step.ranges.front().first) + " to " +
                                          std::to_string(step.ranges.back().second));
    bool cpu = plan.target.rfind("x86", 0) == 0;
    for (size_t d = 0; d < 3; ++d) {
      std::string name = where + ".variants[" + std::to_string(chosen) + "].grid[" + std::to_string(d) + "]";
      VITRIFY_ASSIGN_OR_RETURN(int64_t size, value(step.grids[chosen][d], name));
      int64_t max = d == 0 ? INT32_MAX : cpu ? 1 : 65535;
      if (size < 1 || size > max)
        return bad(name, "expected 1 to " + std::to_string(max) + ", found " + std::to_string(size));
    }
    for (size_t i = 0; i < step.args.size(); ++i)
      if (auto argument = value(step.args[i], where + ".args[" + std::to_string(i) + "]"); !argument.ok())
        return argument.status();
    return {};
  }

  /// Index of an earlier program; the structure was checked.
  size_t programNamed(const std::string &name) const {
    size_t index = 0;
    while (plan.programs[index].name != name)
      ++index;
    return index;
  }

  /// Our values of another program's symbols, by name.
  std::vector<int64_t> valuesFor(const PlanProgram &other) const {
    std::vector<int64_t> values;
    for (const PlanSymbol &symbol : other.symbols)
      for (size_t i = 0; i < program.symbols.size(); ++i)
        if (program.symbols[i].name == symbol.name)
          values.push_back(symbols[i]);
    return values;
  }

  void addCallees(const std::vector<PlanStep> &steps, std::vector<bool> &reached) const {
    for (const PlanStep &step : steps) {
      addCallees(step.body, reached);
      if (step.kind != PlanStep::Kind::Call)
        continue;
      size_t index = programNamed(step.callee);
      if (reached[index])
        continue;
      reached[index] = true;
      addCallees(plan.programs[index].steps, reached);
    }
  }

  Status verifyCall(const PlanStep &step, const std::string &where) {
    size_t index = programNamed(step.callee);
    const PlanProgram &callee = plan.programs[index];
    std::vector<int64_t> values = valuesFor(callee);
    ValueVerifier inner(plan, index, values);
    VITRIFY_RETURN_IF_ERROR(inner.place().prefixed(where));
    for (size_t i = 0; i < step.reads.size(); ++i)
      if (auto offset = operandOffset(step.reads[i], inner.extents[callee.inputs[i].buffer].size,
                                      where + ".reads[" + std::to_string(i) + "]");
          !offset.ok())
        return offset.status();
    for (size_t i = 0; i < step.writes.size(); ++i)
      if (auto offset = operandOffset(step.writes[i], inner.extents[callee.outputs[i].buffer].size,
                                      where + ".writes[" + std::to_string(i) + "]");
          !offset.ok())
        return offset.status();
    // The memory of the callee, and of all that it calls, must not touch what we need during or after the call.
    std::vector<bool> reached(plan.programs.size());
    reached[index] = true;
    addCallees(callee.steps, reached);
    for (size_t i = 0; i < reached.size(); ++i)
      if (reached[i])
        VITRIFY_RETURN_IF_ERROR(verifyApart(i, where));
    return {};
  }

  Status verifyApart(size_t index, const std::string &where) const {
    const PlanProgram &other = plan.programs[index];
    std::vector<int64_t> values = valuesFor(other);
    ValueVerifier inner(plan, index, values);
    VITRIFY_RETURN_IF_ERROR(inner.place().prefixed(where));
    if (inner.arena > arena)
      return bad(where, "program '" + other.name + "' needs an arena of " + std::to_string(inner.arena) +
                            " bytes, this one has " + std::to_string(arena));
    std::vector<Lifetime> lifetimes = lifetimesOf(program);
    for (size_t i = 0; i < program.buffers.size(); ++i) {
      if (program.buffers[i].kind != PlanBuffer::Kind::Arena || lifetimes[i].first > top || top > lifetimes[i].last)
        continue;
      for (size_t j = 0; j < other.buffers.size(); ++j) {
        const Extent &a = extents[i], &b = inner.extents[j];
        if (other.buffers[j].kind == PlanBuffer::Kind::Arena && a.begin < b.begin + b.size &&
            b.begin < a.begin + a.size)
          return bad(where, "buffer '" + program.buffers[i].name + "' is live and overlaps '" +
                                other.buffers[j].name + "' of '" + other.name + "'");
      }
    }
    return {};
  }

  const Plan &plan;
  const PlanProgram &program;
  const std::vector<int64_t> &symbols;
  std::string path;
  int64_t arena = 0;
  size_t top = 0; ///< top-level step under check
  std::vector<Extent> extents;
};
} // namespace

std::vector<Lifetime> vitrify::lifetimesOf(const PlanProgram &program) {
  std::vector<Lifetime> lifetimes(program.buffers.size());
  for (size_t i = 0; i < program.steps.size(); ++i)
    collectLifetimes(std::span(&program.steps[i], 1), i, lifetimes);
  return lifetimes;
}

Status vitrify::verifyProgramAt(const Plan &plan, size_t program, const std::vector<int64_t> &symbols) {
  if (program >= plan.programs.size())
    return invalidArgument("program " + std::to_string(program) + " of " + std::to_string(plan.programs.size()));
  const auto &bounds = plan.programs[program].symbols;
  if (symbols.size() != bounds.size())
    return invalidArgument("expected " + std::to_string(bounds.size()) + " symbol values, found " +
                           std::to_string(symbols.size()));
  for (size_t i = 0; i < symbols.size(); ++i)
    if (symbols[i] < bounds[i].min || symbols[i] > bounds[i].max)
      return invalidArgument("expected " + bounds[i].name + " from " + std::to_string(bounds[i].min) + " to " +
                             std::to_string(bounds[i].max) + ", found " + std::to_string(symbols[i]));
  return ValueVerifier(plan, program, symbols).verify();
}

Status vitrify::verifyPlan(const Plan &plan) {
  VITRIFY_RETURN_IF_ERROR(verifyStructure(plan));
  for (size_t p = 0; p < plan.programs.size(); ++p) {
    const auto &bounds = plan.programs[p].symbols;
    // All combinations up to five symbols; beyond, all least, all tuned and all largest.
    size_t combinations = 3;
    bool full = bounds.size() <= 5;
    if (full)
      for (size_t i = combinations = 1; i <= bounds.size(); ++i)
        combinations *= 3;
    for (size_t c = 0; c < combinations; ++c) {
      std::vector<int64_t> values;
      size_t rest = c;
      for (const PlanSymbol &symbol : bounds) {
        values.push_back(rest % 3 == 0 ? symbol.min : rest % 3 == 1 ? symbol.tuned : symbol.max);
        rest = full ? rest / 3 : rest;
      }
      VITRIFY_RETURN_IF_ERROR(ValueVerifier(plan, p, values).verify());
    }
  }
  return {};
}
