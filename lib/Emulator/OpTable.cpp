//===- OpTable.cpp - the instruction set by name ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Chooses the executors' level by what the CPU can do. VITRIFY_EMULATOR_ISA
// (base, v3, v4) lowers it, for tests.
//===----------------------------------------------------------------------===//
#include "Exec/Support.h"
#include "MatrixTile.h"
#include "vitrify/Emulator/InstructionSet.h"

#include <algorithm>
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

} // namespace

int cpuLevel() {
  int level = 0;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
      __builtin_cpu_supports("bmi2")) // all of these have cmpxchg16b
    level = 1;
  if (level == 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    level = 2;
  return level;
}

int chosenLevel() {
  int level = cpuLevel();
  if (const char *wish = std::getenv("VITRIFY_EMULATOR_ISA")) {
    std::string_view name = wish;
    level = std::min(level, name == "base" ? 0 : name == "v3" ? 1 : 2);
  }
  return level;
}

namespace {

Table makeTable() {
  int level = chosenLevel();
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

const Table &table() {
  static const Table table = makeTable();
  return table;
}

/// In the order of Kind; the first three are not instructions of their own.
constexpr std::string_view kKindNames[] = {
    "", "", "", "branch", "branchindex", "call", "callindirect", "ret", "exit", "warpsync", "barrier", "waitmbarrier",
    "clusterbarrier", "trap", "assert", "print", "nanosleep"};

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

} // namespace

ExecFn findExec(std::string_view key) {
  auto it = table().find(key);
  return it == table().end() ? nullptr : it->second;
}

std::vector<std::string> executorKeys() {
  std::vector<std::string> keys;
  for (const auto &[key, exec] : table())
    keys.emplace_back(key);
  for (std::string_view kind : kKindNames)
    if (!kind.empty())
      keys.push_back("kind." + std::string(kind));
  return sorted(std::move(keys));
}

std::vector<std::string> executorKeys(const LoadedModule &module) {
  std::unordered_map<ExecFn, std::vector<std::string_view>> byExec;
  for (const auto &[key, exec] : table())
    byExec[exec].push_back(key);
  std::vector<std::string> keys;
  for (size_t pc = 0; pc < module.program().code.size(); ++pc) {
    const Inst &inst = module.program().code[pc];
    if (!module.program().infos[pc].source)
      continue;
    if (auto it = byExec.find(inst.exec); inst.exec && it != byExec.end())
      keys.insert(keys.end(), it->second.begin(), it->second.end());
    if (std::string_view kind = kKindNames[size_t(inst.kind)]; !kind.empty())
      keys.push_back("kind." + std::string(kind));
  }
  return sorted(std::move(keys));
}

} // namespace vitrify::emulator
