//===- matmul.cu - matrix products -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels for test/Python/test_emulator_cuda.py, which compiles this with nvcc and
// compares with numpy.
//===----------------------------------------------------------------------===//
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;

// a is M x K and row major everywhere; b is K x N row major, or N x K ("transposed") where said.
extern "C" {

__global__ void matmul_tiled(const float *a, const float *b, float *c, int m, int n, int k) {
  __shared__ float as[16][16], bs[16][16];
  int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
  float sum = 0;
  for (int base = 0; base < k; base += 16) {
    as[threadIdx.y][threadIdx.x] = row < m && base + threadIdx.x < k ? a[row * k + base + threadIdx.x] : 0.0f;
    bs[threadIdx.y][threadIdx.x] = column < n && base + threadIdx.y < k ? b[(base + threadIdx.y) * n + column] : 0.0f;
    __syncthreads();
    for (int i = 0; i < 16; ++i)
      sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
    __syncthreads();
  }
  if (row < m && column < n)
    c[row * n + column] = sum;
}

__global__ void matmul_wmma_f16(const half *a, const half *b, float *c, int n, int k) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
  wmma::fill_fragment(fc, 0.0f);
  for (int i = 0; i < k; i += 16) {
    wmma::load_matrix_sync(fa, a + blockIdx.y * 16 * k + i, k);
    wmma::load_matrix_sync(fb, b + i * n + blockIdx.x * 16, n);
    wmma::mma_sync(fc, fa, fb, fc);
  }
  wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, fc, n, wmma::mem_row_major);
}

__global__ void matmul_wmma_bf16(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int n, int k) {
  __shared__ __nv_bfloat16 tile[16 * 16];
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> fb; // b is N x K
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
  wmma::fill_fragment(fc, 0.0f);
  for (int i = 0; i < k; i += 16) {
    for (int j = threadIdx.x; j < 256; j += 32)
      tile[j] = a[(blockIdx.y * 16 + j / 16) * k + i + j % 16];
    __syncwarp();
    wmma::load_matrix_sync(fa, tile, 16);
    wmma::load_matrix_sync(fb, b + blockIdx.x * 16 * k + i, k);
    wmma::mma_sync(fc, fa, fb, fc);
    __syncwarp();
  }
  wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, fc, n, wmma::mem_row_major);
}

__global__ void matmul_wmma_s8(const signed char *a, const signed char *b, int *c, int n, int k) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, signed char, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, signed char, wmma::col_major> fb; // b is N x K
  wmma::fragment<wmma::accumulator, 16, 16, 16, int> fc;
  wmma::fill_fragment(fc, 0);
  for (int i = 0; i < k; i += 16) {
    wmma::load_matrix_sync(fa, a + blockIdx.y * 16 * k + i, k);
    wmma::load_matrix_sync(fb, b + blockIdx.x * 16 * k + i, k);
    wmma::mma_sync(fc, fa, fb, fc);
  }
  wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, fc, n, wmma::mem_row_major);
}

__device__ unsigned sharedAddress(const void *p) { return unsigned(__cvta_generic_to_shared(p)); }

// ldmatrix from shared memory and mma.sync; b is N x K. One warp makes a 16 x 8 tile.
__global__ void matmul_ldmatrix(const half *a, const half *b, float *c, int n, int k) {
  __shared__ __align__(16) half as[16 * 16], bs[8 * 16];
  int lane = threadIdx.x;
  float d[4] = {};
  for (int i = 0; i < k; i += 16) {
    for (int j = lane; j < 256; j += 32)
      as[j] = a[(blockIdx.y * 16 + j / 16) * k + i + j % 16];
    for (int j = lane; j < 128; j += 32)
      bs[j] = b[(blockIdx.x * 8 + j / 16) * k + i + j % 16];
    __syncwarp();
    unsigned fa[4], fb[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
                 : "r"(sharedAddress(&as[(lane % 16) * 16 + lane / 16 * 8])) : "memory");
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(fb[0]), "=r"(fb[1]) : "r"(sharedAddress(&bs[(lane % 8) * 16 + (lane / 8 % 2) * 8])) : "memory");
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    __syncwarp();
  }
  float *out = c + blockIdx.y * 16 * n + blockIdx.x * 8 + lane % 4 * 2;
  out[lane / 4 * n] = d[0];
  out[lane / 4 * n + 1] = d[1];
  out[(lane / 4 + 8) * n] = d[2];
  out[(lane / 4 + 8) * n + 1] = d[3];
}

// FP8: operands straight from global memory; b is N x K.
__global__ void matmul_e4m3(const unsigned *a, const unsigned *b, float *c, int n, int k) {
  int lane = threadIdx.x, words = k / 4, row = blockIdx.y * 16 + lane / 4, column = blockIdx.x * 8 + lane / 4;
  float d[4] = {};
  for (int i = 0; i < words; i += 8) {
    unsigned a0 = a[row * words + i + lane % 4], a1 = a[(row + 8) * words + i + lane % 4],
             a2 = a[row * words + i + lane % 4 + 4], a3 = a[(row + 8) * words + i + lane % 4 + 4],
             b0 = b[column * words + i + lane % 4], b1 = b[column * words + i + lane % 4 + 4];
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
  float *out = c + blockIdx.x * 8 + lane % 4 * 2;
  out[row * n] = d[0];
  out[row * n + 1] = d[1];
  out[(row + 8) * n] = d[2];
  out[(row + 8) * n + 1] = d[3];
}

// TF32 and FP64 tensor cores.
__global__ void matmul_tf32(const float *a, const float *b, float *c, int n, int k) {
  wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> fc;
  wmma::fill_fragment(fc, 0.0f);
  for (int i = 0; i < k; i += 8) {
    wmma::load_matrix_sync(fa, a + blockIdx.y * 16 * k + i, k);
    wmma::load_matrix_sync(fb, b + i * n + blockIdx.x * 16, n);
    for (int j = 0; j < fa.num_elements; ++j)
      fa.x[j] = wmma::__float_to_tf32(fa.x[j]);
    for (int j = 0; j < fb.num_elements; ++j)
      fb.x[j] = wmma::__float_to_tf32(fb.x[j]);
    wmma::mma_sync(fc, fa, fb, fc);
  }
  wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, fc, n, wmma::mem_row_major);
}

