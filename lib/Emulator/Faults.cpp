//===- Faults.cpp - from a fault to a report --------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Finds thread, block, lines and text of a fault; stops the grid where hardware
// would; faults at the same pair of lines are counted, not repeated.
//===----------------------------------------------------------------------===//
#include "Decode.h"
#include "Grid.h"

#include <bit>

namespace vitrify::emulator {

std::array<uint32_t, 3> coordinates(uint64_t index, const Dim3 &extent) {
  return {uint32_t(index % extent.x), uint32_t(index / extent.x % extent.y), uint32_t(index / extent.x / extent.y)};
}

std::unique_lock<std::mutex> lockAddress(uint64_t address) {
  static std::mutex locks[64];
  return std::unique_lock(locks[address / 16 % 64]);
}

uint32_t pcOf(const Warp &w, const Inst &i) { return static_cast<uint32_t>(&i - w.program->code.data()); }

Site siteOf(const GridState &grid, uint32_t pc, uint64_t blockIndex, uint32_t thread) {
  Site site;
  site.thread = coordinates(thread, grid.config.block);
  site.block = coordinates(blockIndex, grid.config.grid);
  if (pc >= grid.program->infos.size())
    return site;
  if (const Instruction *source = grid.program->infos[pc].source) {
    site.ptxLine = source->line;
    site.instruction = source->text();
    if (source->loc.line) {
      const auto &files = grid.program->module->parsed().files;
      auto file = files.find(source->loc.file);
      site.sourceFile = file == files.end() ? "" : file->second;
      site.sourceLine = source->loc.line;
    }
  }
  return site;
}

Site siteOf(const Warp &w, const Inst &i, unsigned lane) {
  return siteOf(*w.grid, pcOf(w, i), w.cta->index, w.id * 32 + lane);
}

void GridState::fail(LaunchError why, std::string text) {
  std::lock_guard lock(reportMutex);
  if (error == LaunchError::Success) {
    error = why;
    message = std::move(text);
  }
  stop.store(true);
}

void addReport(GridState &grid, Report report) {
  std::lock_guard lock(grid.reportMutex);
  ++grid.faults;
  std::tuple<int, uint32_t, uint32_t> key{int(report.kind), report.site.ptxLine, report.other.ptxLine};
  auto [it, fresh] = grid.reportIndex.try_emplace(key, grid.reports.size());
  if (!fresh) {
    if (it->second < grid.reports.size())
      ++grid.reports[it->second].repeats;
    return;
  }
  if (grid.reports.size() < grid.options->reportLimit)
    grid.reports.push_back(std::move(report));
}

void raise(Warp &w, const Inst &i, unsigned lane, FaultKind kind, Space space, uint64_t address, uint32_t bytes,
           std::string detail) {
  GridState &grid = *w.grid;
  Check check = CheckMemory;
  LaunchError error = LaunchError::Success;
  switch (kind) {
  case FaultKind::OutOfBounds: error = LaunchError::IllegalAddress; break;
  case FaultKind::UseAfterFree: error = LaunchError::IllegalAddress; break;
  case FaultKind::ReadOnlyStore: error = LaunchError::IllegalAddress; break;
  case FaultKind::Misaligned: error = LaunchError::MisalignedAddress; break;
  case FaultKind::InvalidAddressSpace: error = LaunchError::InvalidAddressSpace; break;
  case FaultKind::UninitialisedRegister:
  case FaultKind::UninitialisedShared:
  case FaultKind::UninitialisedLocal:
  case FaultKind::UninitialisedGlobal: check = CheckInit; break;
  case FaultKind::RaceShared:
  case FaultKind::RaceGlobal:
  case FaultKind::UnawaitedAsyncCopy: check = CheckRace; break;
  case FaultKind::DivergentBarrier:
  case FaultKind::InvalidBarrier:
  case FaultKind::InvalidMask: check = CheckSync; break;
  case FaultKind::Deadlock: check = CheckSync; break;
  case FaultKind::Trap:
  case FaultKind::StackOverflow: error = LaunchError::LaunchFailed; break;
  case FaultKind::Assert: error = LaunchError::Assert; break;
  case FaultKind::Timeout: error = LaunchError::Timeout; break;
  }
  Report report;
  report.kind = kind;
  report.check = check;
  report.kernel = grid.function->info.name;
  report.site = siteOf(w, i, lane);
  report.address = address;
  report.size = bytes;
  report.space = std::string(spaceName(space));
  report.detail = std::move(detail);
  InstClass cls = w.program->infos[pcOf(w, i)].cls;
  report.site.access = cls == InstClass::Atomic      ? "atomic"
                       : cls == InstClass::AsyncCopy ? "async copy"
                       : cls == InstClass::StoreGlobal || cls == InstClass::StoreShared || cls == InstClass::StoreLocal
                           ? "write"
                       : bytes ? "read"
                               : "";
  bool fatal = error != LaunchError::Success;
  if ((grid.options->checks & check) || fatal) {
    std::string title = reportTitle(report);
    if ((grid.options->checks & check) || kind == FaultKind::Trap || kind == FaultKind::Assert ||
        kind == FaultKind::StackOverflow)
      addReport(grid, report);
    if (fatal && (grid.options->stopAtFault || check != CheckMemory || kind == FaultKind::Trap ||
                  kind == FaultKind::Assert || kind == FaultKind::StackOverflow)) {
      w.event = true;
      grid.fail(error, title + " in kernel '" + report.kernel + "' at PTX line " + std::to_string(report.site.ptxLine) +
                           (report.detail.empty() ? "" : ": " + report.detail));
    } else if (fatal) {
      std::lock_guard lock(grid.reportMutex);
      if (grid.error == LaunchError::Success) {
        grid.error = error;
        grid.message = title;
      }
    }
  }
}

namespace {
/// Some register that the instruction reads was not written.
void reportRegisters(Warp &w, const Inst &i, uint32_t mask) {
  const InstInfo &info = w.program->infos[pcOf(w, i)];
  const DecodedFunction &fn = w.program->functions[info.function];
  for (uint32_t r : usesAndDefs(*info.source).uses)
    for (const TrackedRegister &t : fn.tracked) {
      // The guard is read by all lanes that came here.
      uint32_t readers = r == info.source->guard ? w.active : mask;
      uint32_t unset = t.reg == r ? readers & ~*row<uint32_t>(w, t.initRow) : 0;
      if (unset) {
        raise(w, i, uint32_t(std::countr_zero(unset)), FaultKind::UninitialisedRegister, Space::None, 0,
              std::max(1u, bitsOf(fn.parsed->registers[r].type) / 8), "register " + t.name + " was not written");
        *row<uint32_t>(w, t.initRow) |= unset; // once a lane
      }
    }
}
} // namespace

void checkRegisters(Warp &w, const Inst &i, uint32_t mask) {
  const uint32_t *list = w.program->tracked.data() + w.program->infos[pcOf(w, i)].tracked;
  uint32_t uses = *list & 0xffff, defs = *list >> 16;
  ++list;
  if (w.checksInit) {
    uint32_t unset = 0;
    for (uint32_t k = 0; k < uses; ++k)
      unset |= (list[k] & 1 ? w.active : mask) & ~*row<uint32_t>(w, list[k] & ~1u);
    if (unset) [[unlikely]]
      reportRegisters(w, i, mask);
  }
  for (uint32_t k = uses; k < uses + defs; ++k)
    *row<uint32_t>(w, list[k]) |= mask;
}

} // namespace vitrify::emulator
