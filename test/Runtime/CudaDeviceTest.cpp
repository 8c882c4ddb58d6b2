//===- CudaDeviceTest.cpp - what the GPU device asks of the driver --------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Devices.h"
#include "vitrify/Runtime/Devices/Cuda/CudaDevice.h"

#include <gmock/gmock.h>

using namespace vitrify;
using namespace vitrify::test;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class CudaDeviceTest : public testing::Test {
protected:
  TempFolder folder;
  TestDevice device{DeviceKind::Recording};
  RecordingDriver &driver = *device.driver();

  void write(TestBundleOptions options) { writeTestBundle(folder / "b", options); }
  void write() { write(device.bundleOptions()); }
  std::string openError() {
    auto program = device.open(folder / "b");
    EXPECT_FALSE(program.ok());
    return program.status().message();
  }
};

TEST_F(CudaDeviceTest, LaunchLog) {
  write();
  auto program = device.open(folder / "b");
  ASSERT_TRUE(program.ok()) << program.status().message();
  auto ctx = Context::create(*program, {});
  ASSERT_TRUE(ctx.ok());
  std::vector<float> pixels = randomPixels(5, 1);
  ASSERT_TRUE((*ctx)->prepare("forward", {5}).ok());
  driver.clearLog();
  ASSERT_TRUE(runOne(**ctx, "forward", pixels, {5, 1, 5, 7}, 50).ok());
  EXPECT_THAT(driver.log(),
              ElementsAre("cuCtxPushCurrent", "cuMemcpyHtoDAsync 700",
                          "launch linear_f32_nk grid 5,1,1 block 1,1,1 shared 0 20 35",
                          "launch relu_large grid 5,1,1 block 1,1,1 shared 0 20",
                          "launch linear_f8_nk grid 5,1,1 block 1,1,1 shared 0 10 20", "cuMemcpyDtoHAsync 200",
                          "cuStreamSynchronize", "cuCtxPopCurrent"));
  // The second run on the same addresses captures, the third only launches the graph.
  driver.clearLog();
  ASSERT_TRUE(runOne(**ctx, "forward", pixels, {5, 1, 5, 7}, 50).ok());
  EXPECT_THAT(driver.log(),
              ElementsAre("cuCtxPushCurrent", "cuMemcpyHtoDAsync 700", "cuStreamCreate", "cuStreamBeginCapture",
                          "launch linear_f32_nk grid 5,1,1 block 1,1,1 shared 0 20 35",
                          "launch relu_large grid 5,1,1 block 1,1,1 shared 0 20",
                          "launch linear_f8_nk grid 5,1,1 block 1,1,1 shared 0 10 20", "cuStreamEndCapture",
                          "cuGraphInstantiate", "cuGraphDestroy", "cuGraphLaunch", "cuMemcpyDtoHAsync 200",
                          "cuStreamSynchronize", "cuCtxPopCurrent"));
  driver.clearLog();
  std::vector<float> other = randomPixels(5, 2);
  auto logits = runOne(**ctx, "forward", other, {5, 1, 5, 7}, 50);
  ASSERT_TRUE(logits.ok());
  expectNear(*logits, expectedLogits(other));
  EXPECT_THAT(driver.log(), ElementsAre("cuCtxPushCurrent", "cuMemcpyHtoDAsync 700", "cuGraphLaunch",
                                        "cuMemcpyDtoHAsync 200", "cuStreamSynchronize", "cuCtxPopCurrent"));
}

