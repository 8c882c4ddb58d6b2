//===- PlanPrint.cpp - plan.json from a plan -----------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "PlanJson.h"

using namespace vitrify;

static Json printNode(const PlanExpr &expr, size_t index, const std::vector<PlanSymbol> &symbols, unsigned depth) {
  const PlanExpr::Node &node = expr.nodes[index];
  if (node.kind == PlanExpr::Kind::Constant)
    return node.value;
  if (node.kind == PlanExpr::Kind::Symbol)
    return static_cast<size_t>(node.value) < symbols.size() ? Json(symbols[static_cast<size_t>(node.value)].name)
                                                            : Json(nullptr);
  // A malformed expression prints as null, which the parser refuses.
  if (node.lhs < 0 || node.rhs < 0 || static_cast<size_t>(node.lhs) >= index ||
      static_cast<size_t>(node.rhs) >= index || depth > kMaxExprDepth)
    return nullptr;
  return Json::array({kExprOperators[static_cast<size_t>(node.kind) - 2],
                      printNode(expr, static_cast<size_t>(node.lhs), symbols, depth + 1),
                      printNode(expr, static_cast<size_t>(node.rhs), symbols, depth + 1)});
}

Json vitrify::printPlanExpr(const PlanExpr &expr, const std::vector<PlanSymbol> &symbols) {
  return expr.nodes.empty() ? Json(nullptr) : printNode(expr, expr.nodes.size() - 1, symbols, 1);
}

Json vitrify::printPlanSymbol(const PlanSymbol &symbol) {
  return {{"name", symbol.name}, {"min", symbol.min}, {"tuned", symbol.tuned}, {"max", symbol.max}};
}

namespace {
class Printer {
public:
  explicit Printer(const std::vector<PlanSymbol> &symbols) : symbols(symbols) {}

  Json expr(const PlanExpr &value) const { return printPlanExpr(value, symbols); }
  Json exprs(const std::vector<PlanExpr> &values) const {
    Json array = Json::array();
    for (const PlanExpr &value : values)
      array.push_back(expr(value));
    return array;
  }
  Json operands(const std::vector<PlanOperand> &values) const {
    Json array = Json::array();
    for (const PlanOperand &value : values)
      array.push_back({{"buffer", value.buffer}, {"offset", expr(value.offset)}});
    return array;
  }

  Json buffer(const PlanBuffer &value) const {
    return {{"name", value.name},
            {"kind", kBufferKinds[static_cast<size_t>(value.kind)]},
            {"dtype", dtypeName(value.dtype)},
            {"shape", exprs(value.shape)},
            {"offset", expr(value.offset)},
            {"size", expr(value.size)},
            {"numeric", value.numeric},
            {"scale", value.scale}};
  }

  Json step(const PlanStep &value) const {
    Json json = {{"kind", kStepKinds[static_cast<size_t>(value.kind)]}, {"layers", value.layers}};
    switch (value.kind) {
    case PlanStep::Kind::Launch: launch(value, json); break;
    case PlanStep::Kind::Copy:
      json["bytes"] = expr(value.bytes);
      json["reads"] = operands(value.reads);
      json["writes"] = operands(value.writes);
      break;
    case PlanStep::Kind::If:
      json["condition"] = expr(value.condition);
      json["body"] = steps(value.body);
      break;
    case PlanStep::Kind::ExitIf:
      json["reads"] = operands(value.reads);
      json["threshold"] = value.threshold;
      break;
    case PlanStep::Kind::Call:
      json["callee"] = value.callee;
      json["reads"] = operands(value.reads);
      json["writes"] = operands(value.writes);
      break;
    }
    return json;
  }

