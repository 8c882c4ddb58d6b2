//===- DriverBasicsTest.cpp - devices, contexts, modules and memory of the driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What each call does and what it refuses, with the error that CUDA gives.
//===----------------------------------------------------------------------===//
#include "DriverFixture.h"

#include <cstdlib>
#include <cstring>
#include <thread>

namespace vitrify::emulator {
namespace {

TEST_F(DriverTest, DevicesAreTheOnesAskedFor) {
  int count = 0, version = 0, value = 0;
  ASSERT_CU(cu.cuDeviceGetCount(&count));
  EXPECT_EQ(count, 2);
  ASSERT_CU(cu.cuDriverGetVersion(&version));
  EXPECT_GE(version, 12000);
  CUdevice device = -1;
  ASSERT_CU(cu.cuDeviceGet(&device, 1));
  ASSERT_CU(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  EXPECT_EQ(value, 9);
  ASSERT_CU(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
  EXPECT_EQ(value, (*findChip("sm_89"))->smCount);
  ASSERT_CU(cu.cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
  EXPECT_EQ(value, (*findChip("sm_89"))->sharedPerBlockOptin);
  char name[64];
  ASSERT_CU(cu.cuDeviceGetName(name, sizeof name, 0));
  EXPECT_NE(std::string(name).find("RTX 4090"), std::string::npos);
  EXPECT_NE(std::string(name).find("emulated"), std::string::npos);
  char bus[32];
  ASSERT_CU(cu.cuDeviceGetPCIBusId(bus, sizeof bus, 1));
  ASSERT_CU(cu.cuDeviceGetByPCIBusId(&device, bus));
  EXPECT_EQ(device, 1);
  EXPECT_CU(CUDA_ERROR_INVALID_DEVICE, cu.cuDeviceGet(&device, 2));
  EXPECT_CU(CUDA_ERROR_INVALID_DEVICE, cu.cuDeviceGet(&device, -1));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuDeviceGetAttribute(&value, CUdevice_attribute(9999), 0));
}

TEST_F(DriverTest, ErrorsHaveNamesAndTexts) {
  const char *text = nullptr;
  ASSERT_CU(cu.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  ASSERT_CU(cu.cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuGetErrorName(CUresult(12345), &text));
  EXPECT_EQ(text, nullptr);
}

TEST_F(DriverTest, ContextsAreAStackOfTheThread) {
  CUcontext second = nullptr, now = nullptr, popped = nullptr;
  ASSERT_CU(cu.cuCtxCreate(&second, 0, 1));
  CUdevice device = -1;
  ASSERT_CU(cu.cuCtxGetDevice(&device));
  EXPECT_EQ(device, 1);
  ASSERT_CU(cu.cuCtxPopCurrent(&popped));
  EXPECT_EQ(popped, second);
  ASSERT_CU(cu.cuCtxGetCurrent(&now));
  EXPECT_EQ(now, context);
  std::thread([&] {
    CUcontext none = context;
    EXPECT_CU(CUDA_SUCCESS, cu.cuCtxGetCurrent(&none));
    EXPECT_EQ(none, nullptr);
    CUdeviceptr address = 0;
    EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cu.cuMemAlloc(&address, 4));
  }).join();
  ASSERT_CU(cu.cuCtxDestroy(second));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxDestroy(second));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxSetCurrent(second));
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cu.cuCtxSetCurrent(reinterpret_cast<CUcontext>(&device)));
}

TEST_F(DriverTest, PrimaryContextIsSharedAndCounted) {
  CUcontext first = nullptr, second = nullptr;
  ASSERT_CU(cu.cuDevicePrimaryCtxRetain(&first, 1));
  ASSERT_CU(cu.cuDevicePrimaryCtxRetain(&second, 1));
  EXPECT_EQ(first, second);
  unsigned flags = 0;
  int active = 0;
  ASSERT_CU(cu.cuDevicePrimaryCtxRelease(1));
  ASSERT_CU(cu.cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 1);
  ASSERT_CU(cu.cuDevicePrimaryCtxRelease(1));
  ASSERT_CU(cu.cuDevicePrimaryCtxGetState(1, &flags, &active));
  EXPECT_EQ(active, 0);
  EXPECT_CU(CUDA_ERROR_INVALID_CONTEXT, cu.cuDevicePrimaryCtxRelease(1));
}

TEST_F(DriverTest, MemoryIsCountedAndRunsOut) {
  size_t before = 0, after = 0, total = 0;
  ASSERT_CU(cu.cuMemGetInfo(&before, &total));
  EXPECT_EQ(total, size_t(64) << 20);
  CUdeviceptr address = 0, more = 0;
  ASSERT_CU(cu.cuMemAlloc(&address, 8 << 20));
  EXPECT_EQ(address % 256, 0u);
  ASSERT_CU(cu.cuMemGetInfo(&after, &total));
  EXPECT_GE(before - after, size_t(8) << 20);
  EXPECT_CU(CUDA_ERROR_OUT_OF_MEMORY, cu.cuMemAlloc(&more, size_t(64) << 20));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemAlloc(&more, 0));
  CUdeviceptr base = 0;
  size_t bytes = 0;
  ASSERT_CU(cu.cuMemGetAddressRange(&base, &bytes, address + 100));
  EXPECT_EQ(base, address);
  EXPECT_EQ(bytes, size_t(8) << 20);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree(address + 4));
  ASSERT_CU(cu.cuMemFree(address));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemFree(address));
  ASSERT_CU(cu.cuMemGetInfo(&after, &total));
  EXPECT_EQ(after, before);
  EXPECT_CU(CUDA_SUCCESS, cu.cuMemFree(0));
}

