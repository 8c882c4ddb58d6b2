//===- Frames.h - calls of device functions ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What the interpreter's call and return do beside moving the pc.
//===----------------------------------------------------------------------===//
#pragma once

#include "Grid.h"

namespace vitrify::emulator {

/// Copies local memory of the lanes; all is read before anything is written.
void moveLocals(Warp &w, const std::vector<CallSite::Move> &moves, uint32_t mask);
/// Arguments or results of a call to `callee`, whose own places an indirect call does not know beforehand.
std::vector<CallSite::Move> resolveMoves(const Program &p, const CallSite &site, const DecodedFunction &callee,
                                         bool args);
/// Where both functions are recursive, keeps the caller's frame in Warp::saved.
void saveFrame(Warp &w, Group &g, const DecodedFunction &caller, const DecodedFunction &callee);
void restoreFrame(Warp &w, Group &g, const DecodedFunction &caller, uint32_t mask);

} // namespace vitrify::emulator
