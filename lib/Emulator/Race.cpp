//===- Race.cpp - the race detector -----------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Vector clocks by warp; lanes of a warp are ordered by warp-level and block
// barriers. Released knowledge travels through the addresses of atomics and
// ordered accesses: a relaxed one passes on what was known at the last fence,
// and what it brings is known after the next one. Errs on the side of silence.
//===----------------------------------------------------------------------===//
#include "GlobalShadow.h"
#include "Race.h"
#include "RaceStamp.h"

#include <bit>

#include <sys/mman.h>

namespace vitrify::emulator {

Cta::Cta() = default;
Cta::~Cta() = default;

GlobalShadow::~GlobalShadow() {
  if (cells)
    munmap(cells, span / 4 * sizeof(Cell));
}

std::unique_ptr<GlobalShadow> acquireGlobalShadow(Device &device, uint32_t) {
  auto shadow = std::make_unique<GlobalShadow>();
  shadow->base = device.memory().base();
  shadow->span = device.memory().span();
  void *p = mmap(nullptr, shadow->span / 4 * sizeof(Cell), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p != MAP_FAILED) {
    shadow->cells = static_cast<Cell *>(p);
    // Eight bytes of cells for each of memory: small pages would cost more than the check itself.
    (void)madvise(p, shadow->span / 4 * sizeof(Cell), MADV_HUGEPAGE);
  }
  return shadow;
}

namespace {

Clocks knowledge(const Warp &w) {
  Clocks out = w.race->foreign;
  uint64_t base = blockOf(w) * 32;
  for (uint32_t v = 0; v < w.seen.size(); ++v)
    if (uint32_t clock = v == w.id ? w.clock : w.seen[v])
      out[base + v] = clock;
  return out;
}

void join(Clocks &to, const Clocks &from) {
  for (auto [key, clock] : from) {
    uint32_t &have = to[key];
    have = std::max(have, clock);
  }
}

void acquire(Warp &w, const Clocks &from) {
  uint64_t block = blockOf(w);
  for (auto [key, clock] : from) {
    if (key / 32 == block) {
      if (key % 32 < w.seen.size() && key % 32 != w.id)
        w.seen[key % 32] = std::max(w.seen[key % 32], clock);
    } else {
      uint32_t &have = w.race->foreign[key];
      have = std::max(have, clock);
    }
  }
}

void take(Warp &w, const std::unordered_map<uint64_t, SyncState> &syncs, uint64_t address, bool now) {
  auto it = syncs.find(address);
  if (it == syncs.end())
    return;
  Clocks mine;
  const Clocks *from = &it->second.clocks;
  if (!it->second.crossesBlocks) {
    // Releases of block scope reach the block's own warps only.
    for (auto [key, clock] : *from)
      if (key / 32 == blockOf(w))
        mine[key] = clock;
    from = &mine;
  }
  if (now)
    acquire(w, *from);
  else
    join(w.race->pending, *from);
}

/// What the warp releases is there for those who read `address` after it.
void publish(Warp &w, const Inst &i, uint64_t address, bool shared, bool releases) {
  GlobalShadow *global = w.grid->shadow.get();
  std::unique_lock<std::mutex> lock;
  if (!shared)
    lock = std::unique_lock(global->mutex);
  auto &syncs = shared ? w.cta->shadow->syncs : global->syncs;
  SyncState &state = syncs[address];
  join(state.clocks, releases ? knowledge(w) : w.race->fenced);
  state.crossesBlocks |= i.scope != Scope::Cta && (releases || w.race->fenceCrosses);
  if (!shared)
    global->anySync.store(true, std::memory_order_release);
  if (releases)
    ++w.clock;
}

} // namespace

void raceTakeReads(Warp &w) {
  if (w.race->reads.empty())
    return;
  GlobalShadow *global = w.grid->shadow.get();
  const bool anyGlobal = global->anySync.load(std::memory_order_acquire), anyShared = !w.cta->shadow->syncs.empty();
  for (const RaceState::Reads &read : w.race->reads) {
    if (!(read.shared ? anyShared : anyGlobal))
      continue;
    std::unique_lock<std::mutex> lock;
    if (!read.shared)
      lock = std::unique_lock(global->mutex);
    auto &syncs = read.shared ? w.cta->shadow->syncs : global->syncs;
    for (uint32_t k = 0; k < read.count; ++k)
      take(w, syncs, read.address[k], read.now);
  }
  w.race->reads.clear();
}

void raceStart(Cta &cta) {
  GridState &grid = *cta.warps[0].grid;
  if (!(grid.options->checks & CheckRace))
    return;
  if (!cta.shadow) {
    cta.shadow = std::make_unique<SharedShadow>();
    for (auto *part : {&cta.shadow->write, &cta.shadow->read, &cta.shadow->read2})
      part->resize(grid.sharedBytes / 4 + 1);
    cta.shadow->writePc.resize(grid.sharedBytes / 4 + 1);
    cta.shadow->readPc.resize(grid.sharedBytes / 4 + 1);
    cta.shadow->pendingPc.resize(grid.sharedBytes / 4 + 1);
  }
  cta.shadow->pending.assign(grid.sharedBytes / 4 + 1, 0);
  cta.shadow->copies = false;
  cta.shadow->syncs.clear();
  for (Warp &w : cta.warps) {
    w.seen.assign(cta.warps.size(), 0);
    w.clock = 1;
    for (uint32_t &l : w.laneSync)
      l = 0;
    w.race = std::make_shared<RaceState>();
  }
}

void raceSync(Warp &w, const Inst &i, uint64_t address, bool shared, bool reads, bool writes) {
  WarpAccess access;
  access.address[0] = address;
  raceSync(w, i, 1, access, shared, reads, writes);
}

void raceSync(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool shared, bool reads, bool writes) {
  if (!w.checksRace || !w.cta->shadow)
    return;
  const bool releases = i.order == Order::Release || i.order == Order::AcqRel || i.order == Order::SeqCst;
  const bool publishes = writes && (releases || w.race->hasFence);
  if (!reads && !publishes)
    return;
  RaceState::Reads these;
  these.shared = shared;
  these.now = i.order == Order::Acquire || i.order == Order::AcqRel || i.order == Order::SeqCst;
  these.count = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint64_t address = access.address[std::countr_zero(rest)];
    // Lanes in a row that meet in one variable say the same about their warp.
    if (!these.count || these.address[these.count - 1] != address)
      these.address[these.count++] = address;
  }
  if (publishes)
    for (uint32_t k = 0; k < these.count; ++k)
      publish(w, i, these.address[k], shared, releases);
  if (reads)
    w.race->reads.push_back(these);
}

