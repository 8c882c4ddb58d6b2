//===- Atomic.cpp - atom and red --------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Lane by lane, in order. Global memory is shared with blocks on other host
// threads: compare-and-swap on the host. The list holds `count` destinations
// (or ~0) and then the sources.
//===----------------------------------------------------------------------===//
#include "../Race.h"
#include "Addressing.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

/// old = *p; *p = f(old), as one step; words of 2, 4 and 8 bytes.
template <class T, bool Host, class F> VITRIFY_INLINE T update(u8 *p, F f) {
  if constexpr (!Host) {
    T old;
    __builtin_memcpy(&old, p, sizeof(T));
    T now = f(old);
    __builtin_memcpy(p, &now, sizeof(T));
    return old;
  } else {
    T *word = reinterpret_cast<T *>(p);
    T old = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(word, &old, f(old), true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    return old;
  }
}

/// Words of several lanes at once: 16 bytes where the level has them.
#if defined(VITRIFY_ISA_V3) || defined(VITRIFY_ISA_V4)
struct Chunk {
  u64 words[2];
};
template <class F> VITRIFY_INLINE Chunk updateChunk(u8 *p, F f) {
  typedef unsigned __int128 Whole;
  Chunk seen = {{__atomic_load_n(reinterpret_cast<u64 *>(p), __ATOMIC_RELAXED),
                 __atomic_load_n(reinterpret_cast<u64 *>(p) + 1, __ATOMIC_RELAXED)}};
  while (true) {
    const Whole old = std::bit_cast<Whole>(seen), now = std::bit_cast<Whole>(f(seen));
    const Whole was = __sync_val_compare_and_swap(reinterpret_cast<Whole *>(p), old, now);
    if (was == old)
      return seen;
    seen = std::bit_cast<Chunk>(was);
  }
}
#else
struct Chunk {
  u64 words[1];
};
template <class F> VITRIFY_INLINE Chunk updateChunk(u8 *p, F f) {
  return {{update<u64, true>(p, [&](u64 word) { return f(Chunk{{word}}).words[0]; })}};
}
#endif

constexpr auto addF32 = [](u32 a, u32 b) -> u32 {
  return std::bit_cast<u32>(canon(std::bit_cast<float>(a) + std::bit_cast<float>(b)));
};
/// In global memory f32 additions flush subnormal operands and results, in shared memory they do not (PTX ISA, atom).
constexpr auto addF32Flushing = [](u32 a, u32 b) -> u32 {
  return std::bit_cast<u32>(finish<true, false>(flush(std::bit_cast<float>(a)) + flush(std::bit_cast<float>(b))));
};
template <auto F, Area A> constexpr auto inArea = F;
template <> constexpr auto inArea<addF32, Area::Global> = addF32Flushing;

VITRIFY_INLINE bool oneAddress(const WarpAccess &acc, u32 m) {
  u64 first = acc.address[std::countr_zero(m)], gap = 0;
  for (u32 l = 0; l < 32; ++l)
    gap |= (m >> l & 1) ? acc.address[l] ^ first : 0;
  return gap == 0;
}

template <Area S, class T, auto F> void atom(Warp &w, const Inst &i, u32 m) {
  WarpAccess acc;
  acc.access = Access::Atomic;
  acc.bytes = sizeof(T) * i.count;
  addresses(w, i, acc);
  const u32 *rows = w.program->lists.data() + i.list;
  access<S>(w, i, m, acc, [&]<Area A>(u32 ok) {
    auto apply = [&](u32 l, u32 k, T value) -> T {
      T b = R<T>(w, rows[i.count + k])[l];
      if constexpr (requires(T x) { F(x, x, x); })
        return F(value, b, R<T>(w, rows[2 * i.count + k])[l]);
      else
        return inArea<F, A>(value, b);
    };
    if (i.count == 1 && !w.watch) {
      // Lanes that meet in one place, and lanes in a row, take few transactions: an order of the lanes is as good as another.
      T old[32];
      bool done = false;
      if (A == Area::Global && oneAddress(acc, ok)) {
        update<T, true>(pointer<A>(w, 0, acc.address[std::countr_zero(ok)]), [&](T value) -> T {
          for (u32 rest = ok; rest; rest &= rest - 1) {
            u32 l = std::countr_zero(rest);
            old[l] = value;
            value = apply(l, 0, value);
          }
          return value;
        });
        done = true;
      } else if (ok == ~0u && contiguous(acc, sizeof(T)) && (A == Area::Shared || !(acc.address[0] % sizeof(Chunk)))) {
        u8 *p = pointer<A>(w, 0, acc.address[0]);
        if constexpr (A == Area::Shared) {
          alignas(64) T now[32];
          __builtin_memcpy(old, p, sizeof old);
          for (u32 l = 0; l < 32; ++l)
            now[l] = apply(l, 0, old[l]);
          __builtin_memcpy(p, now, sizeof now);
        } else {
          constexpr u32 n = sizeof(Chunk) / sizeof(T);
          for (u32 l = 0; l < 32; l += n) {
            Chunk was = updateChunk(p + l * sizeof(T), [&](Chunk chunk) {
              T part[n];
              __builtin_memcpy(part, &chunk, sizeof chunk);
              for (u32 x = 0; x < n; ++x)
                part[x] = apply(l + x, 0, part[x]);
              __builtin_memcpy(&chunk, part, sizeof chunk);
              return chunk;
            });
            __builtin_memcpy(old + l, &was, sizeof was);
          }
        }
        done = true;
      }
      if (done) {
        if (rows[0] != ~0u)
          put<T>(w, rows[0], ok, [&](u32 l) { return old[l]; });
        return;
      }
    }
    for (u32 rest = ok; rest; rest &= rest - 1) {
      u32 l = std::countr_zero(rest);
      u8 *p = pointer<A>(w, l, acc.address[l]);
      for (u32 k = 0; k < i.count; ++k) {
        T old = update<T, A == Area::Global>(p + k * sizeof(T), [&](T value) -> T { return apply(l, k, value); });
        if (w.watch)
          w.watch->effect |= apply(l, k, old) != old;
        if (rows[k] != ~0u)
          R<T>(w, rows[k])[l] = old;
      }
    }
  });
}

struct B128 {
  u64 lo, hi;
};
template <Area S, bool Cas> void atom128(Warp &w, const Inst &i, u32 m) {
  WarpAccess acc;
  acc.access = Access::Atomic;
  acc.bytes = 16;
  addresses(w, i, acc);
  const u32 *rows = w.program->lists.data() + i.list;
  access<S>(w, i, m, acc, [&]<Area A>(u32 ok) {
    for (u32 rest = ok; rest; rest &= rest - 1) {
      u32 l = std::countr_zero(rest);
      u8 *p = pointer<A>(w, l, acc.address[l]);
      auto lock = lockAddress(acc.address[l]);
      B128 old, b = R<B128>(w, rows[1])[l];
      __builtin_memcpy(&old, p, 16);
      B128 now = b;
      if constexpr (Cas)
        now = old.lo == b.lo && old.hi == b.hi ? R<B128>(w, rows[2])[l] : old;
      __builtin_memcpy(p, &now, 16);
      if (w.watch)
        w.watch->effect |= now.lo != old.lo || now.hi != old.hi;
      if (rows[0] != ~0u)
        R<B128>(w, rows[0])[l] = old;
    }
  });
}

template <class T> constexpr auto add = [](T a, T b) -> T { return T(a + b); };
template <class T> constexpr auto bitAnd = [](T a, T b) -> T { return T(a & b); };
template <class T> constexpr auto bitOr = [](T a, T b) -> T { return T(a | b); };
template <class T> constexpr auto bitXor = [](T a, T b) -> T { return T(a ^ b); };
template <class T> constexpr auto exchange = [](T, T b) -> T { return b; };
template <class T> constexpr auto compareSwap = [](T a, T b, T c) -> T { return a == b ? c : a; };
template <class T> constexpr auto minimum = [](T a, T b) -> T { return a < b ? a : b; };
template <class T> constexpr auto maximum = [](T a, T b) -> T { return a > b ? a : b; };
constexpr auto increment = [](u32 a, u32 b) -> u32 { return a >= b ? 0 : a + 1; };
constexpr auto decrement = [](u32 a, u32 b) -> u32 { return a == 0 || a > b ? b : a - 1; };
constexpr auto addF64 = [](u64 a, u64 b) -> u64 {
  return std::bit_cast<u64>(std::bit_cast<double>(a) + std::bit_cast<double>(b));
};
constexpr auto addF16 = [](u16 a, u16 b) -> u16 { return floatToHalf(halfToFloat(a) + halfToFloat(b)); };
constexpr auto addBf16 = [](u16 a, u16 b) -> u16 { return floatToBf(bfToFloat(a) + bfToFloat(b)); };
template <bool Max, auto Get> VITRIFY_INLINE u16 minMax16(u16 a, u16 b) {
  float x = Get(a), y = Get(b);
  if (x != x)
    return y != y ? u16(0x7fff) : b;
  if (y != y)
    return a;
  return (Max ? x >= y : x <= y) ? a : b;
}
constexpr auto getHalf = [](u16 x) { return halfToFloat(x); };
constexpr auto getBf = [](u16 x) { return bfToFloat(x); };
template <auto F> constexpr auto pair = [](u32 a, u32 b) -> u32 {
  return u32(F(u16(a), u16(b))) | u32(F(u16(a >> 16), u16(b >> 16))) << 16;
};
constexpr auto minF16 = [](u16 a, u16 b) -> u16 { return minMax16<false, getHalf>(a, b); };
constexpr auto maxF16 = [](u16 a, u16 b) -> u16 { return minMax16<true, getHalf>(a, b); };
constexpr auto minBf = [](u16 a, u16 b) -> u16 { return minMax16<false, getBf>(a, b); };
constexpr auto maxBf = [](u16 a, u16 b) -> u16 { return minMax16<true, getBf>(a, b); };

#define ATOMS(space, S)                                                                                                \
  {"atom." space ".add.u32", &atom<S, u32, add<u32>>}, {"atom." space ".add.u64", &atom<S, u64, add<u64>>},            \
      {"atom." space ".add.f32", &atom<S, u32, addF32>}, {"atom." space ".add.f64", &atom<S, u64, addF64>},            \
      {"atom." space ".add.f16", &atom<S, u16, addF16>}, {"atom." space ".add.bf16", &atom<S, u16, addBf16>},          \
      {"atom." space ".add.f16x2", &atom<S, u32, pair<addF16>>}, {"atom." space ".add.bf16x2", &atom<S, u32, pair<addBf16>>}, \
      {"atom." space ".and.u32", &atom<S, u32, bitAnd<u32>>}, {"atom." space ".and.u64", &atom<S, u64, bitAnd<u64>>},  \
      {"atom." space ".or.u32", &atom<S, u32, bitOr<u32>>}, {"atom." space ".or.u64", &atom<S, u64, bitOr<u64>>},      \
      {"atom." space ".xor.u32", &atom<S, u32, bitXor<u32>>}, {"atom." space ".xor.u64", &atom<S, u64, bitXor<u64>>},  \
      {"atom." space ".exch.u32", &atom<S, u32, exchange<u32>>}, {"atom." space ".exch.u64", &atom<S, u64, exchange<u64>>}, \
      {"atom." space ".exch.u128", &atom128<S, false>}, {"atom." space ".cas.u128", &atom128<S, true>},                \
      {"atom." space ".cas.u16", &atom<S, u16, compareSwap<u16>>}, {"atom." space ".cas.u32", &atom<S, u32, compareSwap<u32>>}, \
      {"atom." space ".cas.u64", &atom<S, u64, compareSwap<u64>>}, {"atom." space ".inc.u32", &atom<S, u32, increment>}, \
      {"atom." space ".dec.u32", &atom<S, u32, decrement>}, {"atom." space ".min.u32", &atom<S, u32, minimum<u32>>},   \
      {"atom." space ".max.u32", &atom<S, u32, maximum<u32>>}, {"atom." space ".min.u64", &atom<S, u64, minimum<u64>>}, \
      {"atom." space ".max.u64", &atom<S, u64, maximum<u64>>}, {"atom." space ".min.s32", &atom<S, s32, minimum<s32>>}, \
      {"atom." space ".max.s32", &atom<S, s32, maximum<s32>>}, {"atom." space ".min.s64", &atom<S, s64, minimum<s64>>}, \
  {                                                                                                                    \
    "atom." space ".max.s64", &atom<S, s64, maximum<s64>>                                                              \
  }

// Vectors alone have them, and vectors lie in global memory.
#define HALF_MINMAX(space, S)                                                                                          \
  {"atom." space ".min.f16", &atom<S, u16, minF16>}, {"atom." space ".max.f16", &atom<S, u16, maxF16>},                \
      {"atom." space ".min.bf16", &atom<S, u16, minBf>}, {"atom." space ".max.bf16", &atom<S, u16, maxBf>},            \
      {"atom." space ".min.f16x2", &atom<S, u32, pair<minF16>>}, {"atom." space ".max.f16x2", &atom<S, u32, pair<maxF16>>}, \
      {"atom." space ".min.bf16x2", &atom<S, u32, pair<minBf>>}, {                                                     \
    "atom." space ".max.bf16x2", &atom<S, u32, pair<maxBf>>                                                            \
  }

constexpr OpEntry kOps[] = {
    ATOMS("global", Area::Global), ATOMS("shared", Area::Shared), ATOMS("generic", Area::Generic),
    HALF_MINMAX("global", Area::Global), HALF_MINMAX("generic", Area::Generic),
};

} // namespace

OpList atomicOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
