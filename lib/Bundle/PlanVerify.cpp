//===- PlanVerify.cpp - plan checks that need no values ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "PlanVerify.h"

#include "PlanJson.h"
#include "vitrify/Support/ContentHash.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

using namespace vitrify;

namespace {
std::string at(const std::string &path, std::string_view list, size_t i) {
  return (path.empty() ? "" : path + ".") + std::string(list) + "[" + std::to_string(i) + "]";
}

/// Letters, digits and what layer and symbol names need; no spaces, quotes or control characters.
bool isName(std::string_view name) {
  auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_.$#-+/@:").find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= 256 && std::all_of(name.begin(), name.end(), good);
}

Status bad(const std::string &path, std::string message) { return dataLoss(path + ": " + message); }

Status checkName(const std::string &name, const std::string &path) {
  return isName(name) ? Status() : bad(path, "expected a name of letters, digits and _.$#-+/@:, found '" +
                                                 name.substr(0, 80) + "'");
}

Status checkIndex(size_t index, size_t size, const std::string &path, std::string_view what) {
  return index < size ? Status()
                      : bad(path, "index " + std::to_string(index) + " is not below the " + std::to_string(size) + " " +
                                      std::string(what));
}

/// Names that must differ within one list.
class Unique {
public:
  Status add(const std::string &name, const std::string &path) {
    VITRIFY_RETURN_IF_ERROR(checkName(name, path));
    return seen.insert(name).second ? Status() : bad(path, "name '" + name + "' occurs twice");
  }

private:
  std::set<std::string> seen;
};

Status checkExpr(const PlanExpr &expr, size_t symbols, const std::string &path) {
  if (expr.nodes.empty())
    return bad(path, "empty expression");
  std::vector<unsigned> depth;
  std::vector<char> used(expr.nodes.size());
  for (size_t i = 0; i < expr.nodes.size(); ++i) {
    const PlanExpr::Node &node = expr.nodes[i];
    depth.push_back(1);
    if (node.kind == PlanExpr::Kind::Constant)
      continue;
    if (node.kind == PlanExpr::Kind::Symbol) {
      if (node.value < 0 || node.value >= static_cast<int64_t>(symbols))
        return bad(path, "symbol " + std::to_string(node.value) + " is not below the " + std::to_string(symbols) +
                             " of the program");
      continue;
    }
    if (node.lhs < 0 || node.rhs < 0 || node.lhs >= static_cast<int64_t>(i) || node.rhs >= static_cast<int64_t>(i))
      return bad(path, "operand of an expression comes after its user");
    for (int32_t operand : {node.lhs, node.rhs}) // a tree, as its text is
      if (std::exchange(used[static_cast<size_t>(operand)], 1))
        return bad(path, "operand of an expression has two users");
    depth.back() = 1 + std::max(depth[static_cast<size_t>(node.lhs)], depth[static_cast<size_t>(node.rhs)]);
    if (depth.back() > kMaxExprDepth)
      return bad(path, "expression is deeper than " + std::to_string(kMaxExprDepth));
  }
  return {};
}

class StructureVerifier {
public:
  explicit StructureVerifier(const Plan &plan) : plan(plan) {}

  Status verify() {
    VITRIFY_RETURN_IF_ERROR(checkName(plan.target, "target"));
    cpu = plan.target.rfind("x86", 0) == 0;
    VITRIFY_RETURN_IF_ERROR(verifyKernels());
    VITRIFY_RETURN_IF_ERROR(verifyWeights());
    if (plan.programs.empty())
      return dataLoss("programs: expected at least one");
    Unique names;
    for (size_t i = 0; i < plan.programs.size(); ++i) {
      path = at("", "programs", i);
      VITRIFY_RETURN_IF_ERROR(names.add(plan.programs[i].name, path + ".name"));
      VITRIFY_RETURN_IF_ERROR(verifyProgram(plan.programs[i], i));
    }
    return {};
  }

private:
  Status verifyKernels() {
    Unique names;
    for (size_t i = 0; i < plan.kernels.size(); ++i) {
      const PlanKernel &kernel = plan.kernels[i];
      std::string where = at("", "kernels", i);
      VITRIFY_RETURN_IF_ERROR(names.add(kernel.name, where + ".name"));
      VITRIFY_RETURN_IF_ERROR(checkName(kernel.layer_kind, where + ".kind"));
      constexpr std::string_view precisions[] = {"f32", "bf16", "f16", "f8e4m3", "f4e2m1", "int8"};
      if (std::find(std::begin(precisions), std::end(precisions), kernel.precision) == std::end(precisions))
        return bad(where + ".precision",
                   "expected f32, bf16, f16, f8e4m3, f4e2m1 or int8, found '" + kernel.precision.substr(0, 80) + "'");
      if (auto digest = parseDigest(kernel.sha256); !digest.ok())
        return digest.status().prefixed(where + ".sha256");
    }
    return {};
  }

