//===- Elements.cpp - tensors as f32 values ------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Elements.h"

#include <cmath>
#include <cstring>

using namespace vitrify;

/// Narrows as IEEE does; beyond f32's range the C++ conversion is undefined.
static float narrow(double value) {
  if (value >= 0x1.ffffffp127)
    return HUGE_VALF;
  if (value <= -0x1.ffffffp127)
    return -HUGE_VALF;
  return static_cast<float>(value);
}

Floats::Floats(TensorData data) : bytes(std::move(data.data)) {
  count = static_cast<int64_t>(bytes.size() * 8 / dtypeBits(data.type.dtype));
  size_t n = static_cast<size_t>(count);
  const auto *codes = reinterpret_cast<const uint8_t *>(bytes.data());
  const auto *halves = reinterpret_cast<const uint16_t *>(bytes.data());
  if (data.type.dtype == DType::F32)
    return;
  converted.resize(n);
  switch (data.type.dtype) {
  case DType::F16: decodeF16(halves, converted.data(), n); break;
  case DType::BF16: decodeBF16(halves, converted.data(), n); break;
  case DType::F8E4M3: decodeE4M3(codes, converted.data(), n); break;
  case DType::F8E5M2:
    for (size_t i = 0; i < n; ++i)
      converted[i] = decodeE5M2(codes[i]);
    break;
  case DType::F8E8M0:
    for (size_t i = 0; i < n; ++i)
      converted[i] = decodeE8M0(codes[i]);
    break;
  case DType::F4E2M1: // the first element is the low half of its byte
    for (size_t i = 0; i < n; ++i)
      converted[i] = decodeE2M1(static_cast<uint8_t>(i % 2 ? codes[i / 2] >> 4 : codes[i / 2] & 15));
    break;
  case DType::F64:
    for (size_t i = 0; i < n; ++i) {
      double value;
      std::memcpy(&value, bytes.data() + 8 * i, 8);
      converted[i] = narrow(value);
    }
    break;
  default: break; // Recipe's builders let no other type through
  }
}

void vitrify::encodeFloats(const float *in, DType to, std::byte *out, int64_t count) {
  size_t n = static_cast<size_t>(count);
  switch (to) {
  case DType::F16: encodeF16(in, reinterpret_cast<uint16_t *>(out), n); break;
  case DType::BF16: encodeBF16(in, reinterpret_cast<uint16_t *>(out), n); break;
  default: std::memcpy(out, in, 4 * n); break;
  }
}
