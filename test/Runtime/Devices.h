//===- Devices.h - the devices that the conformance suite runs on -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A row a device: how to open a bundle on it, and which bundle.
//===----------------------------------------------------------------------===//
#pragma once

#include "RecordingDriver.h"
#include "TestBundle.h"
#include "vitrify/Runtime/Program.h"

#include <gtest/gtest.h>
#include <memory>

namespace vitrify::test {

enum class DeviceKind { Host, HostLowMemory, Recording, Emulator, Cuda };
std::string deviceName(DeviceKind kind);
/// Those that this build can run; the emulator only where its library was built. Cuda is always among them: see missing().
std::vector<DeviceKind> conformanceDevices();

/// What a test needs to open bundles on one device.
class TestDevice {
public:
  explicit TestDevice(DeviceKind kind);
  ~TestDevice();

  DeviceKind kind() const { return which; }
  /// Why this machine cannot run the device's tests: no driver, no GPU, or one that is too old. "" when it can.
  std::string missing() const;
  /// A device whose kernels run to their end, whatever is asked.
  bool runsKernelsWhole() const { return which == DeviceKind::Emulator || which == DeviceKind::Cuda; }
  bool isHost() const { return which == DeviceKind::Host || which == DeviceKind::HostLowMemory; }
  /// Options of a bundle that this device runs.
  TestBundleOptions bundleOptions() const;
  ProgramOptions programOptions() const;
  StatusOr<std::shared_ptr<Program>> open(const std::string &path) const { return Program::open(path, programOptions()); }
  RecordingDriver *driver() const { return recorder.get(); }

private:
  const DeviceKind which;
  std::unique_ptr<RecordingDriver> recorder;
};

/// Tensors over the caller's vectors.
vitrify_tensor tensorOf(std::vector<float> &values, std::vector<int64_t> shape);
/// Runs an entry with one input and one output and returns what it gives.
StatusOr<std::vector<float>> runOne(Context &context, const std::string &entry, std::vector<float> input,
                                    std::vector<int64_t> shape, size_t outputSize, vitrify_run_options options = {});
/// EXPECTs that the results agree to float's rounding.
void expectNear(const std::vector<float> &found, const std::vector<float> &expected);

} // namespace vitrify::test
