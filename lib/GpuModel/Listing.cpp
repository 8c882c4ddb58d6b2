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

/// Blocks of a loop that are reached from `from` along `next` or `previous` without passing `without` or going around.
std::vector<bool> reachedWithout(const std::vector<Block> &blocks, const std::vector<bool> &inside, std::vector<size_t> from,
                                 std::vector<size_t> Block::*along, size_t header, size_t without) {
  std::vector<bool> seen(blocks.size(), false);
  while (!from.empty()) {
    size_t b = from.back();
    from.pop_back();
    if (b == without || !inside[b] || seen[b])
      continue;
    seen[b] = true;
    for (size_t to : blocks[b].*along) // the edge to the header is the way around
      if (along == &Block::next ? to != header : b != header)
        from.push_back(to);
  }
  return seen;
}

/// Whether some target cannot be passed on a way around without passing `b`.
bool isWork(const std::vector<Block> &blocks, const std::vector<bool> &inside, size_t header, const std::vector<size_t> &ends,
            const std::vector<size_t> &targets, size_t b) {
  if (b == header || std::find(targets.begin() + long(ends.size()), targets.end(), b) != targets.end())
    return true;
  std::vector<bool> ahead = reachedWithout(blocks, inside, {header}, &Block::next, header, b);
  std::vector<bool> behind = reachedWithout(blocks, inside, ends, &Block::previous, header, b);
  auto open = [&](size_t target) { return ahead[target] && behind[target]; };
  if (std::none_of(ends.begin(), ends.end(), open))
    return true;
  return std::any_of(targets.begin() + long(ends.size()), targets.end(), [&](size_t target) { return !open(target); });
}

} // namespace

std::vector<NaturalLoop> findLoops(const std::vector<ListedInstruction> &code, const std::vector<bool> &anchors) {
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
    std::vector<size_t> targets = ends;
    for (size_t b = 0; b < blocks.size(); ++b)
      if (inside[b] && std::any_of(anchors.begin() + long(blocks[b].first), anchors.begin() + long(blocks[b].last), [](bool a) { return a; }))
        targets.push_back(b);
    NaturalLoop loop{std::vector<bool>(code.size(), false), std::vector<bool>(code.size(), false)};
    for (size_t b = 0; b < blocks.size(); ++b) {
      if (!inside[b])
        continue;
      bool work = isWork(blocks, inside, header, ends, targets, b);
      for (size_t i = blocks[b].first; i < blocks[b].last; ++i) {
        loop.members[i] = true;
        loop.work[i] = work;
      }
    }
    loops.push_back(std::move(loop));
  }
  return loops;
}

} // namespace vitrify
