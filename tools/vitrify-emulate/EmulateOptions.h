//===- EmulateOptions.h - what vitrify-emulate was asked -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The command line, parsed.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Driver.h"

#include "vitrify/Support/Npy.h"

#include <array>
#include <optional>

namespace vitrify::emulate {

/// One --arg.
struct Argument {
  enum class Kind : uint8_t { Scalar, In, InOut, Out, Zero } kind = Kind::Scalar;
  std::vector<std::byte> scalar;
  NpyArray array;   ///< contents for In and InOut, type and shape for Out and Zero
  std::string path; ///< where the result goes; empty: nowhere
  std::string text; ///< as given, for messages
};

struct Options {
  std::vector<std::pair<std::string, std::string>> driver; ///< emulator options by name, in order
  std::string json;                                        ///< "", "-" or a path
  std::optional<int> errorExitCode;
  unsigned lines = 20; ///< of the counters' table
  bool counters = false;

  std::vector<std::string> program; ///< after "--"

  std::string module, kernel;
  std::array<unsigned, 3> grid = {0, 1, 1}, block = {0, 1, 1};
  unsigned shared = 0;
  bool cooperative = false;
  std::vector<Argument> arguments;
};

extern const char *const kHelp;

/// InvalidArgument says which option, what it holds and what it may hold.
Status parseOptions(int argc, char **argv, Options &options, bool &help);
/// "i32:5", "in.npy", "inout:x.npy=y.npy", "out:f32:4x8=y.npy", "zero:i32:16".
StatusOr<Argument> parseArgument(const std::string &text);

/// Runs one kernel; returns the exit status.
StatusOr<int> runKernel(const Options &options);
/// Runs a program on the emulated driver; returns the exit status.
StatusOr<int> runProgram(const Options &options);

/// Writes launch records, a JSON array, to options.json.
Status writeJson(const Options &options, const std::string &text);
/// The exit status after `faults` were found by a run that ended with `status`.
int exitStatus(const Options &options, uint64_t faults, int status);

} // namespace vitrify::emulate
