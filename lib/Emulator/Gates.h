//===- Gates.h - what a form needs ------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The least target and PTX ISA version of each form that the emulator runs, from
// sm_75 and PTX 6.5 on, as the ISA's "Target ISA Notes" and "PTX ISA Notes" say.
//===----------------------------------------------------------------------===//
#pragma once

#include "Syntax.h"

namespace vitrify::emulator {

/// Why the instruction of `function` may not stand in a module of this `.target` and `.version`, or an empty string.
std::string gateReason(const ParsedFunction &function, const Instruction &inst, std::string_view target, int version);

} // namespace vitrify::emulator
