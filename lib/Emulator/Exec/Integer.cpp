//===- Integer.cpp - integer arithmetic and logic ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// add, sub, mul, mad, div, rem, min, max, logic, shifts and moves for 16, 32
// and 64 bits. PTX leaves division by zero unspecified: all ones, as hardware.
//===----------------------------------------------------------------------===//
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

template <class T> struct Wide;
template <> struct Wide<u16> { using Type = u32; };
template <> struct Wide<s16> { using Type = s32; };
template <> struct Wide<u32> { using Type = u64; };
template <> struct Wide<s32> { using Type = s64; };
template <> struct Wide<u64> { using Type = unsigned __int128; };
template <> struct Wide<s64> { using Type = __int128; };
template <class T> using WideT = typename Wide<T>::Type;

template <class T> constexpr auto add = [](T a, T b) -> T { return T(a + b); };
template <class T> constexpr auto sub = [](T a, T b) -> T { return T(a - b); };
template <class T> constexpr auto mulLo = [](T a, T b) -> T { return T(std::common_type_t<T, u32>(a) * std::common_type_t<T, u32>(b)); };
template <class T> constexpr auto mulHi = [](T a, T b) -> T { return T((WideT<T>(a) * WideT<T>(b)) >> (sizeof(T) * 8)); };
template <class T> constexpr auto mulWide = [](T a, T b) -> WideT<T> { return WideT<T>(a) * WideT<T>(b); };
template <class T> constexpr auto madLo = [](T a, T b, T c) -> T { return T(std::common_type_t<T, u32>(a) * std::common_type_t<T, u32>(b) + c); };
template <class T> constexpr auto madHi = [](T a, T b, T c) -> T { return T(std::make_unsigned_t<T>(mulHi<T>(a, b)) + std::make_unsigned_t<T>(c)); };
template <class T> constexpr auto madWide = [](T a, T b, WideT<T> c) -> WideT<T> {
  using U = std::make_unsigned_t<WideT<T>>;
  return WideT<T>(U(WideT<T>(a) * WideT<T>(b)) + U(c));
};
template <class T> constexpr auto div = [](T a, T b) -> T {
  if (b == 0)
    return T(-1);
  if constexpr (std::is_signed_v<T>)
    if (b == T(-1))
      return T(0 - std::make_unsigned_t<T>(a));
  return T(a / b);
};
template <class T> constexpr auto rem = [](T a, T b) -> T {
  if (b == 0)
    return a;
  if constexpr (std::is_signed_v<T>)
    if (b == T(-1))
      return 0;
  return T(a % b);
};
template <class T> constexpr auto absolute = [](T a) -> T { return a < 0 ? T(0 - std::make_unsigned_t<T>(a)) : a; };
template <class T> constexpr auto negate = [](T a) -> T { return T(0 - a); };
template <class T> constexpr auto minimum = [](T a, T b) -> T { return a < b ? a : b; };
template <class T> constexpr auto maximum = [](T a, T b) -> T { return a > b ? a : b; };
constexpr auto relu = [](s32 a) -> s32 { return a > 0 ? a : 0; };
template <class T> constexpr auto bitAnd = [](T a, T b) -> T { return T(a & b); };
template <class T> constexpr auto bitOr = [](T a, T b) -> T { return T(a | b); };
template <class T> constexpr auto bitXor = [](T a, T b) -> T { return T(a ^ b); };
template <class T> constexpr auto bitNot = [](T a) -> T { return T(~a); };
template <class T> constexpr auto cnot = [](T a) -> T { return T(a == 0); };
template <class T> constexpr auto shl = [](T a, u32 b) -> T { return b >= sizeof(T) * 8 ? T(0) : T(a << (b & (sizeof(T) * 8 - 1))); };
template <class T> constexpr auto shr = [](T a, u32 b) -> T {
  constexpr u32 bits = sizeof(T) * 8;
  if constexpr (std::is_signed_v<T>)
    return T(a >> (b >= bits ? bits - 1 : b));
  return b >= bits ? T(0) : T(a >> (b & (bits - 1)));
};
template <class T> constexpr auto move = [](T a) -> T { return a; };