  Status verifyWeights() {
    Unique names;
    for (size_t i = 0; i < plan.weights.size(); ++i) {
      const PlanWeight &weight = plan.weights[i];
      std::string where = at("", "weights", i);
      VITRIFY_RETURN_IF_ERROR(names.add(weight.name, where + ".name"));
      VITRIFY_RETURN_IF_ERROR(checkName(weight.tensor, where + ".tensor"));
      VITRIFY_RETURN_IF_ERROR(checkName(weight.layout, where + ".layout"));
      if (!isPlanDType(weight.dtype))
        return bad(where + ".dtype", "no plan type " + std::string(dtypeName(weight.dtype)));
      if (auto bytes = tensorBytes(weight.dtype, weight.shape); !bytes.ok())
        return bad(where + ".shape", bytes.status().message());
      weightNames.insert(weight.name);
    }
    return {};
  }

  Status verifyProgram(const PlanProgram &program, size_t index) {
    Unique symbols;
    for (size_t i = 0; i < program.symbols.size(); ++i) {
      const PlanSymbol &symbol = program.symbols[i];
      std::string where = at(path, "symbols", i);
      VITRIFY_RETURN_IF_ERROR(symbols.add(symbol.name, where + ".name"));
      if (symbol.min < 0 || symbol.min > symbol.tuned || symbol.tuned > symbol.max)
        return bad(where, "expected 0 <= min <= tuned <= max, found " + std::to_string(symbol.min) + ", " +
                              std::to_string(symbol.tuned) + ", " + std::to_string(symbol.max));
    }
    numSymbols = program.symbols.size();
    VITRIFY_RETURN_IF_ERROR(expr(program.arena_bytes, path + ".arena_bytes"));
    VITRIFY_RETURN_IF_ERROR(verifyBuffers(program));
    VITRIFY_RETURN_IF_ERROR(verifyArguments(program, program.inputs, PlanBuffer::Kind::Input, "inputs"));
    VITRIFY_RETURN_IF_ERROR(verifyArguments(program, program.outputs, PlanBuffer::Kind::Output, "outputs"));
    VITRIFY_RETURN_IF_ERROR(verifySteps(program, index, program.steps, path + ".steps", 0));
    return verifyOrder(program);
  }

  Status verifyBuffers(const PlanProgram &program) {
    Unique names;
    for (size_t i = 0; i < program.buffers.size(); ++i) {
      const PlanBuffer &buffer = program.buffers[i];
      std::string where = at(path, "buffers", i);
      VITRIFY_RETURN_IF_ERROR(names.add(buffer.name, where + ".name"));
      if (!isPlanDType(buffer.dtype))
        return bad(where + ".dtype", "no plan type " + std::string(dtypeName(buffer.dtype)));
      for (size_t d = 0; d < buffer.shape.size(); ++d)
        VITRIFY_RETURN_IF_ERROR(expr(buffer.shape[d], at(where, "shape", d)));
      VITRIFY_RETURN_IF_ERROR(expr(buffer.offset, where + ".offset"));
      VITRIFY_RETURN_IF_ERROR(expr(buffer.size, where + ".size"));
      bool codes = buffer.numeric == "F8_E4M3" || buffer.numeric == "I8";
      if (!buffer.numeric.empty() && !codes)
        return bad(where + ".numeric", "expected '', 'F8_E4M3' or 'I8', found '" + buffer.numeric.substr(0, 80) + "'");
      bool holds = buffer.dtype == DType::BF16 || buffer.dtype == DType::F16 || buffer.dtype == DType::F32 ||
                   (buffer.numeric == "I8" && (buffer.dtype == DType::I8 || buffer.dtype == DType::U8)) ||
                   (buffer.numeric == "F8_E4M3" && buffer.dtype == DType::F8E4M3);
      if (codes && !holds)
        return bad(where + ".numeric", buffer.numeric + " values are not held in " +
                                           std::string(dtypeName(buffer.dtype)));
      if (!buffer.scale.empty() && !weightNames.count(buffer.scale))
        return bad(where + ".scale", "no weight '" + buffer.scale.substr(0, 80) + "' in the plan");
    }
    return {};
  }

