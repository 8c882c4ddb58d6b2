//===- Compare.cpp - setp and set -------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Comparisons of all types into predicates (setp) and into registers (set),
// combined with a predicate on request. aux: 0 none, 1 and, 2 or, 3 xor; aux2:
// the combined predicate is inverted; e: the second destination or ~0.
//===----------------------------------------------------------------------===//
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

typedef bool Bool32 __attribute__((ext_vector_type(32)));
template <class T> struct Vec {
  typedef T Type __attribute__((ext_vector_type(32)));
};

enum Cmp { EQ, NE, LT, LE, GT, GE, EQU, NEU, LTU, LEU, GTU, GEU, NUM, NAN_ };

template <class V> VITRIFY_INLINE u32 bits(V v) { return __builtin_bit_cast(u32, __builtin_convertvector(v, Bool32)); }

template <Cmp C, class T> VITRIFY_INLINE u32 compare(const T *pa, const T *pb) {
  using V = typename Vec<T>::Type;
  V a, b;
  __builtin_memcpy(&a, pa, sizeof(V));
  __builtin_memcpy(&b, pb, sizeof(V));
  if constexpr (C == EQ) return bits(a == b);
  if constexpr (C == NE) return std::is_floating_point_v<T> ? bits((a < b) | (a > b)) : bits(a != b);
  if constexpr (C == LT) return bits(a < b);
  if constexpr (C == LE) return bits(a <= b);
  if constexpr (C == GT) return bits(a > b);
  if constexpr (C == GE) return bits(a >= b);
  if constexpr (C == EQU) return ~bits((a < b) | (a > b));
  if constexpr (C == NEU) return bits(a != b);
  if constexpr (C == LTU) return ~bits(a >= b);
  if constexpr (C == LEU) return ~bits(a > b);
  if constexpr (C == GTU) return ~bits(a <= b);
  if constexpr (C == GEU) return ~bits(a < b);
  if constexpr (C == NUM) return bits((a == a) & (b == b));
  return ~bits((a == a) & (b == b));
}

struct HalfIn {
  using Raw = u16;
  static VITRIFY_INLINE float get(u16 x) { return halfToFloat(x); }
};
struct HalfFtzIn {
  using Raw = u16;
  static VITRIFY_INLINE float get(u16 x) { return halfToFloat((x & 0x7c00) ? x : x & 0x8000); }
};
struct BfIn {
  using Raw = u16;
  static VITRIFY_INLINE float get(u16 x) { return bfToFloat(x); }
};
struct FtzIn {
  using Raw = float;
  static VITRIFY_INLINE float get(float x) { return flush(x); }
};

template <Cmp C, class T> VITRIFY_INLINE u32 compareRows(Warp &w, u32 a, u32 b) { return compare<C, T>(R<T>(w, a), R<T>(w, b)); }
template <Cmp C, class In> VITRIFY_INLINE u32 compareVia(Warp &w, u32 ra, u32 rb) {
  const typename In::Raw *a = R<typename In::Raw>(w, ra), *b = R<typename In::Raw>(w, rb);
  alignas(64) float fa[32], fb[32];
  for (u32 l = 0; l < 32; ++l)
    fa[l] = In::get(a[l]), fb[l] = In::get(b[l]);
  return compare<C, float>(fa, fb);
}

VITRIFY_INLINE u32 combine(Warp &w, const Inst &i, u32 r) {
  if (!i.aux)
    return r;
  u32 c = pred(w, i.c);
  c = i.aux2 ? ~c : c;
  return i.aux == 1 ? r & c : i.aux == 2 ? r | c : r ^ c;
}
VITRIFY_INLINE void storePred(Warp &w, const Inst &i, u32 m, u32 r) {
  u32 p = combine(w, i, r), q = combine(w, i, ~r);
  if (i.d != ~0u)
    setPred(w, i.d, m, p);
  if (i.e != ~0u)
    setPred(w, i.e, m, q);
}
template <Cmp C, class T> void setp(Warp &w, const Inst &i, u32 m) { storePred(w, i, m, compareRows<C, T>(w, i.a, i.b)); }
template <Cmp C, class In> void setpVia(Warp &w, const Inst &i, u32 m) { storePred(w, i, m, compareVia<C, In>(w, i.a, i.b)); }

/// set: width gives the form of the result: 1 all ones or 0, 2 f32 1.0, 3 f16 1.0, 4 bf16 1.0, 5 16-bit integer.
VITRIFY_INLINE void storeSet(Warp &w, const Inst &i, u32 m, u32 r) {
  r = combine(w, i, r);
  if (i.width == 1)
    put<u32>(w, i.d, m, [&](u32 l) { return (r >> l & 1) ? ~0u : 0u; });
  else if (i.width == 2)
    put<u32>(w, i.d, m, [&](u32 l) { return (r >> l & 1) ? 0x3f800000u : 0u; });
  else
    put<u16>(w, i.d, m, [&](u32 l) {
      return (r >> l & 1) ? (i.width == 3 ? u16(0x3c00) : i.width == 4 ? u16(0x3f80) : u16(0xffff)) : u16(0);
    });
}
template <Cmp C, class T> void set(Warp &w, const Inst &i, u32 m) { storeSet(w, i, m, compareRows<C, T>(w, i.a, i.b)); }
template <Cmp C, class In> void setVia(Warp &w, const Inst &i, u32 m) { storeSet(w, i, m, compareVia<C, In>(w, i.a, i.b)); }

