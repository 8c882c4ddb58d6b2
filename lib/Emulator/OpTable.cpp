//===- OpTable.cpp - the instruction set by name ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Chooses the executors' level by what the CPU can do. VITRIFY_EMULATOR_ISA
// (base, v3, v4) lowers it, for tests.
//===----------------------------------------------------------------------===//
#include "Exec/Support.h"

#include <cstdlib>
#include <string_view>
#include <unordered_map>

namespace vitrify::emulator {

namespace {

using Table = std::unordered_map<std::string_view, ExecFn>;

#define VITRIFY_FAMILIES(isa)                                                                                          \
  {                                                                                                                    \
    isa::integerOps(), isa::integerMoreOps(), isa::floatOps(), isa::halfOps(), isa::compareOps(), isa::convertOps(),   \
        isa::mathOps(), isa::memoryOps(), isa::atomicOps(), isa::asyncOps(), isa::warpOps(), isa::matrixOps(),         \
        isa::matrixMoreOps()                                                                                           \
  }

Table makeTable() {
  int level = 0;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
      __builtin_cpu_supports("bmi2"))
    level = 1;
  if (level == 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    level = 2;
  if (const char *wish = std::getenv("VITRIFY_EMULATOR_ISA")) {
    std::string_view name = wish;
    level = std::min(level, name == "base" ? 0 : name == "v3" ? 1 : 2);
  }
  std::vector<OpList> families;
  if (level == 2)
    families = VITRIFY_FAMILIES(v4);
  else if (level == 1)
    families = VITRIFY_FAMILIES(v3);
  else
    families = VITRIFY_FAMILIES(base);
  Table table;
  for (const OpList &list : families)
    for (unsigned k = 0; k < list.count; ++k)
      table.emplace(list.entries[k].key, list.entries[k].exec);
  return table;
}

} // namespace

ExecFn findExec(std::string_view key) {
  static const Table table = makeTable();
  auto it = table.find(key);
  return it == table.end() ? nullptr : it->second;
}

} // namespace vitrify::emulator
