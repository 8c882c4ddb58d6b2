//===- driver_program.cpp - a program of the CUDA driver API -------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Compiled with NVIDIA's cuda.h and linked with -lcuda by
// test/Python/test_emulator_driver.py: scale(x, a, n) from a module file, in a
// stream, then from a graph. argv: module, n given to the kernel (too large: a
// fault).
//===----------------------------------------------------------------------===//
#include <cuda.h>

#include <cstdio>
#include <cstdlib>

static void check(CUresult result, const char *what) {
  if (result == CUDA_SUCCESS)
    return;
  const char *name = nullptr;
  cuGetErrorName(result, &name);
  std::printf("%s: %s\n", what, name);
  std::exit(3);
}
#define CHECK(call) check(call, #call)

int main(int argc, char **argv) {
  int n = std::atoi(argv[2]);
  CUdevice device;
  CUcontext context;
  CUmodule module;
  CUfunction scale;
  CUstream stream;
  CUdeviceptr x;
  CHECK(cuInit(0));
  CHECK(cuDeviceGet(&device, 0));
  char name[64];
  CHECK(cuDeviceGetName(name, sizeof name, device));
  CHECK(cuDevicePrimaryCtxRetain(&context, device));
  CHECK(cuCtxSetCurrent(context));
  CHECK(cuModuleLoad(&module, argv[1]));
  CHECK(cuModuleGetFunction(&scale, module, "scale"));
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CHECK(cuMemAlloc(&x, 100 * sizeof(float)));
  float host[100];
  for (int i = 0; i < 100; ++i)
    host[i] = float(i);
  CHECK(cuMemcpyHtoDAsync(x, host, sizeof host, stream));
  float a = 2;
  void *params[] = {&x, &a, &n};
  CHECK(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  CHECK(cuLaunchKernel(scale, 2, 1, 1, 64, 1, 1, 0, stream, params, nullptr));
  CUgraph graph;
  CUgraphExec exec;
  CHECK(cuStreamEndCapture(stream, &graph));
  CHECK(cuGraphInstantiate(&exec, graph, 0));
  CHECK(cuGraphLaunch(exec, stream));
  CHECK(cuGraphLaunch(exec, stream));
  CHECK(cuStreamSynchronize(stream));
  CHECK(cuMemcpyDtoH(host, x, sizeof host));
  void *found = nullptr;
  CUdriverProcAddressQueryResult status;
  CUresult missing = cuGetProcAddress("cuTexObjectCreate", &found, 13000, 0, &status);
  std::printf("%s: %g %g, missing %d\n", name, host[1], host[99], int(missing));
  return 0;
}
