//===- vitrify-run.cpp - runs a bundle ------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The command line over libvitrify.so's C interface.
//===----------------------------------------------------------------------===//
#include "Runner.h"

#include <cstdio>
#include <exception>

using namespace vitrify;
using namespace vitrify::run;

namespace {
Status runTool(int argc, char **argv, Clock::time_point start) {
  VITRIFY_ASSIGN_OR_RETURN(Options options, parseOptions(argc, argv));
  if (options.help) {
    std::fputs(helpText(), stdout);
    return {};
  }
  VITRIFY_ASSIGN_OR_RETURN(api::Program program, openProgram(options));
  return options.bench ? bench(options, program, start) : runInputs(options, program);
}
} // namespace

int main(int argc, char **argv) {
  const Clock::time_point start = Clock::now();
  Status status;
  try {
    status = runTool(argc, argv, start);
  } catch (const std::exception &error) {
    status = internalError(error.what());
  }
  if (status.ok() && std::fflush(stdout) == 0)
    return 0;
  std::fprintf(stderr, "vitrify-run: error: %s\n", status.ok() ? "cannot write to standard output" : status.message().c_str());
  return 1;
}
