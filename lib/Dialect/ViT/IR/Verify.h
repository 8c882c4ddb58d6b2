//===- Verify.h - shape and type rules that op families share -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Interfaces/InferTypeOpInterface.h"

namespace vitrify::vit {

/// Result shapes whose dynamic rows are those of the first operand.
mlir::LogicalResult reifyFromFirstOperand(mlir::OpBuilder &builder, mlir::Operation *op,
                                          mlir::ReifiedRankedShapedTypeDims &shapes);

} // namespace vitrify::vit
