//===- Polling.cpp - kernels that wait for what nobody will write *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// See Polling.h. Why a repeated state is proof: lanes touch each other through
// memory, which stays as it is, and through instructions that wait for the lanes
// they name, whose outcome does not depend on the schedule. So each lane that has
// been at a state twice will be there again for ever.
//===----------------------------------------------------------------------===//
#include "Polling.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vitrify::emulator {

namespace {

/// After so many turns in which it did not repeat, a block computes. Those of a varied schedule are short.
constexpr uint32_t kTurnsWithoutRepeat = 2, kShortTurnsWithoutRepeat = 32;
constexpr size_t kMostListed = 8;
constexpr uint64_t kPatience = 4, kMostPatience = uint64_t(1) << 20;

Step stepOf(const Inst &i, const InstInfo &info) {
  static const ExecFn moving[] = {findExec("clock.32"), findExec("clock.hi"), findExec("clock.64"), findExec("timer.64"),
                                  findExec("timer.lo"), findExec("timer.hi"), findExec("activemask")};
  static const ExecFn tests[] = {findExec("mbarrier.test_wait.shared"), findExec("mbarrier.test_wait.generic")};
  auto among = [&](const auto &list) { return i.exec && std::find(std::begin(list), std::end(list), i.exec) != std::end(list); };
  switch (i.kind) {
  case Kind::Label:
  case Kind::Branch:
  case Kind::BranchIndex:
  case Kind::Call:
  case Kind::CallIndirect:
  case Kind::Ret:
  case Kind::WarpSync:
  case Kind::WaitMbarrier:
  case Kind::Nanosleep: return Step::Pure;
  case Kind::Exec:
  case Kind::Memory: break;
  default: return Step::Effect;
  }
  if (among(moving))
    return Step::Effect;
  if (among(tests))
    return Step::Load;
  switch (info.cls) {
  case InstClass::LoadGlobal:
  case InstClass::LoadShared: return Step::Load;
  case InstClass::Atomic: return Step::Atomic;
  case InstClass::StoreGlobal:
  case InstClass::StoreShared:
  case InstClass::StoreLocal:
  case InstClass::Barrier:
  case InstClass::AsyncCopy:
  case InstClass::Other: return Step::Effect;
  default: return Step::Pure;
  }
}

uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9fb21c651e98df25;
  return hash ^ hash >> 32;
}

/// Of the registers and of where every group is.
uint64_t stateOf(const Warp &w) {
  uint64_t hash = 0x243f6a8885a308d3, word;
  for (uint32_t at = 0; at + 8 <= w.program->rowsBytes; at += 8) {
    std::memcpy(&word, w.regs + at, 8);
    hash = mix(hash, word);
  }
  uint64_t groups = 0; // in any order
  for (const Group &g : w.groups) {
    uint64_t h = mix(mix(g.mask, g.pc), uint64_t(g.state) << 8 | uint64_t(g.arrived) << 1);
    for (uint32_t back : g.calls)
      h = mix(h, back);
    groups += mix(h, mix(g.waitAddress, g.waitPhase));
  }
  return mix(hash, groups);
}

/// Of a running group; the address register is read before the load may overwrite it.
void notePoll(Warp &w, const Inst &i, uint32_t pc, uint32_t mask) {
  const uint32_t lane = uint32_t(std::countr_zero(mask));
  const uint64_t address = i.aux == 0   ? row<uint64_t>(w, i.a)[lane] + i.imm
                           : i.aux == 1 ? uint64_t(row<uint32_t>(w, i.a)[lane] + uint32_t(i.imm))
                                        : i.imm;
  auto &polls = w.watch->polls;
  for (Poll &poll : polls)
    if (poll.pc == pc && poll.address == address) {
      poll.mask |= mask;
      return;
    }
  if (polls.size() < 32)
    polls.push_back({pc, mask, address});
}

