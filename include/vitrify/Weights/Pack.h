//===- Pack.h - weight layouts that x86 kernels read ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Layouts of PlanWeight::layout and their making from the canonical `nk` (row-major
// [N, K], K contiguous): by the compiler into the file, or by the runtime at load.
//
//   "nk"                  the bytes of the file as they are
//   "nk:DTYPE"            the same order, converted to DTYPE
//   "panel:wW:kI:DTYPE"   DTYPE [ceil(N / W)][ceil(K / I)][W][I]: element (n, k) of the weight is at
//                         [n / W][k / I][n % W][k % I]; what lies beyond N or K is zero
//   "panel:wW:kI:I8:sums" the same of I8, I being 1, 2 or 4, each panel after W i32: -128 times the sum of each column's K
//                         elements. An accumulator that starts there takes activations that are stored with 128 added
//
//   "panel:wW:kI:DTYPE"   of a stored F4 weight, which is NVFP4: [N, K / 16 * 18], each 16 E2M1 codes being followed by the
//                         E4M3 byte of their scale. k1:F32 and k2:BF16 hold code times scale, which is exact; k16:F4 is
//                         [ceil(N / W)][K / 16] groups of 9 W bytes: for each pair of columns W bytes, the first column's code
//                         in the low half, then W scales. Both others are made from it as well
//
// DTYPE is F32, BF16, F16, F8_E4M3 or I8. Conversions are exact, or round to nearest even: BF16, F16 and E4M3 codes widen
// (no scale is applied to codes), F32 narrows to BF16 or F16. E4M3 and I8 are otherwise only moved.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/DType.h"
#include "vitrify/Support/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify {

/// A parsed layout.
struct PackLayout {
  bool panels = false;      ///< false: "nk" order
  bool sums = false;        ///< panels begin with sums
  bool blocks = false;      ///< stored as NVFP4
  int64_t width = 1;        ///< W, 1 to 1024
  int64_t interleave = 1;   ///< I, 1 to 64
  DType dtype = DType::F32; ///< of the packed elements
};

/// Reads a layout's name; `stored` is the weight's dtype in the file. Errors name what is wrong, or the conversion that
/// there is not.
StatusOr<PackLayout> parseLayout(std::string_view layout, DType stored);
/// "panel:w64:k2:BF16".
std::string panelLayout(int64_t width, int64_t interleave, DType dtype, bool sums = false);

/// Shape of a packed weight as a tensor: panels are [ceil(N / W), ceil(K / I), W * I], sums counted as groups of the second
/// dimension; "nk" keeps the stored shape.
StatusOr<std::vector<int64_t>> packedShape(const PackLayout &layout, std::span<const int64_t> shape);
/// Bytes of a packed weight of this stored shape (rank 1: N = 1 row; rank > 2: K is the product of all but the first).
StatusOr<int64_t> packedBytes(const PackLayout &layout, std::span<const int64_t> shape);

/// Number of independent pieces that packing can be split into.
int64_t packUnits(const PackLayout &layout, std::span<const int64_t> shape);

/// Makes pieces [begin, end) of the packed weight. `source` is the whole weight as stored, `packed` the whole result; a
/// piece writes all of its bytes, zeros included. The shape is one that packedShape() takes.
void pack(const PackLayout &layout, DType stored, std::span<const int64_t> shape, const std::byte *source,
          std::byte *packed, int64_t begin, int64_t end);

} // namespace vitrify
