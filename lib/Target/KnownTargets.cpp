//===- KnownTargets.cpp - one row for each machine we compile for -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Target/KnownTargets.h"

#include <algorithm>
#include <array>

using namespace vitrify;

namespace {
using enum MicroKernel;
constexpr std::array kFma = {FmaF32, MaddI16};
constexpr std::array kVnni = {FmaF32, DotI8};
constexpr std::array kBF16 = {FmaF32, DotI8, DotBF16};
// mma.sync on e4m3 exists on sm_90a too, but ptxas builds it from f16 products there.
constexpr std::array kAda = {MmaSyncF16, MmaSyncE4M3, MmaSyncE4M3F16};
constexpr std::array kHopper = {MmaSyncF16, WgmmaE4M3};
constexpr std::array kBlackwell = {MmaSyncF16, Tcgen05E4M3};

using Kind = TargetRow::Kind;
// The PTX versions are the oldest that have the instructions: sm_89 e4m3 mma 8.4, sm_90a wgmma and TMA 8.6,
// sm_100a tcgen05 with block scales 8.8, sm_120a block-scaled mma 8.8.
constexpr TargetRow kRows[] = {
    {"x86-64-v3", Kind::X86, "x86-64-v3", "", 8, 16, kFma, "avx2 fma f16c bmi2"},
    {"x86-64-v4", Kind::X86, "x86-64-v4", "", 16, 32, kFma, "avx512f avx512bw avx512cd avx512dq avx512vl"},
    {"x86-64-v4-vnni", Kind::X86, "x86-64-v4", "+avx512vnni", 16, 32, kVnni, "avx512vl avx512_vnni"},
    {"x86-64-v4-bf16", Kind::X86, "x86-64-v4", "+avx512vnni,+avx512bf16", 16, 32, kBF16,
     "avx512vl avx512_vnni avx512_bf16"},
    {"sm_89", Kind::NVPTX, "sm_89", "+ptx84", 32, 0, kAda, ""},
    {"sm_90a", Kind::NVPTX, "sm_90a", "+ptx86", 32, 0, kHopper, ""},
    {"sm_100a", Kind::NVPTX, "sm_100a", "+ptx88", 32, 0, kBlackwell, ""},
    {"sm_120a", Kind::NVPTX, "sm_120a", "+ptx88", 32, 0, kAda, ""},
};
} // namespace

bool TargetRow::has(MicroKernel kernel) const { return std::ranges::find(microKernels, kernel) != microKernels.end(); }

std::span<const TargetRow> vitrify::knownTargets() { return kRows; }

StatusOr<const TargetRow *> vitrify::findTarget(std::string_view name) {
  std::string known;
  for (const TargetRow &row : kRows) {
    if (row.name == name)
      return &row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  return invalidArgument("unknown target '" + std::string(name) + "', known are " + known);
}
