//===- CpuFeatures.cpp - what this CPU can execute ------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/CpuFeatures.h"

#include <algorithm>
#include <cstdint>
#include <vector>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

using namespace vitrify;

namespace {

// What code for each row may use, and the rows from the lowest to the highest.
constexpr std::string_view kV3[] = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"};
constexpr std::string_view kV4[] = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"};
constexpr std::string_view kRows[] = {"x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-bf16"};

/// Place in the order; -1 for a name that this version does not know.
int rankOf(std::string_view name) {
  auto found = std::ranges::find(kRows, name);
  return found == std::end(kRows) ? -1 : int(found - std::begin(kRows));
}

std::vector<std::string> neededBy(const ManifestTarget &target) {
  std::vector<std::string> needs = target.needs;
  int rank = rankOf(target.name);
  auto add = [&](auto &list) { needs.insert(needs.end(), std::begin(list), std::end(list)); };
  if (rank >= 0)
    add(kV3);
  if (rank >= 1)
    add(kV4);
  if (rank >= 2)
    needs.push_back("avx512_vnni");
  if (rank >= 3)
    needs.push_back("avx512_bf16");
  return needs;
}

/// LLVM and Linux spell some names differently.
std::string canonical(std::string_view name) {
  if (name == "bmi")
    return "bmi1";
  if (name == "lzcnt")
    return "abm";
  if (name == "avx512vnni" || name == "avx512bf16" || name == "avx512fp16" || name == "avx512bitalg")
    return "avx512_" + std::string(name.substr(6));
  return std::string(name);
}

} // namespace

CpuFeatures vitrify::detectCpuFeatures() {
  CpuFeatures found;
#if defined(__x86_64__)
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d))
    return found;
  auto add = [&](uint32_t word, int bit, const char *name) {
    if (word >> bit & 1)
      found.insert(name);
  };
  add(c, 0, "sse3");
  add(c, 9, "ssse3");
  add(c, 19, "sse4_1");
  add(c, 20, "sse4_2");
  add(c, 22, "movbe");
  add(c, 23, "popcnt");
  // The system saves the wide registers only if XCR0 says so: 6 = XMM and YMM, 0xe0 = masks and ZMM.
  uint64_t saved = 0;
  if (c >> 27 & 1) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    saved = uint64_t(high) << 32 | low;
  }
  bool ymm = (saved & 6) == 6, zmm = ymm && (saved & 0xe0) == 0xe0, tiles = (saved & 0x60000) == 0x60000;
  if (ymm) {
    add(c, 28, "avx");
    add(c, 12, "fma");
    add(c, 29, "f16c");
  }
  uint32_t extended = 0;
  if (__get_cpuid(0x80000001, &a, &b, &extended, &d))
    add(extended, 5, "abm");
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
    return found;
  uint32_t subleaves = a;
  add(b, 3, "bmi1");
  add(b, 8, "bmi2");
  if (ymm)
    add(b, 5, "avx2");
  if (zmm) {
    add(b, 16, "avx512f");
    add(b, 17, "avx512dq");
    add(b, 21, "avx512ifma");
    add(b, 28, "avx512cd");
    add(b, 30, "avx512bw");
    add(b, 31, "avx512vl");
    add(c, 1, "avx512vbmi");
    add(c, 6, "avx512_vbmi2");
    add(c, 11, "avx512_vnni");
    add(c, 12, "avx512_bitalg");
    add(c, 14, "avx512_vpopcntdq");
    add(d, 23, "avx512_fp16");
  }
  if (tiles) {
    add(d, 22, "amx_bf16");
    add(d, 24, "amx_tile");
    add(d, 25, "amx_int8");
  }
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    if (ymm)
      add(a, 4, "avx_vnni");
    if (zmm)
      add(a, 5, "avx512_bf16");
  }
#endif
  return found;
}

Status vitrify::checkCpuTarget(const ManifestTarget &target, const CpuFeatures &cpu) {
  if (target.device != "cpu")
    return unsupported("target " + target.name + " is for " + target.device + ", not for a CPU");
  std::string lacking;
  std::set<std::string> seen;
  for (const std::string &need : neededBy(target))
    if (std::string name = canonical(need); !cpu.contains(name) && seen.insert(name).second)
      lacking += (lacking.empty() ? "" : ", ") + name;
  if (!lacking.empty())
    return unsupported("target " + target.name + " needs a CPU with " + lacking + ", which this one lacks");
  return {};
}

StatusOr<const ManifestTarget *> vitrify::chooseCpuTarget(const Manifest &manifest, const CpuFeatures &cpu) {
  const ManifestTarget *best = nullptr;
  std::string all, reasons;
  for (const ManifestTarget &target : manifest.targets) {
    all += (all.empty() ? "" : ", ") + target.name;
    if (target.device != "cpu")
      continue;
    if (Status status = checkCpuTarget(target, cpu); !status.ok())
      reasons += (reasons.empty() ? "" : "; ") + status.message();
    else if (!best || rankOf(target.name) > rankOf(best->name))
      best = &target;
  }
  if (best)
    return best;
  if (reasons.empty())
    return unsupported("this bundle has code for " + (all.empty() ? "nothing" : all) +
                       " and none for a CPU: compile it with --target=x86-64-v3 too");
  std::string lowest = cpu.contains("avx2") ? ": compile it with a lower --target such as x86-64-v3 too" : "";
  return unsupported("no code of this bundle runs on this CPU: " + reasons + lowest);
}
