//===- Float8.cpp - small floating-point formats -------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Float8.h"

#include <array>
#include <bit>
#include <limits>

using namespace vitrify;

// Loops are compiled for several levels of x86, and the highest that the processor has is called.
#define VITRIFY_INLINE __attribute__((always_inline)) inline
#if defined(__x86_64__)
#define VITRIFY_LOOP(NAME, PARAMETERS, ARGUMENTS, ...)                                                                 \
  namespace {                                                                                                          \
  VITRIFY_INLINE void NAME##Body PARAMETERS __VA_ARGS__                                                                \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2"))) void NAME##Avx512 PARAMETERS {                    \
    NAME##Body ARGUMENTS;                                                                                              \
  }                                                                                                                    \
  __attribute__((target("avx2"))) void NAME##Avx2 PARAMETERS { NAME##Body ARGUMENTS; }                                 \
  }                                                                                                                    \
  void vitrify::NAME PARAMETERS {                                                                                      \
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&                                    \
        __builtin_cpu_supports("avx512dq"))                                                                            \
      NAME##Avx512 ARGUMENTS;                                                                                          \
    else if (__builtin_cpu_supports("avx2"))                                                                           \
      NAME##Avx2 ARGUMENTS;                                                                                            \
    else                                                                                                               \
      NAME##Body ARGUMENTS;                                                                                            \
  }
#else
#define VITRIFY_LOOP(NAME, PARAMETERS, ARGUMENTS, ...) void vitrify::NAME PARAMETERS __VA_ARGS__
#endif

namespace {
constexpr uint32_t kSign = 0x80000000u;
constexpr uint32_t kInfinity = 0x7f800000u;

/// Rounds |x| to a format of `MantissaBits` whose smallest normal exponent is `MinExponent`, and returns exponent and
/// mantissa as one integer. `magnitude` is finite and at most the format's maximum, so that no carry leaves the format.
template <int MantissaBits, int MinExponent, int Bias>
VITRIFY_INLINE uint32_t roundMagnitude(uint32_t magnitude) {
  constexpr int drop = 23 - MantissaBits;
  // Normal: add half an ulp minus one, plus the last kept bit, so that ties go to even; then rebias the exponent.
  uint32_t normal = (magnitude + ((1u << (drop - 1)) - 1) + ((magnitude >> drop) & 1)) >> drop;
  normal -= static_cast<uint32_t>(127 - Bias) << MantissaBits;
  // Subnormal: adding 2^(MinExponent + drop) leaves the value, rounded by the hardware to the format's smallest step, in
  // the low bits of the sum.
  constexpr uint32_t magic = static_cast<uint32_t>(127 + MinExponent + drop) << 23;
  uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + std::bit_cast<float>(magic)) - magic;
  return magnitude < (static_cast<uint32_t>(127 + MinExponent) << 23) ? subnormal : normal;
}

VITRIFY_INLINE uint8_t encodeOne(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t magnitude = bits & ~kSign;
  constexpr uint32_t max = 0x43e00000u; // 448
  uint32_t clamped = magnitude < max ? magnitude : max;
  uint32_t code = roundMagnitude<3, -6, 7>(clamped) | (bits >> 24 & 0x80);
  return static_cast<uint8_t>(magnitude > kInfinity ? 0x7f : code);
}

/// A value of `MantissaBits` and a biased exponent above them; zero exponent is subnormal. No special values.
float decodeFinite(uint32_t sign, uint32_t magnitude, int mantissaBits, int bias) {
  uint32_t exponent = magnitude >> mantissaBits;
  uint32_t mantissa = magnitude & ((1u << mantissaBits) - 1);
  float value;
  if (exponent == 0) // mantissa * 2^(1 - bias - mantissaBits), a power of two that f32 represents
    value = static_cast<float>(mantissa) * std::bit_cast<float>(static_cast<uint32_t>(128 - bias - mantissaBits) << 23);
  else
    value = std::bit_cast<float>((exponent + 127 - bias) << 23 | mantissa << (23 - mantissaBits));
  return sign ? -value : value;
}

VITRIFY_INLINE uint16_t encodeBF16One(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  uint32_t quiet = bits >> 16 | 0x40;
  return static_cast<uint16_t>((bits & ~kSign) > kInfinity ? quiet : rounded);
}

VITRIFY_INLINE uint16_t encodeF16One(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t magnitude = bits & ~kSign;
  uint32_t sign = bits >> 16 & 0x8000;
  // From 65520 on nearest even goes to infinity; below, a carry into the exponent is right as it is.
  uint32_t finite = roundMagnitude<10, -14, 15>(magnitude < 0x477ff000u ? magnitude : 0x477fe000u);
  uint32_t code = magnitude < 0x477ff000u ? finite : 0x7c00u;
  uint32_t nan = 0x7e00u | (magnitude >> 13 & 0x3ff);
  return static_cast<uint16_t>(sign | (magnitude > kInfinity ? nan : code));
}
} // namespace

