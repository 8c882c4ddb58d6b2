//===- Support.h - what the executors share ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Executors are compiled once for each CPU level (VITRIFY_ISA: base, v3, v4) in
// a namespace of its own. Every loop runs over 32 lanes so that the compiler
// turns it into two or four vector instructions. Standard headers are included
// before the target attribute is pushed: their code stays at the base level.
//===----------------------------------------------------------------------===//
#pragma once

#include "../Warp.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#ifndef VITRIFY_ISA
#define VITRIFY_ISA base
#endif

namespace vitrify::emulator {
struct OpEntry {
  const char *key;
  ExecFn exec;
};
struct OpList {
  const OpEntry *entries;
  unsigned count;
};
template <unsigned N> constexpr OpList listOf(const OpEntry (&entries)[N]) { return {entries, N}; }

/// One family of the instruction set at one CPU level.
#define VITRIFY_DECLARE_FAMILIES(isa)                                                                                  \
  namespace isa {                                                                                                      \
  OpList integerOps();                                                                                                 \
  OpList integerMoreOps();                                                                                             \
  OpList floatOps();                                                                                                   \
  OpList halfOps();                                                                                                    \
  OpList compareOps();                                                                                                 \
  OpList convertOps();                                                                                                 \
  OpList mathOps();                                                                                                    \
  OpList memoryOps();                                                                                                  \
  OpList atomicOps();                                                                                                  \
  OpList asyncOps();                                                                                                   \
  OpList warpOps();                                                                                                    \
  OpList matrixOps();                                                                                                  \
  OpList matrixMoreOps();                                                                                              \
  }
VITRIFY_DECLARE_FAMILIES(base)
VITRIFY_DECLARE_FAMILIES(v3)
VITRIFY_DECLARE_FAMILIES(v4)
} // namespace vitrify::emulator

