//===- Race.h - the race detector -------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Happens-before over accesses of 4-byte granules. Every warp has a clock; it
// knows the clocks of others up to the last time it synchronised with them.
// Lanes of one warp are ordered by warp-level synchronisation only.
//===----------------------------------------------------------------------===//
#pragma once

#include "Grid.h"

#include <unordered_map>

namespace vitrify::emulator {

/// Accesses, after the bounds were checked. `dense`: every lane's address is its lane times the size further than lane 0's.
void raceShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool dense);
void raceGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool dense);
/// Synchronisation.
void raceBarrier(Cta &cta, const std::vector<uint32_t> &arrived, const std::vector<std::pair<Warp *, uint32_t>> &waiting);
void raceRelease(Warp &w);
void raceWarpSync(Warp &w, uint32_t mask);
void raceFence(Warp &w, Scope scope);
/// An atomic or ordered access to `address` (global, or shared with `shared` set) by the lanes of one warp.
void raceSync(Warp &w, const Inst &i, uint64_t address, bool shared, bool reads, bool writes);
/// The same by the lanes of `mask`.
void raceSync(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool shared, bool reads, bool writes);
void raceStart(Cta &cta);
/// cp.async: a group is closed; groups older than the last `keep` (or all) have been waited for; arrival on an mbarrier
/// takes the open copies.
void raceCommit(Warp &w, uint32_t mask);
void raceWaitGroup(Warp &w, uint32_t mask, uint64_t keep, bool all);
void raceCommitTo(Warp &w, uint32_t mask);

} // namespace vitrify::emulator