uint8_t vitrify::encodeE4M3(float x) { return encodeOne(x); }

float vitrify::decodeE4M3(uint8_t code) {
  if ((code & 0x7f) == 0x7f)
    return std::numeric_limits<float>::quiet_NaN();
  return decodeFinite(code & 0x80, code & 0x7f, 3, 7);
}

float vitrify::decodeE5M2(uint8_t code) { return decodeF16(static_cast<uint16_t>(code << 8)); }

uint8_t vitrify::encodeE2M1(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  uint32_t magnitude = bits & ~kSign;
  if (magnitude > kInfinity)
    return 0x7;
  constexpr uint32_t max = 0x40c00000u; // 6
  return static_cast<uint8_t>(roundMagnitude<1, 0, 1>(magnitude < max ? magnitude : max) | (bits >> 28 & 0x8));
}

float vitrify::decodeE2M1(uint8_t code) { return decodeFinite(code & 8, code & 7, 1, 1); }

float vitrify::decodeE8M0(uint8_t code) {
  if (code == 0xff)
    return std::numeric_limits<float>::quiet_NaN();
  // 2^-127 is an f32 subnormal.
  return code == 0 ? std::bit_cast<float>(0x00400000u) : std::bit_cast<float>(static_cast<uint32_t>(code) << 23);
}

uint16_t vitrify::encodeBF16(float x) { return encodeBF16One(x); }
float vitrify::decodeBF16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
uint16_t vitrify::encodeF16(float x) { return encodeF16One(x); }

float vitrify::decodeF16(uint16_t bits) {
  uint32_t magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) // infinity and NaN keep their payload; a NaN becomes quiet
    return std::bit_cast<float>((bits & 0x8000u) << 16 | kInfinity | (magnitude & 0x3ff) << 13 |
                                (magnitude > 0x7c00 ? 0x400000u : 0u));
  return decodeFinite(bits & 0x8000, magnitude, 10, 15);
}

VITRIFY_LOOP(encodeE2M1Scaled, (const float *__restrict in, float factor, uint8_t *__restrict out, size_t n),
             (in, factor, out, n), {
  for (size_t i = 0; i < n; i += 2)
    out[i / 2] = static_cast<uint8_t>(encodeE2M1(in[i] * factor) | encodeE2M1(in[i + 1] * factor) << 4);
})

VITRIFY_LOOP(encodeE4M3, (const float *__restrict in, uint8_t *__restrict out, size_t n), (in, out, n), {
  for (size_t i = 0; i < n; ++i)
    out[i] = encodeOne(in[i]);
})

VITRIFY_LOOP(encodeE4M3Scaled, (const float *__restrict in, float factor, uint8_t *__restrict out, size_t n),
             (in, factor, out, n), {
  for (size_t i = 0; i < n; ++i)
    out[i] = encodeOne(in[i] * factor);
})

VITRIFY_LOOP(encodeI8Scaled, (const float *__restrict in, float factor, int8_t *__restrict out, size_t n),
             (in, factor, out, n), {
  for (size_t i = 0; i < n; ++i) {
    float x = in[i] * factor;
    x = x != x ? 0.0f : x < -kI8Max ? -kI8Max : x > kI8Max ? kI8Max : x;
    // Adding 1.5 * 2^23 rounds to the nearest integer, whose two's complement is then in the low bits.
    out[i] = static_cast<int8_t>(std::bit_cast<uint32_t>(x + 12582912.0f) & 0xff);
  }
})

void vitrify::decodeE4M3(const uint8_t *in, float *out, size_t n) {
  static const auto table = [] {
    std::array<float, 256> values;
    for (unsigned code = 0; code < 256; ++code)
      values[code] = decodeE4M3(static_cast<uint8_t>(code));
    return values;
  }();
  for (size_t i = 0; i < n; ++i)
    out[i] = table[in[i]];
}

VITRIFY_LOOP(encodeBF16, (const float *__restrict in, uint16_t *__restrict out, size_t n), (in, out, n), {
  for (size_t i = 0; i < n; ++i)
    out[i] = encodeBF16One(in[i]);
})

VITRIFY_LOOP(decodeBF16, (const uint16_t *__restrict in, float *__restrict out, size_t n), (in, out, n), {
  for (size_t i = 0; i < n; ++i)
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(in[i]) << 16);
})

VITRIFY_LOOP(encodeF16, (const float *__restrict in, uint16_t *__restrict out, size_t n), (in, out, n), {
  for (size_t i = 0; i < n; ++i)
    out[i] = encodeF16One(in[i]);
})

void vitrify::decodeF16(const uint16_t *in, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i)
    out[i] = decodeF16(in[i]);
}
