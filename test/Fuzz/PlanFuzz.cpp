//===- PlanFuzz.cpp - plans from outside ---------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Fuzz.h"

#include "vitrify/Bundle/Plan.h"

using namespace vitrify;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto plan = parsePlan({reinterpret_cast<const char *>(data), size});
  if (!plan.ok()) {
    FUZZ_CHECK(!plan.status().message().empty());
    return 0;
  }
  // An accepted plan is one that prints, parses and verifies again.
  std::string text = printPlan(*plan);
  auto again = parsePlan(text);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(printPlan(*again) == text);
  for (size_t i = 0; i < plan->programs.size(); ++i) {
    std::vector<int64_t> values;
    for (const PlanSymbol &symbol : plan->programs[i].symbols)
      values.push_back(symbol.min + (symbol.max - symbol.min) / 2);
    (void)verifyProgramAt(*plan, i, values).ok();
  }
  return 0;
}
