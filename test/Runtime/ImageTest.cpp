//===- ImageTest.cpp - pictures are read and scaled as by Pillow ----------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The expected arrays in resize/ were made by Pillow (make_resize.py).
//===----------------------------------------------------------------------===//
#include "Image.h"
#include "TestBundle.h"

#include "vitrify/Support/File.h"
#include "vitrify/Support/Npy.h"

#include <cstdio>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <jpeglib.h>
#include <png.h>
#include <span>

using namespace vitrify;
using namespace vitrify::run;
using testing::HasSubstr;

namespace {

Image load(const std::string &name) {
  auto array = readNpy(std::string(TEST_RESIZE) + "/" + name + ".npy");
  EXPECT_TRUE(array.ok()) << array.status().message();
  Image image;
  if (!array.ok())
    return image;
  image.height = array->shape[0];
  image.width = array->shape[1];
  image.channels = array->shape.size() == 3 ? array->shape[2] : 1;
  image.pixels.resize(array->data.size());
  std::memcpy(image.pixels.data(), array->data.data(), array->data.size());
  return image;
}

struct Filter {
  const char *name;
  Preprocess::Interpolation interpolation;
};
class ResizeLikePillow : public testing::TestWithParam<Filter> {};

TEST_P(ResizeLikePillow, InEveryBit) {
  Image input = load("input");
  const int64_t sizes[][2] = {{13, 11}, {50, 31}, {37, 9}};
  for (auto [width, height] : sizes) {
    Image expected = load(GetParam().name + ("-" + std::to_string(width)) + "x" + std::to_string(height));
    Image found = resize(input, width, height, GetParam().interpolation);
    EXPECT_EQ(found.width, expected.width);
    EXPECT_EQ(found.height, expected.height);
    EXPECT_EQ(found.pixels, expected.pixels) << width << " x " << height;
  }
}

INSTANTIATE_TEST_SUITE_P(Filters, ResizeLikePillow,
                         testing::Values(Filter{"nearest", Preprocess::Interpolation::Nearest},
                                         Filter{"box", Preprocess::Interpolation::Box},
                                         Filter{"bilinear", Preprocess::Interpolation::Bilinear},
                                         Filter{"hamming", Preprocess::Interpolation::Hamming},
                                         Filter{"bicubic", Preprocess::Interpolation::Bicubic},
                                         Filter{"lanczos", Preprocess::Interpolation::Lanczos}),
                         [](const auto &info) { return info.param.name; });

TEST(Image, GreyAndColour) {
  Image colour = load("input");
  EXPECT_EQ(convertChannels(colour, 1).pixels, load("grey").pixels);
  Image grey = convertChannels(load("grey"), 3);
  ASSERT_EQ(grey.pixels.size(), colour.pixels.size());
  EXPECT_EQ(grey.pixels[3], grey.pixels[5]);
  Image alpha{1, 1, 4, {10, 20, 30, 0}};
  EXPECT_EQ(convertChannels(alpha, 3).pixels, (std::vector<uint8_t>{10, 20, 30}));
}

TEST(Image, CropsTheCentre) {
  Image image{4, 3, 1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
  EXPECT_EQ(centerCrop(image, 2, 1).pixels, (std::vector<uint8_t>{5, 6}));
  EXPECT_EQ(centerCrop(image, 3, 3).pixels, (std::vector<uint8_t>{0, 1, 2, 4, 5, 6, 8, 9, 10}));
  // Smaller than the crop: zeros around, the odd one before.
  EXPECT_EQ(centerCrop(Image{1, 1, 1, {9}}, 3, 2).pixels, (std::vector<uint8_t>{0, 0, 0, 0, 9, 0}));
}

TEST(Image, PreparesAsSaid) {
  Preprocess preprocess;
  preprocess.height = preprocess.width = 8;
  preprocess.resize = Preprocess::Resize::ShortestEdge;
  preprocess.edge = 10;
  preprocess.centerCrop = true;
  Image image{30, 20, 3, std::vector<uint8_t>(1800, 7)};
  auto ready = prepare(image, preprocess); // 15 x 10, then 8 x 8
  ASSERT_TRUE(ready.ok());
  EXPECT_EQ(ready->pixels, std::vector<uint8_t>(192, 7));
  preprocess.centerCrop = false;
  EXPECT_THAT(prepare(image, preprocess).status().message(), HasSubstr("the image is 15 x 10 pixels"));
  preprocess.resize = Preprocess::Resize::Exact;
  preprocess.resizeHeight = preprocess.resizeWidth = 8;
  EXPECT_TRUE(prepare(image, preprocess).ok());
}

TEST(Image, ReadsJpegAndRefusesATruncatedOne) {
  test::TempFolder folder;
  std::string path = folder / "x.jpg";
  FILE *file = std::fopen(path.c_str(), "wb");
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  jpeg_stdio_dest(&jpeg, file);
  jpeg.image_width = 64;
  jpeg.image_height = 48;
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 95, TRUE);
  jpeg_start_compress(&jpeg, TRUE);
  std::vector<uint8_t> row(192);
  for (size_t i = 0; i < row.size(); ++i)
    row[i] = uint8_t(i % 3 == 0 ? 200 : i % 3 == 1 ? 100 : 50);
  for (int y = 0; y < 48; ++y) {
    JSAMPROW data = row.data();
    jpeg_write_scanlines(&jpeg, &data, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::fclose(file);
  auto image = readImage(path, 3);
  ASSERT_TRUE(image.ok()) << image.status().message();
  EXPECT_EQ(image->width, 64);
  EXPECT_EQ(image->height, 48);
  for (size_t i = 0; i < image->pixels.size(); ++i)
    ASSERT_NEAR(image->pixels[i], row[i % 192], 3) << i;
  std::string bytes = *readFile(path);
  for (size_t length : {size_t(3), size_t(100), bytes.size() / 2, bytes.size() - 3}) {
    auto cut = decodeJpeg(std::as_bytes(std::span(bytes).first(length)));
    ASSERT_FALSE(cut.ok()) << length;
    EXPECT_THAT(cut.status().message(), HasSubstr("damaged JPEG"));
  }
}

TEST(Image, ReadsPngOfEveryKind) {
  test::TempFolder folder;
  struct Kind {
    unsigned format;
    std::vector<uint8_t> pixel, expected;
  };
  for (const Kind &kind : {Kind{PNG_FORMAT_GRAY, {77}, {77, 77, 77}}, Kind{PNG_FORMAT_RGB, {1, 2, 3}, {1, 2, 3}},
                           Kind{PNG_FORMAT_GA, {77, 3}, {77, 77, 77}}, Kind{PNG_FORMAT_RGBA, {1, 2, 3, 9}, {1, 2, 3}}}) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    png.width = 2;
    png.height = 1;
    png.format = kind.format;
    std::vector<uint8_t> pixels = kind.pixel;
    pixels.insert(pixels.end(), kind.pixel.begin(), kind.pixel.end());
    std::string path = folder / "x.png";
    ASSERT_TRUE(png_image_write_to_file(&png, path.c_str(), 0, pixels.data(), 0, nullptr));
    auto image = readImage(path, 3);
    ASSERT_TRUE(image.ok()) << image.status().message();
    std::vector<uint8_t> expected = kind.expected;
    expected.insert(expected.end(), kind.expected.begin(), kind.expected.end());
    EXPECT_EQ(image->pixels, expected);
  }
}

} // namespace
