//===- Report.h - what the checks found -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A fault found by one of the checks: what, where (kernel, PTX line, CUDA
// source line), who (thread, block), the address and the other party. Printed
// in compute-sanitizer's shape, or as JSON.
//===----------------------------------------------------------------------===//
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace vitrify::emulator {

/// The classes of checks; a bit mask.
enum Check : uint8_t {
  CheckNone = 0,
  CheckMemory = 1, ///< out of bounds, misaligned, use after free, stores to constants
  CheckInit = 2,   ///< reads of registers, shared, local and global memory that nothing wrote
  CheckRace = 4,   ///< data races in shared and global memory; copies read before they were waited for
  CheckSync = 8,   ///< divergent barriers, invalid masks, deadlock
  CheckAll = 15,
};

enum class FaultKind : uint8_t {
  OutOfBounds, Misaligned, UseAfterFree, ReadOnlyStore, InvalidAddressSpace,
  UninitialisedRegister, UninitialisedShared, UninitialisedLocal, UninitialisedGlobal,
  RaceShared, RaceGlobal, UnawaitedAsyncCopy,
  DivergentBarrier, InvalidBarrier, InvalidMask, Deadlock,
  Trap, Assert, Timeout, StackOverflow,
};

/// Where something happened.
struct Site {
  std::array<uint32_t, 3> thread{}, block{};
  uint32_t ptxLine = 0;
  std::string instruction; ///< opcode with modifiers, e.g. "ld.global.v4.f32"
  std::string sourceFile;  ///< from .loc; empty if the PTX has none
  uint32_t sourceLine = 0;
  std::string access;      ///< "read", "write", "atomic", "async copy"; empty for barriers
};

struct Report {
  FaultKind kind = FaultKind::OutOfBounds;
  Check check = CheckMemory;
  std::string kernel;
  Site site;
  uint64_t address = 0;
  uint32_t size = 0;   ///< bytes accessed
  std::string space;   ///< "global", "shared", "local", "param", "const" or empty
  std::string detail;  ///< one sentence more: distance to the nearest allocation, who waits on what
  bool hasOther = false;
  Site other;          ///< races: the earlier access
  uint64_t repeats = 0;///< further faults of the same kind at the same pair of lines
};

/// e.g. "Invalid __global__ read of size 4 bytes".
std::string reportTitle(const Report &report);
/// compute-sanitizer's shape: "========= Invalid __global__ write of size 4 bytes" and indented lines; ends in a
/// newline.
std::string formatReport(const Report &report);
/// "========= ERROR SUMMARY: 2 errors".
std::string formatSummary(const std::vector<Report> &reports);
/// A JSON array, indented by two.
std::string reportsToJson(const std::vector<Report> &reports);

} // namespace vitrify::emulator