TEST_F(DriverTest, CopiesCheckBothEnds) {
  CUdeviceptr x = floats({1, 2, 3, 4}), y = floats({0, 0, 0, 0});
  ASSERT_CU(cu.cuMemcpyDtoD(y + 4, x, 8));
  EXPECT_EQ(read(y, 4), (std::vector<float>{0, 1, 2, 0}));
  ASSERT_CU(cu.cuMemcpy(x, y, 16));
  EXPECT_EQ(read(x, 4), (std::vector<float>{0, 1, 2, 0}));
  float host[4] = {};
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH(host, x, 17));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(x + 8, host, 12));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyHtoD(reinterpret_cast<CUdeviceptr>(host), host, 4));
  EXPECT_CU(CUDA_SUCCESS, cu.cuMemcpyHtoD(x, host, 0));
  ASSERT_CU(cu.cuMemFree(y));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpyDtoH(host, y, 4));
}

TEST_F(DriverTest, PlanarCopiesAndFills) {
  CUdeviceptr device = 0;
  size_t pitch = 0;
  ASSERT_CU(cu.cuMemAllocPitch(&device, &pitch, 12, 3, 4));
  ASSERT_GE(pitch, 12u);
  uint8_t host[3 * 12], back[3 * 16];
  for (int i = 0; i < 36; ++i)
    host[i] = uint8_t(i);
  CUDA_MEMCPY2D copy{};
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = host;
  copy.srcPitch = 12;
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = device;
  copy.dstPitch = pitch;
  copy.WidthInBytes = 12;
  copy.Height = 3;
  ASSERT_CU(cu.cuMemcpy2D(&copy));
  ASSERT_CU(cu.cuMemsetD2D8(device + 4, pitch, 0xee, 2, 2));
  std::memset(back, 0x55, sizeof back);
  CUDA_MEMCPY2D fetch{};
  fetch.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  fetch.srcDevice = device;
  fetch.srcPitch = pitch;
  fetch.srcXInBytes = 2;
  fetch.dstMemoryType = CU_MEMORYTYPE_HOST;
  fetch.dstHost = back;
  fetch.dstPitch = 16;
  fetch.WidthInBytes = 10;
  fetch.Height = 3;
  ASSERT_CU(cu.cuMemcpy2D(&fetch));
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 16; ++x) {
      int column = x + 2, expected = x < 10 ? y * 12 + column : 0x55;
      if (y < 2 && (column == 4 || column == 5))
        expected = 0xee;
      EXPECT_EQ(int(back[y * 16 + x]), expected) << y << "," << x;
    }
  fetch.Height = 4;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemcpy2D(&fetch));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemsetD32(device + 2, 7, 1));
  ASSERT_CU(cu.cuMemsetD32(device, 0x01020304, 3));
  uint32_t words[3];
  ASSERT_CU(cu.cuMemcpyDtoH(words, device, 12));
  EXPECT_EQ(words[2], 0x01020304u);
}

