//===- PlanMemoryTest.cpp - the arena against a search for overlaps -------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Random programs: each buffer is written at one step and read until another. At several values of the symbol, what lives
// at the same step may not share a byte.
#include "vitrify/Conversion/ViTToPlan/ViTToPlan.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>
#include <random>

using namespace vitrify;
using Kind = PlanExpr::Kind;

namespace {

struct Case {
  PlanProgram program;
  std::vector<std::pair<size_t, size_t>> lives; ///< of each buffer: the steps that write and last read it
};

/// `symbols` of 0, 1 or 2; buffer sizes are a constant, c * s, ceildiv(s, 4) * c or min(s, 2) * c bytes.
Case randomCase(std::mt19937 &random, unsigned symbols) {
  auto pick = [&](int64_t from, int64_t to) { return std::uniform_int_distribution<int64_t>(from, to)(random); };
  Case c;
  for (unsigned s = 0; s < symbols; ++s)
    c.program.symbols.push_back({"s" + std::to_string(s), 1, pick(1, 8), pick(8, 64)});
  size_t steps = pick(1, 12), buffers = pick(1, 16);
  c.program.steps.resize(steps);
  for (size_t b = 0; b < buffers; ++b) {
    PlanBuffer buffer;
    buffer.name = "b" + std::to_string(b);
    PlanExpr size(pick(1, 500));
    if (symbols && pick(0, 3)) {
      PlanExpr symbol = PlanExpr::symbol(pick(0, symbols - 1));
      PlanExpr forms[] = {symbol, PlanExpr::binary(Kind::CeilDiv, symbol, PlanExpr(4)), PlanExpr::binary(Kind::Min, symbol, PlanExpr(2))};
      size = PlanExpr::binary(Kind::Mul, forms[pick(0, 2)], size);
    }
    buffer.size = size;
    size_t begin = pick(0, steps - 1), end = pick(begin, steps - 1);
    c.program.buffers.push_back(buffer);
    c.program.steps[begin].writes.push_back({static_cast<unsigned>(b), PlanExpr(0)});
    c.program.steps[end].reads.push_back({static_cast<unsigned>(b), PlanExpr(0)});
    c.lives.push_back({begin, end});
  }
  return c;
}

/// The bytes [first, second) of a buffer.
std::pair<int64_t, int64_t> bytesOf(const PlanBuffer &buffer, const std::vector<int64_t> &symbols) {
  int64_t offset = *buffer.offset.evaluate(symbols);
  return {offset, offset + *buffer.size.evaluate(symbols)};
}

TEST(PlanMemory, NothingThatLivesIsOverwritten) {
  mlir::MLIRContext context;
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    Case c = randomCase(random, round % 3);
    auto emitError = [&] { return mlir::emitError(mlir::UnknownLoc::get(&context)); };
    ASSERT_TRUE(mlir::succeeded(planMemory(c.program, emitError)));
    for (int64_t value : {int64_t(1), int64_t(3), int64_t(8)}) {
      std::vector<int64_t> symbols(c.program.symbols.size(), value);
      if (symbols.size() > 1)
        symbols[1] = 9 - value;
      int64_t arena = *c.program.arena_bytes.evaluate(symbols);
      for (size_t a = 0; a < c.lives.size(); ++a) {
        auto mine = bytesOf(c.program.buffers[a], symbols);
        EXPECT_EQ(mine.first % 64, 0);
        EXPECT_GE(mine.first, 0);
        EXPECT_LE(mine.second, arena);
        for (size_t b = 0; b < a; ++b) {
          bool together = c.lives[a].first <= c.lives[b].second && c.lives[b].first <= c.lives[a].second;
          auto other = bytesOf(c.program.buffers[b], symbols);
          EXPECT_FALSE(together && mine.first < other.second && other.first < mine.second)
              << "round " << round << ": " << c.program.buffers[a].name << " and " << c.program.buffers[b].name;
        }
      }
    }
  }
}

TEST(PlanMemory, ScratchDoesNotGrowWithTheSymbol) {
  mlir::MLIRContext context;
  PlanProgram program;
  program.symbols.push_back({"images", 1, 1, 64});
  program.steps.resize(4);
  // Two kernels in a row have scratch of up to 4 images each; what they work on lives through both.
  for (unsigned b = 0; b < 3; ++b) {
    PlanBuffer buffer;
    PlanExpr rows = b == 0 ? PlanExpr::symbol(0) : PlanExpr::binary(Kind::Min, PlanExpr::symbol(0), PlanExpr(4));
    buffer.size = PlanExpr::binary(Kind::Mul, rows, PlanExpr(b == 2 ? 2560 : 640));
    program.buffers.push_back(buffer);
    program.steps[b == 2 ? 2 : 0].writes.push_back({b, PlanExpr(0)});
    program.steps[b == 1 ? 1 : 3].reads.push_back({b, PlanExpr(0)});
  }
  ASSERT_TRUE(mlir::succeeded(planMemory(program, [&] { return mlir::emitError(mlir::UnknownLoc::get(&context)); })));
  EXPECT_EQ(*program.arena_bytes.evaluate({64}), 64 * 640 + 4 * 2560);
  EXPECT_EQ(*program.buffers[1].offset.evaluate({64}), 64 * 640);
  EXPECT_EQ(*program.buffers[2].offset.evaluate({64}), 64 * 640); // the two never live at once
}

TEST(PlanMemory, AChainNeedsTwoBuffers) {
  mlir::MLIRContext context;
  PlanProgram program;
  program.symbols.push_back({"images", 1, 1, 16});
  program.steps.resize(6);
  for (unsigned b = 0; b < 5; ++b) {
    PlanBuffer buffer;
    buffer.size = PlanExpr::binary(Kind::Mul, PlanExpr::symbol(0), PlanExpr(640));
    program.buffers.push_back(buffer);
    program.steps[b].writes.push_back({b, PlanExpr(0)});
    program.steps[b + 1].reads.push_back({b, PlanExpr(0)});
  }
  ASSERT_TRUE(mlir::succeeded(planMemory(program, [&] { return mlir::emitError(mlir::UnknownLoc::get(&context)); })));
  EXPECT_EQ(*program.arena_bytes.evaluate({7}), 7 * 2 * 640);
}

} // namespace
