//===- Options.h - the command line of vitrify-run --------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Reads --name=value and --name value.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vitrify::run {

struct Options {
  std::string bundle;
  std::vector<std::string> inputs;
  std::string output, entry, target, signatureKey;
  std::string device = "cpu";       ///< as given
  std::optional<int64_t> batch, topK;
  uint32_t threads = 0;
  bool profile = false, verbose = false, lowMemory = false, help = false;
  uint64_t weightBudget = 0;
  int64_t bench = 0, warmup = 3, contexts = 1;
};

StatusOr<Options> parseOptions(int argc, char **argv);
const char *helpText();

} // namespace vitrify::run
