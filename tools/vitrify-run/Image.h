//===- Image.h - reads and scales pictures ----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// PNG and JPEG files to the u8 frames that preprocess.json describes.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Preprocess.h"
#include "vitrify/Support/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace vitrify::run {

/// Rows from the top, channels interleaved.
struct Image {
  int64_t width = 0, height = 0, channels = 0;
  std::vector<uint8_t> pixels;
};

/// Decodes by content, not by name, to 1 (grey) or 3 (red, green, blue) channels; alpha is dropped and colours become grey
/// as Pillow's convert() does. Errors name the file and what is wrong with it.
StatusOr<Image> readImage(const std::string &path, int64_t channels);

// Parts of readImage: the samples as they are stored, in 1 to 4 channels.
StatusOr<Image> decodePng(std::span<const std::byte> file);
StatusOr<Image> decodeJpeg(std::span<const std::byte> file);
Image convertChannels(Image image, int64_t channels);

/// Resizes with the filters of Pillow, antialiased when it shrinks. Sizes are at least 1.
Image resize(const Image &image, int64_t width, int64_t height, Preprocess::Interpolation interpolation);
/// The centre; what lies outside of the image is 0.
Image centerCrop(const Image &image, int64_t width, int64_t height);

/// Resize and crop as preprocess.json says. An image of another size is refused when it says no resize.
StatusOr<Image> prepare(Image image, const Preprocess &preprocess);

} // namespace vitrify::run
