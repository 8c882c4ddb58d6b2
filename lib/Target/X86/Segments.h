//===- Segments.h - which segment a row belongs to -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "KernelFrame.h"

namespace vitrify::x86 {

/// Segments of rows, uniform or by an operand of ends (cu_seqlens), each with `extra` rows more in the output.
class Segments {
public:
  Segments(KernelFrame &frame, LaneBuilder &b, std::optional<unsigned> cuSeqlens, int64_t uniform, int64_t extra)
      : b(b), uniform(uniform), extra(extra) {
    if (!cuSeqlens)
      return;
    ends = frame.operand(*cuSeqlens);
    count = b.subIndex(frame.dimValue(b, false, *cuSeqlens, 0), b.index(1));
  }

  /// The segment of an output row and the row's place in it.
  std::pair<mlir::Value, mlir::Value> find(mlir::Value row) {
    if (!ends)
      return {b.divIndex(row, uniform + extra), b.remIndex(row, uniform + extra)};
    // As many segments lie before a row as have their end at or below it.
    mlir::Value before = b.loop(b.index(1), count, 1, b.index(0), [&](mlir::Value s, mlir::ValueRange carried) {
      mlir::Value end = b.addIndex(b.loadIndex(ends, s), b.mulIndex(s, extra));
      mlir::Value passed = mlir::arith::CmpIOp::create(b, mlir::arith::CmpIPredicate::sle, end, row);
      mlir::Value one = mlir::arith::SelectOp::create(b, passed, b.index(1), b.index(0));
      return llvm::SmallVector<mlir::Value>{b.addIndex(carried[0], one)};
    })[0];
    mlir::Value start = b.addIndex(b.loadIndex(ends, before), b.mulIndex(before, extra));
    return {before, b.subIndex(row, start)};
  }

  /// The first input row of a segment.
  mlir::Value inputStart(mlir::Value segment) {
    return ends ? b.loadIndex(ends, segment) : b.mulIndex(segment, uniform);
  }

private:
  LaneBuilder &b;
  mlir::Value ends, count;
  int64_t uniform, extra;
};

} // namespace vitrify::x86
