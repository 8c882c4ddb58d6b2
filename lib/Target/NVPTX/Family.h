//===- Family.h - what every family of GPU kernels offers, and how operands become arguments -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "Epilogue.h"

#include "vitrify/Dialect/ViT/IR/ElementTypes.h"
#include "vitrify/Kernel/KernelSpec.h"
#include "vitrify/Target/KnownTargets.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace vitrify::nvptx {

/// A family of kernels: the vit ops it runs, their specs, their code. A table in NVPTXTarget.cpp lists the families.
struct Family {
  bool (*matches)(mlir::Operation *op);
  /// False with a reason when there is no kernel for this form of a matching op.
  bool (*supports)(mlir::Operation *op, const TargetRow &row, std::string &reason);
  std::vector<KernelSpec> (*specs)(mlir::Operation *op, const TargetRow &row);
  void (*build)(GpuBuilder &g, mlir::Operation *op, const KernelSpec &spec, const TargetRow &row, mlir::ValueRange arguments);
  /// Text that two ops share only if `specs` says the same of both, where specs are costly to find; null otherwise.
  std::string (*specsKey)(mlir::Operation *op, const TargetRow &row) = nullptr;
};

extern const Family kLinearFamily, kPatchFamily, kAttentionFamily, kRowFamily, kElementwiseFamily, kGatherFamily, kRopeFamily, kGateFamily,
    kScatterFamily, kPoolFamily, kGroupTokensFamily, kGroupedLinearFamily;

/// How an op's tensors become pointer arguments: weights, then reads, then writes, each once.
struct Arguments {
  std::vector<KernelOperand> operands;
  llvm::SmallVector<int> ofOperand;      ///< op operand number -> position among the pointers
  llvm::SmallVector<int> ofResult;       ///< op result number -> position
  llvm::SmallVector<int64_t> rowStride;  ///< by op operand: elements from row to row (views included), 0 for ranks above 2
};
/// Operands of rank 1 and 2 have static sizes after the first dimension (but rotary positions); fails with a reason otherwise.
mlir::FailureOr<Arguments> argumentsOf(mlir::Operation *op, std::string &reason);
/// Those of an op that has them: its family has said that it supports it.
Arguments argumentsOf(mlir::Operation *op);

/// Operands and results of the epilogue of `op`, with pointers of the kernel's arguments (`pointers` in launch order).
/// Without pointers the descriptions alone.
llvm::SmallVector<EpilogueOperand> epilogueIns(vit::EpilogueOpInterface op, const Arguments &arguments, ValueRange pointers);
llvm::SmallVector<EpilogueOperand> epilogueResults(mlir::Operation *op, const Arguments &arguments, ValueRange pointers);

/// Whether this file's emitter can evaluate the epilogue; groups of 1 and 2 columns.
bool supportsEpilogue(vit::EpilogueOpInterface op, std::string &reason);

/// Text of everything in the op that code depends on: types, strides, attributes but for layers, the epilogue's ops.
std::string keyOf(mlir::Operation *op, const Arguments &arguments);

/// `readable` and 16 digits of the key's SHA-256.
std::string kernelName(const std::string &readable, const std::string &key);

} // namespace vitrify::nvptx
