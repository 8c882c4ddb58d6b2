//===- EpilogueSyntax.h - text form of epilogue regions -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// `epilogue(%b [(m, n) -> (n)] : tensor<768xf32>, ...) group 1 { ... }`, or nothing when the op has no epilogue.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/OpImplementation.h"

namespace vitrify::vit {

mlir::ParseResult parseEpilogue(mlir::OpAsmParser &parser,
                                llvm::SmallVectorImpl<mlir::OpAsmParser::UnresolvedOperand> &ins,
                                llvm::SmallVectorImpl<mlir::Type> &types, mlir::ArrayAttr &maps,
                                mlir::IntegerAttr &group, mlir::Region &region);
void printEpilogue(mlir::OpAsmPrinter &printer, mlir::Operation *op, mlir::OperandRange ins, mlir::TypeRange types,
                   mlir::ArrayAttr maps, mlir::IntegerAttr group, mlir::Region &region);

} // namespace vitrify::vit
