//===- PackBlocks.cpp - NVFP4 weights in panels ---------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A group of a panel is 16 columns of K: eight runs of W bytes, each a pair of codes of every row, then W scales. A run
// becomes a run of the kernel's panel, so groups are expanded in the order of both.
//===----------------------------------------------------------------------===//
#include "PackBlocks.h"

#include "vitrify/Support/Float8.h"
#include "vitrify/Weights/Recipe.h"

#include <algorithm>
#include <bit>
#include <cstring>

using namespace vitrify;

namespace {

constexpr int64_t kPairs = kNvfp4Block / 2;       ///< bytes of codes of a block
constexpr int64_t kBlockBytes = kPairs + 1;       ///< with its scale
constexpr int64_t kNibbles = 2 * kBlockBytes;     ///< a block as elements of F4
constexpr int64_t kMaxWidth = 1024;

/// Value of an E2M1 code by shifts, so that loops over it become vector code.
__attribute__((always_inline)) inline float valueOf(uint32_t code) {
  uint32_t magnitude = code & 7;
  uint32_t normal = (magnitude << 22) + (126u << 23);
  uint32_t bits = magnitude < 2 ? magnitude * 0x3f000000u : normal; // 0 or 0.5
  return std::bit_cast<float>(bits | (code & 8) << 28);
}

/// Products of a code and a scale have 6 significant bits and lie between 2^-10 and 2688: exact in bf16.
__attribute__((always_inline)) inline void toBF16(const uint8_t *codes, const float *scales, uint32_t *out, int64_t width) {
  for (int64_t w = 0; w < width; ++w) {
    uint32_t low = std::bit_cast<uint32_t>(valueOf(codes[w]) * scales[w]);
    uint32_t high = std::bit_cast<uint32_t>(valueOf(codes[w] >> 4u) * scales[w]);
    out[w] = low >> 16 | (high & 0xffff0000u);
  }
}

__attribute__((always_inline)) inline void toF32(const uint8_t *codes, const float *scales, float *out, int64_t width) {
  for (int64_t w = 0; w < width; ++w) {
    out[w] = valueOf(codes[w]) * scales[w];
    out[width + w] = valueOf(codes[w] >> 4u) * scales[w];
  }
}

__attribute__((always_inline)) inline void expandBody(DType to, const uint8_t *group, int64_t width, std::byte *out) {
  float scales[kMaxWidth];
  decodeE4M3(group + kPairs * width, scales, static_cast<size_t>(width));
  for (int64_t pair = 0; pair < kPairs; ++pair) {
    if (to == DType::BF16)
      toBF16(group + pair * width, scales, reinterpret_cast<uint32_t *>(out) + pair * width, width);
    else
      toF32(group + pair * width, scales, reinterpret_cast<float *>(out) + 2 * pair * width, width);
  }
}

using Expand = void (*)(DType, const uint8_t *, int64_t, std::byte *);
void expandPortable(DType to, const uint8_t *group, int64_t width, std::byte *out) { expandBody(to, group, width, out); }
#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2"))) void
expandAvx512(DType to, const uint8_t *group, int64_t width, std::byte *out) {
  expandBody(to, group, width, out);
}
__attribute__((target("avx2"))) void expandAvx2(DType to, const uint8_t *group, int64_t width, std::byte *out) {
  expandBody(to, group, width, out);
}
#endif

Expand chooseExpand() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return expandAvx512;
  if (__builtin_cpu_supports("avx2"))
    return expandAvx2;
#endif
  return expandPortable;
}

} // namespace

StatusOr<BlockGeometry> vitrify::blockGeometry(const PackLayout &layout, std::span<const int64_t> shape) {
  VITRIFY_RETURN_IF_ERROR(elementCount(shape).status());
  if (shape.size() == 2 && shape[1] % kNibbles == 0)
    return BlockGeometry{shape[0], shape[1] / kNibbles, (shape[0] + layout.width - 1) / layout.width, false};
  if (shape.size() == 3 && shape[2] == layout.width * kNibbles)
    return BlockGeometry{shape[0] * layout.width, shape[1], shape[0], true};
  return invalidArgument("blocks of F4 in panels of " + std::to_string(layout.width) + ": expected [N, 18 B] or [panels, B, " +
                         std::to_string(layout.width * kNibbles) + "], found " + shapeString(shape));
}

void vitrify::packBlocks(const PackLayout &layout, const BlockGeometry &geometry, const std::byte *source,
                         std::byte *packed, int64_t begin, int64_t end) {
  static const Expand expand = chooseExpand();
  const int64_t width = layout.width, groupBytes = width * kBlockBytes;
  const int64_t outBytes = layout.dtype == DType::F4E2M1 ? groupBytes : width * kNvfp4Block * (layout.dtype == DType::BF16 ? 2 : 4);
  std::byte buffer[kMaxWidth * kBlockBytes];
  for (int64_t panel = begin; panel < end; ++panel)
    for (int64_t group = 0; group < geometry.groups; ++group) {
      const std::byte *in = source + (panel * geometry.groups + group) * groupBytes;
      if (!geometry.inPanels) {
        std::memset(buffer, 0, static_cast<size_t>(groupBytes));
        for (int64_t w = 0; w < std::min(width, geometry.rows - panel * width); ++w) {
          const std::byte *block = source + ((panel * width + w) * geometry.groups + group) * kBlockBytes;
          for (int64_t i = 0; i < kBlockBytes; ++i)
            buffer[i * width + w] = block[i];
        }
        in = buffer;
      }
      std::byte *out = packed + (panel * geometry.groups + group) * outBytes;
      if (layout.dtype == DType::F4E2M1)
        std::memcpy(out, in, static_cast<size_t>(groupBytes));
      else
        expand(layout.dtype, reinterpret_cast<const uint8_t *>(in), width, out);
    }
}
