//===- Sync.cpp - barriers and who waits on what ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The 16 barriers of a block. The aligned forms (bar.*) want all lanes of a
// warp that have not exited at one instruction; lanes that come in parts are
// reported and then count one by one.
//===----------------------------------------------------------------------===//
#include "Grid.h"
#include "Mbarrier.h"
#include "Race.h"

#include <algorithm>
#include <bit>

namespace vitrify::emulator {

namespace {

uint32_t lanesOf(const Warp &w, uint32_t mask) {
  // A whole warp counts as 32 threads, also when it has fewer or some have exited.
  return mask == w.alive ? 32 : uint32_t(std::popcount(mask));
}

void complete(Cta &cta, uint32_t id) {
  BarrierState &b = cta.barriers[id];
  std::vector<std::pair<Warp *, uint32_t>> waiting;
  for (Warp &w : cta.warps)
    for (Group &g : w.groups)
      if (g.state == Group::AtBarrier && g.arrived && g.barrier == id) {
        const Inst &i = w.program->code[g.pc];
        if (i.aux == 2)
          for (uint32_t rest = g.mask; rest; rest &= rest - 1)
            row<uint32_t>(w, i.d)[std::countr_zero(rest)] = b.popc;
        if (i.aux >= 3) {
          uint32_t value = (i.aux == 3 ? b.all : b.any) ? ~0u : 0u;
          uint32_t &p = *row<uint32_t>(w, i.d);
          p = (p & ~g.mask) | (value & g.mask);
        }
        waiting.emplace_back(&w, g.mask);
        g.state = Group::Ready;
        g.arrived = false;
        ++g.pc;
        g.lastRun = w.ticks;
      }
  raceBarrier(cta, b.arrivedWarps, waiting);
  b = BarrierState();
  cta.changed = true;
}

bool isComplete(const Cta &cta, const BarrierState &b, uint32_t id) {
  if (!b.inUse)
    return false;
  if (b.expected)
    return b.threads >= b.expected;
  uint32_t waiting = 0;
  for (const Warp &w : cta.warps)
    for (const Group &g : w.groups)
      if (g.state == Group::AtBarrier && g.arrived && g.barrier == id)
        waiting += uint32_t(std::popcount(g.mask));
  return waiting + cta.exited == cta.threads;
}

void arrive(Warp &w, Group &g, const Inst &i) {
  Cta &cta = *w.cta;
  BarrierState &b = cta.barriers[g.barrier];
  uint32_t lanes = lanesOf(w, g.mask);
  uint32_t expected = 0;
  if (i.b != ~0u)
    expected = row<uint32_t>(w, i.b)[std::countr_zero(g.mask)];
  if (b.inUse && b.expected != expected)
    raise(w, i, uint32_t(std::countr_zero(g.mask)), FaultKind::InvalidBarrier, Space::None, 0, 0,
          "barrier " + std::to_string(g.barrier) + " is in use with " + std::to_string(b.expected) +
              " threads, now asked for with " + std::to_string(expected));
  if (expected % 32)
    raise(w, i, uint32_t(std::countr_zero(g.mask)), FaultKind::InvalidBarrier, Space::None, 0, 0,
          "the count of threads, " + std::to_string(expected) + ", is no multiple of 32");
  b.inUse = true;
  b.expected = expected;
  b.threads += lanes;
  b.arrivedWarps.push_back(w.id);
  raceRelease(w);
  g.arrived = true;
  if (i.aux >= 2) {
    uint32_t p = *row<uint32_t>(w, i.c);
    if (i.aux2 & 2)
      p = ~p;
    b.popc += uint32_t(std::popcount(p & g.mask));
    b.all &= (p & g.mask) == g.mask;
    b.any |= (p & g.mask) != 0;
  }
  uint32_t id = g.barrier;
  if (i.aux == 1) { // .arrive does not wait
    g.state = Group::Ready;
    g.arrived = false;
    ++g.pc;
  }
  if (isComplete(cta, b, id))
    complete(cta, id);
}

} // namespace

bool arriveBarrier(Warp &w, Group &group, const Inst &i, uint32_t mask) {
  uint32_t id = row<uint32_t>(w, i.a)[std::countr_zero(mask)];
  if (id >= 16) {
    raise(w, i, uint32_t(std::countr_zero(mask)), FaultKind::InvalidBarrier, Space::None, 0, 0,
          "barrier " + std::to_string(id) + " does not exist; there are 16");
    w.grid->fail(LaunchError::IllegalInstruction, "barrier " + std::to_string(id) + " in kernel '" +
                                                      w.grid->function->info.name + "' does not exist; there are 16");
    w.event = true;
    return false;
  }
  group.state = Group::AtBarrier;
  group.barrier = static_cast<uint8_t>(id);
  group.arrived = false;
  uint32_t pc = group.pc;
  // Lanes that came to the same instruction before wait here too.
  for (uint32_t k = 0; k < w.groups.size();) {
    Group &h = w.groups[k];
    if (&h != &group && h.state == Group::AtBarrier && !h.arrived && h.pc == pc && h.calls == group.calls &&
        h.barrier == id) {
      uint32_t lanes = h.mask;
      uint32_t at = uint32_t(&group - w.groups.data());
      w.groups.erase(w.groups.begin() + k);
      if (k < at)
        --at;
      w.groups[at].mask |= lanes;
      return arriveBarrier(w, w.groups[at], i, w.groups[at].mask);
    }
    ++k;
  }
  bool aligned = i.aux2 & 1;
  if (aligned && group.mask != w.alive)
    return false; // the others may still come
  arrive(w, group, i);
  return true;
}

namespace {
void completeCluster(Cta &cta) {
  uint32_t arrived = 0;
  for (const Warp &w : cta.warps)
    arrived += uint32_t(std::popcount(w.clusterPending));
  if (!arrived || arrived + cta.exited < cta.threads)
    return;
  std::vector<uint32_t> ids;
  std::vector<std::pair<Warp *, uint32_t>> all;
  for (Warp &w : cta.warps) {
    if (w.clusterPending)
      ids.push_back(w.id);
    w.clusterPending = 0;
    // Threads that wait later have arrived already: they learn of the others now.
    if (w.alive)
      all.emplace_back(&w, w.alive);
    for (Group &g : w.groups)
      if (g.state == Group::AtCluster) {
        g.state = Group::Ready;
        ++g.pc;
        g.lastRun = w.ticks;
      }
  }
  raceBarrier(cta, ids, all);
  cta.changed = true;
}
} // namespace

void arriveCluster(Warp &w, const Inst &i, uint32_t mask) {
  if (uint32_t twice = w.clusterPending & mask)
    raise(w, i, uint32_t(std::countr_zero(twice)), FaultKind::InvalidBarrier, Space::None, 0, 0,
          "the thread arrived at the cluster barrier before and has not waited");
  w.clusterPending |= mask;
  raceRelease(w);
  completeCluster(*w.cta);
}

void recheckBarriers(Cta &cta) {
  completeCluster(cta);
  for (uint32_t id = 0; id < 16; ++id)
    if (cta.barriers[id].inUse && isComplete(cta, cta.barriers[id], id))
      complete(cta, id);
  // Lanes that waited for the ones that exited are whole now.
  for (Warp &w : cta.warps)
    for (uint32_t k = 0; k < w.groups.size(); ++k)
      if (w.groups[k].state == Group::AtBarrier && !w.groups[k].arrived && w.groups[k].mask == w.alive)
        arrive(w, w.groups[k], w.program->code[w.groups[k].pc]);
}

bool forceDivergentBarriers(Warp &w) {
  bool any = false;
  for (uint32_t k = 0; k < w.groups.size(); ++k) {
    Group &g = w.groups[k];
    if (g.state != Group::AtBarrier || g.arrived)
      continue;
    const Inst &i = w.program->code[g.pc];
    raise(w, i, uint32_t(std::countr_zero(g.mask)), FaultKind::DivergentBarrier, Space::None, 0, 0,
          std::to_string(std::popcount(g.mask)) + " of " + std::to_string(std::popcount(w.alive)) +
              " running threads of the warp reached this barrier");
    any = true;
    arrive(w, g, i);
    if (w.event)
      return false;
  }
  if (any)
    for (const Group &g : w.groups)
      if (g.state == Group::Ready)
        return true;
  return false;
}

std::string describeWaits(const Cta &cta) {
  std::string out;
  unsigned listed = 0;
  for (const Warp &w : cta.warps)
    for (const Group &g : w.groups) {
      if (++listed > 8)
        continue;
      const Instruction *source = w.program->infos[g.pc].source;
      char mask[16];
      snprintf(mask, sizeof mask, "0x%x", g.mask);
      out += (out.empty() ? "" : "; ") + std::string("warp ") + std::to_string(w.id) + " lanes " + mask;
      if (g.state == Group::AtBarrier)
        out += " at barrier " + std::to_string(g.barrier);
      else if (g.state == Group::AtMbarrier) {
        char address[32];
        snprintf(address, sizeof address, "0x%llx", static_cast<unsigned long long>(g.waitAddress));
        out += std::string(" at the mbarrier at shared address ") + address;
      } else if (g.state == Group::AtCluster)
        out += " at the cluster barrier";
      else if (g.state == Group::AtWarpSync)
        out += " for other lanes of the warp";
      else
        out += " running";
      if (source)
        out += " (line " + std::to_string(source->line) + ")";
    }
  if (listed > 8)
    out += "; and " + std::to_string(listed - 8) + " more";
  if (cta.exited)
    out += "; " + std::to_string(cta.exited) + " of " + std::to_string(cta.threads) + " threads have exited";
  return out;
}

void reportDeadlock(Cta &cta) {
  for (Warp &w : cta.warps)
    for (Group &g : w.groups) {
      const Inst &i = w.program->code[g.pc];
      raise(w, i, uint32_t(std::countr_zero(g.mask)), FaultKind::Deadlock, Space::None, 0, 0,
            "no thread of the block can go on: " + describeWaits(cta));
      w.grid->fail(LaunchError::LaunchFailed, "deadlock in kernel '" + w.grid->function->info.name + "': " +
                                                  describeWaits(cta));
      return;
    }
}

bool mbarrierReady(Warp &w, const Group &g) {
  if (g.waitAddress + 8 > w.sharedBytes)
    return true;
  uint64_t word;
  __builtin_memcpy(&word, w.shared + g.waitAddress, 8);
  return mbarrierPhase(word) != g.waitPhase;
}

} // namespace vitrify::emulator
