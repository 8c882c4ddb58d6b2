//===- DecodeRows.cpp - blocks, liveness and rows ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Control flow graph, an order of blocks in which a branch's paths come before
// the block where they meet, liveness, and a linear scan that gives registers
// their rows. A register that is live at the entry may be read unset: it keeps a
// row of its own, and its reads are checked.
//===----------------------------------------------------------------------===//
#include "Decode.h"

#include <algorithm>
#include <functional>

namespace vitrify::emulator {

unsigned rowBytes(unsigned bits) { return bits == 1 ? 4 : bits <= 16 ? 64 : bits <= 32 ? 128 : bits <= 64 ? 256 : 512; }

namespace {

bool writesNothing(const Instruction &inst) {
  static const std::set<std::string, std::less<>> none = {
      "st", "red", "bra", "brx", "call", "ret", "exit", "fence", "membar", "cp", "prefetch", "prefetchu", "trap",
      "brkpt", "nanosleep", "griddepcontrol", "discard", "applypriority", "stmatrix", "setmaxnreg", "pmevent",
      "stackrestore"};
  if (none.count(inst.opcode))
    return true;
  auto has = [&](std::string_view m) {
    return std::find(inst.modifiers.begin(), inst.modifiers.end(), m) != inst.modifiers.end();
  };
  if (inst.opcode == "bar" || inst.opcode == "barrier")
    return !has(".red");
  if (inst.opcode == "wmma")
    return has(".store");
  return false;
}

void addRegisters(const Operand &op, std::vector<uint32_t> &out) {
  if (op.reg != kNoReg)
    out.push_back(op.reg);
  if (op.reg2 != kNoReg)
    out.push_back(op.reg2);
  for (const Operand &element : op.elements)
    addRegisters(element, out);
}

using Bits = std::vector<uint64_t>;

} // namespace

UseDef usesAndDefs(const Instruction &inst) {
  UseDef out;
  bool none = writesNothing(inst);
  for (size_t i = 0; i < inst.operands.size(); ++i) {
    const Operand &op = inst.operands[i];
    bool isDef = i == 0 && !none && op.kind != Operand::Address;
    addRegisters(op, isDef ? out.defs : out.uses);
  }
  if (inst.guard != kNoReg)
    out.uses.push_back(inst.guard);
  return out;
}

StatusOr<std::vector<Block>> findBlocks(const ParsedFunction &fn, const std::string &moduleName) {
  const auto &code = fn.code;
  std::set<uint32_t> starts = {0};
  for (const auto &[name, at] : fn.labels)
    starts.insert(at);
  auto isEnd = [](const Instruction &i) {
    return i.opcode == "bra" || i.opcode == "brx" || i.opcode == "ret" || i.opcode == "exit" || i.opcode == "trap";
  };
  for (uint32_t i = 0; i < code.size(); ++i)
    if (isEnd(code[i]))
      starts.insert(i + 1);
  // A label after the last instruction is a block of its own, where the function ends.
  std::vector<Block> blocks;
  std::unordered_map<uint32_t, uint32_t> at;
  for (auto it = starts.begin(); it != starts.end(); ++it) {
    Block block;
    block.begin = *it;
    block.end = std::next(it) == starts.end() ? static_cast<uint32_t>(code.size()) : *std::next(it);
    at[block.begin] = static_cast<uint32_t>(blocks.size());
    blocks.push_back(block);
  }
  auto error = [&](const Instruction &i, const std::string &label) {
    return invalidArgument(moduleName + ":" + std::to_string(i.line) + ": label '" + label + "' is not defined");
  };
  for (uint32_t b = 0; b < blocks.size(); ++b) {
    Block &block = blocks[b];
    bool falls = true;
    if (block.end > block.begin) {
      const Instruction &last = code[block.end - 1];
      if (last.opcode == "bra") {
        std::string label = last.operands.empty() ? "" : last.operands[0].name;
        auto it = fn.labels.find(label);
        if (it == fn.labels.end())
          return error(last, label);
        block.successors.push_back(at[it->second]);
      } else if (last.opcode == "brx") {
        std::string list = last.operands.size() < 2 ? "" : last.operands[1].name;
        auto it = fn.targets.find(list);
        if (it == fn.targets.end())
          return error(last, list);
        for (const std::string &label : it->second) {
          auto target = fn.labels.find(label);
          if (target == fn.labels.end())
            return error(last, label);
          block.successors.push_back(at[target->second]);
        }
      }
      falls = !isEnd(last) || last.guard != kNoReg;
    }
    if (falls && b + 1 < blocks.size())
      block.successors.push_back(b + 1);
  }
  return blocks;
}

namespace {

/// Strongly connected components name the loops; exits of a loop are visited first, so that in reverse post-order they
/// come after the whole body.
std::vector<uint32_t> orderBlocks(const std::vector<Block> &blocks) {
  size_t n = blocks.size();
  std::vector<uint32_t> order(n, 0), post;
  std::vector<uint8_t> state(n, 0);
  // Depth of loops by back edges of a first depth-first search: enough to tell exits from the body.
  std::vector<uint32_t> number(n, 0), low(n, 0), component(n, ~0u);
  std::vector<uint32_t> stack;
  uint32_t counter = 0, components = 0;
  struct Frame {
    uint32_t block;
    size_t next;
  };
  // Tarjan, without recursion.
  for (uint32_t root = 0; root < n; ++root) {
    if (number[root])
      continue;
    std::vector<Frame> frames = {{root, 0}};
    number[root] = low[root] = ++counter;
    stack.push_back(root);
    state[root] = 1;
    while (!frames.empty()) {
      Frame &f = frames.back();
      if (f.next < blocks[f.block].successors.size()) {
        uint32_t s = blocks[f.block].successors[f.next++];
        if (!number[s]) {
          number[s] = low[s] = ++counter;
          stack.push_back(s);
          state[s] = 1;
          frames.push_back({s, 0});
        } else if (state[s] == 1) {
          low[f.block] = std::min(low[f.block], number[s]);
        }
      } else {
        uint32_t b = f.block;
        if (low[b] == number[b]) {
          while (true) {
            uint32_t x = stack.back();
            stack.pop_back();
            state[x] = 2;
            component[x] = components;
            if (x == b)
              break;
          }
          ++components;
        }
        frames.pop_back();
        if (!frames.empty())
          low[frames.back().block] = std::min(low[frames.back().block], low[b]);
      }
    }
  }
  // Depth-first, successors outside of the block's component first, then far ones before near ones.
  std::vector<uint8_t> seen(n, 0);
  for (uint32_t root = 0; root < n; ++root) {
    if (seen[root])
      continue;
    struct Visit {
      uint32_t block;
      std::vector<uint32_t> next;
    };
    auto visit = [&](uint32_t b) {
      std::vector<uint32_t> next = blocks[b].successors;
      std::sort(next.begin(), next.end(), [&](uint32_t x, uint32_t y) {
        bool xo = component[x] != component[b], yo = component[y] != component[b];
        return xo != yo ? !xo : x < y; // taken from the back
      });
      return Visit{b, next};
    };
    std::vector<Visit> visits = {visit(root)};
    seen[root] = 1;
    while (!visits.empty()) {
      if (visits.back().next.empty()) {
        post.push_back(visits.back().block);
        visits.pop_back();
        continue;
      }
      uint32_t s = visits.back().next.back();
      visits.back().next.pop_back();
      if (!seen[s]) {
        seen[s] = 1;
        visits.push_back(visit(s));
      }
    }
  }
  for (size_t i = 0; i < post.size(); ++i)
    order[post[i]] = static_cast<uint32_t>(post.size() - 1 - i);
  return order;
}

} // namespace

RowPlan planRows(const ParsedFunction &fn, const std::vector<Block> &blocks) {
  RowPlan plan;
  size_t count = fn.registers.size(), words = (count + 63) / 64;
  plan.rows.assign(count, kNoReg);
  plan.maybeUnset.assign(count, false);
  plan.blockOrder = orderBlocks(blocks);
  std::vector<UseDef> sets(fn.code.size());
  for (size_t i = 0; i < fn.code.size(); ++i)
    sets[i] = usesAndDefs(fn.code[i]);

  std::vector<Bits> gen(blocks.size(), Bits(words)), kill(blocks.size(), Bits(words)), in(blocks.size(), Bits(words)),
      out(blocks.size(), Bits(words));
  auto test = [](const Bits &b, uint32_t r) { return b[r / 64] >> (r % 64) & 1; };
  auto set = [](Bits &b, uint32_t r) { b[r / 64] |= uint64_t(1) << (r % 64); };
  for (size_t b = 0; b < blocks.size(); ++b)
    for (uint32_t i = blocks[b].begin; i < blocks[b].end; ++i) {
      for (uint32_t r : sets[i].uses)
        if (!test(kill[b], r))
          set(gen[b], r);
      if (fn.code[i].guard == kNoReg)
        for (uint32_t r : sets[i].defs)
          set(kill[b], r);
    }
  std::vector<uint32_t> byOrder(blocks.size());
  for (size_t b = 0; b < blocks.size(); ++b)
    byOrder[plan.blockOrder[b]] = static_cast<uint32_t>(b);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t k = blocks.size(); k-- > 0;) {
      uint32_t b = byOrder[k];
      for (uint32_t s : blocks[b].successors)
        for (size_t w = 0; w < words; ++w)
          out[b][w] |= in[s][w];
      for (size_t w = 0; w < words; ++w) {
        uint64_t now = gen[b][w] | (out[b][w] & ~kill[b][w]);
        changed |= now != in[b][w];
        in[b][w] = now;
      }
    }
  }

  constexpr uint32_t none = ~0u;
  std::vector<uint32_t> first(count, none), last(count, 0);
  auto touch = [&](uint32_t r, uint32_t at) {
    first[r] = std::min(first[r], at);
    last[r] = std::max(last[r], at);
  };
  for (size_t b = 0; b < blocks.size(); ++b) {
    uint32_t end = std::max(blocks[b].end, blocks[b].begin + 1) - 1;
    for (size_t w = 0; w < words; ++w) {
      for (uint64_t bits = in[b][w]; bits; bits &= bits - 1)
        touch(static_cast<uint32_t>(w * 64 + size_t(__builtin_ctzll(bits))), blocks[b].begin);
      for (uint64_t bits = out[b][w]; bits; bits &= bits - 1)
        touch(static_cast<uint32_t>(w * 64 + size_t(__builtin_ctzll(bits))), end);
    }
    for (uint32_t i = blocks[b].begin; i < blocks[b].end; ++i)
      for (const auto *list : {&sets[i].uses, &sets[i].defs})
        for (uint32_t r : *list)
          touch(r, i);
  }
  if (!blocks.empty())
    for (uint32_t r = 0; r < count; ++r)
      if (test(in[0], r)) {
        plan.maybeUnset[r] = true;
        first[r] = 0;
        last[r] = static_cast<uint32_t>(fn.code.size());
      }

  std::vector<uint32_t> order;
  for (uint32_t r = 0; r < count; ++r)
    if (first[r] != none)
      order.push_back(r);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return first[a] < first[b]; });
  std::map<unsigned, std::vector<uint32_t>> freeRows;
  std::multimap<uint32_t, uint32_t> active; // by last position
  uint32_t live = 0;
  auto weight = [&](uint32_t r) {
    unsigned bits = bitsOf(fn.registers[r].type);
    return bits == 1 ? 0u : (bits + 31) / 32;
  };
  for (uint32_t r : order) {
    while (!active.empty() && active.begin()->first < first[r]) {
      uint32_t old = active.begin()->second;
      freeRows[rowBytes(bitsOf(fn.registers[old].type))].push_back(plan.rows[old]);
      live -= weight(old);
      active.erase(active.begin());
    }
    unsigned bytes = rowBytes(bitsOf(fn.registers[r].type));
    auto &pool = freeRows[bytes];
    if (!pool.empty()) {
      plan.rows[r] = pool.back();
      pool.pop_back();
    } else {
      // Predicates come in lines of 16, so that the rows behind them stay aligned.
      if (bytes == 4) {
        for (unsigned k = 15; k > 0; --k)
          pool.push_back(plan.bytes + k * 4);
        plan.rows[r] = plan.bytes;
        plan.bytes += 64;
      } else {
        plan.rows[r] = plan.bytes;
        plan.bytes += bytes;
      }
    }
    active.emplace(last[r], r);
    live += weight(r);
    plan.peakRegisters = std::max(plan.peakRegisters, live);
  }
  return plan;
}

} // namespace vitrify::emulator
