//===- ChecksTest.cpp - faulty kernels and their mended twins ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Each check has a kernel with the fault, which must be reported as that fault,
// and the same kernel mended, which must pass without a word.
//===----------------------------------------------------------------------===//
#include "Harness.h"

#include <algorithm>

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;

namespace {

bool found(const LaunchResult &r, FaultKind kind) {
  return std::any_of(r.reports.begin(), r.reports.end(), [&](const Report &x) { return x.kind == kind; });
}
std::string all(const LaunchResult &r) {
  std::string out = r.message + "\n";
  for (const Report &x : r.reports)
    out += formatReport(x);
  return out;
}
/// Puts `with` in place of every "@@" of the text.
std::string fill(std::string text, const std::string &with) {
  for (size_t at; (at = text.find("@@")) != std::string::npos;)
    text.replace(at, 2, with);
  return text;
}

constexpr const char *kIndexed = R"(
  ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
)";

TEST(Checks, OutOfBoundsNamesDistanceAndThread) {
  for (uint32_t elements : {63u, 64u}) {
    Emulated e;
    e.load(kernelText(".param .u64 a", std::string(kIndexed) + "st.global.u32 [%rd3], %r1;"));
    LaunchResult r = e.run(oneBlock(64), e.allocate(elements * 4));
    EXPECT_EQ(r.reports.empty(), elements == 64) << all(r);
    if (elements == 63) {
      ASSERT_TRUE(found(r, FaultKind::OutOfBounds)) << all(r);
      EXPECT_EQ(r.error, LaunchError::IllegalAddress);
      EXPECT_EQ(r.reports[0].site.thread[0], 63u);
      EXPECT_NE(formatReport(r.reports[0]).find("1 bytes after the nearest allocation"), std::string::npos)
          << formatReport(r.reports[0]);
      EXPECT_NE(formatReport(r.reports[0]).find("Invalid __global__ write of size 4 bytes"), std::string::npos);
    }
  }
}

TEST(Checks, MisalignedAndUseAfterFree) {
  Emulated e;
  e.load(kernelText(".param .u64 a", "ld.param.u64 %rd1, [a]; ld.global.u32 %r1, [%rd1]; st.global.u32 [%rd1], %r1;"));
  uint64_t p = e.upload(std::vector<uint32_t>(4, 1));
  EXPECT_TRUE(e.run(oneBlock(1), p).reports.empty());
  LaunchResult r = e.run(oneBlock(1), p + 2);
  EXPECT_TRUE(found(r, FaultKind::Misaligned)) << all(r);
  EXPECT_EQ(r.error, LaunchError::MisalignedAddress);
  ASSERT_TRUE(e.device->memory().free(p).ok());
  r = e.run(oneBlock(1), p);
  EXPECT_TRUE(found(r, FaultKind::UseAfterFree)) << all(r);
  EXPECT_EQ(r.error, LaunchError::IllegalAddress);
}

TEST(Checks, UninitialisedGlobalMemory) {
  Emulated e;
  e.load(kernelText(".param .u64 a", std::string(kIndexed) + "ld.global.u32 %r2, [%rd3]; st.global.u32 [%rd3], %r2;"));
  uint64_t p = e.allocate(128);
  ASSERT_TRUE(e.device->memory().fill(p, 0, 4, 31).ok());
  LaunchResult r = e.run(oneBlock(32), p);
  ASSERT_TRUE(found(r, FaultKind::UninitialisedGlobal)) << all(r);
  EXPECT_EQ(r.reports[0].site.thread[0], 31u);
  EXPECT_EQ(r.error, LaunchError::Success);
  EXPECT_TRUE(e.run(oneBlock(32), p).reports.empty());
}

