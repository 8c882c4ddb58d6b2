//===- RaceAccess.cpp - the race detector's look at accesses ----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Every access meets the last write and two reads of each granule it touches.
// Nearly all find an order at once; what is left goes the long way, which also
// reports.
//===----------------------------------------------------------------------===//
#include "MatrixTile.h"
#include "Race.h"
#include "RaceStamp.h"

#include <algorithm>
#include <bit>
#include <cstring>

#define VITRIFY_ALWAYS_INLINE inline __attribute__((always_inline))

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

/// The parts of a granule's cell, which lie together for global memory and apart for shared memory.
struct CellRef {
  Stamp &write, &read, &read2;
  uint32_t &writePc, &readPc;
};
VITRIFY_ALWAYS_INLINE CellRef cellAt(Cell *cells, uint64_t granule) {
  Cell &c = cells[granule];
  return {c.write, c.read, c.read2, c.writePc, c.readPc};
}
VITRIFY_ALWAYS_INLINE CellRef cellAt(SharedShadow &s, uint64_t granule) {
  return {s.write[granule], s.read[granule], s.read2[granule], s.writePc[granule], s.readPc[granule]};
}

void touch(Warp &w, const Inst &i, uint32_t pc, uint32_t lane, CellRef cell, uint32_t mask, bool read, bool write, bool atomic,
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

constexpr Stamp kLaneAndAtomic = Stamp(63) << 26;

/// What a warp finds out about stamps while it makes one access.
struct Finder {
  Warp &w;
  Stamp base;         ///< the warp's stamp now, of lane 0
  uint32_t leastSync; ///< every lane has synchronised with its warp at this clock or later
  bool shared;
  Stamp asked = 0;
  bool answer = false;

  Finder(Warp &w, bool shared) : w(w), base(stampOf(w, 0, false)), shared(shared) {
    leastSync = ~0u;
    for (uint32_t sync : w.laneSync)
      leastSync = std::min(leastSync, sync);
  }

  /// Whether `s` happened before what the lane of `now` does: 0 if not, 1 if so for this lane, else a stamp (without
  /// lane) of which it holds for every lane.
  __attribute__((noinline)) Stamp find(Stamp now, Stamp s) {
    Stamp key = s & ~kLaneAndAtomic;
    if (s >> 32 == base >> 32) {
      if (clockOf(s) >= leastSync)
        return clockOf(s) < w.laneSync[laneOf(now)];
    } else if (s >> 37 == base >> 37) {
      if (clockOf(s) > w.seen[warpOf(s)])
        return 0;
    } else if (!shared) {
      // Of another block: the same for every lane, and not cheap.
      if (key != asked) {
        asked = key;
        answer = ordered(w, 0, s, false);
      }
      if (!answer)
        return 0;
    }
    return key;
  }
};

/// One plain access of a warp to whole granules.
struct WholeAccess {
  Warp &w;
  const Inst &i;
  const WarpAccess &access;
  uint32_t pc;
  Finder finder;
  Stamp knownWrite = 0, knownRead = 0; ///< stamps, without lane, that are ordered before every lane
  Stamp knownNot = 0;                  ///< the last reader that is of another warp and not ordered

  WholeAccess(Warp &w, const Inst &i, const WarpAccess &access, uint32_t pc, bool shared)
      : w(w), i(i), access(access), pc(pc), finder(w, shared) {}

  /// Whether `s` is of the lane of `now`, or of a time known to come before every lane's.
  VITRIFY_ALWAYS_INLINE bool passes(Stamp now, Stamp s, Stamp &known) {
    if (!s || (s ^ now) >> 27 == 0 || (s & ~kLaneAndAtomic) == known) [[likely]]
      return true;
    Stamp found = finder.find(now, s);
    known = found > 1 ? found : known;
    return found;
  }

  /// In a few steps where everything is in order, else by touch().
  template <bool Write> VITRIFY_ALWAYS_INLINE void one(CellRef cell, uint32_t lane) {
    const Stamp now = finder.base | Stamp(lane) << 27, last = get(cell.write), first = get(cell.read);
    bool inOrder = passes(now, last, knownWrite);
    const bool before = (first & ~kLaneAndAtomic) != knownNot ? passes(now, first, knownRead) : !first;
    if constexpr (Write) {
      const Stamp second = get(cell.read2);
      inOrder = inOrder && before && passes(now, second, knownRead);
      if (inOrder) [[likely]] {
        set(cell.write, now);
        set(cell.writePc, pc << 4 | 15);
        set(cell.read, 0);
        set(cell.read2, 0);
      }
    } else if (inOrder) [[likely]] {
      const bool mine = first >> 32 == finder.base >> 32;
      set(before || mine ? cell.read : cell.read2, now);
      set(cell.readPc, pc << 4 | 15);
      knownNot = before || mine ? knownNot : first & ~kLaneAndAtomic;
    }
    if (!inOrder) [[unlikely]]
      touch(w, i, pc, lane, cell, 15, !Write, Write, false, finder.shared, access.address[lane], access.bytes);
  }
};

template <bool Write>
void touchGlobal(Warp &w, const Inst &i, uint32_t pc, uint32_t mask, const WarpAccess &access, GlobalShadow &shadow) {
  WholeAccess whole(w, i, access, pc, false);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint32_t lane = uint32_t(std::countr_zero(rest));
    const uint64_t granule = (access.address[lane] - shadow.base) / 4;
    for (uint32_t k = 0; k < access.bytes / 4; ++k)
      whole.one<Write>(cellAt(shadow.cells, granule + k), lane);
  }
}