  Status verifyArguments(const PlanProgram &program, const std::vector<PlanArgument> &arguments,
                         PlanBuffer::Kind kind, std::string_view list) {
    Unique names;
    std::set<unsigned> used;
    for (size_t i = 0; i < arguments.size(); ++i) {
      std::string where = at(path, list, i);
      unsigned buffer = arguments[i].buffer;
      VITRIFY_RETURN_IF_ERROR(names.add(arguments[i].name, where + ".name"));
      VITRIFY_RETURN_IF_ERROR(checkIndex(buffer, program.buffers.size(), where + ".buffer", "buffers"));
      if (program.buffers[buffer].kind != kind)
        return bad(where + ".buffer", "buffer '" + program.buffers[buffer].name + "' is not of kind " +
                                          std::string(kBufferKinds[static_cast<size_t>(kind)]));
      if (!used.insert(buffer).second)
        return bad(where + ".buffer", "buffer '" + program.buffers[buffer].name + "' is already an argument");
    }
    for (size_t i = 0; i < program.buffers.size(); ++i)
      if (program.buffers[i].kind == kind && !used.count(static_cast<unsigned>(i)))
        return bad(at(path, "buffers", i), "buffer '" + program.buffers[i].name + "' is not among the " +
                                               std::string(list));
    return {};
  }

  Status operands(const PlanProgram &program, const std::vector<PlanOperand> &list, const std::string &where,
                  std::string_view name, bool write) {
    for (size_t i = 0; i < list.size(); ++i) {
      std::string operand = at(where, name, i);
      VITRIFY_RETURN_IF_ERROR(checkIndex(list[i].buffer, program.buffers.size(), operand + ".buffer", "buffers"));
      VITRIFY_RETURN_IF_ERROR(expr(list[i].offset, operand + ".offset"));
      const PlanBuffer &buffer = program.buffers[list[i].buffer];
      if (write && buffer.kind == PlanBuffer::Kind::Input)
        return bad(operand, "writes the input '" + buffer.name + "'");
    }
    return {};
  }

  Status count(size_t found, size_t expected, const std::string &where, std::string_view what) {
    return found == expected ? Status()
                             : bad(where, "expected " + std::to_string(expected) + " " + std::string(what) +
                                              ", found " + std::to_string(found));
  }

  Status verifySteps(const PlanProgram &program, size_t index, const std::vector<PlanStep> &steps,
                     const std::string &list, unsigned depth) {
    if (depth > kMaxBodyDepth)
      return bad(list, "bodies are nested deeper than " + std::to_string(kMaxBodyDepth));
    for (size_t i = 0; i < steps.size(); ++i) {
      const PlanStep &step = steps[i];
      std::string where = list + "[" + std::to_string(i) + "]";
      for (size_t l = 0; l < step.layers.size(); ++l)
        VITRIFY_RETURN_IF_ERROR(checkName(step.layers[l], at(where, "layers", l)));
      VITRIFY_RETURN_IF_ERROR(operands(program, step.reads, where, "reads", false));
      VITRIFY_RETURN_IF_ERROR(operands(program, step.writes, where, "writes", true));
      if (step.kind != PlanStep::Kind::Launch && (!step.kernels.empty() || !step.weights.empty() || !step.args.empty()))
        return bad(where, "only a launch has kernels, weights and args");
      switch (step.kind) {
      case PlanStep::Kind::Launch: VITRIFY_RETURN_IF_ERROR(verifyLaunch(step, where)); break;
      case PlanStep::Kind::Copy:
        VITRIFY_RETURN_IF_ERROR(count(step.reads.size(), 1, where + ".reads", "operand"));
        VITRIFY_RETURN_IF_ERROR(count(step.writes.size(), 1, where + ".writes", "operand"));
        VITRIFY_RETURN_IF_ERROR(expr(step.bytes, where + ".bytes"));
        break;
      case PlanStep::Kind::If:
        VITRIFY_RETURN_IF_ERROR(expr(step.condition, where + ".condition"));
        VITRIFY_RETURN_IF_ERROR(count(step.reads.size() + step.writes.size(), 0, where, "operands of the if itself"));
        if (step.body.empty())
          return bad(where + ".body", "expected at least one step");
        VITRIFY_RETURN_IF_ERROR(verifySteps(program, index, step.body, where + ".body", depth + 1));
        break;
      case PlanStep::Kind::ExitIf:
        VITRIFY_RETURN_IF_ERROR(count(step.reads.size(), 1, where + ".reads", "operand"));
        VITRIFY_RETURN_IF_ERROR(count(step.writes.size(), 0, where + ".writes", "operands"));
        if (program.buffers[step.reads[0].buffer].dtype != DType::F32)
          return bad(where + ".reads[0]", "expected a buffer of F32, found " +
                                              std::string(dtypeName(program.buffers[step.reads[0].buffer].dtype)));
        if (!std::isfinite(step.threshold))
          return bad(where + ".threshold", "expected a finite number");
        break;
      case PlanStep::Kind::Call: VITRIFY_RETURN_IF_ERROR(verifyCall(program, index, step, where)); break;
      }
    }
    return {};
  }

