//===- Async.cpp - asynchronous copies, mbarriers, alloca -------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// cp.async moves its bytes at once, and remembers that they may not be read
// before the thread has waited for the group (Race.cpp reports reads that come
// too early). mbarriers are words of shared memory, see Mbarrier.h.
//===----------------------------------------------------------------------===//
#include "../Mbarrier.h"
#include "../Grid.h"
#include "../Race.h"
#include "Addressing.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

void cpAsync(Warp &w, const Inst &i, u32 m) {
  const u32 *list = w.program->lists.data() + i.list;
  u32 bytes = i.width;
  WarpAccess to, from;
  to.access = Access::AsyncCopy;
  from.access = Access::Read;
  to.bytes = bytes;
  from.bytes = bytes;
  u32 fromOffset = u32(i.imm >> 32), toOffset = u32(i.imm);
  const u64 *source = R<u64>(w, i.b);
  u32 sizes[32];
  u32 ignore = 0;
  if (list[1] != ~0u) {
    ignore = pred(w, list[1]);
    if (i.aux2)
      ignore = ~ignore;
  }
  for (u32 l = 0; l < 32; ++l) {
    from.address[l] = source[l] + u64(s64(s32(fromOffset)));
    to.address[l] = i.aux == 0 ? R<u64>(w, i.a)[l] + toOffset : i.aux == 1 ? u64(u32(R<u32>(w, i.a)[l] + toOffset)) : toOffset;
    u32 size = list[0] != ~0u ? R<u32>(w, list[0])[l] : bytes;
    sizes[l] = (ignore >> l & 1) ? 0 : size > bytes ? bytes : size;
  }
  u32 ok = checked<Area::Shared>(w, i, m, to);
  if (!ok || w.event)
    return;
  // A size below the full one reads only so many bytes; the rest is zero.
  u32 full = 0, partial = 0;
  for (u32 rest = ok; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    if (sizes[l] == bytes)
      full |= 1u << l;
    else if (sizes[l])
      partial |= 1u << l;
  }
  u32 readable = full ? checked<Area::Global>(w, i, full, from) : 0;
  if (w.event)
    return;
  for (u32 rest = partial; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    WarpAccess one = from;
    one.bytes = 1;
    one.address[l] = from.address[l] + sizes[l] - 1;
    u32 last = checked<Area::Global>(w, i, 1u << l, one);
    one.address[l] = from.address[l];
    if (last && !w.event && checked<Area::Global>(w, i, 1u << l, one))
      readable |= 1u << l;
    if (w.event)
      return;
  }
  for (u32 rest = ok; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    const u8 *source = reinterpret_cast<const u8 *>(from.address[l]);
    u8 buffer[16] = {};
    if (readable >> l & 1) {
      if (sizes[l] == 16)
        __builtin_memcpy(buffer, source, 16);
      else
        __builtin_memcpy(buffer, source, sizes[l]);
    }
    u8 *target = w.shared + to.address[l];
    if (bytes == 16)
      __builtin_memcpy(target, buffer, 16);
    else
      __builtin_memcpy(target, buffer, bytes);
    if (w.checksRace)
      w.async.open.push_back({u32(to.address[l]), u32(to.address[l]) + bytes, u8(l)});
  }
}

void commit(Warp &w, const Inst &, u32 m) {
  raceCommit(w, m);
}
void wait(Warp &w, const Inst &i, u32 m) {
  raceWaitGroup(w, m, i.imm, i.aux);
  ++w.worker->asyncWaits;
}

/// The word at a lane's mbarrier; reports and returns null if it is none.
VITRIFY_INLINE u8 *word(Warp &w, const Inst &i, u32 l, u64 address) {
  return w.shared + address;
}

template <Area S, class F> VITRIFY_INLINE void eachMbarrier(Warp &w, const Inst &i, u32 m, Access kind, F f) {
  WarpAccess acc;
  acc.access = kind;
  acc.bytes = 8;
  addresses(w, i, acc);
  auto run = [&]<Area A>(u32 lanes) {
    if constexpr (A == Area::Shared) {
      u32 ok = checked<A>(w, i, lanes, acc);
      for (u32 rest = ok; rest && !w.event; rest &= rest - 1) {
        u32 l = std::countr_zero(rest);
        u64 value;
        __builtin_memcpy(&value, word(w, i, l, acc.address[l]), 8);
        u64 now = f(l, acc.address[l], value);
        if (now != value)
          __builtin_memcpy(word(w, i, l, acc.address[l]), &now, 8);
      }
    } else {
      raise(w, i, std::countr_zero(lanes), FaultKind::InvalidAddressSpace, Space::Shared,
            acc.address[std::countr_zero(lanes)], 8, "an mbarrier lies in shared memory");
      w.event = true;
    }
  };
  if constexpr (S == Area::Generic)
    splitGeneric(m, acc, run);
  else
    run.template operator()<S>(m);
}

