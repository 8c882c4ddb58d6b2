//===- main.cpp - how fast the emulator runs --------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Loops of one kind of work on one host thread; prints instructions (or
// multiply-adds) a second, without and with checks and counters. An argument is
// a part of the names of the loops to run.
//===----------------------------------------------------------------------===//
#include "vitrify/Emulator/Launch.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <time.h>

using namespace vitrify;
using namespace vitrify::emulator;

namespace {

struct Loop {
  const char *name, *body;
  double perIteration; ///< counted operations of a thread in one iteration
  const char *unit;
};

std::string repeat(const std::string &text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i)
    out += text;
  return out;
}

/// Of all threads of this process: what others do on the machine does not count.
double processorSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

double seconds(const Loop &loop, Device &device, uint64_t buffer, uint32_t iterations, const LaunchOptions &options) {
  std::string text = ".version 8.7\n.target sm_89\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n)\n{\n"
                     ".reg .pred %p<4>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %rd<8>;\n"
                     ".reg .b16 %h<12>; .reg .f64 %d<16>;\n.shared .align 16 .b8 s[4096];\n"
                     "ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; mov.u32 %r2, 0; mov.u32 %r3, %tid.x;\n"
                     "mul.wide.u32 %rd2, %r3, 4; add.s64 %rd3, %rd1, %rd2; shl.b32 %r4, %r3, 2; mov.u32 %r5, s; add.s32 %r6, %r5, %r4;\n"
                     "shl.b32 %r32, %r3, 1; add.s32 %r33, %r5, %r32; add.s32 %r34, %r5, %r3;\n"
                     "mul.wide.u32 %rd4, %r3, 2; add.s64 %rd5, %rd1, %rd4; cvt.u64.u32 %rd6, %r3; add.s64 %rd6, %rd1, %rd6;\n";
  for (int i = 8; i < 24; ++i) {
    // Words that are small numbers in every type, no NaN.
    std::string n = std::to_string(i);
    text += "mad.lo.u32 %r" + n + ", %r3, " + std::to_string(2654435761u + 2 * unsigned(i)) + ", 77; and.b32 %r" + n +
            ", %r" + n + ", 0xbfbfbfbf; cvt.rn.f32.u32 %f" + n + ", %r3;\n";
    if (i < 16)
      text += "cvt.rn.f64.u32 %d" + n + ", %r3;\n";
    else
      text += "mov.u32 %r" + std::to_string(i + 8) + ", 0;\n";
  }
  text += "st.shared.u32 [%r6], %r3; setp.lt.u32 %p2, %r3, 1024; bar.sync 0;\n";
  text += "LOOP:\n" + repeat(loop.body, 8) + "add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, %r1; @%p1 bra LOOP;\n"
          "bar.sync 0; add.f32 %f8, %f8, %f9; st.global.f32 [%rd3], %f8; st.global.u32 [%rd3], %r8;\nret;\n}\n";
  auto module = Module::parse(text, loop.name);
  if (!module) {
    std::fprintf(stderr, "%s\n", module.status().message().c_str());
    return 0;
  }
  auto loaded = LoadedModule::load(*module, device);
  if (!loaded) {
    std::fprintf(stderr, "%s\n", loaded.status().message().c_str());
    return 0;
  }
  uint8_t params[12];
  std::memcpy(params, &buffer, 8);
  std::memcpy(params + 8, &iterations, 4);
  LaunchConfig config;
  config.block.x = 256;
  double start = processorSeconds();
  LaunchResult result = launch(**loaded, "k", config, params, options);
  double s = processorSeconds() - start;
  if (result.error != LaunchError::Success || !result.reports.empty())
    std::fprintf(stderr, "%s: %s\n", loop.name, result.reports.empty() ? result.message.c_str() : formatReport(result.reports[0]).c_str());
  return s;
}

} // namespace

