//===- Runner.h - what vitrify-run does -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Inputs from files, runs in batches, results to a file or as classes; and the
// measurement. Calls throw api::Error; what can be said as a Status is.
//===----------------------------------------------------------------------===//
#pragma once

#include "Options.h"
#include "vitrify/Runtime/vitrify.hpp"

#include <chrono>

namespace vitrify::run {

using Clock = std::chrono::steady_clock;

/// Memory of one input of the entry, with its first dimension counted in images.
struct Input {
  std::vector<uint8_t> bytes;
  vitrify_dtype dtype = VITRIFY_F32;
  bool frames = false;
  std::vector<int64_t> shape;

  /// Rows [first, first + count) of the first dimension.
  vitrify_tensor rows(int64_t first, int64_t count) const;
};

StatusOr<api::Program> openProgram(const Options &options);
/// One an input of the entry: arrays as they are, or images as frames.
StatusOr<std::vector<Input>> readInputs(const Options &options, const api::Program &program);
/// Random ones of the entry's types for --bench; `batch` is the value of its symbols.
StatusOr<std::vector<Input>> makeInputs(const Options &options, const api::Program &program, int64_t batch);

Status runInputs(const Options &options, const api::Program &program);
Status bench(const Options &options, const api::Program &program, Clock::time_point start);

} // namespace vitrify::run
