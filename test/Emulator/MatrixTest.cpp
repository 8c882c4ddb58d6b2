//===- MatrixTest.cpp - mma.sync and wmma -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// FP8 sums bit for bit against PyPI mmaemu's model of Ada (MmaVectors.inc, made
// by make_mma_vectors.py), all e4m3 x e4m3 products, and exact small integers
// through every other type and shape.
//===----------------------------------------------------------------------===//
#include "Harness.h"

#include <cmath>
#include <random>

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;

namespace {

struct Vector {
  const char *a, *b;
  std::vector<uint8_t> aCodes, bCodes;
  std::vector<uint32_t> c, d;
};
const Vector kVectors[] = {
#include "MmaVectors.inc"
};

/// m16n8k32 on 8-bit operands: a [16][32], b transposed [8][32], c and d [16][8] f32; one block a problem.
std::string mmaKernel(const std::string &types, const std::string &target = "sm_89") {
  return kernelText(".param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d", R"(
    ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; ld.param.u64 %rd4, [d];
    mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x;
    mul.wide.u32 %rd5, %r2, 512; add.s64 %rd1, %rd1, %rd5; add.s64 %rd3, %rd3, %rd5; add.s64 %rd4, %rd4, %rd5;
    mul.wide.u32 %rd5, %r2, 256; add.s64 %rd2, %rd2, %rd5;
    shr.u32 %r3, %r1, 2; and.b32 %r4, %r1, 3;
    shl.b32 %r5, %r3, 5; shl.b32 %r6, %r4, 2; add.s32 %r7, %r5, %r6; cvt.u64.u32 %rd6, %r7;
    add.s64 %rd7, %rd1, %rd6;
    ld.global.b32 %r10, [%rd7]; ld.global.b32 %r11, [%rd7+256]; ld.global.b32 %r12, [%rd7+16]; ld.global.b32 %r13, [%rd7+272];
    add.s64 %rd8, %rd2, %rd6;
    ld.global.b32 %r14, [%rd8]; ld.global.b32 %r15, [%rd8+16];
    shl.b32 %r8, %r4, 3; add.s32 %r9, %r5, %r8; cvt.u64.u32 %rd9, %r9;
    add.s64 %rd10, %rd3, %rd9;
    ld.global.v2.f32 {%f1, %f2}, [%rd10]; ld.global.v2.f32 {%f3, %f4}, [%rd10+256];
    mma.sync.aligned.m16n8k32.row.col.f32.)" + types + R"(.f32 {%f5,%f6,%f7,%f8}, {%r10,%r11,%r12,%r13}, {%r14,%r15}, {%f1,%f2,%f3,%f4};
    add.s64 %rd11, %rd4, %rd9;
    st.global.v2.f32 [%rd11], {%f5, %f6}; st.global.v2.f32 [%rd11+256], {%f7, %f8};)", target);
}

std::vector<uint8_t> transposed(const std::vector<uint8_t> &b) {
  std::vector<uint8_t> out(256);
  for (int k = 0; k < 32; ++k)
    for (int n = 0; n < 8; ++n)
      out[n * 32 + k] = b[k * 8 + n];
  return out;
}

TEST(Matrix, Fp8SumsAreThoseOfMmaemuAda) {
  ASSERT_EQ(std::size(kVectors), 12u);
  for (const Vector &v : kVectors) {
    Emulated e;
    e.load(mmaKernel(std::string(v.a) + "." + v.b));
    uint64_t d = e.allocate(512);
    e.runOk(oneBlock(32), e.upload(v.aCodes), e.upload(transposed(v.bCodes)), e.upload(v.c), d);
    auto out = e.download<uint32_t>(d, 128);
    for (int i = 0; i < 128; ++i)
      ASSERT_EQ(out[i], v.d[i]) << v.a << " x " << v.b << " output " << i;
  }
}

double e4m3(int code) {
  int e = code >> 3 & 15, m = code & 7;
  double v = e ? std::ldexp(8 + m, e - 10) : std::ldexp(m, -9);
  return code & 0x80 ? -v : v;
}

TEST(Matrix, AllE4M3Products) {
  // Products alone are exact in every rule: 256 x 256 codes, 128 in one instruction.
  for (const char *chip : {"sm_89", "sm_90a", "sm_120a"}) {
    Emulated e(chip);
    e.load(mmaKernel("e4m3.e4m3"));
    std::vector<uint8_t> a(512 * 512), b(512 * 256);
    for (int p = 0; p < 512; ++p) {
      for (int m = 0; m < 16; ++m)
        a[p * 512 + m * 32] = uint8_t(p / 32 * 16 + m);
      for (int n = 0; n < 8; ++n)
        b[p * 256 + n * 32] = uint8_t(p % 32 * 8 + n);
    }
    uint64_t d = e.allocate(512 * 512);
    e.runOk(blocks(512, 32), e.upload(a), e.upload(b), e.upload(std::vector<float>(512 * 128)), d);
    auto out = e.download<float>(d, 512 * 128);
    for (int p = 0; p < 512; ++p)
      for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 8; ++n) {
          int x = p / 32 * 16 + m, y = p % 32 * 8 + n;
          float got = out[p * 128 + m * 8 + n];
          if ((x & 0x7f) == 0x7f || (y & 0x7f) == 0x7f)
            ASSERT_TRUE(std::isnan(got)) << x << " " << y;
          else
            ASSERT_EQ(got, float(e4m3(x) * e4m3(y))) << chip << " " << x << " x " << y;
        }
  }
}

