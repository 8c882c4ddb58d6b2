//===- scale.cu - a kernel for programs and containers -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels for test/Python/test_emulator_driver.py.
//===----------------------------------------------------------------------===//
extern "C" __global__ void scale(float *x, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    x[i] *= a;
}

// Wrong on purpose: neighbours are read without waiting for them.
extern "C" __global__ void neighbours(const int *x, int *out) {
  __shared__ int tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  out[threadIdx.x] = tile[(threadIdx.x + 33) % 64];
}