// f16x2 and bf16x2: setp gives one predicate a half (d and e); set gives ones or 1.0 in each half.
template <Cmp C, class In> VITRIFY_INLINE void compareHalves(Warp &w, const Inst &i, u32 &lo, u32 &hi) {
  const u32 *a = R<u32>(w, i.a), *b = R<u32>(w, i.b);
  alignas(64) float fa[32], fb[32], ga[32], gb[32];
  for (u32 l = 0; l < 32; ++l) {
    fa[l] = In::get(u16(a[l])), fb[l] = In::get(u16(b[l]));
    ga[l] = In::get(u16(a[l] >> 16)), gb[l] = In::get(u16(b[l] >> 16));
  }
  lo = combine(w, i, compare<C, float>(fa, fb));
  hi = combine(w, i, compare<C, float>(ga, gb));
}
template <Cmp C, class In> void setpX2(Warp &w, const Inst &i, u32 m) {
  u32 lo, hi;
  compareHalves<C, In>(w, i, lo, hi);
  if (i.d != ~0u)
    setPred(w, i.d, m, lo);
  if (i.e != ~0u)
    setPred(w, i.e, m, hi);
}
template <Cmp C, class In> void setX2(Warp &w, const Inst &i, u32 m) {
  u32 lo, hi;
  compareHalves<C, In>(w, i, lo, hi);
  u32 one = i.width == 1 ? 0xffff : i.width == 3 ? 0x3c00 : 0x3f80;
  put<u32>(w, i.d, m, [&](u32 l) { return ((lo >> l & 1) ? one : 0u) | ((hi >> l & 1) ? one << 16 : 0u); });
}

#define INT_CMP(name, C, S)                                                                                            \
  {"setp." name ".16", &setp<C, u16>}, {"setp." name ".32", &setp<C, u32>}, {"setp." name ".64", &setp<C, u64>},       \
      {"set." name ".16", &set<C, u16>}, {"set." name ".32", &set<C, u32>}, {                                          \
    "set." name ".64", &set<C, u64>                                                                                    \
  }
#define SIGN_CMP(name, C)                                                                                              \
  {"setp." name ".u16", &setp<C, u16>}, {"setp." name ".u32", &setp<C, u32>}, {"setp." name ".u64", &setp<C, u64>},    \
      {"setp." name ".s16", &setp<C, s16>}, {"setp." name ".s32", &setp<C, s32>}, {"setp." name ".s64", &setp<C, s64>}, \
      {"set." name ".u16", &set<C, u16>}, {"set." name ".u32", &set<C, u32>}, {"set." name ".u64", &set<C, u64>},      \
      {"set." name ".s16", &set<C, s16>}, {"set." name ".s32", &set<C, s32>}, {                                        \
    "set." name ".s64", &set<C, s64>                                                                                   \
  }
#define FLOAT_CMP(name, C)                                                                                             \
  {"setp." name ".f32", &setp<C, float>}, {"setp." name ".ftz.f32", &setpVia<C, FtzIn>},                               \
      {"setp." name ".f64", &setp<C, double>}, {"setp." name ".f16", &setpVia<C, HalfIn>},                             \
      {"setp." name ".ftz.f16", &setpVia<C, HalfFtzIn>}, {"setp." name ".bf16", &setpVia<C, BfIn>},                    \
      {"set." name ".f32", &set<C, float>}, {"set." name ".ftz.f32", &setVia<C, FtzIn>},                               \
      {"set." name ".f64", &set<C, double>}, {"set." name ".f16", &setVia<C, HalfIn>},                                 \
      {"set." name ".ftz.f16", &setVia<C, HalfFtzIn>}, {"set." name ".bf16", &setVia<C, BfIn>},                        \
      {"setp." name ".f16x2", &setpX2<C, HalfIn>}, {"setp." name ".ftz.f16x2", &setpX2<C, HalfFtzIn>},                 \
      {"setp." name ".bf16x2", &setpX2<C, BfIn>}, {"set." name ".f16x2", &setX2<C, HalfIn>},                           \
      {"set." name ".ftz.f16x2", &setX2<C, HalfFtzIn>}, {                                                              \
    "set." name ".bf16x2", &setX2<C, BfIn>                                                                             \
  }

constexpr OpEntry kOps[] = {
    INT_CMP("eq", EQ, u), INT_CMP("ne", NE, u), SIGN_CMP("lt", LT), SIGN_CMP("le", LE), SIGN_CMP("gt", GT),
    SIGN_CMP("ge", GE),
    FLOAT_CMP("eq", EQ), FLOAT_CMP("ne", NE), FLOAT_CMP("lt", LT), FLOAT_CMP("le", LE), FLOAT_CMP("gt", GT),
    FLOAT_CMP("ge", GE), FLOAT_CMP("equ", EQU), FLOAT_CMP("neu", NEU), FLOAT_CMP("ltu", LTU), FLOAT_CMP("leu", LEU),
    FLOAT_CMP("gtu", GTU), FLOAT_CMP("geu", GEU), FLOAT_CMP("num", NUM), FLOAT_CMP("nan", NAN_),
};

} // namespace

OpList compareOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
