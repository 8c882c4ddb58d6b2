//===- DriverFixture.h - what the driver tests share ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A context on an emulated sm_89, a module with a few small kernels, and a macro that
// names an unexpected CUresult.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Driver.h"

#include <gtest/gtest.h>

#include <string>

namespace vitrify::emulator {
using namespace vitrify::cuda;

/// add(float *x, float a, u32 n): x[i] += a. copy(u32 *dst, u32 *src, u32 n). poke(u64 address): stores 1 there.
/// spin(u32 *flag): waits until *flag is not 0. shared(u32 *out): out[tid] = dynamic shared memory round trip.
inline const char *const kTestPtx = R"(
.version 7.8
.target sm_89
.address_size 64
.visible .global .align 4 .u32 table[4] = {10, 20, 30, 40};
.extern .shared .align 16 .b8 pool[];
.visible .entry add(.param .u64 x, .param .f32 a, .param .u32 n)
{
  .reg .pred %p;
  .reg .b32 %r<6>;
  .reg .f32 %f<4>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [x];
  ld.param.f32 %f1, [a];
  ld.param.u32 %r1, [n];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.u32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p, %r5, %r1;
  @%p bra DONE;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.u32 %rd3, %r5, 4;
  add.u64 %rd4, %rd2, %rd3;
  ld.global.f32 %f2, [%rd4];
  add.rn.f32 %f3, %f2, %f1;
  st.global.f32 [%rd4], %f3;
DONE:
  ret;
}
.visible .entry poke(.param .u64 address)
{
  .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [address];
  st.global.u32 [%rd1], 1;
  ret;
}
.visible .entry spin(.param .u64 flag)
{
  .reg .pred %p;
  .reg .b32 %r<2>;
  .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [flag];
AGAIN:
  ld.volatile.global.u32 %r1, [%rd1];
  setp.eq.u32 %p, %r1, 0;
  @%p bra AGAIN;
  ret;
}
.visible .entry shared(.param .u64 out)
{
  .reg .b32 %r<4>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [out];
  mov.u32 %r1, %tid.x;
  shl.b32 %r2, %r1, 2;
  mov.u32 %r3, pool;
  add.u32 %r3, %r3, %r2;
  st.shared.u32 [%r3], %r1;
  ld.shared.u32 %r2, [%r3];
  mul.wide.u32 %rd2, %r1, 4;
  add.u64 %rd3, %rd1, %rd2;
  st.global.u32 [%rd3], %r2;
  ret;
}
.visible .entry limited(.param .u64 out)
.reqntid 64, 1, 1
{
  ret;
}
)";

inline std::string nameOf(CUresult result) {
  const char *name = nullptr;
  driverApi().cuGetErrorName(result, &name);
  return (name ? name : std::to_string(int(result))) + std::string(" (") + driverMessage() + ")";
}

#define EXPECT_CU(expected, call)                                                                                      \
  do {                                                                                                                 \
    ::vitrify::cuda::CUresult cuFound = (call);                                                                          \
    EXPECT_EQ(int(cuFound), int(expected)) << #call << " gave " << ::vitrify::emulator::nameOf(cuFound);                   \
  } while (false)
#define ASSERT_CU(call)                                                                                                \
  do {                                                                                                                 \
    ::vitrify::cuda::CUresult cuFound = (call);                                                                          \
    ASSERT_EQ(int(cuFound), 0) << #call << " gave " << ::vitrify::emulator::nameOf(cuFound);                               \
  } while (false)

class DriverTest : public ::testing::Test {
protected:
  const CudaApi &cu = driverApi();
  CUcontext context = nullptr;
  CUmodule module = nullptr;

  static void SetUpTestSuite() {
    DriverOptions options;
    options.devices = {"sm_89", "sm_90"};
    options.memoryBytes = uint64_t(64) << 20;
    options.printReports = false;
    options.keepRecords = true;
    setDriverOptions(options);
  }
  void SetUp() override {
    ASSERT_CU(cu.cuInit(0));
    ASSERT_CU(cu.cuCtxCreate(&context, 0, 0));
    ASSERT_CU(cu.cuModuleLoadData(&module, kTestPtx));
    takeLaunchRecords();
  }
  void TearDown() override {
    if (context)
      EXPECT_CU(CUDA_SUCCESS, cu.cuCtxDestroy(context));
  }

  CUfunction kernel(const char *name) {
    CUfunction function = nullptr;
    EXPECT_CU(CUDA_SUCCESS, cu.cuModuleGetFunction(&function, module, name));
    return function;
  }
  CUdeviceptr floats(std::vector<float> values) {
    CUdeviceptr address = 0;
    EXPECT_CU(CUDA_SUCCESS, cu.cuMemAlloc(&address, values.size() * 4));
    EXPECT_CU(CUDA_SUCCESS, cu.cuMemcpyHtoD(address, values.data(), values.size() * 4));
    return address;
  }
  std::vector<float> read(CUdeviceptr address, size_t count) {
    std::vector<float> values(count);
    EXPECT_CU(CUDA_SUCCESS, cu.cuMemcpyDtoH(values.data(), address, count * 4));
    return values;
  }
  CUresult add(CUdeviceptr x, float a, uint32_t n, CUstream stream = nullptr) {
    void *params[] = {&x, &a, &n};
    return cu.cuLaunchKernel(kernel("add"), (n + 31) / 32, 1, 1, 32, 1, 1, 0, stream, params, nullptr);
  }
  CUresult poke(CUdeviceptr address, CUstream stream = nullptr) {
    void *params[] = {&address};
    return cu.cuLaunchKernel(kernel("poke"), 1, 1, 1, 1, 1, 1, 0, stream, params, nullptr);
  }
};

} // namespace vitrify::emulator
