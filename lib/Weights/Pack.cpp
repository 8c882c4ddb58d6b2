//===- Pack.cpp - weight layouts that x86 kernels read --------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A panel is a transposition of groups of I elements. Groups of 4 bytes (f32 by 1,
// bf16 by 2, codes by 4) go by blocks of 16 x 16 through vector registers; all
// others element by element.
//===----------------------------------------------------------------------===//
#include "PackBlocks.h"
#include "vitrify/Support/Float8.h"
#include "vitrify/Weights/Recipe.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace vitrify;

namespace {

/// `n` elements of one type to another.
using Convert = void (*)(const std::byte *in, std::byte *out, size_t n);

template <size_t Bytes> void move(const std::byte *in, std::byte *out, size_t n) { std::memcpy(out, in, n * Bytes); }

template <typename In, typename Out, void (*F)(const In *, Out *, size_t)>
void convert(const std::byte *in, std::byte *out, size_t n) {
  F(reinterpret_cast<const In *>(in), reinterpret_cast<Out *>(out), n);
}

/// E4M3 codes to bf16 by shifts: every code's value is a bf16 (3 fraction bits), subnormals through an exact product.
__attribute__((always_inline)) inline void e4m3ToBF16Body(const uint8_t *in, uint16_t *out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint32_t code = in[i], magnitude = code & 0x7f;
    uint32_t normal = (magnitude << 20) + (120u << 23);
    uint32_t subnormal = std::bit_cast<uint32_t>(float(int(magnitude)) * 0x1p-9f);
    uint32_t bits = magnitude < 8 ? subnormal : normal;
    bits = magnitude == 0x7f ? 0x7fc00000u : bits;
    out[i] = uint16_t(bits >> 16 | (code & 0x80) << 8);
  }
}
void e4m3ToBF16Portable(const std::byte *in, std::byte *out, size_t n) {
  e4m3ToBF16Body(reinterpret_cast<const uint8_t *>(in), reinterpret_cast<uint16_t *>(out), n);
}

template <void (*Widen)(const uint8_t *, float *, size_t), void (*Narrow)(const float *, uint16_t *, size_t)>
void codesToHalf(const std::byte *in, std::byte *out, size_t n) {
  float buffer[256];
  for (size_t i = 0; i < n; i += 256) {
    size_t part = std::min<size_t>(256, n - i);
    Widen(reinterpret_cast<const uint8_t *>(in) + i, buffer, part);
    Narrow(buffer, reinterpret_cast<uint16_t *>(out) + i, part);
  }
}

Convert findConvert(DType from, DType to) {
  if (from == to)
    return from == DType::F32                                ? move<4>
           : from == DType::BF16 || from == DType::F16       ? move<2>
           : from == DType::F8E4M3 || from == DType::I8      ? move<1>
                                                             : nullptr;
  switch (from) {
  case DType::F8E4M3:
    if (to == DType::BF16)
      return e4m3ToBF16Portable;
    if (to == DType::F16)
      return codesToHalf<&decodeE4M3, &encodeF16>;
    return to == DType::F32 ? convert<uint8_t, float, &decodeE4M3> : nullptr;
  case DType::BF16: return to == DType::F32 ? convert<uint16_t, float, &decodeBF16> : nullptr;
  case DType::F16: return to == DType::F32 ? convert<uint16_t, float, &decodeF16> : nullptr;
  case DType::F32:
    if (to == DType::BF16)
      return convert<float, uint16_t, &encodeBF16>;
    return to == DType::F16 ? convert<float, uint16_t, &encodeF16> : nullptr;
  default: return nullptr;
  }
}

struct Geometry {
  int64_t rows, cols;        ///< N, K
  int64_t panels, groups;    ///< ceil(N / W), ceil(K / I)
  int64_t header;            ///< bytes of a panel before its first group
  size_t inBytes, outBytes;  ///< of an element
};

Geometry geometryOf(const PackLayout &layout, DType stored, std::span<const int64_t> shape) {
  Geometry g{1, 1, 0, 0, layout.sums ? 4 * layout.width : 0, dtypeBits(stored) / 8, dtypeBits(layout.dtype) / 8};
  if (shape.size() == 1)
    g.cols = shape[0];
  else if (shape.size() > 1)
    g.rows = shape[0];
  for (size_t i = 1; i < shape.size(); ++i)
    g.cols *= shape[i];
  g.panels = (g.rows + layout.width - 1) / layout.width;
  g.groups = (g.cols + layout.interleave - 1) / layout.interleave;
  return g;
}

