//===- Race.cpp - the race detector -----------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Race.h"
#include "GlobalShadow.h"

namespace vitrify::emulator {
struct SharedShadow {};
Cta::Cta() = default;
Cta::~Cta() = default;
GlobalShadow::~GlobalShadow() = default;
std::unique_ptr<GlobalShadow> acquireGlobalShadow(Device &, uint32_t) { return std::make_unique<GlobalShadow>(); }
void raceShared(Warp &, const Inst &, uint32_t, const WarpAccess &) {}
void raceGlobal(Warp &, const Inst &, uint32_t, const WarpAccess &) {}
void raceBarrier(Cta &, const std::vector<uint32_t> &, const std::vector<std::pair<Warp *, uint32_t>> &) {}
void raceRelease(Warp &) {}
void raceWarpSync(Warp &, uint32_t) {}
void raceFence(Warp &, Scope) {}
void raceSync(Warp &, const Inst &, uint64_t, bool, bool, bool) {}
void raceStart(Cta &) {}
void raceCommit(Warp &, uint32_t) {}
void raceWaitGroup(Warp &, uint32_t, uint64_t, bool) {}
void raceCommitTo(Warp &, uint32_t) {}
} // namespace vitrify::emulator