void raceFence(Warp &w, Scope scope) {
  if (!w.checksRace || !w.race)
    return;
  raceTakeReads(w);
  acquire(w, w.race->pending);
  w.race->pending.clear();
  w.race->fenced = knowledge(w);
  w.race->hasFence = true;
  w.race->fenceCrosses = scope != Scope::Cta;
  ++w.clock;
}

void raceRelease(Warp &w) {
  if (!w.checksRace)
    return;
  raceTakeReads(w);
  ++w.clock;
}

void raceWarpSync(Warp &w, uint32_t mask) {
  if (!w.checksRace)
    return;
  ++w.clock;
  for (uint32_t rest = mask; rest; rest &= rest - 1)
    w.laneSync[std::countr_zero(rest)] = w.clock;
}

void raceBarrier(Cta &cta, const std::vector<uint32_t> &arrived, const std::vector<std::pair<Warp *, uint32_t>> &waiting) {
  if (cta.warps.empty() || !cta.warps[0].checksRace || !cta.shadow)
    return;
  std::vector<uint32_t> joined(cta.warps.size(), 0);
  Clocks foreign, fenced, pending;
  bool hasFence = false, crosses = false;
  for (uint32_t a : arrived) {
    const Warp &w = cta.warps[a];
    for (size_t v = 0; v < joined.size(); ++v)
      joined[v] = std::max(joined[v], w.seen[v]);
    joined[a] = std::max(joined[a], w.clock - 1); // the arrival was the last release
    if (!w.race->foreign.empty())
      join(foreign, w.race->foreign);
    if (!w.race->pending.empty())
      join(pending, w.race->pending);
    // What each thread fenced before the barrier, one of them may publish after it.
    if (w.race->hasFence) {
      join(fenced, w.race->fenced);
      hasFence = true;
      crosses |= w.race->fenceCrosses;
    }
  }
  for (auto [w, mask] : waiting) {
    for (size_t v = 0; v < joined.size(); ++v)
      w->seen[v] = std::max(w->seen[v], joined[v]);
    if (!foreign.empty())
      join(w->race->foreign, foreign);
    if (!pending.empty())
      join(w->race->pending, pending);
    if (hasFence) {
      join(w->race->fenced, fenced);
      w->race->hasFence = true;
      w->race->fenceCrosses |= crosses;
    }
    for (uint32_t rest = mask; rest; rest &= rest - 1)
      w->laneSync[std::countr_zero(rest)] = w->clock;
  }
}

namespace {
/// The copies of the lanes have landed: they count as written now.
void land(Warp &w, std::vector<AsyncCopyState::Copy> &copies, uint32_t mask) {
  SharedShadow &shadow = *w.cta->shadow;
  std::erase_if(copies, [&](const AsyncCopyState::Copy &copy) {
    if (!(mask >> copy.lane & 1))
      return false;
    for (uint32_t granule = copy.begin / 4; granule * 4 < copy.end; ++granule) {
      if (shadow.pending[granule] == w.id * 32u + copy.lane + 1)
        shadow.pending[granule] = 0;
      set(shadow.write[granule], stampOf(w, copy.lane, false));
    }
    return true;
  });
}
} // namespace

void raceCommit(Warp &w, uint32_t mask) {
  if (!w.checksRace)
    return;
  std::vector<AsyncCopyState::Copy> taken;
  std::erase_if(w.async.open, [&](const AsyncCopyState::Copy &copy) {
    if (!(mask >> copy.lane & 1))
      return false;
    taken.push_back(copy);
    return true;
  });
  w.async.groups.push_back(std::move(taken));
}

void raceWaitGroup(Warp &w, uint32_t mask, uint64_t keep, bool all) {
  if (!w.checksRace)
    return;
  if (all) {
    land(w, w.async.open, mask);
    keep = 0;
  }
  size_t count = w.async.groups.size();
  for (size_t g = 0; g + keep < count; ++g)
    land(w, w.async.groups[g], mask);
  // Groups that are empty at the front are forgotten; the newest `keep` stay countable.
  while (w.async.groups.size() > keep && w.async.groups.front().empty())
    w.async.groups.erase(w.async.groups.begin());
}

void raceCommitTo(Warp &w, uint32_t mask) {
  if (!w.checksRace)
    return;
  land(w, w.async.open, mask);
  for (auto &group : w.async.groups)
    land(w, group, mask);
}

} // namespace vitrify::emulator
