//===- Addressing.h - addresses and checks of memory accesses ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Shared by loads, stores, atomics and asynchronous copies: address rows,
// generic addresses split by window, the quick check that most accesses pass,
// and the host pointer of a lane. aux: 0 64-bit row, 1 32-bit row, 2 constant.
//===----------------------------------------------------------------------===//
#pragma once

#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {

enum class Area : u8 { Global, Shared, Local, Param, Generic };

VITRIFY_INLINE void addresses(Warp &w, const Inst &i, WarpAccess &acc) {
  u64 *out = acc.address;
  if (i.aux == 0) {
    const u64 *a = R<u64>(w, i.a);
    for (u32 l = 0; l < 32; ++l)
      out[l] = a[l] + i.imm;
  } else if (i.aux == 1) {
    const u32 *a = R<u32>(w, i.a);
    for (u32 l = 0; l < 32; ++l)
      out[l] = u64(a[l] + u32(i.imm));
  } else {
    for (u32 l = 0; l < 32; ++l)
      out[l] = i.imm;
  }
}

VITRIFY_INLINE bool contiguous(const WarpAccess &acc, u32 bytes) {
  u64 first = acc.address[0], gap = 0;
  for (u32 l = 0; l < 32; ++l)
    gap |= acc.address[l] - (first + l * bytes);
  return gap == 0;
}

VITRIFY_INLINE Extent extentOf(const WarpAccess &acc, u32 m) {
  typedef u64 V8 __attribute__((vector_size(64)));
  V8 low = V8{} - 1, high = {}, bits = {}, gap = {};
  V8 bit = {1, 2, 4, 8, 16, 32, 64, 128}, expected = V8{0, 1, 2, 3, 4, 5, 6, 7} * acc.bytes + acc.address[0];
  for (u32 l = 0; l < 32; l += 8) {
    V8 a;
    __builtin_memcpy(&a, acc.address + l, 64);
    gap |= a ^ expected;
    expected += 8 * acc.bytes;
    V8 on = (V8)((bit & m >> l) != 0), least = a | ~on, most = a & on;
    low = least < low ? least : low;
    high = most > high ? most : high;
    bits |= most;
  }
  return {__builtin_reduce_min(low), __builtin_reduce_max(high), __builtin_reduce_or(bits),
          m == ~0u && __builtin_reduce_or(gap) == 0};
}

/// The lanes of `m` that may go on. `generic` addresses have been made offsets of `area`.
template <Area S> VITRIFY_INLINE u32 checked(Warp &w, const Inst &i, u32 m, const WarpAccess &acc) {
  if constexpr (S == Area::Global) {
    Extent e = extentOf(acc, m);
    if (!w.checksRace && !w.counting) {
      bool init = acc.access == Access::Read ? w.hitInitialised : w.hitInitialised && !w.hitReadOnly;
      if (init && e.within(w.hitBegin, w.hitEnd, acc.bytes))
        return m;
    }
    return checkGlobal(w, i, m, acc, e);
  }
  if constexpr (S == Area::Shared) {
    Extent e = extentOf(acc, m);
    if (!w.checksRace && !w.counting && !w.checksInit && e.within(0, w.sharedBytes, acc.bytes))
      return m;
    return checkShared(w, i, m, acc, e);
  }
  if constexpr (S == Area::Local) {
    if (!w.counting && !w.checksInit && extentOf(acc, m).within(0, w.localStride, acc.bytes))
      return m;
    return checkLocal(w, i, m, acc);
  }
  return checkParam(w, i, m, acc);
}

template <Area S> VITRIFY_INLINE u8 *pointer(Warp &w, u32 lane, u64 address) {
  if constexpr (S == Area::Global)
    return reinterpret_cast<u8 *>(address);
  if constexpr (S == Area::Shared)
    return w.shared + address;
  if constexpr (S == Area::Local)
    return w.local + u64(lane) * w.localStride + address;
  return const_cast<u8 *>(w.params) + address;
}

/// Calls f.template operator()<Area>(mask) for each area that the lanes' generic addresses fall in, with the addresses
/// made offsets of that area.
template <class F> VITRIFY_INLINE void splitGeneric(u32 m, WarpAccess &acc, F f) {
  Extent e = extentOf(acc, m);
  if (!(e.bits >> 56)) {
    f.template operator()<Area::Global>(m);
    return;
  }
  u32 masks[4] = {};
  for (u32 rest = m; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    u64 window = acc.address[l] >> 56;
    u32 area = window >= 1 && window <= 3 ? u32(window) : 0;
    masks[area] |= 1u << l;
    if (area)
      acc.address[l] &= (u64(1) << 56) - 1;
  }
  if (masks[0])
    f.template operator()<Area::Global>(masks[0]);
  if (masks[1])
    f.template operator()<Area::Shared>(masks[1]);
  if (masks[2])
    f.template operator()<Area::Local>(masks[2]);
  if (masks[3])
    f.template operator()<Area::Param>(masks[3]);
}

/// Runs f.template operator()<Area>(lanes) on the lanes that pass the checks.
template <Area S, class F> VITRIFY_INLINE void access(Warp &w, const Inst &i, u32 m, WarpAccess &acc, F f) {
  auto run = [&]<Area A>(u32 lanes) {
    u32 ok = checked<A>(w, i, lanes, acc);
    if (ok)
      f.template operator()<A>(ok);
  };
  if constexpr (S == Area::Generic)
    splitGeneric(m, acc, run);
  else
    run.template operator()<S>(m);
}

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
