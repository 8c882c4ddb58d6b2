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
  struct Reads {
    uint64_t address[32];
    uint32_t count;
    bool shared, now;
  };
  std::vector<Reads> reads;
};

/// The bytes of a granule that an access touched. Halves and Bytes are accesses of neighbouring lanes in one: the stamp's
/// lane touched the first half (byte), the next lane the next.
enum class Part : uint8_t { Whole, Low, High, Byte0, Byte1, Byte2, Byte3, Halves, Bytes };

inline constexpr uint32_t kClockMask = (1u << 24) - 1, kBlockMask = (1u << 24) - 1;
inline constexpr Stamp kAtomicBit = Stamp(1) << 24;
inline constexpr unsigned kLaneShift = 25, kPartShift = 30, kWarpShift = 34, kBlockShift = 39;
/// All that tells accesses of one warp at one time apart.
inline constexpr Stamp kPartLaneAtomic = (Stamp(1) << kWarpShift) - kAtomicBit;

inline uint64_t blockOf(const Warp &w) { return w.cta->index & kBlockMask; }
inline Stamp stampOf(const Warp &w, uint32_t lane, bool atomic, Part part = Part::Whole) {
  return Stamp(1) << 63 | blockOf(w) << kBlockShift | Stamp(w.id) << kWarpShift | Stamp(part) << kPartShift |
         Stamp(lane) << kLaneShift | (atomic ? kAtomicBit : 0) | (w.clock & kClockMask);
}
inline uint64_t blockOf(Stamp s) { return s >> kBlockShift & kBlockMask; }
inline uint32_t warpOf(Stamp s) { return s >> kWarpShift & 31; }
inline Part partOf(Stamp s) { return Part(s >> kPartShift & 15); }
inline uint32_t laneOf(Stamp s) { return s >> kLaneShift & 31; }
inline bool atomicOf(Stamp s) { return s & kAtomicBit; }
inline uint32_t clockOf(Stamp s) { return s & kClockMask; }

inline Stamp get(const Stamp &s) { return __atomic_load_n(&s, __ATOMIC_RELAXED); }
inline void set(Stamp &s, Stamp v) { __atomic_store_n(&s, v, __ATOMIC_RELAXED); }
inline uint32_t get(const uint32_t &s) { return __atomic_load_n(&s, __ATOMIC_RELAXED); }
inline void set(uint32_t &s, uint32_t v) { __atomic_store_n(&s, v, __ATOMIC_RELAXED); }

/// Takes what the variables pass on that the warp's last access read.
void raceTakeReads(Warp &w);

} // namespace vitrify::emulator
