//===- Plan.h - the plan dialect --------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Includes everything of the dialect. vitrify/Bundle/Plan.h is the same plan without MLIR.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "vitrify/Dialect/Plan/IR/PlanDialect.h.inc"
#include "vitrify/Dialect/Plan/IR/PlanEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "vitrify/Dialect/Plan/IR/PlanAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "vitrify/Dialect/Plan/IR/PlanTypes.h.inc"

namespace vitrify::plan {
class BufferOp;
} // namespace vitrify::plan

#define GET_OP_CLASSES
#include "vitrify/Dialect/Plan/IR/PlanOps.h.inc"

namespace vitrify::plan {

/// The deepest expression, as in plan.json.
inline constexpr unsigned kMaxExprDepth = 64;

/// True for element types that buffers and weights may have.
bool isBufferElement(mlir::Type type);

/// The buffer that a value is or is a view of.
BufferOp baseBuffer(mlir::Value value);

/// lhs op rhs with constants folded where that cannot overflow, and x + 0, x * 1, x * 0 simplified.
ExprAttr simplified(ExprKind kind, ExprAttr lhs, ExprAttr rhs);

} // namespace vitrify::plan
