//===- PollingTest.cpp - waits that nobody ends -----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels that poll for ever are reported, with who polls which address; their
// mended twins, timeouts, long work elsewhere and flags that the host writes are
// not.
//===----------------------------------------------------------------------===//
#include "Harness.h"

#include <chrono>
#include <thread>

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;

namespace {

/// %rd1: memory of zeros, %r1: thread, %r2: block, %r3: the block's first thread is 0 ... as %p1; s: shared, zeroed.
const char *const kHead = R"(
  .shared .align 8 .b32 s[4];
  ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; setp.ne.u32 %p1, %r1, 0; setp.ne.u32 %p2, %r2, 0;
  mov.u32 %r3, s; @!%p1 st.shared.v4.b32 [%r3], {0,0,0,0}; bar.sync 0;
)";
std::string poll(const std::string &load, const std::string &label = "P") {
  return label + ": " + load + " setp.eq.u32 %p3, %r10, 0;\n@%p3 bra " + label + ";\n";
}

LaunchResult runText(Emulated &e, const std::string &body, const LaunchConfig &config, uint64_t memory) {
  e.load(kernelText(".param .u64 p", kHead + body));
  return e.run(config, memory);
}


TEST(Polling, WaitsThatNobodyEndsAreReported) {
  const std::string global = poll("ld.volatile.global.u32 %r10, [%rd1+8];");
  const std::string acquire = poll("nanosleep.u32 64; ld.acquire.gpu.global.u32 %r10, [%rd1+8];");
  const std::string shared = poll("ld.volatile.shared.u32 %r10, [s+8];");
  const std::string generic = poll("ld.relaxed.gpu.u32 %r10, [%rd1+8];");
  const std::string lock = "L: atom.global.acquire.gpu.cas.b32 %r10, [%rd1], 0, 1; setp.ne.u32 %p3, %r10, 0;\n@%p3 bra L;\n";
  const std::string set = "st.release.gpu.global.u32 [%rd1+8], 1;\n";
  // The flag by one thread, waited for by the others: of the warp, of the block, of the grid.
  const std::string first = "@%p1 bra W;\nadd.u32 %r5, %r1, 1;\n", other = "bra E;\nW: ";
  struct Case {
    std::string name, bad, good;
    LaunchConfig config;
    std::string says;
  };
  const Case cases[] = {
      {"a lane of its warp", first + other + global + "E:\n", first + set + other + global + "E:\n", oneBlock(32),
       "warp 0 lanes 0xfffffffe repeat ld.volatile.global.u32 of address 0x"},
      {"shared memory", first + other + shared + "E:\n", first + "st.volatile.shared.u32 [s+8], 1;\n" + other + shared + "E:\n",
       oneBlock(96), "repeat ld.volatile.shared.u32 of address 0x8"},
      {"sleeping", first + other + acquire + "E:\n", first + set + other + acquire + "E:\n", oneBlock(64),
       "block (0,0,0) warp 1 lanes 0xffffffff repeat ld.acquire.gpu.global.u32"},
      {"another block", "@!%p2 bra E;\n" + generic + "E:\n", "@%p2 bra W;\n" + set + "bra E;\nW: " + generic + "E:\n",
       blocks(3, 32), "block (2,0,0) warp 0 lanes 0xffffffff repeat ld.relaxed.gpu.u32"},
      {"a lock that is kept", "setp.ne.u32 %p4, %r1, 0;\n" + lock + "ld.global.u32 %r11, [%rd1+4]; add.u32 %r11, %r11, 1; st.global.u32 [%rd1+4], %r11;\n",
       "setp.ne.u32 %p4, %r1, 0;\n" + lock + "ld.global.u32 %r11, [%rd1+4]; add.u32 %r11, %r11, 1; st.global.u32 [%rd1+4], %r11;\n"
       "st.release.gpu.global.u32 [%rd1], 0;\n", blocks(2, 32), "atom.global.acquire.gpu.cas.b32 of address 0x"},
      {"some wait at a barrier for those that poll", first + other + global + "E: bar.sync 0;\n",
       first + set + other + global + "E: bar.sync 0;\n", oneBlock(64), "repeat ld.volatile.global.u32"},
      {"each waits for the other",
       "@%p2 bra W;\nA: ld.volatile.global.u32 %r10, [%rd1]; setp.eq.u32 %p3, %r10, 0;\n@%p3 bra A;\nst.volatile.global.u32 [%rd1+4], 1;\nbra E;\n"
       "W: ld.volatile.global.u32 %r10, [%rd1+4]; setp.eq.u32 %p3, %r10, 0;\n@%p3 bra W;\nst.volatile.global.u32 [%rd1], 1;\nE:\n",
       "@%p2 bra W;\nst.volatile.global.u32 [%rd1+4], 1;\nA: ld.volatile.global.u32 %r10, [%rd1]; setp.eq.u32 %p3, %r10, 0;\n@%p3 bra A;\nbra E;\n"
       "W: ld.volatile.global.u32 %r10, [%rd1+4]; setp.eq.u32 %p3, %r10, 0;\n@%p3 bra W;\nst.volatile.global.u32 [%rd1], 1;\nE:\n",
       blocks(2, 1), "block (0,0,0) warp 0 lanes 0x1 repeat ld.volatile.global.u32"},
      {"a loop without end", "B: bra B;\n", "bra B;\nB:\n", oneBlock(32), "nothing is read either"},
  };
  for (const Case &c : cases)
    for (auto [seed, threads, checks] : {std::tuple(0, 1u, CheckAll), std::tuple(0, 2u, CheckAll), std::tuple(1, 2u, CheckAll),
                                         std::tuple(0, 2u, CheckNone)}) {
          Emulated e;
          e.options.seed = uint64_t(seed);
          e.options.hostThreads = threads;
          e.options.checks = checks;
          uint64_t memory = e.upload(std::vector<uint32_t>(64, 0));
          LaunchResult r = runText(e, c.bad, c.config, memory);
          EXPECT_EQ(r.error, LaunchError::LaunchFailed) << c.name;
          EXPECT_NE(r.message.find(c.says), std::string::npos) << c.name << ": " << r.message;
          bool reported = false;
          for (const Report &report : r.reports)
            reported |= report.kind == FaultKind::Deadlock;
          EXPECT_EQ(reported, checks == CheckAll) << c.name;
          memory = e.upload(std::vector<uint32_t>(64, 0));
          r = runText(e, c.good, c.config, memory);
          EXPECT_EQ(r.error, LaunchError::Success) << c.name << ": " << r.message;
          for (const Report &report : r.reports)
            EXPECT_NE(report.kind, FaultKind::Deadlock) << c.name << formatReport(report);
        }
}

