//===- RaceAccess.cpp - the race detector's look at accesses ----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Every access meets the last write and two reads of each granule it touches.
// Nearly all find an order at once; what is left goes the long way, which also
// reports.
//===----------------------------------------------------------------------===//
#include "Race.h"
#include "RaceStamp.h"

#include <algorithm>
#include <bit>

namespace vitrify::emulator {

namespace {

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

/// The plain accesses of one warp instruction: whole state of a cell in a few steps where everything is in order.
class Toucher {
public:
  Toucher(Warp &w, const Inst &i, uint32_t pc, bool shared, uint32_t bytes)
      : w(w), i(i), base(stampOf(w, 0, false)), tag(pc << 4), bytes(bytes), shared(shared) {
    leastSync = ~0u;
    for (uint32_t sync : w.laneSync)
      leastSync = std::min(leastSync, sync);
  }

  void read(Cell &cell, uint32_t lane, uint32_t mask, uint64_t address) {
    if (Stamp last = get(cell.write); last && !isOrdered(lane, last)) [[unlikely]] {
      touch(w, i, tag >> 4, lane, cell, mask, true, false, false, shared, address, bytes);
      return;
    }
    Stamp first = get(cell.read), now = base | Stamp(lane) << 27;
    set(!first || isMine(first) || isOrdered(lane, first) ? cell.read : cell.read2, now);
    set(cell.readPc, tag | mask | (first ? get(cell.readPc) & 15 : 0));
  }

  void write(Cell &cell, uint32_t lane, uint32_t mask, uint64_t address) {
    Stamp last = get(cell.write), first = get(cell.read), second = get(cell.read2);
    if ((last && !isOrdered(lane, last)) || (first && !isOrdered(lane, first)) || (second && !isOrdered(lane, second)))
        [[unlikely]] {
      touch(w, i, tag >> 4, lane, cell, mask, false, true, false, shared, address, bytes);
      return;
    }
    set(cell.write, base | Stamp(lane) << 27);
    set(cell.writePc, tag | mask);
    if (first)
      set(cell.read, 0);
    if (second)
      set(cell.read2, 0);
  }

private:
  bool isMine(Stamp s) const { return s >> 32 == base >> 32; }
  bool isOrdered(uint32_t lane, Stamp s) {
    if (isMine(s))
      return clockOf(s) < leastSync || laneOf(s) == lane || clockOf(s) < w.laneSync[lane];
    if (s >> 37 == base >> 37)
      return clockOf(s) <= w.seen[warpOf(s)];
    if (shared)
      return true;
    // Of another block: neither depends on the lanes.
    Stamp key = s & ~(Stamp(63) << 26);
    if (key != known) {
      known = key;
      knownOrdered = ordered(w, lane, s, shared);
    }
    return knownOrdered;
  }

