//===- PlanParse.cpp - a plan from plan.json -----------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "JsonLists.h"
#include "PlanJson.h"

using namespace vitrify;

StatusOr<PlanSymbol> vitrify::parsePlanSymbol(const JsonCursor &json, bool otherKeys) {
  if (!otherKeys)
    VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"name", "min", "tuned", "max"}));
  PlanSymbol symbol;
  VITRIFY_ASSIGN_OR_RETURN(symbol.name, json.string("name"));
  VITRIFY_ASSIGN_OR_RETURN(symbol.min, json.integer("min"));
  VITRIFY_ASSIGN_OR_RETURN(symbol.tuned, json.integer("tuned"));
  VITRIFY_ASSIGN_OR_RETURN(symbol.max, json.integer("max"));
  return symbol;
}

/// Appends the nodes of an expression; returns the root's index.
static StatusOr<int32_t> parseNode(const JsonCursor &json, const std::vector<PlanSymbol> &symbols, PlanExpr &expr,
                                   unsigned depth) {
  if (depth > kMaxExprDepth)
    return json.fail("expression is deeper than " + std::to_string(kMaxExprDepth));
  PlanExpr::Node node;
  const Json &value = json.json();
  if (value.is_number_integer()) {
    VITRIFY_ASSIGN_OR_RETURN(node.value, json.asInteger());
  } else if (value.is_string()) {
    node.kind = PlanExpr::Kind::Symbol;
    const auto &name = value.get_ref<const std::string &>();
    size_t i = 0;
    while (i < symbols.size() && symbols[i].name != name)
      ++i;
    if (i == symbols.size())
      return json.fail("unknown symbol '" + name.substr(0, 80) + "'");
    node.value = static_cast<int64_t>(i);
  } else if (value.is_array() && value.size() == 3) {
    VITRIFY_ASSIGN_OR_RETURN(size_t op, parseName(json[0], kExprOperators));
    node.kind = static_cast<PlanExpr::Kind>(op + 2);
    VITRIFY_ASSIGN_OR_RETURN(node.lhs, parseNode(json[1], symbols, expr, depth + 1));
    VITRIFY_ASSIGN_OR_RETURN(node.rhs, parseNode(json[2], symbols, expr, depth + 1));
  } else {
    return json.error("an integer, a symbol or [operator, lhs, rhs]");
  }
  expr.nodes.push_back(node);
  return static_cast<int32_t>(expr.nodes.size() - 1);
}

StatusOr<PlanExpr> vitrify::parsePlanExpr(const JsonCursor &json, const std::vector<PlanSymbol> &symbols) {
  PlanExpr expr;
  expr.nodes.clear();
  auto root = parseNode(json, symbols, expr, 1);
  if (!root.ok())
    return root.status();
  return expr;
}

namespace {
StatusOr<unsigned> parseIndex(const JsonCursor &json) {
  VITRIFY_ASSIGN_OR_RETURN(int64_t value, json.asInteger(0, INT32_MAX));
  return static_cast<unsigned>(value);
}

StatusOr<DType> parsePlanType(const JsonCursor &json) {
  VITRIFY_ASSIGN_OR_RETURN(std::string name, json.asString());
  auto type = parseDType(name);
  if (!type.ok() || !isPlanDType(*type))
    return json.error("one of F32 F16 BF16 F8_E4M3 F4 I8 U8 I32 I64");
  return *type;
}

StatusOr<std::string> parseText(const JsonCursor &json) { return json.asString(); }
StatusOr<int64_t> parseInteger(const JsonCursor &json) { return json.asInteger(); }

StatusOr<PlanKernel> parseKernel(const JsonCursor &json) {
  VITRIFY_RETURN_IF_ERROR(
      json.refuseOtherKeys({"name", "kind", "precision", "sha256", "scalars", "buffers", "metrics"}));
  PlanKernel kernel;
  VITRIFY_ASSIGN_OR_RETURN(kernel.name, json.string("name"));
  VITRIFY_ASSIGN_OR_RETURN(kernel.layer_kind, json.string("kind"));
  VITRIFY_ASSIGN_OR_RETURN(kernel.precision, json.string("precision"));
  VITRIFY_ASSIGN_OR_RETURN(kernel.sha256, json.string("sha256"));
  VITRIFY_ASSIGN_OR_RETURN(int64_t scalars, json.integer("scalars", 0, 4096));
  VITRIFY_ASSIGN_OR_RETURN(int64_t buffers, json.integer("buffers", 0, 4096));
  kernel.num_scalars = static_cast<unsigned>(scalars);
  kernel.num_buffers = static_cast<unsigned>(buffers);
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor metrics, json.at("metrics"));
  VITRIFY_RETURN_IF_ERROR(metrics.expectObject());
  for (const auto &[name, value] : metrics.json().items()) {
    VITRIFY_ASSIGN_OR_RETURN(kernel.metrics[name], metrics.integer(name));
  }
  return kernel;
}

