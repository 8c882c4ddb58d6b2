//===- PatchInput.h - rows of a patch embedding, read from images -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A patch embedding is a linear whose rows are patches. They are never written down: a 16-byte chunk of a row, eight
// columns, is fetched from the image in pieces that lie side by side there. A piece is as many pixels as divide the
// patch's width (8 for patches of 16 and 32, 2 for 14), so it is aligned and within one line of the image: the patch
// divides the image's width.
//===----------------------------------------------------------------------===//
#pragma once

#include "GpuBuilder.h"

namespace vitrify::nvptx {

/// Row (b, i, j) of x is the patch at (i, j) of image b, column (c, y, x) its pixel.
struct PatchInput {
  int64_t channels = 0, patchHeight = 0, patchWidth = 0;
  mlir::Type element;          ///< f32, f16, bf16, i8 or ui8
  Value height, width;         ///< of the image, i64 arguments

  unsigned bytes() const { return element.getIntOrFloatBitWidth() / 8; }
  int64_t columns() const { return channels * patchHeight * patchWidth; }
  /// Pixels fetched at once.
  int piece() const;
};

/// Fetches chunks of rows as 16-bit floats.
class PatchChunks {
public:
  /// `image` is the address of the first pixel; rows are converted to bf16 or f16.
  PatchChunks(GpuBuilder &g, const PatchInput &input, Value image, bool bf16) : g(g), p(input), image(image), bf16(bf16) {}

  /// Address of the first pixel of channel 0 of a patch.
  Value firstPixel(Value patch);
  /// Puts columns [firstColumn, firstColumn + 8) of the patch into shared memory; zeros where `valid` (i1) is false and
  /// past the last column. Pixels of the product's type are copied asynchronously, others converted in registers.
  void copy(Value target, Value firstPixel, Value firstColumn, Value valid);

private:
  Value pixelAt(Value firstPixel, Value column);

  GpuBuilder &g;
  const PatchInput &p;
  Value image;
  bool bf16;
};

} // namespace vitrify::nvptx
