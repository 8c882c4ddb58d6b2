//===- Convert.cpp - cvt ----------------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Conversions between all types. aux is the rounding, aux2 the flags. A "fast."
// form does the common case without them. 8-bit integers live in 16-bit rows;
// rows wider than the type are narrowed or widened by moves that the decoder
// adds ("ext.").
//===----------------------------------------------------------------------===//
#include "Formats.h"
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

template <class T> using RowOf = std::conditional_t<sizeof(T) == 1, std::conditional_t<std::is_signed_v<T>, s16, u16>, T>;

// Integer to integer.
template <class D, class S> void intInt(Warp &w, const Inst &i, u32 m) {
  const RowOf<S> *a = R<RowOf<S>>(w, i.a);
  put<RowOf<D>>(w, i.d, m, [&](u32 l) { return RowOf<D>(D(S(a[l]))); });
}
template <class D, class S> void intIntSat(Warp &w, const Inst &i, u32 m) {
  const RowOf<S> *a = R<RowOf<S>>(w, i.a);
  put<RowOf<D>>(w, i.d, m, [&](u32 l) {
    S v = S(a[l]);
    using L = std::numeric_limits<D>;
    if constexpr (std::is_signed_v<S>) {
      s64 x = v;
      if constexpr (std::is_signed_v<D>)
        x = x < s64(L::min()) ? s64(L::min()) : x > s64(L::max()) ? s64(L::max()) : x;
      else
        x = x < 0 ? 0 : (sizeof(D) < 8 && x > s64(u64(L::max()) & INT64_MAX)) ? s64(u64(L::max()) & INT64_MAX) : x;
      return RowOf<D>(D(x));
    } else {
      u64 x = v;
      x = x > u64(L::max()) ? u64(L::max()) : x;
      return RowOf<D>(D(x));
    }
  });
}

// Sources and destinations that are floats.
struct SF16 {
  using Row = u16;
  static VITRIFY_INLINE double get(u16 x) { return halfToFloat(x); }
};
struct SBF16 {
  using Row = u16;
  static VITRIFY_INLINE double get(u16 x) { return bfToFloat(x); }
};
struct SF32 {
  using Row = float;
  static VITRIFY_INLINE double get(float x) { return x; }
};
struct SF64 {
  using Row = double;
  static VITRIFY_INLINE double get(double x) { return x; }
};

VITRIFY_INLINE double roundInt(double x, u8 mode) {
  switch (mode) {
  case RndRZI: case RndRZ: return std::trunc(x);
  case RndRMI: case RndRM: return std::floor(x);
  case RndRPI: case RndRP: return std::ceil(x);
  default: return std::nearbyint(x);
  }
}

template <class D, class S> void floatInt(Warp &w, const Inst &i, u32 m) {
  const typename S::Row *a = R<typename S::Row>(w, i.a);
  putEach<RowOf<D>>(w, i.d, m, [&](u32 l) -> RowOf<D> {
    double x = S::get(a[l]);
    using L = std::numeric_limits<D>;
    if (x != x)
      return RowOf<D>(std::is_same_v<S, SF64> || sizeof(D) == 8 ? D(u64(1) << (sizeof(D) * 8 - 1)) : D(0));
    if constexpr (std::is_same_v<S, SF32>)
      if (i.aux2 & CvtFtz)
        x = flush(float(x));
    x = roundInt(x, i.aux);
    double low = double(L::min()), high = std::ldexp(1.0, L::digits);
    return RowOf<D>(x < low ? L::min() : x >= high ? L::max() : D(x));
  });
}
template <class D> void f32IntFast(Warp &w, const Inst &i, u32 m) { // .rzi
  const float *a = R<float>(w, i.a);
  put<D>(w, i.d, m, [&](u32 l) -> D {
    float x = a[l];
    if constexpr (std::is_signed_v<D>) {
      float c = x >= -0x1p31f ? x : -0x1p31f;
      s32 r = s32(c < 0x1p31f ? c : 0.0f);
      return x != x ? 0 : x >= 0x1p31f ? INT32_MAX : r;
    } else {
      float c = x > 0 ? x : 0.0f;
      u32 r = u32(s64(c < 0x1p32f ? c : 0.0f));
      return x >= 0x1p32f ? UINT32_MAX : r;
    }
  });
}

