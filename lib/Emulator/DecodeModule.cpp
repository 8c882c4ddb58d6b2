//===- DecodeModule.cpp - places of a whole module --------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Windows of rows, local and shared memory for all functions, recursion, and the
// last pass, which turns offsets in windows into offsets in a register block.
//===----------------------------------------------------------------------===//
#include "Decode.h"

#include <algorithm>

namespace vitrify::emulator {

namespace {

/// Sum of windows below a function, and whether it can call itself.
void findRecursion(Program &program, const Module &module) {
  size_t n = program.functions.size();
  std::vector<std::set<uint32_t>> callees(n);
  for (size_t f = 0; f < n; ++f)
    for (const Instruction &i : program.functions[f].parsed->code)
      if (i.opcode == "call")
        for (const Operand &op : i.operands)
          if (op.kind == Operand::Symbol)
            if (auto it = program.functionIndex.find(op.name); it != program.functionIndex.end())
              callees[f].insert(it->second);
  for (size_t f = 0; f < n; ++f) {
    std::vector<uint32_t> work(callees[f].begin(), callees[f].end());
    std::set<uint32_t> seen(work.begin(), work.end());
    while (!work.empty()) {
      uint32_t g = work.back();
      work.pop_back();
      for (uint32_t h : callees[g])
        if (seen.insert(h).second)
          work.push_back(h);
    }
    program.functions[f].recursive = seen.count(static_cast<uint32_t>(f)) != 0;
  }
}

/// What checkRegisters() looks at.
void listTracked(Program &program) {
  program.tracked = {0};
  for (size_t pc = 0; pc < program.code.size(); ++pc) {
    InstInfo &info = program.infos[pc];
    if (!(program.code[pc].flags & (FlagCheckInit | FlagDefsTracked)) || !info.source)
      continue;
    UseDef sets = usesAndDefs(*info.source);
    std::vector<uint32_t> uses, defs;
    for (const TrackedRegister &t : program.functions[info.function].tracked) {
      for (uint32_t r : sets.uses)
        if (r == t.reg)
          uses.push_back(t.initRow | uint32_t(r == info.source->guard));
      for (uint32_t r : sets.defs)
        if (r == t.reg)
          defs.push_back(t.initRow);
    }
    info.tracked = static_cast<uint32_t>(program.tracked.size());
    program.tracked.push_back(static_cast<uint32_t>(uses.size() | defs.size() << 16));
    program.tracked.insert(program.tracked.end(), uses.begin(), uses.end());
    program.tracked.insert(program.tracked.end(), defs.begin(), defs.end());
  }
}

} // namespace

Status decodeProgram(const Module &module, const Chip &chip, Program &program) {
  const ParsedModule &parsed = module.parsed();
  program.module = &module;
  program.chip = &chip;
  for (const auto &fn : parsed.functions) {
    if (fn->isExtern)
      continue;
    DecodedFunction out;
    out.parsed = fn.get();
    out.info = fn->info;
    program.functionIndex[fn->info.name] = static_cast<uint32_t>(program.functions.size());
    program.functions.push_back(std::move(out));
  }
  for (const auto &[name, target] : parsed.aliases)
    if (auto it = program.functionIndex.find(target); it != program.functionIndex.end())
      program.functionIndex[name] = it->second;
  findRecursion(program, module);
  // Module-level shared variables lie before those of functions; extern arrays get the place where dynamic memory
  // begins, which is known once every kernel's static size is.
  uint64_t sharedTotal = 0;
  for (const Variable &v : parsed.variables)
    sharedTotal += v.space == Space::Shared ? v.size + v.align : 0;
  for (const auto &fn : parsed.functions)
    for (const Variable &v : fn->variables)
      sharedTotal += v.space == Space::Shared ? v.size + v.align : 0;
  if (sharedTotal > (1u << 30))
    return unsupported(module.name() + ": shared variables take " + std::to_string(sharedTotal) + " bytes");
  uint32_t moduleShared = 0;
  uint32_t dynamicAlign = 16;
  for (const Variable &v : parsed.variables)
    if (v.space == Space::Shared && !(v.isExtern && v.size == 0)) {
      moduleShared = (moduleShared + v.align - 1) / v.align * v.align;
      program.moduleShared[v.name] = moduleShared;
      moduleShared += static_cast<uint32_t>(v.size);
    } else if (v.space == Space::Shared) {
      dynamicAlign = std::max(dynamicAlign, v.align);
    }
  // Static sizes: kernels start after the module's; device functions after the largest kernel would waste, so they
  // share one place behind the module's and before the kernels'.
  auto staticSize = [](const ParsedFunction &fn, uint32_t at) {
    for (const Variable &v : fn.variables)
      if (v.space == Space::Shared)
        at = (at + v.align - 1) / v.align * v.align + static_cast<uint32_t>(v.size);
    return at;
  };
  uint32_t shared = moduleShared;
  std::vector<uint32_t> sharedBegin(program.functions.size());
  for (size_t f = 0; f < program.functions.size(); ++f)
    if (!program.functions[f].info.isKernel) {
      sharedBegin[f] = shared;
      shared = staticSize(*program.functions[f].parsed, shared);
    }
  uint32_t largest = shared;
  for (size_t f = 0; f < program.functions.size(); ++f)
    if (program.functions[f].info.isKernel) {
      sharedBegin[f] = shared;
      largest = std::max(largest, staticSize(*program.functions[f].parsed, shared));
    }
  uint32_t dynamicBegin = (largest + dynamicAlign - 1) / dynamicAlign * dynamicAlign;
  for (const Variable &v : parsed.variables)
    if (v.space == Space::Shared && v.isExtern && v.size == 0)
      program.moduleShared[v.name] = dynamicBegin;
  program.dynamicSharedBegin = dynamicBegin;

  ModuleDecoder ctx{module, chip, program, {}, {}, {}, 0, 0};
  ctx.ccRow = ctx.newHeadRow(1);
  std::vector<uint32_t> windowBytes(program.functions.size());
  std::vector<std::pair<uint32_t, uint32_t>> codeRange(program.functions.size());
  std::vector<std::pair<uint32_t, uint32_t>> listRange(program.functions.size());
  uint32_t localNext = 0;
  for (size_t f = 0; f < program.functions.size(); ++f) {
    DecodedFunction &fn = program.functions[f];
    fn.localBegin = localNext;
    uint32_t bytes = 0;
    auto add = [&](const Variable &v) {
      bytes = (bytes + std::max(v.align, 1u) - 1) / std::max(v.align, 1u) * std::max(v.align, 1u);
      bytes += static_cast<uint32_t>(std::min<uint64_t>(v.size, 1u << 25));
    };
    for (const Variable &v : fn.parsed->variables)
      if (v.space != Space::Shared)
        add(v);
    if (!fn.info.isKernel)
      for (const Variable &v : fn.parsed->params)
        add(v);
    for (const Variable &v : fn.parsed->results)
      add(v);
    localNext += (bytes + 31) / 16 * 16;
    if (localNext > (64u << 20))
      return unsupported(module.name() + ": local memory of all functions is larger than 64 MiB");
  }
  program.localBytes = (localNext + 15) / 16 * 16;
  for (size_t f = 0; f < program.functions.size(); ++f) {
    DecodedFunction &fn = program.functions[f];
    fn.info.sharedStaticBytes = sharedBegin[f];
    FunctionDecoder decoder(ctx, fn, static_cast<uint32_t>(f));
    codeRange[f].first = static_cast<uint32_t>(program.code.size());
    listRange[f].first = static_cast<uint32_t>(program.lists.size());
    VITRIFY_RETURN_IF_ERROR(decoder.run());
    windowBytes[f] = decoder.windowBytes();
    codeRange[f].second = static_cast<uint32_t>(program.code.size());
    listRange[f].second = static_cast<uint32_t>(program.lists.size());
    if (program.code.size() > (64u << 20))
      return unsupported(module.name() + ": the module is too large");
  }
  uint32_t next = ctx.headBytes, kernelEnd = ctx.headBytes;
  for (size_t f = 0; f < program.functions.size(); ++f)
    if (program.functions[f].info.isKernel)
      kernelEnd = std::max(kernelEnd, ctx.headBytes + windowBytes[f]);
  next = kernelEnd;
  for (size_t f = 0; f < program.functions.size(); ++f) {
    DecodedFunction &fn = program.functions[f];
    uint32_t begin = ctx.headBytes;
    if (!fn.info.isKernel) {
      begin = next;
      next += windowBytes[f];
    }
    fn.rowsBegin = begin;
    fn.rowsEnd = begin + windowBytes[f];
    auto fix = [&](uint32_t &r) {
      if (r != ~0u)
        r = r & kHead ? r & ~kHead : r + begin;
    };
    for (uint32_t pc = codeRange[f].first; pc < codeRange[f].second; ++pc) {
      Inst &i = program.code[pc];
      fix(i.d);
      fix(i.a);
      fix(i.b);
      fix(i.c);
      fix(i.e);
      fix(i.guard);
    }
    for (uint32_t k = listRange[f].first; k < listRange[f].second; ++k)
      fix(program.lists[k]);
    for (RowShape &shape : fn.shapes)
      fix(shape.row);
    for (TrackedRegister &t : fn.tracked) {
      fix(t.row);
      fix(t.initRow);
    }
  }
  program.rowsBytes = (next + 63) / 64 * 64;
  program.ccRow = ctx.ccRow & ~kHead;
  listTracked(program);
  return {};
}

} // namespace vitrify::emulator