  Status verifyLaunch(const PlanStep &step, const std::string &where) {
    size_t variants = step.kernels.size();
    if (variants == 0)
      return bad(where + ".variants", "expected at least one kernel");
    VITRIFY_RETURN_IF_ERROR(expr(step.dispatch, where + ".dispatch"));
    VITRIFY_RETURN_IF_ERROR(count(step.ranges.size(), variants, where, "ranges"));
    VITRIFY_RETURN_IF_ERROR(count(step.grids.size(), variants, where, "grids"));
    VITRIFY_RETURN_IF_ERROR(count(step.blocks.size(), variants, where, "blocks"));
    VITRIFY_RETURN_IF_ERROR(count(step.shared_bytes.size(), variants, where, "sizes of shared memory"));
    for (size_t i = 0; i < step.args.size(); ++i)
      VITRIFY_RETURN_IF_ERROR(expr(step.args[i], at(where, "args", i)));
    for (size_t i = 0; i < step.weights.size(); ++i)
      VITRIFY_RETURN_IF_ERROR(
          checkIndex(step.weights[i], plan.weights.size(), at(where, "weights", i), "weights of the plan"));
    for (size_t i = 0; i < variants; ++i) {
      std::string variant = at(where, "variants", i);
      VITRIFY_RETURN_IF_ERROR(
          checkIndex(step.kernels[i], plan.kernels.size(), variant + ".kernel", "kernels of the plan"));
      const PlanKernel &kernel = plan.kernels[step.kernels[i]];
      VITRIFY_RETURN_IF_ERROR(
          count(step.args.size(), kernel.num_scalars, where + ".args", "scalars for '" + kernel.name + "'"));
      VITRIFY_RETURN_IF_ERROR(count(step.weights.size() + step.reads.size() + step.writes.size(), kernel.num_buffers,
                                    where, "weights, reads and writes for '" + kernel.name + "'"));
      auto [first, last] = step.ranges[i];
      if (first > last)
        return bad(variant, "empty range from " + std::to_string(first) + " to " + std::to_string(last));
      if (i > 0 && step.ranges[i - 1].second != first - 1)
        return bad(variant + ".min", "expected " + std::to_string(step.ranges[i - 1].second) + " + 1, found " +
                                         std::to_string(first));
      VITRIFY_RETURN_IF_ERROR(count(step.grids[i].size(), 3, variant + ".grid", "sizes"));
      VITRIFY_RETURN_IF_ERROR(count(step.blocks[i].size(), 3, variant + ".block", "sizes"));
      for (size_t d = 0; d < 3; ++d)
        VITRIFY_RETURN_IF_ERROR(expr(step.grids[i][d], at(variant, "grid", d)));
      VITRIFY_RETURN_IF_ERROR(verifyBlock(step.blocks[i], step.shared_bytes[i], variant));
    }
    return {};
  }

