//===- Ranges.h - ranges.json: what calibration saw -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <map>
#include <string>

namespace vitrify {

/// Ranges of named values. The file is
/// `{"format": 1, "method": "amax", "images": 200, "values": {"b0.ln1": {"amax": 3.25, "range": 3.25}, ...}}`:
/// `amax` is the largest magnitude seen, `range` what the method chose (at most amax); both are positive and finite.
struct Ranges {
  struct Value {
    double amax = 0;
    double range = 0;
  };
  std::string method = "amax";
  int64_t images = 0;
  std::map<std::string, Value> values;

  /// Reads and checks; the error names the file, the value and the field.
  static StatusOr<Ranges> load(const std::string &path);
  /// With stable key order and a final newline.
  std::string print() const;
};

} // namespace vitrify
