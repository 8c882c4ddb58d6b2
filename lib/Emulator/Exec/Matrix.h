//===- Matrix.h - decoding the operands of tensor cores ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Turns elements of every type into values and exponents, 16 at a time, for
// the tiles that mma.sync and wmma fill from their fragments.
//===----------------------------------------------------------------------===//
#pragma once

#include "../MatrixTile.h"
#include "../MmaShape.h"
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {

typedef float V16f __attribute__((vector_size(64)));
typedef s32 V16i __attribute__((vector_size(64)));
typedef u32 V16u __attribute__((vector_size(64)));
typedef u32 V32u __attribute__((vector_size(128)));
typedef double V8d __attribute__((vector_size(64)));
typedef double V16d __attribute__((vector_size(128)));
typedef s64 V16l __attribute__((vector_size(128)));
typedef u64 V16ul __attribute__((vector_size(128)));

template <class V, class T> VITRIFY_INLINE V loadV(const T *p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T> VITRIFY_INLINE void storeV(T *p, const V &v) { __builtin_memcpy(p, &v, sizeof v); }
template <class T> VITRIFY_INLINE bool anyOf(const T &mask) { return __builtin_reduce_or(mask) != 0; }

/// What has been seen of one operand, to tell tiles that the fast sum does not take.
struct Seen {
  V16i special = {}, low = V16i{} + 10000, high = V16i{} - 10000;
};

/// A float whose bits are `bits`; exponents stop at `emin`.
template <bool Range> VITRIFY_INLINE void decodeBits(V16u bits, s32 emin, V16f &value, V16i &exponent, Seen &seen) {
  V16i field = V16i(bits >> 23 & 0xff);
  V16i e = field - 127;
  e = e < emin ? V16i{} + emin : e;
  V16i special = field == 255, none = special | V16i((bits << 1) == 0);
  seen.special |= special;
  if constexpr (Range) {
    seen.low = (none | (e > seen.low)) != 0 ? seen.low : e;
    seen.high = (none | (e < seen.high)) != 0 ? seen.high : e;
  }
  value = V16f(bits);
  exponent = none != 0 ? V16i{} + kNoExponent : e;
}

/// Elements in the low bits of 16 words; bits above the element are ignored.
template <MatrixType T> VITRIFY_INLINE void decode(V16u bits, V16f &value, V16i &exponent, Seen &seen) {
  if constexpr (T == MatrixType::F16 || T == MatrixType::E5M2) {
    if constexpr (T == MatrixType::E5M2)
      bits <<= 8;
    V16u sign = (bits & 0x8000) << 16, m = bits & 0x7fff;
    V16u normal = (m << 13) + (112u << 23);
    // A subnormal is what its bits add to 2^-14.
    V16f two14 = V16f{} + 0x1p-14f;
    V16u small = V16u(V16f((m << 13) + (113u << 23)) - two14);
    V16u large = (m << 13) + (224u << 23);
    V16u magnitude = m < 0x400 ? small : m >= 0x7c00 ? large : normal;
    decodeBits<false>(sign | magnitude, -14, value, exponent, seen);
  } else if constexpr (T == MatrixType::BF16) {
    decodeBits<true>(bits << 16, -126, value, exponent, seen);
  } else if constexpr (T == MatrixType::TF32) {
    decodeBits<true>(bits & ~0x1fffu, -126, value, exponent, seen);
  } else {
    static_assert(T == MatrixType::E4M3);
    V16u sign = (bits & 0x80) << 24, m = bits & 0x7f;
    V16f two6 = V16f{} + 0x1p-6f;
    V16u small = V16u(V16f((m << 20) + (121u << 23)) - two6);
    V16u magnitude = m < 8 ? small : m == 0x7f ? V16u{} + 0x7fc00000u : (m << 20) + (120u << 23);
    decodeBits<false>(sign | magnitude, -6, value, exponent, seen);
  }
}

/// Calls f.template operator()<type>() for an operand type.
template <class F> VITRIFY_INLINE void withType(MatrixType type, F f) {
  switch (type) {
  case MatrixType::F16: return f.template operator()<MatrixType::F16>();
  case MatrixType::BF16: return f.template operator()<MatrixType::BF16>();
  case MatrixType::TF32: return f.template operator()<MatrixType::TF32>();
  case MatrixType::E4M3: return f.template operator()<MatrixType::E4M3>();
  default: return f.template operator()<MatrixType::E5M2>();
  }
}

/// Sets the tile's flags from what was seen of its operands.
VITRIFY_INLINE void judge(Tile &t, const Seen &a, const Seen &b) {
  t.special = anyOf(a.special | b.special);
  // Exact products of floats and their scaled values stay within float: 2^-90 and 2^120 leave room for 24 bits.
  t.extreme = __builtin_reduce_max(a.high) + __builtin_reduce_max(b.high) > 120 ||
              __builtin_reduce_min(a.low) + __builtin_reduce_min(b.low) < -90;
}

/// The products of column n of a tile of integers, added up: exact while they stay below 2^24.
VITRIFY_INLINE V16i intColumn(const Tile &t, u32 n, u32 k) {
  V16f even = {}, odd = {};
  for (u32 x = 0; x < k; x += 2) {
    even += loadV<V16f>(t.a[x]) * t.b[x][n];
    odd += loadV<V16f>(t.a[x + 1]) * t.b[x + 1][n];
  }
  return __builtin_convertvector(even + odd, V16i);
}
/// sum + c, wrapping or at the limits of s32.
VITRIFY_INLINE V16i addInt(const MmaShape &s, V16i sum, V16i c) {
  V16i r = V16i(V16u(sum) + V16u(c));
  if (s.satfinite)
    r = ((c ^ r) & (sum ^ r)) < 0 ? (c >> 31) ^ INT32_MAX : r;
  return r;
}

/// out = a b + c over `k` products, by the chip's rule for the operand type (or plain f32 multiply-adds). With `half`
/// every group's result is rounded to f16.
void sumTile(const Warp &w, const Tile &t, u32 k, MatrixType type, bool half, float (&out)[8][16]);

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
