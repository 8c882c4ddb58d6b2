//===- RaceStamp.h - stamps of accesses, knowledge of warps -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Shared by the two halves of the race detector: synchronisation (Race.cpp) and
// accesses (RaceAccess.cpp).
//===----------------------------------------------------------------------===//
#pragma once

#include "GlobalShadow.h"

namespace vitrify::emulator {

/// A warp's knowledge beside its block: foreign warps, the last fence, what the next fence will bring.
struct RaceState {
  Clocks foreign;
  Clocks fenced;
  bool hasFence = false, fenceCrosses = false;
  Clocks pending;
  /// Variables read by the last access. What they pass on is taken when the warp does its next step: the check runs
  /// before the access itself, and a release may come in between.
  struct Read {
    uint64_t address;
    bool shared, now;
  };
  std::vector<Read> reads;
};

inline constexpr uint32_t kClockMask = (1u << 26) - 1;

inline Stamp stampOf(const Warp &w, uint32_t lane, bool atomic) {
  return Stamp(1) << 63 | (w.cta->index & 0x3ffffff) << 37 | Stamp(w.id) << 32 | Stamp(lane) << 27 | Stamp(atomic) << 26 |
         (w.clock & kClockMask);
}
inline uint64_t blockOf(Stamp s) { return s >> 37 & 0x3ffffff; }
inline uint32_t warpOf(Stamp s) { return s >> 32 & 31; }
inline uint32_t laneOf(Stamp s) { return s >> 27 & 31; }
inline bool atomicOf(Stamp s) { return s >> 26 & 1; }
inline uint32_t clockOf(Stamp s) { return s & kClockMask; }

inline Stamp get(const Stamp &s) { return __atomic_load_n(&s, __ATOMIC_RELAXED); }
inline void set(Stamp &s, Stamp v) { __atomic_store_n(&s, v, __ATOMIC_RELAXED); }
inline uint32_t get(const uint32_t &s) { return __atomic_load_n(&s, __ATOMIC_RELAXED); }
inline void set(uint32_t &s, uint32_t v) { __atomic_store_n(&s, v, __ATOMIC_RELAXED); }

/// Takes what the variables pass on that the warp's last access read.
void raceTakeReads(Warp &w);

} // namespace vitrify::emulator
