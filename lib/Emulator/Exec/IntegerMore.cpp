//===- IntegerMore.cpp - bits, bytes, carries -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// popc, clz, bfind, bfe, bfi, lop3, prmt, shf, dot products, extended-precision
// arithmetic, packing and unpacking, address windows.
//===----------------------------------------------------------------------===//
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

template <class T> constexpr auto popc = [](T a) -> u32 { return u32(std::popcount(a)); };
template <class T> constexpr auto clz = [](T a) -> u32 { return u32(std::countl_zero(a)); };
template <class T, bool Shift> constexpr auto bfind = [](T a) -> u32 {
  using U = std::make_unsigned_t<T>;
  U x = std::is_signed_v<T> && a < 0 ? U(~a) : U(a);
  if (x == 0)
    return ~0u;
  u32 at = u32(sizeof(T) * 8 - 1 - std::countl_zero(x));
  return Shift ? u32(sizeof(T) * 8 - 1) - at : at;
};
template <class T> constexpr auto brev = [](T a) -> T {
  if constexpr (sizeof(T) == 4)
    return __builtin_bitreverse32(a);
  return T(__builtin_bitreverse64(a));
};
template <class T> constexpr auto bfe = [](T a, u32 pos, u32 len) -> T {
  using U = std::make_unsigned_t<T>;
  constexpr u32 bits = sizeof(T) * 8;
  pos &= 0xff;
  len &= 0xff;
  if (len == 0)
    return 0;
  // The sign is the field's top bit, or the value's where the field passes its end.
  u32 top = pos + len - 1 < bits - 1 ? pos + len - 1 : bits - 1;
  bool sign = std::is_signed_v<T> && (U(a) >> top & 1);
  U field = pos >= bits ? U(0) : U(U(a) >> pos);
  if (len < bits) {
    U keep = U((U(1) << len) - 1);
    field = U((field & keep));
    u32 have = pos >= bits ? 0 : bits - pos; // bits that came from a
    if (sign) {
      U from = have < len ? (have >= bits ? U(0) : U(~U(0) << have)) : U(~keep);
      field |= from;
    }
  } else if (sign) {
    u32 have = pos >= bits ? 0 : bits - pos;
    field |= have >= bits ? U(0) : U(~U(0) << have);
  }
  return T(field);
};
template <class T> constexpr auto bfi = [](T a, T b, u32 pos, u32 len) -> T {
  constexpr u32 bits = sizeof(T) * 8;
  pos &= 0xff;
  len &= 0xff;
  if (len == 0 || pos >= bits)
    return b;
  T mask = len >= bits ? ~T(0) : T((T(1) << len) - 1);
  mask = T(mask << pos);
  return T((b & ~mask) | (T(a << pos) & mask));
};
template <class T> void bfiOp(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a), *b = R<T>(w, i.b);
  const u32 *c = R<u32>(w, i.c), *e = R<u32>(w, i.e);
  put<T>(w, i.d, m, [&](u32 l) { return bfi<T>(a[l], b[l], c[l], e[l]); });
}
void lop3(Warp &w, const Inst &i, u32 m) {
  const u32 *a = R<u32>(w, i.a), *b = R<u32>(w, i.b), *c = R<u32>(w, i.c);
  u32 t[8];
  for (u32 k = 0; k < 8; ++k)
    t[k] = (i.imm >> k & 1) ? ~0u : 0u;
  put<u32>(w, i.d, m, [&](u32 l) {
    u32 x = a[l], y = b[l], z = c[l];
    return (t[0] & ~x & ~y & ~z) | (t[1] & ~x & ~y & z) | (t[2] & ~x & y & ~z) | (t[3] & ~x & y & z) |
           (t[4] & x & ~y & ~z) | (t[5] & x & ~y & z) | (t[6] & x & y & ~z) | (t[7] & x & y & z);
  });
}
/// The second destination (b of the predicate pair is in the list): whether any bit is set, with the predicate.
template <bool And> void lop3Bool(Warp &w, const Inst &i, u32 m) {
  const u32 *list = w.program->lists.data() + i.list;
  u32 q = pred(w, list[1]) ^ (i.aux2 ? ~0u : 0u);
  lop3(w, i, m);
  const u32 *d = R<u32>(w, i.d);
  u32 any = 0;
  for (u32 l = 0; l < 32; ++l)
    any |= u32(d[l] != 0) << l;
  if (list[0] != ~0u)
    setPred(w, list[0], m, And ? any & q : any | q);
}
constexpr auto prmt = [](u32 a, u32 b, u32 c) -> u32 {
  u64 v = u64(b) << 32 | a;
  u32 r = 0;
  for (u32 k = 0; k < 4; ++k) {
    u32 s = c >> (4 * k) & 0xf;
    u32 byte = u32(v >> ((s & 7) * 8)) & 0xff;
    if (s & 8)
      byte = (byte & 0x80) ? 0xff : 0;
    r |= byte << (8 * k);
  }
  return r;
};
enum PrmtMode { F4E, B4E, RC8, ECL, ECR, RC16 };
template <PrmtMode Mode> constexpr auto prmtMode = [](u32 a, u32 b, u32 c) -> u32 {
  u64 v = u64(b) << 32 | a;
  u32 n = c & 3, r = 0;
  for (u32 k = 0; k < 4; ++k) {
    u32 s = Mode == F4E    ? n + k
            : Mode == B4E  ? (n - k) & 7
            : Mode == RC8  ? n
            : Mode == ECL  ? (k > n ? k : n)
            : Mode == ECR  ? (k < n ? k : n)
                           : (n & 1) * 2 + (k & 1);
    r |= (u32(v >> ((s & 7) * 8)) & 0xff) << (8 * k);
  }
  return r;
};
template <bool Left, bool Clamp> constexpr auto shf = [](u32 a, u32 b, u32 c) -> u32 {
  u32 n = Clamp ? (c > 32 ? 32 : c) : c & 31;
  u64 v = u64(b) << 32 | a;
  return Left ? u32((v << n) >> 32) : u32(v >> n);
};
template <class A, class B> constexpr auto dp4a = [](u32 a, u32 b, u32 c) -> u32 {
  for (u32 k = 0; k < 4; ++k)
    c += u32(s32(A(a >> (8 * k))) * s32(B(b >> (8 * k))));
  return c;
};
template <class A, class B, bool High> constexpr auto dp2a = [](u32 a, u32 b, u32 c) -> u32 {
  for (u32 k = 0; k < 2; ++k)
    c += u32(s32(std::conditional_t<std::is_signed_v<A>, s16, u16>(a >> (16 * k))) * s32(B(b >> (8 * (k + (High ? 2 : 0))))));
  return c;
};
VITRIFY_INLINE s64 low24(u32 a, bool sign) { return sign ? s64(s32(a << 8) >> 8) : s64(a & 0xffffff); }
template <bool Sign, bool High> constexpr auto mul24 = [](u32 a, u32 b) -> u32 {
  s64 p = low24(a, Sign) * low24(b, Sign);
  return High ? u32(p >> 16) : u32(p);
};
template <bool Sign, bool High> constexpr auto mad24 = [](u32 a, u32 b, u32 c) -> u32 { return mul24<Sign, High>(a, b) + c; };
constexpr auto mad24HiSat = [](u32 a, u32 b, u32 c) -> u32 {
  s64 r = s64(s32(mul24<true, true>(a, b))) + s32(c);
  return u32(s32(r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : r));
};
constexpr auto fns = [](u32 mask, u32 base, s32 offset) -> u32 {
  base &= 31;
  if (offset == 0)
    return (mask >> base & 1) ? base : ~0u;
  s32 at = s32(base), step = offset > 0 ? 1 : -1, left = offset > 0 ? offset : -offset;
  for (; at >= 0 && at < 32; at += step)
    if ((mask >> at & 1) && --left == 0)
      return u32(at);
  return ~0u;
};
template <bool Clamp> constexpr auto bmsk = [](u32 a, u32 b) -> u32 {
  if (Clamp) {
    u64 mask = b >= 32 ? 0xffffffffu : (u64(1) << b) - 1;
    return a >= 32 ? 0 : u32(mask << a);
  }
  a &= 31;
  b &= 31;
  return u32(((u64(1) << b) - 1) << a);
};
template <bool Sign, bool Clamp> constexpr auto szext = [](u32 a, u32 b) -> u32 {
  u32 n = Clamp ? b : b & 31;
  if (n >= 32)
    return a;
  if (n == 0)
    return 0;
  u32 low = a & u32((u64(1) << n) - 1);
  return Sign && (low >> (n - 1) & 1) ? low | ~u32((u64(1) << n) - 1) : low;
};

