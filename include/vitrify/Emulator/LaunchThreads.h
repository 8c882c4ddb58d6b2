//===- LaunchThreads.h - the emulator's own host threads --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// For whoever asks which threads of a process are the program's.
//===----------------------------------------------------------------------===//
#pragma once

namespace vitrify::emulator {

/// Host threads that launches have started and that still run.
unsigned launchThreads();

} // namespace vitrify::emulator
