//===- Float.cpp - f32 and f64 arithmetic -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// IEEE operations with PTX's .ftz, .sat, NaN rules and directed rounding. A
// directed f32 result comes from the exact sum as a pair of doubles; f64 uses
// the host's rounding mode.
//===----------------------------------------------------------------------===//
#include "Support.h"

#include <cfenv>

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

enum Round { RN, RZ, RM, RP };

/// s + e is the exact value with |e| <= ulp(s) / 2.
template <Round Mode> VITRIFY_INLINE float narrow(double s, double e) {
  float f = float(s);
  if constexpr (Mode == RN)
    return f;
  double back = f;
  // Sign of (f - exact): positive if f lies above.
  bool above = back > s || (back == s && e < 0), below = back < s || (back == s && e > 0);
  bool down = Mode == RM || (Mode == RZ && !std::signbit(s + e));
  bool finite = s - s == 0;
  u32 b = std::bit_cast<u32>(f);
  bool isInf = (b & 0x7fffffff) == 0x7f800000;
  if (down && above && finite)
    f = isInf ? std::numeric_limits<float>::max()
              : f == 0 ? std::bit_cast<float>(0x80000001u) : std::bit_cast<float>(b + ((b >> 31) ? 1u : ~0u));
  if (!down && below && finite)
    f = isInf ? -std::numeric_limits<float>::max()
              : f == 0 ? std::bit_cast<float>(0x00000001u) : std::bit_cast<float>(b + ((b >> 31) ? ~0u : 1u));
  return f;
}
VITRIFY_INLINE double sumError(double a, double b, double s) {
  double bb = s - a;
  return (a - (s - bb)) + (b - bb);
}
template <Round Mode> VITRIFY_INLINE float zeroSum(float r, bool exactZero, bool bothNegative) {
  // An exact zero sum is -0 when rounding down, unless both are +0.
  return Mode == RM && exactZero && !bothNegative ? -0.0f : r;
}

template <Round Mode> VITRIFY_INLINE float addR(float a, float b) {
  if constexpr (Mode == RN)
    return a + b;
  double s = double(a) + double(b);
  float r = narrow<Mode>(s, sumError(a, b, s));
  if (Mode == RM && s == 0 && !(a == 0 && b == 0 && !std::signbit(a) && !std::signbit(b)))
    r = -0.0f;
  return r;
}
template <Round Mode> VITRIFY_INLINE float mulR(float a, float b) {
  if constexpr (Mode == RN)
    return a * b;
  return narrow<Mode>(double(a) * double(b), 0);
}
template <Round Mode> VITRIFY_INLINE float fmaR(float a, float b, float c) {
  if constexpr (Mode == RN)
    return __builtin_fmaf(a, b, c);
  double p = double(a) * double(b);
  double s = p + double(c);
  float r = narrow<Mode>(s, sumError(p, c, s));
  if (Mode == RM && s == 0 && !(p == 0 && c == 0 && !std::signbit(p) && !std::signbit(c)))
    r = -0.0f;
  return r;
}
template <Round Mode> VITRIFY_INLINE float divR(float a, float b) {
  float q = a / b;
  if constexpr (Mode == RN)
    return q;
  if (!(q - q == 0) && (std::isinf(a) || b == 0 || q != q))
    return q;
  // The remainder's sign says on which side the exact quotient lies.
  double s = double(a) / double(b);
  double e = __builtin_fma(-s, double(b), double(a)) / double(b);
  return narrow<Mode>(s, e);
}
template <Round Mode> VITRIFY_INLINE float sqrtR(float a) {
  float q = __builtin_sqrtf(a);
  if constexpr (Mode == RN)
    return q;
  if (!(a > 0) || q - q != 0)
    return q;
  double s = __builtin_sqrt(double(a));
  // The remainder over 2 s: narrow() needs what is missing from s itself.
  return narrow<Mode>(s, __builtin_fma(-s, s, double(a)) / (2 * s));
}

