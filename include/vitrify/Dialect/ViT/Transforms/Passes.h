//===- Passes.h - passes over the vit dialect -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

#include <functional>
#include <memory>
#include <string>

namespace vitrify::vit {

#define GEN_PASS_DECL
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"

/// Whether a code generator has a kernel for an op; if not, `reason` says what is missing.
using SupportsFn = std::function<bool(mlir::Operation *op, std::string &reason)>;

/// vit-fuse-epilogue for one target: what it has a kernel for apart but not together stays apart.
std::unique_ptr<mlir::Pass> createFuseEpilogue(SupportsFn supports);
/// vit-group-tokens for one target: what it has no kernels for stays dense.
std::unique_ptr<mlir::Pass> createGroupTokens(SupportsFn supports, const GroupTokensOptions &options);
/// vit-expand-codes for one target: only where it has no kernel for the codes.
std::unique_ptr<mlir::Pass> createExpandCodes(SupportsFn supports);

} // namespace vitrify::vit
