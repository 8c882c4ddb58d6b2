//===- SparseTile.h - linears that skip zeros of their input on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "MatrixTile.h"

namespace vitrify::x86 {

/// Whether a linear over K skips steps in which all rows of a tile are 0: it was asked to, and K is whole vectors of steps.
bool skipsZeros(vit::LinearOp linear, const MicroTile &micro);

/// Rows [m, m + rows) of one panel into `scratch`, over the steps of K in which a row is not 0, or over all where few are 0. `steps` has room for all
/// steps and a vector more, as i32. The sums are those of all steps, to the bit: what is left out adds 0.
void emitSparseTile(LaneBuilder &b, const MicroTile &micro, int64_t rows, mlir::Value a, mlir::Value m, int64_t k,
                    mlir::Value panels, mlir::Value panel, mlir::Value steps, mlir::Value scratch,
                    const PanelPrefetch *prefetch);

} // namespace vitrify::x86
