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

/// The bytes of each Part.
constexpr uint8_t kBytesOf[] = {15, 3, 12, 1, 2, 4, 8, 15, 15};
constexpr Part kNoPart = Part(9);
/// The Part of one lane that has these bytes, kNoPart if there is none.
constexpr Part kPartOf[] = {kNoPart,     Part::Byte0, Part::Byte1, Part::Low, Part::Byte2, kNoPart, kNoPart, kNoPart,
                            Part::Byte3, kNoPart,     kNoPart,     kNoPart,   Part::High,  kNoPart, kNoPart, Part::Whole};

uint32_t lanesOf(Part part) { return part == Part::Halves ? 2 : part == Part::Bytes ? 4 : 1; }

/// Whether the access by lane `its` of the stamp's warp happened before what `lane` does now.
bool ordered(const Warp &w, uint32_t lane, Stamp s, uint32_t its, bool shared) {
  if (blockOf(s) == blockOf(w)) {
    if (warpOf(s) == w.id)
      return its == lane || clockOf(s) < w.laneSync[lane];
    return clockOf(s) <= w.seen[warpOf(s)];
  }
  if (shared)
    return true; // a block that was here before
  auto it = w.race->foreign.find(blockOf(s) * 32 + warpOf(s));
  return it != w.race->foreign.end() && clockOf(s) <= it->second;
}

/// The lane that made the access `s` to one of `bytes` without order before what `lane` does now; -1 if there is none.
int unorderedLane(const Warp &w, uint32_t lane, Stamp s, uint32_t bytes, bool shared) {
  if (!s || !(kBytesOf[size_t(partOf(s))] & bytes))
    return -1;
  const uint32_t lanes = lanesOf(partOf(s)), each = 4 / lanes;
  for (uint32_t k = 0; k < lanes; ++k)
    if ((lanes == 1 || (bytes >> k * each & ((1u << each) - 1))) && !ordered(w, lane, s, laneOf(s) + k, shared))
      return int(laneOf(s) + k);
  return -1;
}

/// One stamp for the access `now` and an earlier one of the same warp at the same time, if there is one for both.
Stamp joined(Stamp before, Stamp now) {
  const Stamp sameTime = ~(kPartLaneAtomic & ~kAtomicBit);
  if ((before ^ now) & sameTime)
    return now;
  const Part first = partOf(before), second = partOf(now);
  if (lanesOf(second) > 1)
    return now;
  const uint32_t distance = laneOf(now) - laneOf(before);
  if (first == Part::Low && second == Part::High && distance == 1)
    return (now & ~kPartLaneAtomic) | (before & kPartLaneAtomic & ~(Stamp(15) << kPartShift)) | Stamp(Part::Halves) << kPartShift;
  if (const uint32_t lanes = lanesOf(first), each = 4 / lanes; lanes > 1)
    return distance < lanes && kBytesOf[size_t(second)] == ((1u << each) - 1) << distance * each ? before : now;
  const Part both = kPartOf[kBytesOf[size_t(first)] | kBytesOf[size_t(second)]];
  return distance == 0 && both != kNoPart ? (now & ~(Stamp(15) << kPartShift)) | Stamp(both) << kPartShift : now;
}

enum class Mode : uint8_t { Read, Write, Update };

/// What one access is, for the reports and for each of its granules.
struct Subject {
  Warp &w;
  const Inst &i;
  const WarpAccess &access;
  uint32_t pc;
  Mode mode;
  bool atomic, shared;
};