VITRIFY_INLINE u8 plainMode(u8 mode) { return mode == RndNone ? u8(RndRN) : mode; }

template <class D> VITRIFY_INLINE void storeFloat(Warp &w, const Inst &i, u32 m, auto get) {
  if constexpr (std::is_same_v<D, SF64>)
    putEach<double>(w, i.d, m, [&](u32 l) { return get(l); });
  else if constexpr (std::is_same_v<D, SF32>)
    putEach<float>(w, i.d, m, [&](u32 l) {
      double x = get(l);
      if ((i.aux2 & CvtSat))
        x = x > 0 ? (x < 1 ? x : 1) : 0;
      float r = canon(std::bit_cast<float>(roundToFormat(x, kF32, Rounding(plainMode(i.aux)), false)));
      return (i.aux2 & CvtFtz) ? flush(r) : r;
    });
  else
    putEach<u16>(w, i.d, m, [&](u32 l) {
      constexpr Format f = std::is_same_v<D, SF16> ? kF16 : kBF16;
      double x = get(l);
      if (i.aux2 & CvtSat)
        x = x > 0 ? (x < 1 ? x : 1) : 0;
      if (i.aux2 & CvtRelu)
        x = x < 0 ? 0 : x;
      return u16(roundToFormat(x, f, Rounding(plainMode(i.aux)), i.aux2 & CvtSatfinite));
    });
}

template <class D, class S> void intFloat(Warp &w, const Inst &i, u32 m) {
  const RowOf<S> *a = R<RowOf<S>>(w, i.a);
  if constexpr (std::is_same_v<D, SF64>) {
    putEach<double>(w, i.d, m, [&](u32 l) {
      S v = S(a[l]);
      double d = double(v);
      if constexpr (sizeof(S) == 8) {
        long double gap = (long double)v - (long double)d;
        u8 mode = i.aux;
        if (gap > 0 && (mode == RndRP || (mode == RndRZ && v < 0)))
          d = std::nextafter(d, INFINITY);
        if (gap < 0 && (mode == RndRM || (mode == RndRZ && v > 0)))
          d = std::nextafter(d, -INFINITY);
      }
      return d;
    });
  } else {
    storeFloat<D>(w, i, m, [&](u32 l) {
      S v = S(a[l]);
      bool negative = v < 0;
      return oddDouble(negative ? 0 - u64(v) : u64(v), negative);
    });
  }
}
template <class S> void intF32Fast(Warp &w, const Inst &i, u32 m) { // .rn, 32 bits and less
  const RowOf<S> *a = R<RowOf<S>>(w, i.a);
  put<float>(w, i.d, m, [&](u32 l) { return float(S(a[l])); });
}

