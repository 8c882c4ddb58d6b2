//===- Resize.cpp - scales pictures as Pillow does ------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Models are trained on images that Pillow resized: each axis apart, horizontal
// first, with 8-bit values between, weights in 22 fraction bits, and a filter that
// widens with the scale when the image shrinks. Test/Runtime compares with Pillow's
// own results, which are equal in every bit.
//===----------------------------------------------------------------------===//
#include "Image.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

using namespace vitrify;
using namespace vitrify::run;

namespace {

using Interpolation = Preprocess::Interpolation;

double sinc(double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); }

/// Half width of a filter, in pixels of the smaller image.
double supportOf(Interpolation filter) {
  switch (filter) {
  case Interpolation::Nearest: return 0;
  case Interpolation::Box: return 0.5;
  case Interpolation::Bilinear: case Interpolation::Hamming: return 1;
  case Interpolation::Bicubic: return 2;
  case Interpolation::Lanczos: return 3;
  }
  return 0;
}

double weightOf(Interpolation filter, double x) {
  const double distance = std::abs(x);
  switch (filter) {
  case Interpolation::Nearest: return 0;
  case Interpolation::Box: return x > -0.5 && x <= 0.5 ? 1 : 0;
  case Interpolation::Bilinear: return std::max(0.0, 1 - distance);
  case Interpolation::Hamming:
    return distance >= 1 ? 0 : sinc(distance) * (0.54 + 0.46 * std::cos(distance * std::numbers::pi));
  case Interpolation::Bicubic: { // Keys' cubic with a = -0.5
    constexpr double a = -0.5;
    if (distance < 1)
      return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
    if (distance < 2)
      return (((distance - 5) * distance + 8) * distance - 4) * a;
    return 0;
  }
  case Interpolation::Lanczos: return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
  return 0;
}

constexpr int kFraction = 22;

/// The pixels and weights that make one pixel of the result.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

std::vector<Taps> tapsOf(int64_t in, int64_t out, Interpolation filter) {
  const double scale = double(in) / double(out), stretch = std::max(scale, 1.0);
  const double support = supportOf(filter) * stretch;
  std::vector<Taps> result(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    const double center = (double(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, int64_t(center - support + 0.5));
    const int64_t last = std::min<int64_t>(in, int64_t(center + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
      weights.push_back(weightOf(filter, (double(x) - center + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    Taps &taps = result[size_t(i)];
    taps.first = first;
    for (double weight : weights) {
      double normal = (sum != 0 ? weight / sum : weight) * (1 << kFraction);
      taps.weights.push_back(int32_t(normal < 0 ? normal - 0.5 : normal + 0.5));
    }
  }
  return result;
}

uint8_t roundPixel(int64_t sum) { return uint8_t(std::clamp<int64_t>(sum >> kFraction, 0, 255)); }

/// One axis of length `in` to `out`: `outer` lines before it, `inner` values between neighbours on it.
std::vector<uint8_t> resizeAxis(const std::vector<uint8_t> &pixels, int64_t outer, int64_t in, int64_t out,
                                int64_t inner, Interpolation filter) {
  std::vector<uint8_t> result(size_t(outer * out * inner));
  const std::vector<Taps> all = tapsOf(in, out, filter);
  std::vector<int64_t> sums(static_cast<size_t>(inner));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < out; ++i) {
      const Taps &taps = all[size_t(i)];
      std::fill(sums.begin(), sums.end(), int64_t(1) << (kFraction - 1));
      const uint8_t *from = pixels.data() + (o * in + taps.first) * inner;
      for (int32_t weight : taps.weights)
        for (int64_t &sum : sums)
          sum += int64_t(*from++) * weight;
      uint8_t *to = result.data() + (o * out + i) * inner;
      for (int64_t sum : sums)
        *to++ = roundPixel(sum);
    }
  return result;
}

} // namespace

Image vitrify::run::resize(const Image &image, int64_t width, int64_t height, Interpolation filter) {
  Image result{width, height, image.channels, {}};
  if (filter == Interpolation::Nearest) {
    const double scaleX = double(image.width) / double(width), scaleY = double(image.height) / double(height);
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const int64_t fromX = std::min(image.width - 1, int64_t((double(x) + 0.5) * scaleX));
        const int64_t fromY = std::min(image.height - 1, int64_t((double(y) + 0.5) * scaleY));
        const uint8_t *pixel = image.pixels.data() + (fromY * image.width + fromX) * image.channels;
        result.pixels.insert(result.pixels.end(), pixel, pixel + image.channels);
      }
    return result;
  }
  result.pixels = image.pixels;
  if (width != image.width)
    result.pixels = resizeAxis(result.pixels, image.height, image.width, width, image.channels, filter);
  if (height != image.height)
    result.pixels = resizeAxis(result.pixels, 1, image.height, height, width * image.channels, filter);
  return result;
}

Image vitrify::run::centerCrop(const Image &image, int64_t width, int64_t height) {
  Image result{width, height, image.channels, {}};
  result.pixels.assign(size_t(width * height * image.channels), 0);
  auto half = [](int64_t difference) { return difference >= 0 ? difference / 2 : -((1 - difference) / 2); };
  const int64_t left = half(image.width - width), top = half(image.height - height);
  const int64_t firstX = std::max<int64_t>(0, -left), lastX = std::min(width, image.width - left);
  for (int64_t y = std::max<int64_t>(0, -top); y < std::min(height, image.height - top); ++y)
    std::memcpy(result.pixels.data() + (y * width + firstX) * image.channels,
                image.pixels.data() + ((y + top) * image.width + firstX + left) * image.channels,
                size_t((lastX - firstX) * image.channels));
  return result;
}

StatusOr<Image> vitrify::run::prepare(Image image, const Preprocess &preprocess) {
  switch (preprocess.resize) {
  case Preprocess::Resize::None: break;
  case Preprocess::Resize::Exact:
    image = resize(image, preprocess.resizeWidth, preprocess.resizeHeight, preprocess.interpolation);
    break;
  case Preprocess::Resize::ShortestEdge: {
    const int64_t shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
    const int64_t scaled = int64_t(double(preprocess.edge * longer) / double(shorter));
    const bool wide = image.width >= image.height;
    image = resize(image, wide ? scaled : preprocess.edge, wide ? preprocess.edge : scaled, preprocess.interpolation);
    break;
  }
  }
  if (preprocess.centerCrop)
    image = centerCrop(image, preprocess.width, preprocess.height);
  if (image.width != preprocess.width || image.height != preprocess.height)
    return invalidArgument("the image is " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                           " pixels, the model takes " + std::to_string(preprocess.width) + " x " +
                           std::to_string(preprocess.height) + " and preprocess.json says no resize to it");
  return image;
}