TEST_F(DriverTest, PinnedAndRegisteredMemoryIsSeenByKernels) {
  void *pinned = nullptr;
  ASSERT_CU(cu.cuMemHostAlloc(&pinned, 64 * 4, CU_MEMHOSTALLOC_DEVICEMAP));
  auto *values = static_cast<float *>(pinned);
  for (int i = 0; i < 64; ++i)
    values[i] = float(i);
  CUdeviceptr address = 0;
  ASSERT_CU(cu.cuMemHostGetDevicePointer(&address, pinned, 0));
  ASSERT_CU(add(address, 0.5f, 64));
  ASSERT_CU(cu.cuCtxSynchronize());
  EXPECT_EQ(values[63], 63.5f);
  unsigned type = 0;
  ASSERT_CU(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address));
  EXPECT_EQ(type, unsigned(CU_MEMORYTYPE_HOST));
  ASSERT_CU(cu.cuMemFreeHost(pinned));

  std::vector<float> own(32, 1.0f);
  ASSERT_CU(cu.cuMemHostRegister(own.data(), own.size() * 4, 0));
  EXPECT_CU(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cu.cuMemHostRegister(own.data(), own.size() * 4, 0));
  ASSERT_CU(cu.cuMemHostGetDevicePointer(&address, own.data(), 0));
  ASSERT_CU(add(address, 2.0f, 32));
  ASSERT_CU(cu.cuCtxSynchronize());
  EXPECT_EQ(own[31], 3.0f);
  ASSERT_CU(cu.cuMemHostUnregister(own.data()));
  EXPECT_CU(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cu.cuMemHostUnregister(own.data()));
}

TEST_F(DriverTest, PointersAreDescribed) {
  CUdeviceptr x = floats({1, 2});
  unsigned type = 0;
  int ordinal = -1;
  ASSERT_CU(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, x + 4));
  EXPECT_EQ(type, unsigned(CU_MEMORYTYPE_DEVICE));
  ASSERT_CU(cu.cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, x));
  EXPECT_EQ(ordinal, 0);
  CUcontext owner = nullptr;
  ASSERT_CU(cu.cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, x));
  EXPECT_EQ(owner, context);
  int local = 0;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE,
            cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, reinterpret_cast<CUdeviceptr>(&local)));
}