/// -128 times the sum of each column's codes, as i32; 0 beyond N.
void packSums(const PackLayout &layout, const Geometry &g, const std::byte *source, std::byte *panel, int64_t firstRow) {
  for (int64_t w = 0; w < layout.width; ++w) {
    int32_t sum = 0;
    if (firstRow + w < g.rows) {
      const auto *row = reinterpret_cast<const int8_t *>(source) + (firstRow + w) * g.cols;
      for (int64_t k = 0; k < g.cols; ++k)
        sum += row[k];
    }
    sum *= -128;
    std::memcpy(panel + 4 * w, &sum, 4);
  }
}

/// Any width and interleave: one group after the other.
void packPanelAny(const PackLayout &layout, const Geometry &g, Convert convert, const std::byte *source,
                  std::byte *panel, int64_t firstRow) {
  const int64_t width = layout.width, inter = layout.interleave;
  const size_t groupBytes = size_t(inter) * g.outBytes;
  std::memset(panel, 0, size_t(g.groups * width) * groupBytes);
  for (int64_t w = 0; w < std::min(width, g.rows - firstRow); ++w) {
    const std::byte *row = source + size_t((firstRow + w) * g.cols) * g.inBytes;
    for (int64_t k = 0; k < g.groups; ++k)
      convert(row + size_t(k * inter) * g.inBytes, panel + size_t(k * width + w) * groupBytes,
              size_t(std::min(inter, g.cols - k * inter)));
  }
}

typedef uint32_t Vec __attribute__((vector_size(64)));

/// 16 x 16 transposition in place: four perfect shuffles of the rows.
__attribute__((always_inline)) inline void transpose16(Vec *r) {
  Vec t[16];
#define VITRIFY_SHUFFLE(from, to)                                                                                      \
  for (int i = 0; i < 8; ++i) {                                                                                        \
    to[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); \
    to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,    \
                                            30, 15, 31);                                                               \
  }
  VITRIFY_SHUFFLE(r, t)
  VITRIFY_SHUFFLE(t, r)
  VITRIFY_SHUFFLE(r, t)
  VITRIFY_SHUFFLE(t, r)
#undef VITRIFY_SHUFFLE
}

/// Groups of 4 bytes, a width that 16 divides.
template <bool CodesToBF16>
__attribute__((always_inline)) inline void packPanel16Body(const PackLayout &layout, const Geometry &g, Convert convert,
                                                           const std::byte *source, std::byte *panel,
                                                           int64_t firstRow) {
  const int64_t width = layout.width, inter = layout.interleave, step = 16 * inter;
  for (int64_t k = 0; k < g.groups; k += 16) {
    const size_t elements = size_t(std::min(step, g.cols - k * inter));
    const int64_t lines = std::min<int64_t>(16, g.groups - k);
    for (int64_t w = 0; w < width; w += 16) {
      Vec block[16];
      for (int64_t i = 0; i < 16; ++i) {
        block[i] = Vec{};
        int64_t row = firstRow + w + i;
        if (row >= g.rows)
          continue;
        const std::byte *in = source + size_t(row * g.cols + k * inter) * g.inBytes;
        if constexpr (CodesToBF16) {
          if (elements == 32) {
            e4m3ToBF16Body(reinterpret_cast<const uint8_t *>(in), reinterpret_cast<uint16_t *>(&block[i]), 32);
            continue;
          }
        }
        convert(in, reinterpret_cast<std::byte *>(&block[i]), elements);
      }
      transpose16(block);
      std::byte *out = panel + size_t(k * width + w) * 4;
      for (int64_t i = 0; i < lines; ++i)
        std::memcpy(out + size_t(i * width) * 4, &block[i], 64);
    }
  }
}

using PackPanel = void (*)(const PackLayout &, const Geometry &, Convert, const std::byte *, std::byte *, int64_t);

#if defined(__x86_64__)
#define VITRIFY_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2")))
#define VITRIFY_AVX2 __attribute__((target("avx2")))
template <bool Codes>
VITRIFY_AVX512 void packPanelAvx512(const PackLayout &layout, const Geometry &g, Convert convert,
                                    const std::byte *source, std::byte *panel, int64_t firstRow) {
  packPanel16Body<Codes>(layout, g, convert, source, panel, firstRow);
}
template <bool Codes>
VITRIFY_AVX2 void packPanelAvx2(const PackLayout &layout, const Geometry &g, Convert convert, const std::byte *source,
                                std::byte *panel, int64_t firstRow) {
  packPanel16Body<Codes>(layout, g, convert, source, panel, firstRow);
}
VITRIFY_AVX512 void e4m3ToBF16Avx512(const std::byte *in, std::byte *out, size_t n) {
  e4m3ToBF16Body(reinterpret_cast<const uint8_t *>(in), reinterpret_cast<uint16_t *>(out), n);
}