template <Round Mode, bool Ftz, bool Sat> constexpr auto addF = [](float a, float b) -> float {
  return finish<Ftz, Sat>(addR<Mode>(input<Ftz>(a), input<Ftz>(b)));
};
template <Round Mode, bool Ftz, bool Sat> constexpr auto subF = [](float a, float b) -> float {
  return finish<Ftz, Sat>(addR<Mode>(input<Ftz>(a), -input<Ftz>(b)));
};
template <Round Mode, bool Ftz, bool Sat> constexpr auto mulF = [](float a, float b) -> float {
  return finish<Ftz, Sat>(mulR<Mode>(input<Ftz>(a), input<Ftz>(b)));
};
template <Round Mode, bool Ftz, bool Sat> constexpr auto fmaF = [](float a, float b, float c) -> float {
  return finish<Ftz, Sat>(fmaR<Mode>(input<Ftz>(a), input<Ftz>(b), input<Ftz>(c)));
};
template <Round Mode, bool Ftz> constexpr auto divF = [](float a, float b) -> float {
  return finish<Ftz, false>(divR<Mode>(input<Ftz>(a), input<Ftz>(b)));
};
template <Round Mode, bool Ftz> constexpr auto rcpF = [](float a) -> float {
  return finish<Ftz, false>(divR<Mode>(1.0f, input<Ftz>(a)));
};
template <Round Mode, bool Ftz> constexpr auto sqrtF = [](float a) -> float {
  return finish<Ftz, false>(sqrtR<Mode>(input<Ftz>(a)));
};

template <bool Max, bool Nan, bool XorSign> VITRIFY_INLINE float minMax(float a, float b) {
  u32 sign = (std::bit_cast<u32>(a) ^ std::bit_cast<u32>(b)) & 0x80000000u;
  if constexpr (XorSign)
    a = __builtin_fabsf(a), b = __builtin_fabsf(b);
  // -0 is smaller than +0.
  s32 ia = std::bit_cast<s32>(a);
  bool aFirst = Max ? (a > b || (a == b && ia >= 0)) : (a < b || (a == b && ia < 0));
  float r = aFirst ? a : b;
  bool an = a != a, bn = b != b;
  r = Nan ? (an || bn ? std::bit_cast<float>(0x7fffffffu) : r) : (an ? b : bn ? a : r);
  if constexpr (XorSign) // a NaN keeps its own sign
    r = std::bit_cast<float>((std::bit_cast<u32>(r) & 0x7fffffffu) | sign);
  return canon(r);
}
template <bool Max, bool Nan, bool XorSign, bool Ftz> constexpr auto minMaxF = [](float a, float b) -> float {
  return minMax<Max, Nan, XorSign>(input<Ftz>(a), input<Ftz>(b));
};
template <bool Max, bool Nan, bool Ftz> constexpr auto minMax3F = [](float a, float b, float c) -> float {
  return minMax<Max, Nan, false>(minMax<Max, Nan, false>(input<Ftz>(a), input<Ftz>(b)), input<Ftz>(c));
};
template <bool Max> constexpr auto minMaxD = [](double a, double b) -> double {
  if (a != a)
    return b;
  if (b != b)
    return a;
  bool aFirst = Max ? (a > b || (a == b && !std::signbit(a))) : (a < b || (a == b && std::signbit(a)));
  return aFirst ? a : b;
};

// f64. Directed modes are set around a loop that the compiler must not move: the values pass through volatile.
template <auto F, Round Mode> void bin64(Warp &w, const Inst &i, u32 m) {
  const double *a = R<double>(w, i.a), *b = R<double>(w, i.b);
  if constexpr (Mode == RN) {
    put<double>(w, i.d, m, [&](u32 l) { return F(a[l], b[l], 0.0); });
  } else {
    std::fesetround(Mode == RZ ? FE_TOWARDZERO : Mode == RM ? FE_DOWNWARD : FE_UPWARD);
    putEach<double>(w, i.d, m, [&](u32 l) {
      volatile double x = a[l], y = b[l];
      volatile double r = F(x, y, 0.0);
      return r;
    });
    std::fesetround(FE_TONEAREST);
  }
}
template <Round Mode> void fma64(Warp &w, const Inst &i, u32 m) {
  const double *a = R<double>(w, i.a), *b = R<double>(w, i.b), *c = R<double>(w, i.c);
  if constexpr (Mode == RN) {
    put<double>(w, i.d, m, [&](u32 l) { return __builtin_fma(a[l], b[l], c[l]); });
  } else {
    std::fesetround(Mode == RZ ? FE_TOWARDZERO : Mode == RM ? FE_DOWNWARD : FE_UPWARD);
    putEach<double>(w, i.d, m, [&](u32 l) {
      volatile double x = a[l], y = b[l], z = c[l];
      volatile double r = std::fma(x, y, z);
      return r;
    });
    std::fesetround(FE_TONEAREST);
  }
}
constexpr auto add64 = [](double a, double b, double) { return a + b; };
constexpr auto sub64 = [](double a, double b, double) { return a - b; };
constexpr auto mul64 = [](double a, double b, double) { return a * b; };
constexpr auto div64 = [](double a, double b, double) { return a / b; };
constexpr auto rcp64 = [](double a, double, double) { return 1.0 / a; };
constexpr auto sqrt64 = [](double a, double, double) { return __builtin_sqrt(a); };

