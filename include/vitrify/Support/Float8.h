//===- Float8.h - small floating-point formats ------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Conversions of OCP's E4M3 (FN), E5M2, E2M1, E8M0 and of BF16 and FP16 from and
// to f32. Formats: OCP 8-bit Floating Point Specification 1.0 and OCP Microscaling
// Formats 1.0. Encoding rounds to nearest, ties to even, unless it says otherwise.
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>

namespace vitrify {

/// Largest finite E4M3 value.
inline constexpr float kE4M3Max = 448.0f;
/// Largest E2M1 value.
inline constexpr float kE2M1Max = 6.0f;
/// Largest magnitude of an 8-bit integer code: -128 is none, so that codes are symmetric.
inline constexpr float kI8Max = 127.0f;

/// E4M3 code of x: saturating at +-448 (infinities too), NaN of either sign to 0x7f, -0 keeps its sign.
uint8_t encodeE4M3(float x);
/// Value of an E4M3 code; 0x7f and 0xff are NaN.
float decodeE4M3(uint8_t code);
/// Value of an E5M2 code (infinities and NaNs as in IEEE).
float decodeE5M2(uint8_t code);
/// E2M1 code (0..15) of x: saturating at +-6, NaN to +6 as PTX's cvt.satfinite does, since the format has none.
uint8_t encodeE2M1(float x);
/// Value of the low 4 bits.
float decodeE2M1(uint8_t code);
/// Value 2^(code - 127) of an E8M0 scale; 0xff is NaN.
float decodeE8M0(uint8_t code);

/// BF16 and IEEE binary16; overflow goes to infinity, NaN stays a quiet NaN.
uint16_t encodeBF16(float x);
float decodeBF16(uint16_t bits);
uint16_t encodeF16(float x);
float decodeF16(uint16_t bits);

/// The same over arrays; in and out may not overlap.
void encodeE4M3(const float *in, uint8_t *out, size_t n);
/// Codes of in[i] * factor.
void encodeE4M3Scaled(const float *in, float factor, uint8_t *out, size_t n);
/// E2M1 codes of in[i] * factor, two a byte, the first in the low half; n is even.
void encodeE2M1Scaled(const float *in, float factor, uint8_t *out, size_t n);
/// 8-bit integers nearest to in * factor (ties to even), saturating at +-127; NaN gives 0.
void encodeI8Scaled(const float *in, float factor, int8_t *out, size_t n);
void decodeE4M3(const uint8_t *in, float *out, size_t n);
void encodeBF16(const float *in, uint16_t *out, size_t n);
void decodeBF16(const uint16_t *in, float *out, size_t n);
void encodeF16(const float *in, uint16_t *out, size_t n);
void decodeF16(const uint16_t *in, float *out, size_t n);

} // namespace vitrify
