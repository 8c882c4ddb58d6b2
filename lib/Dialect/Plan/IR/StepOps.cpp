//===- StepOps.cpp - verifiers of the steps of a program ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/IR/Plan.h"

#include <cmath>

using namespace mlir;
using namespace vitrify::plan;

/// Refuses writes to the caller's inputs.
static LogicalResult checkWrites(Operation *op, ValueRange writes) {
  for (Value value : writes)
    if (auto buffer = baseBuffer(value); buffer && buffer.getKind() == BufferKind::Input)
      return op->emitOpError() << "writes the input '" << buffer.getName() << "'";
  return success();
}

LogicalResult LaunchOp::verify() {
  // plan_launch_c1
  auto variants = llvm::to_vector(getVariants().getAsRange<VariantAttr>());
  if (variants.empty())
    return emitOpError("expected at least one variant");
  // plan_launch_c4
  for (size_t i = 1; i < variants.size(); ++i)
    if (variants[i - 1].getMax() == INT64_MAX || variants[i].getMin() != variants[i - 1].getMax() + 1)
      return emitOpError() << "expected variant " << i << " to start at " << variants[i - 1].getMax()
                           << " + 1, found " << variants[i].getMin();
  // plan_launch_c5
  auto target = (*this)->getParentOfType<TargetOp>();
  bool cpu = target && target.getName().starts_with("x86");
  int64_t maxThreads = cpu ? 1 : 1024, maxShared = cpu ? 0 : 227 * 1024;
  for (VariantAttr variant : variants) {
    int64_t threads = 1;
    for (int64_t size : variant.getBlock()) {
      if (size < 1 || size > maxThreads)
        return emitOpError() << "expected block sizes from 1 to " << maxThreads << ", found " << size;
      threads *= size;
    }
    if (threads > maxThreads)
      return emitOpError() << "expected at most " << maxThreads << " threads, found " << threads;
    if (variant.getShared() < 0 || variant.getShared() > maxShared)
      return emitOpError() << "expected 0 to " << maxShared << " bytes of shared memory, found " << variant.getShared();
  }
  // plan_launch_c6
  return checkWrites(*this, getWrites());
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  size_t scalars = getArgs().size(), pointers = getWeights().size() + getReads().size() + getWrites().size();
  for (auto variant : getVariants().getAsRange<VariantAttr>()) {
    auto kernel = symbols.lookupNearestSymbolFrom<KernelOp>(*this, variant.getKernel());
    if (!kernel) // plan_launch_c1
      return emitOpError() << variant.getKernel() << " is no kernel of this target";
    // plan_launch_c2
    if (kernel.getScalars() != scalars || kernel.getBuffers() != pointers) {
      InFlightDiagnostic error = emitOpError()
                                 << "expected " << kernel.getScalars() << " scalars and " << kernel.getBuffers()
                                 << " weights, reads and writes for " << variant.getKernel() << ", found " << scalars
                                 << " and " << pointers;
      error.attachNote(kernel.getLoc()) << "kernel is declared here";
      return error;
    }
  }
  // plan_launch_c3
  for (auto weight : getWeights().getAsRange<FlatSymbolRefAttr>())
    if (!symbols.lookupNearestSymbolFrom<WeightOp>(*this, weight))
      return emitOpError() << weight << " is no weight of this target";
  return success();
}

LogicalResult CopyOp::verify() {
  // plan_copy_c1
  if (std::optional<int64_t> bytes = getBytes().constant(); bytes && *bytes < 0)
    return emitOpError() << "expected bytes that are not negative, found " << *bytes;
  // plan_copy_c2
  return checkWrites(*this, getDestination());
}

LogicalResult IfOp::verify() {
  // plan_if_c1
  bool step = false;
  for (Operation &op : getBody().front()) {
    if (!isa<ViewOp, LaunchOp, CopyOp, IfOp, ExitIfOp, CallOp>(op))
      return emitOpError("expected views and steps only").attachNote(op.getLoc()) << "found here";
    step |= !isa<ViewOp>(op);
  }
  return step ? success() : emitOpError("expected at least one step");
}

LogicalResult ExitIfOp::verify() {
  // plan_exit_if_c1
  if (!getValue().getType().getElement().isF32())
    return emitOpError() << "expected a buffer of f32, found " << getValue().getType();
  // plan_exit_if_c2
  return std::isfinite(getThreshold().convertToFloat()) ? success() : emitOpError("expected a finite threshold");
}

LogicalResult CallOp::verify() { return checkWrites(*this, getWrites()); } // plan_call_c4

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // plan_call_c1
  auto program = (*this)->getParentOfType<ProgramOp>();
  auto callee = symbols.lookupNearestSymbolFrom<ProgramOp>(program, getCalleeAttr());
  if (!callee || callee->getBlock() != program->getBlock() || !callee->isBeforeInBlock(program))
    return emitOpError() << getCalleeAttr() << " is no program before this one";
  if (callee.getBody().empty() || callee.getBody().front().empty())
    return success(); // its own verifier reports it
  // plan_call_c2
  auto fit = [&](ValueRange given, ArrayRef<BufferOp> declared, StringRef what) -> LogicalResult {
    if (given.size() != declared.size())
      return emitOpError() << "expected " << declared.size() << ' ' << what << " for " << getCalleeAttr() << ", found "
                           << given.size();
    for (auto [value, buffer] : llvm::zip(given, declared))
      if (value.getType() != BufferOp(buffer).getType())
        return emitOpError() << "expected " << BufferOp(buffer).getType() << " for '" << *BufferOp(buffer).getArgument()
                             << "', found " << value.getType();
    return success();
  };
  if (failed(fit(getReads(), callee.inputs(), "reads")) || failed(fit(getWrites(), callee.outputs(), "writes")))
    return failure();
  // plan_call_c3
  for (auto needed : callee.getSymbols().getAsRange<SymbolAttr>()) {
    auto fits = [&](SymbolAttr own) {
      return own.getName() == needed.getName() && own.getMin() >= needed.getMin() && own.getMax() <= needed.getMax();
    };
    if (llvm::none_of(program.getSymbols().getAsRange<SymbolAttr>(), fits))
      return emitOpError() << "symbol '" << needed.getName() << "' of " << getCalleeAttr()
                           << " has no symbol here that stays within its bounds";
  }
  return success();
}
