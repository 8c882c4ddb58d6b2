//===- Counters.cpp - counts and the launch model ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Sums the workers' counts by line and class, and hands them to the launch model
// with the whole kernel as its main loop.
//===----------------------------------------------------------------------===//
#include "Cache.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

namespace vitrify::emulator {

std::string_view instClassName(InstClass c) {
  constexpr std::string_view names[] = {
      "integer", "f32", "f16", "f64", "conversion", "mufu", "predicate", "move", "control", "barrier", "shuffle",
      "ld.global", "st.global", "ld.shared", "st.shared", "ld.local", "st.local", "ld.const", "atomic", "async copy",
      "matrix load", "tensor", "fence", "other"};
  return names[unsigned(c)];
}

namespace {
void add(MemoryCounts &to, const MemoryCounts &from) {
  to.globalRequests += from.globalRequests;
  to.globalSectors += from.globalSectors;
  to.globalBytes += from.globalBytes;
  to.sharedRequests += from.sharedRequests;
  to.sharedWavefronts += from.sharedWavefronts;
  to.sharedLeast += from.sharedLeast;
  to.l2Bytes += from.l2Bytes;
  to.dramBytes += from.dramBytes;
}
} // namespace

void collectCounters(GridState &grid, const std::vector<std::unique_ptr<WorkerState>> &workers, Counters &out) {
  const Program &p = *grid.program;
  out.kernel = grid.function->info.name;
  out.chip = std::string(p.chip->name);
  out.grid = {grid.config.grid.x, grid.config.grid.y, grid.config.grid.z};
  out.block = {grid.config.block.x, grid.config.block.y, grid.config.block.z};
  out.registers = grid.function->info.registers;
  out.sharedBytes = grid.sharedBytes;
  out.residentPerSM = grid.residentLimit / p.chip->smCount;
  std::map<uint32_t, LineCounts> lines;
  for (uint32_t pc = 0; pc < p.code.size(); ++pc) {
    PcCounts sum;
    for (const auto &w : workers) {
      const PcCounts &c = w->counts[pc];
      sum.warps += c.warps;
      sum.threads += c.threads;
      sum.divergent += c.divergent;
      add(sum.memory, c.memory);
    }
    const InstInfo &info = p.infos[pc];
    if (!sum.warps || !info.source)
      continue;
    LineCounts &line = lines[info.source->line];
    if (line.instruction.empty()) {
      Site site = siteOf(grid, pc, 0, 0);
      line.ptxLine = site.ptxLine;
      line.instruction = site.instruction;
      line.sourceFile = site.sourceFile;
      line.sourceLine = site.sourceLine;
      line.instClass = info.cls;
    }
    line.warpInstructions += sum.warps;
    line.threadInstructions += sum.threads;
    line.divergentBranches += sum.divergent;
    add(line.memory, sum.memory);
    out.warpInstructions += sum.warps;
    out.threadInstructions += sum.threads;
    out.warpByClass[unsigned(info.cls)] += sum.warps;
    Kind kind = p.code[pc].kind;
    if (kind == Kind::Branch || kind == Kind::BranchIndex)
      out.branches += sum.warps;
    out.divergentBranches += sum.divergent;
    add(out.memory, sum.memory);
    uint64_t macs = sum.warps * info.macs;
    switch (info.tensorKind) {
    case 1: out.tensorMacsF16 += macs; break;
    case 2: out.tensorMacsF16AccF16 += macs; break;
    case 3: out.tensorMacsF8 += macs; break;
    case 4: out.tensorMacsF8AccF16 += macs; break;
    case 5: out.tensorMacsI8 += macs; break;
    default: out.tensorMacsOther += macs; break;
    }
  }
  if (grid.cache)
    out.memory.dramBytes += 32 * grid.cache->l2.dirtySectors();
  for (const auto &w : workers) {
    out.barrierWaits += w->barrierWaits;
    out.asyncWaits += w->asyncWaits;
  }
  for (auto &[number, line] : lines)
    out.lines.push_back(std::move(line));
}

KernelLaunch launchOf(const Counters &c) {
  KernelLaunch launch;
  launch.blocks = double(c.grid[0]) * c.grid[1] * c.grid[2];
  launch.threadsPerBlock = int(c.block[0] * c.block[1] * c.block[2]);
  launch.registersPerThread = int(std::min(c.registers, 255u));
  launch.sharedBytesPerBlock = c.sharedBytes;
  launch.dramBytes = double(c.memory.dramBytes);
  double share = launch.blocks > 0 ? 1 / launch.blocks : 0;
  BlockWork &w = launch.loop;
  w.macs = {double(c.tensorMacsF16 + c.tensorMacsOther) * share, double(c.tensorMacsF16AccF16) * share,
            double(c.tensorMacsF8) * share, double(c.tensorMacsF8AccF16) * share, double(c.tensorMacsI8) * share};
  w.warpInstructions = double(c.warpInstructions) * share;
  w.mufuInstructions = double(c.warpByClass[unsigned(InstClass::Mufu)]) * share;
  w.sharedWavefronts = double(c.memory.sharedWavefronts) * share;
  w.l2Bytes = double(c.memory.l2Bytes) * share;
  return launch;
}

LaunchEstimate estimate(const Counters &counters, const Chip &chip) { return estimateLaunch(launchOf(counters), chip); }

std::string countersToJson(const Counters &c, const Chip &chip) {
  auto memory = [](const MemoryCounts &m) {
    return nlohmann::json{{"global_requests", m.globalRequests},     {"global_sectors", m.globalSectors},
                          {"global_bytes", m.globalBytes},           {"shared_requests", m.sharedRequests},
                          {"shared_wavefronts", m.sharedWavefronts}, {"shared_least_wavefronts", m.sharedLeast},
                          {"l2_bytes", m.l2Bytes},                   {"dram_bytes", m.dramBytes}};
  };
  nlohmann::json j = {{"kernel", c.kernel},
                      {"chip", c.chip},
                      {"grid", c.grid},
                      {"block", c.block},
                      {"registers_estimate", c.registers},
                      {"shared_bytes", c.sharedBytes},
                      {"resident_blocks_per_sm", c.residentPerSM},
                      {"warp_instructions", c.warpInstructions},
                      {"thread_instructions", c.threadInstructions},
                      {"branches", c.branches},
                      {"divergent_branches", c.divergentBranches},
                      {"barrier_waits", c.barrierWaits},
                      {"async_waits", c.asyncWaits},
                      {"memory", memory(c.memory)}};
  for (unsigned k = 0; k < kInstClasses; ++k)
    if (c.warpByClass[k])
      j["warp_instructions_by_class"][std::string(instClassName(InstClass(k)))] = c.warpByClass[k];
  j["tensor_macs"] = {{"f16", c.tensorMacsF16}, {"f16_f16acc", c.tensorMacsF16AccF16}, {"f8", c.tensorMacsF8},
                      {"f8_f16acc", c.tensorMacsF8AccF16}, {"i8", c.tensorMacsI8}, {"other", c.tensorMacsOther}};
  LaunchEstimate e = estimate(c, chip);
  j["estimate"] = {{"is_estimate", true}, {"nanoseconds", e.nanoseconds}, {"limiter", e.limiter},
                   {"issue_cycles", e.loop.issue}, {"tensor_cycles", e.loop.tensor}, {"mufu_cycles", e.loop.mufu},
                   {"shared_cycles", e.loop.shared}, {"l2_cycles", e.loop.l2}, {"dram_ns", e.dramNs},
                   {"fill_share", e.fillShare}};
  j["lines"] = nlohmann::json::array();
  for (const LineCounts &l : c.lines) {
    nlohmann::json line = {{"ptx_line", l.ptxLine}, {"instruction", l.instruction},
                           {"class", std::string(instClassName(l.instClass))},
                           {"warp_instructions", l.warpInstructions}, {"thread_instructions", l.threadInstructions}};
    if (l.sourceLine)
      line["source"] = l.sourceFile + ":" + std::to_string(l.sourceLine);
    if (l.divergentBranches)
      line["divergent_branches"] = l.divergentBranches;
    if (l.memory.globalRequests || l.memory.sharedRequests)
      line["memory"] = memory(l.memory);
    j["lines"].push_back(std::move(line));
  }
  return j.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string formatCounters(const Counters &c, const Chip &chip, unsigned lines) {
  std::string out;
  char text[512];
  auto print = [&](const char *format, auto... args) {
    snprintf(text, sizeof text, format, args...);
    out += text;
  };
  print("kernel %s on %s: grid %u x %u x %u, block %u x %u x %u, %u registers (estimate), %u bytes shared\n",
        c.kernel.c_str(), c.chip.c_str(), c.grid[0], c.grid[1], c.grid[2], c.block[0], c.block[1], c.block[2],
        c.registers, c.sharedBytes);
  print("  warp instructions    %16llu\n", static_cast<unsigned long long>(c.warpInstructions));
  print("  thread instructions  %16llu\n", static_cast<unsigned long long>(c.threadInstructions));
  for (unsigned k = 0; k < kInstClasses; ++k)
    if (c.warpByClass[k])
      print("    %-18s %16llu\n", std::string(instClassName(InstClass(k))).c_str(),
            static_cast<unsigned long long>(c.warpByClass[k]));
  print("  branches             %16llu, divergent %llu\n", static_cast<unsigned long long>(c.branches),
        static_cast<unsigned long long>(c.divergentBranches));
  const MemoryCounts &m = c.memory;
  print("  global sectors       %16llu for %llu requests, %.1f %% of their bytes used\n",
        static_cast<unsigned long long>(m.globalSectors), static_cast<unsigned long long>(m.globalRequests),
        m.globalSectors ? 100.0 * double(m.globalBytes) / (32.0 * double(m.globalSectors)) : 100.0);
  print("  shared wavefronts    %16llu, at least %llu\n", static_cast<unsigned long long>(m.sharedWavefronts),
        static_cast<unsigned long long>(m.sharedLeast));
  print("  L2 bytes             %16llu, DRAM bytes %llu (modelled)\n", static_cast<unsigned long long>(m.l2Bytes),
        static_cast<unsigned long long>(m.dramBytes));
  LaunchEstimate e = estimate(c, chip);
  print("  estimate             %13.2f us, limited by %s, fill %.2f (a model, not a measurement)\n", e.nanoseconds / 1e3,
        std::string(e.limiter).c_str(), e.fillShare);
  std::vector<const LineCounts *> busy;
  for (const LineCounts &l : c.lines)
    busy.push_back(&l);
  std::sort(busy.begin(), busy.end(), [](auto *a, auto *b) { return a->warpInstructions > b->warpInstructions; });
  for (size_t k = 0; k < busy.size() && k < lines; ++k)
    print("  line %6u %14llu  %s\n", busy[k]->ptxLine, static_cast<unsigned long long>(busy[k]->warpInstructions),
          busy[k]->instruction.c_str());
  return out;
}

} // namespace vitrify::emulator