void report(const Subject &of, uint32_t lane, Stamp other, uint32_t otherLane, uint32_t otherPc, bool otherWrote) {
  const Warp &w = of.w;
  Report r;
  r.kind = of.shared ? FaultKind::RaceShared : FaultKind::RaceGlobal;
  r.check = CheckRace;
  r.kernel = w.grid->function->info.name;
  r.site = siteOf(w, of.i, lane);
  r.site.access = of.atomic ? "atomic" : of.mode != Mode::Read ? "write" : "read";
  r.address = of.access.address[lane];
  r.size = of.access.bytes;
  r.space = of.shared ? "shared" : "global";
  r.hasOther = true;
  r.other = siteOf(*w.grid, otherPc, blockOf(other), warpOf(other) * 32 + otherLane);
  r.other.access = atomicOf(other) ? "atomic" : otherWrote ? "write" : "read";
  r.detail = blockOf(other) != blockOf(w) ? "the blocks did not synchronise between the accesses"
             : warpOf(other) != w.id      ? "the warps did not synchronise between the accesses"
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

/// One lane's access to a part of one granule, in full.
void touch(const Subject &of, uint32_t lane, Part part, CellRef cell) {
  const Warp &w = of.w;
  const Stamp now = stampOf(w, lane, of.atomic, part), last = get(cell.write);
  const uint32_t bytes = kBytesOf[size_t(part)];
  const bool write = of.mode != Mode::Read;
  if (!(of.atomic && atomicOf(last)))
    if (int other = unorderedLane(w, lane, last, bytes, of.shared); other >= 0) {
      const uint32_t otherPc = get(cell.writePc);
      const bool sameInstruction = !((last ^ now) & ~kPartLaneAtomic) && otherPc == of.pc;
      if (!(write && sameInstruction))
        report(of, lane, last, uint32_t(other), otherPc, true);
    }
  if (write) {
    for (Stamp *slot : {&cell.read, &cell.read2}) {
      const Stamp reader = get(*slot);
      if (of.atomic && atomicOf(reader))
        continue;
      if (int other = unorderedLane(w, lane, reader, bytes, of.shared); other >= 0) {
        report(of, lane, reader, uint32_t(other), get(cell.readPc), false);
        break;
      }
    }
    set(cell.write, joined(last, now));
    set(cell.writePc, of.pc);
    if (of.mode == Mode::Write)
      for (Stamp *slot : {&cell.read, &cell.read2})
        if (!(kBytesOf[size_t(partOf(get(*slot)))] & ~bytes))
          set(*slot, 0);
    return;
  }
  const Stamp first = get(cell.read);
  if (!first || first >> kWarpShift == now >> kWarpShift || unorderedLane(w, lane, first, 15, of.shared) < 0)
    set(cell.read, joined(first, now));
  else
    set(cell.read2, joined(get(cell.read2), now));
  set(cell.readPc, of.pc);
}

/// What a warp finds out about stamps while it makes one access.
struct Finder {
  Warp &w;
  Stamp base;         ///< the warp's stamp now, of lane 0
  uint32_t leastSync; ///< every lane has synchronised with its warp at this clock or later
  bool shared;
  Stamp asked = 0;
  bool answer = false;

  Finder(const Subject &of) : w(of.w), base(stampOf(w, 0, of.atomic)), shared(of.shared) {
    leastSync = ~0u;
    for (uint32_t sync : w.laneSync)
      leastSync = std::min(leastSync, sync);
  }

  /// Whether `s` happened before what the lane of `now` does: 0 if not, 1 if so for this lane, else a stamp (without
  /// lane) of which it holds for every lane. Lanes that act together in one stamp are asked apart, by touch().
  __attribute__((noinline)) Stamp find(Stamp now, Stamp s) {
    const Stamp key = s & ~kPartLaneAtomic;
    if (s >> kWarpShift == base >> kWarpShift) {
      if (clockOf(s) >= leastSync)
        return lanesOf(partOf(now)) == 1 && (clockOf(s) < w.laneSync[laneOf(now)] ||
                                             (lanesOf(partOf(s)) == 1 && laneOf(s) == laneOf(now)));
    } else if (s >> kBlockShift == base >> kBlockShift) {
      if (clockOf(s) > w.seen[warpOf(s)])
        return 0;
    } else if (!shared) {
      // Of another block: the same for every lane, and not cheap.
      if (key != asked) {
        asked = key;
        answer = ordered(w, 0, s, 0, false);
      }
      if (!answer)
        return 0;
    }
    return key;
  }
};

/// One access of a warp, granule by granule.
struct GranuleAccess : Subject {
  Finder finder;
  const Stamp atomicBit;
  Stamp knownWrite = 0, knownRead = 0; ///< stamps, without part and lane, that are ordered before every lane
  Stamp knownNot = 0;                  ///< the last reader that is of another warp and not ordered

  GranuleAccess(const Subject &of) : Subject(of), finder(of), atomicBit(of.atomic ? kAtomicBit : 0) {}

  Stamp stamp(uint32_t lane, Part part) const {
    return finder.base | Stamp(part) << kPartShift | Stamp(lane) << kLaneShift;
  }

  /// Whether `s` is of the lane and part of `now`, or of a time known to come before every lane's, or both are atomic.
  VITRIFY_ALWAYS_INLINE bool passes(Stamp now, Stamp s, Stamp &known) {
    if (!s || (s ^ now) >> kLaneShift == 0 || (s & ~kPartLaneAtomic) == known || (s & atomicBit)) [[likely]]
      return true;
    Stamp found = finder.find(now, s);
    known = found > 1 ? found : known;
    return found;
  }

  /// In a few steps where everything is in order, else by touch(). `part` is that of `now`.
  template <Mode M> VITRIFY_ALWAYS_INLINE void one(CellRef cell, Stamp now, Part part) {
    const Stamp last = get(cell.write), first = get(cell.read);
    bool inOrder = passes(now, last, knownWrite);
    const bool before = (first & ~kPartLaneAtomic) != knownNot ? passes(now, first, knownRead) : !first;
    if constexpr (M != Mode::Read) {
      const Stamp second = get(cell.read2);
      inOrder = inOrder && before && passes(now, second, knownRead);
      if (inOrder) [[likely]] {
        set(cell.write, now);
        set(cell.writePc, pc);
        if (M == Mode::Write && (part == Part::Whole || lanesOf(part) > 1)) {
          set(cell.read, 0);
          set(cell.read2, 0);
        }
      }
    } else if (inOrder) [[likely]] {
      const bool mine = first >> kWarpShift == finder.base >> kWarpShift;
      if (part != Part::Whole && mine && first) [[unlikely]] {
        set(cell.read, joined(first, now));
      } else {
        set(before || mine ? cell.read : cell.read2, now);
        knownNot = before || mine ? knownNot : first & ~kPartLaneAtomic;
      }
      set(cell.readPc, pc);
    }
    if (!inOrder) [[unlikely]]
      inFull(cell, now, part);
  }

  __attribute__((noinline)) void inFull(CellRef cell, Stamp now, Part part) {
    const uint32_t lanes = lanesOf(part);
    if (lanes == 1)
      return touch(*this, laneOf(now), part, cell);
    for (uint32_t k = 0; k < lanes; ++k)
      touch(*this, laneOf(now) + k, kPartOf[((1u << 4 / lanes) - 1) << k * (4 / lanes)], cell);
    Stamp &slot = mode != Mode::Read ? cell.write : (get(cell.read) ^ now) >> kWarpShift == 0 ? cell.read : cell.read2;
    set(slot, now);
    if (mode == Mode::Write) {
      set(cell.read, 0);
      set(cell.read2, 0);
    }
  }
};

/// The Part of an access of `bytes` (1 or 2) bytes at `address`.
VITRIFY_ALWAYS_INLINE Part narrowPart(uint64_t address, uint32_t bytes) {
  const uint32_t at = address & 3;
  return bytes == 2 ? (at ? Part::High : Part::Low) : Part(uint32_t(Part::Byte0) + at);
}

/// Accesses of 1 or 2 bytes a lane. `all`: of all lanes, one after the other, from a whole granule on.
template <Mode M, class Shadow>
VITRIFY_ALWAYS_INLINE void touchNarrow(GranuleAccess &of, Shadow &&shadow, uint64_t base, uint32_t mask, bool all) {
  const uint32_t bytes = of.access.bytes;
  if (all) {
    const uint64_t granule = (of.access.address[0] - base) / 4;
    const uint32_t lanes = 4 / bytes;
    const Part part = bytes == 2 ? Part::Halves : Part::Bytes;
    for (uint32_t k = 0; k < 8 * bytes; ++k)
      of.one<M>(cellAt(shadow, granule + k), of.stamp(k * lanes, part), part);
    return;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint32_t lane = uint32_t(std::countr_zero(rest));
    const Part part = narrowPart(of.access.address[lane], bytes);
    of.one<M>(cellAt(shadow, (of.access.address[lane] - base) / 4), of.stamp(lane, part), part);
  }
}

template <Mode M> void touchGlobal(GranuleAccess &of, uint32_t mask, bool dense, GlobalShadow &shadow) {
  const uint32_t bytes = of.access.bytes;
  if (bytes < 4)
    return touchNarrow<M>(of, shadow.cells, shadow.base, mask, dense && mask == ~0u && !(of.access.address[0] & 3));
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint32_t lane = uint32_t(std::countr_zero(rest));
    const uint64_t granule = (of.access.address[lane] - shadow.base) / 4;
    for (uint32_t k = 0; k < bytes / 4; ++k)
      of.one<M>(cellAt(shadow.cells, granule + k), of.stamp(lane, Part::Whole), Part::Whole);
  }
}

