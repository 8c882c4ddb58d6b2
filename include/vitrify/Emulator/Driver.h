//===- Driver.h - the emulated CUDA driver -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The emulator behind the CUDA driver API: a table of functions that the runtime's
// CUDA device takes instead of libcuda's, and how a program or tool sets what is
// checked and reads what was found. The same functions are exported by
// build/lib/emulator/libcuda.so.1.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Launch.h"
#include "vitrify/Runtime/CudaApi.h"

#include <string>
#include <string_view>
#include <vector>

namespace vitrify::emulator {

/// All members are set. The driver behind it is one for the process, like NVIDIA's.
const cuda::CudaApi &driverApi();

/// What becomes of a grid in which every thread only polls. Auto: it is a deadlock if every thread of the process that is
/// not the emulator's waits in a call of the driver, nothing else runs, and the memory is no memory of the host's.
enum class Polling : uint8_t { Auto, Report, Wait };

/// How kernels run that are launched through the driver. Read from the environment (VITRIFY_EMULATOR_*) at cuInit.
struct DriverOptions {
  std::vector<std::string> devices; ///< names or targets of chips; empty: one of each in the table
  LaunchOptions launch;
  std::vector<std::string> kernels; ///< only kernels whose name contains one of these are checked; empty: all
  bool printReports = true;         ///< each new report goes to stderr
  bool printCounters = false;       ///< a table after every launch to stderr
  std::string reportPath;           ///< a JSON line for each launch is appended here; empty: none
  bool keepRecords = false;         ///< for takeLaunchRecords
  Polling polling = Polling::Auto;
  uint64_t memoryBytes = 0;         ///< of each device; 0: what the chip has
};

/// The options that the environment asks for; InvalidArgument names the variable, what it holds and what it may hold.
StatusOr<DriverOptions> driverOptionsFromEnvironment();
/// Sets one option by the name of its variable without VITRIFY_EMULATOR_, in lower case ("checks", "race,sync").
Status setDriverOption(DriverOptions &options, std::string_view name, std::string_view value);

/// Replaces the options. `devices` and `memoryBytes` count only before cuInit.
void setDriverOptions(const DriverOptions &options);
DriverOptions driverOptions();

/// What launches since the last call found and counted, in order of their ends.
struct LaunchRecord {
  std::string kernel;
  int device = 0;
  const Chip *chip = nullptr;
  LaunchResult result;
};
std::vector<LaunchRecord> takeLaunchRecords();
/// One JSON object on one line, without its newline: kernel, device, chip, error, message, faults, reports, counters.
std::string launchRecordJson(const LaunchRecord &record);

/// Why the last call of this thread failed: one sentence, empty if the driver has none to add to the error's name.
std::string driverMessage();

} // namespace vitrify::emulator