typedef Stamp Stamps __attribute__((vector_size(32)));

VITRIFY_ALWAYS_INLINE bool all(const Stamps &mask) { return (mask[0] & mask[1] & mask[2] & mask[3]) != 0; }

/// Four granules at once where all four are in order for the same reason. False: nothing was done.
template <bool Write> VITRIFY_ALWAYS_INLINE bool touchFour(WholeAccess &whole, SharedShadow &shadow, uint64_t granule, Stamps now) {
  Stamps last, first, second;
  std::memcpy(&last, &shadow.write[granule], 32);
  std::memcpy(&first, &shadow.read[granule], 32);
  auto passes = [&](const Stamps &s, Stamp known) __attribute__((always_inline)) {
    return Stamps(s == 0) | Stamps((s ^ now) >> 27 == 0) | Stamps((s & ~kLaneAndAtomic) == known);
  };
  Stamps inOrder = passes(last, whole.knownWrite), before = passes(first, whole.knownRead);
  if constexpr (Write) {
    std::memcpy(&second, &shadow.read2[granule], 32);
    if (!all(inOrder & before & passes(second, whole.knownRead)))
      return false;
    const Stamps none = {};
    std::memcpy(&shadow.write[granule], &now, 32);
    std::memcpy(&shadow.read[granule], &none, 32);
    std::memcpy(&shadow.read2[granule], &none, 32);
  } else {
    if (!all(inOrder))
      return false;
    if (all(before | Stamps(first >> 32 == whole.finder.base >> 32)))
      std::memcpy(&shadow.read[granule], &now, 32);
    else if (all(Stamps((first & ~kLaneAndAtomic) == whole.knownNot)))
      std::memcpy(&shadow.read2[granule], &now, 32);
    else
      return false;
  }
  const uint32_t tag = whole.pc << 4 | 15, tags[4] = {tag, tag, tag, tag};
  std::memcpy(Write ? &shadow.writePc[granule] : &shadow.readPc[granule], tags, 16);
  return true;
}

/// `dense`: all lanes, one after the other.
template <bool Write>
VITRIFY_ALWAYS_INLINE void touchShared(WholeAccess &whole, SharedShadow &shadow, uint32_t mask, bool dense) {
  const uint32_t count = whole.access.bytes / 4;
  auto four = [&](uint64_t granule, uint32_t lane, uint32_t lanesPerChunk) __attribute__((always_inline)) {
    Stamps lanes = Stamps{} + lane;
    if (lanesPerChunk == 4)
      lanes += Stamps{0, 1, 2, 3};
    else if (lanesPerChunk == 2)
      lanes += Stamps{0, 0, 1, 1};
    Stamps now = whole.finder.base | lanes << 27;
    if (touchFour<Write>(whole, shadow, granule, now)) [[likely]]
      return;
    for (uint32_t k = 0; k < 4; ++k)
      whole.one<Write>(cellAt(shadow, granule + k), lane + k * lanesPerChunk / 4);
  };
  if (dense && count < 4) {
    const uint64_t granule = whole.access.address[0] / 4;
    for (uint32_t chunk = 0; chunk < 8 * count; ++chunk)
      four(granule + 4 * chunk, 4 / count * chunk, 4 / count);
    return;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint32_t lane = uint32_t(std::countr_zero(rest));
    const uint64_t granule = whole.access.address[lane] / 4;
    if (count >= 4)
      for (uint32_t k = 0; k < count; k += 4)
        four(granule + k, lane, 1);
    else
      for (uint32_t k = 0; k < count; ++k)
        whole.one<Write>(cellAt(shadow, granule + k), lane);
  }
}

using TouchShared = void (*)(WholeAccess &, SharedShadow &, uint32_t mask, bool dense);

template <bool Write> void touchSharedBase(WholeAccess &whole, SharedShadow &shadow, uint32_t mask, bool dense) {
  touchShared<Write>(whole, shadow, mask, dense);
}
template <bool Write>
__attribute__((target("avx2,bmi"))) void touchSharedWide(WholeAccess &whole, SharedShadow &shadow, uint32_t mask, bool dense) {
  touchShared<Write>(whole, shadow, mask, dense);
}
template <bool Write> TouchShared chooseTouchShared() {
  static const TouchShared chosen = chosenLevel() >= 1 ? &touchSharedWide<Write> : &touchSharedBase<Write>;
  return chosen;
}