/// Opens, runs three times (steps, capture, graph), profiles, exits early; the first error, or "". `calls`: of the driver,
/// before what is left is taken back.
std::string useEverything(const TestDevice &device, const std::string &path, int &calls) {
  auto program = device.open(path);
  if (!program.ok())
    return program.status().message();
  auto ctx = Context::create(*program, {});
  if (!ctx.ok())
    return ctx.status().message();
  std::vector<float> pixels = randomPixels(2, 1), x(20, 20.0f), expected = expectedLogits(pixels);
  for (int i = 0; i < 4; ++i) {
    vitrify_run_options options{};
    options.flags = i == 3 ? VITRIFY_RUN_PROFILE : 0;
    auto logits = runOne(**ctx, "forward", pixels, {2, 1, 5, 7}, 20, options);
    if (!logits.ok())
      return logits.status().message();
    for (size_t k = 0; k < expected.size(); ++k)
      if (std::abs((*logits)[k] - expected[k]) > 1e-4f)
        return "wrong logits";
  }
  auto early = runOne(**ctx, "early", x, {2, 10}, 20);
  if (!early.ok())
    return early.status().message();
  calls = device.driver()->calls();
  return (*early == x) ? "" : "wrong exit";
}

TEST_F(CudaDeviceTest, EveryFailureIsAnErrorAndLeaksNothing) {
  TestBundleOptions options = device.bundleOptions();
  // Above 48 KiB of shared memory a kernel must be asked to allow it.
  options.change = [](ManifestTarget &, Plan &plan) { plan.programs[1].steps[0].shared_bytes[0] = 64 << 10; };
  write(options);
  driver.failAt(-1);
  int used = 0, unused = 0;
  ASSERT_EQ(useEverything(device, folder / "b", used), "");
  const int calls = driver.calls();
  ASSERT_GT(calls, 60);
  for (int i = 0; i < calls; ++i) {
    driver.clearLog();
    driver.failAt(i);
    std::string error = useEverything(device, folder / "b", unused);
    driver.failAt(-1);
    std::vector<std::string> log = driver.log();
    std::string call = size_t(i) < log.size() ? log[size_t(i)] : "";
    // What fails while something is taken back has nobody to tell; all else is told with the call's name.
    const bool quiet = call.find("Free") != std::string::npos || call.find("Destroy") != std::string::npos ||
                       call.find("Unload") != std::string::npos || call.find("Release") != std::string::npos ||
                       call.find("PopCurrent") != std::string::npos;
    if (!quiet && i < used) {
      EXPECT_THAT(error, HasSubstr("CUDA_ERROR_UNKNOWN")) << "call " << i << ", " << call;
    }
    EXPECT_EQ(driver.faults(), std::vector<std::string>()) << "call " << i << ", " << call;
    for (auto &[what, count] : driver.alive())
      EXPECT_EQ(count, 0) << what << " leaked after call " << i << ", " << call;
  }
  // And nothing of it stays.
  EXPECT_EQ(useEverything(device, folder / "b", unused), "");
}

TEST_F(CudaDeviceTest, AContextRunsAgainAfterAFailure) {
  write();
  auto program = device.open(folder / "b");
  ASSERT_TRUE(program.ok());
  auto ctx = Context::create(*program, {});
  ASSERT_TRUE(ctx.ok());
  std::vector<float> pixels = randomPixels(3, 1);
  driver.failAt(-1);
  for (int i = 0; i < 40; ++i) {
    driver.failAt(i);
    (void)runOne(**ctx, "forward", pixels, {3, 1, 5, 7}, 30);
    driver.failAt(-1);
    auto logits = runOne(**ctx, "forward", pixels, {3, 1, 5, 7}, 30);
    ASSERT_TRUE(logits.ok()) << "after call " << i << ": " << logits.status().message();
    expectNear(*logits, expectedLogits(pixels));
  }
}

TEST_F(CudaDeviceTest, OutOfMemorySaysNeededAndFree) {
  write();
  auto program = device.open(folder / "b");
  ASSERT_TRUE(program.ok());
  auto ctx = Context::create(*program, {});
  ASSERT_TRUE(ctx.ok());
  driver.freeBytes = 1000;
  auto result = runOne(**ctx, "forward", randomPixels(8, 1), {8, 1, 5, 7}, 80);
  EXPECT_EQ(result.status().code(), StatusCode::ResourceExhausted);
  EXPECT_EQ(result.status().message(), "the arena of this run needs 2048 bytes of GPU memory, 1000 are free");
}

