//===- PlanJson.h - names shared by the plan's printer and parser --------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"
#include "vitrify/Support/Json.h"

#include <array>
#include <string_view>

namespace vitrify {

/// Spelling of operators, by PlanExpr::Kind from Add on.
inline constexpr std::array<std::string_view, 8> kExprOperators = {"+",        "-",   "*",   "ceildiv",
                                                                   "floordiv", "mod", "min", "max"};
/// By PlanBuffer::Kind.
inline constexpr std::array<std::string_view, 3> kBufferKinds = {"arena", "input", "output"};
/// By PlanStep::Kind.
inline constexpr std::array<std::string_view, 5> kStepKinds = {"launch", "copy", "if", "exit_if", "call"};

/// Comes before the digest that ends a manifest.
inline constexpr std::string_view kManifestDigestKey = ",\n \"sha256\": \"";

inline constexpr unsigned kMaxExprDepth = 64;
inline constexpr unsigned kMaxBodyDepth = 8;

/// Parses an expression over these symbols.
StatusOr<PlanExpr> parsePlanExpr(const JsonCursor &json, const std::vector<PlanSymbol> &symbols);
Json printPlanExpr(const PlanExpr &expr, const std::vector<PlanSymbol> &symbols);
/// A symbol with its bounds; used by plans and manifests.
StatusOr<PlanSymbol> parsePlanSymbol(const JsonCursor &json, bool otherKeys = false);
Json printPlanSymbol(const PlanSymbol &symbol);

/// Prints an object with a line for each member, and for each element of an array member.
std::string printLines(const Json &object);

/// Index of `name` in a table of spellings; the error lists them.
template <size_t N>
StatusOr<size_t> parseName(const JsonCursor &json, const std::array<std::string_view, N> &names) {
  VITRIFY_ASSIGN_OR_RETURN(std::string name, json.asString());
  std::string expected = "one of";
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name)
      return i;
    expected += " " + std::string(names[i]);
  }
  return json.error(expected);
}

} // namespace vitrify
