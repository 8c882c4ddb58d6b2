//===- ViTToPlan.h - a vit module and a target's kernels to a plan -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Bundle/Plan.h"
#include "vitrify/Target/Target.h"

#include "mlir/IR/BuiltinOps.h"

namespace vitrify {

/// What a module became on one target.
struct PlannedModule {
  Plan plan;                           ///< kernels hold names and argument counts; `describeKernels` fills in the rest
  std::vector<ManifestLayer> layers;   ///< every named layer with the kernel that computes it
};

/// Plans every public function of `module` and builds its kernels into `kernels`. Buffers have their final offsets.
/// Errors are emitted at the op: no kernel on this target, a value of unknown size, entries without names or bounds.
mlir::FailureOr<PlannedModule> convertViTToPlan(mlir::ModuleOp module, const Target &target, mlir::ModuleOp kernels);

/// Copies what is known of the built kernels into the plan.
void describeKernels(PlannedModule &planned, const KernelBinary &binary);

/// Gives the arena's buffers offsets: buffers whose lifetimes do not touch share memory. Sizes that grow with one symbol
/// are packed for one unit of it and scaled, so that the packing holds for every value.
mlir::LogicalResult planMemory(PlanProgram &program, llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

} // namespace vitrify
