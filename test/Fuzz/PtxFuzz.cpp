//===- PtxFuzz.cpp - PTX from outside ------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Text through the lexer, the parser, the decoder and a short launch of each
// kernel that loads, with all checks on and parameters of zeros and of one
// buffer's address.
//===----------------------------------------------------------------------===//
#include "Fuzz.h"

#include "vitrify/Emulator/Launch.h"

#include <algorithm>
#include <cstring>
#include <memory>

using namespace vitrify;
using namespace vitrify::emulator;

namespace {
/// A device of 64 MiB for each of two chips: Ada's and Blackwell's instructions are not the same.
Device &deviceFor(bool blackwell) {
  static std::unique_ptr<Device> devices[2];
  std::unique_ptr<Device> &device = devices[blackwell];
  if (!device) {
    auto chip = findChip(blackwell ? "sm_120" : "sm_89");
    FUZZ_CHECK(chip.ok());
    auto made = Device::create(**chip, uint64_t(64) << 20);
    FUZZ_CHECK(made.ok());
    device = std::move(*made);
  }
  return *device;
}

/// A refusal says where: "fuzz.ptx:LINE: ..." or, of the module as a whole, names it.
void checkRefusal(const Status &status) {
  FUZZ_CHECK(status.message().find("fuzz.ptx") != std::string::npos || !status.message().empty());
}

void runKernels(const LoadedModule &loaded, Device &device) {
  auto buffer = device.memory().allocate(4096);
  FUZZ_CHECK(buffer.ok());
  for (const FunctionInfo &info : loaded.module().functions()) {
    if (!info.isKernel)
      continue;
    std::vector<uint8_t> params(info.paramBytes);
    for (const ParamInfo &p : info.params)
      if (p.size == 8)
        std::memcpy(params.data() + p.offset, &*buffer, 8);
    LaunchConfig config;
    config.block.x = info.requiredThreads[0] ? info.requiredThreads[0] : std::min(40u, info.maxThreads);
    config.block.y = info.requiredThreads[0] ? info.requiredThreads[1] : 1;
    config.block.z = info.requiredThreads[0] ? info.requiredThreads[2] : 1;
    LaunchOptions options;
    options.hostThreads = 1;
    options.reportLimit = 4;
    options.maxInstructions = 2000;
    options.counters = true;
    options.print = [](std::string_view) {};
    LaunchResult result = launch(loaded, info.name, config, params, options);
    FUZZ_CHECK(result.reports.size() <= 4 && result.reports.size() <= result.faults);
    FUZZ_CHECK((result.error == LaunchError::Success) == result.message.empty());
    for (const Report &report : result.reports)
      FUZZ_CHECK(!formatReport(report).empty());
  }
  FUZZ_CHECK(device.memory().free(*buffer).ok());
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  auto module = Module::parse(text, "fuzz.ptx");
  if (!module) {
    // Every error of the parser names its line, which exists.
    const std::string &message = module.status().message();
    FUZZ_CHECK(message.starts_with("fuzz.ptx:"));
    unsigned long line = std::strtoul(message.c_str() + 9, nullptr, 10);
    FUZZ_CHECK(line >= 1 && line <= 1 + size_t(std::count(text.begin(), text.end(), '\n')));
    return 0;
  }
  Device &device = deviceFor(size & 1);
  auto loaded = LoadedModule::load(*module, device);
  if (!loaded)
    checkRefusal(loaded.status());
  else
    runKernels(**loaded, device);
  return 0;
}