template <class D, class S> void floatFloat(Warp &w, const Inst &i, u32 m) {
  const typename S::Row *a = R<typename S::Row>(w, i.a);
  constexpr bool same = std::is_same_v<D, S>;
  storeFloat<D>(w, i, m, [&](u32 l) {
    double x = S::get(a[l]);
    if (std::is_same_v<S, SF32> && (i.aux2 & CvtFtz))
      x = flush(float(x));
    if ((same || i.aux >= RndRNI) && i.aux != RndNone)
      x = roundInt(x, i.aux);
    if (std::is_same_v<D, SF64> && (i.aux2 & CvtSat))
      x = x > 0 ? (x < 1 ? x : 1) : 0;
    return x;
  });
}
void f16F32Fast(Warp &w, const Inst &i, u32 m) {
  const u16 *a = R<u16>(w, i.a);
  put<float>(w, i.d, m, [&](u32 l) { return canon(halfToFloat(a[l])); });
}
void bf16F32Fast(Warp &w, const Inst &i, u32 m) {
  const u16 *a = R<u16>(w, i.a);
  put<float>(w, i.d, m, [&](u32 l) { return canon(bfToFloat(a[l])); });
}
void f32F16Fast(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a);
  put<u16>(w, i.d, m, [&](u32 l) { return floatToHalf(a[l]); });
}
void f32Bf16Fast(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a);
  put<u16>(w, i.d, m, [&](u32 l) { return floatToBf(a[l]); });
}
void f32F16x2Fast(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a), *b = R<float>(w, i.b);
  put<u32>(w, i.d, m, [&](u32 l) { return u32(floatToHalf(a[l])) << 16 | floatToHalf(b[l]); });
}
void f32Bf16x2Fast(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a), *b = R<float>(w, i.b);
  put<u32>(w, i.d, m, [&](u32 l) { return u32(floatToBf(a[l])) << 16 | floatToBf(b[l]); });
}
/// |x| in E4M3 with satfinite: scaled so that the f32 rounding position is E4M3's.
VITRIFY_INLINE u32 e4m3Bits(float x) {
  u32 b = std::bit_cast<u32>(x), sign = b >> 24 & 0x80, mag = b & 0x7fffffff;
  u32 normal = (mag + 0x7ffff + (mag >> 20 & 1) - (120u << 23)) >> 20;
  u32 small = std::bit_cast<u32>(std::bit_cast<float>(mag) + 0x1p14f) - std::bit_cast<u32>(0x1p14f);
  u32 r = mag < 0x3c800000u ? small : normal;
  r = mag >= 0x43e00000u ? 0x7eu : r;
  r = mag > 0x7f800000u ? 0x7fu : r | sign;
  return r;
}
void f32E4m3x2Fast(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a), *b = R<float>(w, i.b);
  put<u16>(w, i.d, m, [&](u32 l) { return u16(e4m3Bits(a[l]) << 8 | e4m3Bits(b[l])); });
}
void f16x2E4m3x2Fast(Warp &w, const Inst &i, u32 m) {
  const u32 *a = R<u32>(w, i.a);
  put<u16>(w, i.d, m, [&](u32 l) {
    return u16(e4m3Bits(halfToFloat(u16(a[l] >> 16))) << 8 | e4m3Bits(halfToFloat(u16(a[l]))));
  });
}

// Packed: two floats (a high, b low), or a pair, into a pair of small ones.
VITRIFY_INLINE u32 packOne(double x, const Format &f, const Inst &i) {
  if ((i.aux2 & CvtRelu))
    x = x < 0 ? 0 : x;
  return roundToFormat(x, f, Rounding(plainMode(i.aux)), i.aux2 & CvtSatfinite);
}
VITRIFY_INLINE u32 ue8m0(double x, const Inst &i) {
  if (x != x)
    return 0xff;
  x = std::fabs(x);
  if (std::isinf(x))
    return 0xfe;
  if (x <= 0x1p-127)
    return 0;
  int e;
  double f = std::frexp(x, &e); // x = f * 2^e, 0.5 <= f < 1
  int code = e - 1 + 127;
  if (i.aux == RndRP && f != 0.5)
    ++code;
  return u32(code > 254 ? 254 : code);
}
enum PackKind { P16, PBF, P43, P52, P21, PE8 };
template <int K> VITRIFY_INLINE u32 packHalf(double x, const Inst &i) {
  if constexpr (K == PE8)
    return ue8m0(x, i);
  constexpr Format f = K == P16 ? kF16 : K == PBF ? kBF16 : K == P43 ? kE4M3 : K == P52 ? kE5M2 : kE2M1;
  return packOne(x, f, i);
}
template <int K> constexpr int kHalfBits = K == P16 || K == PBF ? 16 : K == P21 ? 4 : 8;
template <int K> VITRIFY_INLINE void packStore(Warp &w, const Inst &i, u32 m, auto hi, auto lo) {
  auto f = [&](u32 l) { return packHalf<K>(hi(l), i) << kHalfBits<K> | packHalf<K>(lo(l), i); };
  if constexpr (kHalfBits<K> == 16)
    putEach<u32>(w, i.d, m, f);
  else
    putEach<u16>(w, i.d, m, [&](u32 l) { return u16(f(l)); });
}
template <int K> void packF32(Warp &w, const Inst &i, u32 m) {
  const float *a = R<float>(w, i.a), *b = R<float>(w, i.b);
  packStore<K>(w, i, m, [&](u32 l) { return double(a[l]); }, [&](u32 l) { return double(b[l]); });
}
template <int K> void packF16x2(Warp &w, const Inst &i, u32 m) {
  const u32 *a = R<u32>(w, i.a);
  packStore<K>(w, i, m, [&](u32 l) { return double(halfToFloat(u16(a[l] >> 16))); },
               [&](u32 l) { return double(halfToFloat(u16(a[l]))); });
}
template <int K> void packBf16x2(Warp &w, const Inst &i, u32 m) {
  const u32 *a = R<u32>(w, i.a);
  packStore<K>(w, i, m, [&](u32 l) { return double(bfToFloat(u16(a[l] >> 16))); },
               [&](u32 l) { return double(bfToFloat(u16(a[l]))); });
}
// Unpacked to f16x2 (or bf16x2).
template <int K> void unpackF16x2(Warp &w, const Inst &i, u32 m) {
  const u16 *a = R<u16>(w, i.a);
  constexpr Format f = K == P43 ? kE4M3 : K == P52 ? kE5M2 : kE2M1;
  constexpr u32 mask = (1u << kHalfBits<K>) - 1;
  putEach<u32>(w, i.d, m, [&](u32 l) {
    double hi = formatToDouble(a[l] >> kHalfBits<K> & mask, f), lo = formatToDouble(a[l] & mask, f);
    if (i.aux2 & CvtRelu)
      hi = hi < 0 ? 0 : hi, lo = lo < 0 ? 0 : lo;
    return roundToFormat(hi, kF16, RndRN, false) << 16 | roundToFormat(lo, kF16, RndRN, false);
  });
}
void unpackUe8m0(Warp &w, const Inst &i, u32 m) {
  const u16 *a = R<u16>(w, i.a);
  auto one = [](u32 code) { return code == 0xff ? 0x7fffu : code == 0 ? 0x0040u : code << 7; };
  putEach<u32>(w, i.d, m, [&](u32 l) { return one(a[l] >> 8) << 16 | one(a[l] & 0xff); });
}

