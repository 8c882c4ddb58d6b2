//===- Frames.cpp - calls of device functions -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Arguments and results move between windows of local memory; recursive callers
// keep their rows and local memory aside.
//===----------------------------------------------------------------------===//
#include "Frames.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vitrify::emulator {

void moveLocals(Warp &w, const std::vector<CallSite::Move> &moves, uint32_t mask) {
  std::vector<uint8_t> held;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    uint8_t *base = w.local + size_t(lane) * w.localStride, *init = w.localInit + size_t(lane) * w.localStride;
    held.clear();
    for (const auto &m : moves) {
      held.insert(held.end(), base + m.from, base + m.from + m.bytes);
      held.insert(held.end(), init + m.from, init + m.from + m.bytes);
    }
    size_t at = 0;
    for (const auto &m : moves) {
      std::memcpy(base + m.to, held.data() + at, m.bytes);
      std::memcpy(init + m.to, held.data() + at + m.bytes, m.bytes);
      at += 2 * size_t(m.bytes);
    }
  }
}

std::vector<CallSite::Move> resolveMoves(const Program &p, const CallSite &site, const DecodedFunction &callee,
                                         bool args) {
  std::vector<CallSite::Move> moves = args ? site.args : site.results;
  const auto &vars = args ? callee.parsed->params : callee.parsed->results;
  for (size_t i = 0; i < moves.size() && i < vars.size(); ++i) {
    uint32_t place = callee.local.at(vars[i].name);
    (args ? moves[i].to : moves[i].from) = place;
    moves[i].bytes = std::min<uint32_t>(moves[i].bytes, static_cast<uint32_t>(vars[i].size));
  }
  return moves;
}

void saveFrame(Warp &w, Group &g, const DecodedFunction &caller, const DecodedFunction &callee) {
  uint32_t slot = 0;
  if (caller.recursive && callee.recursive) {
    w.saved.emplace_back(w.regs + caller.rowsBegin, w.regs + caller.rowsEnd);
    auto &bytes = w.saved.back();
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint8_t *base = w.local + size_t(lane) * w.localStride;
      bytes.insert(bytes.end(), base + caller.localBegin, base + caller.localEnd);
    }
    slot = static_cast<uint32_t>(w.saved.size());
  }
  g.frames.push_back(slot);
}

void restoreFrame(Warp &w, Group &g, const DecodedFunction &caller, uint32_t mask) {
  uint32_t slot = g.frames.back();
  g.frames.pop_back();
  if (!slot)
    return;
  const auto &bytes = w.saved[slot - 1];
  for (const RowShape &shape : caller.shapes) {
    const uint8_t *from = bytes.data() + (shape.row - caller.rowsBegin);
    uint8_t *to = w.regs + shape.row;
    if (shape.bytesPerLane == 0) {
      uint32_t a, b;
      std::memcpy(&a, from, 4);
      std::memcpy(&b, to, 4);
      b = (b & ~mask) | (a & mask);
      std::memcpy(to, &b, 4);
      continue;
    }
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      uint32_t lane = uint32_t(std::countr_zero(rest));
      std::memcpy(to + lane * shape.bytesPerLane, from + lane * shape.bytesPerLane, shape.bytesPerLane);
    }
  }
  size_t rows = caller.rowsEnd - caller.rowsBegin, local = caller.localEnd - caller.localBegin;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    uint32_t lane = uint32_t(std::countr_zero(rest));
    std::memcpy(w.local + size_t(lane) * w.localStride + caller.localBegin, bytes.data() + rows + lane * local, local);
  }
}

} // namespace vitrify::emulator
