//===- kernels.c - kernels of the hand-made bundles of these tests --------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Built three times: as kernels.so, into the tests (the recording driver runs it),
// and for GPUs as PTX. A unit is one row of the result.
//===----------------------------------------------------------------------===//
#include <stdint.h>

#ifdef __NVPTX__
// One block of one thread a row: parameters are scalars, then pointers.
#define KERNEL __attribute__((nvptx_kernel))
#endif

// y[m, n] = b[n] + scale * sum over k of x[m, k] w(n, k), in order of k.
static float widen8(uint8_t code) {
  uint32_t magnitude = code & 0x7f;
  float value = magnitude < 8 ? (float)magnitude * 0x1p-9f : 0;
  if (magnitude >= 8) {
    union {
      uint32_t bits;
      float value;
    } u = {(magnitude << 20) + (120u << 23)};
    value = u.value;
  }
  return code & 0x80 ? -value : value;
}

static float widen16(uint16_t bits) {
  union {
    uint32_t bits;
    float value;
  } u = {(uint32_t)bits << 16};
  return u.value;
}

static float f32_nk(const void *w, int64_t n, int64_t k, int64_t K) { return ((const float *)w)[n * K + k]; }
static float f8_nk(const void *w, int64_t n, int64_t k, int64_t K) { return widen8(((const uint8_t *)w)[n * K + k]); }
static float f32_panel(const void *w, int64_t n, int64_t k, int64_t K) {
  return ((const float *)w)[(n / 16 * K + k) * 16 + n % 16];
}
static float bf16_panel(const void *w, int64_t n, int64_t k, int64_t K) {
  return widen16(((const uint16_t *)w)[((n / 16 * ((K + 1) / 2) + k / 2) * 16 + n % 16) * 2 + k % 2]);
}

#define LINEAR_ROW(load)                                                                                               \
  for (int64_t n = 0; n < N; ++n) {                                                                                    \
    float sum = 0;                                                                                                     \
    for (int64_t k = 0; k < K; ++k)                                                                                    \
      sum += x[m * K + k] * load(w, n, k, K);                                                                          \
    y[m * N + n] = b[n] + scale[0] * sum;                                                                              \
  }

#ifdef __NVPTX__
#define ROW int64_t m = __nvvm_read_ptx_sreg_ctaid_x()
#define LINEAR(name, load)                                                                                             \
  KERNEL void name(int64_t N, int64_t K, const void *w, const float *b, const float *scale, const float *x, float *y) { \
    ROW;                                                                                                               \
    LINEAR_ROW(load)                                                                                                   \
  }
LINEAR(linear_f32_nk, f32_nk)
LINEAR(linear_f8_nk, f8_nk)
KERNEL void relu_small(int64_t N, const float *x, float *y) {
  ROW;
  for (int64_t n = 0; n < N; ++n)
    y[m * N + n] = x[m * N + n] > 0 ? x[m * N + n] : 0;
}
KERNEL void relu_large(int64_t N, const float *x, float *y) {
  ROW;
  for (int64_t n = 0; n < N; ++n)
    y[m * N + n] = x[m * N + n] > 0 ? x[m * N + n] : 0;
}
KERNEL void twice(int64_t N, const float *x, float *y) {
  ROW;
  for (int64_t n = 0; n < N; ++n)
    y[m * N + n] = 2 * x[m * N + n];
}
KERNEL void row_max(int64_t N, const float *x, float *y) {
  float max = x[0];
  for (int64_t i = 0; i < N; ++i)
    max = x[i] > max ? x[i] : max;
  y[0] = max;
}
KERNEL void slow(int64_t turns, const float *x, float *y) {
  ROW;
  y[m] = x[m];
}
#else
#define LINEAR(name, load)                                                                                             \
  void name(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {                               \
    int64_t N = scalars[0], K = scalars[1];                                                                            \
    const void *w = buffers[0];                                                                                        \
    const float *b = buffers[1], *scale = buffers[2], *x = buffers[3];                                                 \
    float *y = buffers[4];                                                                                             \
    for (int64_t m = begin; m < end; ++m)                                                                              \
      LINEAR_ROW(load)                                                                                                 \
  }
LINEAR(linear_f32_nk, f32_nk)
LINEAR(linear_f8_nk, f8_nk)
LINEAR(linear_f32_panel16, f32_panel)
LINEAR(linear_bf16_panel16, bf16_panel)

// Units are panels times rows, panel by panel, and a unit reads its own panel alone. scalars: N, K, rows.
#define LINEAR_BY_PANEL(name, load)                                                                                    \
  void name(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {                               \
    int64_t N = scalars[0], K = scalars[1], M = scalars[2];                                                            \
    const void *w = buffers[0];                                                                                        \
    const float *b = buffers[1], *scale = buffers[2], *x = buffers[3];                                                 \
    float *y = buffers[4];                                                                                             \
    for (int64_t u = begin; u < end; ++u)                                                                              \
      for (int64_t m = u % M, n = u / M * 16; n < N && n < (u / M + 1) * 16; ++n) {                                    \
        float sum = 0;                                                                                                 \
        for (int64_t k = 0; k < K; ++k)                                                                                \
          sum += x[m * K + k] * load(w, n, k, K);                                                                      \
        y[m * N + n] = b[n] + scale[0] * sum;                                                                          \
      }                                                                                                                \
  }
LINEAR_BY_PANEL(linear_f32_by_panel, f32_panel)
LINEAR_BY_PANEL(linear_bf16_by_panel, bf16_panel)

static void relu(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {
  const float *x = buffers[0];
  float *y = buffers[1];
  for (int64_t i = begin * scalars[0]; i < end * scalars[0]; ++i)
    y[i] = x[i] > 0 ? x[i] : 0;
}
void relu_small(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {
  relu(scalars, buffers, begin, end);
}
void relu_large(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {
  relu(scalars, buffers, begin, end);
}
void twice(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {
  const float *x = buffers[0];
  float *y = buffers[1];
  for (int64_t i = begin * scalars[0]; i < end * scalars[0]; ++i)
    y[i] = 2 * x[i];
}
// The largest of all scalars[0] values of x, by one unit.
void row_max(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {
  const float *x = buffers[0];
  float max = x[0];
  for (int64_t i = 0; i < scalars[0]; ++i)
    max = x[i] > max ? x[i] : max;
  *(float *)buffers[1] = max;
}
// Copies a number a unit, after a while.
void slow(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t m = begin; m < end; ++m) {
    for (volatile int64_t i = 0; i < scalars[0]; ++i)
      ;
    ((float *)buffers[1])[m] = ((const float *)buffers[0])[m];
  }
}
#endif