/// High and low bytes of the bf16 of the 128 codes without a sign.
struct HalvesOfCodes {
  alignas(64) uint8_t low[128], high[128];
  HalvesOfCodes() {
    for (unsigned i = 0; i < 128; ++i) {
      uint8_t code = uint8_t(i);
      uint16_t bits;
      e4m3ToBF16Body(&code, &bits, 1);
      low[i] = uint8_t(bits & 0xff);
      high[i] = uint8_t(bits >> 8);
    }
  }
};

/// 64 codes at a time, each half of a bf16 from a table of 128 bytes.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi"))) void e4m3ToBF16Vbmi(const std::byte *in, std::byte *out,
                                                                                    size_t n) {
  static const HalvesOfCodes table;
  const __m512i low0 = _mm512_load_si512(table.low), low1 = _mm512_load_si512(table.low + 64);
  const __m512i high0 = _mm512_load_si512(table.high), high1 = _mm512_load_si512(table.high + 64);
  const __m512i sign = _mm512_set1_epi8(char(0x80));
  // Unpacking takes 8 bytes of each 16: with the quarters of the codes spread so, its results are in order.
  const __m512i spread = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    // The processor's own stream ends at each page of the file.
    _mm_prefetch(reinterpret_cast<const char *>(in) + i + 4096, _MM_HINT_T0);
    __m512i codes = _mm512_permutexvar_epi64(spread, _mm512_loadu_si512(in + i));
    __m512i low = _mm512_permutex2var_epi8(low0, codes, low1);
    __m512i high = _mm512_permutex2var_epi8(high0, codes, high1);
    high = _mm512_ternarylogic_epi64(high, codes, sign, 0xf8); // high | (codes & sign)
    _mm512_storeu_si512(out + 2 * i, _mm512_unpacklo_epi8(low, high));
    _mm512_storeu_si512(out + 2 * i + 64, _mm512_unpackhi_epi8(low, high));
  }
  e4m3ToBF16Portable(in + i, out + 2 * i, n - i);
}
#endif

template <bool Codes>
void packPanelPortable(const PackLayout &layout, const Geometry &g, Convert convert, const std::byte *source,
                       std::byte *panel, int64_t firstRow) {
  packPanel16Body<Codes>(layout, g, convert, source, panel, firstRow);
}

template <bool Codes> PackPanel choosePanel16() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return packPanelAvx512<Codes>;
  if (__builtin_cpu_supports("avx2"))
    return packPanelAvx2<Codes>;
#endif
  return packPanelPortable<Codes>;
}

StatusOr<int64_t> parseField(std::string_view text, char letter, int64_t max, std::string_view layout) {
  int64_t value = 0;
  if (text.size() > 1 && text[0] == letter) {
    auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= max)
      return value;
  }
  return unsupported("weight layout '" + std::string(layout) + "': expected " + letter + "1 to " + letter +
                     std::to_string(max) + ", found '" + std::string(text) + "'");
}

} // namespace

StatusOr<PackLayout> vitrify::parseLayout(std::string_view layout, DType stored) {
  PackLayout result;
  result.dtype = stored;
  if (layout == "nk")
    return result;
  std::string_view parts[5];
  size_t count = 0;
  for (size_t begin = 0; begin <= layout.size() && count < 5; ++count) {
    size_t end = count == 4 ? layout.size() : std::min(layout.find(':', begin), layout.size());
    parts[count] = layout.substr(begin, end - begin);
    begin = end + 1;
  }
  std::string_view dtype;
  if (parts[0] == "nk" && count == 2) {
    dtype = parts[1];
  } else if (parts[0] == "panel" && (count == 4 || (count == 5 && parts[4] == "sums"))) {
    result.sums = count == 5;
    result.panels = true;
    VITRIFY_ASSIGN_OR_RETURN(result.width, parseField(parts[1], 'w', 1024, layout));
    VITRIFY_ASSIGN_OR_RETURN(result.interleave, parseField(parts[2], 'k', 64, layout));
    dtype = parts[3];
  } else {
    return unsupported("weight layout '" + std::string(layout) +
                       "' is unknown, expected nk, nk:DTYPE or panel:wW:kI:DTYPE[:sums]");
  }
  VITRIFY_ASSIGN_OR_RETURN(result.dtype, parseDType(dtype));
  if (stored == DType::F4E2M1) {
    const int64_t expected = result.dtype == DType::F32 ? 1 : result.dtype == DType::BF16 ? 2 : result.dtype == stored ? kNvfp4Block : 0;
    if (!result.panels || result.sums || result.interleave != expected)
      return unsupported("weight layout '" + std::string(layout) + "' cannot be made from F4, expected panels of k1:F32, k2:BF16 or k16:F4");
    result.blocks = true;
    return result;
  }
  if (!findConvert(stored, result.dtype))
    return unsupported("weight layout '" + std::string(layout) + "' cannot be made from " +
                       std::string(dtypeName(stored)));
  if (result.sums && (result.dtype != DType::I8 || (result.interleave != 1 && result.interleave != 2 && result.interleave != 4)))
    return unsupported("weight layout '" + std::string(layout) + "': sums are of I8 in groups of 1, 2 or 4");
  return result;
}

