//===- Translation.h - the plan dialect and the plan of a bundle -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// plan.target and vitrify::Plan hold the same fields: each direction loses nothing, so text that is printed, edited and
// read again gives the plan.json that was meant, byte for byte.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"
#include "vitrify/Dialect/Plan/IR/Plan.h"

#include "mlir/IR/BuiltinOps.h"

namespace vitrify::plan {

/// The plan of a target op. Structure is checked by the dialect's verifier, values by verifyPlan.
Plan exportPlan(TargetOp target);

/// A module with one target op, verified; an error where the text has no form for a plan: inputs that are not in the
/// order of their buffers, a symbol whose name is no identifier.
StatusOr<mlir::OwningOpRef<mlir::ModuleOp>> importPlan(const Plan &plan, mlir::MLIRContext &context);

} // namespace vitrify::plan
