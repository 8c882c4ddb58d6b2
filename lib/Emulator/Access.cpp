//===- Access.cpp - checks of memory accesses -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The full check of one warp access: allocation, bounds, alignment, what was
// written before, races, and the counts of sectors and bank conflicts. The
// executors skip it when nothing of it can matter.
//===----------------------------------------------------------------------===//
#include "Cache.h"
#include "Race.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vitrify::emulator {

namespace {

std::string hex(uint64_t value) {
  char text[32];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string kindName(const Allocation &a) {
  if (!a.name.empty())
    return "variable '" + a.name + "'";
  return a.kind == AllocationKind::HostPinned   ? "pinned allocation"
         : a.kind == AllocationKind::HostMapped ? "registered host memory"
         : a.kind == AllocationKind::Managed    ? "managed allocation"
                                                : "allocation";
}

/// compute-sanitizer's sentence: "Address 0x... is out of bounds and is N bytes after the nearest allocation at ...".
std::string describeNear(const AllocationTable &table, uint64_t address, uint32_t bytes) {
  const Allocation *before = nullptr, *after = nullptr;
  for (const Allocation &a : table) {
    if (a.freed)
      continue;
    if (a.address <= address)
      before = &a;
    else if (!after)
      after = &a;
  }
  auto sentence = [&](const Allocation &a, uint64_t distance, const char *side) {
    return "address " + hex(address) + " is out of bounds and is " + std::to_string(distance) + " bytes " + side +
           " the nearest " + kindName(a) + " at " + hex(a.address) + " of size " + std::to_string(a.size) + " bytes";
  };
  if (before && address < before->address + before->size)
    return "address " + hex(address) + " is out of bounds: the access of " + std::to_string(bytes) + " bytes passes the end of the " +
           kindName(*before) + " at " + hex(before->address) + " of size " + std::to_string(before->size) + " bytes";
  uint64_t back = before ? address - (before->address + before->size) + 1 : ~uint64_t(0);
  uint64_t ahead = after ? after->address - address : ~uint64_t(0);
  if (before && back <= ahead)
    return sentence(*before, back, "after");
  if (after)
    return sentence(*after, ahead, "before");
  return "address " + hex(address) + " is out of bounds; there are no allocations";
}

const Allocation *lookup(const AllocationTable &table, uint64_t address) {
  auto it = std::upper_bound(table.begin(), table.end(), address,
                             [](uint64_t a, const Allocation &x) { return a < x.address; });
  if (it == table.begin())
    return nullptr;
  --it;
  return address < it->address + it->size ? &*it : nullptr;
}

uint64_t shadowWord(const uint8_t *bits, uint64_t index) {
  return __atomic_load_n(reinterpret_cast<const uint64_t *>(bits) + index, __ATOMIC_RELAXED);
}

/// Bits [first, first + n), n <= 64, as a word.
uint64_t shadowBitsAt(const uint8_t *bits, uint64_t first, uint32_t n) {
  uint64_t word = first / 64, shift = first % 64;
  uint64_t value = shadowWord(bits, word) >> shift;
  if (shift && shift + n > 64)
    value |= shadowWord(bits, word + 1) << (64 - shift);
  return value & (n == 64 ? ~uint64_t(0) : (uint64_t(1) << n) - 1);
}

void markShadow(uint8_t *bits, uint64_t first, uint32_t n) {
  while (n) {
    uint64_t word = first / 64, shift = first % 64;
    uint32_t here = std::min<uint32_t>(n, 64 - static_cast<uint32_t>(shift));
    uint64_t set = (here == 64 ? ~uint64_t(0) : (uint64_t(1) << here) - 1) << shift;
    uint64_t *p = reinterpret_cast<uint64_t *>(bits) + word;
    if ((__atomic_load_n(p, __ATOMIC_RELAXED) & set) != set)
      __atomic_fetch_or(p, set, __ATOMIC_RELAXED);
    first += here;
    n -= here;
  }
}

bool writes(const WarpAccess &access, const Inst &i, const Warp &w) {
  if (access.access == Access::Write || access.access == Access::AsyncCopy)
    return true;
  if (access.access != Access::Atomic)
    return false;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  return cls != InstClass::LoadGlobal && cls != InstClass::LoadShared;
}
bool reads(const WarpAccess &access, const Inst &i, const Warp &w) {
  if (access.access == Access::Read)
    return true;
  if (access.access != Access::Atomic)
    return false;
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  return cls != InstClass::StoreGlobal && cls != InstClass::StoreShared;
}

uint32_t natural(const Inst &i, const WarpAccess &access) {
  // Vectors are aligned as a whole.
  (void)i;
  return std::bit_ceil(access.bytes);
}

/// Whether n shadow bytes, which are 0 or 1, are all 1.
bool allOnes(const uint8_t *p, uint32_t n) {
  constexpr uint64_t ones = 0x0101010101010101;
  uint64_t all = ones, word;
  while (n >= 8) {
    std::memcpy(&word, p, 8);
    all &= word;
    p += 8;
    n -= 8;
  }
  while (n--)
    all &= ~uint64_t(1) | *p++;
  return all == ones;
}

/// Whether bits [first, first + n) are all set.
bool allSet(const uint8_t *bits, uint64_t first, uint64_t n) {
  for (; n > 64; n -= 64, first += 64)
    if (~shadowBitsAt(bits, first, 64))
      return false;
  return shadowBitsAt(bits, first, static_cast<uint32_t>(n)) == (n == 64 ? ~uint64_t(0) : (uint64_t(1) << n) - 1);
}

/// Reads of bytes that nobody wrote; writes are marked.
void checkWritten(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent, bool read,
                  bool write) {
  const DeviceMemory &memory = w.grid->device->memory();
  uint32_t bytes = access.bytes;
  bool reports = read && w.checksInit;
  if (extent.dense && mask == ~0u && extent.low >= memory.base() && extent.high - memory.base() < memory.span()) {
    uint64_t first = extent.low - memory.base();
    if (!reports || allSet(memory.shadow(), first, 32 * uint64_t(bytes))) {
      if (write)
        markShadow(memory.shadow(), first, 32 * bytes);
      return;
    }
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    if (address < memory.base() || address - memory.base() >= memory.span())
      continue;
    uint64_t first = address - memory.base();
    uint32_t n = bytes;
    if (reports) {
      uint64_t want = n >= 64 ? ~uint64_t(0) : (uint64_t(1) << n) - 1;
      uint64_t have = shadowBitsAt(memory.shadow(), first, std::min(n, 64u));
      if (have != want) {
        uint32_t at = uint32_t(std::countr_one(have));
        raise(w, i, lane, FaultKind::UninitialisedGlobal, Space::Global, address, bytes,
              "byte " + hex(address + at) + " was never written");
        markShadow(memory.shadow(), first, n);
      }
    }
    if (write)
      markShadow(memory.shadow(), first, n);
  }
}

} // namespace

uint32_t checkGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent) {
  const AllocationTable &table = *w.worker->table;
  uint32_t bytes = access.bytes, align = natural(i, access);
  uint32_t ok = mask, look = mask;
  bool write = writes(access, i, w), read = reads(access, i, w);
  bool allInitialised = true;
  // Most accesses are to the allocation that was last hit.
  if (!(write && w.hitReadOnly) && align == bytes && extent.within(w.hitBegin, w.hitEnd, bytes)) {
    allInitialised = w.hitInitialised;
    look = 0;
  }
  for (uint32_t rest = look; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    if (address >= w.hitBegin && address < w.hitEnd && w.hitEnd - address >= bytes && !(address & (align - 1)) && !(write && w.hitReadOnly)) {
      allInitialised &= w.hitInitialised;
      continue;
    }
    const Allocation *a = lookup(table, address);
    if (!a || address + bytes > a->address + a->size || a->freed) {
      bool freed = a && a->freed;
      std::string detail;
      if (freed)
        detail = "address " + hex(address) + " is " + std::to_string(address - a->address) + " bytes inside of a freed " +
                 kindName(*a) + " at " + hex(a->address) + " of size " + std::to_string(a->size) + " bytes";
      else if ((address >> 56) >= 1 && (address >> 56) <= 3)
        detail = "a generic address of shared, local or parameter memory used as a global one";
      else
        detail = describeNear(table, address, bytes);
      raise(w, i, lane, freed ? FaultKind::UseAfterFree : FaultKind::OutOfBounds, Space::Global, address, bytes, detail);
      ok &= ~(1u << lane);
      if (w.event)
        return 0;
      continue;
    }
    if (address & (align - 1)) {
      raise(w, i, lane, FaultKind::Misaligned, Space::Global, address, bytes,
            "address " + hex(address) + " is not aligned to " + std::to_string(align) + " bytes");
      ok &= ~(1u << lane);
      if (w.event)
        return 0;
      continue;
    }
    if (write && a->readOnly) {
      raise(w, i, lane, FaultKind::ReadOnlyStore, Space::Global, address, bytes, kindName(*a) + " is constant");
      ok &= ~(1u << lane);
      if (w.event)
        return 0;
      continue;
    }
    w.hitBegin = a->address;
    w.hitEnd = a->address + a->size;
    w.hitReadOnly = a->readOnly;
    // Whether an allocation is all written is found out once a launch: it costs a pass over its shadow.
    uint8_t &state = w.worker->initialised[size_t(a - table.data())];
    if (!state) {
      const DeviceMemory &memory = w.grid->device->memory();
      bool tracked = a->address >= memory.base() && a->address - memory.base() < memory.span();
      bool whole = !tracked || !w.checksInit || a->kind == AllocationKind::HostPinned ||
                   a->kind == AllocationKind::Managed || !memory.firstUninitialised(a->address, a->size);
      state = whole ? 1 : 2;
    }
    w.hitInitialised = state == 1;
    allInitialised &= w.hitInitialised;
  }
  if (!allInitialised || (write && !w.checksInit))
    checkWritten(w, i, ok, access, extent, read, write);
  if (w.checksRace && ok)
    raceGlobal(w, i, ok, access, extent.dense);
  if (w.counting)
    countGlobal(w, i, ok, access, extent, write);
  w.cta->changed |= write && access.access != Access::Atomic; // an atomic may have failed
  return ok;
}