TEST_F(DriverTest, ModulesGiveFunctionsAndVariables) {
  CUdeviceptr table = 0;
  size_t bytes = 0;
  ASSERT_CU(cu.cuModuleGetGlobal(&table, &bytes, module, "table"));
  EXPECT_EQ(bytes, 16u);
  uint32_t values[4];
  ASSERT_CU(cu.cuMemcpyDtoH(values, table, 16));
  EXPECT_EQ(values[3], 40u);
  CUfunction function = nullptr;
  EXPECT_CU(CUDA_ERROR_NOT_FOUND, cu.cuModuleGetFunction(&function, module, "absent"));
  EXPECT_CU(CUDA_ERROR_NOT_FOUND, cu.cuModuleGetGlobal(&table, &bytes, module, "absent"));
  int value = 0;
  ASSERT_CU(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel("limited")));
  EXPECT_EQ(value, 64);
  ASSERT_CU(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, kernel("add")));
  EXPECT_GT(value, 0);
  EXPECT_LT(value, 64);
  size_t offset = 0, size = 0;
  ASSERT_CU(cu.cuFuncGetParamInfo(kernel("add"), 2, &offset, &size));
  EXPECT_EQ(offset, 12u);
  EXPECT_EQ(size, 4u);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuFuncGetParamInfo(kernel("add"), 3, &offset, &size));
  unsigned count = 0;
  ASSERT_CU(cu.cuModuleGetFunctionCount(&count, module));
  EXPECT_EQ(count, 5u);
  CUfunction old = kernel("add");
  CUmodule other = nullptr;
  ASSERT_CU(cu.cuModuleLoadData(&other, kTestPtx));
  ASSERT_CU(cu.cuModuleUnload(other));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cu.cuModuleUnload(other));
  EXPECT_EQ(old, kernel("add"));
}

TEST_F(DriverTest, WrongImagesAreRefusedWithReasons) {
  CUmodule other = nullptr;
  EXPECT_CU(CUDA_ERROR_INVALID_PTX, cu.cuModuleLoadData(&other, ".version 7.8\n.target sm_89\n.entry {"));
  EXPECT_NE(driverMessage().find(":3:"), std::string::npos) << driverMessage();
  EXPECT_CU(CUDA_ERROR_NO_BINARY_FOR_GPU,
            cu.cuModuleLoadData(&other, ".version 8.0\n.target sm_90a\n.address_size 64\n.entry k() { ret; }\n"));
  const char elf[64] = "\177ELF\2\1\1";
  EXPECT_CU(CUDA_ERROR_NO_BINARY_FOR_GPU, cu.cuModuleLoadData(&other, elf));
  EXPECT_NE(driverMessage().find("holds SASS only; build with -gencode arch=compute_89,code=compute_89"),
            std::string::npos)
      << driverMessage();
  EXPECT_CU(CUDA_ERROR_FILE_NOT_FOUND, cu.cuModuleLoad(&other, "/nowhere/k.ptx"));
  char log[200] = "unchanged";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(uintptr_t(sizeof log))};
  EXPECT_CU(CUDA_ERROR_INVALID_PTX,
            cu.cuModuleLoadDataEx(&other, ".version 7.8\n.target sm_89\nrubbish;", 2, options, values));
  EXPECT_GT(std::strlen(log), 5u);
  EXPECT_STRNE(log, "unchanged");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(values[1]), std::strlen(log));
}

