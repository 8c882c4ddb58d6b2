//===- Decode.cpp - PNG and JPEG files ------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// libpng and libjpeg end a call that fails by a jump; nothing with a destructor
// lives between the jump and its target.
//===----------------------------------------------------------------------===//
#include "Image.h"

#include "vitrify/Support/File.h"

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#include <jerror.h>
#include <png.h>

using namespace vitrify;
using namespace vitrify::run;

namespace {

constexpr int64_t kMaxPixels = int64_t(1) << 28;

struct PngReader {
  const std::byte *at;
  size_t left;
  char message[160];
};

void readPng(png_structp png, png_bytep out, size_t bytes) {
  auto *reader = static_cast<PngReader *>(png_get_io_ptr(png));
  if (bytes > reader->left)
    png_error(png, "the file ends before the image does");
  std::memcpy(out, reader->at, bytes);
  reader->at += bytes;
  reader->left -= bytes;
}
[[noreturn]] void pngError(png_structp png, png_const_charp text) {
  auto *reader = static_cast<PngReader *>(png_get_error_ptr(png));
  std::snprintf(reader->message, sizeof reader->message, "%s", text);
  png_longjmp(png, 1);
}
void pngWarning(png_structp, png_const_charp) {}

/// Reads the header, and sets up what makes 8-bit grey, grey-alpha, RGB or RGBA samples.
bool startPng(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png)))
    return false;
  png_read_info(png, info);
  png_set_expand(png); // palettes to RGB, fewer bits to 8
  png_set_strip_16(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}
bool finishPng(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)))
    return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

} // namespace

StatusOr<Image> vitrify::run::decodePng(std::span<const std::byte> file) {
  PngReader reader{file.data(), file.size(), ""};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, pngError, pngWarning);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  if (!info) {
    png_destroy_read_struct(&png, nullptr, nullptr);
    return resourceExhausted("out of memory");
  }
  png_set_read_fn(png, &reader, readPng);
  Image image;
  std::vector<png_bytep> rows;
  bool good = startPng(png, info);
  if (good) {
    image.width = png_get_image_width(png, info);
    image.height = png_get_image_height(png, info);
    image.channels = png_get_channels(png, info);
    if (image.width * image.height > kMaxPixels) {
      std::snprintf(reader.message, sizeof reader.message, "%ld x %ld is more than 2^28 pixels", long(image.width),
                    long(image.height));
      good = false;
    }
  }
  if (good) {
    image.pixels.resize(size_t(image.width * image.height * image.channels));
    for (int64_t y = 0; y < image.height; ++y)
      rows.push_back(image.pixels.data() + y * image.width * image.channels);
    good = finishPng(png, rows.data());
  }
  png_destroy_read_struct(&png, &info, nullptr);
  if (!good)
    return dataLoss(std::string("damaged PNG: ") + reader.message);
  return image;
}

namespace {

struct JpegErrors {
  jpeg_error_mgr manager; ///< first, so that libjpeg's pointer to it is one to this
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};
[[noreturn]] void jpegError(j_common_ptr jpeg) {
  auto *errors = reinterpret_cast<JpegErrors *>(jpeg->err);
  jpeg->err->format_message(jpeg, errors->message);
  longjmp(errors->jump, 1);
}
/// libjpeg fills a truncated file up with grey and only warns.
void jpegMessage(j_common_ptr jpeg, int level) {
  if (level < 0 && (jpeg->err->msg_code == JWRN_JPEG_EOF || jpeg->err->msg_code == JWRN_HIT_MARKER))
    jpegError(jpeg);
}

bool startJpeg(jpeg_decompress_struct &jpeg, JpegErrors &errors, std::span<const std::byte> file) {
  if (setjmp(errors.jump))
    return false;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char *>(file.data()), file.size());
  jpeg_read_header(&jpeg, TRUE);
  if (jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK) {
    std::snprintf(errors.message, sizeof errors.message, "CMYK images are not supported");
    return false;
  }
  jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&jpeg);
  return true;
}
bool finishJpeg(jpeg_decompress_struct &jpeg, JpegErrors &errors, uint8_t *pixels, size_t rowBytes) {
  if (setjmp(errors.jump))
    return false;
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = pixels + jpeg.output_scanline * rowBytes;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  return true;
}

} // namespace

StatusOr<Image> vitrify::run::decodeJpeg(std::span<const std::byte> file) {
  jpeg_decompress_struct jpeg{};
  JpegErrors errors{};
  jpeg.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = jpegError;
  errors.manager.emit_message = jpegMessage;
  Image image;
  bool good = startJpeg(jpeg, errors, file);
  if (good) {
    image.width = jpeg.output_width;
    image.height = jpeg.output_height;
    image.channels = jpeg.output_components;
    image.pixels.resize(size_t(image.width * image.height * image.channels));
    good = finishJpeg(jpeg, errors, image.pixels.data(), size_t(image.width * image.channels));
  }
  jpeg_destroy_decompress(&jpeg);
  if (!good)
    return dataLoss(std::string("damaged JPEG: ") + errors.message);
  return image;
}

Image vitrify::run::convertChannels(Image image, int64_t channels) {
  const int64_t colours = image.channels <= 2 ? 1 : 3;
  if (image.channels == channels)
    return image;
  Image result{image.width, image.height, channels, {}};
  const size_t count = size_t(image.width * image.height);
  result.pixels.resize(count * size_t(channels));
  for (size_t i = 0; i < count; ++i) {
    const uint8_t *in = image.pixels.data() + i * size_t(image.channels);
    uint8_t *out = result.pixels.data() + i * size_t(channels);
    if (colours == channels)
      std::memcpy(out, in, size_t(channels));
    else if (channels == 3)
      std::memset(out, in[0], 3);
    else // ITU-R 601-2 luma in 16 fraction bits, rounded
      out[0] = uint8_t((in[0] * 19595u + in[1] * 38470u + in[2] * 7471u + 0x8000u) >> 16);
  }
  return result;
}

StatusOr<Image> vitrify::run::readImage(const std::string &path, int64_t channels) {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  std::span<const std::byte> bytes = file.bytes();
  auto starts = [&](std::string_view magic) {
    return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
  };
  const bool isPng = starts("\x89PNG\r\n\x1a\n"), isJpeg = starts("\xff\xd8\xff");
  if (!isPng && !isJpeg)
    return invalidArgument("'" + path + "' is neither a PNG nor a JPEG image");
  StatusOr<Image> image = isPng ? decodePng(bytes) : decodeJpeg(bytes);
  if (!image.ok())
    return image.status().prefixed("'" + path + "'");
  return convertChannels(std::move(*image), channels);
}
