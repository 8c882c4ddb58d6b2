//===- Race.cpp - the race detector -----------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Vector clocks by warp; lanes of a warp are ordered by warp-level and block
// barriers. Released knowledge travels through the addresses of atomics and
// ordered accesses: a relaxed one passes on what was known at the last fence,
// and what it brings is known after the next one. Errs on the side of silence.
//===----------------------------------------------------------------------===//
#include "Race.h"
#include "GlobalShadow.h"

#include <bit>

#include <sys/mman.h>

namespace vitrify::emulator {

Cta::Cta() = default;
Cta::~Cta() = default;

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
  if (p != MAP_FAILED)
    shadow->cells = static_cast<Cell *>(p);
  return shadow;
}

namespace {

constexpr uint32_t kClockMask = (1u << 26) - 1;

Stamp stampOf(const Warp &w, uint32_t lane, bool atomic) {
  return Stamp(1) << 63 | (w.cta->index & 0x3ffffff) << 37 | Stamp(w.id) << 32 | Stamp(lane) << 27 | Stamp(atomic) << 26 |
         (w.clock & kClockMask);
}
uint64_t blockOf(Stamp s) { return s >> 37 & 0x3ffffff; }
uint32_t warpOf(Stamp s) { return s >> 32 & 31; }
uint32_t laneOf(Stamp s) { return s >> 27 & 31; }
bool atomicOf(Stamp s) { return s >> 26 & 1; }
uint32_t clockOf(Stamp s) { return s & kClockMask; }

Stamp get(const Stamp &s) { return __atomic_load_n(&s, __ATOMIC_RELAXED); }
void set(Stamp &s, Stamp v) { __atomic_store_n(&s, v, __ATOMIC_RELAXED); }
uint32_t get(const uint32_t &s) { return __atomic_load_n(&s, __ATOMIC_RELAXED); }
void set(uint32_t &s, uint32_t v) { __atomic_store_n(&s, v, __ATOMIC_RELAXED); }

/// Whether the access happened before what `lane` does now.
bool ordered(const Warp &w, uint32_t lane, Stamp s, bool shared) {
  if (!s)
    return true;
  if (blockOf(s) == (w.cta->index & 0x3ffffff)) {
    if (warpOf(s) == w.id)
      return laneOf(s) == lane || clockOf(s) < w.laneSync[lane];
    return clockOf(s) <= w.seen[warpOf(s)];
  }
  if (shared)
    return true; // a block that was here before
  auto it = w.race->foreign.find(blockOf(s) * 32 + warpOf(s));
  return it != w.race->foreign.end() && clockOf(s) <= it->second;
}

void report(Warp &w, const Inst &i, uint32_t lane, Stamp other, uint32_t otherPc, bool otherWrote, bool writes, bool atomic,
            bool shared, uint64_t address, uint32_t bytes) {
  Report r;
  r.kind = shared ? FaultKind::RaceShared : FaultKind::RaceGlobal;
  r.check = CheckRace;
  r.kernel = w.grid->function->info.name;
  r.site = siteOf(w, i, lane);
  r.site.access = atomic ? "atomic" : writes ? "write" : "read";
  r.address = address;
  r.size = bytes;
  r.space = shared ? "shared" : "global";
  r.hasOther = true;
  r.other = siteOf(*w.grid, otherPc >> 4, blockOf(other), warpOf(other) * 32 + laneOf(other));
  r.other.access = atomicOf(other) ? "atomic" : otherWrote ? "write" : "read";
  r.detail = blockOf(other) != (w.cta->index & 0x3ffffff) ? "the blocks did not synchronise between the accesses"
             : warpOf(other) != w.id ? "the warps did not synchronise between the accesses"
                                     : "the threads of the warp did not synchronise between the accesses";
  addReport(*w.grid, std::move(r));
}

void touch(Warp &w, const Inst &i, uint32_t pc, uint32_t lane, Cell &cell, uint32_t mask, bool read, bool write, bool atomic,
           bool shared, uint64_t address, uint32_t bytes) {
  Stamp now = stampOf(w, lane, atomic);
  Stamp last = get(cell.write);
  uint32_t tag = pc << 4 | mask;
  auto sameInstruction = [&](Stamp s, uint32_t otherPc) {
    return blockOf(s) == blockOf(now) && warpOf(s) == w.id && clockOf(s) == clockOf(now) && otherPc >> 4 == pc;
  };
  if (last && !(atomic && atomicOf(last)) && !ordered(w, lane, last, shared)) {
    uint32_t otherPc = get(cell.writePc);
    if ((otherPc & mask) && !(write && sameInstruction(last, otherPc)))
      report(w, i, lane, last, otherPc, true, write, atomic, shared, address, bytes);
  }
  if (write) {
    uint32_t otherPc = get(cell.readPc);
    for (Stamp *slot : {&cell.read, &cell.read2}) {
      Stamp reader = get(*slot);
      if (reader && !(atomic && atomicOf(reader)) && (otherPc & mask) && !ordered(w, lane, reader, shared)) {
        report(w, i, lane, reader, otherPc, false, true, atomic, shared, address, bytes);
        break;
      }
    }
    set(cell.write, now);
    set(cell.writePc, tag);
    if (!read) {
      set(cell.read, 0);
      set(cell.read2, 0);
      return;
    }
  }
  if (read && !write) {
    Stamp first = get(cell.read);
    uint32_t bits = get(cell.readPc) & 15;
    if (!first || ordered(w, lane, first, shared) || (warpOf(first) == w.id && blockOf(first) == blockOf(now)))
      set(cell.read, now);
    else
      set(cell.read2, now);
    set(cell.readPc, tag | (first ? bits : 0));
  }
}

Clocks knowledge(const Warp &w) {
  Clocks out = w.race->foreign;
  uint64_t base = (w.cta->index & 0x3ffffff) * 32;
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
  uint64_t block = w.cta->index & 0x3ffffff;
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

} // namespace

namespace {
void takeReads(Warp &w) {
  if (w.race->reads.empty())
    return;
  GlobalShadow *global = w.grid->shadow.get();
  for (const RaceState::Read &read : w.race->reads) {
    if (!read.shared && !global->anySync.load(std::memory_order_acquire))
      continue;
    std::unique_lock<std::mutex> lock;
    if (!read.shared)
      lock = std::unique_lock(global->mutex);
    auto &syncs = read.shared ? w.cta->shadow->syncs : global->syncs;
    auto it = syncs.find(read.address);
    if (it == syncs.end())
      continue;
    Clocks mine;
    const Clocks *from = &it->second.clocks;
    if (!it->second.crossesBlocks) {
      // Releases of block scope reach the block's own warps only.
      for (auto [key, clock] : *from)
        if (key / 32 == (w.cta->index & 0x3ffffff))
          mine[key] = clock;
      from = &mine;
    }
    if (read.now)
      acquire(w, *from);
    else
      join(w.race->pending, *from);
  }
  w.race->reads.clear();
}
} // namespace

void raceStart(Cta &cta) {
  GridState &grid = *cta.warps[0].grid;
  if (!(grid.options->checks & CheckRace))
    return;
  if (!cta.shadow) {
    cta.shadow = std::make_unique<SharedShadow>();
    cta.shadow->cells.resize(grid.sharedBytes / 4 + 1);
    cta.shadow->pendingPc.resize(grid.sharedBytes / 4 + 1);
  }
  cta.shadow->pending.assign(grid.sharedBytes / 4 + 1, 0);
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
  if (!w.checksRace || !w.cta->shadow)
    return;
  GlobalShadow *global = w.grid->shadow.get();
  bool publishesAll = i.order == Order::Release || i.order == Order::AcqRel || i.order == Order::SeqCst;
  bool publishes = writes && (publishesAll || w.race->hasFence);
  if (reads) {
    bool now = i.order == Order::Acquire || i.order == Order::AcqRel || i.order == Order::SeqCst;
    w.race->reads.push_back({address, shared, now});
  }
  if (!publishes)
    return;
  std::unique_lock<std::mutex> lock;
  if (!shared)
    lock = std::unique_lock(global->mutex);
  auto &syncs = shared ? w.cta->shadow->syncs : global->syncs;
  if (publishes) {
    SyncState &state = syncs[address];
    join(state.clocks, publishesAll ? knowledge(w) : w.race->fenced);
    state.crossesBlocks |= i.scope != Scope::Cta && (publishesAll || w.race->fenceCrosses);
    if (!shared)
      global->anySync.store(true, std::memory_order_release);
    if (publishesAll)
      ++w.clock;
  }
}

void raceFence(Warp &w, Scope scope) {
  if (!w.checksRace || !w.race)
    return;
  takeReads(w);
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
  takeReads(w);
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

void raceGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access) {
  GlobalShadow &shadow = *w.grid->shadow;
  if (!shadow.cells)
    return;
  takeReads(w);
  bool atomic = access.access == Access::Atomic;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  bool reads = access.access == Access::Read || (atomic && cls != InstClass::StoreGlobal);
  bool writes = access.access == Access::Write || (atomic && cls != InstClass::LoadGlobal);
  uint32_t pc = pcOf(w, i);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    if (address < shadow.base || address - shadow.base + access.bytes > shadow.span)
      continue;
    uint64_t first = address - shadow.base, end = first + access.bytes;
    for (uint64_t granule = first / 4; granule * 4 < end; ++granule) {
      uint64_t from = std::max(first, granule * 4), to = std::min(end, granule * 4 + 4);
      uint32_t bytes = ((1u << (to - granule * 4)) - 1) & ~((1u << (from - granule * 4)) - 1);
      touch(w, i, pc, lane, shadow.cells[granule], bytes, reads, writes, atomic, false, address, access.bytes);
    }
    if (atomic)
      raceSync(w, i, address, false, reads, writes);
  }
}

void raceShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access) {
  takeReads(w);
  SharedShadow &shadow = *w.cta->shadow;
  bool atomic = access.access == Access::Atomic, copy = access.access == Access::AsyncCopy;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  bool isMbarrier = cls == InstClass::Barrier || (cls == InstClass::AsyncCopy && atomic);
  bool reads = access.access == Access::Read || (atomic && cls != InstClass::StoreShared);
  bool writes = access.access == Access::Write || copy || (atomic && cls != InstClass::LoadShared);
  uint32_t pc = pcOf(w, i);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t first = access.address[lane], end = first + access.bytes;
    for (uint64_t granule = first / 4; granule * 4 < end; ++granule) {
      uint64_t from = std::max(first, granule * 4), to = std::min(end, granule * 4 + 4);
      uint32_t bytes = ((1u << (to - granule * 4)) - 1) & ~((1u << (from - granule * 4)) - 1);
      if (uint16_t owner = shadow.pending[granule]) {
        Report r;
        r.kind = FaultKind::UnawaitedAsyncCopy;
        r.check = CheckRace;
        r.kernel = w.grid->function->info.name;
        r.site = siteOf(w, i, lane);
        r.site.access = copy ? "async copy" : writes ? "write" : "read";
        r.address = first;
        r.size = access.bytes;
        r.space = "shared";
        r.hasOther = true;
        r.other = siteOf(*w.grid, shadow.pendingPc[granule], w.cta->index, owner - 1u);
        r.other.access = "async copy";
        r.detail = "the thread that started the copy has not waited for its group";
        addReport(*w.grid, std::move(r));
        shadow.pending[granule] = 0;
      }
      touch(w, i, pc, lane, shadow.cells[granule], bytes, reads, writes, atomic, true, first, access.bytes);
      if (copy) {
        shadow.pending[granule] = static_cast<uint16_t>(w.id * 32 + lane + 1);
        shadow.pendingPc[granule] = pc;
      }
    }
    if (atomic && !isMbarrier)
      raceSync(w, i, first, true, reads, writes);
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
      set(shadow.cells[granule].write, stampOf(w, copy.lane, false));
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