/// Whether the host may write there without a word.
bool hostVisible(const GridState &grid, uint64_t address) {
  for (const Allocation &a : *grid.device->memory().table())
    if (!a.freed && address >= a.address && address < a.address + a.size)
      return a.kind != AllocationKind::Device && a.kind != AllocationKind::Global;
  return false;
}

PollWatch::Stuck describe(Cta &cta) {
  PollWatch::Stuck out{{}, 0, nullptr, {}};
  for (Warp &w : cta.warps) {
    if (w.groups.empty())
      continue;
    if (!out.warp) {
      out.warp = &w;
      out.first = {w.groups[0].pc, w.groups[0].mask, 0};
    }
    for (const Poll &poll : w.watch->polls) {
      if (!out.count) {
        out.warp = &w;
        out.first = poll;
      }
      if (++out.count > kMostListed)
        continue;
      const Site site = siteOf(w, w.program->code[poll.pc], uint32_t(std::countr_zero(poll.mask)));
      char text[160];
      snprintf(text, sizeof text, "%sblock (%u,%u,%u) warp %u lanes 0x%x repeat ", out.polls.empty() ? "" : "; ", cta.block[0],
               cta.block[1], cta.block[2], w.id, poll.mask);
      out.polls += text + site.instruction;
      snprintf(text, sizeof text, " of address 0x%llx (line %u)", static_cast<unsigned long long>(poll.address), site.ptxLine);
      out.polls += text;
    }
  }
  return out;
}

/// Keeps the description of the blocks with the lowest indices.
void keep(PollWatch &watch, Cta &cta) {
  watch.blocks[cta.index] = describe(cta);
  if (watch.blocks.size() > kMostListed) {
    auto last = std::prev(watch.blocks.end());
    watch.unlisted += last->second.count;
    watch.blocks.erase(last);
  }
}

void giveUp(PollWatch &watch) {
  watch.phase = PollWatch::Off;
  watch.idleStays = 0;
  watch.patience = std::min(watch.patience * 4, kMostPatience);
}

void reportHang(GridState &grid) {
  PollWatch &watch = grid.watch;
  unsigned listed = 0, left = watch.unlisted;
  std::string who;
  const PollWatch::Stuck *first = &watch.blocks.begin()->second;
  for (const auto &[index, block] : watch.blocks) {
    if (block.count && !first->count)
      first = &block;
    if (listed < kMostListed)
      who += (who.empty() || block.polls.empty() ? "" : "; ") + block.polls;
    else
      left += block.count;
    left += block.count > kMostListed ? block.count - kMostListed : 0;
    listed += block.count;
  }
  if (left)
    who += "; and " + std::to_string(left) + " more";
  if (who.empty())
    who = "nothing is read either";
  if (grid.nextBlock < grid.blocks)
    who += "; " + std::to_string(grid.blocks - grid.nextBlock) + " blocks have not started, for the chip holds " +
           std::to_string(grid.residentLimit);
  const std::string text = "every thread does the same again and again, and nothing is written: " + who;
  raise(*first->warp, grid.program->code[first->first.pc], uint32_t(std::countr_zero(first->first.mask)),
        FaultKind::Deadlock, Space::None, first->first.address, 0, text);
  grid.fail(LaunchError::LaunchFailed, "deadlock in kernel '" + grid.function->info.name + "': " + text);
}

/// All its warps repeat, and none polls what the host may write.
bool isStuck(const GridState &grid, const Cta &cta) {
  for (const Warp &w : cta.warps) {
    if (w.groups.empty())
      continue;
    if (!w.watch->repeats)
      return false;
    for (const Poll &poll : w.watch->polls)
      if (hostVisible(grid, poll.address))
        return false;
  }
  return true;
}

} // namespace

void watchStep(Warp &w, const Inst &i, uint32_t pc, uint32_t lanes, uint32_t mask) {
  WarpWatch &watch = *w.watch;
  watch.ran |= lanes;
  if (!mask)
    return;
  switch ((*watch.kinds)[pc]) {
  case Step::Pure: return;
  case Step::Effect: watch.effect = true; return;
  case Step::Load:
  case Step::Atomic: notePoll(w, i, pc, mask); return;
  }
}

