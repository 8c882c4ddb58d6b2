//===- Interpreter.cpp - the loop that runs a warp --------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A warp's lanes run as groups, each at one pc. The group at the earliest block
// runs first, so that groups meet again where their paths join; a group that
// has been left behind for long gets its turn, so that all make progress.
//===----------------------------------------------------------------------===//
#include "Frames.h"
#include "Polling.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <cstring>

namespace vitrify::emulator {

namespace {

constexpr uint64_t kTurn = 1024;      ///< instructions before other groups are looked at
constexpr uint64_t kStarving = 4096;  ///< instructions after which a waiting group goes first

uint64_t priorityOf(const Warp &w, const Group &g) {
  // Deeper calls first: they return to where the others wait.
  return (uint64_t(0xffff) - std::min<uint64_t>(g.calls.size(), 0xffff)) << 32 | w.program->infos[g.pc].priority;
}

void mergeSame(Warp &w, uint32_t at) {
  for (uint32_t k = 0; k < w.groups.size();) {
    Group &g = w.groups[at], &h = w.groups[k];
    if (k != at && h.state == g.state && h.pc == g.pc && h.arrived == g.arrived && h.calls == g.calls &&
        h.frames == g.frames && h.waitAddress == g.waitAddress && h.waitPhase == g.waitPhase) {
      g.mask |= h.mask;
      w.groups.erase(w.groups.begin() + k);
      if (k < at)
        --at;
    } else {
      ++k;
    }
  }
}

bool warpSyncReady(Warp &w, const Group &g) {
  const Inst &i = w.program->code[g.pc];
  const uint32_t *members = row<uint32_t>(w, i.e);
  uint32_t need = 0, present = g.mask;
  for (uint32_t rest = g.mask; rest; rest &= rest - 1)
    need |= members[std::countr_zero(rest)];
  if (i.aux == 1 && i.kind == Kind::WarpSync)
    for (const Group &h : w.groups)
      if (h.state == Group::AtWarpSync && w.program->code[h.pc].exec == i.exec)
        present |= h.mask;
  return !(need & w.alive & ~present);
}

/// The group to run, or -1.
int pick(Warp &w) {
  int best = -1, oldest = -1;
  for (int pass = 0; pass < 2 && best < 0; ++pass) {
    uint64_t bestPriority = ~uint64_t(0), oldestRun = ~uint64_t(0);
    for (uint32_t k = 0; k < w.groups.size(); ++k) {
      Group &g = w.groups[k];
      if (g.state == Group::AtMbarrier && mbarrierReady(w, g))
        g.state = Group::Ready;
      if (g.state != Group::Ready)
        continue;
      uint64_t p = priorityOf(w, g);
      if (p < bestPriority) {
        bestPriority = p;
        best = static_cast<int>(k);
      }
      if (g.lastRun < oldestRun) {
        oldestRun = g.lastRun;
        oldest = static_cast<int>(k);
      }
    }
    if (best >= 0) {
      if (w.ticks - oldestRun > kStarving)
        best = oldest;
      return best;
    }
    // Nobody runs: groups that wait for each other's lanes may have come together.
    bool freed = false;
    for (uint32_t k = 0; k < w.groups.size(); ++k)
      if (w.groups[k].state == Group::AtWarpSync) {
        size_t before = w.groups.size();
        mergeSame(w, k);
        if (w.groups.size() != before) {
          k = ~0u;
          continue;
        }
      }
    for (Group &g : w.groups)
      if (g.state == Group::AtWarpSync && warpSyncReady(w, g)) {
        g.arrived = true;
        freed = true;
      }
    for (Group &g : w.groups)
      if (g.state == Group::AtWarpSync && g.arrived) {
        g.state = Group::Ready; // `arrived` stays: the instruction does not wait again
        g.lastRun = w.ticks;
      }
    if (!freed && !forceDivergentBarriers(w))
      return -1;
  }
  return best;
}

} // namespace

RunResult runWarp(Warp &w, int64_t slice) {
  const Program &program = *w.program;
  const Inst *code = program.code.data();
  GridState &grid = *w.grid;
  WorkerState &worker = *w.worker;
  PcCounts *counts = worker.counts.data();
  const bool counting = w.counting, watching = w.watch != nullptr, looking = counting || watching;
  w.event = false;
  bool first = true; // the first block runs whole, however long it is, or a slice shorter than it would never end

  while (true) {
    if (w.groups.empty())
      return RunResult::Done;
    if (slice <= 0)
      return RunResult::Slice;
    int chosen = pick(w);
    if (chosen < 0)
      return w.groups.empty() ? RunResult::Done : RunResult::Blocked;
    w.current = static_cast<uint32_t>(chosen);
    if (w.groups.size() > 1) {
      uint32_t pcBefore = w.groups[w.current].pc, maskBefore = w.groups[w.current].mask;
      mergeSame(w, w.current);
      for (uint32_t k = 0; k < w.groups.size(); ++k)
        if (w.groups[k].pc == pcBefore && (w.groups[k].mask & maskBefore))
          w.current = k;
    }
    Group *group = &w.groups[w.current];
    uint32_t pc = group->pc, mask = group->mask;
    w.active = mask;
    uint64_t other = ~uint64_t(0);
    bool others = false;
    for (uint32_t k = 0; k < w.groups.size(); ++k)
      if (k != w.current && w.groups[k].state == Group::Ready) {
        other = std::min(other, priorityOf(w, w.groups[k]));
        others = true;
      }
    // One that was left behind gets a whole turn, whatever the others' places.
    if (others && priorityOf(w, *group) > other)
      other = ~uint64_t(0);
    uint64_t depth = (uint64_t(0xffff) - std::min<uint64_t>(group->calls.size(), 0xffff)) << 32;
    int64_t turnEnd = others ? std::max<int64_t>(slice - int64_t(kTurn), 0) : 0;

    auto leave = [&](uint32_t at) {
      group->pc = at;
      group->lastRun = w.ticks;
    };
    // The group goes on with `lanes` alone; its others are a group of their own behind this instruction.
    auto keepOnly = [&](uint32_t lanes) {
      if (lanes == mask)
        return;
      Group skip = *group;
      skip.mask = mask & ~lanes;
      skip.pc = pc + 1;
      skip.lastRun = w.ticks;
      w.groups.push_back(std::move(skip));
      group = &w.groups[w.current];
      group->mask = lanes;
    };

    for (bool running = true; running;) {
      const Inst &i = code[pc];
      uint32_t m = mask;
      if (!(i.flags & FlagNoGuard)) {
        uint32_t p = *row<uint32_t>(w, i.guard);
        m &= (i.flags & FlagNegated) ? ~p : p;
      }
      if (looking && i.kind != Kind::Label) {
        if (counting) {
          ++counts[pc].warps;
          counts[pc].threads += std::popcount(m);
        }
        if (watching)
          watchStep(w, i, pc, mask, m);
      }
      if ((i.flags & (FlagCheckInit | FlagDefsTracked)) && m)
        checkRegisters(w, i, m);
      switch (i.kind) {
      case Kind::Exec:
        if (m)
          i.exec(w, i, m);
        ++pc;
        break;
      case Kind::Memory:
        if (m) {
          i.exec(w, i, m);
          if (w.event) {
            leave(pc + 1);
            return RunResult::Stopped;
          }
        }
        ++pc;
        break;
      case Kind::Label: {
        slice -= int64_t(i.imm);
        w.ticks += i.imm;
        if (std::exchange(first, false)) {
          ++pc;
          break;
        }
        if (slice <= turnEnd || (others && depth + program.infos[pc].priority >= other)) {
          // Either the turn is over or another group is at the same or an earlier block.
          if (slice <= 0 || others) {
            leave(pc);
            if (slice <= 0 && grid.stop.load(std::memory_order_relaxed))
              return RunResult::Stopped;
            // Step over the label when this group is chosen again at once.
            int next = slice <= 0 ? -1 : pick(w);
            if (next >= 0 && uint32_t(next) == w.current) {
              mergeSame(w, w.current);
              for (uint32_t k = 0; k < w.groups.size(); ++k)
                if (w.groups[k].pc == pc && (w.groups[k].mask & mask))
                  w.current = k;
              group = &w.groups[w.current];
              mask = group->mask;
              w.active = mask;
              other = ~uint64_t(0);
              others = false;
              for (uint32_t k = 0; k < w.groups.size(); ++k)
                if (k != w.current && w.groups[k].state == Group::Ready) {
                  other = std::min(other, priorityOf(w, w.groups[k]));
                  others = true;
                }
              if (others && priorityOf(w, *group) > other)
                other = ~uint64_t(0);
              turnEnd = others ? std::max<int64_t>(slice - int64_t(kTurn), 0) : 0;
              ++pc;
              break;
            }
            running = false;
            break;
          }
        }
        ++pc;
        break;
      }
      case Kind::Branch:
        if (m == mask) {
          pc = i.target;
        } else if (!m) {
          ++pc;
        } else {
          if (counting)
            ++counts[pc].divergent;
          Group taken = *group;
          taken.pc = i.target;
          taken.mask = m;
          taken.lastRun = w.ticks;
          group->mask = mask & ~m;
          leave(pc + 1);
          w.groups.push_back(std::move(taken));
          running = false;
        }
        break;
      case Kind::BranchIndex: {
        const auto &table = program.jumpTables[i.target];
        const uint32_t *index = row<uint32_t>(w, i.a);
        uint32_t rest = m;
        Group base = *group;
        std::vector<Group> made;
        while (rest) {
          uint32_t lane = uint32_t(std::countr_zero(rest));
          uint32_t value = index[lane], lanes = 0;
          for (uint32_t k = rest; k; k &= k - 1)
            if (index[std::countr_zero(k)] == value)
              lanes |= 1u << std::countr_zero(k);
          rest &= ~lanes;
          if (value >= table.size()) {
            raise(w, i, lane, FaultKind::Trap, Space::None, 0, 0,
                  "branch index " + std::to_string(value) + " is beyond the table of " + std::to_string(table.size()));
            leave(pc);
            return RunResult::Stopped;
          }
          Group g = base;
          g.pc = table[value];
          g.mask = lanes;
          g.lastRun = w.ticks;
          made.push_back(std::move(g));
        }
        if (m == mask && made.size() == 1) {
          pc = made[0].pc;
          break;
        }
        if (counting)
          ++counts[pc].divergent;
        if (mask & ~m) {
          group->mask = mask & ~m;
          leave(pc + 1);
        } else {
          *group = std::move(made.back());
          made.pop_back();
        }
        for (Group &g : made)
          w.groups.push_back(std::move(g));
        running = false;
        break;
      }
      case Kind::Call:
      case Kind::CallIndirect: {
        if (!m) {
          ++pc;
          break;
        }
        uint32_t lanes = m, target = i.target;
        if (i.kind == Kind::CallIndirect) {
          const uint64_t *address = row<uint64_t>(w, i.a);
          uint64_t value = address[std::countr_zero(m)];
          lanes = 0;
          for (uint32_t k = m; k; k &= k - 1)
            if (address[std::countr_zero(k)] == value)
              lanes |= 1u << std::countr_zero(k);
          target = static_cast<uint32_t>((value - kFunctionWindow) / 16);
          if (value < kFunctionWindow || (value - kFunctionWindow) % 16 || target >= program.functions.size()) {
            raise(w, i, uint32_t(std::countr_zero(m)), FaultKind::Trap, Space::None, value, 0,
                  "call of an address that is no function");
            leave(pc);
            return RunResult::Stopped;
          }
        }
        if (group->calls.size() > 4096) {
          raise(w, i, uint32_t(std::countr_zero(m)), FaultKind::StackOverflow, Space::None, 0, 0,
                "calls are nested deeper than 4096");
          leave(pc);
          return RunResult::Stopped;
        }
        if (lanes != mask) {
          // Other callees, or lanes that do not call, go on as a group of their own.
          Group rest = *group;
          rest.mask = mask & ~lanes;
          rest.pc = (mask & ~m) && !(m & ~lanes) ? pc + 1 : pc;
          if ((mask & ~m) && (m & ~lanes)) {
            Group skip = *group;
            skip.mask = mask & ~m;
            skip.pc = pc + 1;
            skip.lastRun = w.ticks;
            rest.mask = m & ~lanes;
            w.groups.push_back(std::move(skip));
          }
          rest.lastRun = w.ticks;
          w.groups.push_back(std::move(rest));
          group = &w.groups[w.current];
          group->mask = lanes;
          running = false;
        }
        const DecodedFunction &callee = program.functions[target];
        const DecodedFunction &caller = program.functions[program.infos[pc].function];
        saveFrame(w, *group, caller, callee);
        moveLocals(w, resolveMoves(program, program.calls[i.imm], callee, true), lanes);
        group->calls.push_back(pc + 1);
        for (const TrackedRegister &t : callee.tracked)
          *row<uint32_t>(w, t.initRow) &= ~lanes;
        pc = callee.entry;
        depth = (uint64_t(0xffff) - std::min<uint64_t>(group->calls.size(), 0xffff)) << 32;
        if (!running)
          leave(pc);
        break;
      }
      case Kind::Ret: {
        if (!m) {
          ++pc;
          break;
        }
        if (m != mask) {
          Group rest = *group;
          rest.mask = mask & ~m;
          rest.pc = pc + 1;
          rest.lastRun = w.ticks;
          w.groups.push_back(std::move(rest));
          group = &w.groups[w.current];
          group->mask = m;
          mask = m;
        }
        uint32_t back = group->calls.back();
        group->calls.pop_back();
        const Inst &site = code[back - 1];
        const DecodedFunction &callee = program.functions[program.infos[pc].function];
        const DecodedFunction &caller = program.functions[program.infos[back - 1].function];
        auto moves = resolveMoves(program, program.calls[site.imm], callee, false);
        if (group->frames.back() == 0) {
          group->frames.pop_back();
          moveLocals(w, moves, m);
        } else {
          // Results must survive the restoration of a frame that may hold them.
          std::vector<uint8_t> held;
          for (uint32_t k = m; k; k &= k - 1)
            for (const auto &mv : moves) {
              const uint8_t *p = w.local + size_t(std::countr_zero(k)) * w.localStride + mv.from;
              held.insert(held.end(), p, p + mv.bytes);
            }
          restoreFrame(w, *group, caller, m);
          size_t at = 0;
          for (uint32_t k = m; k; k &= k - 1)
            for (const auto &mv : moves) {
              size_t place = size_t(std::countr_zero(k)) * w.localStride + mv.to;
              std::memcpy(w.local + place, held.data() + at, mv.bytes);
              std::memset(w.localInit + place, 1, mv.bytes);
              at += mv.bytes;
            }
        }
        leave(back);
        running = false;
        break;
      }
      case Kind::Exit:
        if (!m) {
          ++pc;
          break;
        }
        w.alive &= ~m;
        w.cta->exited += uint32_t(std::popcount(m));
        w.cta->changed = true;
        group->mask = mask & ~m;
        if (group->mask)
          leave(pc + 1);
        else
          w.groups.erase(w.groups.begin() + w.current);
        recheckBarriers(*w.cta);
        running = false;
        break;
      case Kind::WarpSync:
        if (!m) {
          ++pc;
          break;
        }
        if (m != mask) {
          Group skip = *group;
          skip.mask = mask & ~m;
          skip.pc = pc + 1;
          skip.lastRun = w.ticks;
          w.groups.push_back(std::move(skip));
          group = &w.groups[w.current];
          group->mask = m;
          mask = m;
          others = true;
        }
        group->pc = pc;
        if (!group->arrived && m != w.alive && !warpSyncReady(w, *group)) {
          leave(pc);
          group->state = Group::AtWarpSync;
          running = false;
          break;
        }
        group->arrived = false;
        w.active = m;
        i.exec(w, i, m);
        if (w.event) {
          leave(pc + 1);
          return RunResult::Stopped;
        }
        ++pc;
        break;
      case Kind::Barrier:
        if (!m) {
          ++pc;
          break;
        }
        keepOnly(m);
        leave(pc);
        ++worker.barrierWaits;
        arriveBarrier(w, *group, i, m);
        running = false;
        if (w.event)
          return RunResult::Stopped;
        break;
      case Kind::WaitMbarrier:
        if (m) {
          i.exec(w, i, m);
          if (w.event) {
            leave(pc + 1);
            return RunResult::Stopped;
          }
          // A try_wait that fails suspends the lanes until the phase is over; the executor left the address.
          if (group->state == Group::AtMbarrier) {
            leave(pc + 1);
            running = false;
            break;
          }
        }
        ++pc;
        break;
      case Kind::ClusterBarrier:
        if (!i.aux) {
          if (m)
            arriveCluster(w, i, m);
          ++pc;
          break;
        }
        if (!(m & w.clusterPending)) {
          ++pc;
          break;
        }
        keepOnly(m);
        leave(pc);
        ++worker.barrierWaits;
        group->state = Group::AtCluster;
        running = false;
        break;
      case Kind::Trap:
        if (m) {
          raise(w, i, uint32_t(std::countr_zero(m)), FaultKind::Trap, Space::None, 0, 0, "the kernel executed trap");
          leave(pc);
          return RunResult::Stopped;
        }
        ++pc;
        break;
      case Kind::Assert:
        if (m) {
          assertFailed(w, i, m);
          leave(pc);
          return RunResult::Stopped;
        }
        ++pc;
        break;
      case Kind::Print:
        if (m)
          printFormatted(w, i, m);
        ++pc;
        break;
      case Kind::Nanosleep:
        // Sleeping lanes give others their turn.
        leave(pc + 1);
        slice -= 64;
        w.ticks += 64;
        running = false;
        break;
      }
    }
  }
}

} // namespace vitrify::emulator