void tf32(Warp &w, const Inst &i, u32 m) {
  const u32 *a = R<u32>(w, i.a);
  put<u32>(w, i.d, m, [&](u32 l) {
    u32 x = a[l], mag = x & 0x7fffffff;
    if (mag > 0x7f800000u)
      return 0x7fffffffu;
    if ((i.aux2 & CvtRelu) && (x >> 31))
      return 0u;
    u32 add = i.aux == RndRZ ? 0 : i.aux == RndRNA ? 0x1000u : 0xfffu + (x >> 13 & 1);
    u32 r = mag == 0x7f800000u ? mag : (mag + add) & ~0x1fffu;
    if ((i.aux2 & CvtSatfinite) && r >= 0x7f800000u)
      r = 0x7f7fe000u;
    return r | (x & 0x80000000u);
  });
}

// Rows wider or narrower than a type.
template <class D, class S> void ext(Warp &w, const Inst &i, u32 m) {
  const S *a = R<S>(w, i.a);
  put<D>(w, i.d, m, [&](u32 l) { return D(a[l]); });
}

#define II(d, D, s, S) {"cvt." d "." s, &intInt<D, S>}, { "cvt.sat." d "." s, &intIntSat<D, S> }
#define II_ALL(d, D)                                                                                                   \
  II(d, D, "u8", u8), II(d, D, "s8", s8), II(d, D, "u16", u16), II(d, D, "s16", s16), II(d, D, "u32", u32),            \
      II(d, D, "s32", s32), II(d, D, "u64", u64), II(d, D, "s64", s64)
#define FI(d, D)                                                                                                       \
  {"cvt." d ".f16", &floatInt<D, SF16>}, {"cvt." d ".bf16", &floatInt<D, SBF16>}, {"cvt." d ".f32", &floatInt<D, SF32>}, \
  {                                                                                                                    \
    "cvt." d ".f64", &floatInt<D, SF64>                                                                                \
  }