TEST(Matrix, AdaTruncatesWhatBlackwellKeeps) {
  // 1 * 1 + 2^-9 * 2^-9 (a subnormal squared): 18 binary places apart, beyond 13 bits and within 25.
  std::vector<uint8_t> a(512), b(256);
  a[0] = 0x38, b[0] = 0x38;
  a[1] = 0x01, b[1] = 0x01;
  for (auto [chip, expected] : {std::pair{"sm_89", 1.0f}, std::pair{"sm_120a", 1.0f + std::ldexp(1.0f, -18)}}) {
    Emulated e(chip);
    e.load(mmaKernel("e4m3.e4m3"));
    uint64_t d = e.allocate(512);
    e.runOk(oneBlock(32), e.upload(a), e.upload(b), e.upload(std::vector<float>(128)), d);
    EXPECT_EQ(e.download<float>(d, 1)[0], expected) << chip;
    e.options.sums = TensorSums::Plain;
    e.runOk(oneBlock(32), e.upload(a), e.upload(b), e.upload(std::vector<float>(128)), d);
    EXPECT_EQ(e.download<float>(d, 1)[0], 1.0f + std::ldexp(1.0f, -18)) << chip;
  }
}

TEST(Matrix, WmmaAndLdmatrixMultiplyHalves) {
  // wmma 16x16x16 from global memory, small integers: exact.
  Emulated e;
  e.load(kernelText(".param .u64 a, .param .u64 b, .param .u64 c", R"(
    ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; mov.u32 %r1, 16; mov.f32 %f0, 0f00000000;
    wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r10,%r11,%r12,%r13,%r14,%r15,%r16,%r17}, [%rd1], %r1;
    wmma.load.b.sync.aligned.col.m16n16k16.global.f16 {%r20,%r21,%r22,%r23,%r24,%r25,%r26,%r27}, [%rd2], %r1;
    wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8},
      {%r10,%r11,%r12,%r13,%r14,%r15,%r16,%r17}, {%r20,%r21,%r22,%r23,%r24,%r25,%r26,%r27}, {%f0,%f0,%f0,%f0,%f0,%f0,%f0,%f0};
    wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%rd3], {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, %r1;)"));
  std::mt19937 rng(7);
  auto half = [](int v) { // small integers
    if (!v)
      return uint16_t(0);
    int m = std::abs(v), e = 31 - __builtin_clz(m);
    return uint16_t((v < 0 ? 0x8000 : 0) | (e + 15) << 10 | ((m << (10 - e)) & 0x3ff));
  };
  std::vector<int> a(256), b(256);
  std::vector<uint16_t> ha(256), hb(256);
  for (int i = 0; i < 256; ++i) {
    ha[i] = half(a[i] = int(rng() % 31) - 15);
    hb[i] = half(b[i] = int(rng() % 31) - 15);
  }
  uint64_t c = e.allocate(1024);
  e.runOk(oneBlock(32), e.upload(ha), e.upload(hb), c);
  auto out = e.download<float>(c, 256);
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 16; ++n) {
      int sum = 0;
      for (int k = 0; k < 16; ++k)
        sum += a[m * 16 + k] * b[n * 16 + k];
      ASSERT_EQ(out[m * 16 + n], float(sum)) << m << " " << n;
    }

  // The same product of the first 8 columns through shared memory, ldmatrix and mma.
  e.load(kernelText(".param .u64 a, .param .u64 b, .param .u64 c", R"(
    .shared .align 16 .b8 sa[512]; .shared .align 16 .b8 sb[512];
    ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; mov.u32 %r1, %tid.x;
    shl.b32 %r2, %r1, 4; cvt.u64.u32 %rd4, %r2; add.s64 %rd5, %rd1, %rd4; add.s64 %rd6, %rd2, %rd4;
    ld.global.v4.b32 {%r10,%r11,%r12,%r13}, [%rd5]; ld.global.v4.b32 {%r14,%r15,%r16,%r17}, [%rd6];
    mov.u32 %r3, sa; add.s32 %r4, %r3, %r2; st.shared.v4.b32 [%r4], {%r10,%r11,%r12,%r13};
    mov.u32 %r5, sb; add.s32 %r6, %r5, %r2; st.shared.v4.b32 [%r6], {%r14,%r15,%r16,%r17};
    bar.warp.sync 0xffffffff;
    and.b32 %r7, %r1, 15; shr.u32 %r8, %r1, 4; shl.b32 %r7, %r7, 5; shl.b32 %r8, %r8, 4; add.s32 %r9, %r7, %r8;
    add.s32 %r9, %r9, %r3;
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20,%r21,%r22,%r23}, [%r9];
    and.b32 %r30, %r1, 7; shl.b32 %r30, %r30, 5; and.b32 %r31, %r1, 8; shl.b32 %r31, %r31, 1;
    add.s32 %r32, %r30, %r31; add.s32 %r32, %r32, %r5;
    ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r24,%r25}, [%r32];
    mov.f32 %f0, 0f00000000;
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r20,%r21,%r22,%r23}, {%r24,%r25}, {%f0,%f0,%f0,%f0};
    shr.u32 %r40, %r1, 2; and.b32 %r41, %r1, 3; shl.b32 %r40, %r40, 5; shl.b32 %r41, %r41, 3; add.s32 %r42, %r40, %r41;
    cvt.u64.u32 %rd7, %r42; add.s64 %rd8, %rd3, %rd7;
    st.global.v2.f32 [%rd8], {%f1,%f2}; st.global.v2.f32 [%rd8+256], {%f3,%f4};)"));
  uint64_t d = e.allocate(512);
  e.runOk(oneBlock(32), e.upload(ha), e.upload(hb), d);
  auto part = e.download<float>(d, 128);
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 8; ++n)
      ASSERT_EQ(part[m * 8 + n], out[m * 16 + n]) << m << " " << n;
}

} // namespace