typedef Stamp Stamps __attribute__((vector_size(32)));

VITRIFY_ALWAYS_INLINE bool all(const Stamps &mask) { return (mask[0] & mask[1] & mask[2] & mask[3]) != 0; }

/// Four granules at once where all four are in order for the same reason. False: nothing was done. `joint`: the stamps are
/// of one Part, of lanes that touch granules together.
template <Mode M>
VITRIFY_ALWAYS_INLINE bool touchFour(GranuleAccess &of, SharedShadow &shadow, uint64_t granule, Stamps now, bool joint) {
  Stamps last, first, second;
  std::memcpy(&last, &shadow.write[granule], 32);
  std::memcpy(&first, &shadow.read[granule], 32);
  const Stamps atomic = Stamps{} + of.atomicBit;
  auto passes = [&](const Stamps &s, Stamp known) __attribute__((always_inline)) {
    return Stamps(s == 0) | Stamps((s ^ now) >> kLaneShift == 0) | Stamps((s & ~kPartLaneAtomic) == known) |
           Stamps((s & atomic) != 0);
  };
  Stamps inOrder = passes(last, of.knownWrite), before = passes(first, of.knownRead);
  if constexpr (M != Mode::Read) {
    std::memcpy(&second, &shadow.read2[granule], 32);
    if (!all(inOrder & before & passes(second, of.knownRead)))
      return false;
    const Stamps none = {};
    std::memcpy(&shadow.write[granule], &now, 32);
    if constexpr (M == Mode::Write) {
      std::memcpy(&shadow.read[granule], &none, 32);
      std::memcpy(&shadow.read2[granule], &none, 32);
    }
  } else {
    if (!all(inOrder))
      return false;
    const Stamps mine = Stamps((joint ? first >> kLaneShift == now >> kLaneShift : first >> kWarpShift == of.finder.base >> kWarpShift));
    if (all(before | mine))
      std::memcpy(&shadow.read[granule], &now, 32);
    else if (all(Stamps((first & ~kPartLaneAtomic) == of.knownNot)))
      std::memcpy(&shadow.read2[granule], &now, 32);
    else
      return false;
  }
  const uint32_t pcs[4] = {of.pc, of.pc, of.pc, of.pc};
  std::memcpy(M != Mode::Read ? &shadow.writePc[granule] : &shadow.readPc[granule], pcs, 16);
  return true;
}

