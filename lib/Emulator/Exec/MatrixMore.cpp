//===- MatrixMore.cpp - ldmatrix, stmatrix, movmatrix, wmma -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Fragments of wmma are opaque to programs; ours give lane l the elements
// [l E, l E + E) in row-major order, E = elements / 32; operands of 16-bit types
// have room for twice as many, the second half repeats the first.
//===----------------------------------------------------------------------===//
#include "Addressing.h"
#include "Matrix.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

/// Copies 64 elements of 16 bits, as they lie or transposed.
VITRIFY_INLINE void move8x8(void *to, const void *from, bool transposed) {
  typedef u16 V64h __attribute__((vector_size(128)));
  V64h v;
  __builtin_memcpy(&v, from, sizeof v);
  if (transposed)
    v = __builtin_shufflevector(v, v, 0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17, 25, 33, 41, 49, 57, 2, 10, 18, 26, 34, 42, 50,
                                58, 3, 11, 19, 27, 35, 43, 51, 59, 4, 12, 20, 28, 36, 44, 52, 60, 5, 13, 21, 29, 37, 45,
                                53, 61, 6, 14, 22, 30, 38, 46, 54, 62, 7, 15, 23, 31, 39, 47, 55, 63);
  __builtin_memcpy(to, &v, sizeof v);
}

/// count: matrices; aux2: transposed.
template <Area S, bool Store> void matrixMove(Warp &w, const Inst &i, u32 m) {
  WarpAccess acc;
  acc.bytes = 16;
  acc.access = Store ? Access::Write : Access::Read;
  addresses(w, i, acc);
  const u32 *rows = w.program->lists.data() + i.list;
  // Lanes 8 n .. 8 n + 7 give the rows of matrix n; others' addresses are not used.
  u32 lanes = i.count == 4 ? ~0u : (1u << (8 * i.count)) - 1;
  access<S>(w, i, lanes, acc, [&]<Area A>(u32 ok) {
    if constexpr (A == Area::Shared) {
      for (u32 n = 0; n < i.count; ++n) {
        // A register is the matrix, row after row; or its transpose.
        alignas(64) u16 values[8][8];
        u32 *reg = R<u32>(w, rows[n]);
        if constexpr (Store) {
          move8x8(&values[0][0], reg, i.aux2);
          for (u32 r = 0; r < 8; ++r)
            if (ok >> (8 * n + r) & 1)
              __builtin_memcpy(pointer<A>(w, 8 * n + r, acc.address[8 * n + r]), values[r], 16);
        } else {
          for (u32 r = 0; r < 8; ++r) {
            __builtin_memset(values[r], 0, 16);
            if (ok >> (8 * n + r) & 1)
              __builtin_memcpy(values[r], pointer<A>(w, 8 * n + r, acc.address[8 * n + r]), 16);
          }
          if (m == w.alive) {
            move8x8(reg, &values[0][0], i.aux2);
          } else {
            alignas(64) u32 whole[32];
            move8x8(whole, &values[0][0], i.aux2);
            putEach<u32>(w, rows[n], m, [&](u32 l) { return whole[l]; });
          }
        }
      }
    } else {
      raise(w, i, std::countr_zero(ok), FaultKind::InvalidAddressSpace, Space::Shared,
            acc.address[std::countr_zero(ok)], 16, "matrix rows lie in shared memory");
      w.event = true;
    }
  });
}

void movmatrix(Warp &w, const Inst &i, u32 m) {
  alignas(64) u32 whole[32];
  move8x8(whole, R<u32>(w, i.a), true);
  putEach<u32>(w, i.d, m, [&](u32 l) { return whole[l]; });
}

/// wmma.load and store. a: address; b: row of strides; imm offset; list: registers. width: bytes of an element;
/// target: rows | columns << 8 | row-major << 16 | registers << 24; count: 1 (one element an access).
template <Area S, bool Store> void wmmaMove(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  u32 nr = i.target & 0xff, nc = i.target >> 8 & 0xff;
  bool rowMajor = i.target >> 16 & 1;
  u32 regs = i.target >> 24, bytes = i.width;
  const u32 *stride = i.b != ~0u ? R<u32>(w, i.b) : nullptr;
  WarpAccess base;
  addresses(w, i, base);
  u32 each = nr * nc / 32, perReg = bytes >= 4 ? 1 : 4 / bytes;
  for (u32 e = 0; e < each && !w.event; ++e) {
    WarpAccess acc;
    acc.bytes = bytes;
    acc.access = Store ? Access::Write : Access::Read;
    for (u32 l = 0; l < 32; ++l) {
      u32 at = l * each + e, r = at / nc, c = at % nc;
      u64 ld = stride ? stride[l] : (rowMajor ? nc : nr);
      acc.address[l] = base.address[l] + (rowMajor ? r * ld + c : c * ld + r) * bytes;
    }
    access<S>(w, i, m, acc, [&]<Area A>(u32 ok) {
      for (u32 rest = ok; rest; rest &= rest - 1) {
        u32 l = std::countr_zero(rest);
        u8 *p = pointer<A>(w, l, acc.address[l]);
        u32 wide = bytes == 8 ? 2 : 1;
        if constexpr (Store) {
          u8 *reg = reinterpret_cast<u8 *>(w.regs + rows[e / perReg]) + l * 4 * wide + (e % perReg) * bytes;
          __builtin_memcpy(p, reg, bytes);
        } else {
          for (u32 copy = e; copy < regs * perReg; copy += each) {
            u8 *reg = reinterpret_cast<u8 *>(w.regs + rows[copy / perReg]) + l * 4 * wide + (copy % perReg) * bytes;
            __builtin_memcpy(reg, p, bytes);
          }
        }
      }
    });
  }
}