template <bool Ftz> constexpr auto absF = [](float a) -> float { return __builtin_fabsf(input<Ftz>(a)); };
template <bool Ftz> constexpr auto negF = [](float a) -> float { return -input<Ftz>(a); };
constexpr auto copysignF = [](u32 a, u32 b) -> u32 { return (a & 0x80000000u) | (b & 0x7fffffffu); };
constexpr auto copysignD = [](u64 a, u64 b) -> u64 { return (a & (u64(1) << 63)) | (b & ~(u64(1) << 63)); };

/// Two floats in a 64-bit register.
template <auto F> constexpr auto floats2 = [](u64 a, u64 b) -> u64 {
  auto at = [](u64 v, int k) { return std::bit_cast<float>(u32(v >> 32 * k)); };
  return u64(std::bit_cast<u32>(F(at(a, 0), at(b, 0)))) | u64(std::bit_cast<u32>(F(at(a, 1), at(b, 1)))) << 32;
};
template <auto F> constexpr auto floats3 = [](u64 a, u64 b, u64 c) -> u64 {
  auto at = [](u64 v, int k) { return std::bit_cast<float>(u32(v >> 32 * k)); };
  return u64(std::bit_cast<u32>(F(at(a, 0), at(b, 0), at(c, 0)))) |
         u64(std::bit_cast<u32>(F(at(a, 1), at(b, 1), at(c, 1)))) << 32;
};

// testp
template <class T, class U, auto F> void testp(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a);
  u32 r = 0;
  for (u32 l = 0; l < 32; ++l)
    r |= u32(F(int(__builtin_fpclassify(FP_NAN, FP_INFINITE, FP_NORMAL, FP_SUBNORMAL, FP_ZERO, a[l])))) << l;
  setPred(w, i.d, m, r);
}
#define TESTP(type, T, U)                                                                                              \
  {"testp.finite." type, &testp<T, U, [](int c) { return c != FP_NAN && c != FP_INFINITE; }>},                         \
      {"testp.infinite." type, &testp<T, U, [](int c) { return c == FP_INFINITE; }>},                                  \
      {"testp.number." type, &testp<T, U, [](int c) { return c != FP_NAN; }>},                                         \
      {"testp.notanumber." type, &testp<T, U, [](int c) { return c == FP_NAN; }>},                                     \
      {"testp.normal." type, &testp<T, U, [](int c) { return c == FP_NORMAL; }>},                                      \
  {                                                                                                                    \
    "testp.subnormal." type, &testp<T, U, [](int c) { return c == FP_SUBNORMAL; }>                                     \
  }

#define F32_BIN(name, F, mode, M)                                                                                      \
  {name mode ".f32", &bin<float, float, float, F<M, false, false>>},                                                   \
      {name mode ".ftz.f32", &bin<float, float, float, F<M, true, false>>},                                            \
      {name mode ".sat.f32", &bin<float, float, float, F<M, false, true>>}, {                                          \
    name mode ".ftz.sat.f32", &bin<float, float, float, F<M, true, true>>                                              \
  }
#define F32_TRI(mode, M)                                                                                               \
  {"fma" mode ".f32", &tri<float, float, float, float, fmaF<M, false, false>>},                                        \
      {"fma" mode ".ftz.f32", &tri<float, float, float, float, fmaF<M, true, false>>},                                 \
      {"fma" mode ".sat.f32", &tri<float, float, float, float, fmaF<M, false, true>>}, {                               \
    "fma" mode ".ftz.sat.f32", &tri<float, float, float, float, fmaF<M, true, true>>                                   \
  }
#define F32X2_BIN(name, F, mode, M)                                                                                    \
  {name mode ".f32x2", &bin<u64, u64, u64, floats2<F<M, false, false>>>}, {                                            \
    name mode ".ftz.f32x2", &bin<u64, u64, u64, floats2<F<M, true, false>>>                                            \
  }