TEST_F(CudaDeviceTest, DevicePointersStreamAndArenaOfTheCaller) {
  write();
  auto program = device.open(folder / "b");
  ASSERT_TRUE(program.ok());
  const cuda::CudaApi &api = driver.api();
  cuda::CUcontext context;
  ASSERT_EQ(api.cuDevicePrimaryCtxRetain(&context, 0), cuda::CUDA_SUCCESS);
  ASSERT_EQ(api.cuCtxPushCurrent(context), cuda::CUDA_SUCCESS);
  cuda::CUdeviceptr in, out, arena;
  cuda::CUstream stream;
  ASSERT_EQ(api.cuMemAlloc(&in, 4 * 4 * kPixels), cuda::CUDA_SUCCESS);
  ASSERT_EQ(api.cuMemAlloc(&out, 4 * 4 * kClasses), cuda::CUDA_SUCCESS);
  ASSERT_EQ(api.cuMemAlloc(&arena, 4 * 256), cuda::CUDA_SUCCESS);
  ASSERT_EQ(api.cuStreamCreate(&stream, 0), cuda::CUDA_SUCCESS);
  std::vector<float> pixels = randomPixels(4, 1), logits(4 * kClasses);
  ASSERT_EQ(api.cuMemcpyHtoDAsync(in, pixels.data(), pixels.size() * 4, stream), cuda::CUDA_SUCCESS);
  WorkerOptions options;
  options.memory = reinterpret_cast<void *>(arena);
  options.memoryBytes = 4 * 256;
  options.stream = stream;
  {
    auto ctx = Context::create(*program, options);
    ASSERT_TRUE(ctx.ok());
    vitrify_tensor x = tensorOf(pixels, {4, 1, 5, 7}), y = tensorOf(logits, {});
    x.data = reinterpret_cast<void *>(in);
    y.data = reinterpret_cast<void *>(out);
    x.memory = y.memory = VITRIFY_DEVICE;
    vitrify_run_options async{};
    async.flags = VITRIFY_RUN_ASYNC;
    for (int i = 0; i < 3; ++i) {
      driver.clearLog();
      ASSERT_EQ((*ctx)->run("forward", &x, 1, &y, 1, async).message(), "");
    }
    EXPECT_THAT(driver.log(), ElementsAre("cuCtxPushCurrent", "cuGraphLaunch", "cuCtxPopCurrent"));
    ASSERT_EQ((*ctx)->wait().message(), "");
    y.dtype = VITRIFY_F16;
    EXPECT_EQ((*ctx)->run("forward", &x, 1, &y, 1, {}).message(), "output 'logits': is F32, found room for F16");
    vitrify_tensor one = x;
    one.shape[0] = 8;
    one.bytes = 8 * 4 * kPixels;
    y = tensorOf(logits, {});
    y.bytes = 8 * 4 * kClasses;
    logits.resize(80);
    y.data = logits.data();
    EXPECT_EQ((*ctx)->run("forward", &one, 1, &y, 1, {}).message(),
              "this run needs an arena of 2048 bytes, 1024 were given");
    logits.resize(40);
  }
  ASSERT_EQ(api.cuMemcpyDtoHAsync(logits.data(), out, logits.size() * 4, stream), cuda::CUDA_SUCCESS);
  expectNear(logits, expectedLogits(pixels));
  api.cuStreamDestroy(stream);
  api.cuMemFree(in);
  api.cuMemFree(out);
  api.cuMemFree(arena);
  api.cuCtxPopCurrent(&context);
  api.cuDevicePrimaryCtxRelease(0);
}