constexpr auto addSat = [](s32 a, s32 b) -> s32 {
  s64 r = s64(a) + b;
  return s32(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
};
constexpr auto subSat = [](s32 a, s32 b) -> s32 {
  s64 r = s64(a) - b;
  return s32(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
};
constexpr auto madHiSat = [](s32 a, s32 b, s32 c) -> s32 {
  s64 r = ((s64(a) * b) >> 32) + c;
  return s32(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r);
};
template <class T> constexpr auto sad = [](T a, T b, T c) -> T {
  using U = std::make_unsigned_t<T>;
  return T(U(c) + (a < b ? U(b) - U(a) : U(a) - U(b)));
};

template <class T, auto F> void binT(Warp &w, const Inst &i, u32 m) { bin<T, T, T, F>(w, i, m); }

// Predicates: and, or, xor, not, mov on masks.
void predAnd(Warp &w, const Inst &i, u32 m) { setPred(w, i.d, m, pred(w, i.a) & pred(w, i.b)); }
void predOr(Warp &w, const Inst &i, u32 m) { setPred(w, i.d, m, pred(w, i.a) | pred(w, i.b)); }
void predXor(Warp &w, const Inst &i, u32 m) { setPred(w, i.d, m, pred(w, i.a) ^ pred(w, i.b)); }
void predNot(Warp &w, const Inst &i, u32 m) { setPred(w, i.d, m, ~pred(w, i.a)); }
void predMov(Warp &w, const Inst &i, u32 m) { setPred(w, i.d, m, pred(w, i.a)); }

struct Pair128 { u64 lo, hi; };
void mov128(Warp &w, const Inst &i, u32 m) {
  const Pair128 *a = R<Pair128>(w, i.a);
  putEach<Pair128>(w, i.d, m, [&](u32 l) { return a[l]; });
}

template <class T> void selp(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a), *b = R<T>(w, i.b);
  u32 p = pred(w, i.c);
  put<T>(w, i.d, m, [&](u32 l) { return (p >> l & 1) ? a[l] : b[l]; });
}
template <class T> void slctS32(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a), *b = R<T>(w, i.b);
  const s32 *c = R<s32>(w, i.c);
  put<T>(w, i.d, m, [&](u32 l) { return c[l] >= 0 ? a[l] : b[l]; });
}
template <class T, bool Ftz> void slctF32(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a), *b = R<T>(w, i.b);
  const float *c = R<float>(w, i.c);
  put<T>(w, i.d, m, [&](u32 l) { return input<Ftz>(c[l]) >= 0.0f ? a[l] : b[l]; });
}

#define WIDTHS(name, F)                                                                                                \
  {name ".16", &binT<u16, F<u16>>}, {name ".32", &binT<u32, F<u32>>}, { name ".64", &binT<u64, F<u64>> }
#define SIGNS(name, F)                                                                                                 \
  {name ".u16", &binT<u16, F<u16>>}, {name ".s16", &binT<s16, F<s16>>}, {name ".u32", &binT<u32, F<u32>>},             \
      {name ".s32", &binT<s32, F<s32>>}, {name ".u64", &binT<u64, F<u64>>}, { name ".s64", &binT<s64, F<s64>> }
#define SIGNS_EACH(name, F)                                                                                            \
  {name ".u16", &binEach<u16, u16, u16, F<u16>>}, {name ".s16", &binEach<s16, s16, s16, F<s16>>},                      \
      {name ".u32", &binEach<u32, u32, u32, F<u32>>}, {name ".s32", &binEach<s32, s32, s32, F<s32>>},                  \
      {name ".u64", &binEach<u64, u64, u64, F<u64>>}, { name ".s64", &binEach<s64, s64, s64, F<s64>> }
#define UNARY(name, F)                                                                                                 \
  {name ".16", &un<u16, u16, F<u16>>}, {name ".32", &un<u32, u32, F<u32>>}, { name ".64", &un<u64, u64, F<u64>> }

