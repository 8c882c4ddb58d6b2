//===- Cache.cpp - counts of memory traffic ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// L1 is not modelled across instructions: each request's sectors go to L2 once.
// Blocks of all SMs share the L2 in the order in which the emulator runs them.
//===----------------------------------------------------------------------===//
#include "Cache.h"

#include <algorithm>
#include <bit>

namespace vitrify::emulator {

SectorCache::SectorCache(uint64_t bytes, unsigned ways) : ways(ways) {
  sets = std::bit_floor(std::max<uint64_t>(bytes / 128 / ways, 1));
  lines.resize(sets * ways);
}

SectorCache::Result SectorCache::touch(uint64_t line, unsigned sectors, bool write) {
  Result result;
  // Addresses are spread over sets by a hash, as slices of a real L2 are.
  uint64_t set = (line ^ (line >> 11) ^ (line >> 23)) & (sets - 1);
  Line *base = &lines[set * ways], *victim = base;
  ++tick;
  for (unsigned k = 0; k < ways; ++k) {
    if (base[k].tag == line && base[k].valid) {
      unsigned missing = sectors & ~base[k].valid;
      result.missedSectors = write ? 0 : unsigned(std::popcount(missing));
      base[k].valid |= uint8_t(sectors);
      base[k].dirty |= write ? uint8_t(sectors) : 0;
      base[k].used = tick;
      return result;
    }
    if (base[k].used < victim->used)
      victim = &base[k];
  }
  result.writtenBackSectors = unsigned(std::popcount(victim->dirty));
  result.missedSectors = write ? 0 : unsigned(std::popcount(sectors));
  victim->tag = line;
  victim->valid = uint8_t(sectors);
  victim->dirty = write ? uint8_t(sectors) : 0;
  victim->used = tick;
  return result;
}

uint64_t SectorCache::dirtySectors() const {
  uint64_t n = 0;
  for (const Line &line : lines)
    n += unsigned(std::popcount(line.dirty));
  return n;
}

CacheModel::CacheModel(const Chip &chip) : l2(chip.l2Bytes, 16) {}

void countGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent, bool write) {
  PcCounts &c = w.worker->counts[pcOf(w, i)];
  ++c.memory.globalRequests;
  c.memory.globalBytes += uint64_t(std::popcount(mask)) * access.bytes;
  // Lines with the sectors touched; a warp touches at most 32 * 2 lines.
  uint64_t lineOf[64];
  unsigned sectorsOf[64], n = 0;
  auto add = [&](uint64_t first, uint64_t last) {
    for (uint64_t sector = first; sector <= last; ++sector) {
      unsigned at = n;
      for (unsigned k = n; k-- > 0;)
        if (lineOf[k] == sector / 4) {
          at = k;
          break;
        }
      if (at == n) {
        if (n == 64)
          continue;
        lineOf[n] = sector / 4;
        sectorsOf[n++] = 0;
      }
      sectorsOf[at] |= 1u << (sector % 4);
    }
  };
  if (extent.dense && mask == ~0u)
    add(extent.low / 32, (extent.high + access.bytes - 1) / 32);
  else
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      uint64_t address = access.address[std::countr_zero(rest)];
      add(address / 32, (address + access.bytes - 1) / 32);
    }
  std::lock_guard lock(w.grid->cache->mutex);
  for (unsigned k = 0; k < n; ++k) {
    unsigned sectors = unsigned(std::popcount(sectorsOf[k]));
    c.memory.globalSectors += sectors;
    c.memory.l2Bytes += sectors * 32;
    SectorCache::Result r = w.grid->cache->l2.touch(lineOf[k], sectorsOf[k], write);
    c.memory.dramBytes += 32 * (r.missedSectors + r.writtenBackSectors);
  }
}

namespace {

/// Passes of shared memory that the lanes of `part` take: the most different words that fall on one bank. The addresses
/// are aligned, so that up to 16 bytes are one unit on banks of their own.
unsigned wavefronts(const WarpAccess &access, uint32_t part) {
  unsigned shift = !std::has_single_bit(access.bytes) || access.bytes <= 4 ? 2 : access.bytes == 8 ? 3 : 4;
  unsigned slots = 128u >> shift, worst = 1;
  uint64_t units[32][8];
  unsigned counts[32] = {};
  for (uint32_t rest = part; rest; rest &= rest - 1) {
    uint64_t address = access.address[std::countr_zero(rest)];
    uint64_t last = (address + access.bytes - 1) >> shift;
    for (uint64_t unit = address >> shift; unit <= last; ++unit) {
      unsigned bank = unit % slots;
      bool known = false;
      for (unsigned k = 0; k < std::min(counts[bank], 8u); ++k)
        known |= units[bank][k] == unit;
      if (!known) {
        if (counts[bank] < 8)
          units[bank][counts[bank]] = unit;
        worst = std::max(worst, ++counts[bank]);
      }
    }
  }
  return worst;
}

} // namespace

void countShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent) {
  if (!mask)
    return;
  MemoryCounts &memory = w.worker->counts[pcOf(w, i)].memory;
  ++memory.sharedRequests;
  // 8 and 16 bytes a lane are served by halves and quarters of the warp.
  unsigned groups = access.bytes > 8 ? 4 : access.bytes > 4 ? 2 : 1, lanes = 32 / groups;
  for (unsigned g = 0; g < groups; ++g) {
    uint32_t part = groups == 1 ? mask : mask & (((1u << lanes) - 1) << (g * lanes));
    if (!part)
      continue;
    bool inARow = extent.dense && mask == ~0u;
    memory.sharedWavefronts += inARow ? std::max(1u, lanes * access.bytes / 128) : wavefronts(access, part);
    memory.sharedLeast += 1;
  }
}

} // namespace vitrify::emulator