// Extended precision. e: the carry's row; aux: sets it; aux2: reads it. A borrow is a set carry.
template <class T, bool Subtract> void addCarry(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a), *b = R<T>(w, i.b);
  T t[32];
  u32 in = i.aux2 ? pred(w, i.e) : 0, out = 0;
  for (u32 l = 0; l < 32; ++l) {
    T c = T(in >> l & 1);
    if constexpr (Subtract) {
      T d = T(a[l] - b[l]);
      t[l] = T(d - c);
      out |= u32(a[l] < b[l] || d < c) << l;
    } else {
      T s = T(a[l] + b[l]);
      t[l] = T(s + c);
      out |= u32(s < a[l] || t[l] < s) << l;
    }
  }
  if (i.aux)
    setPred(w, i.e, m, out);
  put<T>(w, i.d, m, [&](u32 l) { return t[l]; });
}
template <class T, class P, bool High> void madCarry(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a), *b = R<T>(w, i.b);
  using U = std::make_unsigned_t<T>;
  const U *c = R<U>(w, i.c);
  U t[32];
  u32 in = i.aux2 ? pred(w, i.e) : 0, out = 0;
  for (u32 l = 0; l < 32; ++l) {
    P p = P(a[l]) * P(b[l]);
    U x = High ? U(p >> (sizeof(T) * 8)) : U(p);
    U s = U(x + c[l]), k = U(in >> l & 1);
    t[l] = U(s + k);
    out |= u32(s < x || t[l] < s) << l;
  }
  if (i.aux)
    setPred(w, i.e, m, out);
  put<U>(w, i.d, m, [&](u32 l) { return t[l]; });
}

