//===- RaceWidthTest.cpp - races counted granule by granule -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One warp writes 512 bytes, a second reads them, a third writes them again, in
// accesses of every width and order of lanes. Each of the 128 granules must be
// reported as often as a barrier is missing, and never with both barriers.
//===----------------------------------------------------------------------===//
#include "Harness.h"

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;

namespace {

enum class Lanes { Dense, Reversed, Shuffled };
const char *name(Lanes lanes) {
  return lanes == Lanes::Dense ? "dense" : lanes == Lanes::Reversed ? "reversed" : "shuffled";
}

/// %r20: the index of this lane; registers 30 to 33 hold data.
std::string index(Lanes lanes) {
  switch (lanes) {
  case Lanes::Dense: return "mov.u32 %r20, %laneid;\n";
  case Lanes::Reversed: return "mov.u32 %r21, %laneid; sub.u32 %r20, 31, %r21;\n";
  case Lanes::Shuffled: return "mov.u32 %r21, %laneid; mul.lo.u32 %r20, %r21, 13; and.b32 %r20, %r20, 31;\n";
  }
  return {};
}

/// Accesses of `bytes` a lane to all 512 bytes behind `base` ("%r3" shared, "%rd3" global).
std::string accesses(const std::string &op, const std::string &space, uint32_t bytes, Lanes lanes) {
  bool global = space == "global";
  std::string out = index(lanes) + "mul.lo.u32 %r22, %r20, " + std::to_string(bytes) + ";\n";
  out += global ? "cvt.u64.u32 %rd22, %r22; add.s64 %rd23, %rd3, %rd22;\n" : "add.u32 %r23, %r3, %r22;\n";
  if (bytes < 4) {
    for (uint32_t at = 0; at < 512; at += 32 * bytes) {
      std::string address = (global ? "[%rd23+" : "[%r23+") + std::to_string(at) + "]", type = bytes == 1 ? ".u8 " : ".u16 ";
      out += op + "." + space + type + (op == "ld" ? "%h1, " + address : address + ", %h2") + ";\n";
    }
    return out;
  }
  std::string vector = bytes == 4 ? "" : bytes == 8 ? ".v2" : ".v4";
  std::string data = bytes == 4 ? "%r30" : bytes == 8 ? "{%r30,%r31}" : "{%r30,%r31,%r32,%r33}";
  for (uint32_t at = 0; at < 512; at += 32 * bytes) {
    std::string address = (global ? "[%rd23+" : "[%r23+") + std::to_string(at) + "]";
    out += op + "." + space + vector + ".b32 " + (op == "ld" ? data + ", " + address : address + ", " + data) + ";\n";
  }
  return out;
}

std::string kernel(const std::string &first, const std::string &second, const std::string &third, bool sync1, bool sync2) {
  return kernelText(".param .u64 p", R"(
    .shared .align 16 .b8 s[512];
    ld.param.u64 %rd3, [p]; mov.u32 %r3, s; mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 5;
    mov.u32 %r30, 1; mov.u32 %r31, 2; mov.u32 %r32, 3; mov.u32 %r33, 4; mov.u16 %h2, 9;
    setp.ne.u32 %p1, %r2, 0; setp.ne.u32 %p2, %r2, 1; setp.ne.u32 %p3, %r2, 2;
    @%p1 bra A;
    )" + first + "A: " + (sync1 ? "bar.sync 0;\n" : "\n") + "@%p2 bra B;\n" + second + "B: " +
                                              (sync2 ? "bar.sync 0;\n" : "\n") + "@%p3 bra C;\n" + third + "C:\n");
}

void expectRaces(const std::string &text, uint64_t expected, FaultKind kind, const std::string &what,
                 uint32_t threads = 96) {
  Emulated e;
  e.load(text);
  LaunchResult r = e.run(oneBlock(threads), e.upload(std::vector<uint32_t>(256, 7)));
  EXPECT_EQ(r.error, LaunchError::Success) << what;
  EXPECT_EQ(r.faults, expected) << what << (r.reports.empty() ? "" : formatReport(r.reports[0]));
  for (const Report &report : r.reports)
    EXPECT_EQ(report.kind, kind) << what << formatReport(report);
}

TEST(RaceWidth, EachGranuleOnceForEachMissingBarrier) {
  for (std::string space : {"shared", "global"})
    for (uint32_t first : {4, 8, 16})
      for (uint32_t second : {4, 8, 16})
        for (Lanes lanes : {Lanes::Dense, Lanes::Reversed, Lanes::Shuffled})
          for (int sync = 0; sync < 4; ++sync) {
            Lanes other = lanes == Lanes::Dense ? Lanes::Shuffled : Lanes::Dense;
            bool sync1 = sync & 1, sync2 = sync & 2;
            // Both missing: the reader meets the first write; the last write meets the first write and the reader.
            uint64_t expected = sync1 && sync2 ? 0 : sync1 || sync2 ? 128 : 384;
            std::string text = kernel(accesses("st", space, first, lanes), accesses("ld", space, second, other),
                                      accesses("st", space, first, lanes), sync1, sync2);
            expectRaces(text, expected, space == "shared" ? FaultKind::RaceShared : FaultKind::RaceGlobal,
                        space + " " + std::to_string(first) + " " + std::to_string(second) + " " + name(lanes) + " sync " +
                            std::to_string(sync) + "\n");
          }
}