TEST(Checks, UninitialisedSharedAndRegister) {
  const char *text = R"(
    .shared .align 4 .b8 s[128];
    ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.s32 %r4, %r3, %r2;
    @@
    bar.sync 0;
    ld.shared.u32 %r5, [%r4];
    mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r5;)";
  Emulated e;
  uint64_t p = e.allocate(128);
  e.load(kernelText(".param .u64 a", fill(text, "setp.ne.s32 %p1, %r1, 5; @%p1 st.shared.u32 [%r4], %r1;")));
  LaunchResult r = e.run(oneBlock(32), p);
  ASSERT_TRUE(found(r, FaultKind::UninitialisedShared)) << all(r);
  EXPECT_EQ(r.reports[0].site.thread[0], 5u);
  e.load(kernelText(".param .u64 a", fill(text, "st.shared.u32 [%r4], %r1;")));
  EXPECT_TRUE(e.run(oneBlock(32), p).reports.empty());

  const char *reg = R"(
    ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, @@;
    @%p1 mov.u32 %r7, 3;
    mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r7;)";
  e.load(kernelText(".param .u64 a", fill(reg, "31")));
  r = e.run(oneBlock(32), p);
  ASSERT_TRUE(found(r, FaultKind::UninitialisedRegister)) << all(r);
  EXPECT_EQ(r.reports[0].site.thread[0], 31u);
  e.load(kernelText(".param .u64 a", fill(reg, "32")));
  r = e.run(oneBlock(32), p);
  EXPECT_TRUE(r.reports.empty()) << all(r);
}

TEST(Checks, SharedRaceBetweenWarpsAndWithinOne) {
  const char *text = R"(
    .shared .align 4 .b8 s[512];
    ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.s32 %r4, %r3, %r2;
    st.shared.u32 [%r4], %r1;
    @@
    mov.u32 %r5, %ntid.x; sub.s32 %r5, %r5, 1; sub.s32 %r5, %r5, %r1; shl.b32 %r5, %r5, 2; add.s32 %r6, %r3, %r5;
    ld.shared.u32 %r7, [%r6];
    mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r7;)";
  for (uint32_t threads : {32u, 128u})
    for (const char *sync : {"", "bar.warp.sync 0xffffffff;", "bar.sync 0;"}) {
      Emulated e;
      e.load(kernelText(".param .u64 a", fill(text, sync)));
      LaunchResult r = e.run(oneBlock(threads), e.allocate(threads * 4));
      bool enough = std::string(sync) == "bar.sync 0;" || (threads == 32 && *sync);
      bool faulty = found(r, FaultKind::RaceShared) || found(r, FaultKind::UninitialisedShared);
      EXPECT_EQ(faulty, !enough) << threads << sync << all(r);
      if (threads == 32 && !*sync)
        EXPECT_TRUE(found(r, FaultKind::RaceShared)) << all(r);
    }
}

TEST(Checks, GlobalMessageNeedsFenceAndScope) {
  // Block 0 writes data and raises a flag; block 1 waits for the flag and reads.
  const char *text = R"(
    ld.param.u64 %rd1, [a]; mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 0;
    @%p1 bra READER;
    st.global.u32 [%rd1], 42;
    @@
    atom.global.exch.b32 %r2, [%rd1+128], 1;
    bra DONE;
  READER:
    ld.acquire.gpu.global.u32 %r3, [%rd1+128];
    setp.eq.u32 %p2, %r3, 0;
    @%p2 bra READER;
    ld.global.u32 %r4, [%rd1];
    st.global.u32 [%rd1+64], %r4;
  DONE:)";
  for (const char *fence : {"", "membar.cta;", "membar.gl;", "fence.acq_rel.gpu;"}) {
    Emulated e;
    e.load(kernelText(".param .u64 a", fill(text, fence)));
    uint64_t p = e.upload(std::vector<uint32_t>(64, 0));
    LaunchResult r = e.run(blocks(2, 1), p);
    bool enough = std::string(fence) == "membar.gl;" || std::string(fence) == "fence.acq_rel.gpu;";
    EXPECT_EQ(found(r, FaultKind::RaceGlobal), !enough) << fence << all(r);
    EXPECT_EQ(e.download<uint32_t>(p, 17)[16], 42u);
  }
}

