//===- RecordingDriver.h - a CUDA driver that writes down calls -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Fills the runtime's table of driver functions. Device memory is host memory with
// bounds, kernels are the functions of kernels.c, streams run at once, captures are
// replayed. Counts what is alive, and makes a chosen call fail.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Runtime/CudaApi.h"

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace vitrify::test {

class RecordingDriver {
public:
  /// One at a time: the table's functions have no place for a pointer.
  RecordingDriver();
  ~RecordingDriver();
  RecordingDriver(const RecordingDriver &) = delete;

  const cuda::CudaApi &api() const { return table; }

  // What the driver says of itself.
  int version = 13000, devices = 1, major = 8, minor = 9;
  uint64_t freeBytes = uint64_t(1) << 30;

  /// Names of calls, with arguments for launches and copies.
  std::vector<std::string> log() const;
  void clearLog();
  /// Calls that may fail so far; error functions are not counted.
  int calls() const;
  /// Makes call `number` (from 0, counted from now on) fail; -1: none.
  void failAt(int number);
  /// Objects alive: "memory", "pinned", "stream", "event", "module", "graph", "exec", "primary", "current".
  std::map<std::string, int> alive() const;
  /// What the runtime did wrong: calls without a context, copies outside of memory, unknown handles.
  std::vector<std::string> faults() const;

  struct State;

private:
  cuda::CudaApi table;
  State *impl;
};

} // namespace vitrify::test
