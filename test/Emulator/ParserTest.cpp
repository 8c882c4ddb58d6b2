//===- ParserTest.cpp - what the PTX parser refuses -------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Wrong and hostile text: one error with its line each, never a crash. What the
// fuzzer found is here in small.
//===----------------------------------------------------------------------===//
#include "Harness.h"

#include "vitrify/Emulator/InstructionSet.h"

#include <algorithm>

using namespace vitrify::emulator;
using namespace vitrify::emulator::test;
using vitrify::Status;

namespace {

std::string times(const std::string &text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i)
    out += text;
  return out;
}

std::string head(const std::string &rest) { return ".version 8.7\n.target sm_89\n.address_size 64\n" + rest; }

struct Refused {
  const char *name;
  std::string text;
  const char *message; ///< a part of it, with the line
};

TEST(Parser, HostileTextIsRefusedWithItsLine) {
  const std::string deep = times("{", 100000);
  const Refused cases[] = {
      {"initialiser", head(".global .u32 x[4] =\n" + deep + "1;"), "test.ptx:5: nested more than 64 levels deep"},
      {"operand", kernelText("", "mov.b64\n" + deep + "%r1;"), "test.ptx:14: nested more than 64 levels deep"},
      {"list", kernelText("", "call " + times("(", 100000) + ";"), "nested more than 64 levels deep"},
      {"constant", head(".global .u32 x[" + times("(", 100000) + "1];"), "test.ptx:4: nested more than 64 levels deep"},
      {"minus", kernelText("", "mov.u32 %r1, " + times("-", 100000) + "1;"), "nested more than 64 levels deep"},
      {"complement", kernelText("", "ld.global.u32 %r1, [%rd1+" + times("~", 100000) + "1];"), "nested more than 64 levels"},
      {"scopes", kernelText("", times("{", 100000)), "scopes are nested too deeply"},
      {"open scope", kernelText("", "{"), "the body of 'k' is not closed"},
      {"section", head(".section .debug { {"), "'{' is not closed"},
      {"registers", kernelText("", ".reg .b32 %x<1048577>;"), "a function has more than 1048576 registers"},
      {"many registers", kernelText("", ".reg .b32 %x<1000000>;\n.reg .b32 %y<1000000>;"),
       "test.ptx:14: a function has more than 1048576 registers"},
      {"shared", kernelText("", ".shared .b8 x[68719476736];"), "variable 'x' of 68719476736 bytes is too large for .shared"},
      {"local", kernelText("", ".local .b8 x[16777217];"), "too large for .local memory"},
      {"parameter", kernelText(".param .b8 x[4294967296]", ""), "too large for .param memory"},
      {"array", head(".global .b8 x[99999999999999];"), "array size 99999999999999 is out of range"},
      {"names", head(".global .b32 x<70000>;"), "a range of variables needs a count up to 65536"},
      {"threads", head(".visible .entry k() .maxntid 4294967296, 4294967296, 1 { ret; }"), "threads, expected 1 to 1024"},
      {"target", ".version 8.7\n.target sm_" + times("8", 100) + "\n", "the PTX needs a newer chip"},
      {"version", ".version 1e300\n.target sm_89\n", "outside of what is read"},
      {"string", head(".file 1 \"abc"), "test.ptx:4: string is not closed"},
      {"comment", head("\n/* never"), "test.ptx:5: comment is not closed"},
      {"byte", head("\x80"), "test.ptx:4: unexpected byte 128"},
      {"number", kernelText("", "mov.u64 %rd1, 0x1ffffffffffffffff;"), "does not fit in 64 bits"},
      {"hex float", kernelText("", "mov.f32 %f1, 0f123;"), "float constant needs 8 hex digits"},
      {"label", kernelText("", "bra nowhere;"), "label 'nowhere' is not defined"},
      {"label twice", kernelText("", "a: a:"), "label 'a' is defined twice"},
      {"no operand", kernelText("", "stackrestore.u64;"), "expected 1 operands, found 0"},
      {"shared in all", head(times(".shared .b8 x[16777216];\n", 80) + ".visible .entry k() { ret; }"), "shared variables take"},
  };
  for (const Refused &c : cases) {
    Emulated e;
    Status status = e.tryLoad(c.text);
    ASSERT_FALSE(status.ok()) << c.name;
    EXPECT_NE(status.message().find(c.message), std::string::npos) << c.name << ": " << status.message();
    EXPECT_NE(status.message().find("test.ptx"), std::string::npos) << c.name << ": " << status.message();
  }
}

TEST(Parser, WhatIsJustWithinTheBoundsIsRead) {
  Emulated e;
  e.load(head(".global .u32 x = " + times("(", 60) + "7" + times(")", 60) + ";\n.visible .entry k() {\n" + times("{", 250) +
              times("}", 250) + "ret;\n}\n"));
  auto x = e.loaded->variable("x");
  ASSERT_TRUE(x.ok());
  EXPECT_EQ(e.download<uint32_t>(x->address, 1)[0], 7u);
}

TEST(Parser, ExtremeOffsetsWrap) {
  Emulated e;
  e.load(kernelText(".param .u64 a", "ld.param.u64 %rd1, [a];\n"
                                     "st.global.u32 [%rd1 - -9223372036854775808 - 0x7fffffffffffffff - 1], 7;"));
  uint64_t a = e.allocate(4);
  e.runOk(oneBlock(1), a);
  EXPECT_EQ(e.download<uint32_t>(a, 1)[0], 7u);
}

TEST(Parser, KnowsItsInstructionSet) {
  auto names = opcodes();
  EXPECT_TRUE(std::binary_search(names.begin(), names.end(), "mma"));
  Emulated e;
  e.load(kernelText("", "add.u32 %r1, 1, 2; bar.sync 0;"));
  auto keys = executorKeys(*e.loaded);
  EXPECT_EQ(keys, (std::vector<std::string>{"add.32", "kind.barrier", "kind.exit"}));
  auto all = executorKeys();
  EXPECT_TRUE(std::includes(all.begin(), all.end(), keys.begin(), keys.end()));
}

} // namespace