template <Area S> void init(Warp &w, const Inst &i, u32 m) {
  const u32 *count = i.b != ~0u ? R<u32>(w, i.b) : nullptr;
  eachMbarrier<S>(w, i, m, Access::Write, [&](u32 l, u64 address, u64) {
    u32 n = count ? count[l] : 1;
    if (n == 0 || n > kMbarrierMaxCount)
      raise(w, i, l, FaultKind::InvalidBarrier, Space::Shared, address, 8,
            "a count of " + std::to_string(n) + " is out of range");
    return mbarrierMake(n, n, 0, 0);
  });
}
template <Area S> void inval(Warp &w, const Inst &i, u32 m) {
  eachMbarrier<S>(w, i, m, Access::Write, [](u32, u64, u64) { return u64(0); });
}
template <Area S, bool Drop> void arrive(Warp &w, const Inst &i, u32 m) {
  const u32 *b = i.b != ~0u ? R<u32>(w, i.b) : nullptr;
  bool expectTx = i.aux2 & 2;
  eachMbarrier<S>(w, i, m, Access::Atomic, [&](u32 l, u64 address, u64 value) {
    raceSync(w, i, address, true, false, true);
    u32 count = expectTx || !b ? 1 : b[l];
    s32 tx = expectTx && b ? s32(b[l]) : 0;
    if (count > mbarrierPending(value)) {
      raise(w, i, l, FaultKind::InvalidBarrier, Space::Shared, address, 8,
            std::to_string(count) + " arrivals, but the phase waits for " + std::to_string(mbarrierPending(value)));
      return value;
    }
    if (i.d != ~0u)
      R<u64>(w, i.d)[l] = value;
    w.cta->changed = true;
    return mbarrierUpdate(value, count, tx, Drop ? count : 0);
  });
}
template <Area S, bool Complete> void transactions(Warp &w, const Inst &i, u32 m) {
  const u32 *b = R<u32>(w, i.b);
  eachMbarrier<S>(w, i, m, Access::Atomic, [&](u32 l, u64, u64 value) {
    return mbarrierUpdate(value, 0, Complete ? -s32(b[l]) : s32(b[l]));
  });
}
template <Area S, bool Try> void testWait(Warp &w, const Inst &i, u32 m) {
  u32 done = 0;
  u64 waitAddress = 0;
  u32 waitPhase = 0, waiting = 0;
  eachMbarrier<S>(w, i, m, Access::Atomic, [&](u32 l, u64 address, u64 value) {
    u32 phase = (i.aux2 & 1) ? R<u32>(w, i.b)[l] & 1 : mbarrierPhase(R<u64>(w, i.b)[l]);
    bool complete = mbarrierPhase(value) != phase;
    done |= u32(complete) << l;
    if (complete)
      raceSync(w, i, address, true, true, false);
    else {
      waitAddress = address;
      waitPhase = phase;
      ++waiting;
    }
    return value;
  });
  if (w.event)
    return;
  setPred(w, i.d, m, done);
  if (Try && waiting) {
    // Suspended until the phase is over; then the loop around the instruction asks again.
    Group &g = w.groups[w.current];
    g.state = Group::AtMbarrier;
    g.waitAddress = waitAddress;
    g.waitPhase = waitPhase;
  }
}
void pendingCount(Warp &w, const Inst &i, u32 m) {
  const u64 *a = R<u64>(w, i.a);
  put<u32>(w, i.d, m, [&](u32 l) { return mbarrierPending(a[l]); });
}

/// Copies have been made already, so that the arrival that they trigger comes at once. Without .noinc the pending
/// count was to grow by one first: both together change nothing.
template <Area S> void copyArrive(Warp &w, const Inst &i, u32 m) {
  raceCommitTo(w, m);
  eachMbarrier<S>(w, i, m, Access::Atomic, [&](u32 l, u64 address, u64 value) {
    raceSync(w, i, address, true, false, true);
    if (!i.aux2)
      return value;
    if (mbarrierPending(value) == 0) {
      raise(w, i, l, FaultKind::InvalidBarrier, Space::Shared, address, 8, "an arrival, but the phase waits for none");
      return value;
    }
    w.cta->changed = true;
    return mbarrierUpdate(value, 1, 0);
  });
}

// alloca: a stack that grows down in each thread's local memory.
void allocaOp(Warp &w, const Inst &i, u32 m) {
  const u64 *size = R<u64>(w, i.a);
  u64 align = i.imm ? i.imm : 8;
  putEach<u64>(w, i.d, m, [&](u32 l) -> u64 {
    u64 top = w.stackTop[l];
    if (size[l] + align > top || top - size[l] < w.program->localBytes) {
      raise(w, i, l, FaultKind::StackOverflow, Space::Local, 0, 0,
            "alloca of " + std::to_string(size[l]) + " bytes does not fit in the thread's stack");
      return 0;
    }
    w.stackTop[l] = u32((top - size[l]) / align * align);
    return w.stackTop[l];
  });
}
void stackSave(Warp &w, const Inst &i, u32 m) {
  putEach<u64>(w, i.d, m, [&](u32 l) -> u64 { return w.stackTop[l]; });
}
void stackRestore(Warp &w, const Inst &i, u32 m) {
  const u64 *a = R<u64>(w, i.a);
  for (u32 rest = m; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    if (a[l] <= w.localStride && a[l] >= w.program->localBytes)
      w.stackTop[l] = u32(a[l]);
  }
}

#define MBARRIER(space, S)                                                                                             \
  {"mbarrier.init" space, &init<S>}, {"mbarrier.inval" space, &inval<S>}, {"mbarrier.arrive" space, &arrive<S, false>}, \
      {"mbarrier.arrive_drop" space, &arrive<S, true>}, {"mbarrier.test_wait" space, &testWait<S, false>},             \
      {"mbarrier.try_wait" space, &testWait<S, true>}, {"mbarrier.expect_tx" space, &transactions<S, false>},          \
      {"mbarrier.complete_tx" space, &transactions<S, true>}, {                                                        \
    "cp.async.mbarrier" space, &copyArrive<S>                                                                          \
  }

constexpr OpEntry kOps[] = {
    {"cp.async", &cpAsync}, {"cp.async.commit", &commit}, {"cp.async.wait", &wait},
    MBARRIER(".shared", Area::Shared), MBARRIER(".generic", Area::Generic), {"mbarrier.pending_count", &pendingCount},
    {"alloca", &allocaOp}, {"stacksave", &stackSave}, {"stackrestore", &stackRestore},
};

} // namespace

OpList asyncOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
