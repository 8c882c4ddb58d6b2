//===- LaunchTest.cpp - grids, paths, calls, memory spaces ------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Whole kernels with known results: scheduling of divergent paths, barriers,
// calls and recursion, spaces, grids larger than what is resident.
//===----------------------------------------------------------------------===//
#include "Harness.h"

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;

namespace {

TEST(Launch, AddsVectors) {
  Emulated e;
  e.load(kernelText(".param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n", R"(
    ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; ld.param.u64 %rd3, [c]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.s32 %p1, %r5, %r1;
    @%p1 bra DONE;
    mul.wide.s32 %rd4, %r5, 4;
    add.s64 %rd5, %rd1, %rd4; add.s64 %rd6, %rd2, %rd4; add.s64 %rd7, %rd3, %rd4;
    ld.global.f32 %f1, [%rd5]; ld.global.f32 %f2, [%rd6];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%rd7], %f3;
  DONE:)"));
  const int n = 1000;
  std::vector<float> a(n), b(n);
  for (int i = 0; i < n; ++i)
    a[i] = float(i) * 0.5f, b[i] = float(3 * i);
  uint64_t pc = e.allocate(n * 4);
  e.runOk(blocks(8, 128), e.upload(a), e.upload(b), pc, n);
  auto c = e.download<float>(pc, n);
  for (int i = 0; i < n; ++i)
    ASSERT_EQ(c[i], a[i] + b[i]) << i;
}

TEST(Launch, LockHeldByOneLaneAndAwaitedByOthersFinishes) {
  Emulated e;
  e.load(kernelText(".param .u64 lock, .param .u64 count", R"(
    ld.param.u64 %rd1, [lock]; ld.param.u64 %rd2, [count];
  TRY:
    atom.global.acquire.gpu.cas.b32 %r1, [%rd1], 0, 1;
    setp.ne.s32 %p1, %r1, 0;
    @%p1 bra TRY;
    ld.relaxed.gpu.global.u32 %r2, [%rd2];
    add.s32 %r2, %r2, 1;
    st.relaxed.gpu.global.u32 [%rd2], %r2;
    atom.global.release.gpu.exch.b32 %r3, [%rd1], 0;)"));
  uint64_t lock = e.upload(std::vector<uint32_t>{0}), count = e.upload(std::vector<uint32_t>{0});
  e.runOk(blocks(3, 64), lock, count);
  EXPECT_EQ(e.download<uint32_t>(count, 1)[0], 192u);
}

TEST(Launch, BlocksThatWaitForLaterOnesMakeProgress) {
  // Block 0 waits until every other block has added to the counter: more blocks than host threads.
  Emulated e;
  e.load(kernelText(".param .u64 count, .param .u32 n", R"(
    ld.param.u64 %rd1, [count]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    setp.eq.s32 %p1, %r2, 0;
    @%p1 bra WAIT;
    atom.global.add.u32 %r3, [%rd1], 1;
    bra DONE;
  WAIT:
    ld.acquire.gpu.global.u32 %r4, [%rd1];
    setp.lt.u32 %p2, %r4, %r1;
    @%p2 bra WAIT;
  DONE:)"));
  uint64_t count = e.upload(std::vector<uint32_t>{0});
  e.runOk(blocks(40, 1), count, uint32_t(39));
  EXPECT_EQ(e.download<uint32_t>(count, 1)[0], 39u);
}

TEST(Launch, SharedMemoryReversesABlock) {
  Emulated e;
  e.load(kernelText(".param .u64 a", R"(
    .shared .align 4 .b8 buffer[1024];
    ld.param.u64 %rd1, [a];
    mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, buffer; add.s32 %r4, %r3, %r2;
    cvt.u64.u32 %rd2, %r2; add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r5, [%rd3];
    st.shared.u32 [%r4], %r5;
    bar.sync 0;
    mov.u32 %r6, 1020; sub.s32 %r6, %r6, %r2; add.s32 %r7, %r3, %r6;
    ld.shared.u32 %r8, [%r7];
    st.global.u32 [%rd3], %r8;)"));
  std::vector<uint32_t> a(256);
  for (uint32_t i = 0; i < 256; ++i)
    a[i] = i * 7;
  uint64_t p = e.upload(a);
  e.runOk(oneBlock(256), p);
  auto out = e.download<uint32_t>(p, 256);
  for (uint32_t i = 0; i < 256; ++i)
    ASSERT_EQ(out[i], (255 - i) * 7);
}

TEST(Launch, RecursionKeepsFrames) {
  Emulated e;
  e.load(kernelText(".param .u64 a", R"(
    ld.param.u64 %rd1, [a];
    mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    { .param .b32 p0; st.param.b32 [p0], %r1; .param .b32 r0; call.uni (r0), fib, (p0); ld.param.b32 %r2, [r0]; }
    st.global.u32 [%rd3], %r2;)", "sm_89", R"(
.func (.param .b32 ret) fib(.param .b32 n)
{
  .reg .pred %p<2>; .reg .b32 %r<8>;
  ld.param.b32 %r1, [n];
  setp.lt.s32 %p1, %r1, 2;
  @%p1 bra BASE;
  add.s32 %r2, %r1, -1;
  { .param .b32 p0; st.param.b32 [p0], %r2; .param .b32 r0; call.uni (r0), fib, (p0); ld.param.b32 %r3, [r0]; }
  add.s32 %r4, %r1, -2;
  { .param .b32 p0; st.param.b32 [p0], %r4; .param .b32 r0; call.uni (r0), fib, (p0); ld.param.b32 %r5, [r0]; }
  add.s32 %r6, %r3, %r5;
  st.param.b32 [ret], %r6;
  ret;
BASE:
  st.param.b32 [ret], %r1;
  ret;
}
)"));
  uint64_t p = e.allocate(32 * 4);
  e.runOk(oneBlock(16), p);
  auto out = e.download<uint32_t>(p, 16);
  uint32_t a = 0, b = 1;
  for (uint32_t i = 0; i < 16; ++i) {
    EXPECT_EQ(out[i], a) << i;
    std::swap(a, b);
    b += a;
  }
}

} // namespace