#define F32X2_MODE(mode, M)                                                                                            \
  F32X2_BIN("add", addF, mode, M), F32X2_BIN("sub", subF, mode, M), F32X2_BIN("mul", mulF, mode, M),                   \
      {"fma" mode ".f32x2", &tri<u64, u64, u64, u64, floats3<fmaF<M, false, false>>>}, {                               \
    "fma" mode ".ftz.f32x2", &tri<u64, u64, u64, u64, floats3<fmaF<M, true, false>>>                                   \
  }
#define F32_MODE(mode, M)                                                                                              \
  F32_BIN("add", addF, mode, M), F32_BIN("sub", subF, mode, M), F32_BIN("mul", mulF, mode, M), F32_TRI(mode, M),       \
      {"div" mode ".f32", &bin<float, float, float, divF<M, false>>},                                                  \
      {"div" mode ".ftz.f32", &bin<float, float, float, divF<M, true>>},                                               \
      {"rcp" mode ".f32", &un<float, float, rcpF<M, false>>}, {"rcp" mode ".ftz.f32", &un<float, float, rcpF<M, true>>}, \
      {"sqrt" mode ".f32", &un<float, float, sqrtF<M, false>>},                                                        \
      {"sqrt" mode ".ftz.f32", &un<float, float, sqrtF<M, true>>}, {"add" mode ".f64", &bin64<add64, M>},              \
      {"sub" mode ".f64", &bin64<sub64, M>}, {"mul" mode ".f64", &bin64<mul64, M>}, {"fma" mode ".f64", &fma64<M>},    \
      {"div" mode ".f64", &bin64<div64, M>}, {"rcp" mode ".f64", &bin64<rcp64, M>}, {                                  \
    "sqrt" mode ".f64", &bin64<sqrt64, M>                                                                              \
  }
#define MINMAX(name, Max)                                                                                              \
  {name ".f32", &bin<float, float, float, minMaxF<Max, false, false, false>>},                                         \
      {name ".ftz.f32", &bin<float, float, float, minMaxF<Max, false, false, true>>},                                  \
      {name ".nan.f32", &bin<float, float, float, minMaxF<Max, true, false, false>>},                                  \
      {name ".ftz.nan.f32", &bin<float, float, float, minMaxF<Max, true, false, true>>},                               \
      {name ".xorsign.f32", &bin<float, float, float, minMaxF<Max, false, true, false>>},                              \
      {name ".ftz.xorsign.f32", &bin<float, float, float, minMaxF<Max, false, true, true>>},                           \
      {name ".nan.xorsign.f32", &bin<float, float, float, minMaxF<Max, true, true, false>>},                           \
      {name ".ftz.nan.xorsign.f32", &bin<float, float, float, minMaxF<Max, true, true, true>>},                        \
      {name "3.f32", &tri<float, float, float, float, minMax3F<Max, false, false>>},                                   \
      {name "3.ftz.f32", &tri<float, float, float, float, minMax3F<Max, false, true>>},                                \
      {name "3.nan.f32", &tri<float, float, float, float, minMax3F<Max, true, false>>},                                \
      {name "3.ftz.nan.f32", &tri<float, float, float, float, minMax3F<Max, true, true>>}, {                           \
    name ".f64", &bin<double, double, double, minMaxD<Max>>                                                            \
  }

constexpr OpEntry kOps[] = {
    F32_MODE("", RN), F32_MODE(".rz", RZ), F32_MODE(".rm", RM), F32_MODE(".rp", RP), F32X2_MODE("", RN),
    F32X2_MODE(".rz", RZ), F32X2_MODE(".rm", RM), F32X2_MODE(".rp", RP), MINMAX("min", false),
    MINMAX("max", true),
    {"abs.f32", &un<float, float, absF<false>>}, {"abs.ftz.f32", &un<float, float, absF<true>>},
    {"neg.f32", &un<float, float, negF<false>>}, {"neg.ftz.f32", &un<float, float, negF<true>>},
    {"abs.f64", &un<u64, u64, [](u64 a) -> u64 { return a & ~(u64(1) << 63); }>},
    {"neg.f64", &un<u64, u64, [](u64 a) -> u64 { return a ^ (u64(1) << 63); }>},
    {"copysign.f32", &bin<u32, u32, u32, copysignF>}, {"copysign.f64", &bin<u64, u64, u64, copysignD>},
    TESTP("f32", float, u32), TESTP("f64", double, u64),
};

} // namespace

OpList floatOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
