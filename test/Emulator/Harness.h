//===- Harness.h - running PTX in tests -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A device, a module and launches with arguments packed from C++ values.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Launch.h"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace vitrify::emulator::test {

/// "// .version ... " and a kernel `k` with parameters; `body` may use registers %r, %rd, %f, %fd, %h, %p, %q.
inline std::string kernelText(const std::string &params, const std::string &body, const std::string &target = "sm_89",
                              const std::string &before = {}, const std::string &version = "8.7") {
  return ".version " + version + "\n.target " + target + "\n.address_size 64\n" + before + ".visible .entry k(" + params +
         ")\n{\n.reg .pred %p<16>;\n.reg .b16 %h<32>;\n.reg .b32 %r<64>;\n.reg .f32 %f<64>;\n.reg .b64 %rd<32>;\n"
         ".reg .f64 %fd<32>;\n.reg .b128 %q<8>;\n" + body + "\nret;\n}\n";
}

class Emulated {
public:
  explicit Emulated(const std::string &chip = "sm_89", uint64_t bytes = uint64_t(256) << 20) {
    auto found = findChip(chip);
    EXPECT_TRUE(found.ok()) << found.status().message();
    auto made = Device::create(**found, bytes);
    EXPECT_TRUE(made.ok()) << made.status().message();
    device = std::move(*made);
  }

  Status tryLoad(const std::string &text) {
    auto module = Module::parse(text, "test.ptx");
    if (!module)
      return module.status();
    auto loadedOr = LoadedModule::load(*module, *device);
    if (!loadedOr)
      return loadedOr.status();
    loaded = *loadedOr;
    return {};
  }
  void load(const std::string &text) {
    Status status = tryLoad(text);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  template <class T> uint64_t upload(const std::vector<T> &values) {
    auto address = device->memory().allocate(values.size() * sizeof(T));
    EXPECT_TRUE(address.ok());
    EXPECT_TRUE(device->memory().copyToDevice(*address, values.data(), values.size() * sizeof(T)).ok());
    return *address;
  }
  uint64_t allocate(uint64_t bytes) { return *device->memory().allocate(bytes); }
  template <class T> std::vector<T> download(uint64_t address, size_t count) {
    std::vector<T> out(count);
    Status status = device->memory().copyToHost(out.data(), address, count * sizeof(T));
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  }

  template <class... Args> LaunchResult run(const LaunchConfig &config, Args... args) {
    std::vector<uint8_t> params;
    (pack(params, args), ...);
    return launch(*loaded, kernel, config, params, options);
  }
  template <class... Args> void runOk(const LaunchConfig &config, Args... args) {
    LaunchResult result = run(config, args...);
    EXPECT_EQ(result.error, LaunchError::Success) << result.message;
    for (const Report &r : result.reports)
      ADD_FAILURE() << formatReport(r);
  }

  std::unique_ptr<Device> device;
  std::shared_ptr<const LoadedModule> loaded;
  std::string kernel = "k";
  LaunchOptions options;

private:
  template <class T> static void pack(std::vector<uint8_t> &out, const T &value) {
    out.resize((out.size() + alignof(T) - 1) / alignof(T) * alignof(T));
    size_t at = out.size();
    out.resize(at + sizeof(T));
    std::memcpy(out.data() + at, &value, sizeof(T));
  }
};

inline LaunchConfig oneBlock(uint32_t threads = 32, uint32_t shared = 0) {
  LaunchConfig config;
  config.block.x = threads;
  config.dynamicShared = shared;
  return config;
}
inline LaunchConfig blocks(uint32_t grid, uint32_t threads, uint32_t shared = 0) {
  LaunchConfig config = oneBlock(threads, shared);
  config.grid.x = grid;
  return config;
}

} // namespace vitrify::emulator::test