// Packing: rows of the parts are in the list.
template <class W, class P> void pack(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  putEach<W>(w, i.d, m, [&](u32 l) {
    W v{};
    for (u32 k = 0; k < i.count; ++k)
      __builtin_memcpy(reinterpret_cast<u8 *>(&v) + k * sizeof(P), &R<P>(w, rows[k])[l], sizeof(P));
    return v;
  });
}
template <class W, class P> void unpack(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  const W *a = R<W>(w, i.a);
  for (u32 k = 0; k < i.count; ++k) {
    if (rows[k] == ~0u)
      continue;
    P *d = R<P>(w, rows[k]);
    for (u32 rest = m; rest; rest &= rest - 1) {
      u32 l = std::countr_zero(rest);
      __builtin_memcpy(&d[l], reinterpret_cast<const u8 *>(&a[l]) + k * sizeof(P), sizeof(P));
    }
  }
}
/// Eight-bit parts live in 16-bit rows.
void pack8(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  putEach<u32>(w, i.d, m, [&](u32 l) {
    u32 v = 0;
    for (u32 k = 0; k < 4; ++k)
      v |= u32(R<u16>(w, rows[k])[l] & 0xff) << (8 * k);
    return v;
  });
}
void unpack8(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *a = R<u32>(w, i.a);
  for (u32 k = 0; k < 4; ++k)
    if (rows[k] != ~0u)
      putEach<u16>(w, rows[k], m, [&](u32 l) { return u16(a[l] >> (8 * k) & 0xff); });
}
void pack16(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  putEach<u16>(w, i.d, m, [&](u32 l) { return u16((R<u16>(w, rows[0])[l] & 0xff) | R<u16>(w, rows[1])[l] << 8); });
}
void unpack16(Warp &w, const Inst &i, u32 m) {
  const u32 *rows = w.program->lists.data() + i.list;
  const u16 *a = R<u16>(w, i.a);
  for (u32 k = 0; k < 2; ++k)
    if (rows[k] != ~0u)
      putEach<u16>(w, rows[k], m, [&](u32 l) { return u16(a[l] >> (8 * k) & 0xff); });
}
struct B128 {
  u64 lo, hi;
};

void cvta(Warp &w, const Inst &i, u32 m) {
  const u64 *a = R<u64>(w, i.a);
  put<u64>(w, i.d, m, [&](u32 l) { return a[l] | i.imm; });
}
void cvtaTo(Warp &w, const Inst &i, u32 m) {
  const u64 *a = R<u64>(w, i.a);
  put<u64>(w, i.d, m, [&](u32 l) { return i.imm && (a[l] >> 56) == (i.imm >> 56) ? a[l] & ~i.imm : a[l]; });
}
void isspacep(Warp &w, const Inst &i, u32 m) {
  const u64 *a = R<u64>(w, i.a);
  u32 r = 0;
  // Constants lie in global memory here and are told apart by their places.
  for (u32 l = 0; l < 32; ++l) {
    bool constant = false;
    if (i.imm == 0)
      for (auto [begin, end] : w.program->constantRanges)
        constant |= a[l] >= begin && a[l] < end;
    r |= u32((a[l] >> 56) == i.imm && constant == bool(i.aux)) << l;
  }
  setPred(w, i.d, m, r);
}
void nop(Warp &, const Inst &, u32) {}

