//===- Math.cpp - approximate functions -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// ex2, lg2, sin, cos, tanh, rcp, rsqrt, sqrt and div in their .approx forms.
// Results are the double's, rounded once: better than hardware's, and inside of
// the PTX ISA's bounds. Perturbation moves them within those bounds.
//===----------------------------------------------------------------------===//
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

/// 2^x for |x| < 1024: Taylor of 2^f, |f| <= 1/2, to an error below 2^-40.
VITRIFY_INLINE double exp2Poly(double x) {
  x = x < -1000 ? -1000 : x > 1000 ? 1000 : x;
  double n = x + 0x1.8p52;
  s64 i = std::bit_cast<s64>(n) - std::bit_cast<s64>(0x1.8p52);
  double f = (x - (n - 0x1.8p52)) * 0.693147180559945309417;
  double p = 1.0 / 39916800;
  p = p * f + 1.0 / 3628800;
  p = p * f + 1.0 / 362880;
  p = p * f + 1.0 / 40320;
  p = p * f + 1.0 / 5040;
  p = p * f + 1.0 / 720;
  p = p * f + 1.0 / 120;
  p = p * f + 1.0 / 24;
  p = p * f + 1.0 / 6;
  p = p * f + 0.5;
  p = p * f + 1;
  p = p * f + 1;
  return p * std::bit_cast<double>((i + 1023) << 52);
}
VITRIFY_INLINE double tanhPoly(double x) {
  double a = __builtin_fabs(x);
  double e = exp2Poly((a > 20 ? 20 : a) * 2.8853900817779268147); // e^(2a)
  double big = 1 - 2 / (e + 1);
  double s = a * a;
  double small = a * (1 + s * (-1.0 / 3 + s * (2.0 / 15 + s * (-17.0 / 315 + s * (62.0 / 2835)))));
  double r = a < 0.04 ? small : big;
  return x < 0 ? -r : r;
}

VITRIFY_INLINE u64 nextRandom(Warp &w) {
  u64 x = w.random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return w.random = x ? x : 0x9e3779b97f4a7c15;
}
/// A result before its rounding, moved by up to 0.9 of what the ISA's bounds leave beside that rounding (2^-24).
VITRIFY_INLINE float perturbed(Warp &w, double value, double relative, double absolute) {
  double r = double(s64(nextRandom(w))) * 0x1p-63 * 0.9;
  double room = std::fabs(value) * (relative - 0x1p-24 > 0 ? relative - 0x1p-24 : 0) + absolute;
  return std::isfinite(value) && value != 0 ? float(value + r * room) : float(value);
}

/// F maps a float (as a double) to a double; Rel and Abs are the ISA's bounds as tenths of powers of two (0: none).
template <auto F, bool Ftz, int Rel, int Abs, bool Each> void approxOf(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a);
  if (w.perturb) {
    double relative = Rel ? std::exp2(Rel / 10.0) : 0, absolute = Abs ? std::exp2(Abs / 10.0) * 0.5 : 0;
    putEach<float>(w, i.d, m, [&](u32 l) {
      return finish<Ftz, false>(perturbed(w, F(double(input<Ftz>(a[l]))), relative, absolute));
    });
  } else if constexpr (Each) {
    putEach<float>(w, i.d, m, [&](u32 l) { return finish<Ftz, false>(float(F(double(input<Ftz>(a[l]))))); });
  } else {
    put<float>(w, i.d, m, [&](u32 l) { return finish<Ftz, false>(float(F(double(input<Ftz>(a[l]))))); });
  }
}
template <auto F, bool Ftz, int Rel, int Abs> void approx(Warp &w, const Inst &i, u32 m) {
  approxOf<F, Ftz, Rel, Abs, false>(w, i, m);
}
template <auto F, bool Ftz, int Rel, int Abs> void approxEach(Warp &w, const Inst &i, u32 m) {
  approxOf<F, Ftz, Rel, Abs, true>(w, i, m);
}
constexpr auto ex2 = [](double x) { return x != x ? x : exp2Poly(x); };
constexpr auto rcp = [](double x) { return 1.0 / x; };
constexpr auto rsqrt = [](double x) { return 1.0 / __builtin_sqrt(x); };
constexpr auto sqrtOf = [](double x) { return __builtin_sqrt(x); };
constexpr auto tanhOf = [](double x) { return x != x ? x : tanhPoly(x); };
constexpr auto lg2 = [](double x) { return std::log2(x); };
constexpr auto sinOf = [](double x) { return std::sin(x); };
constexpr auto cosOf = [](double x) { return std::cos(x); };

template <bool Ftz, bool Full> void divApprox(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a), *b = R<float>(w, i.b);
  put<float>(w, i.d, m, [&](u32 l) {
    float x = input<Ftz>(a[l]), y = input<Ftz>(b[l]);
    float q = x / y;
    if constexpr (!Full) {
      // For 2^126 < |y| < 2^128 the quotient is 0, and NaN for an infinite x.
      float mag = __builtin_fabsf(y);
      bool large = mag > 0x1p126f && mag <= std::numeric_limits<float>::max();
      q = large ? (__builtin_fabsf(x) == std::numeric_limits<float>::infinity() ? std::bit_cast<float>(0x7fffffffu)
                                                                                 : q * 0.0f)
                : q;
    }
    return finish<Ftz, false>(q);
  });
  if (w.perturb) {
    float *d = R<float>(w, i.d);
    for (u32 rest = m; rest; rest &= rest - 1) // the quotient is rounded already: half of the bound is left
      d[std::countr_zero(rest)] = finish<Ftz, false>(perturbed(w, d[std::countr_zero(rest)], 0x1p-23, 0));
  }
}