uint32_t checkShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent) {
  uint32_t bytes = access.bytes, align = natural(i, access);
  uint32_t ok = mask;
  bool write = writes(access, i, w), read = reads(access, i, w);
  uint32_t look = align == bytes && extent.within(0, w.sharedBytes, bytes) ? 0 : mask;
  for (uint32_t rest = look; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    bool inside = address + bytes <= w.sharedBytes && address + bytes >= address;
    if (inside && !(address & (align - 1)))
      continue;
    if (!inside)
      raise(w, i, lane, FaultKind::OutOfBounds, Space::Shared, address, bytes,
            "address " + hex(address) + " is beyond the block's " + std::to_string(w.sharedBytes) +
                " bytes of shared memory");
    else
      raise(w, i, lane, FaultKind::Misaligned, Space::Shared, address, bytes,
            "address " + hex(address) + " is not aligned to " + std::to_string(align) + " bytes");
    ok &= ~(1u << lane);
    if (w.event)
      return 0;
  }
  if (w.checksInit) {
    if (extent.dense && ok == ~0u && (!read || allOnes(w.sharedInit + extent.low, 32 * bytes))) {
      if (write)
        std::memset(w.sharedInit + extent.low, 1, 32 * size_t(bytes));
    } else {
      for (uint32_t rest = ok; rest; rest &= rest - 1) {
        uint32_t lane = uint32_t(std::countr_zero(rest));
        uint64_t address = access.address[lane];
        if (read && !allOnes(w.sharedInit + address, bytes)) {
          raise(w, i, lane, FaultKind::UninitialisedShared, Space::Shared, address, bytes,
                "shared memory at " + hex(address) + " was never written by the block");
          std::memset(w.sharedInit + address, 1, bytes);
        }
        if (write)
          std::memset(w.sharedInit + address, 1, bytes);
      }
    }
  }
  if (w.checksRace && ok)
    raceShared(w, i, ok, access, extent.dense);
  if (w.counting)
    countShared(w, i, ok, access, extent);
  w.cta->changed |= write && access.access != Access::Atomic; // an atomic may have failed
  return ok;
}