// cvt.pack
template <class D, class S> VITRIFY_INLINE u32 saturate(S v) {
  s64 x = v;
  x = x < s64(std::numeric_limits<D>::min()) ? s64(std::numeric_limits<D>::min())
      : x > s64(std::numeric_limits<D>::max()) ? s64(std::numeric_limits<D>::max()) : x;
  return u32(std::make_unsigned_t<D>(D(x)));
}
template <class D> constexpr auto pack2 = [](s32 a, s32 b) -> u32 { return saturate<D>(a) << 16 | saturate<D>(b); };
template <class D> constexpr auto pack3 = [](s32 a, s32 b, u32 c) -> u32 {
  return saturate<D>(a) << 8 | saturate<D>(b) | c << 16;
};

constexpr OpEntry kOps[] = {
    {"popc.32", &un<u32, u32, popc<u32>>}, {"popc.64", &un<u32, u64, popc<u64>>}, {"clz.32", &un<u32, u32, clz<u32>>},
    {"clz.64", &un<u32, u64, clz<u64>>},
    {"bfind.u32", &un<u32, u32, bfind<u32, false>>}, {"bfind.s32", &un<u32, s32, bfind<s32, false>>},
    {"bfind.u64", &un<u32, u64, bfind<u64, false>>}, {"bfind.s64", &un<u32, s64, bfind<s64, false>>},
    {"bfind.shiftamt.u32", &un<u32, u32, bfind<u32, true>>}, {"bfind.shiftamt.s32", &un<u32, s32, bfind<s32, true>>},
    {"bfind.shiftamt.u64", &un<u32, u64, bfind<u64, true>>}, {"bfind.shiftamt.s64", &un<u32, s64, bfind<s64, true>>},
    {"brev.32", &un<u32, u32, brev<u32>>}, {"brev.64", &un<u64, u64, brev<u64>>},
    {"bfe.u32", &tri<u32, u32, u32, u32, bfe<u32>>}, {"bfe.s32", &tri<s32, s32, u32, u32, bfe<s32>>},
    {"bfe.u64", &tri<u64, u64, u32, u32, bfe<u64>>}, {"bfe.s64", &tri<s64, s64, u32, u32, bfe<s64>>},
    {"bfi.32", &bfiOp<u32>}, {"bfi.64", &bfiOp<u64>}, {"lop3", &lop3},
    {"lop3.or", &lop3Bool<false>}, {"lop3.and", &lop3Bool<true>},
    {"prmt", &tri<u32, u32, u32, u32, prmt>}, {"prmt.f4e", &tri<u32, u32, u32, u32, prmtMode<F4E>>},
    {"prmt.b4e", &tri<u32, u32, u32, u32, prmtMode<B4E>>}, {"prmt.rc8", &tri<u32, u32, u32, u32, prmtMode<RC8>>},
    {"prmt.ecl", &tri<u32, u32, u32, u32, prmtMode<ECL>>}, {"prmt.ecr", &tri<u32, u32, u32, u32, prmtMode<ECR>>},
    {"prmt.rc16", &tri<u32, u32, u32, u32, prmtMode<RC16>>},
    {"shf.l.wrap", &tri<u32, u32, u32, u32, shf<true, false>>}, {"shf.l.clamp", &tri<u32, u32, u32, u32, shf<true, true>>},
    {"shf.r.wrap", &tri<u32, u32, u32, u32, shf<false, false>>}, {"shf.r.clamp", &tri<u32, u32, u32, u32, shf<false, true>>},
    {"dp4a.u32.u32", &tri<u32, u32, u32, u32, dp4a<u8, u8>>}, {"dp4a.s32.s32", &tri<u32, u32, u32, u32, dp4a<s8, s8>>},
    {"dp4a.u32.s32", &tri<u32, u32, u32, u32, dp4a<u8, s8>>}, {"dp4a.s32.u32", &tri<u32, u32, u32, u32, dp4a<s8, u8>>},
    {"dp2a.lo.u32.u32", &tri<u32, u32, u32, u32, dp2a<u8, u8, false>>}, {"dp2a.hi.u32.u32", &tri<u32, u32, u32, u32, dp2a<u8, u8, true>>},
    {"dp2a.lo.s32.s32", &tri<u32, u32, u32, u32, dp2a<s8, s8, false>>}, {"dp2a.hi.s32.s32", &tri<u32, u32, u32, u32, dp2a<s8, s8, true>>},
    {"dp2a.lo.u32.s32", &tri<u32, u32, u32, u32, dp2a<u8, s8, false>>}, {"dp2a.hi.u32.s32", &tri<u32, u32, u32, u32, dp2a<u8, s8, true>>},
    {"dp2a.lo.s32.u32", &tri<u32, u32, u32, u32, dp2a<s8, u8, false>>}, {"dp2a.hi.s32.u32", &tri<u32, u32, u32, u32, dp2a<s8, u8, true>>},
    {"mul24.lo.u32", &bin<u32, u32, u32, mul24<false, false>>}, {"mul24.lo.s32", &bin<u32, u32, u32, mul24<true, false>>},
    {"mul24.hi.u32", &bin<u32, u32, u32, mul24<false, true>>}, {"mul24.hi.s32", &bin<u32, u32, u32, mul24<true, true>>},
    {"mad24.lo.u32", &tri<u32, u32, u32, u32, mad24<false, false>>}, {"mad24.lo.s32", &tri<u32, u32, u32, u32, mad24<true, false>>},
    {"mad24.hi.u32", &tri<u32, u32, u32, u32, mad24<false, true>>}, {"mad24.hi.s32", &tri<u32, u32, u32, u32, mad24<true, true>>},
    {"mad24.hi.sat.s32", &tri<u32, u32, u32, u32, mad24HiSat>},
    {"fns", &tri<u32, u32, u32, s32, fns>}, {"bmsk.clamp", &bin<u32, u32, u32, bmsk<true>>}, {"bmsk.wrap", &bin<u32, u32, u32, bmsk<false>>},
    {"szext.clamp.u32", &bin<u32, u32, u32, szext<false, true>>}, {"szext.wrap.u32", &bin<u32, u32, u32, szext<false, false>>},
    {"szext.clamp.s32", &bin<u32, u32, u32, szext<true, true>>}, {"szext.wrap.s32", &bin<u32, u32, u32, szext<true, false>>},
    {"addcc.32", &addCarry<u32, false>}, {"addcc.64", &addCarry<u64, false>}, {"subcc.32", &addCarry<u32, true>},
    {"subcc.64", &addCarry<u64, true>}, {"madcc.lo.32", &madCarry<u32, u64, false>},
    {"madcc.hi.u32", &madCarry<u32, u64, true>}, {"madcc.hi.s32", &madCarry<s32, s64, true>},
    {"madcc.lo.64", &madCarry<u64, unsigned __int128, false>}, {"madcc.hi.u64", &madCarry<u64, unsigned __int128, true>},
    {"madcc.hi.s64", &madCarry<s64, __int128, true>},
    {"pack.32.2", &pack<u32, u16>}, {"pack.64.2", &pack<u64, u32>}, {"pack.64.4", &pack<u64, u16>},
    {"pack.128.2", &pack<B128, u64>}, {"pack.128.4", &pack<B128, u32>}, {"pack.32.4", &pack8}, {"pack.16.2", &pack16},
    {"unpack.32.2", &unpack<u32, u16>}, {"unpack.64.2", &unpack<u64, u32>}, {"unpack.64.4", &unpack<u64, u16>},
    {"unpack.128.2", &unpack<B128, u64>}, {"unpack.128.4", &unpack<B128, u32>}, {"unpack.32.4", &unpack8},
    {"unpack.16.2", &unpack16},
    {"cvta", &cvta}, {"cvta.to", &cvtaTo}, {"isspacep", &isspacep}, {"nop", &nop},
    {"cvt.pack.s16.s32", &bin<u32, s32, s32, pack2<s16>>}, {"cvt.pack.u16.s32", &bin<u32, s32, s32, pack2<u16>>},
    {"cvt.pack.s8.s32.b32", &tri<u32, s32, s32, u32, pack3<s8>>}, {"cvt.pack.u8.s32.b32", &tri<u32, s32, s32, u32, pack3<u8>>},
};

} // namespace

OpList integerMoreOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
