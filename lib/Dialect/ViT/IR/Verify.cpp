//===- Verify.cpp - shape and type rules that op families share -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Verify.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;

LogicalResult vitrify::vit::reifyFromFirstOperand(OpBuilder &builder, Operation *op,
                                                  ReifiedRankedShapedTypeDims &shapes) {
  for (Type type : op->getResultTypes()) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor)
      return failure();
    SmallVector<OpFoldResult> dims;
    for (auto [axis, size] : llvm::enumerate(tensor.getShape()))
      dims.push_back(ShapedType::isDynamic(size)
                         ? tensor::getMixedSize(builder, op->getLoc(), op->getOperand(0), axis)
                         : OpFoldResult(builder.getIndexAttr(size)));
    shapes.push_back(std::move(dims));
  }
  return success();
}
