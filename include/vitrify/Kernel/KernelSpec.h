//===- KernelSpec.h - what a plan must know about a kernel ------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A kernel as the plan sees it: its name, its scalar arguments, the order, types and layouts of its buffers and its
// grid. Nothing here depends on a chip.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"
#include "vitrify/Support/DType.h"

#include "mlir/IR/Operation.h"
#include "mlir/IR/Value.h"
#include "mlir/Support/LogicalResult.h"

#include <map>
#include <string>
#include <vector>

namespace vitrify {

/// An i64 argument of a kernel: a dimension of an operand or a result of the vit op it was built from.
struct KernelScalar {
  bool ofResult = false; ///< of result `index`, not of operand `index`
  unsigned index = 0;    ///< operand or result number of the op
  unsigned dim = 0;      ///< which dimension of its tensor type
  friend bool operator==(const KernelScalar &, const KernelScalar &) = default;
};

/// One pointer argument of a kernel, in the order of the launch: weights, then reads, then writes. Scratch is memory that
/// the op's first launch writes and the later ones read.
struct KernelOperand {
  enum class Role : uint8_t { Weight, Read, Write, Scratch };
  Role role = Role::Read;
  unsigned index = 0;        ///< operand number of the op; for Write its result number; for Scratch 0
  DType dtype = DType::F32;  ///< how the kernel finds it in memory: E4M3 activations are BF16 on x86
  std::string numeric;       ///< "", "F8_E4M3" or "I8": what the values are when dtype only holds them
  std::string layout = "nk"; ///< weights: "nk" as stored, or "panel:w<W>:k<G>:<DTYPE>[:sums]" (see below)
  int scales = -1;           ///< weights of f4E2M1FN: operand number of their E4M3 scales, which the layout holds as well
};
// The layout "panel:w<W>:k<G>:<DTYPE>" of a stored [N, K] weight (F32, F16, BF16 or F8_E4M3; K contiguous): element
// (n, k) converted to DTYPE (BF16 or F32, nearest even; E4M3 is exact in both) lies at element
//   ((n / W) * ceil(K / G) + k / G) * W * G + (n % W) * G + k % G,
// zeros fill columns from N to a multiple of W and k from K to a multiple of G. Panels start at 64 bytes. With ":sums" (I8
// only, stored I8) every panel begins with W i32, column n's being -128 times the sum of its K codes: where unsigned bytes
// hold codes plus 128, accumulators that start there end as if they had met the codes. A weight of f4E2M1FN with scales is
// in panels of BF16 or F32, of codes times scales.

/// One kernel for one range of the dispatch value.
struct KernelSpec {
  std::string name;        ///< symbol: equal for ops that can share the kernel, readable, with a hash of `key`
  std::string key;         ///< text that says everything the code depends on; equal keys have equal code
  std::string layerKind;   ///< "linear", "attention", "row" or "gather"
  std::string precision;   ///< what its matrix instructions take: "f32", "bf16", "f8e4m3", ...
  std::vector<KernelScalar> scalars;   ///< the i64 arguments
  std::vector<KernelOperand> operands; ///< the pointer arguments; an operand of the op that is not read is absent
  /// Over the scalars: PlanExpr::symbol(i) is scalars[i]. On x86 the number of work units, and 1, 1.
  PlanExpr grid[3] = {PlanExpr(1), PlanExpr(1), PlanExpr(1)};
  int64_t block = 1;       ///< threads of a block; 1 on x86
  int64_t sharedBytes = 0; ///< dynamic shared memory; 0 on x86
  /// x86: where not 0, unit u of the grid reads panel u / (units / panels) of the one weight in panels, and no other.
  int64_t panels = 0;
  /// The variant serves dispatch values [rangeMin, rangeMax], the dispatch value being this expression over the scalars.
  PlanExpr dispatch = PlanExpr(0);
  int64_t rangeMin = 0;
  int64_t rangeMax = INT64_MAX;
  /// What the launch model needs and a binary does not show; stored with the kernel's metrics. GPUs: "macs_per_row", the
  /// useful multiply-adds for each unit of the first scalar; "block_macs", those that a block executes, padding included
  /// and on average; "block_outputs", the results of a block; "block_copy_bytes", what it copies to shared memory; "stages"
  /// and "stage_bytes" of the copies' pipeline; "split", over how many blocks K is; "active_permille", how many of a grid's blocks
  /// are expected to have something to do where only the device knows (all when absent). Absent where sizes are not static.
  std::map<std::string, int64_t> facts;
  /// An op may take several launches, one after the other. The kernels of launch 0 cover all dispatch values; those of a
  /// later one run for the values in their ranges only.
  unsigned launch = 0;
  PlanExpr scratchBytes = PlanExpr(0); ///< size of the op's scratch, over the scalars; the same in all its kernels
  std::vector<int64_t> variant;        ///< the target's own notes for build(): how this kernel differs from the op's others
};

/// A value of rank 2 as rows of a larger buffer: a `tensor.extract_slice` of columns is a view, not a copy.
struct RowView {
  mlir::Value base;         ///< what is really stored
  int64_t rowStride = 0;    ///< elements from one row of the view to the next; static
  int64_t columnOffset = 0; ///< elements from the start of a base row to the view's first column
};
/// Looks through column slices (all rows, unit strides, static column range, also of one another). Any other value is
/// its own base. A slice that is not a view of rows is an error in `reason`.
mlir::FailureOr<RowView> rowViewOf(mlir::Value value, std::string &reason);

/// True when the value is a weight of the module: the result of vit.get.
bool isWeight(mlir::Value value);

} // namespace vitrify
