//===- Progress.cpp - one line that says how far long work is ------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Support/Progress.h"

#include <cstdio>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

using namespace vitrify;

namespace {
/// To the start of the line; erase to its end.
constexpr std::string_view kStart = "\r", kEnd = "\x1b[K";
constexpr auto kPause = std::chrono::milliseconds(100);

/// Columns of the terminal; 0 where it does not say.
size_t columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void put(std::string_view text) {
  while (!text.empty()) {
    ssize_t count = write(STDERR_FILENO, text.data(), text.size());
    if (count <= 0)
      return; // a line that cannot be shown is not missed
    text.remove_prefix(size_t(count));
  }
}
} // namespace

ProgressLine::ProgressLine(std::string program) : program(std::move(program)) {
  const char *asked = std::getenv("VITRIFY_PROGRESS");
  shown = isatty(STDERR_FILENO) || (asked && std::string_view(asked) == "1");
}

void ProgressLine::update(std::string_view what, uint64_t done, uint64_t total) {
  if (!shown)
    return;
  std::lock_guard lock(mutex);
  Clock::time_point now = Clock::now();
  if (what == current && done != total && now - last < kPause)
    return;
  current = what;
  last = now;
  std::string line = program + ": " + current;
  if (total)
    line += " " + std::to_string(done) + " of " + std::to_string(total);
  char elapsed[32];
  std::snprintf(elapsed, sizeof elapsed, ", %.1f s", std::chrono::duration<double>(now - start).count());
  line += elapsed;
  // One that wraps could not be rewritten.
  if (size_t width = columns(); width && line.size() >= width)
    line.resize(width - 1);
  onScreen = true;
  put(std::string(kStart) + line + std::string(kEnd));
}

void ProgressLine::clear() {
  std::lock_guard lock(mutex);
  if (!onScreen)
    return;
  onScreen = false;
  current.clear();
  put(std::string(kStart) + std::string(kEnd));
}

ProgressFunction ProgressLine::function() {
  if (!shown)
    return {};
  return [this](std::string_view what, uint64_t done, uint64_t total) { update(what, done, total); };
}
