//===- InstructionTest.cpp - one small kernel a form ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A table of instructions with operands and results worked out from the PTX ISA
// by hand or by the host's arithmetic written another way; conversions of 8-bit
// floats for every input; and what must be refused.
//===----------------------------------------------------------------------===//
#include "Harness.h"

#include <bit>
#include <cmath>

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;
using vitrify::Status;

namespace {

constexpr uint32_t f(float v) { return std::bit_cast<uint32_t>(v); }

struct Case {
  const char *text;            ///< uses %r1, %r2, %r3 (or %f1..), writes %r0 (or %f0)
  uint32_t a, b, c, expected;
};

const Case kCases[] = {
    {"add.s32 %r0, %r1, %r2;", 7, 0xffffffff, 0, 6},
    {"add.sat.s32 %r0, %r1, %r2;", 0x7fffffff, 1, 0, 0x7fffffff},
    {"sub.sat.s32 %r0, %r1, %r2;", 0x80000000, 1, 0, 0x80000000},
    {"mul.lo.s32 %r0, %r1, %r2;", 0x10001, 0x10001, 0, 0x20001},
    {"mul.hi.s32 %r0, %r1, %r2;", 0xffffffff, 2, 0, 0xffffffff},
    {"mul.hi.u32 %r0, %r1, %r2;", 0xffffffff, 2, 0, 1},
    {"mad.lo.s32 %r0, %r1, %r2, %r3;", 3, 5, 7, 22},
    {"mad.hi.u32 %r0, %r1, %r2, %r3;", 0x80000000, 4, 7, 9},
    {"mul24.lo.u32 %r0, %r1, %r2;", 0xff000003, 5, 0, 15},
    {"mad24.lo.s32 %r0, %r1, %r2, %r3;", 0x00ffffff, 5, 7, 2},
    {"div.s32 %r0, %r1, %r2;", uint32_t(-7), 2, 0, uint32_t(-3)},
    {"rem.s32 %r0, %r1, %r2;", uint32_t(-7), 2, 0, uint32_t(-1)},
    {"div.u32 %r0, %r1, %r2;", 0xfffffff9, 2, 0, 0x7ffffffc},
    {"sad.u32 %r0, %r1, %r2, %r3;", 3, 9, 100, 106},
    {"abs.s32 %r0, %r1;", uint32_t(-5), 0, 0, 5},
    {"neg.s32 %r0, %r1;", 5, 0, 0, uint32_t(-5)},
    {"min.s32 %r0, %r1, %r2;", uint32_t(-1), 1, 0, uint32_t(-1)},
    {"max.u32 %r0, %r1, %r2;", uint32_t(-1), 1, 0, uint32_t(-1)},
    {"popc.b32 %r0, %r1;", 0xf0f0, 0, 0, 8},
    {"clz.b32 %r0, %r1;", 0x00010000, 0, 0, 15},
    {"bfind.u32 %r0, %r1;", 0x00010000, 0, 0, 16},
    {"bfind.s32 %r0, %r1;", 0xfffffffe, 0, 0, 0},
    {"bfind.shiftamt.u32 %r0, %r1;", 0x00010000, 0, 0, 15},
    {"brev.b32 %r0, %r1;", 1, 0, 0, 0x80000000},
    {"bfe.u32 %r0, %r1, %r2, %r3;", 0x12345678, 8, 8, 0x56},
    {"bfe.s32 %r0, %r1, %r2, %r3;", 0x1234f678, 8, 8, 0xfffffff6},
    {"bfe.s32 %r0, %r1, %r2, %r3;", 0x80000000, 28, 8, 0xfffffff8},
    {"bfi.b32 %r0, %r1, %r2, 8, 8;", 0xab, 0x11223344, 0, 0x1122ab44},
    {"and.b32 %r0, %r1, %r2;", 0xff00ff, 0x0ff0, 0, 0xf0},
    {"xor.b32 %r0, %r1, %r2;", 0xff00ff, 0x0ff0, 0, 0xff0f0f},
    {"not.b32 %r0, %r1;", 1, 0, 0, 0xfffffffe},
    {"cnot.b32 %r0, %r1;", 0, 0, 0, 1},
    {"lop3.b32 %r0, %r1, %r2, %r3, 0xe8;", 0xcc, 0xaa, 0xf0, 0xe8}, // majority
    {"shl.b32 %r0, %r1, %r2;", 1, 32, 0, 0},
    {"shr.s32 %r0, %r1, %r2;", 0x80000000, 40, 0, 0xffffffff},
    {"shr.u32 %r0, %r1, %r2;", 0x80000000, 31, 0, 1},
    {"shf.l.wrap.b32 %r0, %r1, %r2, %r3;", 0x80000001, 0x2, 33, 0x5},
    {"shf.r.clamp.b32 %r0, %r1, %r2, %r3;", 0x12345678, 0x9abcdef0, 40, 0x9abcdef0},
    {"prmt.b32 %r0, %r1, %r2, %r3;", 0x33221180, 0x77665544, 0x8470, 0xff447780},
    {"prmt.b32.f4e %r0, %r1, %r2, %r3;", 0x33221100, 0x77665544, 1, 0x44332211},
    {"dp4a.s32.s32 %r0, %r1, %r2, %r3;", 0xff020304, 0x01010101, 10, 18},
    {"dp2a.lo.u32.u32 %r0, %r1, %r2, %r3;", 0x00020003, 0x00000504, 1, 23},
    {"slct.u32.s32 %r0, %r1, %r2, %r3;", 1, 2, 0xffffffff, 2},
    {"bmsk.clamp.b32 %r0, %r1, %r2;", 4, 8, 0, 0xff0},
    {"szext.clamp.s32 %r0, %r1, %r2;", 0x80, 8, 0, 0xffffff80},
    {"fns.b32 %r0, %r1, %r2, %r3;", 0b10110, 0, 2, 2},
    {"setp.lt.s32 %p1, %r1, %r2; selp.u32 %r0, 1, 0, %p1;", uint32_t(-1), 0, 0, 1},
    {"setp.lo.u32 %p1, %r1, %r2; selp.u32 %r0, 1, 0, %p1;", uint32_t(-1), 0, 0, 0},
    {"setp.ltu.f32 %p1, %f1, %f2; selp.u32 %r0, 1, 0, %p1;", 0x7fc00000, f(1), 0, 1},
    {"setp.ne.f32 %p1, %f1, %f2; selp.u32 %r0, 1, 0, %p1;", 0x7fc00000, f(1), 0, 0},
    {"setp.neu.f32 %p1, %f1, %f2; selp.u32 %r0, 1, 0, %p1;", 0x7fc00000, f(1), 0, 1},
    {"setp.eq.s32 %p2, %r3, 0; setp.lt.or.s32 %p1|%p3, %r1, %r2, %p2; selp.u32 %r0, 1, 0, %p3;", 1, 2, 1, 0},
    {"set.gt.u32.f32 %r0, %f1, %f2;", f(2), f(1), 0, 0xffffffff},
    {"set.gt.f32.s32 %f0, %r1, %r2; mov.b32 %r0, %f0;", 2, 1, 0, f(1)},
    {"add.cc.u32 %r4, %r1, %r2; addc.u32 %r0, %r3, 0;", 0xffffffff, 1, 5, 6},
    {"sub.cc.u32 %r4, %r1, %r2; subc.u32 %r0, %r3, 0;", 0, 1, 5, 4},
    {"mad.lo.cc.u32 %r4, %r1, %r2, %r3; madc.hi.u32 %r0, %r1, %r2, 0;", 0x80000000, 2, 0, 1},
    {"add.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(1), f(0x1p-24f), 0, f(1)},
    {"add.rp.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(1), f(0x1p-40f), 0, f(1) + 1},
    {"add.rz.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(1), f(-0x1p-40f), 0, f(1) - 1},
    {"sub.rm.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(1), f(1), 0, 0x80000000},
    {"mul.ftz.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(0x1p-100f), f(0x1p-40f), 0, 0},
    {"mul.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(0x1p-100f), f(0x1p-40f), 0, f(0x1p-140f)},
    {"mul.rm.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(-1.1f), f(1.1f), 0, f(std::nextafter(-1.1f * 1.1f, -2.0f))},
    {"fma.rn.f32 %f0, %f1, %f2, %f3; mov.b32 %r0, %f0;", f(1 + 0x1p-12f), f(1 + 0x1p-12f), f(-1), f(0x1.0008p-11f)},
    {"add.sat.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(1), f(1), 0, f(1)},
    {"add.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", 0x7f800000, 0xff800000, 0, 0x7fffffff},
    {"min.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", 0x7fc00000, f(3), 0, f(3)},
    {"min.NaN.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", 0x7fc00000, f(3), 0, 0x7fffffff},
    {"max.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", 0x80000000, 0, 0, 0},
    {"div.rn.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(1), f(3), 0, f(1.0f / 3)},
    {"div.rz.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(2), f(3), 0, 0x3f2aaaaa},
    {"sqrt.rn.f32 %f0, %f1; mov.b32 %r0, %f0;", f(2), 0, 0, 0x3fb504f3},
    {"copysign.f32 %f0, %f1, %f2; mov.b32 %r0, %f0;", f(-0.0f), f(3), 0, f(-3)},
    {"testp.subnormal.f32 %p1, %f1; selp.u32 %r0, 1, 0, %p1;", 1, 0, 0, 1},
    {"cvt.rzi.s32.f32 %r0, %f1;", f(-2.7f), 0, 0, uint32_t(-2)},
    {"cvt.rni.s32.f32 %r0, %f1;", f(2.5f), 0, 0, 2},
    {"cvt.rpi.u32.f32 %r0, %f1;", f(2.1f), 0, 0, 3},
    {"cvt.rzi.s32.f32 %r0, %f1;", f(3e9f), 0, 0, 0x7fffffff},
    {"cvt.rzi.u32.f32 %r0, %f1;", f(-1), 0, 0, 0},
    {"cvt.rzi.s32.f32 %r0, %f1;", 0x7fc00000, 0, 0, 0},
    {"cvt.rn.f32.s32 %f0, %r1; mov.b32 %r0, %f0;", 0x7fffffff, 0, 0, f(0x1p31f)},
    {"cvt.rz.f32.u32 %f0, %r1; mov.b32 %r0, %f0;", 0xffffffff, 0, 0, 0x4f7fffff},
    {"cvt.s32.s8 %r0, %r1;", 0x180, 0, 0, 0xffffff80},
    {"cvt.u32.u16 %r0, %r1;", 0x12345678, 0, 0, 0x5678},
    {"cvt.sat.s8.s32 %r0, %r1;", 300, 0, 0, 127},
    {"cvt.rn.f16x2.f32 %r0, %f1, %f2;", f(1), f(-2), 0, 0x3c00c000},
    {"cvt.rn.bf16x2.f32 %r0, %f1, %f2;", f(1), f(-2), 0, 0x3f80c000},
    {"cvt.rna.tf32.f32 %r0, %f1;", 0x3f801000, 0, 0, 0x3f802000},
    {"add.f16x2 %r0, %r1, %r2;", 0x3c003c00, 0x3c004000, 0, 0x40004200},
    {"fma.rn.f16x2 %r0, %r1, %r2, %r3;", 0x3c003c01, 0x3c013c01, 0xbc00bc00, 0x14001800},
    {"fma.rn.relu.f16x2 %r0, %r1, %r2, %r3;", 0x3c003c00, 0x3c003c00, 0xc000c000, 0},
    {"fma.rn.bf16x2 %r0, %r1, %r2, %r3;", 0x3f803f80, 0x40004040, 0x3f803f80, 0x40404080},
    {"min.f16x2 %r0, %r1, %r2;", 0x7e003c00, 0x3c007e00, 0, 0x3c003c00},
    {"vote.sync.ballot.b32 %r0, 1, 0xffffffff;", 0, 0, 0, 0xffffffff},
    {"shfl.sync.bfly.b32 %r0, %r1, 1, 31, 0xffffffff;", 9, 0, 0, 9},
    {"redux.sync.add.s32 %r0, %r1, 0xffffffff;", 3, 0, 0, 96},
    {"match.any.sync.b32 %r0, %r1, 0xffffffff;", 3, 0, 0, 0xffffffff},
    {"activemask.b32 %r0;", 0, 0, 0, 0xffffffff},
};

TEST(Instructions, FormsGiveTheIsaResults) {
  for (const Case &c : kCases) {
    Emulated e;
    Status status = e.tryLoad(kernelText(".param .u64 out, .param .u32 a, .param .u32 b, .param .u32 c",
                                         std::string(R"(
      ld.param.u64 %rd1, [out]; ld.param.u32 %r1, [a]; ld.param.u32 %r2, [b]; ld.param.u32 %r3, [c];
      mov.b32 %f1, %r1; mov.b32 %f2, %r2; mov.b32 %f3, %r3;
      )") + c.text + R"(
      mov.u32 %r60, %tid.x; mul.wide.u32 %rd2, %r60, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r0;)"));
    ASSERT_TRUE(status.ok()) << c.text << ": " << status.message();
    uint64_t out = e.allocate(128);
    e.runOk(oneBlock(32), out, c.a, c.b, c.c);
    for (uint32_t v : e.download<uint32_t>(out, 32))
      ASSERT_EQ(v, c.expected) << c.text << std::hex << " gave " << v << ", expected " << c.expected;
  }
}

/// Nearest value of a format by search over all its codes: ties to the even code.
struct Small {
  int man, bias;
  double max;
  uint32_t nan;
};
double decode(uint32_t code, const Small &s, int bits) {
  uint32_t sign = code >> (bits - 1), mag = code & ((1u << (bits - 1)) - 1);
  uint32_t e = mag >> s.man, m = mag & ((1u << s.man) - 1);
  double v = e ? std::ldexp(double(m + (1u << s.man)), int(e) - s.bias - s.man) : std::ldexp(double(m), 1 - s.bias - s.man);
  return sign ? -v : v;
}
uint32_t nearest(double x, const Small &s, int bits) {
  if (std::isnan(x))
    return s.nan;
  double a = std::min(std::fabs(x), s.max);
  uint32_t best = 0;
  double distance = 1e300;
  for (uint32_t code = 0; code < (1u << (bits - 1)); ++code) {
    double v = decode(code, s, bits);
    if (v > s.max)
      break;
    double d = std::fabs(v - a);
    if (d < distance || (d == distance && code % 2 == 0)) {
      best = code;
      distance = d;
    }
  }
  return best | (std::signbit(x) ? 1u << (bits - 1) : 0);
}
double halfValue(uint32_t h) {
  if ((h & 0x7c00) == 0x7c00)
    return h & 0x3ff ? NAN : h & 0x8000 ? -INFINITY : INFINITY;
  return decode(h, {10, 15, 0, 0}, 16);
}

TEST(Instructions, EightBitConversionsOfEveryHalf) {
  for (auto [name, format] : {std::pair{"e4m3x2", Small{3, 7, 448, 0x7f}}, std::pair{"e5m2x2", Small{2, 15, 57344, 0x7f}}}) {
    Emulated e;
    e.load(kernelText(".param .u64 in, .param .u64 out, .param .u64 back", std::string(R"(
      ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; ld.param.u64 %rd9, [back];
      mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 256, %r1;
      mul.wide.u32 %rd3, %r3, 4; add.s64 %rd4, %rd1, %rd3; ld.global.b32 %r4, [%rd4];
      cvt.rn.satfinite.)") + name + R"(.f16x2 %h1, %r4;
      mul.wide.u32 %rd5, %r3, 4; add.s64 %rd6, %rd2, %rd5; st.global.b16 [%rd6], %h1;
      mov.b32 {%h2, %h3}, %r4; cvt.f32.f16 %f1, %h2; cvt.f32.f16 %f2, %h3;
      cvt.rn.satfinite.)" + name + R"(.f32 %h4, %f2, %f1;
      st.global.b16 [%rd6+2], %h4;
      cvt.rn.f16x2.)" + name + R"( %r5, %h1;
      add.s64 %rd7, %rd9, %rd5; st.global.b32 [%rd7], %r5;)"));
    std::vector<uint16_t> in(65536);
    for (uint32_t i = 0; i < 65536; ++i)
      in[i] = uint16_t(i);
    uint64_t out = e.allocate(32768 * 4), back = e.allocate(32768 * 4);
    e.runOk(blocks(128, 256), e.upload(in), out, back);
    auto codes = e.download<uint8_t>(out, 32768 * 4);
    auto halves = e.download<uint16_t>(back, 65536);
    for (uint32_t i = 0; i < 65536; ++i) {
      uint32_t expected = nearest(halfValue(i), format, 8);
      uint32_t fromHalf = codes[i / 2 * 4 + i % 2], fromFloat = codes[i / 2 * 4 + 2 + i % 2];
      ASSERT_EQ(fromHalf & (std::isnan(halfValue(i)) ? 0x7f : 0xff), expected) << name << " of half " << std::hex << i;
      ASSERT_EQ(fromFloat, fromHalf) << name << " of half " << std::hex << i;
      double v = halfValue(halves[i]);
      if ((expected & 0x7f) == 0x7f)
        ASSERT_TRUE(std::isnan(v));
      else
        ASSERT_EQ(v, decode(expected, format, 8)) << std::hex << i;
    }
  }
}

TEST(Instructions, ApproximationsKeepTheIsaBounds) {
  struct Fn {
    const char *op;
    double (*exact)(double);
    double low, high, relative, absolute;
  };
  const Fn fns[] = {
      {"ex2.approx.f32", [](double x) { return std::exp2(x); }, -20, 20, 0x1p-22, 0},
      {"lg2.approx.f32", [](double x) { return std::log2(x); }, 0.01, 100, 0x1p-22, 0x1p-22},
      {"rcp.approx.f32", [](double x) { return 1 / x; }, 0.1, 50, 0x1p-23, 0},
      {"rsqrt.approx.f32", [](double x) { return 1 / std::sqrt(x); }, 0.1, 50, 0x1p-22, 0},
      {"sqrt.approx.f32", [](double x) { return std::sqrt(x); }, 0.1, 50, 0x1p-23, 0},
      {"tanh.approx.f32", [](double x) { return std::tanh(x); }, -6, 6, 0x1p-11, 0},
      {"sin.approx.f32", [](double x) { return std::sin(x); }, -3, 3, 0, 0x1p-20},
      {"cos.approx.f32", [](double x) { return std::cos(x); }, -3, 3, 0, 0x1p-20},
  };
  for (bool perturb : {false, true})
    for (const Fn &fn : fns) {
      Emulated e;
      e.options.perturbApprox = perturb;
      e.options.seed = 3;
      e.load(kernelText(".param .u64 x", std::string(R"(
        ld.param.u64 %rd1, [x]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
        ld.global.f32 %f1, [%rd3]; )") + fn.op + " %f2, %f1; st.global.f32 [%rd3], %f2;"));
      std::vector<float> x(1024);
      for (int i = 0; i < 1024; ++i)
        x[i] = float(fn.low + (fn.high - fn.low) * i / 1023);
      uint64_t p = e.upload(x);
      e.runOk(oneBlock(1024), p);
      auto y = e.download<float>(p, 1024);
      for (int i = 0; i < 1024; ++i) {
        double exact = fn.exact(x[i]);
        ASSERT_LE(std::fabs(y[i] - exact), fn.relative * std::fabs(exact) + fn.absolute + 1e-12) << fn.op << " of " << x[i];
      }
    }
}

TEST(Instructions, WhatIsMissingIsRefusedByNameAndLine) {
  Emulated e;
  struct Refused {
    const char *text, *part;
  };
  for (const Refused &r : {Refused{"tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [t, {%f1,%f2}];", "test.ptx:14:"},
                           Refused{"wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned is not supported"},
                           Refused{"add.s32.banana %r1, %r2, %r3;", "'.banana' is unknown"},
                           Refused{"add.s32 %r1, %r2, %rd3;", "has 64 bits, expected 32"},
                           Refused{"add.s32 %r1, %r2, %zz;", "'%zz' is not declared"},
                           Refused{"bra NOWHERE;", "label 'NOWHERE' is not defined"},
                           Refused{"add.s32 %r1, %r2;", "expected 3 operands"},
                           Refused{"mov.u32 %r1, 0f12;", "hex digits"}}) {
    Status status = e.tryLoad(kernelText("", std::string("\n") + r.text));
    EXPECT_FALSE(status.ok()) << r.text;
    EXPECT_NE(status.message().find(r.part), std::string::npos) << status.message();
  }
  EXPECT_EQ(e.tryLoad(kernelText("", "", "sm_90")).code(), vitrify::StatusCode::NotFound);
}

} // namespace
