//===- Report.cpp - reports as text and JSON --------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The shape of compute-sanitizer's output, so that tools that read it do.
//===----------------------------------------------------------------------===//
#include "vitrify/Emulator/Report.h"

#include <nlohmann/json.hpp>

namespace vitrify::emulator {

namespace {
const char *kindId(FaultKind kind) {
  switch (kind) {
  case FaultKind::OutOfBounds: return "out-of-bounds";
  case FaultKind::Misaligned: return "misaligned";
  case FaultKind::UseAfterFree: return "use-after-free";
  case FaultKind::ReadOnlyStore: return "read-only-store";
  case FaultKind::InvalidAddressSpace: return "invalid-address-space";
  case FaultKind::UninitialisedRegister: return "uninitialised-register";
  case FaultKind::UninitialisedShared: return "uninitialised-shared";
  case FaultKind::UninitialisedLocal: return "uninitialised-local";
  case FaultKind::UninitialisedGlobal: return "uninitialised-global";
  case FaultKind::RaceShared: return "race-shared";
  case FaultKind::RaceGlobal: return "race-global";
  case FaultKind::UnawaitedAsyncCopy: return "unawaited-async-copy";
  case FaultKind::DivergentBarrier: return "divergent-barrier";
  case FaultKind::InvalidBarrier: return "invalid-barrier";
  case FaultKind::InvalidMask: return "invalid-mask";
  case FaultKind::Deadlock: return "deadlock";
  case FaultKind::Trap: return "trap";
  case FaultKind::Assert: return "assert";
  case FaultKind::Timeout: return "timeout";
  case FaultKind::StackOverflow: return "stack-overflow";
  }
  return "";
}
std::string triple(const std::array<uint32_t, 3> &a) {
  return "(" + std::to_string(a[0]) + "," + std::to_string(a[1]) + "," + std::to_string(a[2]) + ")";
}
std::string hex(uint64_t value) {
  char text[32];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}
std::string place(const Site &site, const std::string &kernel) {
  std::string out = kernel;
  if (site.ptxLine)
    out += " at PTX line " + std::to_string(site.ptxLine) + ": " + site.instruction;
  if (site.sourceLine)
    out += " (" + (site.sourceFile.empty() ? std::string("source") : site.sourceFile) + ":" +
           std::to_string(site.sourceLine) + ")";
  return out;
}
} // namespace

std::string reportTitle(const Report &r) {
  std::string size = std::to_string(r.size) + (r.size == 1 ? " byte" : " bytes");
  std::string space = r.space.empty() ? "" : "__" + r.space + "__ ";
  switch (r.kind) {
  case FaultKind::OutOfBounds:
  case FaultKind::Misaligned:
  case FaultKind::UseAfterFree:
  case FaultKind::ReadOnlyStore:
  case FaultKind::InvalidAddressSpace:
    return "Invalid " + space + (r.site.access.empty() ? "access" : r.site.access) + " of size " + size;
  case FaultKind::UninitialisedRegister: return "Uninitialized register read of size " + size;
  case FaultKind::UninitialisedShared:
  case FaultKind::UninitialisedLocal:
  case FaultKind::UninitialisedGlobal: return "Uninitialized " + space + "memory read of size " + size;
  case FaultKind::RaceShared:
  case FaultKind::RaceGlobal: {
    std::string hazard = r.other.access == "read" ? "Write-After-Read" : r.site.access == "read" ? "Read-After-Write"
                                                                                                  : "Write-After-Write";
    return "Race reported: potential " + hazard + " hazard in " + space + "memory";
  }
  case FaultKind::UnawaitedAsyncCopy: return "Race reported: " + space + "memory read before its async copy was waited for";
  case FaultKind::DivergentBarrier: return "Barrier error detected. Divergent thread(s) in warp";
  case FaultKind::InvalidBarrier: return "Barrier error detected. Invalid arguments";
  case FaultKind::InvalidMask: return "Barrier error detected. Invalid member mask";
  case FaultKind::Deadlock: return "Deadlock detected";
  case FaultKind::Trap: return "Trap";
  case FaultKind::Assert: return "Device assertion failed";
  case FaultKind::Timeout: return "Time limit reached";
  case FaultKind::StackOverflow: return "Stack overflow";
  }
  return "Fault";
}

std::string formatReport(const Report &r) {
  const std::string bar = "========= ";
  std::string out = bar + reportTitle(r) + "\n";
  out += bar + "    at " + place(r.site, r.kernel) + "\n";
  out += bar + "    by thread " + triple(r.site.thread) + " in block " + triple(r.site.block) + "\n";
  if (r.size && r.kind != FaultKind::UninitialisedRegister)
    out += bar + "    Address " + hex(r.address) + "\n";
  if (!r.detail.empty())
    out += bar + "    " + r.detail + "\n";
  if (r.hasOther) {
    out += bar + "    and the " + r.other.access + " at " + place(r.other, r.kernel) + "\n";
    out += bar + "    by thread " + triple(r.other.thread) + " in block " + triple(r.other.block) + "\n";
  }
  if (r.repeats)
    out += bar + "    " + std::to_string(r.repeats) + " further of the same kind at this place\n";
  return out + bar + "\n";
}

std::string formatSummary(const std::vector<Report> &reports) {
  uint64_t total = 0;
  for (const Report &r : reports)
    total += 1 + r.repeats;
  return "========= ERROR SUMMARY: " + std::to_string(total) + (total == 1 ? " error\n" : " errors\n");
}

std::string reportsToJson(const std::vector<Report> &reports) {
  auto site = [](const Site &s) {
    nlohmann::json j = {{"thread", s.thread}, {"block", s.block}, {"ptx_line", s.ptxLine}, {"instruction", s.instruction}};
    if (s.sourceLine) {
      j["source_file"] = s.sourceFile;
      j["source_line"] = s.sourceLine;
    }
    if (!s.access.empty())
      j["access"] = s.access;
    return j;
  };
  nlohmann::json all = nlohmann::json::array();
  for (const Report &r : reports) {
    nlohmann::json j = {{"kind", kindId(r.kind)}, {"title", reportTitle(r)}, {"kernel", r.kernel},
                        {"site", site(r.site)},   {"repeats", r.repeats},    {"detail", r.detail}};
    if (r.size) {
      j["address"] = r.address;
      j["size"] = r.size;
      j["space"] = r.space;
    }
    if (r.hasOther)
      j["other"] = site(r.other);
    all.push_back(std::move(j));
  }
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace vitrify::emulator
