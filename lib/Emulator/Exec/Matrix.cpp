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

/// Of a fragment of B, the words of q and of q + 1: z[q / 2] has the 8 columns of both.
VITRIFY_INLINE void spreadB(const V32u &bits, V16u (&z)[2]) {
  z[0] = __builtin_shufflevector(bits, bits, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  z[1] = __builtin_shufflevector(bits, bits, 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
}

template <MatrixType T> VITRIFY_INLINE void fillB(Warp &w, const u32 *rows, u32 count, Tile &t, Seen &seen) {
  constexpr u32 per = T == MatrixType::E4M3 || T == MatrixType::E5M2 ? 4 : T == MatrixType::TF32 ? 1 : 2;
  for (u32 r = 0; r < count; ++r) {
    V16u z[2];
    spreadB(loadV<V32u>(R<u32>(w, rows[r])), z);
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

/// Bytes of a plane's words as floats: their products and the sums of 32 of them are integers below 2^24, so exact.
template <bool Signed> VITRIFY_INLINE V16f bytesOf(const V16u &bits, u32 e) {
  return Signed ? __builtin_convertvector(V16i(bits << (24 - 8 * e)) >> 24, V16f)
                : __builtin_convertvector(V16i(bits >> (8 * e) & 0xff), V16f);
}

template <bool Signed> VITRIFY_INLINE void fillBytesA(Warp &w, const u32 *rows, const MmaShape &s, Tile &t) {
  const u32 step = s.m == 16 ? 2 : 1; // registers of one block of 16 k: rows g, and g + 8
  for (u32 r = 0; r < s.aRegs; r += step) {
    V16u z[4];
    spread(loadV<V32u>(R<u32>(w, rows[r])), s.m == 16 ? loadV<V32u>(R<u32>(w, rows[r + 1])) : V32u{}, z);
    for (u32 q = 0; q < 4; ++q)
      for (u32 e = 0; e < 4; ++e)
        storeV(t.a[4 * (q + 4 * (r / step)) + e], bytesOf<Signed>(z[q], e));
  }
}

template <bool Signed> VITRIFY_INLINE void fillBytesB(Warp &w, const u32 *rows, u32 count, Tile &t) {
  for (u32 r = 0; r < count; ++r) {
    V16u z[2];
    spreadB(loadV<V32u>(R<u32>(w, rows[r])), z);
    for (u32 q = 0; q < 4; q += 2)
      for (u32 e = 0; e < 4; ++e) {
        V16f value = bytesOf<Signed>(z[q / 2], e);
        u32 k = 4 * (q + 4 * r) + e;
        __builtin_memcpy(t.b[k], &value, 32);
        __builtin_memcpy(t.b[k + 4], reinterpret_cast<const char *>(&value) + 32, 32);
      }
  }
}

void mmaInt(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  Tile t;
  s.a == MatrixType::S8 ? fillBytesA<true>(w, ra, s, t) : fillBytesA<false>(w, ra, s, t);
  s.b == MatrixType::S8 ? fillBytesB<true>(w, rb, s.bRegs, t) : fillBytesB<false>(w, rb, s.bRegs, t);
  for (u32 p = 0; p < 2; ++p) {
    // Columns 2 q + p; rows 8 to 15 are in a register of their own.
    V16u z[4];
    spread(loadV<V32u>(R<u32>(w, rc[p])), s.m == 16 ? loadV<V32u>(R<u32>(w, rc[p + 2])) : V32u{}, z);
    for (u32 q = 0; q < 4; ++q)
      z[q] = V16u(addInt(s, intColumn(t, 2 * q + p, s.k), V16i(z[q])));
    storeRow(w, rows[p], m, gather<0>(z));
    if (s.m == 16)
      storeRow(w, rows[p + 2], m, gather<1>(z));
  }
}

/// Of a fragment of doubles, a register a lane: z[q] holds that of lane 4 r + q for r = 0..7.
VITRIFY_INLINE void spreadDouble(const double *x, V8d (&z)[4]) {
  for (u32 q = 0; q < 4; ++q)
    for (u32 r = 0; r < 8; ++r)
      z[q][r] = x[4 * r + q];
}

void mmaDouble(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  const u32 halves = s.m / 8;
  V8d a[16][2], b[16], c[2][4], out[2][2][4];
  for (u32 r = 0; r < s.aRegs; ++r) {
    V8d z[4];
    spreadDouble(R<double>(w, ra[r]), z);
    for (u32 q = 0; q < 4; ++q)
      a[q + 4 * (r / halves)][r % halves] = z[q];
  }
  for (u32 r = 0; r < s.bRegs; ++r) {
    V8d z[4];
    spreadDouble(R<double>(w, rb[r]), z);
    for (u32 q = 0; q < 4; ++q)
      b[q + 4 * r] = z[q];
  }
  for (u32 half = 0; half < halves; ++half) {
    spreadDouble(R<double>(w, rc[2 * half]), c[0]);
    spreadDouble(R<double>(w, rc[2 * half + 1]), c[1]);
    // A column of 8 rows is a vector; the products of a row and a column are added one after the other, in order of k.
    for (u32 p = 0; p < 2; ++p)
      for (u32 q = 0; q < 4; ++q) {
        V8d sum = c[p][q];
        for (u32 k = 0; k < s.k; ++k)
          sum = __builtin_elementwise_fma(a[k][half], V8d{} + b[k][2 * q + p], sum);
        out[half][p][q] = sum;
      }
  }
  for (u32 half = 0; half < halves; ++half)
    for (u32 p = 0; p < 2; ++p)
      put<double>(w, rows[2 * half + p], m, [&](u32 l) { return out[half][p][l & 3][l >> 2]; });
}

constexpr OpEntry kOps[] = {{"mma.float", &mmaFloat}, {"mma.int", &mmaInt}, {"mma.f64", &mmaDouble}};

} // namespace

OpList matrixOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
