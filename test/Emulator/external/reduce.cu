//===- reduce.cu - sums and searches -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels for test/Python/test_emulator_cuda.py, which compiles this with nvcc and
// compares with numpy.
//===----------------------------------------------------------------------===//
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
namespace cg = cooperative_groups;

extern "C" {

// A tree in shared memory, one partial sum a block.
__global__ void reduce_shared(const float *x, float *partial, int n) {
  __shared__ float tree[256];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tree[threadIdx.x] = i < n ? x[i] : 0.0f;
  __syncthreads();
  for (int step = blockDim.x / 2; step > 0; step /= 2) {
    if (threadIdx.x < step)
      tree[threadIdx.x] += tree[threadIdx.x + step];
    __syncthreads();
  }
  if (threadIdx.x == 0)
    partial[blockIdx.x] = tree[0];
}

// Shuffles inside warps, then one warp over the warps' sums, then an atomic.
__global__ void reduce_shuffle(const int *x, int *sum, int n) {
  __shared__ int warps[32];
  int value = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    value += x[i];
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_down_sync(0xffffffffu, value, offset);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (lane == 0)
    warps[warp] = value;
  __syncthreads();
  if (warp == 0) {
    value = lane < blockDim.x / 32 ? warps[lane] : 0;
    for (int offset = 16; offset > 0; offset /= 2)
      value += __shfl_xor_sync(0xffffffffu, value, offset);
    if (lane == 0)
      atomicAdd(sum, value);
  }
}

// The block that finishes last sums the partial sums of all.
__global__ void reduce_last_block(const double *x, volatile double *partial, unsigned *done, double *sum, int n) {
  __shared__ double tree[128];
  __shared__ bool last;
  double value = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    value += x[i];
  tree[threadIdx.x] = value;
  __syncthreads();
  for (int step = 64; step > 0; step /= 2) {
    if (threadIdx.x < step)
      tree[threadIdx.x] += tree[threadIdx.x + step];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = tree[0];
    __threadfence();
    last = atomicAdd(done, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    __threadfence();
    double total = 0;
    for (int block = 0; block < gridDim.x; ++block)
      total += partial[block];
    *sum = total;
  }
}

// Position of the largest value of each row; the first of equals.
__global__ void argmax_rows(const float *x, int *where, int columns) {
  const float *row = x + blockIdx.x * columns;
  float best = -INFINITY;
  int at = columns;
  for (int i = threadIdx.x; i < columns; i += 32)
    if (row[i] > best) {
      best = row[i];
      at = i;
    }
  for (int offset = 16; offset > 0; offset /= 2) {
    float other = __shfl_down_sync(0xffffffffu, best, offset);
    int otherAt = __shfl_down_sync(0xffffffffu, at, offset);
    if (other > best || (other == best && otherAt < at)) {
      best = other;
      at = otherAt;
    }
  }
  if (threadIdx.x == 0)
    where[blockIdx.x] = at;
}

// One instruction sums a warp.
__global__ void reduce_redux(const unsigned *x, unsigned *out) {
  unsigned value = x[blockIdx.x * 32 + threadIdx.x];
  unsigned sum = __reduce_add_sync(0xffffffffu, value), most = __reduce_max_sync(0xffffffffu, value),
           bits = __reduce_xor_sync(0xffffffffu, value);
  if (threadIdx.x == 0) {
    out[blockIdx.x * 3] = sum;
    out[blockIdx.x * 3 + 1] = most;
    out[blockIdx.x * 3 + 2] = bits;
  }
}

// Cooperative groups: tiles of eight threads.
__global__ void reduce_tiles(const int *x, int *out) {
  auto tile = cg::tiled_partition<8>(cg::this_thread_block());
  int sum = cg::reduce(tile, x[blockIdx.x * blockDim.x + threadIdx.x], cg::plus<int>());
  if (tile.thread_rank() == 0)
    out[(blockIdx.x * blockDim.x + threadIdx.x) / 8] = sum;
}

// A grid-wide barrier: needs a cooperative launch.
__global__ void reduce_grid(const float *x, float *partial, float *sum, int n) {
  cg::grid_group grid = cg::this_grid();
  float value = 0;
  for (int i = grid.thread_rank(); i < n; i += grid.size())
    value += x[i];
  auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  value = cg::reduce(warp, value, cg::plus<float>());
  if (warp.thread_rank() == 0)
    partial[grid.thread_rank() / 32] = value;
  grid.sync();
  if (grid.thread_rank() == 0) {
    float total = 0;
    for (int i = 0; i < grid.size() / 32; ++i)
      total += partial[i];
    *sum = total;
  }
}

// Threads that take a branch count together.
__global__ void count_coalesced(const int *x, int *even, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n && x[i] % 2 == 0) {
    cg::coalesced_group active = cg::coalesced_threads();
    if (active.thread_rank() == 0)
      atomicAdd(even, int(active.size()));
  }
}
}