// One warp makes an 8 x 8 tile.
__global__ void matmul_f64(const double *a, const double *b, double *c, int n, int k) {
  int lane = threadIdx.x, row = blockIdx.y * 8 + lane / 4, column = blockIdx.x * 8 + lane / 4;
  double d[2] = {};
  for (int i = 0; i < k; i += 4)
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+d"(d[0]), "+d"(d[1]) : "d"(a[row * k + i + lane % 4]), "d"(b[(i + lane % 4) * n + column]));
  c[row * n + blockIdx.x * 8 + lane % 4 * 2] = d[0];
  c[row * n + blockIdx.x * 8 + lane % 4 * 2 + 1] = d[1];
}

__global__ void dot_dp4a(const int *a, const int *b, int *c, int n, int words) {
  int row = blockIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
  int sum = 0;
  for (int i = 0; i < words; ++i)
    sum = __dp4a(a[row * words + i], b[column * words + i], sum);
  c[row * n + column] = sum;
}

// Three stages of cp.async in flight, groups waited for one behind the other. 64 x 64 tile, f32, k a multiple of 8.
__global__ void matmul_pipelined(const float *a, const float *b, float *c, int n, int k) {
  __shared__ __align__(16) float as[3][64 * 8], bs[3][8 * 64];
  int t = threadIdx.x, tx = t % 16, ty = t / 16;
  auto fetch = [&](int stage, int base) {
    if (base < k) {
      if (t < 128) // 64 rows of 8 values
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(&as[stage][t * 4])),
                     "l"(a + (blockIdx.y * 64 + t / 2) * k + base + t % 2 * 4) : "memory");
      else
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(&bs[stage][(t - 128) * 4])),
                     "l"(b + (base + (t - 128) / 16) * n + blockIdx.x * 64 + (t - 128) % 16 * 4) : "memory");
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  float sum[4][4] = {};
  fetch(0, 0);
  fetch(1, 8);
  for (int base = 0, stage = 0; base < k; base += 8, stage = (stage + 1) % 3) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    fetch((stage + 2) % 3, base + 16);
    for (int i = 0; i < 8; ++i)
      for (int r = 0; r < 4; ++r)
        for (int q = 0; q < 4; ++q)
          sum[r][q] += as[stage][(ty * 4 + r) * 8 + i] * bs[stage][i * 64 + tx * 4 + q];
  }
  for (int r = 0; r < 4; ++r)
    for (int q = 0; q < 4; ++q)
      c[(blockIdx.y * 64 + ty * 4 + r) * n + blockIdx.x * 64 + tx * 4 + q] = sum[r][q];
}

// Work is cut evenly over the blocks, tiles that two blocks share are summed by the first (stream-K). 16 x 16 tiles.
__global__ void matmul_stream_k(const float *a, const float *b, float *c, float *parts, unsigned *ready, int n, int k,
                                int tiles, int steps) {
  __shared__ float as[16][16], bs[16][16];
  int total = tiles * steps, first = total * blockIdx.x / gridDim.x, end = total * (blockIdx.x + 1) / gridDim.x;
  int across = n / 16;
  for (int at = first; at < end;) {
    int tile = at / steps, from = at % steps, to = min(steps, from + end - at);
    int row = tile / across * 16 + threadIdx.y, column = tile % across * 16 + threadIdx.x;
    float sum = 0;
    for (int s = from; s < to; ++s) {
      as[threadIdx.y][threadIdx.x] = a[row * k + s * 16 + threadIdx.x];
      bs[threadIdx.y][threadIdx.x] = b[(s * 16 + threadIdx.y) * n + column];
      __syncthreads();
      for (int i = 0; i < 16; ++i)
        sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
      __syncthreads();
    }
    if (from > 0) { // somebody else's tile: hand the sum over
      parts[blockIdx.x * 256 + threadIdx.y * 16 + threadIdx.x] = sum;
      __threadfence();
      __syncthreads();
      if (threadIdx.x + threadIdx.y == 0)
        atomicExch(&ready[blockIdx.x], 1u);
    } else {
      for (int other = blockIdx.x + 1, done = to; done < steps; ++other) {
        if (threadIdx.x + threadIdx.y == 0)
          while (atomicAdd(&ready[other], 0u) == 0)
            ;
        __syncthreads();
        __threadfence();
        sum += *(volatile float *)&parts[other * 256 + threadIdx.y * 16 + threadIdx.x];
        int otherEnd = total * (other + 1) / gridDim.x;
        done = min(steps, otherEnd - tile * steps);
      }
      c[row * n + column] = sum;
    }
    at += to - from;
  }
}
}
