//===- main.cpp - classifies a picture with a bundle ----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// classify BUNDLE IMAGE: a binary PGM or PPM of the model's size; prints the best class.
//===----------------------------------------------------------------------===//
#include <vitrify/Runtime/vitrify.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: classify BUNDLE IMAGE.ppm\n");
    return 1;
  }
  // P5 (grey) or P6 (colour), width, height, 255, then the bytes.
  std::ifstream file(argv[2], std::ios::binary);
  std::string magic;
  int width = 0, height = 0, largest = 0;
  file >> magic >> width >> height >> largest;
  file.get();
  const int channels = magic == "P6" ? 3 : 1;
  if (!file || (magic != "P5" && magic != "P6") || width < 1 || height < 1 || width > 8192 || height > 8192) {
    std::fprintf(stderr, "%s is not a binary PGM or PPM\n", argv[2]);
    return 1;
  }
  std::vector<uint8_t> pixels(size_t(width) * size_t(height) * size_t(channels));
  file.read(reinterpret_cast<char *>(pixels.data()), std::streamsize(pixels.size()));
  try {
    vitrify::api::Program program(argv[1]);
    vitrify::api::Context context(program);
    auto logits = context.run({vitrify::api::frames(pixels, 1, height, width, channels)}).at(0).values;
    const size_t best = size_t(std::max_element(logits.begin(), logits.end()) - logits.begin());
    const vitrify_program_info info = program.info();
    std::printf("%s %f\n", best < info.num_labels ? info.labels[best] : std::to_string(best).c_str(), logits[best]);
  } catch (const vitrify::api::Error &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
