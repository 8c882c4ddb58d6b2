//===- CodeCounts.h - what a GPU kernel's code holds ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Counts of a kernel's instructions, read from SASS (nvdisasm's text) or from PTX:
// how many there are of what kind, and how many one trip of the main loop has. The
// main loop is the natural loop without a loop with tensor instructions inside it
// that does the most multiply-adds; a kernel without one has none.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify {

/// Instructions of a piece of code, each counted once, as one warp issues them.
struct CodeCounts {
  int64_t instructions = 0;
  int64_t tensorF8 = 0, tensorF8AccF16 = 0, tensorF16 = 0, tensorF16AccF16 = 0, tensorI8 = 0, tensorOther = 0;
  int64_t tensorBF16 = 0;   ///< of tensorF16, those on bf16
  int64_t macsF8 = 0, macsF8AccF16 = 0, macsF16 = 0, macsF16AccF16 = 0, macsI8 = 0; ///< of a warp
  int64_t mufu = 0;
  int64_t sharedBytes = 0;  ///< loads and stores of shared memory, of a warp
  int64_t asyncCopies = 0;  ///< cp.async and its kin
  int64_t asyncBytes = 0;   ///< what they copy at most, of a warp
  int64_t globalAccesses = 0;
  int64_t barriers = 0;     ///< of the block
  int64_t asyncWaits = 0;   ///< for groups of copies
  int64_t localAccesses = 0; ///< local memory: spills and indexed arrays
  int64_t matrixLoads = 0;  ///< ldmatrix
  int64_t converts = 0;     ///< to and from 8-bit floats

  int64_t tensor() const { return tensorF8 + tensorF8AccF16 + tensorF16 + tensorF16AccF16 + tensorI8 + tensorOther; }
  int64_t macs() const { return macsF8 + macsF8AccF16 + macsF16 + macsF16AccF16 + macsI8; }
  CodeCounts &operator+=(const CodeCounts &other);
};

/// One kernel.
struct KernelCode {
  std::string name;
  CodeCounts all;    ///< of the whole text
  CodeCounts before; ///< text ahead of the main loop
  CodeCounts loop;   ///< a trip of the main loop: what lies on every way around, or on every way past tensor instructions
  CodeCounts after;  ///< text behind the main loop
  bool hasLoop = false;
  int64_t registers = 0; ///< of a thread; 0 where the text does not say
  /// What its tensor instructions take: "f8", "f16", "bf16", "i8", or several joined by +, the most frequent first; "" without any.
  std::string precision() const;
};

/// The kernels of `nvdisasm -c`'s output. DataLoss when there is none.
StatusOr<std::vector<KernelCode>> countSass(std::string_view text);
/// The entries of a PTX module. DataLoss when there is none.
StatusOr<std::vector<KernelCode>> countPtx(std::string_view text);

} // namespace vitrify