// f64: rcp.approx.ftz and rsqrt.approx(.ftz) use the upper 32 bits only; ours are exact to the format.
VITRIFY_INLINE double flush64(double x) {
  u64 b = std::bit_cast<u64>(x);
  return (b >> 52 & 0x7ff) == 0 ? std::bit_cast<double>(b & (u64(1) << 63)) : x;
}
constexpr auto rcp64 = [](double x) -> double { return flush64(1.0 / flush64(x)); };
constexpr auto rsqrt64 = [](double x) -> double { return 1.0 / __builtin_sqrt(x); };
constexpr auto rsqrt64Ftz = [](double x) -> double { return flush64(1.0 / __builtin_sqrt(flush64(x))); };

// Halves.
template <auto F> constexpr auto half = [](u16 a) -> u16 { return floatToHalf(float(F(double(halfToFloat(a))))); };
template <auto F> constexpr auto brain = [](u16 a) -> u16 { return floatToBf(float(F(double(bfToFloat(a))))); };
template <auto F> constexpr auto brainFtz = [](u16 a) -> u16 {
  u16 r = floatToBf(float(F(double(bfToFloat((a & 0x7f80) ? a : a & 0x8000)))));
  return (r & 0x7f80) ? r : u16(r & 0x8000);
};
template <auto F> constexpr auto pair = [](u32 a) -> u32 { return u32(F(u16(a))) | u32(F(u16(a >> 16))) << 16; };

template <auto F> void halfOp(Warp &w, const Inst &i, u32 m) { un<u16, u16, F>(w, i, m); }
template <auto F> void pairOp(Warp &w, const Inst &i, u32 m) { un<u32, u32, pair<F>>(w, i, m); }

void clock32(Warp &w, const Inst &i, u32 m) {
  put<u32>(w, i.d, m, [&](u32) { return u32(w.ticks * 4); });
  ++w.ticks;
}
void clockHi(Warp &w, const Inst &i, u32 m) {
  put<u32>(w, i.d, m, [&](u32) { return u32(w.ticks * 4 >> 32); });
}
void clock64(Warp &w, const Inst &i, u32 m) {
  put<u64>(w, i.d, m, [&](u32) { return w.ticks * 4; });
  ++w.ticks;
}
// Time runs with the warp's instructions, a nanosecond for each: repeatable, never backwards.
void timer64(Warp &w, const Inst &i, u32 m) {
  put<u64>(w, i.d, m, [&](u32) { return w.ticks; });
  ++w.ticks;
}
void timerLo(Warp &w, const Inst &i, u32 m) {
  put<u32>(w, i.d, m, [&](u32) { return u32(w.ticks); });
  ++w.ticks;
}
void timerHi(Warp &w, const Inst &i, u32 m) {
  put<u32>(w, i.d, m, [&](u32) { return u32(w.ticks >> 32); });
}

#define APPROX(name, F, kind, Rel, Abs)                                                                                \
  {name ".approx.f32", &kind<F, false, Rel, Abs>}, { name ".approx.ftz.f32", &kind<F, true, Rel, Abs> }

constexpr OpEntry kOps[] = {
    APPROX("ex2", ex2, approx, -220, 0), APPROX("rcp", rcp, approx, -230, 0), APPROX("rsqrt", rsqrt, approx, -229, 0),
    APPROX("sqrt", sqrtOf, approx, -230, 0), {"tanh.approx.f32", &approx<tanhOf, false, -110, 0>},
    APPROX("lg2", lg2, approxEach, -220, 0), APPROX("sin", sinOf, approxEach, 0, -205),
    APPROX("cos", cosOf, approxEach, 0, -209),
    {"div.approx.f32", &divApprox<false, false>}, {"div.approx.ftz.f32", &divApprox<true, false>},
    {"div.full.f32", &divApprox<false, true>}, {"div.full.ftz.f32", &divApprox<true, true>},
    {"rcp.approx.ftz.f64", &un<double, double, rcp64>}, {"rsqrt.approx.f64", &un<double, double, rsqrt64>},
    {"rsqrt.approx.ftz.f64", &un<double, double, rsqrt64Ftz>},
    {"tanh.approx.f16", &halfOp<half<tanhOf>>}, {"tanh.approx.f16x2", &pairOp<half<tanhOf>>},
    {"tanh.approx.bf16", &halfOp<brain<tanhOf>>}, {"tanh.approx.bf16x2", &pairOp<brain<tanhOf>>},
    {"ex2.approx.f16", &halfOp<half<ex2>>}, {"ex2.approx.f16x2", &pairOp<half<ex2>>},
    {"ex2.approx.ftz.bf16", &halfOp<brainFtz<ex2>>}, {"ex2.approx.ftz.bf16x2", &pairOp<brainFtz<ex2>>},
    {"clock.32", &clock32}, {"clock.hi", &clockHi}, {"clock.64", &clock64}, {"timer.64", &timer64},
    {"timer.lo", &timerLo}, {"timer.hi", &timerHi},
};

} // namespace

OpList mathOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