int main(int argc, char **argv) {
  const Loop loops[] = {
      {"fma.f32", "fma.rn.f32 %f8, %f9, %f10, %f8; fma.rn.f32 %f11, %f9, %f10, %f11;\n", 16, "instr"},
      {"integer", "add.s32 %r8, %r8, %r9; xor.b32 %r10, %r10, %r8;\n", 16, "instr"},
      {"guarded", "@%p2 add.u32 %r30, %r8, %r9; @%p2 xor.b32 %r31, %r30, %r9;\n", 16, "instr"},
      {"ld/st.shared", "ld.shared.u32 %r8, [%r6]; st.shared.u32 [%r6], %r8;\n", 16, "instr"},
      {"ld/st.global", "ld.global.u32 %r8, [%rd3]; st.global.u32 [%rd3], %r8;\n", 16, "instr"},
      {"ld/st.shared.u16", "ld.shared.u16 %h8, [%r33]; st.shared.u16 [%r33], %h8;\n", 16, "instr"},
      {"ld/st.shared.u8", "ld.shared.u8 %h8, [%r34]; st.shared.u8 [%r34], %h8;\n", 16, "instr"},
      {"ld/st.global.b16", "ld.global.b16 %h8, [%rd5]; st.global.b16 [%rd5], %h8;\n", 16, "instr"},
      {"ld/st.global.u8", "ld.global.u8 %r8, [%rd6]; st.global.u8 [%rd6], %r8;\n", 16, "instr"},
      {"atom.shared", "atom.shared.add.u32 %r8, [%r6], %r9; atom.shared.max.u32 %r10, [%r6], %r11;\n", 16, "instr"},
      {"atom.global", "atom.global.add.u32 %r8, [%rd3], %r9; atom.global.max.u32 %r10, [%rd3], %r11;\n", 16, "instr"},
      {"red.shared", "red.shared.add.u32 [%r6], %r9; red.shared.or.b32 [%r6], %r11;\n", 16, "instr"},
      {"red.global", "red.global.add.u32 [%rd3], %r9; red.global.add.f32 [%rd3], %f11;\n", 16, "instr"},
      {"red.global, one", "red.global.add.u32 [%rd1], %r9; red.global.add.u32 [%rd1], %r11;\n", 16, "instr"},
      {"mma f16", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f8,%f9,%f10,%f11}, {%r8,%r9,%r10,%r11}, {%r12,%r13}, {%f8,%f9,%f10,%f11};\n", 8 * 2048.0 / 32, "MAC"},
      {"mma e4m3", "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f8,%f9,%f10,%f11}, {%r8,%r9,%r10,%r11}, {%r12,%r13}, {%f8,%f9,%f10,%f11};\n", 8 * 4096.0 / 32, "MAC"},
      {"mma s8", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r14,%r15,%r16,%r17}, {%r8,%r9,%r10,%r11}, {%r12,%r13}, {%r14,%r15,%r16,%r17};\n", 8 * 4096.0 / 32, "MAC"},
      {"mma u8 satfinite", "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.u8.s8.s32 {%r14,%r15,%r16,%r17}, {%r8,%r9,%r10,%r11}, {%r12,%r13}, {%r14,%r15,%r16,%r17};\n", 8 * 4096.0 / 32, "MAC"},
      {"mma s8 m8n8k16", "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r14,%r15}, {%r8}, {%r12}, {%r14,%r15};\n", 8 * 1024.0 / 32, "MAC"},
      {"mma f64", "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d8,%d9}, {%d10}, {%d11}, {%d8,%d9};\n", 8 * 256.0 / 32, "MAC"},
      {"wmma f16", "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%f8,%f9,%f10,%f11,%f12,%f13,%f14,%f15}, {%r8,%r9,%r10,%r11,%r12,%r13,%r14,%r15}, {%r16,%r17,%r18,%r19,%r20,%r21,%r22,%r23}, {%f8,%f9,%f10,%f11,%f12,%f13,%f14,%f15};\n", 8 * 4096.0 / 32, "MAC"},
      {"wmma s8", "wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.s8.s32 {%r24,%r25,%r26,%r27,%r28,%r29,%r30,%r31}, {%r8,%r9}, {%r16,%r17}, {%r24,%r25,%r26,%r27,%r28,%r29,%r30,%r31};\n", 8 * 4096.0 / 32, "MAC"},
  };
  auto device = Device::create(**findChip("sm_89"), uint64_t(1) << 28);
  if (!device)
    return 1;
  uint64_t buffer = *(*device)->memory().allocate(4096);
  (void)(*device)->memory().fill(buffer, 0, 4, 1024);
  std::printf("%-18s %16s %16s %16s   (G a second of CPU time, one host thread)\n", "loop", "no checks", "all checks", "and counters");
  for (const Loop &loop : loops) {
    if (argc > 1 && !std::strstr(loop.name, argv[1]))
      continue;
    std::printf("%-18s", loop.name);
    for (int mode = 0; mode < 3; ++mode) {
      LaunchOptions options;
      options.hostThreads = 1;
      options.checks = mode == 0 ? uint8_t(CheckNone) : uint8_t(CheckAll);
      options.counters = mode == 2;
      uint32_t iterations = 200;
      double s = 0;
      while ((s = seconds(loop, **device, buffer, iterations, options)) < 0.15 && s > 0)
        iterations *= 3;
      std::printf(" %16.3f", s > 0 ? loop.perIteration * 256.0 * iterations / s / 1e9 : 0.0);
    }
    std::printf("   %s\n", loop.unit);
  }
  return 0;
}
