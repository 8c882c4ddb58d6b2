//===- Memory.cpp - loads and stores ----------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// ld, ldu, st of all element types and vectors. The rows of a vector are in
// Program::lists. Ordered and volatile accesses are host atomics per element.
//===----------------------------------------------------------------------===//
#include "Addressing.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

struct B128 {
  u64 lo, hi;
};

template <class E> VITRIFY_INLINE E readElement(const u8 *p, bool ordered) {
  E v;
  if constexpr (sizeof(E) <= 8) {
    if (ordered) {
      __atomic_load(reinterpret_cast<const E *>(p), &v, __ATOMIC_ACQUIRE);
      return v;
    }
  }
  __builtin_memcpy(&v, p, sizeof(E));
  return v;
}
template <class E> VITRIFY_INLINE void writeElement(u8 *p, E v, bool ordered) {
  if constexpr (sizeof(E) <= 8) {
    if (ordered) {
      __atomic_store(reinterpret_cast<E *>(p), &v, __ATOMIC_RELEASE);
      return;
    }
  }
  __builtin_memcpy(p, &v, sizeof(E));
}

template <Area S, class E, class Row> void load(Warp &w, const Inst &i, u32 m) {
  WarpAccess acc;
  acc.access = i.order == Order::Weak ? Access::Read : Access::Atomic;
  acc.bytes = sizeof(E) * i.count;
  addresses(w, i, acc);
  const u32 *rows = w.program->lists.data() + i.list;
  bool ordered = i.flags & FlagVolatile;
  access<S>(w, i, m, acc, [&]<Area A>(u32 ok) {
    if constexpr (sizeof(E) == sizeof(Row) && (A == Area::Global || A == Area::Shared)) {
      if (i.count == 1 && ok == ~0u && !ordered && contiguous(acc, sizeof(E))) {
        __builtin_memcpy(R<Row>(w, rows[0]), pointer<A>(w, 0, acc.address[0]), 32 * sizeof(E));
        return;
      }
    }
    if constexpr (A == Area::Param) {
      bool same = true;
      for (u32 rest = ok; rest; rest &= rest - 1)
        same &= acc.address[std::countr_zero(rest)] == acc.address[std::countr_zero(ok)];
      if (same) {
        const u8 *p = pointer<A>(w, 0, acc.address[std::countr_zero(ok)]);
        for (u32 k = 0; k < i.count; ++k) {
          Row value = Row(readElement<E>(p + k * sizeof(E), false));
          if (rows[k] != ~0u)
            put<Row>(w, rows[k], ok, [&](u32) { return value; });
        }
        return;
      }
    }
    // An address row may be overwritten by the load: addresses have been copied, so order does not matter.
    for (u32 k = 0; k < i.count; ++k) {
      if (rows[k] == ~0u)
        continue;
      Row *d = R<Row>(w, rows[k]);
      if (ok == ~0u && !ordered) {
        for (u32 l = 0; l < 32; ++l)
          d[l] = Row(readElement<E>(pointer<A>(w, l, acc.address[l]) + k * sizeof(E), false));
      } else {
        for (u32 rest = ok; rest; rest &= rest - 1) {
          u32 l = std::countr_zero(rest);
          d[l] = Row(readElement<E>(pointer<A>(w, l, acc.address[l]) + k * sizeof(E), ordered));
        }
      }
    }
  });
}

template <Area S, class E, class Row> void store(Warp &w, const Inst &i, u32 m) {
  WarpAccess acc;
  acc.access = i.order == Order::Weak ? Access::Write : Access::Atomic;
  acc.bytes = sizeof(E) * i.count;
  addresses(w, i, acc);
  const u32 *rows = w.program->lists.data() + i.list;
  bool ordered = i.flags & FlagVolatile;
  access<S>(w, i, m, acc, [&]<Area A>(u32 ok) {
    if constexpr (sizeof(E) == sizeof(Row) && (A == Area::Global || A == Area::Shared)) {
      if (i.count == 1 && ok == ~0u && !ordered && contiguous(acc, sizeof(E))) {
        __builtin_memcpy(pointer<A>(w, 0, acc.address[0]), R<Row>(w, rows[0]), 32 * sizeof(E));
        return;
      }
    }
    for (u32 rest = ok; rest; rest &= rest - 1) {
      u32 l = std::countr_zero(rest);
      u8 *p = pointer<A>(w, l, acc.address[l]);
      for (u32 k = 0; k < i.count; ++k)
        writeElement<E>(p + k * sizeof(E), E(R<Row>(w, rows[k])[l]), ordered);
    }
  });
}

#define LOADS(space, S)                                                                                                \
  {"ld." space ".u8.16", &load<S, u8, u16>}, {"ld." space ".u8.32", &load<S, u8, u32>},                                \
      {"ld." space ".u8.64", &load<S, u8, u64>}, {"ld." space ".s8.16", &load<S, s8, s16>},                            \
      {"ld." space ".s8.32", &load<S, s8, s32>}, {"ld." space ".s8.64", &load<S, s8, s64>},                            \
      {"ld." space ".u16.16", &load<S, u16, u16>}, {"ld." space ".u16.32", &load<S, u16, u32>},                        \
      {"ld." space ".u16.64", &load<S, u16, u64>}, {"ld." space ".s16.16", &load<S, s16, s16>},                        \
      {"ld." space ".s16.32", &load<S, s16, s32>}, {"ld." space ".s16.64", &load<S, s16, s64>},                        \
      {"ld." space ".u32.32", &load<S, u32, u32>}, {"ld." space ".u32.64", &load<S, u32, u64>},                        \
      {"ld." space ".s32.32", &load<S, s32, s32>}, {"ld." space ".s32.64", &load<S, s32, s64>},                        \
      {"ld." space ".u64.64", &load<S, u64, u64>}, {"ld." space ".s64.64", &load<S, u64, u64>}, {                      \
    "ld." space ".b128.128", &load<S, B128, B128>                                                                      \
  }
#define STORES(space, S)                                                                                               \
  {"st." space ".u8.16", &store<S, u8, u16>}, {"st." space ".u8.32", &store<S, u8, u32>},                              \
      {"st." space ".u8.64", &store<S, u8, u64>}, {"st." space ".u16.16", &store<S, u16, u16>},                        \
      {"st." space ".u16.32", &store<S, u16, u32>}, {"st." space ".u16.64", &store<S, u16, u64>},                      \
      {"st." space ".u32.32", &store<S, u32, u32>}, {"st." space ".u32.64", &store<S, u32, u64>},                      \
      {"st." space ".u64.64", &store<S, u64, u64>}, {                                                                  \
    "st." space ".b128.128", &store<S, B128, B128>                                                                     \
  }

constexpr OpEntry kOps[] = {
    LOADS("global", Area::Global), LOADS("shared", Area::Shared), LOADS("local", Area::Local),
    LOADS("param", Area::Param), LOADS("generic", Area::Generic), STORES("global", Area::Global),
    STORES("shared", Area::Shared), STORES("local", Area::Local), STORES("generic", Area::Generic),
};

} // namespace

OpList memoryOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