/// `dense`: all lanes, one after the other.
template <Mode M>
VITRIFY_ALWAYS_INLINE void touchShared(GranuleAccess &of, SharedShadow &shadow, uint32_t mask, bool dense) {
  const uint32_t bytes = of.access.bytes, count = bytes / 4;
  auto four = [&](uint64_t granule, Stamps lanes, Part part) __attribute__((always_inline)) {
    const Stamps now = of.stamp(0, part) | lanes << kLaneShift;
    if (touchFour<M>(of, shadow, granule, now, part != Part::Whole)) [[likely]]
      return;
    for (uint32_t k = 0; k < 4; ++k)
      of.one<M>(cellAt(shadow, granule + k), now[k], part);
  };
  if (bytes < 4) {
    if (!dense || (of.access.address[0] & 3))
      return touchNarrow<M>(of, shadow, 0, mask, false);
    const uint64_t granule = of.access.address[0] / 4;
    const Stamp lanes = 4 / bytes;
    for (uint32_t k = 0; k < 8 * bytes; k += 4)
      four(granule + k, Stamps{0, lanes, 2 * lanes, 3 * lanes} + k * lanes, bytes == 2 ? Part::Halves : Part::Bytes);
    return;
  }
  if (dense && count < 4) {
    const uint64_t granule = of.access.address[0] / 4;
    const Stamps step = count == 1 ? Stamps{0, 1, 2, 3} : Stamps{0, 0, 1, 1};
    for (uint32_t chunk = 0; chunk < 8 * count; ++chunk)
      four(granule + 4 * chunk, step + 4 / count * chunk, Part::Whole);
    return;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint32_t lane = uint32_t(std::countr_zero(rest));
    const uint64_t granule = of.access.address[lane] / 4;
    if (count >= 4)
      for (uint32_t k = 0; k < count; k += 4)
        four(granule + k, Stamps{} + lane, Part::Whole);
    else
      for (uint32_t k = 0; k < count; ++k)
        of.one<M>(cellAt(shadow, granule + k), of.stamp(lane, Part::Whole), Part::Whole);
  }
}

using TouchShared = void (*)(GranuleAccess &, SharedShadow &, uint32_t mask, bool dense);