std::string vitrify::panelLayout(int64_t width, int64_t interleave, DType dtype, bool sums) {
  return "panel:w" + std::to_string(width) + ":k" + std::to_string(interleave) + ":" + std::string(dtypeName(dtype)) +
         (sums ? ":sums" : "");
}

StatusOr<std::vector<int64_t>> vitrify::packedShape(const PackLayout &layout, std::span<const int64_t> shape) {
  if (!layout.panels)
    return std::vector<int64_t>(shape.begin(), shape.end());
  if (layout.blocks) {
    VITRIFY_ASSIGN_OR_RETURN(BlockGeometry b, blockGeometry(layout, shape));
    if (layout.dtype == DType::F4E2M1)
      return std::vector<int64_t>{b.panels, b.groups, nvfp4Columns(kNvfp4Block) * layout.width};
    return std::vector<int64_t>{b.panels, b.groups * kNvfp4Block / layout.interleave, layout.width * layout.interleave};
  }
  VITRIFY_RETURN_IF_ERROR(elementCount(shape).status());
  Geometry g = geometryOf(layout, layout.dtype, shape);
  return std::vector<int64_t>{g.panels, g.groups + (layout.sums ? 4 / layout.interleave : 0),
                              layout.width * layout.interleave};
}

StatusOr<int64_t> vitrify::packedBytes(const PackLayout &layout, std::span<const int64_t> shape) {
  VITRIFY_ASSIGN_OR_RETURN(std::vector<int64_t> packed, packedShape(layout, shape));
  return tensorBytes(layout.dtype, packed);
}

int64_t vitrify::packUnits(const PackLayout &layout, std::span<const int64_t> shape) {
  if (layout.blocks) {
    auto blocks = blockGeometry(layout, shape);
    return blocks ? blocks->panels : 0;
  }
  Geometry g = geometryOf(layout, layout.dtype, shape);
  return layout.panels ? g.panels : (g.rows + 63) / 64;
}

void vitrify::pack(const PackLayout &layout, DType stored, std::span<const int64_t> shape, const std::byte *source,
                   std::byte *packed, int64_t begin, int64_t end) {
  if (layout.blocks) {
    if (auto blocks = blockGeometry(layout, shape))
      packBlocks(layout, *blocks, source, packed, begin, end);
    return;
  }
  Geometry g = geometryOf(layout, stored, shape);
  Convert convert = findConvert(stored, layout.dtype);
  const bool codes = stored == DType::F8E4M3 && layout.dtype == DType::BF16;
#if defined(__x86_64__)
  if (codes && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    convert = __builtin_cpu_supports("avx512vbmi") && !layout.panels ? e4m3ToBF16Vbmi : e4m3ToBF16Avx512;
#endif
  if (!layout.panels) {
    int64_t first = begin * 64, last = std::min(end * 64, g.rows);
    if (first < last)
      convert(source + size_t(first * g.cols) * g.inBytes, packed + size_t(first * g.cols) * g.outBytes,
              size_t((last - first) * g.cols));
    return;
  }
  const bool vectors = size_t(layout.interleave) * g.outBytes == 4 && layout.width % 16 == 0;
  const PackPanel panel = !vectors ? packPanelAny : codes ? choosePanel16<true>() : choosePanel16<false>();
  const size_t panelBytes = size_t(g.header) + size_t(g.groups * layout.width * layout.interleave) * g.outBytes;
  for (int64_t p = begin; p < end; ++p) {
    std::byte *out = packed + size_t(p) * panelBytes;
    if (layout.sums)
      packSums(layout, g, source, out, p * layout.width);
    panel(layout, g, convert, source, out + g.header, p * layout.width);
  }
}
