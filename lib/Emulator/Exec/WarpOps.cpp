//===- WarpOps.cpp - operations across lanes --------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// shfl, vote, match, redux, elect, activemask, bar.warp.sync, fence. `e` is the
// row of member masks; the interpreter has made sure that the members are here.
//===----------------------------------------------------------------------===//
#include "../Race.h"
#include "Support.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

/// Calls f(lanes) for each set of lanes that name the same members. Lanes outside of their own mask are reported.
template <class F> VITRIFY_INLINE void eachTeam(Warp &w, const Inst &i, u32 m, F f) {
  const u32 *members = R<u32>(w, i.e);
  for (u32 rest = m; rest;) {
    u32 l = std::countr_zero(rest), mask = members[l], team = 0;
    for (u32 k = rest; k; k &= k - 1)
      if (members[std::countr_zero(k)] == mask)
        team |= 1u << std::countr_zero(k);
    rest &= ~team;
    if (team & ~mask) {
      char text[80];
      snprintf(text, sizeof text, "the thread is not in its own member mask 0x%08x", mask);
      raise(w, i, u32(std::countr_zero(team & ~mask)), FaultKind::InvalidMask, Space::None, 0, 0, text);
    }
    f(team);
  }
}

void shfl(Warp &w, const Inst &i, u32 m) {
  const u32 *a = R<u32>(w, i.a), *b = R<u32>(w, i.b), *c = R<u32>(w, i.c);
  u32 result[32], inside = 0;
  u32 p = w.program->lists[i.list];
  for (u32 rest = m; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest);
    u32 bval = b[l] & 31, segment = c[l] >> 8 & 31, clamp = c[l] & 31;
    u32 maxLane = (l & segment) | (clamp & ~segment), minLane = l & segment;
    u32 from;
    bool valid;
    switch (i.aux2) {
    case 0: from = l - bval; valid = s32(from) >= s32(maxLane); break;
    case 1: from = l + bval; valid = s32(from) <= s32(maxLane); break;
    case 2: from = l ^ bval; valid = s32(from) <= s32(maxLane); break;
    default: from = minLane | (bval & ~segment); valid = s32(from) <= s32(maxLane); break;
    }
    if (!valid)
      from = l;
    if (!(m >> from & 1) && valid) {
      raise(w, i, l, FaultKind::InvalidMask, Space::None, 0, 0,
            "reads lane " + std::to_string(from) + ", which does not take part");
    }
    result[l] = a[from & 31];
    inside |= u32(valid) << l;
  }
  if (i.d != ~0u)
    putEach<u32>(w, i.d, m, [&](u32 l) { return result[l]; });
  if (p != ~0u)
    setPred(w, p, m, inside);
  eachTeam(w, i, m, [](u32) {});
}

template <int Mode> void vote(Warp &w, const Inst &i, u32 m) {
  u32 p = pred(w, i.a);
  if (i.width)
    p = ~p;
  u32 d = i.d;
  eachTeam(w, i, m, [&](u32 team) {
    u32 set = p & team;
    if constexpr (Mode == 3) {
      putEach<u32>(w, d, team, [&](u32) { return set; });
    } else {
      bool r = Mode == 0 ? set == team : Mode == 1 ? set != 0 : set == 0 || set == team;
      setPred(w, d, team, r ? ~0u : 0u);
    }
  });
}

template <class T, bool All> void match(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a);
  u32 result[32], ok = 0;
  eachTeam(w, i, m, [&](u32 team) {
    for (u32 rest = team; rest; rest &= rest - 1) {
      u32 l = std::countr_zero(rest), same = 0;
      for (u32 k = team; k; k &= k - 1)
        same |= u32(a[std::countr_zero(k)] == a[l]) << std::countr_zero(k);
      result[l] = All ? (same == team ? team : 0) : same;
      ok |= u32(same == team) << l;
    }
  });
  putEach<u32>(w, i.d, m, [&](u32 l) { return result[l]; });
  if (u32 p = w.program->lists[i.list]; p != ~0u)
    setPred(w, p, m, ok);
}

