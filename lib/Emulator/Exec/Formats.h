//===- Formats.h - rounding to small float formats --------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One exact routine rounds a double to any format of at most 32 bits, and one
// reads it back. E4M3, E5M2, E2M1: OCP 8-bit and microscaling specifications.
//===----------------------------------------------------------------------===//
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace vitrify::emulator {

enum Rounding : uint8_t { RndNone, RndRN, RndRZ, RndRM, RndRP, RndRNI, RndRZI, RndRMI, RndRPI, RndRNA };
enum CvtFlag : uint8_t { CvtFtz = 1, CvtSat = 2, CvtSatfinite = 4, CvtRelu = 8 };

struct Format {
  int expBits, manBits, bias;
  bool hasInf;           ///< the top exponent is infinity and NaN
  uint32_t maxCode, nan; ///< largest finite code; the canonical NaN
};
inline constexpr Format kF16{5, 10, 15, true, 0x7bff, 0x7fff};
inline constexpr Format kBF16{8, 7, 127, true, 0x7f7f, 0x7fff};
inline constexpr Format kF32{8, 23, 127, true, 0x7f7fffff, 0x7fffffff};
inline constexpr Format kE4M3{4, 3, 7, false, 0x7e, 0x7f};
inline constexpr Format kE5M2{5, 2, 15, true, 0x7b, 0x7f};
inline constexpr Format kE2M1{2, 1, 1, false, 0x7, 0x7}; // no NaN: NaN becomes the largest

/// Rounds x to the format. `satfinite`: beyond the range gives the largest finite value; else infinity (or NaN where
/// the format has none). The sign is the top bit.
inline uint32_t roundToFormat(double x, const Format &f, Rounding mode, bool satfinite) {
  uint64_t b = std::bit_cast<uint64_t>(x);
  uint32_t signBit = 1u << (f.expBits + f.manBits);
  bool negative = b >> 63;
  if (x != x)
    return f.nan;
  uint32_t sign = negative ? signBit : 0;
  int e = int(b >> 52 & 0x7ff);
  uint64_t man = b & ((uint64_t(1) << 52) - 1);
  if (e == 0x7ff)
    return satfinite ? sign | f.maxCode : f.hasInf ? sign | (f.maxCode + 1) : sign | f.nan;
  if (e == 0) {
    if (man == 0)
      return sign;
    // A subnormal double is far below every format: keep it as a sticky value.
    e = 1;
  } else {
    man |= uint64_t(1) << 52;
  }
  int exponent = e - 1023; // value = man * 2^(exponent - 52)
  int minExp = 1 - f.bias;
  int drop = 52 - f.manBits + (exponent < minExp ? minExp - exponent : 0);
  uint64_t kept, rest, half;
  if (drop > 62) {
    kept = 0;
    rest = 1;
    half = 2;
  } else {
    kept = man >> drop;
    rest = man & ((uint64_t(1) << drop) - 1);
    half = uint64_t(1) << (drop - 1);
  }
  bool up = false;
  switch (mode) {
  case RndRZ: break;
  case RndRM: up = rest && negative; break;
  case RndRP: up = rest && !negative; break;
  case RndRNA: up = rest >= half; break;
  default: up = rest > half || (rest == half && (kept & 1)); break;
  }
  kept += up;
  // kept counts units of the last place from the smallest normal (or subnormal) on; the carry moves the exponent.
  uint64_t code = exponent < minExp ? kept : kept + (uint64_t(exponent - minExp) << f.manBits);
  if (code > f.maxCode) {
    bool towardZero = mode == RndRZ || (mode == RndRM && !negative) || (mode == RndRP && negative);
    code = satfinite || towardZero ? f.maxCode : f.hasInf ? f.maxCode + 1 : f.nan;
  }
  return sign | uint32_t(code);
}

inline double formatToDouble(uint32_t code, const Format &f) {
  uint32_t signBit = 1u << (f.expBits + f.manBits);
  bool negative = code & signBit;
  code &= signBit - 1;
  uint32_t e = code >> f.manBits, man = code & ((1u << f.manBits) - 1);
  if (f.hasInf && e == (1u << f.expBits) - 1)
    return man ? std::bit_cast<double>(uint64_t(0x7ff8) << 48)
               : std::bit_cast<double>((negative ? uint64_t(0xfff0) : uint64_t(0x7ff0)) << 48);
  if (!f.hasInf && f.expBits == 4 && code == f.nan)
    return std::bit_cast<double>(uint64_t(0x7ff8) << 48);
  double v = e == 0 ? std::ldexp(double(man), 1 - f.bias - f.manBits)
                    : std::ldexp(double(man | (1u << f.manBits)), int(e) - f.bias - f.manBits);
  return negative ? -v : v;
}

/// A 64-bit integer as a double rounded to odd, so that rounding to fewer bits afterwards is right.
inline double oddDouble(uint64_t magnitude, bool negative) {
  int width = 64 - std::countl_zero(magnitude | 1);
  if (width > 53) {
    int drop = width - 53;
    uint64_t rest = magnitude & ((uint64_t(1) << drop) - 1);
    magnitude = magnitude >> drop << drop;
    if (rest)
      magnitude |= uint64_t(1) << drop;
  }
  double d = double(magnitude);
  return negative ? -d : d;
}

} // namespace vitrify::emulator
