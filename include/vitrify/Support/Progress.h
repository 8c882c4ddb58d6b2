//===- Progress.h - one line that says how far long work is -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// "vitrify-compile: weights (MiB) 120 of 340, 1.2 s": rewritten in place on a terminal,
// cleared at the end, and nothing at all in a pipe or a file. python/vitrify/progress.py
// writes the same form, and passes on what tools say that it runs.
//===----------------------------------------------------------------------===//
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace vitrify {

/// What long work calls as it goes on, from any thread: what it does, how much of it is done, and how much there is
/// (0: not known).
using ProgressFunction = std::function<void(std::string_view what, uint64_t done, uint64_t total)>;

/// The line on standard error. Thread-safe.
class ProgressLine {
public:
  /// `program` stands first in the line. Shows nothing unless standard error is a terminal, or the environment says
  /// VITRIFY_PROGRESS=1 (for a program that shows the line on its own terminal).
  explicit ProgressLine(std::string program);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine &) = delete;
  ProgressLine &operator=(const ProgressLine &) = delete;

  bool isShown() const { return shown; }
  /// A new `what` and the last of `total` are shown at once, else at most ten lines a second.
  void update(std::string_view what, uint64_t done = 0, uint64_t total = 0);
  /// Takes the line away, before something else is written.
  void clear();
  /// `update` as a function; empty where nothing is shown.
  ProgressFunction function();

private:
  using Clock = std::chrono::steady_clock;

  const std::string program;
  bool shown = false;
  std::mutex mutex;
  std::string current; ///< what is in the line
  bool onScreen = false;
  Clock::time_point start = Clock::now(), last;
};

} // namespace vitrify
