//===- Half.cpp - f16, bf16 and their pairs ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One rounding each. Sums and products of two 16-bit floats are exact or
// rounded harmlessly in f32; fused ones go through a double that is rounded to
// odd, so that the second rounding is right.
//===----------------------------------------------------------------------===//
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

struct F16 {
  static VITRIFY_INLINE float get(u16 x) { return halfToFloat(x); }
  static VITRIFY_INLINE u16 make(float f) { return floatToHalf(f); }
};
struct B16 {
  static VITRIFY_INLINE float get(u16 x) { return bfToFloat(x); }
  static VITRIFY_INLINE u16 make(float f) { return floatToBf(f); }
};

/// The exact a * b + c as an f32 rounded to odd: rounding it again to 16 bits gives the right result.
VITRIFY_INLINE float fmaOdd(float a, float b, float c) {
  double p = double(a) * double(b); // exact: 22 bits
  double s = p + double(c);
  double bb = s - p;
  double e = (p - (s - bb)) + (double(c) - bb);
  u64 sb = std::bit_cast<u64>(s);
  // Round the double to odd, then the double to an f32 to odd.
  if (e != 0 && !(sb & 1) && s - s == 0)
    sb += ((e > 0) == (s > 0)) ? 1 : ~u64(0);
  double odd = std::bit_cast<double>(sb);
  float f = float(odd);
  u32 fb = std::bit_cast<u32>(f);
  double back = f;
  if (back != odd && odd - odd == 0) {
    // Toward zero, then set the last bit.
    if (std::fabs(back) > std::fabs(odd))
      fb -= 1;
    fb |= 1;
  }
  return std::bit_cast<float>(fb);
}

enum { Plain = 0, Ftz = 1, Sat = 2, Relu = 4 };

template <class T> VITRIFY_INLINE u16 flush16(u16 x);
template <> VITRIFY_INLINE u16 flush16<F16>(u16 x) { return (x & 0x7c00) ? x : x & 0x8000; }
template <> VITRIFY_INLINE u16 flush16<B16>(u16 x) { return (x & 0x7f80) ? x : x & 0x8000; }

template <class T, int Mode> VITRIFY_INLINE float in(u16 x) { return T::get(Mode & Ftz ? flush16<T>(x) : x); }
template <class T, int Mode> VITRIFY_INLINE u16 out(float f) {
  if constexpr (Mode & Sat)
    f = clamp01(f);
  if constexpr (Mode & Relu)
    f = f < 0 ? 0.0f : f;
  u16 r = T::make(f);
  return Mode & Ftz ? flush16<T>(r) : r;
}

template <class T, int M> constexpr auto add = [](u16 a, u16 b) -> u16 { return out<T, M>(in<T, M>(a) + in<T, M>(b)); };
template <class T, int M> constexpr auto sub = [](u16 a, u16 b) -> u16 { return out<T, M>(in<T, M>(a) - in<T, M>(b)); };
// A bf16 product has 16 bits and may be subnormal in f32: round to odd as in fma.
template <class T, int M> constexpr auto mul = [](u16 a, u16 b) -> u16 {
  float x = in<T, M>(a), y = in<T, M>(b);
  if constexpr (std::is_same_v<T, B16>) {
    double p = double(x) * double(y);
    float f = float(p);
    if (double(f) != p && p - p == 0) {
      u32 fb = std::bit_cast<u32>(f);
      if (std::fabs(double(f)) > std::fabs(p))
        fb -= 1;
      f = std::bit_cast<float>(fb | 1);
    }
    return out<T, M>(f);
  }
  return out<T, M>(x * y);
};
template <class T, int M> constexpr auto fma = [](u16 a, u16 b, u16 c) -> u16 {
  float x = in<T, M>(a), y = in<T, M>(b), z = in<T, M>(c);
  return out<T, M>(fmaOdd(x, y, z));
};
template <class T, int M> constexpr auto neg = [](u16 a) -> u16 { return u16((M & Ftz ? flush16<T>(a) : a) ^ 0x8000); };
template <class T, int M> constexpr auto absolute = [](u16 a) -> u16 { return u16((M & Ftz ? flush16<T>(a) : a) & 0x7fff); };

template <class T, bool Max, bool Nan, bool Xor, int M> VITRIFY_INLINE u16 minMax(u16 a, u16 b) {
  if constexpr (M & Ftz)
    a = flush16<T>(a), b = flush16<T>(b);
  u16 sign = u16((a ^ b) & 0x8000);
  if constexpr (Xor)
    a &= 0x7fff, b &= 0x7fff;
  float x = T::get(a), y = T::get(b);
  bool aFirst = Max ? (x > y || (x == y && !(a & 0x8000))) : (x < y || (x == y && (a & 0x8000)));
  u16 r = aFirst ? a : b;
  bool an = x != x, bn = y != y;
  r = Nan ? (an || bn ? u16(0x7fff) : r) : (an ? (bn ? u16(0x7fff) : b) : bn ? a : r);
  if constexpr (Xor) // a NaN keeps its own sign
    r = (an && bn) || (Nan && (an || bn)) ? r : u16((r & 0x7fff) | sign);
  return r;
}
template <class T, bool Max, bool Nan, bool Xor, int M> constexpr auto minMaxOf = [](u16 a, u16 b) -> u16 {
  return minMax<T, Max, Nan, Xor, M>(a, b);
};