TEST(RaceWidth, TwoReadersAndAWriter) {
  // The first two warps read what the third wrote before the barrier, then it writes again: the cell holds two reads, of
  // which one is reported. The fourth only comes last to the barrier, so that the others go on in their order.
  for (uint32_t bytes : {4, 8, 16})
    for (bool sync : {false, true}) {
      std::string read = accesses("ld", "shared", bytes, Lanes::Dense), write = accesses("st", "shared", bytes, Lanes::Dense);
      std::string text = kernelText(".param .u64 p", R"(
        .shared .align 16 .b8 s[512];
        mov.u32 %r3, s; mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 5;
        mov.u32 %r30, 1; mov.u32 %r31, 2; mov.u32 %r32, 3; mov.u32 %r33, 4; setp.ne.u32 %p1, %r2, 2; setp.ge.u32 %p2, %r2, 2;
        @%p1 bra A;
        )" + write + "A: bar.sync 0;\n@%p2 bra B;\n" + read + read + "B: " + (sync ? "bar.sync 0;" : "") +
                                                         "\n@%p1 bra C;\n" + write + "C:\n");
      expectRaces(text, sync ? 0 : 128, FaultKind::RaceShared, std::to_string(bytes) + (sync ? " sync\n" : "\n"), 128);
    }
}

TEST(RaceWidth, LdmatrixReadsAllRows) {
  std::string matrix = "mov.u32 %r21, %laneid; shl.b32 %r22, %r21, 4; add.u32 %r23, %r3, %r22;\n"
                       "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r40,%r41,%r42,%r43}, [%r23];\n";
  for (bool sync : {false, true})
    expectRaces(kernel(accesses("st", "shared", 16, Lanes::Dense), matrix, "", sync, true), sync ? 0 : 128,
                FaultKind::RaceShared, sync ? "sync\n" : "no sync\n");
}

TEST(RaceWidth, CopiesThatNobodyWaitedFor) {
  for (Lanes lanes : {Lanes::Dense, Lanes::Shuffled})
    for (uint32_t bytes : {4, 8, 16})
      for (bool wait : {false, true}) {
        std::string copy = index(lanes) + "mul.lo.u32 %r22, %r20, 16; add.u32 %r23, %r3, %r22; cvt.u64.u32 %rd22, %r22;\n"
                           "add.s64 %rd23, %rd3, %rd22; cp.async.ca.shared.global [%r23], [%rd23], 16;\n"
                           "cp.async.commit_group;\n" + std::string(wait ? "cp.async.wait_group 0;\n" : "");
        expectRaces(kernel(copy, accesses("ld", "shared", bytes, Lanes::Dense), "", true, true), wait ? 0 : 128,
                    FaultKind::UnawaitedAsyncCopy, std::to_string(bytes) + " " + name(lanes) + (wait ? " wait\n" : "\n"));
      }
}

/// One warp: every lane takes element `%r20` of `bytes` (1 or 2) bytes behind `base` (a multiple of its size), and `then`
/// (bytes further) after `between`.
std::string neighbours(const std::string &space, uint32_t bytes, Lanes lanes, const std::string &first, uint32_t offset,
                       const std::string &between, const std::string &second, uint32_t then) {
  bool global = space == "global";
  std::string type = bytes == 1 ? ".u8" : ".u16", base = global ? "[%rd23+" : "[%r23+";
  auto access = [&](const std::string &op, uint32_t at) {
    std::string address = base + std::to_string(at) + "]";
    return op + "." + space + type + " " + (op == "ld" ? "%h1, " + address : address + ", %h2") + ";\n";
  };
  return kernelText(".param .u64 p", R"(
    .shared .align 16 .b8 s[512];
    ld.param.u64 %rd3, [p]; mov.u32 %r3, s; mov.u16 %h2, 5; mov.u32 %r1, %tid.x;
    shl.b32 %r4, %r1, 4; add.u32 %r4, %r4, %r3; st.shared.v4.b32 [%r4], {%r1,%r1,%r1,%r1}; bar.sync 0;
    )" + index(lanes) + "mul.lo.u32 %r22, %r20, " + std::to_string(bytes) + ";\n" +
                                              "cvt.u64.u32 %rd22, %r22; add.s64 %rd23, %rd3, %rd22; add.u32 %r23, %r3, %r22;\n" +
                                              access(first, offset) + between + access(second, offset + then));
}

TEST(RaceWidth, NeighboursInOneGranuleAreApart) {
  for (std::string space : {"shared", "global"})
    for (uint32_t bytes : {1, 2})
      for (Lanes lanes : {Lanes::Dense, Lanes::Reversed, Lanes::Shuffled})
        for (uint32_t offset : {0u, bytes, 4u})
          for (std::string first : {"ld", "st"})
            for (std::string second : {"ld", "st"})
              expectRaces(neighbours(space, bytes, lanes, first, offset, "", second, 0), 0, FaultKind::RaceShared,
                          space + std::to_string(bytes) + name(lanes) + first + second + std::to_string(offset) + "\n", 32);
}