template <Mode M> void touchSharedBase(GranuleAccess &of, SharedShadow &shadow, uint32_t mask, bool dense) {
  touchShared<M>(of, shadow, mask, dense);
}
template <Mode M>
__attribute__((target("avx2,bmi"))) void touchSharedWide(GranuleAccess &of, SharedShadow &shadow, uint32_t mask, bool dense) {
  touchShared<M>(of, shadow, mask, dense);
}
template <Mode M> TouchShared chooseTouchShared() {
  static const TouchShared chosen = chosenLevel() >= 1 ? &touchSharedWide<M> : &touchSharedBase<M>;
  return chosen;
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
  const uint64_t first = access.address[lane], end = first + access.bytes;
  for (uint64_t granule = first / 4; granule * 4 < end; ++granule) {
    shadow.pending[granule] = static_cast<uint16_t>(w.id * 32 + lane + 1);
    shadow.pendingPc[granule] = pc;
  }
  shadow.copies = true;
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

void raceGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool dense) {
  GlobalShadow &shadow = *w.grid->shadow;
  if (!shadow.cells)
    return;
  raceTakeReads(w);
  const bool atomic = access.access == Access::Atomic;
  const uint32_t pc = pcOf(w, i);
  const InstClass cls = w.program->infos[pc].cls;
  const Mode mode = access.access == Access::Read || (atomic && cls == InstClass::LoadGlobal) ? Mode::Read
                    : access.access == Access::Write || cls == InstClass::StoreGlobal         ? Mode::Write
                                                                                              : Mode::Update;
  // The lanes outside the range, of registered host memory, have no cells.
  uint32_t tracked = 0;
  for (uint32_t lane = 0; lane < 32; ++lane)
    tracked |= uint32_t(access.address[lane] - shadow.base < shadow.span) << lane;
  tracked &= mask;
  GranuleAccess whole({w, i, access, pc, mode, atomic, false});
  (mode == Mode::Read    ? touchGlobal<Mode::Read>
   : mode == Mode::Write ? touchGlobal<Mode::Write>
                         : touchGlobal<Mode::Update>)(whole, tracked, dense, shadow);
  if (atomic)
    raceSync(w, i, tracked, access, false, mode != Mode::Write, mode != Mode::Read);
}

void raceShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, bool dense) {
  raceTakeReads(w);
  SharedShadow &shadow = *w.cta->shadow;
  const bool atomic = access.access == Access::Atomic, copy = access.access == Access::AsyncCopy;
  const uint32_t pc = pcOf(w, i);
  const InstClass cls = w.program->infos[pc].cls;
  const bool isMbarrier = cls == InstClass::Barrier || (cls == InstClass::AsyncCopy && atomic);
  const Mode mode = access.access == Access::Read || (atomic && cls == InstClass::LoadShared) ? Mode::Read
                    : !atomic || cls == InstClass::StoreShared                                ? Mode::Write
                                                                                              : Mode::Update;
  GranuleAccess whole({w, i, access, pc, mode, atomic, true});
  const auto touchLanes = mode == Mode::Read    ? chooseTouchShared<Mode::Read>()
                          : mode == Mode::Write ? chooseTouchShared<Mode::Write>()
                                                : chooseTouchShared<Mode::Update>();
  uint32_t pending = 0;
  if (shadow.copies)
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      uint32_t lane = uint32_t(std::countr_zero(rest));
      pending |= uint32_t(anyPending(shadow, access.address[lane], access.address[lane] + access.bytes)) << lane;
    }
  // Lanes of a copy may overlap, and the first makes the second's bytes pending: that case goes lane by lane.
  if (!pending && !(copy && overlapping(access, mask))) {
    touchLanes(whole, shadow, mask, dense && mask == ~0u);
    if (copy)
      for (uint32_t rest = mask; rest; rest &= rest - 1)
        markPending(w, shadow, uint32_t(std::countr_zero(rest)), pc, access);
  } else {
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      const uint32_t lane = uint32_t(std::countr_zero(rest));
      const uint64_t first = access.address[lane];
      for (uint64_t granule = first / 4; granule * 4 < first + access.bytes; ++granule)
        if (shadow.pending[granule])
          reportPending(w, i, lane, shadow, granule, first, access.bytes,
                        copy ? "async copy" : mode != Mode::Read ? "write" : "read");
      touchLanes(whole, shadow, 1u << lane, false);
      if (copy)
        markPending(w, shadow, lane, pc, access);
    }
  }
  if (atomic && !isMbarrier)
    raceSync(w, i, mask, access, true, mode != Mode::Write, mode != Mode::Read);
}

} // namespace vitrify::emulator
