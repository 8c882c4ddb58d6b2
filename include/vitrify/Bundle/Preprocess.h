//===- Preprocess.h - how an image becomes the model's input ----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// preprocess.json of a bundle; lib/Bundle/Format.md describes it field by field.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify {

/// Steps in order: decode to u8 with `channels` channels, resize, centre crop, times `rescale`, minus mean, by std.
struct Preprocess {
  enum class Resize : uint8_t {
    None,         ///< the image must have the model's size
    Exact,        ///< to height x width
    ShortestEdge, ///< the shorter side to `edge`, keeping the aspect
  };
  /// As in PIL.
  enum class Interpolation : uint8_t { Nearest, Box, Bilinear, Hamming, Bicubic, Lanczos };

  int64_t channels = 3;      ///< 1 or 3
  int64_t height = 0;        ///< of the tensor, after the crop
  int64_t width = 0;
  Resize resize = Resize::None;
  int64_t resizeHeight = 0;  ///< Exact
  int64_t resizeWidth = 0;
  int64_t edge = 0;          ///< ShortestEdge
  Interpolation interpolation = Interpolation::Bilinear;
  bool centerCrop = false;   ///< to height x width
  double rescale = 1.0 / 255;
  std::vector<double> mean;  ///< one a channel; empty: no normalisation
  std::vector<double> std;   ///< as many as mean, none 0
  std::vector<std::string> labels; ///< by class index; may be empty

  bool operator==(const Preprocess &) const = default;
};

/// preprocess.json with a final newline.
std::string printPreprocess(const Preprocess &preprocess);
/// Parses and checks; the error names the field.
StatusOr<Preprocess> parsePreprocess(std::string_view json);
std::string_view interpolationName(Preprocess::Interpolation interpolation);

} // namespace vitrify
