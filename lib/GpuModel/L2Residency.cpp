//===- L2Residency.cpp - what of a launch's operands comes from memory -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/L2Residency.h"

#include <algorithm>

namespace vitrify {
namespace {

int64_t sizeOf(const MemoryRange &range) { return range.end - range.begin; }

/// The part that both have, empty (end <= begin) when there is none.
MemoryRange common(const MemoryRange &a, const MemoryRange &b) {
  if (a.space != b.space)
    return {a.space, 0, 0};
  return {a.space, std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

/// The same bytes as disjoint ranges.
std::vector<MemoryRange> disjoint(std::vector<MemoryRange> ranges) {
  std::ranges::sort(ranges, [](const MemoryRange &a, const MemoryRange &b) {
    return a.space != b.space ? a.space < b.space : a.begin < b.begin;
  });
  std::vector<MemoryRange> out;
  for (const MemoryRange &range : ranges) {
    if (sizeOf(range) <= 0)
      continue;
    if (!out.empty() && out.back().space == range.space && range.begin <= out.back().end)
      out.back().end = std::max(out.back().end, range.end);
    else
      out.push_back(range);
  }
  return out;
}

} // namespace

std::vector<L2Residency::Entry> L2Residency::take(const MemoryRange &range) {
  std::vector<Entry> taken;
  for (auto it = entries.begin(); it != entries.end();) {
    const Entry entry = *it;
    MemoryRange part = common(entry.range, range);
    if (sizeOf(part) <= 0) {
      ++it;
      continue;
    }
    taken.push_back({part, entry.dirty});
    // What is left of the entry keeps its age.
    if (entry.range.begin < part.begin)
      entries.insert(it, {{entry.range.space, entry.range.begin, part.begin}, entry.dirty});
    if (part.end < entry.range.end)
      entries.insert(it, {{entry.range.space, part.end, entry.range.end}, entry.dirty});
    it = entries.erase(it);
  }
  return taken;
}

L2Residency::Traffic L2Residency::launch(std::span<const MemoryRange> reads, std::span<const MemoryRange> writes) {
  Traffic traffic;
  std::vector<MemoryRange> all(reads.begin(), reads.end());
  all.insert(all.end(), writes.begin(), writes.end());
  all = disjoint(std::move(all));
  int64_t touched = 0;
  for (const MemoryRange &range : all)
    touched += sizeOf(range);

  // Hits: entries as long as they, all that is younger and all that the launch touches besides fit together.
  std::vector<MemoryRange> wanted = disjoint({reads.begin(), reads.end()});
  for (const MemoryRange &range : wanted)
    traffic.readBytes += sizeOf(range);
  int64_t younger = 0; // bytes of entries up to this one that the launch does not touch
  for (const Entry &entry : entries) {
    int64_t mine = 0, read = 0;
    for (const MemoryRange &range : all)
      mine += std::max<int64_t>(0, sizeOf(common(entry.range, range)));
    for (const MemoryRange &range : wanted)
      read += std::max<int64_t>(0, sizeOf(common(entry.range, range)));
    younger += sizeOf(entry.range) - mine;
    if (younger + touched > capacity)
      break;
    traffic.readBytes -= read;
  }

  // What was touched is the youngest now; what was written is dirty, and stays so when it is only read.
  auto touch = [&](const MemoryRange &range, bool writes) {
    std::vector<Entry> pieces = take(range);
    if (writes) {
      entries.push_front({range, true});
      return;
    }
    std::vector<MemoryRange> dirty;
    for (const Entry &piece : pieces)
      if (piece.dirty)
        dirty.push_back(piece.range);
    entries.push_front({range, false});
    for (const MemoryRange &part : disjoint(std::move(dirty))) {
      take(part);
      entries.push_front({part, true});
    }
  };
  for (const MemoryRange &range : wanted)
    touch(range, false);
  for (const MemoryRange &range : disjoint({writes.begin(), writes.end()}))
    touch(range, true);

  int64_t held = 0;
  for (const Entry &entry : entries)
    held += sizeOf(entry.range);
  while (held > capacity) {
    Entry &oldest = entries.back();
    int64_t out = std::min(held - capacity, sizeOf(oldest.range));
    traffic.writtenBytes += oldest.dirty ? out : 0;
    oldest.range.begin += out;
    held -= out;
    if (sizeOf(oldest.range) == 0)
      entries.pop_back();
  }
  return traffic;
}

} // namespace vitrify
