//===- Devices.cpp - the devices that the conformance suite runs on -------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Devices.h"

#include "vitrify/Runtime/Devices/Cuda/CudaDevice.h"

#include <algorithm>
#include <filesystem>

using namespace vitrify;
using namespace vitrify::test;

std::string vitrify::test::deviceName(DeviceKind kind) {
  switch (kind) {
  case DeviceKind::Host: return "Host";
  case DeviceKind::HostLowMemory: return "HostLowMemory";
  case DeviceKind::Recording: return "Recording";
  case DeviceKind::Emulator: return "Emulator";
  case DeviceKind::Cuda: return "Cuda";
  }
  return "";
}

std::vector<DeviceKind> vitrify::test::conformanceDevices() {
  std::vector<DeviceKind> kinds{DeviceKind::Host, DeviceKind::HostLowMemory, DeviceKind::Recording};
  if (std::filesystem::exists(TEST_EMULATOR))
    kinds.push_back(DeviceKind::Emulator);
  kinds.push_back(DeviceKind::Cuda);
  return kinds;
}

std::string TestDevice::missing() const {
  if (which != DeviceKind::Cuda)
    return "";
  auto device = createCudaDevice({}, "", 0);
  if (!device)
    return device.status().message();
  ManifestTarget target;
  target.name = "sm_89";
  target.device = "cuda";
  return (*device)->checkTarget(target).message();
}

TestDevice::TestDevice(DeviceKind kind) : which(kind) {
  if (kind == DeviceKind::Recording)
    recorder = std::make_unique<RecordingDriver>();
}

TestDevice::~TestDevice() {
  if (!recorder)
    return;
  EXPECT_EQ(recorder->faults(), std::vector<std::string>());
  for (auto &[what, count] : recorder->alive())
    EXPECT_EQ(count, 0) << what << " leaked";
}

TestBundleOptions TestDevice::bundleOptions() const {
  TestBundleOptions options;
  if (!isHost())
    options.targets = {"sm_89"};
  options.ptx = runsKernelsWhole();
  if (options.ptx)
    options.turns = 10;
  return options;
}

ProgramOptions TestDevice::programOptions() const {
  ProgramOptions options;
  options.deviceOptions.threads = isHost() ? 2 : 0;
  options.deviceOptions.lowMemory = which == DeviceKind::HostLowMemory;
  if (recorder)
    options.makeDevice = [this](const DeviceOptions &opts) { return createCudaDevice(opts, recorder->api(), 0); };
  if (which == DeviceKind::Cuda)
    options.device = "cuda";
  if (which == DeviceKind::Emulator) {
    setenv("VITRIFY_EMULATOR_DEVICES", "sm_89", 1);
    options.device = "cuda";
    options.driver = TEST_EMULATOR;
  }
  return options;
}

vitrify_tensor vitrify::test::tensorOf(std::vector<float> &values, std::vector<int64_t> shape) {
  vitrify_tensor tensor{};
  tensor.data = values.data();
  tensor.bytes = values.size() * sizeof(float);
  tensor.dtype = VITRIFY_F32;
  tensor.rank = int32_t(shape.size());
  std::ranges::copy(shape, tensor.shape);
  return tensor;
}

StatusOr<std::vector<float>> vitrify::test::runOne(Context &context, const std::string &entry, std::vector<float> input,
                                                   std::vector<int64_t> shape, size_t outputSize,
                                                   vitrify_run_options options) {
  std::vector<float> output(outputSize, -1234.0f);
  vitrify_tensor in = tensorOf(input, std::move(shape)), out = tensorOf(output, {});
  VITRIFY_RETURN_IF_ERROR(context.run(entry, &in, 1, &out, 1, options));
  return output;
}

void vitrify::test::expectNear(const std::vector<float> &found, const std::vector<float> &expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_NEAR(found[i], expected[i], 1e-4f) << "element " << i;
}