TEST(RaceWidth, ANeighboursElementIsFound) {
  for (std::string space : {"shared", "global"})
    for (uint32_t bytes : {1, 2})
      for (Lanes lanes : {Lanes::Dense, Lanes::Reversed})
        for (bool sync : {false, true})
          for (std::string first : {"ld", "st"}) {
            // A cell holds what lanes did together only where they go up in one access; else its last writer. Each lane
            // but the last meets the next one's element; in the long way a lane's own access hides the next one's.
            std::string second = first == "ld" ? "st" : "ld";
            std::string text = neighbours(space, bytes, lanes, first, 0, sync ? "bar.warp.sync 0xffffffff;\n" : "", second, bytes);
            Emulated e;
            e.load(text);
            LaunchResult r = e.run(oneBlock(32), e.upload(std::vector<uint32_t>(256, 7)));
            std::string what = space + std::to_string(bytes) + name(lanes) + first + (sync ? " sync\n" : "\n");
            if (sync)
              EXPECT_EQ(r.faults, 0u) << what;
            else if (lanes == Lanes::Dense && first == "st")
              EXPECT_EQ(r.faults, 31u) << what;
            else
              EXPECT_GE(r.faults, 7u) << what;
            for (const Report &report : r.reports)
              EXPECT_EQ(report.other.thread[0], report.site.thread[0] + (lanes == Lanes::Dense ? 1 : -1)) << what << formatReport(report);
          }
}

TEST(RaceWidth, NarrowAccessesMeetThoseOfOtherWarps) {
  for (std::string space : {"shared", "global"})
    for (uint32_t first : {1, 2, 4})
      for (uint32_t second : {1, 2, 4})
        for (Lanes lanes : {Lanes::Dense, Lanes::Shuffled})
          for (int sync = 0; sync < 4; ++sync) {
            std::string text = kernel(accesses("st", space, first, lanes), accesses("ld", space, second, Lanes::Dense),
                                      accesses("st", space, first, lanes), sync & 1, sync & 2);
            Emulated e;
            e.load(text);
            LaunchResult r = e.run(oneBlock(96), e.upload(std::vector<uint32_t>(256, 7)));
            std::string what = space + std::to_string(first) + std::to_string(second) + name(lanes) + " sync " + std::to_string(sync);
            EXPECT_EQ(r.error, LaunchError::Success) << what;
            if (sync == 3)
              EXPECT_EQ(r.faults, 0u) << what << formatReport(r.reports[0]);
            else
              EXPECT_GE(r.faults, sync ? 128u : 256u) << what;
          }
}

TEST(RaceWidth, AtomicsOfEveryWidthAreNoRaces) {
  // Lanes in a row, all in one place, and scattered; what plain accesses do beside them is a race.
  struct Case {
    const char *type, *data;
    uint32_t bytes;
  };
  for (std::string space : {"shared", "global"})
    for (Case c : {Case{"add.noftz.f16", "%h2", 2}, Case{"add.u32", "%r30", 4}, Case{"add.u64", "%rd30", 8}})
      for (uint32_t step : {0u, 1u, 3u})
        for (int plain = 0; plain < 2; ++plain) {
          std::string address = space == "shared" ? "[%r23]" : "[%rd23]";
          std::string text = kernelText(".param .u64 p", R"(
            .shared .align 16 .b8 s[2048];
            ld.param.u64 %rd3, [p]; mov.u32 %r3, s; mov.u16 %h2, 5; mov.u32 %r1, %tid.x; mov.u32 %r30, 1; mov.u64 %rd30, 1;
            shl.b32 %r4, %r1, 5; add.u32 %r4, %r4, %r3; st.shared.v4.b32 [%r4], {%r1,%r1,%r1,%r1};
            st.shared.v4.b32 [%r4+16], {%r1,%r1,%r1,%r1}; bar.sync 0;
            mov.u32 %r20, %laneid; mul.lo.u32 %r22, %r20, )" + std::to_string(step * c.bytes) + R"(;
            cvt.u64.u32 %rd22, %r22; add.s64 %rd23, %rd3, %rd22; add.u32 %r23, %r3, %r22;
            )" + (plain ? "shr.u32 %r2, %r1, 5; setp.ne.u32 %p1, %r2, 0;\n@%p1 bra A;\nst." + space + ".u8 " + address + ", %h2;\nA:\n" : "") +
                                                            "red." + space + "." + c.type + " " + address + ", " + c.data + ";\n");
          Emulated e;
          e.load(text);
          LaunchResult r = e.run(oneBlock(64), e.upload(std::vector<uint32_t>(1024, 7)));
          EXPECT_EQ(r.error, LaunchError::Success);
          EXPECT_EQ(r.faults > 0, plain != 0) << space << c.type << step << (r.reports.empty() ? "" : formatReport(r.reports[0]));
        }
}

} // namespace
