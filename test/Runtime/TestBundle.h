//===- TestBundle.h - a small bundle made by hand ---------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A bundle with the kernels of kernels.c, and its results computed another way.
// Entries:
//   double   y = 2 x                                       x [rows, 10]
//   forward  logits = fc2(relu(fc1(pixels)))               pixels [images, 1, 5, 7], logits [images, 10]
//   early    y = x if max(x) > 10, else 2 x (even rows), relu(x) (odd)   x [rows, 10]; a copy, an exit, a call, a condition
//   slow     y = x, in 16 steps that take a while          x [count]
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Bundle/Preprocess.h"
#include "vitrify/Bundle/Plan.h"

#include <functional>
#include <string>
#include <vector>

namespace vitrify::test {

inline constexpr int64_t kPixels = 35, kHidden = 20, kClasses = 10, kMaxImages = 8;

/// Lets the linears of `forward` work panel by panel.
void workByPanel(Plan &plan);

/// What a test may change before the bundle is written.
struct TestBundleOptions {
  std::vector<std::string> targets{"x86-64-v3"};  ///< x86 rows and sm_ chips
  bool nk = false;                                ///< x86: kernels that read weights as stored
  bool preprocess = true;
  bool ptx = false;                               ///< GPU code is PTX; otherwise a placeholder
  bool twoChunks = false;                         ///< more than 1 MiB of other weights before those that are used
  int64_t turns = 20000;                          ///< work of a step of `slow`
  std::function<void(ManifestTarget &, Plan &)> change;
};

/// A folder below the tests' temporary folder, removed at exit of the test.
class TempFolder {
public:
  TempFolder();
  ~TempFolder();
  const std::string &path() const { return folder; }
  std::string operator/(const std::string &name) const { return folder + "/" + name; }

private:
  std::string folder;
};

/// Writes the bundle; aborts the test with the error when that fails.
void writeTestBundle(const std::string &path, const TestBundleOptions &options = {});

/// What `forward` must give, in double; pixels are [images, 35].
std::vector<float> expectedLogits(const std::vector<float> &pixels);
/// Pixels from a seed, in [-1, 1].
std::vector<float> randomPixels(int64_t images, unsigned seed);

/// Flips one bit of a file.
void flipBit(const std::string &path, uint64_t offset);
/// Where weights.safetensors of a bundle holds a tensor: first byte.
uint64_t tensorOffset(const std::string &bundle, const std::string &tensor);

} // namespace vitrify::test
