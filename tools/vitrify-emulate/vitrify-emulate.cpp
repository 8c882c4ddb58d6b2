//===- vitrify-emulate.cpp - runs PTX without a GPU ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The tool's door; the work is in RunKernel.cpp and RunProgram.cpp.
//===----------------------------------------------------------------------===//
#include "EmulateOptions.h"

#include <cstdio>

using namespace vitrify;
using namespace vitrify::emulate;

int main(int argc, char **argv) {
  Options options;
  bool help = false;
  Status status = parseOptions(argc, argv, options, help);
  if (status.ok() && help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (status.ok()) {
    StatusOr<int> result = options.program.empty() ? runKernel(options) : runProgram(options);
    if (result)
      return *result;
    status = result.status();
  }
  std::fprintf(stderr, "vitrify-emulate: %s\n", status.message().c_str());
  return 1;
}
