//===- Npy.h - numpy's .npy files -------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Reads and writes .npy files, versions 1.0, 2.0 and 3.0, in C order, with little
// endian f16, f32, f64, u8, i8, i32, i64 elements. Pickled objects, Fortran order
// (of more than one element axis), big endian and other types are refused by name.
// Format: numpy.lib.format.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/DType.h"
#include "vitrify/Support/Status.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace vitrify {

/// A dense row-major array that owns its bytes.
struct NpyArray {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data; ///< exactly tensorBytes(dtype, shape)

  /// The elements as f32: f16 and f64 are converted, integers are refused.
  StatusOr<std::vector<float>> toFloats() const;
};

StatusOr<NpyArray> parseNpy(std::span<const std::byte> file);
/// Errors carry the path.
StatusOr<NpyArray> readNpy(const std::string &path);
/// Writes version 1.0, aside, and renames.
Status writeNpy(const std::string &path, DType dtype, std::span<const int64_t> shape, std::span<const std::byte> data);

} // namespace vitrify