/// A fragment's elements of sizeof(T) bytes in order: each lane holds `words` registers of them.
template <class T> VITRIFY_INLINE void flatten(Warp &w, const u32 *rows, u32 words, T *out) {
  u32 *flat = reinterpret_cast<u32 *>(out);
  for (u32 r = 0; r < words; ++r) {
    const u32 *reg = R<u32>(w, rows[r]);
    for (u32 l = 0; l < 32; ++l)
      flat[l * words + r] = reg[l];
  }
}

/// The bits of 16 elements, `step` apart.
template <u32 Count, class T> VITRIFY_INLINE V16u strided(const T *p, u32 step) {
  alignas(64) u32 bits[16] = {};
  for (u32 x = 0; x < Count; ++x)
    bits[x] = u32(p[x * step]);
  return loadV<V16u>(bits);
}

/// Planes of the fragments a (M x K) and b (K x N), each in rows.
template <MatrixType T, class E>
VITRIFY_INLINE void planeA(Tile &t, const E *a, u32 rowsLeft, u32 K, Seen &seen) {
  for (u32 k = 0; k < K; ++k) {
    V16f value;
    V16i exponent;
    decode<T>(rowsLeft >= 16 ? strided<16>(a + k, K) : strided<8>(a + k, K), value, exponent, seen);
    storeV(t.a[k], value);
    storeV(t.ea[k], exponent);
  }
}
template <MatrixType T, class E> VITRIFY_INLINE void planeB(Tile &t, const E *b, u32 N, u32 K, Seen &seen) {
  for (u32 k = 0; k < K; ++k) {
    V16f value;
    V16i exponent;
    decode<T>(strided<8>(b + k * N, 1), value, exponent, seen);
    __builtin_memcpy(t.b[k], &value, 32);
    __builtin_memcpy(t.eb[k], &exponent, 32);
  }
}

/// .satfinite: the largest finite number in place of an infinity, +0 in place of NaN.
VITRIFY_INLINE u32 finishFloat(float v, const MmaShape &s) {
  float most = s.halfD ? 65504.0f : std::numeric_limits<float>::max();
  if (s.satfinite)
    v = v != v ? 0.0f : v > most ? most : v < -most ? -most : v;
  return s.halfD ? floatToHalf(v) : std::bit_cast<u32>(canon(v));
}

/// d of M x N words from the flat fragments of bytes a and b and the words c.
VITRIFY_INLINE void wmmaInt(const MmaShape &s, const u8 *a, const u8 *b, const u32 *c, u32 *out) {
  auto value = [](MatrixType type, u8 x) { return type == MatrixType::S8 ? float(s8(x)) : float(x); };
  Tile t;
  for (u32 m0 = 0; m0 < s.m; m0 += 16) {
    for (u32 k = 0; k < s.k; ++k)
      for (u32 r = 0; r < 16; ++r)
        t.a[k][r] = m0 + r < s.m ? value(s.a, a[(m0 + r) * s.k + k]) : 0.0f;
    for (u32 n0 = 0; n0 < s.n; n0 += 8) {
      for (u32 k = 0; k < s.k; ++k)
        for (u32 n = 0; n < 8; ++n)
          t.b[k][n] = value(s.b, b[k * s.n + n0 + n]);
      for (u32 n = 0; n < 8; ++n) {
        alignas(64) s32 column[16] = {};
        for (u32 r = 0; r < 16 && m0 + r < s.m; ++r)
          column[r] = s32(c[(m0 + r) * s.n + n0 + n]);
        storeV(column, addInt(s, intColumn(t, n, s.k), loadV<V16i>(column)));
        for (u32 r = 0; r < 16 && m0 + r < s.m; ++r)
          out[(m0 + r) * s.n + n0 + n] = u32(column[r]);
      }
    }
  }
}