uint32_t checkLocal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access) {
  uint32_t bytes = access.bytes, align = natural(i, access);
  uint32_t ok = mask;
  bool write = writes(access, i, w);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    bool inside = address + bytes <= w.localStride && address + bytes >= address;
    if (!inside || (address & (align - 1))) {
      raise(w, i, lane, inside ? FaultKind::Misaligned : FaultKind::OutOfBounds, Space::Local, address, bytes,
            inside ? "address " + hex(address) + " is not aligned to " + std::to_string(align) + " bytes"
                   : "address " + hex(address) + " is beyond the thread's " + std::to_string(w.localStride) +
                         " bytes of local memory");
      ok &= ~(1u << lane);
      if (w.event)
        return 0;
      continue;
    }
    uint8_t *init = w.localInit + size_t(lane) * w.localStride + address;
    if (write) {
      std::memset(init, 1, bytes);
    } else if (w.checksInit) {
      uint8_t all = 1;
      for (uint32_t k = 0; k < bytes; ++k)
        all &= init[k];
      // A parameter or result that the callee reads whole though the caller set a part is compiler practice.
      if (!all && i.aux2 != uint8_t(Space::Param)) {
        raise(w, i, lane, FaultKind::UninitialisedLocal, Space::Local, address, bytes,
              "local memory at " + hex(address) + " was never written by the thread");
        std::memset(init, 1, bytes);
      }
    }
  }
  return ok;
}

uint32_t checkParam(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access) {
  uint32_t ok = mask;
  uint32_t align = natural(i, access);
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint64_t address = access.address[lane];
    bool inside = address + access.bytes <= w.paramBytes && address + access.bytes >= address;
    if (inside && !(address & (align - 1)) && !writes(access, i, w))
      continue;
    raise(w, i, lane, inside ? FaultKind::Misaligned : FaultKind::OutOfBounds, Space::Param, address, access.bytes,
          inside ? "address " + hex(address) + " is not aligned, or a parameter is written"
                 : "address " + hex(address) + " is beyond the kernel's " + std::to_string(w.paramBytes) +
                       " bytes of parameters");
    ok &= ~(1u << lane);
    if (w.event)
      return 0;
  }
  return ok;
}

} // namespace vitrify::emulator
