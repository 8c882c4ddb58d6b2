//===- Matrix.h - tiles of tensor-core products -----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A 16 x 8 tile of decoded operands, which mma.sync and wmma fill from their
// fragments and sum by the chip's rule; and the packed shape of an instruction.
//===----------------------------------------------------------------------===//
#pragma once

#include "../MmaShape.h"
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {

inline constexpr int kNoExponent = -10000;

/// An element as a value and its exponent (clamped at the format's smallest; none for zero).
struct Decoded {
  float value;
  s32 exponent;
  bool special;
};
struct DecodeTable {
  Decoded e4m3[256], e5m2[256];
};
const DecodeTable &decodeTable();

VITRIFY_INLINE Decoded decodeFloat(float v, int emin) {
  u32 b = std::bit_cast<u32>(v), e = b >> 23 & 0xff;
  if (e == 255)
    return {v, kNoExponent, true};
  if ((b & 0x7fffffff) == 0)
    return {v, kNoExponent, false};
  int exponent = int(e) - 127;
  return {v, exponent < emin ? emin : exponent, false};
}
VITRIFY_INLINE Decoded decodeElement(u32 bits, MatrixType type, const DecodeTable &table) {
  switch (type) {
  case MatrixType::F16: return decodeFloat(halfToFloat(u16(bits)), -14);
  case MatrixType::BF16: return decodeFloat(bfToFloat(u16(bits)), -126);
  case MatrixType::TF32: return decodeFloat(std::bit_cast<float>(bits & ~0x1fffu), -126);
  case MatrixType::E4M3: return table.e4m3[bits & 0xff];
  default: return table.e5m2[bits & 0xff];
  }
}

struct alignas(64) Tile {
  float a[16][32], b[32][16]; ///< b twice in a row, for two rows of outputs at once
  s32 ea[16][32], eb[32][16];
  float c[16][8];
  bool special = false;       ///< some element is infinite or NaN

  VITRIFY_INLINE void setA(u32 row, u32 k, Decoded d) {
    a[row][k] = d.value;
    ea[row][k] = d.exponent;
    special |= d.special;
  }
  VITRIFY_INLINE void setB(u32 k, u32 column, Decoded d) {
    b[k][column] = b[k][column + 8] = d.value;
    eb[k][column] = eb[k][column + 8] = d.exponent;
    special |= d.special;
  }
};

/// out = a b + c over `k` products, by the chip's rule for the operand type (or plain f32 multiply-adds). With `half`
/// every group's result is rounded to f16.
void sumTile(const Warp &w, Tile &t, u32 k, MatrixType type, bool half, float (&out)[16][8]);

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