template <class T, auto F> void redux(Warp &w, const Inst &i, u32 m) {
  const T *a = R<T>(w, i.a);
  T result[32];
  eachTeam(w, i, m, [&](u32 team) {
    T r = a[std::countr_zero(team)];
    for (u32 k = team & (team - 1); k; k &= k - 1)
      r = F(r, a[std::countr_zero(k)]);
    for (u32 k = team; k; k &= k - 1)
      result[std::countr_zero(k)] = r;
  });
  putEach<T>(w, i.d, m, [&](u32 l) { return result[l]; });
}
template <bool Max, bool Abs, bool Nan> constexpr auto reduxF = [](float a, float b) -> float {
  if constexpr (Abs)
    a = __builtin_fabsf(a), b = __builtin_fabsf(b);
  if (a != a || b != b)
    return Nan || (a != a && b != b) ? std::bit_cast<float>(0x7fffffffu) : a != a ? b : a;
  return Max ? (a > b ? a : b) : (a < b ? a : b);
};

void activemask(Warp &w, const Inst &i, u32 m) {
  put<u32>(w, i.d, m, [&](u32) { return m; });
}
void elect(Warp &w, const Inst &i, u32 m) {
  u32 d = i.d, p = w.program->lists[i.list];
  eachTeam(w, i, m, [&](u32 team) {
    u32 leader = std::countr_zero(team);
    if (d != ~0u)
      putEach<u32>(w, d, team, [&](u32) { return leader; });
    if (p != ~0u)
      setPred(w, p, team, 1u << leader);
  });
}
void warpSync(Warp &w, const Inst &i, u32 m) {
  eachTeam(w, i, m, [](u32) {});
  raceWarpSync(w, m);
}
void fence(Warp &w, const Inst &i, u32) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  raceFence(w, i.scope);
}

constexpr OpEntry kOps[] = {
    {"shfl", &shfl}, {"vote.all", &vote<0>}, {"vote.any", &vote<1>}, {"vote.uni", &vote<2>}, {"vote.ballot", &vote<3>},
    {"match.any.32", &match<u32, false>}, {"match.any.64", &match<u64, false>}, {"match.all.32", &match<u32, true>},
    {"match.all.64", &match<u64, true>},
    {"redux.add.u32", &redux<u32, [](u32 a, u32 b) -> u32 { return a + b; }>},
    {"redux.and.u32", &redux<u32, [](u32 a, u32 b) -> u32 { return a & b; }>},
    {"redux.or.u32", &redux<u32, [](u32 a, u32 b) -> u32 { return a | b; }>},
    {"redux.xor.u32", &redux<u32, [](u32 a, u32 b) -> u32 { return a ^ b; }>},
    {"redux.min.u32", &redux<u32, [](u32 a, u32 b) -> u32 { return a < b ? a : b; }>},
    {"redux.max.u32", &redux<u32, [](u32 a, u32 b) -> u32 { return a > b ? a : b; }>},
    {"redux.min.s32", &redux<s32, [](s32 a, s32 b) -> s32 { return a < b ? a : b; }>},
    {"redux.max.s32", &redux<s32, [](s32 a, s32 b) -> s32 { return a > b ? a : b; }>},
    {"redux.min.f32", &redux<float, reduxF<false, false, false>>}, {"redux.max.f32", &redux<float, reduxF<true, false, false>>},
    {"redux.min.abs.f32", &redux<float, reduxF<false, true, false>>}, {"redux.max.abs.f32", &redux<float, reduxF<true, true, false>>},
    {"redux.min.nan.f32", &redux<float, reduxF<false, false, true>>}, {"redux.max.nan.f32", &redux<float, reduxF<true, false, true>>},
    {"redux.min.abs.nan.f32", &redux<float, reduxF<false, true, true>>}, {"redux.max.abs.nan.f32", &redux<float, reduxF<true, true, true>>},
    {"activemask", &activemask}, {"elect", &elect}, {"bar.warp.sync", &warpSync}, {"fence", &fence},
};

} // namespace

OpList warpOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