  Status verifyBlock(const std::vector<int64_t> &block, int64_t shared, const std::string &variant) {
    // A block of a GPU has at most 1,024 threads, and at most 227 KiB of shared memory on any chip so far.
    int64_t maxThreads = cpu ? 1 : 1024, maxShared = cpu ? 0 : 227 * 1024;
    for (int64_t threads : block)
      if (threads < 1 || threads > maxThreads)
        return bad(variant + ".block", "expected sizes from 1 to " + std::to_string(maxThreads) + ", found " +
                                           std::to_string(threads));
    if (block[0] * block[1] * block[2] > maxThreads)
      return bad(variant + ".block", "expected at most " + std::to_string(maxThreads) + " threads, found " +
                                         std::to_string(block[0] * block[1] * block[2]));
    if (shared < 0 || shared > maxShared)
      return bad(variant + ".shared_bytes", "expected 0 to " + std::to_string(maxShared) + ", found " +
                                                std::to_string(shared));
    return {};
  }

  Status verifyCall(const PlanProgram &program, size_t index, const PlanStep &step, const std::string &where) {
    // Only earlier programs may be called: that excludes recursion.
    const PlanProgram *callee = nullptr;
    for (size_t i = 0; i < index; ++i)
      if (plan.programs[i].name == step.callee)
        callee = &plan.programs[i];
    if (!callee)
      return bad(where + ".callee", "no program '" + step.callee.substr(0, 80) + "' before this one");
    VITRIFY_RETURN_IF_ERROR(count(step.reads.size(), callee->inputs.size(), where + ".reads", "inputs of the callee"));
    VITRIFY_RETURN_IF_ERROR(
        count(step.writes.size(), callee->outputs.size(), where + ".writes", "outputs of the callee"));
    for (const PlanSymbol &symbol : callee->symbols) {
      auto same = [&](const PlanSymbol &mine) { return mine.name == symbol.name; };
      auto mine = std::find_if(program.symbols.begin(), program.symbols.end(), same);
      if (mine == program.symbols.end() || mine->min < symbol.min || mine->max > symbol.max)
        return bad(where + ".callee", "symbol '" + symbol.name + "' of '" + callee->name +
                                          "' has no symbol here that stays within its bounds");
    }
    return {};
  }

  /// Every read after a write that is sure to have happened; outputs written at the end and before an early exit.
  Status verifyOrder(const PlanProgram &program) {
    std::vector<bool> written(program.buffers.size());
    for (const PlanArgument &input : program.inputs)
      written[input.buffer] = true;
    VITRIFY_RETURN_IF_ERROR(verifyOrder(program, program.steps, path + ".steps", written));
    return outputsWritten(program, written, path + ".outputs");
  }

  Status outputsWritten(const PlanProgram &program, const std::vector<bool> &written, const std::string &where) {
    for (const PlanArgument &output : program.outputs)
      if (!written[output.buffer])
        return bad(where, "output '" + output.name + "' is not written");
    return {};
  }

  Status verifyOrder(const PlanProgram &program, const std::vector<PlanStep> &steps, const std::string &list,
                     std::vector<bool> &written) {
    for (size_t i = 0; i < steps.size(); ++i) {
      const PlanStep &step = steps[i];
      std::string where = list + "[" + std::to_string(i) + "]";
      for (size_t r = 0; r < step.reads.size(); ++r)
        if (!written[step.reads[r].buffer])
          return bad(at(where, "reads", r), "buffer '" + program.buffers[step.reads[r].buffer].name +
                                                "' is read before it is written");
      if (step.kind == PlanStep::Kind::ExitIf)
        VITRIFY_RETURN_IF_ERROR(outputsWritten(program, written, where));
      for (const PlanOperand &write : step.writes)
        written[write.buffer] = true;
      if (step.kind == PlanStep::Kind::If) {
        std::vector<bool> inside = written; // what only a body writes may be missing after it
        VITRIFY_RETURN_IF_ERROR(verifyOrder(program, step.body, where + ".body", inside));
      }
    }
    return {};
  }

  Status expr(const PlanExpr &value, const std::string &where) { return checkExpr(value, numSymbols, where); }

  const Plan &plan;
  bool cpu = false;
  std::string path;
  size_t numSymbols = 0;
  std::set<std::string> weightNames;
};
} // namespace

Status vitrify::verifyStructure(const Plan &plan) { return StructureVerifier(plan).verify(); }
