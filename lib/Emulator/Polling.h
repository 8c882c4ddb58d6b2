//===- Polling.h - kernels that wait for what nobody will write -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A grid hangs when every warp repeats a state, registers and all, while nothing
// is written: a thread that reads unchanged memory does again what it did. The
// watch costs nothing until many turns in a row have changed nothing.
//
// In the first phase all resident blocks come under watch; in the second each
// must be found to repeat. What a block does beside loads, arithmetic, branches,
// sleep and synchronisation within a warp ends the watch, as do clocks, a block
// that starts or ends, and whatever the world outside the grid may have done.
//===----------------------------------------------------------------------===//
#pragma once

#include "Grid.h"

namespace vitrify::emulator {

/// Before a block's turn, with the grid's mutex held: puts its warps under watch, or takes them out.
void watchBegin(GridState &grid, Cta &cta);
/// After it. True if the grid hangs: it has been reported.
bool watchEnd(GridState &grid, Cta &cta, bool finished);
/// Before an instruction of a warp under watch: `lanes` come to it, `mask` of them execute it.
void watchStep(Warp &w, const Inst &i, uint32_t pc, uint32_t lanes, uint32_t mask);
/// Between slices of a warp under watch: sets WarpWatch::repeats where its state has come again.
void watchState(Warp &w);

} // namespace vitrify::emulator