/// Calls f(granule, mask of its bytes) for each granule of [first, end).
template <class F> void eachGranule(uint64_t first, uint64_t end, F f) {
  for (uint64_t granule = first / 4; granule * 4 < end; ++granule) {
    uint64_t from = std::max(first, granule * 4), to = std::min(end, granule * 4 + 4);
    f(granule, ((1u << (to - granule * 4)) - 1) & ~((1u << (from - granule * 4)) - 1));
  }
}

/// Whether one of the granules has a copy under way.
bool anyPending(const SharedShadow &shadow, uint64_t first, uint64_t end) {
  const uint16_t *pending = shadow.pending.data() + first / 4;
  if (!(first & 3) && end - first == 16) {
    uint64_t four;
    std::memcpy(&four, pending, 8);
    return four;
  }
  for (uint64_t n = (end + 3) / 4 - first / 4; n; --n)
    if (*pending++)
      return true;
  return false;
}

void markPending(const Warp &w, SharedShadow &shadow, uint32_t lane, uint32_t pc, const WarpAccess &access) {
  for (uint64_t granule = access.address[lane] / 4, end = granule + access.bytes / 4; granule < end; ++granule) {
    shadow.pending[granule] = static_cast<uint16_t>(w.id * 32 + lane + 1);
    shadow.pendingPc[granule] = pc;
  }
}

/// Whether two lanes have bytes in common; addresses are multiples of the size.
bool overlapping(const WarpAccess &access, uint32_t mask) {
  uint64_t seen[32];
  uint32_t n = 0;
  bool rising = true;
  for (uint32_t rest = mask; rest; rest &= rest - 1, ++n) {
    seen[n] = access.address[std::countr_zero(rest)];
    rising &= n == 0 || seen[n] > seen[n - 1];
  }
  if (rising)
    return false;
  std::sort(seen, seen + n);
  return std::adjacent_find(seen, seen + n) != seen + n;
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
  if (!atomic && !(access.bytes & 3)) {
    // The lanes outside the range, of registered host memory, have no cells.
    uint32_t tracked = 0;
    for (uint32_t lane = 0; lane < 32; ++lane)
      tracked |= uint32_t(access.address[lane] - shadow.base < shadow.span) << lane;
    (writes ? touchGlobal<true> : touchGlobal<false>)(w, i, pc, mask & tracked, access, shadow);
    return;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    if (address < shadow.base || address - shadow.base + access.bytes > shadow.span)
      continue;
    uint64_t first = address - shadow.base;
    eachGranule(first, first + access.bytes, [&](uint64_t granule, uint32_t bytes) {
      touch(w, i, pc, lane, cellAt(shadow.cells, granule), bytes, reads, writes, atomic, false, address, access.bytes);
    });
    if (atomic)
      raceSync(w, i, address, false, reads, writes);
  }
}

void raceShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool dense) {
  raceTakeReads(w);
  SharedShadow &shadow = *w.cta->shadow;
  bool atomic = access.access == Access::Atomic, copy = access.access == Access::AsyncCopy;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  bool isMbarrier = cls == InstClass::Barrier || (cls == InstClass::AsyncCopy && atomic);
  bool reads = access.access == Access::Read || (atomic && cls != InstClass::StoreShared);
  bool writes = access.access == Access::Write || copy || (atomic && cls != InstClass::LoadShared);
  uint32_t pc = pcOf(w, i);
  uint32_t pending = 0;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    pending |= uint32_t(anyPending(shadow, access.address[lane], access.address[lane] + access.bytes)) << lane;
  }
  // Lanes of a copy may overlap, and the first makes the second's bytes pending: that case goes the long way.
  if (!atomic && !pending && !(access.bytes & 3) && !(copy && overlapping(access, mask))) {
    WholeAccess whole(w, i, access, pc, true);
    (writes ? chooseTouchShared<true>() : chooseTouchShared<false>())(whole, shadow, mask, dense && mask == ~0u);
    if (copy)
      for (uint32_t rest = mask; rest; rest &= rest - 1)
        markPending(w, shadow, uint32_t(std::countr_zero(rest)), pc, access);
    return;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t first = access.address[lane];
    eachGranule(first, first + access.bytes, [&](uint64_t granule, uint32_t bytes) {
      if (shadow.pending[granule])
        reportPending(w, i, lane, shadow, granule, first, access.bytes, copy ? "async copy" : writes ? "write" : "read");
      touch(w, i, pc, lane, cellAt(shadow, granule), bytes, reads, writes, atomic, true, first, access.bytes);
      if (copy) {
        shadow.pending[granule] = static_cast<uint16_t>(w.id * 32 + lane + 1);
        shadow.pendingPc[granule] = pc;
      }
    });
    if (atomic && !isMbarrier)
      raceSync(w, i, first, true, reads, writes);
  }
}

} // namespace vitrify::emulator
