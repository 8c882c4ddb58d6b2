//===- InstructionSet.h - what the emulator can run -------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The instruction set as the decoder knows it, by name: for tests, which compare
// it with what they cover, and for whoever asks whether a form is there.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Module.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace vitrify::emulator {

/// Opcodes that the decoder takes ("add", "cp", ...), sorted. Their modifiers are its own affair: a form is known by
/// loading a module that holds it.
std::vector<std::string> opcodes();

/// Every form the executors have, by key ("add.ftz.f32"), and every kind of control instruction ("kind.call"), sorted.
std::vector<std::string> executorKeys();

/// Those that the module's instructions use. An executor with several keys counts under each.
std::vector<std::string> executorKeys(const LoadedModule &module);

/// The lines of instructions that the module's target or ISA version does not have, each with why.
std::vector<std::pair<uint32_t, std::string>> unavailable(const Module &module);

} // namespace vitrify::emulator
