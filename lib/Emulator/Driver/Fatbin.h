//===- Fatbin.h - NVIDIA's fat binary container --------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Reads the container that nvcc and fatbinary write (entries of PTX or SASS, plain,
// LZ4 or zstd) and picks the PTX a chip can run. The format is not published; field
// offsets were read off files of nvcc 13.0 made with every --compress-mode.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify::emulator {

/// One entry of a container.
struct FatbinEntry {
  enum class Kind : uint8_t { Ptx, Sass, Other } kind = Kind::Other;
  uint32_t architecture = 0; ///< 89 for sm_89
  bool specific = false;     ///< sm_90a: runs on that chip alone
  bool compressed = false;
  std::string ptx; ///< the text, for Kind::Ptx
};

/// What the driver is handed as a module image.
enum class ImageKind : uint8_t { Ptx, Fatbin, FatbinWrapper, Elf, Unknown };
/// Looks at the first bytes only.
ImageKind imageKind(const void *image);

/// Entries of the container(s) at `bytes`; several may follow each other, as in a .nv_fatbin section. DataLoss names
/// the entry and what is wrong with it.
StatusOr<std::vector<FatbinEntry>> readFatbin(std::span<const uint8_t> bytes);

/// The size that the container's header states, so that an image handed over without a length can be read.
StatusOr<uint64_t> fatbinSize(const void *image);

/// PTX texts of an image of any kind, best first for compute capability `architecture` (89): the newest that is not
/// newer than the chip. NotFound if there is none; says so if the image holds SASS only.
StatusOr<std::vector<std::string>> ptxOfImage(const void *image, uint32_t architecture);

} // namespace vitrify::emulator
