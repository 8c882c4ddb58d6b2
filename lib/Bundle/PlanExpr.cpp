//===- PlanExpr.cpp - integer expressions over symbols -------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Plan.h"

#include <algorithm>
#include <optional>

using namespace vitrify;

PlanExpr::PlanExpr(int64_t constant) { nodes.push_back({Kind::Constant, constant, -1, -1}); }

PlanExpr PlanExpr::symbol(unsigned index) {
  PlanExpr expr;
  expr.nodes[0] = {Kind::Symbol, static_cast<int64_t>(index), -1, -1};
  return expr;
}

static int64_t floorDiv(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0)); }

/// The result, or nothing on overflow or division by zero.
static std::optional<int64_t> apply(PlanExpr::Kind kind, int64_t a, int64_t b) {
  using Kind = PlanExpr::Kind;
  int64_t result = 0;
  switch (kind) {
  case Kind::Constant:
  case Kind::Symbol: return std::nullopt;
  case Kind::Add: return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  case Kind::Sub: return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  case Kind::Mul: return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(result);
  case Kind::Min: return std::min(a, b);
  case Kind::Max: return std::max(a, b);
  case Kind::CeilDiv:
  case Kind::FloorDiv:
  case Kind::Mod:
    if (b == 0 || (a == INT64_MIN && b == -1))
      return std::nullopt;
    if (kind == Kind::Mod) {
      result = a % b;
      return result != 0 && (result < 0) != (b < 0) ? result + b : result;
    }
    result = floorDiv(a, b);
    return kind == Kind::FloorDiv ? result : result + (a % b != 0);
  }
  return std::nullopt;
}

PlanExpr PlanExpr::binary(Kind kind, const PlanExpr &lhs, const PlanExpr &rhs) {
  // Constants fold, and neutral elements vanish, so that equal sizes written differently print alike.
  if (lhs.isConstant() && rhs.isConstant())
    if (auto value = apply(kind, lhs.nodes[0].value, rhs.nodes[0].value))
      return PlanExpr(*value);
  auto is = [](const PlanExpr &expr, int64_t value) { return expr.isConstant() && expr.nodes[0].value == value; };
  if ((kind == Kind::Add && is(rhs, 0)) || (kind == Kind::Sub && is(rhs, 0)) || (kind == Kind::Mul && is(rhs, 1)) ||
      (kind == Kind::CeilDiv && is(rhs, 1)) || (kind == Kind::FloorDiv && is(rhs, 1)))
    return lhs;
  if ((kind == Kind::Add && is(lhs, 0)) || (kind == Kind::Mul && is(lhs, 1)))
    return rhs;
  PlanExpr result;
  result.nodes = lhs.nodes;
  int32_t shift = static_cast<int32_t>(lhs.nodes.size());
  for (Node node : rhs.nodes) {
    if (node.lhs >= 0)
      node.lhs += shift, node.rhs += shift;
    result.nodes.push_back(node);
  }
  int32_t last = static_cast<int32_t>(result.nodes.size());
  result.nodes.push_back({kind, 0, shift - 1, last - 1});
  return result;
}

static std::string_view operatorName(PlanExpr::Kind kind) {
  constexpr std::string_view names[] = {"constant", "symbol",   "+",   "-",   "*",
                                        "ceildiv",  "floordiv", "mod", "min", "max"};
  return names[static_cast<size_t>(kind)];
}

StatusOr<int64_t> PlanExpr::evaluate(const std::vector<int64_t> &symbols) const {
  std::vector<int64_t> values;
  values.reserve(nodes.size());
  for (const Node &node : nodes) {
    if (node.kind == Kind::Constant) {
      values.push_back(node.value);
      continue;
    }
    if (node.kind == Kind::Symbol) {
      if (node.value < 0 || node.value >= static_cast<int64_t>(symbols.size()))
        return internalError("expression names symbol " + std::to_string(node.value) + " of " +
                             std::to_string(symbols.size()));
      values.push_back(symbols[static_cast<size_t>(node.value)]);
      continue;
    }
    int64_t count = static_cast<int64_t>(values.size());
    if (node.lhs < 0 || node.lhs >= count || node.rhs < 0 || node.rhs >= count)
      return internalError("expression's operand comes after its user");
    int64_t a = values[static_cast<size_t>(node.lhs)], b = values[static_cast<size_t>(node.rhs)];
    auto value = apply(node.kind, a, b);
    if (!value) {
      std::string text = std::to_string(a) + " " + std::string(operatorName(node.kind)) + " " + std::to_string(b);
      return invalidArgument(b == 0 && node.kind >= Kind::CeilDiv ? "division by zero in " + text
                                                                  : "overflow in " + text);
    }
    values.push_back(*value);
  }
  if (values.empty())
    return internalError("empty expression");
  return values.back();
}