#define IF(d, D)                                                                                                       \
  {"cvt." d ".u8", &intFloat<D, u8>}, {"cvt." d ".s8", &intFloat<D, s8>}, {"cvt." d ".u16", &intFloat<D, u16>},        \
      {"cvt." d ".s16", &intFloat<D, s16>}, {"cvt." d ".u32", &intFloat<D, u32>}, {"cvt." d ".s32", &intFloat<D, s32>}, \
      {"cvt." d ".u64", &intFloat<D, u64>}, {                                                                          \
    "cvt." d ".s64", &intFloat<D, s64>                                                                                 \
  }
#define FF(d, D)                                                                                                       \
  {"cvt." d ".f16", &floatFloat<D, SF16>}, {"cvt." d ".bf16", &floatFloat<D, SBF16>},                                  \
      {"cvt." d ".f32", &floatFloat<D, SF32>}, {                                                                       \
    "cvt." d ".f64", &floatFloat<D, SF64>                                                                              \
  }
#define PACK(d, K) {"cvt." d ".f32", &packF32<K>}, {"cvt." d ".f16x2", &packF16x2<K>}, { "cvt." d ".bf16x2", &packBf16x2<K> }

constexpr OpEntry kOps[] = {
    II_ALL("u8", u8), II_ALL("s8", s8), II_ALL("u16", u16), II_ALL("s16", s16), II_ALL("u32", u32), II_ALL("s32", s32),
    II_ALL("u64", u64), II_ALL("s64", s64),
    FI("u8", u8), FI("s8", s8), FI("u16", u16), FI("s16", s16), FI("u32", u32), FI("s32", s32), FI("u64", u64),
    FI("s64", s64),
    IF("f16", SF16), IF("bf16", SBF16), IF("f32", SF32), IF("f64", SF64), FF("f16", SF16), FF("bf16", SBF16),
    FF("f32", SF32), FF("f64", SF64),
    {"cvt.f16x2.f32", &packF32<P16>}, {"cvt.bf16x2.f32", &packF32<PBF>}, PACK("e4m3x2", P43), PACK("e5m2x2", P52),
    PACK("e2m1x2", P21), {"cvt.ue8m0x2.f32", &packF32<PE8>}, {"cvt.ue8m0x2.bf16x2", &packBf16x2<PE8>},
    {"cvt.f16x2.e4m3x2", &unpackF16x2<P43>}, {"cvt.f16x2.e5m2x2", &unpackF16x2<P52>},
    {"cvt.f16x2.e2m1x2", &unpackF16x2<P21>}, {"cvt.bf16x2.ue8m0x2", &unpackUe8m0}, {"cvt.tf32.f32", &tf32},
    {"cvt.fast.s32.f32", &f32IntFast<s32>}, {"cvt.fast.u32.f32", &f32IntFast<u32>},
    {"cvt.fast.f32.s32", &intF32Fast<s32>}, {"cvt.fast.f32.u32", &intF32Fast<u32>},
    {"cvt.fast.f32.s16", &intF32Fast<s16>}, {"cvt.fast.f32.u16", &intF32Fast<u16>},
    {"cvt.fast.f32.s8", &intF32Fast<s8>}, {"cvt.fast.f32.u8", &intF32Fast<u8>},
    {"cvt.fast.f32.f16", &f16F32Fast}, {"cvt.fast.f32.bf16", &bf16F32Fast}, {"cvt.fast.f16.f32", &f32F16Fast},
    {"cvt.fast.bf16.f32", &f32Bf16Fast}, {"cvt.fast.f16x2.f32", &f32F16x2Fast},
    {"cvt.fast.bf16x2.f32", &f32Bf16x2Fast}, {"cvt.fast.e4m3x2.f32", &f32E4m3x2Fast},
    {"cvt.fast.e4m3x2.f16x2", &f16x2E4m3x2Fast},
    {"ext.u16.u32", &ext<u16, u32>}, {"ext.u16.u64", &ext<u16, u64>}, {"ext.u32.u64", &ext<u32, u64>},
    {"ext.u32.u16", &ext<u32, u16>}, {"ext.u64.u16", &ext<u64, u16>}, {"ext.u64.u32", &ext<u64, u32>},
    {"ext.s32.s16", &ext<s32, s16>}, {"ext.s64.s16", &ext<s64, s16>}, {"ext.s64.s32", &ext<s64, s32>},
};

} // namespace

OpList convertOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
