//===- Mbarrier.h - the word of an mbarrier ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// An mbarrier is an opaque 64-bit word. Ours: 20 bits arrivals expected in a
// phase, 20 bits still pending, 22 bits of transactions in flight (signed), and
// the parity of the phase.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

namespace vitrify::emulator {

inline constexpr uint64_t kMbarrierMaxCount = (1u << 20) - 1;

inline uint64_t mbarrierMake(uint64_t expected, uint64_t pending, int64_t transactions, uint64_t phase) {
  return (expected & 0xfffff) | (pending & 0xfffff) << 20 | (uint64_t(transactions) & 0x3fffff) << 40 | phase << 63;
}
inline uint32_t mbarrierPhase(uint64_t word) { return uint32_t(word >> 63); }
inline uint32_t mbarrierExpected(uint64_t word) { return word & 0xfffff; }
inline uint32_t mbarrierPending(uint64_t word) { return word >> 20 & 0xfffff; }
inline int32_t mbarrierTransactions(uint64_t word) { return int32_t(uint32_t(word >> 40 & 0x3fffff) << 10) >> 10; }

/// The word after `arrivals` arrivals and a change of the transactions; a completed phase starts the next.
inline uint64_t mbarrierUpdate(uint64_t word, uint32_t arrivals, int32_t transactions, uint32_t drop = 0) {
  uint64_t expected = mbarrierExpected(word) - drop, pending = mbarrierPending(word) - arrivals;
  int64_t tx = mbarrierTransactions(word) + transactions;
  uint64_t phase = mbarrierPhase(word);
  if (pending == 0 && tx == 0) {
    phase ^= 1;
    pending = expected;
  }
  return mbarrierMake(expected, pending, tx, phase);
}

} // namespace vitrify::emulator