template <MatrixType T, class E, class C>
VITRIFY_INLINE void wmmaFloat(const Warp &w, const MmaShape &s, const E *a, const E *b, const C *c, u32 *out) {
  const u32 M = s.m, N = s.n, K = s.k;
  Tile t;
  for (u32 m0 = 0; m0 < M; m0 += 16) {
    Seen seenA;
    planeA<T>(t, a + m0 * K, M - m0, K, seenA);
    for (u32 n0 = 0; n0 < N; n0 += 8) {
      Seen seenB;
      planeB<T>(t, b + n0, N, K, seenB);
      judge(t, seenA, seenB);
      for (u32 r = 0; r < 16; ++r)
        for (u32 n = 0; n < 8; ++n)
          if constexpr (sizeof(C) == 2)
            t.c[n][r] = m0 + r < M ? halfToFloat(c[(m0 + r) * N + n0 + n]) : 0.0f;
          else
            t.c[n][r] = m0 + r < M ? std::bit_cast<float>(c[(m0 + r) * N + n0 + n]) : 0.0f;
      alignas(64) float result[8][16];
      sumTile(w, t, K, s.a, s.halfD, result);
      for (u32 r = 0; r < 16 && m0 + r < M; ++r)
        for (u32 n = 0; n < 8; ++n)
          out[(m0 + r) * N + n0 + n] = finishFloat(result[n][r], s);
    }
  }
}

void wmmaMma(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  // The element at `at` of a matrix of n x 32 elements is in lane at / n: the registers' elements in order are the matrix.
  alignas(64) u32 a[256], b[256], c[256], out[256];
  flatten(w, rc, s.cRegs, c);
  const u32 bytes = s.a == MatrixType::TF32 ? 4 : s.a == MatrixType::S8 || s.a == MatrixType::U8 ? 1 : 2;
  flatten(w, ra, s.m * s.k * bytes / 128, a);
  flatten(w, rb, s.k * s.n * bytes / 128, b);
  auto floats = [&]<MatrixType T, class E>(const E *x, const E *y) {
    s.halfC ? wmmaFloat<T>(w, s, x, y, reinterpret_cast<const u16 *>(c), out) : wmmaFloat<T>(w, s, x, y, c, out);
  };
  const u16 *a16 = reinterpret_cast<const u16 *>(a), *b16 = reinterpret_cast<const u16 *>(b);
  switch (s.a) {
  case MatrixType::S8:
  case MatrixType::U8: wmmaInt(s, reinterpret_cast<const u8 *>(a), reinterpret_cast<const u8 *>(b), c, out); break;
  case MatrixType::TF32: floats.operator()<MatrixType::TF32>(a, b); break;
  case MatrixType::BF16: floats.operator()<MatrixType::BF16>(a16, b16); break;
  default: floats.operator()<MatrixType::F16>(a16, b16); break;
  }
  const u32 each = u32(s.m) * s.n / 32;
  for (u32 e = 0; e < each; e += s.halfD ? 2 : 1)
    put<u32>(w, rows[s.halfD ? e / 2 : e], m, [&](u32 l) {
      const u32 *v = out + l * each + e;
      return s.halfD ? v[0] | v[1] << 16 : v[0];
    });
}

void wmmaDouble(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list; // d (2), a, b, c (2); 8 x 8 x 4
  const double *a = R<double>(w, rows[2]), *b = R<double>(w, rows[3]);
  alignas(64) double out[2][32];
  for (u32 at = 0; at < 64; ++at) {
    double sum = R<double>(w, rows[4 + at % 2])[at / 2];
    for (u32 k = 0; k < 4; ++k)
      sum = __builtin_fma(a[at / 8 * 4 + k], b[k * 8 + at % 8], sum);
    out[at % 2][at / 2] = sum;
  }
  for (u32 e = 0; e < 2; ++e)
    putEach<double>(w, rows[e], m, [&](u32 l) { return out[e][l]; });
}

constexpr OpEntry kOps[] = {
    {"ldmatrix.shared", &matrixMove<Area::Shared, false>}, {"ldmatrix.generic", &matrixMove<Area::Generic, false>},
    {"stmatrix.shared", &matrixMove<Area::Shared, true>}, {"stmatrix.generic", &matrixMove<Area::Generic, true>},
    {"movmatrix", &movmatrix},
    {"wmma.load.shared", &wmmaMove<Area::Shared, false>}, {"wmma.load.global", &wmmaMove<Area::Global, false>},
    {"wmma.load.generic", &wmmaMove<Area::Generic, false>}, {"wmma.store.shared", &wmmaMove<Area::Shared, true>},
    {"wmma.store.global", &wmmaMove<Area::Global, true>}, {"wmma.store.generic", &wmmaMove<Area::Generic, true>},
    {"wmma.mma", &wmmaMma}, {"wmma.mma.f64", &wmmaDouble},
};

} // namespace

OpList matrixMoreOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