  Warp &w;
  const Inst &i;
  Stamp base, known = 0;
  uint32_t tag, bytes, leastSync;
  bool shared, knownOrdered = false;
};

/// Calls f(granule, mask of its bytes) for each granule of [first, end).
template <class F> void eachGranule(uint64_t first, uint64_t end, F f) {
  if (!((first | end) & 3)) {
    for (uint64_t granule = first / 4; granule < end / 4; ++granule)
      f(granule, 15u);
    return;
  }
  for (uint64_t granule = first / 4; granule * 4 < end; ++granule) {
    uint64_t from = std::max(first, granule * 4), to = std::min(end, granule * 4 + 4);
    f(granule, ((1u << (to - granule * 4)) - 1) & ~((1u << (from - granule * 4)) - 1));
  }
}

/// Whether one of the granules has a copy under way.
bool anyPending(const SharedShadow &shadow, uint64_t first, uint64_t end) {
  uint16_t any = 0;
  for (uint64_t granule = first / 4; granule * 4 < end; ++granule)
    any |= shadow.pending[granule];
  return any;
}

void reportPending(Warp &w, const Inst &i, uint32_t lane, SharedShadow &shadow, uint64_t granule, uint64_t address,
                   uint32_t bytes, const char *what) {
  Report r;
  r.kind = FaultKind::UnawaitedAsyncCopy;
  r.check = CheckRace;
  r.kernel = w.grid->function->info.name;
  r.site = siteOf(w, i, lane);
  r.site.access = what;
  r.address = address;
  r.size = bytes;
  r.space = "shared";
  r.hasOther = true;
  r.other = siteOf(*w.grid, shadow.pendingPc[granule], w.cta->index, shadow.pending[granule] - 1u);
  r.other.access = "async copy";
  r.detail = "the thread that started the copy has not waited for its group";
  addReport(*w.grid, std::move(r));
  shadow.pending[granule] = 0;
}

} // namespace

void raceGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access) {
  GlobalShadow &shadow = *w.grid->shadow;
  if (!shadow.cells)
    return;
  raceTakeReads(w);
  bool atomic = access.access == Access::Atomic;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  bool reads = access.access == Access::Read || (atomic && cls != InstClass::StoreGlobal);
  bool writes = access.access == Access::Write || (atomic && cls != InstClass::LoadGlobal);
  uint32_t pc = pcOf(w, i);
  Toucher toucher(w, i, pc, false, access.bytes);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    if (address < shadow.base || address - shadow.base + access.bytes > shadow.span)
      continue;
    uint64_t first = address - shadow.base, end = first + access.bytes;
    if (atomic) {
      eachGranule(first, end, [&](uint64_t granule, uint32_t bytes) {
        touch(w, i, pc, lane, shadow.cells[granule], bytes, reads, writes, true, false, address, access.bytes);
      });
      raceSync(w, i, address, false, reads, writes);
    } else if (writes) {
      eachGranule(first, end,
                  [&](uint64_t granule, uint32_t bytes) { toucher.write(shadow.cells[granule], lane, bytes, address); });
    } else {
      eachGranule(first, end,
                  [&](uint64_t granule, uint32_t bytes) { toucher.read(shadow.cells[granule], lane, bytes, address); });
    }
  }
}

void raceShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access) {
  raceTakeReads(w);
  SharedShadow &shadow = *w.cta->shadow;
  bool atomic = access.access == Access::Atomic, copy = access.access == Access::AsyncCopy;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  bool isMbarrier = cls == InstClass::Barrier || (cls == InstClass::AsyncCopy && atomic);
  bool reads = access.access == Access::Read || (atomic && cls != InstClass::StoreShared);
  bool writes = access.access == Access::Write || copy || (atomic && cls != InstClass::LoadShared);
  uint32_t pc = pcOf(w, i);
  Toucher toucher(w, i, pc, true, access.bytes);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t first = access.address[lane], end = first + access.bytes;
    if (atomic || anyPending(shadow, first, end)) {
      eachGranule(first, end, [&](uint64_t granule, uint32_t bytes) {
        if (shadow.pending[granule])
          reportPending(w, i, lane, shadow, granule, first, access.bytes, copy ? "async copy" : writes ? "write" : "read");
        touch(w, i, pc, lane, shadow.cells[granule], bytes, reads, writes, atomic, true, first, access.bytes);
      });
      if (atomic && !isMbarrier)
        raceSync(w, i, first, true, reads, writes);
    } else if (writes) {
      eachGranule(first, end,
                  [&](uint64_t granule, uint32_t bytes) { toucher.write(shadow.cells[granule], lane, bytes, first); });
    } else {
      eachGranule(first, end,
                  [&](uint64_t granule, uint32_t bytes) { toucher.read(shadow.cells[granule], lane, bytes, first); });
    }
    if (copy)
      for (uint64_t granule = first / 4; granule * 4 < end; ++granule) {
        shadow.pending[granule] = static_cast<uint16_t>(w.id * 32 + lane + 1);
        shadow.pendingPc[granule] = pc;
      }
  }
}

} // namespace vitrify::emulator