TEST_F(DriverTest, LibrariesLoadOnUse) {
  CUlibrary library = nullptr;
  CUkernel add = nullptr;
  ASSERT_CU(cu.cuLibraryLoadData(&library, kTestPtx, nullptr, nullptr, 0, nullptr, nullptr, 0));
  ASSERT_CU(cu.cuLibraryGetKernel(&add, library, "add"));
  CUdeviceptr x = floats({1, 2, 3});
  float a = 1;
  uint32_t n = 3;
  void *params[] = {&x, &a, &n};
  ASSERT_CU(cu.cuLaunchKernel(reinterpret_cast<CUfunction>(add), 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_EQ(read(x, 3), (std::vector<float>{2, 3, 4}));
  EXPECT_CU(CUDA_ERROR_NOT_FOUND, cu.cuLibraryGetKernel(&add, library, "absent"));
  ASSERT_CU(cu.cuLibraryUnload(library));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cu.cuLibraryUnload(library));
}

TEST_F(DriverTest, FunctionsAreFoundByNameAndVersion) {
  void *function = nullptr;
  CUdriverProcAddressQueryResult found{};
  ASSERT_CU(cu.cuGetProcAddress("cuMemAlloc", &function, 12000, 0, &found));
  EXPECT_EQ(function, reinterpret_cast<void *>(cu.cuMemAlloc));
  void *exact = nullptr;
  ASSERT_CU(cu.cuGetProcAddress("cuMemAlloc_v2", &exact, 12000, 0, nullptr));
  EXPECT_EQ(exact, function);
  void *older = nullptr, *newer = nullptr;
  ASSERT_CU(cu.cuGetProcAddress("cuGraphInstantiate", &older, 11040, 0, nullptr));
  ASSERT_CU(cu.cuGetProcAddress("cuGraphInstantiate", &newer, 12000, 0, nullptr));
  EXPECT_NE(older, newer);
  EXPECT_EQ(newer, reinterpret_cast<void *>(cu.cuGraphInstantiate));
  EXPECT_CU(CUDA_ERROR_NOT_FOUND, cu.cuGetProcAddress("cuTexObjectCreate", &function, 12000, 0, &found));
  EXPECT_EQ(found, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  EXPECT_EQ(function, nullptr);
  EXPECT_NE(driverMessage().find("cuTexObjectCreate"), std::string::npos);
}

TEST(DriverOptionsTest, ReadByNameAndRefusedWithReason) {
  DriverOptions options;
  EXPECT_TRUE(setDriverOption(options, "checks", "race,sync").ok());
  EXPECT_EQ(options.launch.checks, CheckRace | CheckSync);
  EXPECT_TRUE(setDriverOption(options, "checks", "-init").ok());
  EXPECT_EQ(options.launch.checks, CheckAll & ~CheckInit);
  EXPECT_TRUE(setDriverOption(options, "checks", "none").ok());
  EXPECT_EQ(options.launch.checks, CheckNone);
  EXPECT_TRUE(setDriverOption(options, "memory", "2G").ok());
  EXPECT_EQ(options.memoryBytes, uint64_t(2) << 30);
  EXPECT_TRUE(setDriverOption(options, "arithmetic", "plain").ok());
  EXPECT_EQ(options.launch.sums, TensorSums::Plain);
  EXPECT_TRUE(setDriverOption(options, "devices", "sm_89, H100").ok());
  EXPECT_EQ(options.devices, (std::vector<std::string>{"sm_89", "H100"}));
  Status status = setDriverOption(options, "checks", "races");
  EXPECT_EQ(status.code(), StatusCode::InvalidArgument);
  EXPECT_NE(status.message().find("'races'"), std::string::npos);
  EXPECT_FALSE(setDriverOption(options, "seed", "12x").ok());
  EXPECT_FALSE(setDriverOption(options, "memory", "99999999999G").ok());
  EXPECT_FALSE(setDriverOption(options, "devices", "sm_12345").ok());
  EXPECT_NE(setDriverOption(options, "colour", "blue").message().find("checks"), std::string::npos);
}

TEST(DriverOptionsTest, ReadFromTheEnvironment) {
  ::setenv("VITRIFY_EMULATOR_SEED", "42", 1);
  ::setenv("VITRIFY_EMULATOR_ISA", "v3", 1); // the interpreter's, not the driver's
  auto options = driverOptionsFromEnvironment();
  ASSERT_TRUE(options.ok()) << options.status().message();
  EXPECT_EQ(options->launch.seed, 42u);
  ::setenv("VITRIFY_EMULATOR_SEED", "many", 1);
  EXPECT_EQ(driverOptionsFromEnvironment().status().code(), StatusCode::InvalidArgument);
  ::setenv("VITRIFY_EMULATOR_SEED", "42", 1);
  ::setenv("VITRIFY_EMULATOR_COLOUR", "blue", 1);
  EXPECT_NE(driverOptionsFromEnvironment().status().message().find("'colour'"), std::string::npos);
  for (const char *name : {"VITRIFY_EMULATOR_SEED", "VITRIFY_EMULATOR_ISA", "VITRIFY_EMULATOR_COLOUR"})
    ::unsetenv(name);
}

} // namespace
} // namespace vitrify::emulator