#define VITRIFY_PRAGMA(x) _Pragma(#x)
#if defined(__clang__) && defined(__x86_64__) && defined(VITRIFY_ISA_V4)
#define VITRIFY_ISA_BEGIN                                                                                              \
  VITRIFY_PRAGMA(clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,cx16"))), apply_to = function))
#define VITRIFY_ISA_END VITRIFY_PRAGMA(clang attribute pop)
#elif defined(__clang__) && defined(__x86_64__) && defined(VITRIFY_ISA_V3)
#define VITRIFY_ISA_BEGIN                                                                                              \
  VITRIFY_PRAGMA(clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,cx16"))), apply_to = function))
#define VITRIFY_ISA_END VITRIFY_PRAGMA(clang attribute pop)
#else
#define VITRIFY_ISA_BEGIN
#define VITRIFY_ISA_END
#endif

#define VITRIFY_INLINE inline __attribute__((always_inline))

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;

template <class T> VITRIFY_INLINE T *R(Warp &w, u32 offset) { return reinterpret_cast<T *>(w.regs + offset); }

/// Writes f(lane) to the row at `d` for the lanes of `m`. Lanes that have exited may be overwritten.
template <class D, class F> VITRIFY_INLINE void put(Warp &w, u32 d, u32 m, F f) {
  D *out = R<D>(w, d);
  if (m == w.alive) {
#pragma clang loop vectorize(assume_safety) unroll(disable)
    for (u32 l = 0; l < 32; ++l)
      out[l] = f(l);
  } else {
    alignas(64) D t[32];
#pragma clang loop vectorize(assume_safety) unroll(disable)
    for (u32 l = 0; l < 32; ++l)
      t[l] = f(l);
#pragma clang loop vectorize(assume_safety) unroll(disable)
    for (u32 l = 0; l < 32; ++l)
      out[l] = (m >> l & 1) ? t[l] : out[l];
  }
}

/// The same for functions that are not cheap or not total: called for the lanes of `m` alone.
template <class D, class F> VITRIFY_INLINE void putEach(Warp &w, u32 d, u32 m, F f) {
  D *out = R<D>(w, d);
  for (u32 rest = m; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    out[l] = f(l);
  }
}

template <class D, class A, auto F> void un(Warp &w, const Inst &i, u32 m) {
  const A *a = R<A>(w, i.a);
  put<D>(w, i.d, m, [&](u32 l) { return F(a[l]); });
}
template <class D, class A, class B, auto F> void bin(Warp &w, const Inst &i, u32 m) {
  const A *a = R<A>(w, i.a);
  const B *b = R<B>(w, i.b);
  put<D>(w, i.d, m, [&](u32 l) { return F(a[l], b[l]); });
}
template <class D, class A, class B, class C, auto F> void tri(Warp &w, const Inst &i, u32 m) {
  const A *a = R<A>(w, i.a);
  const B *b = R<B>(w, i.b);
  const C *c = R<C>(w, i.c);
  put<D>(w, i.d, m, [&](u32 l) { return F(a[l], b[l], c[l]); });
}
template <class D, class A, auto F> void unEach(Warp &w, const Inst &i, u32 m) {
  const A *a = R<A>(w, i.a);
  putEach<D>(w, i.d, m, [&](u32 l) { return F(a[l]); });
}
template <class D, class A, class B, auto F> void binEach(Warp &w, const Inst &i, u32 m) {
  const A *a = R<A>(w, i.a);
  const B *b = R<B>(w, i.b);
  putEach<D>(w, i.d, m, [&](u32 l) { return F(a[l], b[l]); });
}
template <class D, class A, class B, class C, auto F> void triEach(Warp &w, const Inst &i, u32 m) {
  const A *a = R<A>(w, i.a);
  const B *b = R<B>(w, i.b);
  const C *c = R<C>(w, i.c);
  putEach<D>(w, i.d, m, [&](u32 l) { return F(a[l], b[l], c[l]); });
}

/// Predicates are masks.
VITRIFY_INLINE u32 pred(Warp &w, u32 offset) { return *R<u32>(w, offset); }
VITRIFY_INLINE void setPred(Warp &w, u32 offset, u32 m, u32 value) {
  u32 &p = *R<u32>(w, offset);
  p = (p & ~m) | (value & m);
}

VITRIFY_INLINE float canon(float r) { return r != r ? std::bit_cast<float>(0x7fffffffu) : r; }
VITRIFY_INLINE float flush(float x) {
  u32 b = std::bit_cast<u32>(x);
  return std::bit_cast<float>((b & 0x7f800000u) == 0 ? b & 0x80000000u : b);
}
VITRIFY_INLINE float clamp01(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

template <bool Ftz, bool Sat> VITRIFY_INLINE float finish(float r) {
  if constexpr (Ftz)
    r = flush(r);
  if constexpr (Sat)
    r = clamp01(r); // NaN becomes +0
  return canon(r);
}
template <bool Ftz> VITRIFY_INLINE float input(float x) {
  if constexpr (Ftz)
    return flush(x);
  return x;
}

VITRIFY_INLINE float halfToFloat(u16 h) {
  u32 sign = u32(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;
  u32 normal = sign | (exp + 112) << 23 | man << 13;
  u32 special = sign | 0x7f800000u | man << 13;
  // A subnormal half is its mantissa times 2^-24.
  u32 small = sign | std::bit_cast<u32>(float(s32(man)) * 0x1p-24f);
  return std::bit_cast<float>(exp == 0 ? small : exp == 31 ? special : normal);
}
/// Round to nearest even; NaN becomes 0x7fff.
VITRIFY_INLINE u16 floatToHalf(float f) {
  u32 x = std::bit_cast<u32>(f);
  u32 sign = x >> 16 & 0x8000;
  x &= 0x7fffffff;
  // Normal results: rebias and round; small ones by adding a magic number that aligns the last bit.
  u32 odd = x >> 13 & 1;
  u32 normal = (x - (112u << 23) + 0xfff + odd) >> 13;
  u32 small = std::bit_cast<u32>(std::bit_cast<float>(x) + 0.5f) - std::bit_cast<u32>(0.5f);
  u32 r = x >= 0x47800000u ? (x > 0x7f800000u ? 0x7fffu : 0x7c00u) : x < 0x38800000u ? small : normal;
  return u16(x > 0x7f800000u ? 0x7fffu : (r | sign));
}
VITRIFY_INLINE float bfToFloat(u16 b) { return std::bit_cast<float>(u32(b) << 16); }
/// Round to nearest even; NaN becomes 0x7fff.
VITRIFY_INLINE u16 floatToBf(float f) {
  u32 x = std::bit_cast<u32>(f);
  u32 r = (x + 0x7fff + (x >> 16 & 1)) >> 16;
  return u16((x & 0x7fffffff) > 0x7f800000u ? 0x7fffu : r);
}

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