TEST(Polling, BlocksThatCannotStartAreNamed) {
  // One block an SM, and one block more than SMs: all wait for all.
  for (uint32_t extra : {0u, 1u}) {
    Emulated e("L4");
    uint32_t sms = uint32_t((*vitrify::findChip("L4"))->smCount);
    uint64_t memory = e.upload(std::vector<uint32_t>(64, 0));
    LaunchResult r = runText(e, "red.relaxed.gpu.global.add.u32 [%rd1], 1;\nP: ld.relaxed.gpu.global.u32 %r10, [%rd1]; mov.u32 %r11, %nctaid.x;\n"
                                "setp.lt.u32 %p3, %r10, %r11;\n@%p3 bra P;\n",
                             blocks(sms + extra, 1, 90000), memory);
    EXPECT_EQ(r.error, extra ? LaunchError::LaunchFailed : LaunchError::Success) << r.message;
    EXPECT_EQ(r.message.find("1 blocks have not started") != std::string::npos, extra != 0) << r.message;
  }
}

TEST(Polling, WhatEndsByItselfIsLeftAlone) {
  const std::string cases[] = {
      // A timeout by each clock, with a flag that stays 0.
      "mov.u64 %rd5, %clock64; P: ld.volatile.global.u32 %r10, [%rd1]; mov.u64 %rd6, %clock64; sub.u64 %rd6, %rd6, %rd5;\n"
      "setp.lt.u64 %p3, %rd6, 2000000; mov.u64 %rd6, 0;\n@%p3 bra P;\n",
      "mov.u64 %rd5, %globaltimer; P: ld.volatile.global.u32 %r10, [%rd1]; mov.u64 %rd6, %globaltimer; sub.u64 %rd6, %rd6, %rd5;\n"
      "setp.lt.u64 %p3, %rd6, 2000000; mov.u64 %rd6, 0;\n@%p3 bra P;\n",
      // Tries are counted.
      "mov.u32 %r11, 0; P: ld.volatile.global.u32 %r10, [%rd1]; add.u32 %r11, %r11, 1; setp.lt.u32 %p3, %r11, 500000;\n@%p3 bra P;\n",
      // The others poll while one works for long without a store.
      "@%p1 bra W;\nmov.u32 %r11, 0; Q: add.u32 %r11, %r11, 1; setp.lt.u32 %p3, %r11, 700000;\n@%p3 bra Q;\n"
      "st.volatile.global.u32 [%rd1], 1;\nbra E;\nW: ld.volatile.global.u32 %r10, [%rd1]; setp.eq.u32 %p3, %r10, 0;\n@%p3 bra W;\nE:\n",
      // A loop whose registers come back to what they were, but which writes what another block looks at.
      "@%p2 bra W;\nT: red.global.add.u32 [%rd1+4], 1; ld.volatile.global.u32 %r12, [%rd1]; setp.eq.u32 %p3, %r12, 0;\n@%p3 bra T;\nbra E;\n"
      "W: mov.u32 %r11, 0; mov.u32 %r14, 0; C: ld.volatile.global.u32 %r12, [%rd1+4]; setp.ne.u32 %p4, %r12, %r14; mov.u32 %r14, %r12;\n"
      "@%p4 add.u32 %r11, %r11, 1; setp.lt.u32 %p3, %r11, 3;\n@%p3 bra C;\nst.volatile.global.u32 [%rd1], 1;\nE:\n",
  };
  for (size_t k = 0; k < std::size(cases); ++k)
    for (uint64_t seed : {0, 1})
      for (unsigned threads : {1u, 2u}) {
        Emulated e;
        e.options.seed = seed;
        e.options.hostThreads = threads;
        e.options.checks = CheckAll & ~CheckRace;
        LaunchResult r = runText(e, cases[k], k == 4 ? blocks(2, 1) : oneBlock(64), e.upload(std::vector<uint32_t>(64, 0)));
        EXPECT_EQ(r.error, LaunchError::Success) << k << ": " << r.message;
        EXPECT_EQ(r.faults, 0u) << k;
      }
}

