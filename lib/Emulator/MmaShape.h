//===- MmaShape.h - the shape of a matrix instruction -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Packed by the decoder into Inst::imm, unpacked by the executors.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

namespace vitrify::emulator {

enum class MatrixType : uint8_t { F16, BF16, TF32, E4M3, E5M2, S8, U8, F64 };

struct MmaShape {
  uint8_t m = 16, n = 8, k = 16;
  MatrixType a = MatrixType::F16, b = MatrixType::F16;
  bool halfC = false, halfD = false; ///< f16 accumulators
  bool satfinite = false;
  uint8_t dRegs = 4, aRegs = 4, bRegs = 2, cRegs = 4;
  bool rowA = true, rowB = false;    ///< layouts, for wmma

  /// Elements in a 32-bit register.
  uint32_t perRegister() const { return a >= MatrixType::E4M3 && a <= MatrixType::U8 ? 4 : a == MatrixType::TF32 ? 1 : 2; }

  uint64_t pack() const {
    return uint64_t(m) | uint64_t(n) << 6 | uint64_t(k) << 12 | uint64_t(a) << 20 | uint64_t(b) << 24 |
           uint64_t(halfC) << 28 | uint64_t(halfD) << 29 | uint64_t(satfinite) << 30 | uint64_t(dRegs) << 32 |
           uint64_t(aRegs) << 38 | uint64_t(bRegs) << 44 | uint64_t(cRegs) << 50 | uint64_t(rowA) << 56 |
           uint64_t(rowB) << 57;
  }
  static MmaShape unpack(uint64_t v) {
    MmaShape s;
    s.m = v & 63;
    s.n = v >> 6 & 63;
    s.k = v >> 12 & 63;
    s.a = MatrixType(v >> 20 & 15);
    s.b = MatrixType(v >> 24 & 15);
    s.halfC = v >> 28 & 1;
    s.halfD = v >> 29 & 1;
    s.satfinite = v >> 30 & 1;
    s.dRegs = v >> 32 & 63;
    s.aRegs = v >> 38 & 63;
    s.bRegs = v >> 44 & 63;
    s.cRegs = v >> 50 & 63;
    s.rowA = v >> 56 & 1;
    s.rowB = v >> 57 & 1;
    return s;
  }
};

} // namespace vitrify::emulator