TEST_F(CudaDeviceTest, PicksTheFolderByChip) {
  TestBundleOptions options = device.bundleOptions();
  options.targets = {"x86-64-v3", "sm_89", "sm_90a", "sm_120a"};
  write(options);
  struct Case {
    int major, minor;
    const char *target;
  };
  for (Case c : {Case{8, 9, "sm_89"}, {9, 0, "sm_90a"}, {10, 0, "sm_89"}, {12, 0, "sm_120a"}, {12, 1, "sm_89"}}) {
    driver.major = c.major;
    driver.minor = c.minor;
    std::vector<std::string> messages;
    ProgramOptions opts = device.programOptions();
    opts.deviceOptions.log = [&](int level, const std::string &message) {
      if (level < 2)
        messages.push_back(message);
    };
    auto program = Program::open(folder / "b", opts);
    ASSERT_TRUE(program.ok()) << program.status().message();
    EXPECT_STREQ((*program)->info().target, c.target);
    EXPECT_STREQ((*program)->info().device, "Recorded GPU");
    const bool exact = std::string(c.target) == "sm_" + std::to_string(c.major * 10 + c.minor) ||
                       std::string(c.target) == "sm_" + std::to_string(c.major * 10 + c.minor) + "a";
    EXPECT_EQ(messages.empty(), exact); // PTX of another chip is told as slower
    // The code of another folder is never loaded: each holds its own name.
    auto ctx = Context::create(*program, {});
    ASSERT_TRUE(ctx.ok());
  }
  driver.major = 8;
  driver.minor = 6;
  EXPECT_EQ(openError(), "this bundle has code for x86-64-v3, sm_89, sm_90a, sm_120a, and this GPU has compute capability "
                         "8.6: compile it with --target=sm_86 too");
  driver.major = 10;
  driver.minor = 0;
  ProgramOptions opts = device.programOptions();
  opts.target = "sm_90a";
  auto forced = Program::open(folder / "b", opts);
  ASSERT_FALSE(forced.ok());
  EXPECT_EQ(forced.status().message(),
            "target sm_90a runs on no other chip, and this GPU has compute capability 10.0");
}

TEST_F(CudaDeviceTest, OldDriversAndNoDevices) {
  TestBundleOptions options = device.bundleOptions();
  options.change = [](ManifestTarget &target, Plan &) { target.driver = "13.0"; };
  write(options);
  driver.version = 12040;
  EXPECT_EQ(openError(), "the driver (CUDA 12.4) is older than this bundle's 13.0: update the driver, or rebuild the "
                         "bundle with --ptxas=PATH of an older toolkit");
  driver.version = 13000;
  EXPECT_TRUE(device.open(folder / "b").ok());
  driver.devices = 0;
  EXPECT_EQ(openError(), "the CUDA driver finds no GPU");
  driver.devices = 1;
  auto second = createCudaDevice({}, driver.api(), 1);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().message(), "no device cuda:1, the CUDA driver finds 1 GPU");
  auto none = createCudaDevice({}, folder / "nothing.so", 0);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.status().message(), HasSubstr("no CUDA driver: "));
  auto other = createCudaDevice({}, TEST_KERNELS_SO, 0); // a library, but not a driver
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(other.status().message(), HasSubstr("lacks cuGetErrorName"));
}

TEST_F(CudaDeviceTest, RefusesPanelsAndLowMemory) {
  TestBundleOptions options = device.bundleOptions();
  options.change = [](ManifestTarget &, Plan &plan) { plan.weights[0].layout = "panel:w16:k1:F32"; };
  write(options);
  EXPECT_EQ(openError(), "weight 'fc1.w' has layout 'panel:w16:k1:F32', expected nk on a GPU");
  write();
  ProgramOptions opts = device.programOptions();
  opts.deviceOptions.lowMemory = true;
  auto program = Program::open(folder / "b", opts);
  ASSERT_FALSE(program.ok());
  EXPECT_EQ(program.status().message(), "the low memory mode is not available on a GPU");
}

} // namespace
