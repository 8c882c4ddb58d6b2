//===- scan.cu - prefix sums and sorting -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels for test/Python/test_emulator_cuda.py, which compiles this with nvcc and
// compares with numpy.
//===----------------------------------------------------------------------===//
extern "C" {

// Hillis and Steele: two buffers in shared memory.
__global__ void scan_steps(const int *x, int *out) {
  __shared__ int buffer[2][256];
  int t = threadIdx.x, from = 0;
  buffer[0][t] = x[blockIdx.x * 256 + t];
  __syncthreads();
  for (int offset = 1; offset < 256; offset *= 2) {
    int to = 1 - from;
    buffer[to][t] = buffer[from][t] + (t >= offset ? buffer[from][t - offset] : 0);
    from = to;
    __syncthreads();
  }
  out[blockIdx.x * 256 + t] = buffer[from][t];
}

// Blelloch: up and down a tree, exclusive.
__global__ void scan_tree(const int *x, int *out) {
  extern __shared__ int tree[];
  int t = threadIdx.x, n = 2 * blockDim.x, offset = 1;
  tree[2 * t] = x[2 * t];
  tree[2 * t + 1] = x[2 * t + 1];
  for (int d = n / 2; d > 0; d /= 2) {
    __syncthreads();
    if (t < d)
      tree[offset * (2 * t + 2) - 1] += tree[offset * (2 * t + 1) - 1];
    offset *= 2;
  }
  if (t == 0)
    tree[n - 1] = 0;
  for (int d = 1; d < n; d *= 2) {
    offset /= 2;
    __syncthreads();
    if (t < d) {
      int left = offset * (2 * t + 1) - 1, right = offset * (2 * t + 2) - 1, kept = tree[left];
      tree[left] = tree[right];
      tree[right] += kept;
    }
  }
  __syncthreads();
  out[2 * t] = tree[2 * t];
  out[2 * t + 1] = tree[2 * t + 1];
}

__device__ int scanWarp(int value) {
  int lane = threadIdx.x % 32;
  for (int offset = 1; offset < 32; offset *= 2) {
    int other = __shfl_up_sync(0xffffffffu, value, offset);
    if (lane >= offset)
      value += other;
  }
  return value;
}

// Decoupled look-back: blocks take tickets, publish their sums and add up those before them while all run.
// state: 0 nothing, 1 a block's own sum, 2 the sum to its end; in the high half of a word whose low half is the sum.
__global__ void scan_lookback(const int *x, int *out, unsigned long long *state, unsigned *tickets, int n) {
  __shared__ int warps[8];
  __shared__ int before;
  __shared__ unsigned ticket;
  if (threadIdx.x == 0)
    ticket = atomicAdd(tickets, 1u);
  __syncthreads();
  int i = ticket * 256 + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int value = i < n ? x[i] : 0, inclusive = scanWarp(value);
  if (lane == 31)
    warps[warp] = inclusive;
  __syncthreads();
  int base = 0, total = 0;
  for (int w = 0; w < 8; ++w) {
    base += w < warp ? warps[w] : 0;
    total += warps[w];
  }
  if (threadIdx.x == 0) {
    unsigned long long own = (unsigned long long)(ticket == 0 ? 2 : 1) << 32 | unsigned(total);
    atomicExch(&state[ticket], own);
    int sum = 0;
    for (int b = int(ticket) - 1; b >= 0;) {
      unsigned long long seen = atomicAdd(&state[b], 0ull);
      unsigned kind = unsigned(seen >> 32);
      if (kind == 0)
        continue; // not there yet
      sum += int(unsigned(seen));
      if (kind == 2)
        break;
      --b;
    }
    if (ticket > 0)
      atomicExch(&state[ticket], 2ull << 32 | unsigned(sum + total));
    before = sum;
  }
  __syncthreads();
  if (i < n)
    out[i] = before + base + inclusive;
}

// Keeps the positive values in order, a warp at a time.
__global__ void compact_warp(const int *x, int *out, int *count) {
  int value = x[threadIdx.x], lane = threadIdx.x;
  unsigned keep = __ballot_sync(0xffffffffu, value > 0);
  if (value > 0)
    out[__popc(keep & ((1u << lane) - 1))] = value;
  if (lane == 0)
    *count = __popc(keep);
}

__global__ void sort_bitonic(int *x) {
  extern __shared__ int data[];
  int t = threadIdx.x, n = blockDim.x;
  int *mine = x + blockIdx.x * n;
  data[t] = mine[t];
  __syncthreads();
  for (int size = 2; size <= n; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      int other = t ^ stride;
      if (other > t) {
        bool up = (t & size) == 0;
        int a = data[t], b = data[other];
        if ((a > b) == up) {
          data[t] = b;
          data[other] = a;
        }
      }
      __syncthreads();
    }
  mine[t] = data[t];
}

// Least significant digit first, two bits a pass, 128 keys in one block.
__global__ void sort_radix(unsigned *keys) {
  __shared__ unsigned data[128];
  __shared__ int counts[4][128];
  int t = threadIdx.x;
  data[t] = keys[t];
  for (int shift = 0; shift < 32; shift += 2) {
    unsigned key = data[t];
    int digit = (key >> shift) & 3;
    for (int d = 0; d < 4; ++d)
      counts[d][t] = d == digit;
    __syncthreads();
    for (int offset = 1; offset < 128; offset *= 2) {
      int add[4];
      for (int d = 0; d < 4; ++d)
        add[d] = t >= offset ? counts[d][t - offset] : 0;
      __syncthreads();
      for (int d = 0; d < 4; ++d)
        counts[d][t] += add[d];
      __syncthreads();
    }
    int place = counts[digit][t] - 1;
    for (int d = 0; d < digit; ++d)
      place += counts[d][127];
    __syncthreads();
    data[place] = key;
    __syncthreads();
  }
  keys[t] = data[t];
}

// Rank of each key by counting the smaller ones; equal keys keep their order.
__global__ void sort_rank(const float *x, float *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  float mine = x[i];
  int rank = 0;
  for (int j = 0; j < n; ++j)
    rank += x[j] < mine || (x[j] == mine && j < i);
  out[rank] = mine;
}

__global__ void histogram_shared(const unsigned char *x, unsigned *bins, int n) {
  __shared__ unsigned local[256];
  local[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&local[x[i]], 1u);
  __syncthreads();
  atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}
}
