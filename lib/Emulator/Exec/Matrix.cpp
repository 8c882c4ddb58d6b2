//===- Matrix.cpp - mma.sync ------------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Fragments are turned into tiles by permuting whole registers: lane l holds row
// or column l / 4, so that words of one l % 4 make a vector of 16 (or 8) of them.
//===----------------------------------------------------------------------===//
#include "Matrix.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

/// Words of the lanes 4 g + q of two registers: [q][g of x, g of y].
VITRIFY_INLINE void spread(const V32u &x, const V32u &y, V16u (&z)[4]) {
#define PICK(q)                                                                                                        \
  __builtin_shufflevector(x, y, q, 4 + q, 8 + q, 12 + q, 16 + q, 20 + q, 24 + q, 28 + q, 32 + q, 36 + q, 40 + q, 44 + q, \
                          48 + q, 52 + q, 56 + q, 60 + q)
  z[0] = PICK(0);
  z[1] = PICK(1);
  z[2] = PICK(2);
  z[3] = PICK(3);
#undef PICK
}

/// The other way: the first (half 0) or last eight words of z[q] go to the lanes 4 g + q.
template <u32 Half> VITRIFY_INLINE V32u gather(const V16u (&z)[4]) {
  V32u x = __builtin_shufflevector(z[0], z[1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10,
                                   26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  V32u y = __builtin_shufflevector(z[2], z[3], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10,
                                   26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  if constexpr (Half == 0)
    return __builtin_shufflevector(x, y, 0, 1, 32, 33, 2, 3, 34, 35, 4, 5, 36, 37, 6, 7, 38, 39, 8, 9, 40, 41, 10, 11,
                                   42, 43, 12, 13, 44, 45, 14, 15, 46, 47);
  else
    return __builtin_shufflevector(x, y, 16, 17, 48, 49, 18, 19, 50, 51, 20, 21, 52, 53, 22, 23, 54, 55, 24, 25, 56, 57,
                                   26, 27, 58, 59, 28, 29, 60, 61, 30, 31, 62, 63);
}

template <MatrixType T> VITRIFY_INLINE void fillA(Warp &w, const u32 *rows, u32 count, Tile &t, Seen &seen) {
  constexpr u32 per = T == MatrixType::E4M3 || T == MatrixType::E5M2 ? 4 : T == MatrixType::TF32 ? 1 : 2;
  for (u32 r = 0; r < count; r += 2) {
    V16u z[4];
    spread(loadV<V32u>(R<u32>(w, rows[r])), loadV<V32u>(R<u32>(w, rows[r + 1])), z);
    for (u32 q = 0; q < 4; ++q)
      for (u32 e = 0; e < per; ++e) {
        u32 k = per * (q + 2 * r) + e;
        V16f value;
        V16i exponent;
        decode<T>(z[q] >> (32 / per * e), value, exponent, seen);
        storeV(t.a[k], value);
        storeV(t.ea[k], exponent);
      }
  }
}

template <MatrixType T> VITRIFY_INLINE void fillB(Warp &w, const u32 *rows, u32 count, Tile &t, Seen &seen) {
  constexpr u32 per = T == MatrixType::E4M3 || T == MatrixType::E5M2 ? 4 : T == MatrixType::TF32 ? 1 : 2;
  for (u32 r = 0; r < count; ++r) {
    V32u bits = loadV<V32u>(R<u32>(w, rows[r]));
    // The words of q and of q + 1.
    V16u z[2] = {__builtin_shufflevector(bits, bits, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29),
                 __builtin_shufflevector(bits, bits, 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31)};
    for (u32 q = 0; q < 4; q += 2)
      for (u32 e = 0; e < per; ++e) {
        u32 k = per * (q + 4 * r) + e;
        V16f value;
        V16i exponent;
        decode<T>(z[q / 2] >> (32 / per * e), value, exponent, seen);
        __builtin_memcpy(t.b[k], &value, 32);
        __builtin_memcpy(t.b[k + per], reinterpret_cast<const char *>(&value) + 32, 32);
        __builtin_memcpy(t.eb[k], &exponent, 32);
        __builtin_memcpy(t.eb[k + per], reinterpret_cast<const char *>(&exponent) + 32, 32);
      }
  }
}

/// Stores a row for the lanes of `m`.
VITRIFY_INLINE void storeRow(Warp &w, u32 offset, u32 m, const V32u &value) {
  if (m == w.alive) {
    storeV(R<u32>(w, offset), value);
    return;
  }
  for (u32 rest = m; rest; rest &= rest - 1)
    R<u32>(w, offset)[std::countr_zero(rest)] = value[std::countr_zero(rest)];
}

void mmaFloat(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  Tile t;
  Seen seenA, seenB;
  withType(s.a, [&]<MatrixType T>() { fillA<T>(w, ra, s.aRegs, t, seenA); });
  withType(s.b, [&]<MatrixType T>() { fillB<T>(w, rb, s.bRegs, t, seenB); });
  judge(t, seenA, seenB);
  // Columns 2 q and 2 q + 1: two registers of floats each, or the halves of both registers.
  V16u z[4];
  if (s.halfC) {
    spread(loadV<V32u>(R<u32>(w, rc[0])), loadV<V32u>(R<u32>(w, rc[1])), z);
    for (u32 q = 0; q < 4; ++q)
      for (u32 l = 0; l < 16; ++l) {
        t.c[2 * q][l] = halfToFloat(u16(z[q][l]));
        t.c[2 * q + 1][l] = halfToFloat(u16(z[q][l] >> 16));
      }
  } else {
    for (u32 p = 0; p < 2; ++p) {
      spread(loadV<V32u>(R<u32>(w, rc[p])), loadV<V32u>(R<u32>(w, rc[p + 2])), z);
      for (u32 q = 0; q < 4; ++q)
        storeV(t.c[2 * q + p], z[q]);
    }
  }
  alignas(64) float out[8][16];
  sumTile(w, t, s.k, s.a, s.halfD, out);
  if (s.halfD) {
    for (u32 q = 0; q < 4; ++q)
      for (u32 l = 0; l < 16; ++l)
        z[q][l] = u32(floatToHalf(out[2 * q][l])) | u32(floatToHalf(out[2 * q + 1][l])) << 16;
    storeRow(w, rows[0], m, gather<0>(z));
    storeRow(w, rows[1], m, gather<1>(z));
    return;
  }
  for (u32 p = 0; p < 2; ++p) {
    for (u32 q = 0; q < 4; ++q) {
      V16f v = loadV<V16f>(out[2 * q + p]);
      z[q] = v != v ? V16u{} + 0x7fffffffu : V16u(v);
    }
    storeRow(w, rows[p], m, gather<0>(z));
    storeRow(w, rows[p + 2], m, gather<1>(z));
  }
}

VITRIFY_INLINE s32 byteOf(u32 bits, u32 e, MatrixType type) {
  u32 v = bits >> (8 * e) & 0xff;
  return type == MatrixType::S8 ? s32(s8(v)) : s32(v);
}

void mmaInt(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  s32 a[16][32] = {}, b[32][8] = {};
  for (u32 l = 0; l < 32; ++l)
    for (u32 e = 0; e < 4; ++e) {
      u32 g = l >> 2, q = l & 3;
      for (u32 r = 0; r < s.aRegs; ++r) {
        u32 row = s.m == 16 ? g + 8 * (r & 1) : g, k = 4 * q + e + 16 * (s.m == 16 ? r >> 1 : r);
        a[row][k] = byteOf(R<u32>(w, ra[r])[l], e, s.a);
      }
      for (u32 r = 0; r < s.bRegs; ++r)
        b[4 * q + e + 16 * r][g] = byteOf(R<u32>(w, rb[r])[l], e, s.b);
    }
  s32 result[32][4];
  for (u32 l = 0; l < 32; ++l)
    for (u32 r = 0; r < s.dRegs; ++r) {
      u32 row = (l >> 2) + 8 * (r >> 1), column = (l & 3) * 2 + (r & 1);
      s64 sum = R<s32>(w, rc[r])[l];
      for (u32 k = 0; k < s.k; ++k)
        sum += s64(a[row][k]) * b[k][column];
      if (s.satfinite)
        sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      result[l][r] = s32(u32(u64(sum)));
    }
  for (u32 r = 0; r < s.dRegs; ++r)
    putEach<s32>(w, rows[r], m, [&](u32 l) { return result[l][r]; });
}

void mmaDouble(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  double a[16][16] = {}, b[16][8] = {};
  for (u32 l = 0; l < 32; ++l) {
    for (u32 r = 0; r < s.aRegs; ++r)
      a[s.m == 16 ? (l >> 2) + 8 * (r & 1) : l >> 2][(l & 3) + 4 * (s.m == 16 ? r >> 1 : r)] = R<double>(w, ra[r])[l];
    for (u32 r = 0; r < s.bRegs; ++r)
      b[(l & 3) + 4 * r][l >> 2] = R<double>(w, rb[r])[l];
  }
  double result[32][4];
  for (u32 l = 0; l < 32; ++l)
    for (u32 r = 0; r < s.dRegs; ++r) {
      u32 row = (l >> 2) + 8 * (r >> 1), column = (l & 3) * 2 + (r & 1);
      double sum = R<double>(w, rc[r])[l];
      for (u32 k = 0; k < s.k; ++k)
        sum = __builtin_fma(a[row][k], b[k][column], sum);
      result[l][r] = sum;
    }
  for (u32 r = 0; r < s.dRegs; ++r)
    putEach<double>(w, rows[r], m, [&](u32 l) { return result[l][r]; });
}

constexpr OpEntry kOps[] = {{"mma.float", &mmaFloat}, {"mma.int", &mmaInt}, {"mma.f64", &mmaDouble}};

} // namespace

OpList matrixOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
