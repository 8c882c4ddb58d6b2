//===- peak.c - how fast this core can multiply and add -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Loops over registers alone, with enough independent accumulators to hide the latency. Written as assembly so that no
// compiler can improve or spoil them. Each returns the operations done: a multiply-add is two.
//===----------------------------------------------------------------------===//
#include <stdint.h>

#define TIMES24(I)                                                                                                     \
  I("0") I("1") I("2") I("3") I("4") I("5") I("6") I("7") I("8") I("9") I("10") I("11") I("12") I("13") I("14") I("15")  \
  I("16") I("17") I("18") I("19") I("20") I("21") I("22") I("23")
#define TIMES12(I) I("0") I("1") I("2") I("3") I("4") I("5") I("6") I("7") I("8") I("9") I("10") I("11")

#define FMA512(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" n "\n"
#define DOT512(n) "vdpbf16ps %%zmm30, %%zmm31, %%zmm" n "\n"
#define INT512(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" n "\n"
#define FMA256(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" n "\n"
// vpmaddwd writes over no accumulator: its sum is an instruction of its own.
#define MADD256(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\nvpaddd %%ymm13, %%ymm" n ", %%ymm" n "\n"

#define CLOBBER512                                                                                                     \
  "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13",    \
      "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm30", "zmm31", "cc"

#define LOOP(BODY, ...) __asm__ volatile("vzeroall\n1:\n" BODY "dec %0\njnz 1b\n" : "+r"(n)::__VA_ARGS__)

double peak_fma512(int64_t n) {
  double operations = 24.0 * 32 * (double)n;
  LOOP(TIMES24(FMA512), CLOBBER512);
  return operations;
}

double peak_bf16(int64_t n) {
  double operations = 24.0 * 64 * (double)n;
  LOOP(TIMES24(DOT512), CLOBBER512);
  return operations;
}

double peak_int8(int64_t n) {
  double operations = 24.0 * 128 * (double)n;
  LOOP(TIMES24(INT512), CLOBBER512);
  return operations;
}

double peak_madd256(int64_t n) {
  double operations = 12.0 * 32 * (double)n;
  LOOP(TIMES12(MADD256), "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
       "xmm12", "xmm13", "xmm14", "xmm15", "cc");
  return operations;
}

double peak_fma256(int64_t n) {
  double operations = 12.0 * 16 * (double)n;
  LOOP(TIMES12(FMA256), "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
       "xmm12", "xmm13", "xmm14", "xmm15", "cc");
  return operations;
}
