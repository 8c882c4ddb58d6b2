//===- Listing.cpp - blocks and loops of a kernel ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Dominators by the data flow equations (a kernel has some hundred blocks), and
// natural loops from the edges that lead back to a dominator.
//===----------------------------------------------------------------------===//
#include "Listing.h"

#include <algorithm>
#include <map>

namespace vitrify {
namespace {

struct Block {
  size_t first, last; ///< [first, last)
  std::vector<size_t> next, previous;
};

std::vector<Block> blocksOf(const std::vector<ListedInstruction> &code) {
  std::vector<bool> leads(code.size() + 1, false);
  leads[0] = true;
  for (size_t i = 0; i < code.size(); ++i) {
    if (code[i].target >= 0)
      leads[size_t(code[i].target)] = true;
    if (code[i].target >= 0 || !code[i].falls)
      leads[i + 1] = true;
  }
  std::vector<Block> blocks;
  std::vector<size_t> blockAt(code.size());
  for (size_t i = 0; i < code.size(); ++i) {
    if (leads[i])
      blocks.push_back({i, i, {}, {}});
    blockAt[i] = blocks.size() - 1;
    blocks.back().last = i + 1;
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    const ListedInstruction &end = code[blocks[b].last - 1];
    if (end.falls && b + 1 < blocks.size())
      blocks[b].next.push_back(b + 1);
    if (end.target >= 0)
      blocks[b].next.push_back(blockAt[size_t(end.target)]);
    for (size_t to : blocks[b].next)
      blocks[to].previous.push_back(b);
  }
  return blocks;
}

std::vector<bool> reachable(const std::vector<Block> &blocks) {
  std::vector<bool> seen(blocks.size(), false);
  std::vector<size_t> open = {0};
  while (!open.empty()) {
    size_t b = open.back();
    open.pop_back();
    if (seen[b])
      continue;
    seen[b] = true;
    open.insert(open.end(), blocks[b].next.begin(), blocks[b].next.end());
  }
  return seen;
}

/// dominators[b][d]: every way from the start to b passes d. Blocks that nothing reaches are dominated by all.
std::vector<std::vector<bool>> dominatorsOf(const std::vector<Block> &blocks) {
  std::vector<std::vector<bool>> dominators(blocks.size(), std::vector<bool>(blocks.size(), true));
  dominators[0].assign(blocks.size(), false);
  dominators[0][0] = true;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = 1; b < blocks.size(); ++b) {
      std::vector<bool> now(blocks.size(), true);
      for (size_t from : blocks[b].previous)
        for (size_t d = 0; d < blocks.size(); ++d)
          now[d] = now[d] && dominators[from][d];
      now[b] = true;
      if (now != dominators[b]) {
        dominators[b] = std::move(now);
        changed = true;
      }
    }
  }
  return dominators;
}

} // namespace

std::vector<NaturalLoop> findLoops(const std::vector<ListedInstruction> &code) {
  std::vector<NaturalLoop> loops;
  if (code.empty())
    return loops;
  std::vector<Block> blocks = blocksOf(code);
  auto dominators = dominatorsOf(blocks);
  std::vector<bool> reached = reachable(blocks); // SASS ends in a loop that nothing enters
  std::map<size_t, std::vector<size_t>> latches;  // by header
  for (size_t b = 0; b < blocks.size(); ++b)
    for (size_t to : blocks[b].next)
      if (reached[b] && dominators[b][to])
        latches[to].push_back(b);
  for (const auto &[header, ends] : latches) {
    std::vector<bool> inside(blocks.size(), false);
    inside[header] = true;
    std::vector<size_t> open = ends;
    while (!open.empty()) {
      size_t b = open.back();
      open.pop_back();
      if (inside[b])
        continue;
      inside[b] = true;
      open.insert(open.end(), blocks[b].previous.begin(), blocks[b].previous.end());
    }
    NaturalLoop loop{std::vector<bool>(code.size(), false), std::vector<bool>(code.size(), false)};
    for (size_t b = 0; b < blocks.size(); ++b) {
      if (!inside[b])
        continue;
      bool always = std::all_of(ends.begin(), ends.end(), [&](size_t end) { return dominators[end][b]; });
      for (size_t i = blocks[b].first; i < blocks[b].last; ++i) {
        loop.members[i] = true;
        loop.always[i] = always;
      }
    }
    loops.push_back(std::move(loop));
  }
  return loops;
}

} // namespace vitrify
