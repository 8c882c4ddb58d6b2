//===- MatrixTile.h - a tile of a tensor-core product -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Decoded operands of a 16 x 8 tile, by k, and the two ways to sum them: the
// plain one, an output at a time, and the fast one, a column of 16 outputs at a
// time. Both give the same bits; the plain one takes operands of every range.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/GpuModel/Chips.h"

#include <cstdint>

namespace vitrify::emulator {

/// The exponent of a zero, an infinity or a NaN.
inline constexpr int32_t kNoExponent = -10000;

/// Each operand is a value and its exponent, which stops at the smallest normal one of its type.
struct alignas(64) Tile {
  float a[32][16];       ///< [k][row]
  int32_t ea[32][16];
  float b[32][8];        ///< [k][column]
  int32_t eb[32][8];
  float c[8][16];        ///< [column][row]
  bool special = false;  ///< some operand of a or b is infinite or NaN
  bool extreme = false;  ///< some product may leave the range of float
};

struct SumTask {
  SumRule rule;
  uint32_t k = 16;
  bool half = false; ///< every group's result is rounded to f16
};

/// The sums of one CPU level. The result is [column][row].
struct TileSums {
  void (*plain)(const Tile &tile, const SumTask &task, float (&out)[8][16]);
  /// Not for tiles that are `special` or `extreme`, nor where an element of c is infinite or NaN.
  void (*fast)(const Tile &tile, const SumTask &task, float (&out)[8][16]);
};
namespace base {
TileSums tileSums();
}
namespace v3 {
TileSums tileSums();
}
namespace v4 {
TileSums tileSums();
}

/// What the instruction set of this machine can run: 0 base, 1 v3, 2 v4.
int cpuLevel();
/// What is used: VITRIFY_EMULATOR_ISA may ask for less.
int chosenLevel();

} // namespace vitrify::emulator
