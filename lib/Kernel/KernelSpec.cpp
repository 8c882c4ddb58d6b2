//===- KernelSpec.cpp - what a plan must know about a kernel -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Kernel/KernelSpec.h"

#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace vitrify;

bool vitrify::isWeight(Value value) { return value.getDefiningOp<vit::GetOp>() != nullptr; }

FailureOr<RowView> vitrify::rowViewOf(Value value, std::string &reason) {
  RowView view{value, 0, 0};
  while (auto slice = view.base.getDefiningOp<tensor::ExtractSliceOp>()) {
    auto source = slice.getSourceType();
    auto result = slice.getResultType();
    if (source.getRank() != 2 || result.getRank() != 2) {
      reason = "a slice of rank " + std::to_string(source.getRank()) + " is no view of rows";
      return failure();
    }
    ArrayRef<int64_t> offsets = slice.getStaticOffsets(), sizes = slice.getStaticSizes();
    for (int64_t stride : slice.getStaticStrides())
      if (stride != 1) {
        reason = "a slice with a stride other than 1 is no view of rows";
        return failure();
      }
    if (offsets[0] != 0 || ShapedType::isDynamic(offsets[1]) || ShapedType::isDynamic(sizes[1])) {
      reason = "a slice is a view of rows when it takes all rows and a static range of columns";
      return failure();
    }
    view.columnOffset += offsets[1];
    view.base = slice.getSource();
  }
  auto type = cast<RankedTensorType>(view.base.getType());
  // The innermost dimensions after the rows lie one after the other.
  view.rowStride = 1;
  for (int64_t size : type.getShape().drop_front()) {
    if (ShapedType::isDynamic(size)) {
      reason = "dimensions after the first must be static";
      return failure();
    }
    view.rowStride *= size;
  }
  return view;
}
