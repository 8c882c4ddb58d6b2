//===- Passes.h - passes over the vit dialect -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace vitrify::vit {

#define GEN_PASS_DECL
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "vitrify/Dialect/ViT/Transforms/Passes.h.inc"

} // namespace vitrify::vit