TEST(Checks, AsyncCopyMustBeWaitedFor) {
  const char *text = R"(
    .shared .align 16 .b8 s[512];
    ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.s32 %r4, %r3, %r2;
    mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    cp.async.ca.shared.global [%r4], [%rd3], 4;
    cp.async.commit_group;
    @@
    bar.sync 0;
    xor.b32 %r5, %r2, 4; add.s32 %r6, %r3, %r5;
    ld.shared.u32 %r7, [%r6];
    st.global.u32 [%rd3+512], %r7;)";
  for (const char *wait : {"", "cp.async.wait_group 1;", "cp.async.wait_group 0;", "cp.async.wait_all;"}) {
    Emulated e;
    e.load(kernelText(".param .u64 a", fill(text, wait)));
    std::vector<uint32_t> a(256);
    for (uint32_t i = 0; i < 256; ++i)
      a[i] = i;
    uint64_t p = e.upload(a);
    LaunchResult r = e.run(oneBlock(128), p);
    bool enough = std::string(wait) == "cp.async.wait_group 0;" || std::string(wait) == "cp.async.wait_all;";
    EXPECT_EQ(found(r, FaultKind::UnawaitedAsyncCopy), !enough) << wait << all(r);
    EXPECT_EQ(r.reports.empty(), enough) << all(r);
    EXPECT_EQ(e.download<uint32_t>(p, 256)[128 + 6], 7u);
  }
}

TEST(Checks, MbarrierOrdersProducerAndConsumer) {
  const char *text = R"(
    .shared .align 8 .b8 bar[8]; .shared .align 4 .b8 s[128];
    ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mov.u32 %r2, bar; mov.u32 %r3, s;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 mbarrier.init.shared.b64 [%r2], 32;
    bar.sync 0;
    setp.ge.u32 %p2, %r1, 32; and.b32 %r4, %r1, 31; shl.b32 %r5, %r4, 2; add.s32 %r6, %r3, %r5;
    @%p2 bra CONSUME;
    st.shared.u32 [%r6], %r4;
    mbarrier.arrive.shared.b64 %rd5, [%r2];
    bra DONE;
  CONSUME:
    @@
    ld.shared.u32 %r7, [%r6];
    mul.wide.u32 %rd2, %r4, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r7;
  DONE:)";
  Emulated e("sm_90");
  uint64_t p = e.allocate(128);
  e.load(kernelText(".param .u64 a", fill(text, "WAIT: mbarrier.try_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;"), "sm_90"));
  LaunchResult r = e.run(oneBlock(64), p);
  EXPECT_TRUE(r.reports.empty()) << all(r);
  EXPECT_EQ(e.download<uint32_t>(p, 32)[9], 9u);
  e.load(kernelText(".param .u64 a", fill(text, ""), "sm_90"));
  r = e.run(oneBlock(64), p);
  EXPECT_TRUE(found(r, FaultKind::RaceShared)) << all(r);
}

TEST(Checks, DivergentBarrierAndDeadlock) {
  Emulated e;
  const char *divergent = R"(
    mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, @@;
    @%p1 bra LOW;
    bar.sync 0;
    bra DONE;
  LOW:
    bar.sync 0;
  DONE:)";
  e.load(kernelText("", fill(divergent, "16")));
  LaunchResult r = e.run(oneBlock(64));
  EXPECT_TRUE(found(r, FaultKind::DivergentBarrier)) << all(r);
  e.load(kernelText("", fill(divergent, "32")));
  r = e.run(oneBlock(64));
  EXPECT_TRUE(r.reports.empty()) << all(r);

  const char *dead = R"(
    mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32;
    @%p1 bar.sync 1, @@;)";
  e.load(kernelText("", fill(dead, "64")));
  r = e.run(oneBlock(64));
  ASSERT_TRUE(found(r, FaultKind::Deadlock)) << all(r);
  EXPECT_NE(r.message.find("at barrier 1"), std::string::npos) << r.message;
  EXPECT_EQ(r.error, LaunchError::LaunchFailed);
  e.load(kernelText("", fill(dead, "32")));
  EXPECT_TRUE(e.run(oneBlock(64)).reports.empty());
}

TEST(Checks, ClassesCanBeTurnedOff) {
  Emulated e;
  e.load(kernelText(".param .u64 a", std::string(kIndexed) + "ld.global.u32 %r2, [%rd3]; st.global.u32 [%rd3], %r2;"));
  e.options.checks = CheckAll & ~CheckInit;
  EXPECT_TRUE(e.run(oneBlock(32), e.allocate(128)).reports.empty());
}

