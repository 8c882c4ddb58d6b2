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

VITRIFY_INLINE u32 fragment(Warp &w, const u32 *rows, u32 at, u32 each, u32 bytes) {
  u32 l = at / each, e = at % each, perReg = 4 / bytes;
  u32 v = R<u32>(w, rows[e / perReg])[l] >> (8 * bytes * (e % perReg));
  return bytes == 4 ? v : v & ((1u << (8 * bytes)) - 1);
}

/// .satfinite: the largest finite number in place of an infinity, +0 in place of NaN.
VITRIFY_INLINE u32 finishFloat(float v, const MmaShape &s) {
  float most = s.halfD ? 65504.0f : std::numeric_limits<float>::max();
  if (s.satfinite)
    v = v != v ? 0.0f : v > most ? most : v < -most ? -most : v;
  return s.halfD ? floatToHalf(v) : std::bit_cast<u32>(canon(v));
}

void wmmaMma(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  u32 M = s.m, N = s.n, K = s.k, perA = M * K / 32, perB = K * N / 32, perC = M * N / 32;
  alignas(64) static thread_local u32 out[1024];
  if (s.a == MatrixType::S8 || s.a == MatrixType::U8) {
    for (u32 at = 0; at < M * N; ++at) {
      s64 sum = s32(fragment(w, rc, at, perC, 4));
      for (u32 k = 0; k < K; ++k) {
        u32 x = fragment(w, ra, at / N * K + k, perA, 1), y = fragment(w, rb, k * N + at % N, perB, 1);
        sum += s64(s.a == MatrixType::S8 ? s32(s8(x)) : s32(x)) * (s.b == MatrixType::S8 ? s32(s8(y)) : s32(y));
      }
      if (s.satfinite)
        sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      out[at] = u32(u64(sum));
    }
  } else {
    u32 bytes = s.a == MatrixType::TF32 ? 4 : 2;
    for (u32 m0 = 0; m0 < M; m0 += 16)
      for (u32 n0 = 0; n0 < N; n0 += 8) {
        Tile t;
        Seen seenA, seenB;
        withType(s.a, [&]<MatrixType T>() {
          for (u32 k = 0; k < K; ++k) {
            V16u bits = {};
            V16f value;
            V16i exponent;
            for (u32 r = 0; r < 16 && m0 + r < M; ++r)
              bits[r] = fragment(w, ra, (m0 + r) * K + k, perA, bytes);
            decode<T>(bits, value, exponent, seenA);
            storeV(t.a[k], value);
            storeV(t.ea[k], exponent);
            bits = V16u{};
            for (u32 c = 0; c < 8; ++c)
              bits[c] = fragment(w, rb, k * N + n0 + c, perB, bytes);
            decode<T>(bits, value, exponent, seenB);
            __builtin_memcpy(t.b[k], &value, 32);
            __builtin_memcpy(t.eb[k], &exponent, 32);
          }
        });
        judge(t, seenA, seenB);
        for (u32 r = 0; r < 16; ++r)
          for (u32 c = 0; c < 8; ++c) {
            u32 at = (m0 + r) * N + n0 + c;
            t.c[c][r] = m0 + r >= M ? 0
                        : s.halfC   ? halfToFloat(u16(fragment(w, rc, at, perC, 2)))
                                    : std::bit_cast<float>(fragment(w, rc, at, perC, 4));
          }
        float result[8][16];
        sumTile(w, t, K, s.a, s.halfD, result);
        for (u32 r = 0; r < 16 && m0 + r < M; ++r)
          for (u32 c = 0; c < 8; ++c)
            out[(m0 + r) * N + n0 + c] = finishFloat(result[c][r], s);
      }
  }
  for (u32 rest = m; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    for (u32 e = 0; e < perC; ++e) {
      u32 v = out[l * perC + e];
      if (s.halfD) {
        u32 &reg = R<u32>(w, rows[e / 2])[l];
        reg = e % 2 ? (reg & 0xffff) | v << 16 : (reg & 0xffff0000u) | v;
      } else {
        R<u32>(w, rows[e])[l] = v;
      }
    }
  }
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