  Json steps(const std::vector<PlanStep> &values) const {
    Json array = Json::array();
    for (const PlanStep &value : values)
      array.push_back(step(value));
    return array;
  }

private:
  void launch(const PlanStep &value, Json &json) const {
    Json variants = Json::array();
    // Lists of unequal length lose their tails here; verifyPlan refuses such a plan before it is written.
    for (size_t i = 0; i < value.kernels.size() && i < value.ranges.size() && i < value.grids.size() &&
                       i < value.blocks.size() && i < value.shared_bytes.size();
         ++i)
      variants.push_back({{"kernel", value.kernels[i]},
                          {"min", value.ranges[i].first},
                          {"max", value.ranges[i].second},
                          {"grid", exprs(value.grids[i])},
                          {"block", value.blocks[i]},
                          {"shared_bytes", value.shared_bytes[i]}});
    json["dispatch"] = expr(value.dispatch);
    json["variants"] = std::move(variants);
    json["args"] = exprs(value.args);
    json["weights"] = value.weights;
    json["reads"] = operands(value.reads);
    json["writes"] = operands(value.writes);
  }

  const std::vector<PlanSymbol> &symbols;
};

Json printArguments(const std::vector<PlanArgument> &arguments) {
  Json array = Json::array();
  for (const PlanArgument &argument : arguments)
    array.push_back({{"name", argument.name}, {"buffer", argument.buffer}});
  return array;
}

Json printProgram(const PlanProgram &program) {
  Printer printer(program.symbols);
  Json symbols = Json::array(), buffers = Json::array();
  for (const PlanSymbol &symbol : program.symbols)
    symbols.push_back(printPlanSymbol(symbol));
  for (const PlanBuffer &buffer : program.buffers)
    buffers.push_back(printer.buffer(buffer));
  return {{"name", program.name},
          {"symbols", std::move(symbols)},
          {"inputs", printArguments(program.inputs)},
          {"outputs", printArguments(program.outputs)},
          {"arena_bytes", printer.expr(program.arena_bytes)},
          {"buffers", std::move(buffers)},
          {"steps", printer.steps(program.steps)}};
}

std::string dumpLine(const Json &value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// `levels` more levels of objects get a line for each member and element.
void appendLines(const Json &value, unsigned indent, unsigned levels, std::string &text) {
  // An expression, or a list of names, stays on its line.
  if (levels == 0 || !value.is_structured() || value.empty() || (value.is_array() && !value[0].is_structured())) {
    text += dumpLine(value);
    return;
  }
  std::string margin(indent + 1, ' ');
  bool first = true;
  text += value.is_object() ? '{' : '[';
  for (auto it = value.begin(); it != value.end(); ++it) {
    text += (first ? "\n" : ",\n") + margin;
    first = false;
    if (value.is_object())
      text += dumpLine(Json(it.key())) + ": ";
    appendLines(*it, indent + 1, levels - 1, text);
  }
  text += "\n" + std::string(indent, ' ') + (value.is_object() ? '}' : ']');
}
} // namespace

std::string vitrify::printLines(const Json &object) {
  std::string text = "{";
  bool first = true;
  for (auto it = object.begin(); it != object.end(); ++it) {
    text += (first ? "\n " : ",\n ") + dumpLine(Json(it.key())) + ": ";
    first = false;
    bool deep = it.key() == "programs" || it.key() == "targets" || it.key() == "entries";
    appendLines(*it, 1, deep ? 3 : 1, text);
  }
  return text + "\n}\n";
}

std::string vitrify::printPlan(const Plan &plan) {
  Json kernels = Json::array(), weights = Json::array(), programs = Json::array();
  for (const PlanKernel &kernel : plan.kernels) {
    Json metrics = Json::object();
    for (const auto &[name, value] : kernel.metrics)
      metrics[name] = value;
    kernels.push_back({{"name", kernel.name},
                       {"kind", kernel.layer_kind},
                       {"precision", kernel.precision},
                       {"sha256", kernel.sha256},
                       {"scalars", kernel.num_scalars},
                       {"buffers", kernel.num_buffers},
                       {"metrics", std::move(metrics)}});
  }
  for (const PlanWeight &weight : plan.weights)
    weights.push_back({{"name", weight.name},
                       {"tensor", weight.tensor},
                       {"dtype", dtypeName(weight.dtype)},
                       {"shape", weight.shape},
                       {"layout", weight.layout}});
  for (const PlanProgram &program : plan.programs)
    programs.push_back(printProgram(program));
  return printLines({{"version", Plan::kVersion},
                     {"target", plan.target},
                     {"kernels", std::move(kernels)},
                     {"weights", std::move(weights)},
                     {"programs", std::move(programs)}});
}