void watchState(Warp &w) {
  WarpWatch &watch = *w.watch;
  if (watch.effect || watch.repeats)
    return;
  uint32_t ready = 0;
  for (Group &g : w.groups) {
    if (g.state == Group::AtMbarrier && mbarrierReady(w, g))
      return;
    if (g.state == Group::Ready)
      ready |= g.mask;
  }
  const uint64_t state = stateOf(w);
  watch.repeats = !ready; // all wait for others; else every lane that can run has run, and is where it was
  for (WarpWatch::Seen &seen : watch.seen) {
    seen.ran |= watch.ran;
    watch.repeats |= seen.state == state && !(ready & ~seen.ran);
  }
  watch.ran = 0;
  if (!watch.repeats && watch.seen.size() < 256)
    watch.seen.push_back({state, 0});
}

void watchBegin(GridState &grid, Cta &cta) {
  PollWatch &watch = grid.watch;
  cta.watchPhase = watch.phase;
  for (Warp &w : cta.warps) {
    if (watch.phase == PollWatch::Off) {
      w.watch.reset();
    } else if (!w.watch || watch.phase == PollWatch::Gathering || !cta.watchStays) {
      // What was seen before the last block came under watch proves nothing.
      w.watch = std::make_unique<WarpWatch>();
      w.watch->kinds = &watch.kinds;
    }
  }
}

bool watchEnd(GridState &grid, Cta &cta, bool finished) {
  PollWatch &watch = grid.watch;
  bool effect = finished;
  if (cta.watchPhase != PollWatch::Off)
    for (const Warp &w : cta.warps)
      effect |= w.watch && w.watch->effect;
  if (watch.phase == PollWatch::Off) {
    if (finished || cta.changed) {
      watch.idleStays = 0;
      if (finished)
        watch.patience = kPatience;
      return false;
    }
    bool full = grid.nextBlock == grid.blocks || grid.resident == uint64_t(grid.residentLimit);
    if (++watch.idleStays < watch.patience * grid.resident || !full)
      return false;
    if (watch.kinds.empty())
      for (size_t pc = 0; pc < grid.program->code.size(); ++pc)
        watch.kinds.push_back(stepOf(grid.program->code[pc], grid.program->infos[pc]));
    watch.phase = PollWatch::Gathering;
    ++watch.epoch;
    watch.gathered = watch.stuck = 0;
    watch.blocks.clear();
    watch.unlisted = 0;
    return false;
  }
  if (cta.watchPhase == PollWatch::Off && !finished)
    return false; // its turn began before the watch
  if (effect) {
    giveUp(watch);
    return false;
  }
  if (watch.phase == PollWatch::Gathering) {
    if (cta.watchEpoch != watch.epoch) {
      cta.watchEpoch = watch.epoch;
      cta.watchStays = 0;
      cta.stuck = false;
      if (++watch.gathered == grid.resident) {
        watch.phase = PollWatch::Watching;
        watch.outside = 1;
        if (grid.options->outsideActivity && !(watch.outside = grid.options->outsideActivity()))
          giveUp(watch);
      }
    }
    return false;
  }
  if (cta.watchPhase != PollWatch::Watching)
    return false;
  ++cta.watchStays;
  if (!cta.stuck && !isStuck(grid, cta)) {
    if (cta.watchStays >= (grid.options->seed ? kShortTurnsWithoutRepeat : kTurnsWithoutRepeat))
      giveUp(watch);
    return false;
  }
  if (!cta.stuck) {
    cta.stuck = true;
    ++watch.stuck;
    keep(watch, cta);
  }
  if (watch.stuck < grid.resident)
    return false;
  if (grid.options->outsideActivity && grid.options->outsideActivity() != watch.outside) {
    giveUp(watch);
    return false;
  }
  reportHang(grid);
  return true;
}

} // namespace vitrify::emulator