template <auto F> constexpr auto pair1 = [](u32 a) -> u32 { return u32(F(u16(a))) | u32(F(u16(a >> 16))) << 16; };
template <auto F> constexpr auto pair2 = [](u32 a, u32 b) -> u32 {
  return u32(F(u16(a), u16(b))) | u32(F(u16(a >> 16), u16(b >> 16))) << 16;
};
template <auto F> constexpr auto pair3 = [](u32 a, u32 b, u32 c) -> u32 {
  return u32(F(u16(a), u16(b), u16(c))) | u32(F(u16(a >> 16), u16(b >> 16), u16(c >> 16))) << 16;
};

#define ONE(key, type, F) {key type, &un<u16, u16, F>}, { key type "x2", &un<u32, u32, pair1<F>> }
#define TWO(key, type, F) {key type, &bin<u16, u16, u16, F>}, { key type "x2", &bin<u32, u32, u32, pair2<F>> }
#define THREE(key, type, F) {key type, &tri<u16, u16, u16, u16, F>}, { key type "x2", &tri<u32, u32, u32, u32, pair3<F>> }
#define ARITH(type, T)                                                                                                 \
  TWO("add.", type, (add<T, Plain>)), TWO("sub.", type, (sub<T, Plain>)), TWO("mul.", type, (mul<T, Plain>)),          \
      THREE("fma.", type, (fma<T, Plain>)), THREE("fma.relu.", type, (fma<T, Relu>)),                                  \
      ONE("neg.", type, (neg<T, Plain>)), ONE("abs.", type, (absolute<T, Plain>))
// bf16 has neither .ftz nor .sat.
#define ARITH_FTZ_SAT(type, T)                                                                                         \
  TWO("add.ftz.", type, (add<T, Ftz>)), TWO("add.sat.", type, (add<T, Sat>)),                                          \
      TWO("add.ftz.sat.", type, (add<T, Ftz | Sat>)), TWO("sub.ftz.", type, (sub<T, Ftz>)),                            \
      TWO("sub.sat.", type, (sub<T, Sat>)), TWO("sub.ftz.sat.", type, (sub<T, Ftz | Sat>)),                            \
      TWO("mul.ftz.", type, (mul<T, Ftz>)), TWO("mul.sat.", type, (mul<T, Sat>)),                                      \
      TWO("mul.ftz.sat.", type, (mul<T, Ftz | Sat>)), THREE("fma.ftz.", type, (fma<T, Ftz>)),                          \
      THREE("fma.sat.", type, (fma<T, Sat>)), THREE("fma.ftz.sat.", type, (fma<T, Ftz | Sat>)),                        \
      THREE("fma.ftz.relu.", type, (fma<T, Ftz | Relu>)), ONE("neg.ftz.", type, (neg<T, Ftz>)),                        \
      ONE("abs.ftz.", type, (absolute<T, Ftz>))
#define MINMAX_MODE(name, type, T, Max, Mode)                                                                          \
  TWO(name, type, (minMaxOf<T, Max, false, false, Mode>)), TWO(name "nan.", type, (minMaxOf<T, Max, true, false, Mode>)), \
      TWO(name "xorsign.", type, (minMaxOf<T, Max, false, true, Mode>)),                                               \
      TWO(name "nan.xorsign.", type, (minMaxOf<T, Max, true, true, Mode>))
#define MINMAX_OF(name, Max)                                                                                           \
  MINMAX_MODE(name ".", "f16", F16, Max, Plain), MINMAX_MODE(name ".ftz.", "f16", F16, Max, Ftz),                      \
      MINMAX_MODE(name ".", "bf16", B16, Max, Plain)

constexpr OpEntry kOps[] = {
    ARITH("f16", F16), ARITH("bf16", B16), ARITH_FTZ_SAT("f16", F16), MINMAX_OF("min", false), MINMAX_OF("max", true),
    // 16-bit integer pairs
    {"add.u16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { return u16(a + b); }>>},
    {"min.u16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { return a < b ? a : b; }>>},
    {"max.u16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { return a > b ? a : b; }>>},
    {"min.s16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { return s16(a) < s16(b) ? a : b; }>>},
    {"max.s16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { return s16(a) > s16(b) ? a : b; }>>},
    {"min.relu.s16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { s16 r = s16(a) < s16(b) ? s16(a) : s16(b); return u16(r > 0 ? r : 0); }>>},
    {"max.relu.s16x2", &bin<u32, u32, u32, pair2<[](u16 a, u16 b) -> u16 { s16 r = s16(a) > s16(b) ? s16(a) : s16(b); return u16(r > 0 ? r : 0); }>>},
};

} // namespace

OpList halfOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