StatusOr<PlanWeight> parseWeight(const JsonCursor &json) {
  VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"name", "tensor", "dtype", "shape", "layout"}));
  PlanWeight weight;
  VITRIFY_ASSIGN_OR_RETURN(weight.name, json.string("name"));
  VITRIFY_ASSIGN_OR_RETURN(weight.tensor, json.string("tensor"));
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor dtype, json.at("dtype"));
  VITRIFY_ASSIGN_OR_RETURN(weight.dtype, parsePlanType(dtype));
  VITRIFY_ASSIGN_OR_RETURN(weight.shape, parseJsonList<int64_t>(json, "shape", parseInteger));
  VITRIFY_ASSIGN_OR_RETURN(weight.layout, json.string("layout"));
  return weight;
}

StatusOr<PlanArgument> parseArgument(const JsonCursor &json) {
  VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"name", "buffer"}));
  PlanArgument argument;
  VITRIFY_ASSIGN_OR_RETURN(argument.name, json.string("name"));
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor buffer, json.at("buffer"));
  VITRIFY_ASSIGN_OR_RETURN(argument.buffer, parseIndex(buffer));
  return argument;
}

class ProgramParser {
public:
  StatusOr<PlanProgram> parse(const JsonCursor &json) {
    VITRIFY_RETURN_IF_ERROR(
        json.refuseOtherKeys({"name", "symbols", "inputs", "outputs", "arena_bytes", "buffers", "steps"}));
    VITRIFY_ASSIGN_OR_RETURN(program.name, json.string("name"));
    auto symbol = [](const JsonCursor &element) { return parsePlanSymbol(element); };
    VITRIFY_ASSIGN_OR_RETURN(program.symbols, parseJsonList<PlanSymbol>(json, "symbols", symbol));
    VITRIFY_ASSIGN_OR_RETURN(program.inputs, parseJsonList<PlanArgument>(json, "inputs", parseArgument));
    VITRIFY_ASSIGN_OR_RETURN(program.outputs, parseJsonList<PlanArgument>(json, "outputs", parseArgument));
    VITRIFY_ASSIGN_OR_RETURN(program.arena_bytes, expr(json, "arena_bytes"));
    auto buffer = [this](const JsonCursor &element) { return parseBuffer(element); };
    VITRIFY_ASSIGN_OR_RETURN(program.buffers, parseJsonList<PlanBuffer>(json, "buffers", buffer));
    VITRIFY_ASSIGN_OR_RETURN(program.steps, steps(json, "steps", 0));
    return std::move(program);
  }

private:
  StatusOr<PlanExpr> expr(const JsonCursor &json, std::string_view key) {
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor member, json.at(key));
    return parsePlanExpr(member, program.symbols);
  }
  StatusOr<std::vector<PlanExpr>> exprs(const JsonCursor &json, std::string_view key) {
    auto parse = [this](const JsonCursor &element) { return parsePlanExpr(element, program.symbols); };
    return parseJsonList<PlanExpr>(json, key, parse);
  }
  StatusOr<std::vector<PlanOperand>> operands(const JsonCursor &json, std::string_view key) {
    auto parse = [this](const JsonCursor &element) -> StatusOr<PlanOperand> {
      VITRIFY_RETURN_IF_ERROR(element.refuseOtherKeys({"buffer", "offset"}));
      PlanOperand operand;
      VITRIFY_ASSIGN_OR_RETURN(JsonCursor buffer, element.at("buffer"));
      VITRIFY_ASSIGN_OR_RETURN(operand.buffer, parseIndex(buffer));
      VITRIFY_ASSIGN_OR_RETURN(operand.offset, expr(element, "offset"));
      return operand;
    };
    return parseJsonList<PlanOperand>(json, key, parse);
  }

  StatusOr<PlanBuffer> parseBuffer(const JsonCursor &json) {
    VITRIFY_RETURN_IF_ERROR(
        json.refuseOtherKeys({"name", "kind", "dtype", "shape", "offset", "size", "numeric", "scale"}));
    PlanBuffer buffer;
    VITRIFY_ASSIGN_OR_RETURN(buffer.name, json.string("name"));
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor kindJson, json.at("kind"));
    VITRIFY_ASSIGN_OR_RETURN(size_t kind, parseName(kindJson, kBufferKinds));
    buffer.kind = static_cast<PlanBuffer::Kind>(kind);
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor dtype, json.at("dtype"));
    VITRIFY_ASSIGN_OR_RETURN(buffer.dtype, parsePlanType(dtype));
    VITRIFY_ASSIGN_OR_RETURN(buffer.shape, exprs(json, "shape"));
    VITRIFY_ASSIGN_OR_RETURN(buffer.offset, expr(json, "offset"));
    VITRIFY_ASSIGN_OR_RETURN(buffer.size, expr(json, "size"));
    VITRIFY_ASSIGN_OR_RETURN(buffer.numeric, json.string("numeric"));
    VITRIFY_ASSIGN_OR_RETURN(buffer.scale, json.string("scale"));
    return buffer;
  }

  StatusOr<std::vector<PlanStep>> steps(const JsonCursor &json, std::string_view key, unsigned depth) {
    if (depth > kMaxBodyDepth)
      return json.fail("bodies are nested deeper than " + std::to_string(kMaxBodyDepth));
    auto parse = [&](const JsonCursor &element) { return step(element, depth); };
    return parseJsonList<PlanStep>(json, key, parse);
  }

  StatusOr<PlanStep> step(const JsonCursor &json, unsigned depth) {
    PlanStep step;
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor kindJson, json.at("kind"));
    VITRIFY_ASSIGN_OR_RETURN(size_t kind, parseName(kindJson, kStepKinds));
    step.kind = static_cast<PlanStep::Kind>(kind);
    VITRIFY_ASSIGN_OR_RETURN(step.layers, parseJsonList<std::string>(json, "layers", parseText));
    switch (step.kind) {
    case PlanStep::Kind::Launch: VITRIFY_RETURN_IF_ERROR(launch(json, step)); return step;
    case PlanStep::Kind::Copy: {
      VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"kind", "layers", "bytes", "reads", "writes"}));
      VITRIFY_ASSIGN_OR_RETURN(step.bytes, expr(json, "bytes"));
      break;
    }
    case PlanStep::Kind::If: {
      VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"kind", "layers", "condition", "body"}));
      VITRIFY_ASSIGN_OR_RETURN(step.condition, expr(json, "condition"));
      VITRIFY_ASSIGN_OR_RETURN(step.body, steps(json, "body", depth + 1));
      return step;
    }
    case PlanStep::Kind::ExitIf: {
      VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"kind", "layers", "reads", "threshold"}));
      VITRIFY_ASSIGN_OR_RETURN(double threshold, json.number("threshold"));
      if (threshold < -3.4028234663852886e38 || threshold > 3.4028234663852886e38)
        return json.fail("threshold does not fit a 32-bit float");
      step.threshold = static_cast<float>(threshold);
      VITRIFY_ASSIGN_OR_RETURN(step.reads, operands(json, "reads"));
      return step;
    }
    case PlanStep::Kind::Call: {
      VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"kind", "layers", "callee", "reads", "writes"}));
      VITRIFY_ASSIGN_OR_RETURN(step.callee, json.string("callee"));
      break;
    }
    }
    VITRIFY_ASSIGN_OR_RETURN(step.reads, operands(json, "reads"));
    VITRIFY_ASSIGN_OR_RETURN(step.writes, operands(json, "writes"));
    return step;
  }

  Status launch(const JsonCursor &json, PlanStep &step) {
    VITRIFY_RETURN_IF_ERROR(
        json.refuseOtherKeys({"kind", "layers", "dispatch", "variants", "args", "weights", "reads", "writes"}));
    VITRIFY_ASSIGN_OR_RETURN(step.dispatch, expr(json, "dispatch"));
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor variants, json.at("variants"));
    VITRIFY_ASSIGN_OR_RETURN(size_t count, variants.arraySize());
    for (size_t i = 0; i < count; ++i)
      VITRIFY_RETURN_IF_ERROR(variant(variants[i], step));
    VITRIFY_ASSIGN_OR_RETURN(step.args, exprs(json, "args"));
    VITRIFY_ASSIGN_OR_RETURN(step.weights, parseJsonList<unsigned>(json, "weights", parseIndex));
    VITRIFY_ASSIGN_OR_RETURN(step.reads, operands(json, "reads"));
    VITRIFY_ASSIGN_OR_RETURN(step.writes, operands(json, "writes"));
    return {};
  }

  Status variant(const JsonCursor &json, PlanStep &step) {
    VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"kernel", "min", "max", "grid", "block", "shared_bytes"}));
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor kernelJson, json.at("kernel"));
    VITRIFY_ASSIGN_OR_RETURN(unsigned kernel, parseIndex(kernelJson));
    VITRIFY_ASSIGN_OR_RETURN(int64_t min, json.integer("min"));
    VITRIFY_ASSIGN_OR_RETURN(int64_t max, json.integer("max"));
    VITRIFY_ASSIGN_OR_RETURN(std::vector<PlanExpr> grid, exprs(json, "grid"));
    VITRIFY_ASSIGN_OR_RETURN(std::vector<int64_t> block, parseJsonList<int64_t>(json, "block", parseInteger));
    VITRIFY_ASSIGN_OR_RETURN(int64_t shared, json.integer("shared_bytes"));
    step.kernels.push_back(kernel);
    step.ranges.emplace_back(min, max);
    step.grids.push_back(std::move(grid));
    step.blocks.push_back(std::move(block));
    step.shared_bytes.push_back(shared);
    return {};
  }

  PlanProgram program;
};
} // namespace

