//===- PlanMemory.cpp - one arena for the buffers of a program -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// First fit by size: the largest buffers are placed first, each at the lowest offset where nothing that lives at the same
// time lies. Sizes are expressions; with one symbol s, every buffer gets bytes for one unit of s, such that units * s is
// at least its size for every legal s, and the packing of units holds for all of them.
//===----------------------------------------------------------------------===//
#include "vitrify/Conversion/ViTToPlan/ViTToPlan.h"

#include "Shapes.h"

#include <algorithm>
#include <numeric>

using namespace mlir;
using namespace vitrify;
using Kind = PlanExpr::Kind;

namespace {

constexpr int64_t kAlignment = 64;

struct Lifetime {
  int64_t begin = INT64_MAX, end = -1;
  bool touches(const Lifetime &other) const { return begin <= other.end && other.begin <= end; }
};

/// Steps, counted at the top level, between the first write and the last read.
std::vector<Lifetime> lifetimesOf(const PlanProgram &program) {
  std::vector<Lifetime> lives(program.buffers.size());
  std::function<void(const PlanStep &, int64_t)> visit = [&](const PlanStep &step, int64_t at) {
    for (const auto *operands : {&step.reads, &step.writes})
      for (const PlanOperand &operand : *operands) {
        lives[operand.buffer].begin = std::min(lives[operand.buffer].begin, at);
        lives[operand.buffer].end = std::max(lives[operand.buffer].end, at);
      }
    for (const PlanStep &inner : step.body)
      visit(inner, at);
  };
  for (auto [at, step] : llvm::enumerate(program.steps))
    visit(step, at);
  return lives;
}

/// Smallest multiple of 64 that, times the symbol, covers the size at the symbol's bounds and its tuned value. Sizes are
/// sums of products of the symbol and constants, so between those values they stay below.
StatusOr<int64_t> unitOf(const PlanExpr &size, const PlanSymbol *symbol) {
  int64_t unit = 0;
  for (int64_t value : symbol ? std::vector<int64_t>{symbol->min, symbol->tuned, symbol->max} : std::vector<int64_t>{1}) {
    VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, size.evaluate({value}));
    unit = std::max(unit, (bytes + value - 1) / value);
  }
  return (unit + kAlignment - 1) / kAlignment * kAlignment;
}

/// A constant that the size never passes, for sizes that stop growing; none for constants themselves and for all others.
std::optional<int64_t> capOf(const PlanExpr &size) {
  if (size.isConstant())
    return std::nullopt;
  std::vector<std::optional<int64_t>> bounds;
  for (const PlanExpr::Node &node : size.nodes) {
    auto side = [&](int32_t at) { return bounds[at]; };
    std::optional<int64_t> bound;
    if (node.kind == Kind::Constant)
      bound = node.value;
    else if (node.kind == Kind::Min)
      bound = side(node.lhs) && side(node.rhs) ? std::min(*side(node.lhs), *side(node.rhs))
              : side(node.lhs)                 ? side(node.lhs)
                                               : side(node.rhs);
    else if (node.kind == Kind::Mul && side(node.lhs) && side(node.rhs))
      if (auto product = PlanExpr::binary(Kind::Mul, PlanExpr(*side(node.lhs)), PlanExpr(*side(node.rhs))).evaluate({}))
        bound = *product;
    bounds.push_back(bound);
  }
  return bounds.back();
}

} // namespace

LogicalResult vitrify::planMemory(PlanProgram &program, llvm::function_ref<InFlightDiagnostic()> emitError) {
  std::vector<Lifetime> lives = lifetimesOf(program);
  std::vector<unsigned> arena;
  for (auto [i, buffer] : llvm::enumerate(program.buffers))
    if (buffer.kind == PlanBuffer::Kind::Arena)
      arena.push_back(i);

  if (program.symbols.size() > 1) {
    // Sizes over several symbols have no common unit: every buffer gets a place of its own.
    PlanExpr offset(0);
    for (unsigned i : arena) {
      program.buffers[i].offset = offset;
      PlanExpr padded = simplified(Kind::Mul, simplified(Kind::CeilDiv, program.buffers[i].size, PlanExpr(kAlignment)),
                                   PlanExpr(kAlignment));
      offset = simplified(Kind::Add, offset, padded);
    }
    program.arena_bytes = offset;
    return success();
  }

  const PlanSymbol *symbol = program.symbols.empty() ? nullptr : &program.symbols[0];
  std::vector<int64_t> units(program.buffers.size()), offsets(program.buffers.size());
  // Capped buffers that live at the same time follow each other.
  std::vector<unsigned> capped;
  int64_t cappedPeak = 0;
  std::erase_if(arena, [&](unsigned i) {
    auto cap = capOf(program.buffers[i].size);
    if (!cap)
      return false;
    units[i] = (*cap + kAlignment - 1) / kAlignment * kAlignment;
    for (unsigned other : capped)
      if (lives[i].touches(lives[other]))
        offsets[i] = std::max(offsets[i], offsets[other] + units[other]);
    cappedPeak = std::max(cappedPeak, offsets[i] + units[i]);
    capped.push_back(i);
    return true;
  });
  for (unsigned i : arena) {
    auto unit = unitOf(program.buffers[i].size, symbol);
    if (!unit)
      return emitError() << "size of '" << program.buffers[i].name << "': " << unit.status().message();
    units[i] = *unit;
  }
  std::vector<unsigned> order(arena);
  std::ranges::stable_sort(order, [&](unsigned a, unsigned b) { return units[a] > units[b]; });
  int64_t peak = 0;
  std::vector<unsigned> placed;
  for (unsigned i : order) {
    // What lives at the same time, by offset; the first gap that is large enough is taken.
    std::vector<unsigned> busy;
    for (unsigned other : placed)
      if (lives[i].touches(lives[other]))
        busy.push_back(other);
    std::ranges::sort(busy, [&](unsigned a, unsigned b) { return offsets[a] < offsets[b]; });
    int64_t at = 0;
    for (unsigned other : busy) {
      if (at + units[i] <= offsets[other])
        break;
      at = std::max(at, offsets[other] + units[other]);
    }
    offsets[i] = at;
    peak = std::max(peak, at + units[i]);
    placed.push_back(i);
  }
  auto scaled = [&](int64_t unit) {
    return symbol ? simplified(Kind::Mul, PlanExpr::symbol(0), PlanExpr(unit)) : PlanExpr(unit);
  };
  for (unsigned i : arena)
    program.buffers[i].offset = offsets[i] ? scaled(offsets[i]) : PlanExpr(0);
  for (unsigned i : capped)
    program.buffers[i].offset = simplified(Kind::Add, scaled(peak), PlanExpr(offsets[i]));
  program.arena_bytes = simplified(Kind::Add, scaled(peak), PlanExpr(cappedPeak));
  return success();
}