constexpr OpEntry kOps[] = {
    WIDTHS("add", add), WIDTHS("sub", sub), WIDTHS("mul.lo", mulLo),
    {"add.sat.s32", &binT<s32, addSat>}, {"sub.sat.s32", &binT<s32, subSat>},
    {"mad.hi.sat.s32", &tri<s32, s32, s32, s32, madHiSat>},
    SIGNS("mul.hi", mulHi),
    {"mul.wide.u16", &bin<u32, u16, u16, mulWide<u16>>}, {"mul.wide.s16", &bin<s32, s16, s16, mulWide<s16>>},
    {"mul.wide.u32", &bin<u64, u32, u32, mulWide<u32>>}, {"mul.wide.s32", &bin<s64, s32, s32, mulWide<s32>>},
    {"mad.lo.16", &tri<u16, u16, u16, u16, madLo<u16>>}, {"mad.lo.32", &tri<u32, u32, u32, u32, madLo<u32>>},
    {"mad.lo.64", &tri<u64, u64, u64, u64, madLo<u64>>},
    {"mad.hi.u16", &tri<u16, u16, u16, u16, madHi<u16>>}, {"mad.hi.s16", &tri<s16, s16, s16, s16, madHi<s16>>},
    {"mad.hi.u32", &tri<u32, u32, u32, u32, madHi<u32>>}, {"mad.hi.s32", &tri<s32, s32, s32, s32, madHi<s32>>},
    {"mad.hi.u64", &tri<u64, u64, u64, u64, madHi<u64>>}, {"mad.hi.s64", &tri<s64, s64, s64, s64, madHi<s64>>},
    {"mad.wide.u16", &tri<u32, u16, u16, u32, madWide<u16>>}, {"mad.wide.s16", &tri<s32, s16, s16, s32, madWide<s16>>},
    {"mad.wide.u32", &tri<u64, u32, u32, u64, madWide<u32>>}, {"mad.wide.s32", &tri<s64, s32, s32, s64, madWide<s32>>},
    SIGNS_EACH("div", div), SIGNS_EACH("rem", rem), SIGNS("min", minimum), SIGNS("max", maximum),
    {"abs.s16", &un<s16, s16, absolute<s16>>}, {"abs.s32", &un<s32, s32, absolute<s32>>},
    {"abs.s64", &un<s64, s64, absolute<s64>>},
    {"min.relu.s32", &binT<s32, [](s32 a, s32 b) -> s32 { return relu(a < b ? a : b); }>},
    {"max.relu.s32", &binT<s32, [](s32 a, s32 b) -> s32 { return relu(a > b ? a : b); }>},
    UNARY("neg", negate), UNARY("not", bitNot), UNARY("cnot", cnot), UNARY("mov", move),
    WIDTHS("and", bitAnd), WIDTHS("or", bitOr), WIDTHS("xor", bitXor),
    {"shl.16", &bin<u16, u16, u32, shl<u16>>}, {"shl.32", &bin<u32, u32, u32, shl<u32>>},
    {"shl.64", &bin<u64, u64, u32, shl<u64>>},
    {"shr.u16", &bin<u16, u16, u32, shr<u16>>}, {"shr.u32", &bin<u32, u32, u32, shr<u32>>},
    {"shr.u64", &bin<u64, u64, u32, shr<u64>>}, {"shr.s16", &bin<s16, s16, u32, shr<s16>>},
    {"shr.s32", &bin<s32, s32, u32, shr<s32>>}, {"shr.s64", &bin<s64, s64, u32, shr<s64>>},
    {"sad.u16", &tri<u16, u16, u16, u16, sad<u16>>}, {"sad.s16", &tri<s16, s16, s16, s16, sad<s16>>},
    {"sad.u32", &tri<u32, u32, u32, u32, sad<u32>>}, {"sad.s32", &tri<s32, s32, s32, s32, sad<s32>>},
    {"sad.u64", &tri<u64, u64, u64, u64, sad<u64>>}, {"sad.s64", &tri<s64, s64, s64, s64, sad<s64>>},
    {"and.pred", &predAnd}, {"or.pred", &predOr}, {"xor.pred", &predXor}, {"not.pred", &predNot},
    {"mov.pred", &predMov}, {"mov.128", &mov128},
    {"selp.16", &selp<u16>}, {"selp.32", &selp<u32>}, {"selp.64", &selp<u64>},
    {"slct.16.s32", &slctS32<u16>}, {"slct.32.s32", &slctS32<u32>}, {"slct.64.s32", &slctS32<u64>},
    {"slct.16.f32", &slctF32<u16, false>}, {"slct.32.f32", &slctF32<u32, false>}, {"slct.64.f32", &slctF32<u64, false>},
    {"slct.16.ftz.f32", &slctF32<u16, true>}, {"slct.32.ftz.f32", &slctF32<u32, true>},
    {"slct.64.ftz.f32", &slctF32<u64, true>},
};

} // namespace

OpList integerOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