TEST(Polling, TheWorldOutsideMayWrite) {
  // Pinned memory, which the host may write at any time; device memory, of which outsideActivity says so.
  for (bool pinned : {true, false}) {
    Emulated e;
    uint64_t memory = pinned ? *e.device->memory().allocate(256, AllocationKind::HostPinned) : e.upload(std::vector<uint32_t>(64, 0));
    uint32_t *flag = reinterpret_cast<uint32_t *>(memory);
    __atomic_store_n(flag, 0u, __ATOMIC_RELAXED);
    std::atomic<int> asked{0};
    if (!pinned)
      e.options.outsideActivity = [&] { ++asked; return uint64_t(0); };
    e.options.checks = CheckNone;
    std::thread host([&] {
      // Long enough for the watch to have come to its end, by its own count or by time.
      for (int k = 0; k < 200 && (pinned ? k < 100 : asked < 3); ++k)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      __atomic_store_n(flag, 1u, __ATOMIC_RELEASE);
    });
    LaunchResult r = runText(e, poll("ld.volatile.global.u32 %r10, [%rd1];"), oneBlock(32), memory);
    host.join();
    EXPECT_EQ(r.error, LaunchError::Success) << r.message;
  }
}

TEST(Polling, ActivityOutsideEndsAWatch) {
  // The number changes each time until the flag is set: what was seen before may be no more.
  Emulated e;
  uint64_t memory = e.upload(std::vector<uint32_t>(64, 0));
  uint64_t asked = 0;
  e.options.hostThreads = 1;
  e.options.outsideActivity = [&] {
    if (++asked == 6)
      __atomic_store_n(reinterpret_cast<uint32_t *>(memory), 1u, __ATOMIC_RELEASE);
    return asked;
  };
  EXPECT_EQ(runText(e, poll("ld.volatile.global.u32 %r10, [%rd1];"), oneBlock(32), memory).error, LaunchError::Success);
  EXPECT_EQ(asked, 6u);
  // The same number: nobody has done anything.
  memory = e.upload(std::vector<uint32_t>(64, 0));
  e.options.outsideActivity = [] { return uint64_t(7); };
  EXPECT_EQ(runText(e, poll("ld.volatile.global.u32 %r10, [%rd1];"), oneBlock(32), memory).error, LaunchError::LaunchFailed);
}

} // namespace
