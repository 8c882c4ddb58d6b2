//===- KnownTargets.h - one row for each machine we compile for -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The table that code generators ask before they use an instruction. LLVM aborts when an intrinsic meets a CPU without
// it, so what is legal is decided here and nowhere else.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <span>
#include <string>
#include <string_view>

namespace vitrify {

/// Inner loops of matrix products that a row may use.
enum class MicroKernel : uint8_t {
  FmaF32,       ///< vector.fma on f32
  DotBF16,      ///< AVX512_BF16: vdpbf16ps
  DotI8,        ///< AVX512_VNNI: vpdpbusd
  MaddI16,      ///< vpmaddwd on bytes widened to 16 bits: exact where vpmaddubsw saturates
  MmaSyncF16,   ///< mma.sync on f16 and bf16
  MmaSyncE4M3,  ///< mma.sync on e4m3, native (not emulated through f16)
  MmaSyncE4M3F16, ///< the same with sums in f16, which GeForce runs at twice the rate
  WgmmaE4M3,    ///< wgmma on e4m3
  Tcgen05E4M3,  ///< tcgen05.mma on e4m3
};

struct TargetRow {
  enum class Kind : uint8_t { X86, NVPTX };
  std::string_view name;        ///< "x86-64-v4-bf16", "sm_89": also the folder in a bundle
  Kind kind;
  std::string_view cpu;         ///< LLVM's -mcpu or chip
  std::string_view features;    ///< LLVM's feature string beyond cpu; for GPUs the PTX version
  unsigned lanes;               ///< f32 elements of a vector register (x86); threads of a warp (GPU)
  unsigned registers;           ///< vector registers (x86)
  std::span<const MicroKernel> microKernels;
  std::string_view cpuFlags;    ///< x86: what /proc/cpuinfo must list beyond the level, by spaces
  std::string_view tune = {};   ///< GPUs: the chip that tiles are chosen for, a name of Chips.h; empty: all that run the row

  bool has(MicroKernel kernel) const;
};

/// All rows: x86 from the lowest to the highest, then GPUs by compute capability.
std::span<const TargetRow> knownTargets();
/// The row of that name; the error lists the known names.
StatusOr<const TargetRow *> findTarget(std::string_view name);

} // namespace vitrify
