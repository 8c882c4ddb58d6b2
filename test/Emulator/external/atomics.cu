//===- atomics.cu - locks, queues and control flow -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels for test/Python/test_emulator_cuda.py, which compiles this with nvcc and
// compares with numpy.
//===----------------------------------------------------------------------===//
#include <cstdio>
#include <cuda/barrier>
#include <cuda/atomic>

extern "C" {

// Every thread takes the same lock: needs lanes of a warp to progress apart from each other.
__global__ void spin_lock(int *lock, int *counter) {
  while (atomicCAS(lock, 0, 1) != 0)
    ;
  __threadfence();
  *(volatile int *)counter += 1;
  __threadfence();
  atomicExch(lock, 0);
}

__global__ void atomic_max_float(const float *x, float *most, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  int *bits = (int *)most, seen = *(volatile int *)bits;
  while (__int_as_float(seen) < x[i]) {
    int before = atomicCAS(bits, seen, __float_as_int(x[i]));
    if (before == seen)
      break;
    seen = before;
  }
}

// Blocks take items from a queue until it is empty.
__global__ void work_queue(unsigned *next, const unsigned *cost, unsigned *result, int n) {
  __shared__ unsigned item;
  for (;;) {
    if (threadIdx.x == 0)
      item = atomicAdd(next, 1u);
    __syncthreads();
    unsigned mine = item;
    __syncthreads();
    if (mine >= n)
      return;
    unsigned value = threadIdx.x;
    for (unsigned i = 0; i < cost[mine]; ++i)
      value = value * 1664525u + 1013904223u;
    atomicXor(&result[mine], value);
  }
}

// Block 0 produces, block 1 consumes, through release and acquire.
__global__ void producer_consumer(int *data, int *flag, int *out) {
  cuda::atomic_ref<int, cuda::thread_scope_device> signal(*flag);
  if (blockIdx.x == 0) {
    data[threadIdx.x] = threadIdx.x * 3 + 1;
    __syncthreads();
    if (threadIdx.x == 0)
      signal.store(1, cuda::memory_order_release);
  } else {
    if (threadIdx.x == 0)
      while (signal.load(cuda::memory_order_acquire) == 0)
        ;
    __syncthreads();
    out[threadIdx.x] = data[threadIdx.x] * 2;
  }
}

// cuda::barrier: arrive, do something else, wait.
__global__ void split_barrier(const int *x, int *out) {
  __shared__ cuda::barrier<cuda::thread_scope_block> barrier;
  __shared__ int data[128];
  if (threadIdx.x == 0)
    init(&barrier, blockDim.x);
  __syncthreads();
  for (int round = 0; round < 3; ++round) {
    data[threadIdx.x] = x[threadIdx.x] + round;
    auto token = barrier.arrive();
    int other = (threadIdx.x + 37 + round) % 128;
    barrier.wait(std::move(token));
    out[round * 128 + threadIdx.x] = data[other];
    barrier.arrive_and_wait();
  }
}

__global__ void votes(const int *x, unsigned *out) {
  int v = x[threadIdx.x];
  unsigned any = __any_sync(0xffffffffu, v > 90), all = __all_sync(0xffffffffu, v >= 0),
           same = __match_any_sync(0xffffffffu, v % 4), odd = __ballot_sync(0xffffffffu, v % 2);
  out[threadIdx.x] = same;
  if (threadIdx.x == 0) {
    out[32] = any;
    out[33] = all;
    out[34] = odd;
  }
}

__device__ __noinline__ unsigned fibonacci(unsigned n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

__global__ void recursion(unsigned *out) { out[threadIdx.x] = fibonacci(threadIdx.x % 12); }

__global__ void mandelbrot(int *out, int width, int limit) {
  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
  double cr = x * 3.0 / width - 2, ci = y * 2.0 / gridDim.y - 1, zr = 0, zi = 0;
  int steps = 0;
  while (steps < limit && zr * zr + zi * zi <= 4) {
    double next = __dadd_rn(__dsub_rn(__dmul_rn(zr, zr), __dmul_rn(zi, zi)), cr);
    zi = __dadd_rn(__dmul_rn(__dmul_rn(2.0, zr), zi), ci);
    zr = next;
    ++steps;
  }
  if (x < width)
    out[y * width + x] = steps;
}

__global__ void long_division(const unsigned long long *a, const unsigned long long *b, unsigned long long *out) {
  int i = threadIdx.x;
  out[4 * i] = a[i] / b[i];
  out[4 * i + 1] = a[i] % b[i];
  out[4 * i + 2] = __umul64hi(a[i], b[i]);
  out[4 * i + 3] = (unsigned long long)((long long)a[i] / ((long long)b[i] | 1));
}

__global__ void switch_case(const int *x, int *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  int v = x[i];
  switch (v % 11) {
  case 0: v = v * 3; break;
  case 1: v = v + 17; break;
  case 2: v = v ^ 0x55; break;
  case 3: v = v / 7; break;
  case 4: v = -v; break;
  case 5: v = v << 3; break;
  case 6: v = v | 0x100; break;
  case 7: v = v - 1000; break;
  case 8: v = ~v; break;
  case 9: v = v % 5; break;
  default: v = 42; break;
  }
  out[i] = v;
}

__global__ void crc32(const unsigned char *data, unsigned *out, int length) {
  unsigned crc = ~0u;
  for (int i = 0; i < length; ++i) {
    crc ^= data[threadIdx.x * length + i];
    for (int bit = 0; bit < 8; ++bit)
      crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
  }
  out[threadIdx.x] = ~crc;
}

__constant__ float weights[4] = {0.5f, -1.5f, 2.0f, 0.25f};
__device__ int launches = 0;

struct Params {
  int scale;
  short offset[3];
  double factor;
};

// A struct by value, constant memory, a global variable and an array in local memory.
__global__ void spaces(Params p, const int *x, double *out) {
  int local[8];
  for (int i = 0; i < 8; ++i)
    local[(i * 3 + p.scale) % 8] = x[(threadIdx.x + i) % 32];
  int sum = 0;
  for (int i = 0; i < 8; ++i)
    sum += local[(x[threadIdx.x] + i) & 7] * (i + 1);
  out[threadIdx.x] = sum * p.factor + p.offset[threadIdx.x % 3] + weights[threadIdx.x % 4];
  if (threadIdx.x == 0)
    atomicAdd(&launches, 1);
}

__global__ void say(int n) {
  if (threadIdx.x == 0)
    printf("block %d of %d says %.2f %s\n", int(blockIdx.x), n, 1.5 * blockIdx.x, "so");
}
}
