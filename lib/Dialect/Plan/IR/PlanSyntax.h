//===- PlanSyntax.h - text form of expressions ------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Directives that the plan dialect's assembly formats name as custom<...>.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/Plan/IR/Plan.h"

namespace vitrify::plan {

/// `images * 197`; an error beyond 64 nodes of depth.
mlir::ParseResult parseExpr(mlir::AsmParser &parser, ExprAttr &expr);
void printExpr(mlir::AsmPrinter &printer, ExprAttr expr);

/// `(images * 197, 768)`.
mlir::ParseResult parseExprs(mlir::AsmParser &parser, llvm::SmallVectorImpl<ExprAttr> &exprs);
void printExprs(mlir::AsmPrinter &printer, llvm::ArrayRef<ExprAttr> exprs);

// The same with the signatures that ops' directives have.
mlir::ParseResult parseExpr(mlir::OpAsmParser &parser, ExprAttr &expr);
void printExpr(mlir::OpAsmPrinter &printer, mlir::Operation *op, ExprAttr expr);
mlir::ParseResult parseExprList(mlir::OpAsmParser &parser, mlir::ArrayAttr &exprs);
void printExprList(mlir::OpAsmPrinter &printer, mlir::Operation *op, mlir::ArrayAttr exprs);
/// `offset(...)` or nothing.
mlir::ParseResult parseOptionalOffset(mlir::OpAsmParser &parser, ExprAttr &offset);
void printOptionalOffset(mlir::OpAsmPrinter &printer, mlir::Operation *op, ExprAttr offset);

} // namespace vitrify::plan
