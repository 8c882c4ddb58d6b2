//===- KernelFrame.h - the signature of an x86 kernel -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A kernel family describes its op once (which dimensions are scalars, which operands it reads, in which layout) and
// gets from that both the spec for the plan and the function with its typed arguments:
//   func.func @name(scalars: index..., weights, reads, writes: memref..., begin: index, end: index)
// The wrapper with the C signature is added when the function is lowered.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Kernel/Epilogue.h"
#include "vitrify/Kernel/KernelSpec.h"
#include "vitrify/Kernel/LaneBuilder.h"
#include "vitrify/Target/KnownTargets.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace vitrify::x86 {

class KernelFrame {
public:
  KernelFrame(mlir::Operation *op, const TargetRow &row);

  mlir::Operation *const op;
  const TargetRow &row;
  KernelSpec spec;
  std::string reason; ///< why there is no kernel; the first that is found

  // Describing.
  /// A dimension as an expression for the grid: a constant, or a scalar that is added when it is new.
  PlanExpr operandDim(unsigned index, unsigned dim) { return dimExpr(false, index, dim); }
  PlanExpr resultDim(unsigned index, unsigned dim) { return dimExpr(true, index, dim); }
  /// Rows [?, D] (of a view), a vector [N], or with `flat` any tensor as one sequence of elements.
  void use(unsigned operand, bool flat = false);
  /// A weight in a layout of its own; I8 panels begin with sums (KernelSpec.h). `scales`: the operand with those of NVFP4.
  void usePanels(unsigned operand, int64_t width, int64_t depth, DType dtype, int scales = -1);
  /// All operands of the op's epilogue.
  void useEpilogue();
  /// All results as rows, or flat.
  void useResults(bool flat = false);
  /// Brings operands into the order of the launch and finishes key, name and grid (work units).
  void finish(llvm::StringRef prefix, llvm::StringRef kind, llvm::StringRef precision, PlanExpr units);
  void fail(std::string why) {
    if (reason.empty())
      reason = std::move(why);
  }

  // Building, after finish().
  /// Creates the function in `module` and sets the builder into it.
  mlir::func::FuncOp createFunction(mlir::ModuleOp module);
  mlir::Value dimValue(LaneBuilder &b, bool ofResult, unsigned index, unsigned dim);
  mlir::Value operand(unsigned index) const;
  mlir::Value result(unsigned index) const;
  bool uses(unsigned operandIndex) const { return operandTypes.count(operandIndex); }
  mlir::Value begin, end;
  /// The epilogue over this kernel's arguments.
  EpilogueEmitter epilogue(LaneBuilder &b);
  /// A lane builder at the end of the function's body.
  LaneBuilder laneBuilder(mlir::OpBuilder &builder);

private:
  PlanExpr dimExpr(bool ofResult, unsigned index, unsigned dim);
  void add(KernelOperand operand, mlir::MemRefType type);

  llvm::DenseMap<unsigned, mlir::MemRefType> operandTypes, resultTypes;
  mlir::func::FuncOp function;
};

/// How a value of this element type is stored: E4M3 as bf16, i8 as u8 with 128 added, which is what products of unsigned and
/// signed bytes take. Sets `numeric` to F8_E4M3 or I8 then. None when it cannot be.
std::optional<DType> storageType(mlir::Type element, std::string &numeric);
/// A type as text, for messages.
std::string typeText(mlir::Type type);
/// The builtin type of a storage type.
mlir::Type builtinType(mlir::MLIRContext *context, DType dtype);

/// A kernel family: describes an op (setting frame.reason when it has no kernel for it), and builds its function.
struct Family {
  void (*describe)(KernelFrame &frame);
  void (*build)(KernelFrame &frame, LaneBuilder &b);
};
/// The family of an op, or null.
const Family *familyOf(mlir::Operation *op);

// One a file.
extern const Family kLinear, kPatchEmbed, kAttention, kNorm, kElementwise, kAssembleTokens, kPool, kPosGather,
    kMergePatches, kEmbed, kScatterRows, kGate, kGroupTokens, kGroupedLinear, kQuantize, kDequantize;

/// Rows [begin, end) * rowsPerUnit of `rows`, one after the other.
void forRowsOfUnits(KernelFrame &frame, LaneBuilder &b, mlir::Value rows, int64_t rowsPerUnit,
                    llvm::function_ref<void(mlir::Value row)> body);

/// Builds `body` as a piece that becomes a function of its own, so that the register allocator sees it alone: constants
/// of an epilogue kept in registers would push accumulators of the loops around it onto the stack.
void separately(LaneBuilder &b, llvm::StringRef suffix, llvm::function_ref<void()> body);
/// Turns the pieces of a finished kernel into private functions "<kernel>.<suffix>" beside it.
mlir::LogicalResult outlinePieces(mlir::func::FuncOp kernel);

} // namespace vitrify::x86