/// A kernel with "@@", what mends it and what breaks it, and the fault that it then has.
struct Twin {
  const char *name, *text, *good, *bad;
  FaultKind kind;
  uint32_t threads = 32;
};
const Twin kTwins[] = {
    {"local memory never written", R"(
      .local .align 4 .b8 s[16]; ld.param.u64 %rd1, [a]; @@ ld.local.u32 %r1, [s+4]; st.global.u32 [%rd1], %r1;)",
     "st.local.u32 [s+4], 7;", "st.local.u32 [s+8], 7;", FaultKind::UninitialisedLocal, 1},
    {"beyond local memory", ".local .align 4 .b8 s[16]; st.local.u32 [s+@@], 7;", "12", "0x100000", FaultKind::OutOfBounds, 1},
    {"beyond shared memory", ".shared .align 4 .b8 s[128]; mov.u32 %r1, %tid.x; mov.u32 %r2, s; mad.lo.u32 %r3, %r1, @@, %r2; st.shared.u32 [%r3], %r1;",
     "4", "8", FaultKind::OutOfBounds},
    {"misaligned in shared memory", ".shared .align 8 .b8 s[128]; mov.u32 %r1, s; st.shared.u64 [%r1+@@], 7;", "8", "4", FaultKind::Misaligned, 1},
    {"misaligned vector", "ld.param.u64 %rd1, [a]; st.global.v2.u32 [%rd1+@@], {1, 2};", "8", "4", FaultKind::Misaligned, 1},
    {"a store to constants", "ld.param.u64 %rd1, [a]; mov.u64 %rd2, fixed; @@ st.u32 [%rd2], 7;", "mov.u64 %rd2, %rd1;", "", FaultKind::ReadOnlyStore, 1},
    {"an atomic on constants", "ld.param.u64 %rd1, [a]; mov.u64 %rd2, fixed; @@ atom.add.u32 %r1, [%rd2], 7;", "mov.u64 %rd2, %rd1; st.u32 [%rd2], 1;", "",
     FaultKind::ReadOnlyStore, 1},
    {"a generic address of nothing", "ld.param.u64 %rd1, [a]; mov.u64 %rd2, @@; add.u64 %rd2, %rd2, %rd1; st.u32 [%rd2], 7;", "0", "-1000000000",
     FaultKind::OutOfBounds, 1},
    {"a barrier's odd count", "mov.u32 %r1, @@; bar.sync 1, %r1;", "64", "40", FaultKind::InvalidBarrier, 64},
    {"a barrier that there is not", "mov.u32 %r1, @@; bar.sync %r1;", "15", "16", FaultKind::InvalidBarrier, 64},
    {"arriving twice at the cluster barrier", "barrier.cluster.arrive; @@ barrier.cluster.arrive; barrier.cluster.wait;", "barrier.cluster.wait;", "",
     FaultKind::InvalidBarrier, 64},
    {"a mask without the caller", "mov.u32 %r1, @@; bar.warp.sync %r1;", "0xffffffff", "0xfffffffe", FaultKind::InvalidMask},
    {"racing atomics and stores", R"(
      ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32; @%p1 red.global.add.u32 [%rd1], 1; @@ @!%p1 st.global.u32 [%rd1], 5;)",
     "bar.sync 0;", "", FaultKind::RaceGlobal, 64},
    {"a copy that nobody waits for", R"(
      .shared .align 16 .b8 s[16]; ld.param.u64 %rd1, [a]; mov.u32 %r1, s; cp.async.cg.shared.global [%r1], [%rd1], 16; cp.async.commit_group;
      @@ ld.shared.u32 %r2, [%r1]; st.global.u32 [%rd1], %r2;)",
     "cp.async.wait_group 0;", "cp.async.wait_group 1;", FaultKind::UnawaitedAsyncCopy, 1},
    {"a wait that nobody ends", R"(
      .shared .align 8 .b8 s[8]; mov.u32 %r1, s; mov.u32 %r2, %tid.x; setp.eq.u32 %p1, %r2, 0; @%p1 mbarrier.init.shared.b64 [%r1], @@; bar.sync 0;
      mbarrier.arrive.shared.b64 %rd2, [%r1]; again: mbarrier.try_wait.shared.b64 %p2, [%r1], %rd2; @!%p2 bra again;)",
     "64", "65", FaultKind::Deadlock, 64},
    {"lanes that wait for each other", R"(
      mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16; @%p1 bra low; bar.warp.sync @@; bra done;
      low: bar.sync 0; bra end; done: bar.sync 0; end:)",
     "0xffff0000", "0xffffffff", FaultKind::Deadlock},
};

