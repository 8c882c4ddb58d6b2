//===- rows.cu - rows, transposes and formats -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels for test/Python/test_emulator_cuda.py, which compiles this with nvcc and
// compares with numpy.
//===----------------------------------------------------------------------===//
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

extern "C" {

__device__ float sumBlock(float value) {
  __shared__ float parts[32];
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0)
    parts[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < blockDim.x / 32; ++w)
    total += parts[w];
  return total;
}

// One pass: the largest value so far and the sum scaled to it.
__global__ void softmax_online(const float *x, float *y, int columns) {
  const float *row = x + blockIdx.x * columns;
  float most = -INFINITY, sum = 0;
  for (int i = threadIdx.x; i < columns; i += 32) {
    float next = fmaxf(most, row[i]);
    sum = sum * expf(most - next) + expf(row[i] - next);
    most = next;
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    float otherMost = __shfl_xor_sync(0xffffffffu, most, offset);
    float otherSum = __shfl_xor_sync(0xffffffffu, sum, offset);
    float next = fmaxf(most, otherMost);
    sum = sum * expf(most - next) + otherSum * expf(otherMost - next);
    most = next;
  }
  for (int i = threadIdx.x; i < columns; i += 32)
    y[blockIdx.x * columns + i] = expf(row[i] - most) / sum;
}

__global__ void layer_norm(const float *x, const float *gain, const float *shift, float *y, int columns, float epsilon) {
  const float *row = x + blockIdx.x * columns;
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    sum += row[i];
  float mean = sumBlock(sum) / columns, squares = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    squares += (row[i] - mean) * (row[i] - mean);
  float scale = rsqrtf(sumBlock(squares) / columns + epsilon);
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    y[blockIdx.x * columns + i] = (row[i] - mean) * scale * gain[i] + shift[i];
}

__global__ void rms_norm_half2(const __half2 *x, __half2 *y, int pairs) {
  const __half2 *row = x + blockIdx.x * pairs;
  float sum = 0;
  for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
    float2 v = __half22float2(row[i]);
    sum += v.x * v.x + v.y * v.y;
  }
  __half2 scale = __float2half2_rn(rsqrtf(sumBlock(sum) / (2 * pairs) + 1e-5f));
  for (int i = threadIdx.x; i < pairs; i += blockDim.x)
    y[blockIdx.x * pairs + i] = __hmul2(row[i], scale);
}

__global__ void gelu_bf16(const __nv_bfloat16 *x, __nv_bfloat16 *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    float v = __bfloat162float(x[i]);
    y[i] = __float2bfloat16_rn(0.5f * v * (1 + erff(v * 0.70710678f)));
  }
}

__global__ void quantise_e4m3(const float *x, __nv_fp8_storage_t *y, float scale, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    y[i] = __nv_cvt_float_to_fp8(x[i] * scale, __NV_SATFINITE, __NV_E4M3);
}

__global__ void dequantise_e5m2(const __nv_fp8_storage_t *x, __half *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    y[i] = __half(__nv_cvt_fp8_to_halfraw(x[i], __NV_E5M2));
}

__global__ void transpose_tile(const float *x, float *y, int rows, int columns) {
  __shared__ float tile[32][33];
  int column = blockIdx.x * 32 + threadIdx.x;
  for (int i = threadIdx.y; i < 32; i += blockDim.y)
    if (blockIdx.y * 32 + i < rows && column < columns)
      tile[i][threadIdx.x] = x[(blockIdx.y * 32 + i) * columns + column];
  __syncthreads();
  int row = blockIdx.y * 32 + threadIdx.x;
  for (int i = threadIdx.y; i < 32; i += blockDim.y)
    if (blockIdx.x * 32 + i < columns && row < rows)
      y[(blockIdx.x * 32 + i) * rows + row] = tile[threadIdx.x][i];
}

// Four values a thread, the swizzle instead of padding.
__global__ void transpose_swizzled(const float4 *x, float *y, int n) {
  __shared__ float tile[32 * 32];
  int r = threadIdx.x / 8, c = threadIdx.x % 8;
  float4 v = x[((blockIdx.y * 32 + r) * n + blockIdx.x * 32) / 4 + c];
  tile[r * 32 + ((4 * c + 0) ^ r)] = v.x;
  tile[r * 32 + ((4 * c + 1) ^ r)] = v.y;
  tile[r * 32 + ((4 * c + 2) ^ r)] = v.z;
  tile[r * 32 + ((4 * c + 3) ^ r)] = v.w;
  __syncthreads();
  for (int i = 0; i < 4; ++i) {
    int row = threadIdx.x / 32 + 8 * i, column = threadIdx.x % 32;
    y[(blockIdx.x * 32 + row) * n + blockIdx.y * 32 + column] = tile[column * 32 + (row ^ column)];
  }
}

__global__ void permute_bytes(const unsigned *x, unsigned *y) {
  unsigned v = x[threadIdx.x];
  y[threadIdx.x * 3] = __byte_perm(v, 0x11223344u, 0x0527);
  y[threadIdx.x * 3 + 1] = __brev(v) + __clz(v) + __ffs(v);
  y[threadIdx.x * 3 + 2] = __funnelshift_l(v, ~v, threadIdx.x) ^ __vadd4(v, 0x01010101u);
}

// Window sums with a halo in shared memory.
__global__ void stencil_3x3(const float *x, float *y, int n) {
  __shared__ float tile[18][18];
  int bx = blockIdx.x * 16, by = blockIdx.y * 16;
  for (int i = threadIdx.y * 16 + threadIdx.x; i < 18 * 18; i += 256) {
    int r = by + i / 18 - 1, c = bx + i % 18 - 1;
    tile[i / 18][i % 18] = r >= 0 && r < n && c >= 0 && c < n ? x[r * n + c] : 0.0f;
  }
  __syncthreads();
  float sum = 0;
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c)
      sum += tile[threadIdx.y + r][threadIdx.x + c] * float(r * 3 + c + 1);
  y[(by + threadIdx.y) * n + bx + threadIdx.x] = sum;
}
}
