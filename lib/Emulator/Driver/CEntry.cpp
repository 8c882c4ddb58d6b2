//===- CEntry.cpp - what Python asks of the emulated driver --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A few functions with C linkage beside the driver's: options, the last message, and
// the records of launches as JSON.
//===----------------------------------------------------------------------===//
#include "vitrify/Emulator/Driver.h"
#include "vitrify/Emulator/InstructionSet.h"

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

using namespace vitrify;
using namespace vitrify::emulator;

namespace {
thread_local std::string message;

char *copyOut(const std::string &text) {
  char *out = static_cast<char *>(std::malloc(text.size() + 1));
  if (out)
    std::memcpy(out, text.c_str(), text.size() + 1);
  return out;
}
} // namespace

extern "C" {

/// 0, or 1 with a message. Options start from the environment's at the first call; "devices" counts before cuInit only.
int vitrifyEmulatorSetOption(const char *name, const char *value) {
  static const StatusOr<DriverOptions> fromEnvironment = driverOptionsFromEnvironment();
  static bool started = false;
  Status status = fromEnvironment.ok() ? Status() : fromEnvironment.status();
  DriverOptions options = started || !status.ok() ? driverOptions() : *fromEnvironment;
  if (status.ok() && std::string_view(name) == "records")
    options.keepRecords = std::string_view(value) == "on";
  else if (status.ok())
    status = setDriverOption(options, name, value);
  if (status.ok()) {
    setDriverOptions(options);
    started = true;
  }
  message = status.message();
  return status.ok() ? 0 : 1;
}

/// Why the last call of this thread failed; valid until the next call.
const char *vitrifyEmulatorMessage() {
  if (message.empty())
    message = driverMessage();
  return message.c_str();
}

void vitrifyEmulatorClearMessage() { message.clear(); }

/// A JSON array of the launches since the last call (option "records" must be on); give it to vitrifyEmulatorFree.
char *vitrifyEmulatorTakeRecords() {
  std::string text = "[";
  for (const LaunchRecord &record : takeLaunchRecords())
    text += (text.size() > 1 ? ",\n" : "") + launchRecordJson(record);
  return copyOut(text + "]");
}

/// The launches since the last call as tables of counters and reports for people.
char *vitrifyEmulatorTakeRecordsAsText() {
  std::string text;
  for (const LaunchRecord &record : takeLaunchRecords()) {
    for (const Report &report : record.result.reports)
      text += formatReport(report);
    if (!record.result.counters.kernel.empty())
      text += formatCounters(record.result.counters, *record.chip);
  }
  return copyOut(text);
}

/// A JSON object of what the decoder makes of a module for a chip: {"keys": [...]}, the executors it uses, or
/// {"error": "..."}; without a module {"opcodes": [...], "keys": [...]}: all there are. Give it to vitrifyEmulatorFree.
char *vitrifyEmulatorInstructions(const char *ptx, const char *chip) {
  if (!ptx)
    return copyOut(nlohmann::json{{"opcodes", opcodes()}, {"keys", executorKeys()}}.dump());
  auto keysOf = [&]() -> StatusOr<std::vector<std::string>> {
    auto found = findChip(chip);
    if (!found)
      return found.status();
    auto module = Module::parse(ptx, "module");
    if (!module)
      return module.status();
    auto device = Device::create(**found, uint64_t(256) << 20);
    if (!device)
      return device.status();
    auto loaded = LoadedModule::load(*module, **device);
    if (!loaded)
      return loaded.status();
    return executorKeys(**loaded);
  };
  auto keys = keysOf();
  nlohmann::json j = keys.ok() ? nlohmann::json{{"keys", *keys}} : nlohmann::json{{"error", keys.status().message()}};
  return copyOut(j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

/// [[line, why], ...]: instructions that the module's own target or version does not have; or {"error": "..."}.
char *vitrifyEmulatorUnavailable(const char *ptx) {
  auto module = Module::parse(ptx, "module");
  nlohmann::json j = module.ok() ? nlohmann::json(unavailable(**module)) : nlohmann::json{{"error", module.status().message()}};
  return copyOut(j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void vitrifyEmulatorFree(char *text) { std::free(text); }
}
