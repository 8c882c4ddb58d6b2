//===- Options.cpp - what a program asks of the emulated driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Options by name, from VITRIFY_EMULATOR_* variables or from a caller.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <charconv>
#include <cstdlib>

extern char **environ;

namespace vitrify::emulator {
namespace {

constexpr std::string_view kPrefix = "VITRIFY_EMULATOR_";
constexpr std::string_view kNames =
    "devices, checks, kernels, limit, seed, approx, arithmetic, threads, counters, report, "
    "quiet, memory, max_instructions, on_fault, polling";

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    std::string_view part = text.substr(0, comma);
    while (!part.empty() && part.front() == ' ')
      part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ')
      part.remove_suffix(1);
    if (!part.empty())
      parts.emplace_back(part);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

Status wrong(std::string_view name, std::string_view value, std::string_view expected) {
  return invalidArgument("emulator option '" + std::string(name) + "': expected " + std::string(expected) +
                         ", found '" + std::string(value) + "'");
}

template <typename T> Status number(std::string_view name, std::string_view value, T &out) {
  T parsed{};
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc() || end != value.data() + value.size())
    return wrong(name, value, "a whole number");
  out = parsed;
  return {};
}

/// One of two words.
Status choice(std::string_view name, std::string_view value, std::string_view off, std::string_view on, bool &out) {
  if (value != on && value != off)
    return wrong(name, value, std::string(off) + " or " + std::string(on));
  out = value == on;
  return {};
}

Status setChecks(std::string_view value, uint8_t &checks) {
  uint8_t mask = 0;
  for (const std::string &part : split(value)) {
    bool without = part[0] == '-';
    std::string_view word = std::string_view(part).substr(without);
    uint8_t bits = word == "memory" ? CheckMemory
                   : word == "init" ? CheckInit
                   : word == "race" ? CheckRace
                   : word == "sync" ? CheckSync
                   : word == "all"  ? CheckAll
                                    : 0;
    if (!bits && word != "none")
      return wrong("checks", part, "memory, init, race, sync, all or none, or -CLASS to leave one out");
    if (without && mask == 0)
      mask = CheckAll;
    mask = without ? mask & ~bits : mask | bits;
  }
  checks = mask;
  return {};
}

Status setMemory(std::string_view value, uint64_t &bytes) {
  if (value.empty())
    return wrong("memory", value, "bytes, with K, M or G");
  uint64_t unit = 1;
  switch (value.back()) {
  case 'K': unit = uint64_t(1) << 10; break;
  case 'M': unit = uint64_t(1) << 20; break;
  case 'G': unit = uint64_t(1) << 30; break;
  default: break;
  }
  uint64_t count = 0;
  VITRIFY_RETURN_IF_ERROR(number("memory", unit == 1 ? value : value.substr(0, value.size() - 1), count));
  if (count > UINT64_MAX / unit / 2)
    return wrong("memory", value, "a size that fits 63 bits");
  bytes = count * unit;
  return {};
}

} // namespace

Status setDriverOption(DriverOptions &options, std::string_view name, std::string_view value) {
  if (name == "devices") {
    auto names = split(value);
    for (const std::string &chip : names)
      if (auto found = findChip(chip); !found)
        return found.status();
    options.devices = std::move(names);
    return {};
  }
  if (name == "checks")
    return setChecks(value, options.launch.checks);
  if (name == "kernels") {
    options.kernels = split(value);
    return {};
  }
  if (name == "limit")
    return number(name, value, options.launch.reportLimit);
  if (name == "seed")
    return number(name, value, options.launch.seed);
  if (name == "threads")
    return number(name, value, options.launch.hostThreads);
  if (name == "max_instructions")
    return number(name, value, options.launch.maxInstructions);
  if (name == "approx")
    return choice(name, value, "exact", "perturb", options.launch.perturbApprox);
  if (name == "arithmetic") {
    bool plain = options.launch.sums == TensorSums::Plain;
    VITRIFY_RETURN_IF_ERROR(choice(name, value, "chip", "plain", plain));
    options.launch.sums = plain ? TensorSums::Plain : TensorSums::Chip;
    return {};
  }
  if (name == "counters") {
    VITRIFY_RETURN_IF_ERROR(choice(name, value, "off", "on", options.launch.counters));
    options.printCounters = options.launch.counters;
    return {};
  }
  if (name == "on_fault")
    return choice(name, value, "continue", "stop", options.launch.stopAtFault);
  if (name == "quiet") {
    bool quiet = false;
    VITRIFY_RETURN_IF_ERROR(choice(name, value, "off", "on", quiet));
    options.printReports = !quiet;
    return {};
  }
  if (name == "report") {
    options.reportPath = value;
    return {};
  }
  if (name == "polling") {
    if (value != "auto" && value != "report" && value != "wait")
      return wrong(name, value, "auto, report or wait");
    options.polling = value == "auto" ? Polling::Auto : value == "report" ? Polling::Report : Polling::Wait;
    return {};
  }
  if (name == "memory")
    return setMemory(value, options.memoryBytes);
  return invalidArgument("emulator option '" + std::string(name) + "' is none of " + std::string(kNames));
}

StatusOr<DriverOptions> driverOptionsFromEnvironment() {
  DriverOptions options;
  for (char **entry = environ; entry && *entry; ++entry) {
    std::string_view text = *entry;
    size_t equals = text.find('=');
    if (!text.starts_with(kPrefix) || equals == text.npos)
      continue;
    std::string name(text.substr(kPrefix.size(), equals - kPrefix.size()));
    for (char &c : name)
      c = c >= 'A' && c <= 'Z' ? char(c + 32) : c;
    if (name == "isa") // the interpreter's own: which CPU level it runs at
      continue;
    VITRIFY_RETURN_IF_ERROR(setDriverOption(options, name, text.substr(equals + 1)));
  }
  return options;
}

void setDriverOptions(const DriverOptions &options) {
  auto &s = driver::state();
  driver::Lock lock(s.mutex);
  s.options = options;
  s.optionsSet = true;
}

DriverOptions driverOptions() {
  auto &s = driver::state();
  driver::Lock lock(s.mutex);
  return s.options;
}

std::vector<LaunchRecord> takeLaunchRecords() {
  auto &s = driver::state();
  driver::Lock lock(s.mutex);
  return std::exchange(s.records, {});
}

} // namespace vitrify::emulator
