//===- Elements.h - tensors as f32 values --------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Float8.h"
#include "vitrify/Weights/Recipe.h"

#include <cstdint>
#include <vector>

namespace vitrify {

/// The elements of a floating-point tensor as f32; F32 bytes are taken over, others converted.
class Floats {
public:
  Floats() = default;
  explicit Floats(TensorData data);

  const float *data() const {
    return converted.empty() ? reinterpret_cast<const float *>(bytes.data()) : converted.data();
  }
  int64_t size() const { return count; }

private:
  TensorBytes bytes; ///< from operator new: aligned for f32
  std::vector<float, UninitializedAllocator<float>> converted;
  int64_t count = 0;
};

/// Rounds to F32, F16 or BF16.
void encodeFloats(const float *in, DType to, std::byte *out, int64_t count);

} // namespace vitrify