StatusOr<Plan> vitrify::parsePlan(std::string_view text) {
  // Bodies add two levels each, expressions one a node.
  VITRIFY_ASSIGN_OR_RETURN(Json document, parseJson(text, 16 + 2 * kMaxBodyDepth + kMaxExprDepth));
  JsonCursor json(document);
  VITRIFY_ASSIGN_OR_RETURN(int64_t version, json.integer("version"));
  if (version != Plan::kVersion)
    return unsupported("plan has version " + std::to_string(version) + ", this build reads version " +
                       std::to_string(Plan::kVersion));
  VITRIFY_RETURN_IF_ERROR(json.refuseOtherKeys({"version", "target", "kernels", "weights", "programs"}));
  Plan plan;
  VITRIFY_ASSIGN_OR_RETURN(plan.target, json.string("target"));
  VITRIFY_ASSIGN_OR_RETURN(plan.kernels, parseJsonList<PlanKernel>(json, "kernels", parseKernel));
  VITRIFY_ASSIGN_OR_RETURN(plan.weights, parseJsonList<PlanWeight>(json, "weights", parseWeight));
  auto program = [](const JsonCursor &element) { return ProgramParser().parse(element); };
  VITRIFY_ASSIGN_OR_RETURN(plan.programs, parseJsonList<PlanProgram>(json, "programs", program));
  VITRIFY_RETURN_IF_ERROR(verifyPlan(plan));
  return plan;
}