TEST(Checks, FaultsAndTheirMendedTwins) {
  for (const Twin &t : kTwins) {
    for (bool good : {true, false}) {
      Emulated e("sm_90");
      e.load(kernelText(".param .u64 a", fill(t.text, good ? t.good : t.bad), "sm_90", ".const .u32 fixed = 3;\n"));
      LaunchResult r = e.run(oneBlock(t.threads), e.upload(std::vector<uint32_t>(64, 1)));
      if (good && t.kind != FaultKind::Deadlock)
        EXPECT_TRUE(r.reports.empty() && r.error == LaunchError::Success) << t.name << " mended: " << all(r);
      else
        EXPECT_EQ(found(r, t.kind), !good) << t.name << (good ? " mended: " : ": ") << all(r);
    }
  }
}

TEST(Checks, DeadlockOfSomeThreadsNamesEachWait) {
  // Of four warps one has ended, one waits for a barrier that needs three, one for an mbarrier, one for its own lanes.
  const char *text = R"(
    .shared .align 8 .b8 s[8]; mov.u32 %r1, s; mov.u32 %r2, %tid.x; shr.u32 %r3, %r2, 5; setp.eq.u32 %p1, %r2, 0;
    @%p1 mbarrier.init.shared.b64 [%r1], @@; bar.sync 0;
    setp.eq.u32 %p2, %r3, 1; @%p2 bra one; setp.eq.u32 %p2, %r3, 2; @%p2 bra two; setp.eq.u32 %p2, %r3, 3; @%p2 bra three;
    mbarrier.arrive.shared.b64 %rd2, [%r1]; ret;
  one: bar.sync 1, 64; ret;
  two: mbarrier.try_wait.parity.shared.b64 %p3, [%r1], 0; @!%p3 bra two; bar.sync 1, 64; ret;
  three: ret;)";
  Emulated e("sm_90");
  e.load(kernelText("", fill(text, "32"), "sm_90"));
  EXPECT_TRUE(e.run(oneBlock(128)).reports.empty());
  e.load(kernelText("", fill(text, "33"), "sm_90"));
  LaunchResult r = e.run(oneBlock(128));
  ASSERT_TRUE(found(r, FaultKind::Deadlock)) << all(r);
  EXPECT_EQ(r.error, LaunchError::LaunchFailed);
  for (const char *part : {"warp 1 lanes 0xffffffff at barrier 1", "warp 2 lanes 0xffffffff at the mbarrier at shared address 0x0",
                           "64 of 128 threads have exited", "(line "})
    EXPECT_NE(r.message.find(part), std::string::npos) << part << ": " << r.message;
}

TEST(Checks, ReportsStopAtTheLimitAndAreCounted) {
  Emulated e;
  std::string body = "ld.param.u64 %rd1, [a];\n";
  for (int i = 0; i < 10; ++i)
    body += "ld.global.u32 %r" + std::to_string(i) + ", [%rd1+" + std::to_string(4 * i) + "];\n";
  e.load(kernelText(".param .u64 a", body));
  LaunchResult r = e.run(oneBlock(1), e.allocate(64));
  EXPECT_EQ(r.reports.size(), 10u) << all(r);
  e.options.reportLimit = 3;
  r = e.run(oneBlock(1), e.allocate(64));
  EXPECT_EQ(r.reports.size(), 3u) << all(r);
  EXPECT_EQ(r.faults, 10u);
  // As JSON each has its line, thread and kind.
  std::string json = reportsToJson(r.reports);
  for (const char *part : {"\"uninitialised-global\"", "\"ptx_line\"", "\"thread\"", "\"kernel\": \"k\""})
    EXPECT_NE(json.find(part), std::string::npos) << json;
}

} // namespace
