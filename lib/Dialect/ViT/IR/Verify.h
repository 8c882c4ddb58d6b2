//===- Verify.h - shape and type rules that op families share ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"

namespace vitrify::vit {

/// True if two sizes can be equal: one of them is dynamic, or they are.
inline bool fits(int64_t a, int64_t b) {
  return mlir::ShapedType::isDynamic(a) || mlir::ShapedType::isDynamic(b) || a == b;
}

/// True if two tensors have one rank and sizes that fit.
bool shapesFit(mlir::ShapedType a, mlir::ShapedType b);

/// "expected <what> <shape>, found <type>", when `type` has another rank or a size that does not fit.
mlir::LogicalResult expectShape(mlir::Operation *op, llvm::StringRef what, mlir::ShapedType type,
                                llvm::ArrayRef<int64_t> shape);

/// a / b of sizes; dynamic when a is.
inline int64_t quotient(int64_t a, int64_t b) { return mlir::ShapedType::isDynamic(a) ? a : a / b; }

/// epilogue_c1 to epilogue_c6 for an accumulator of so many rows (dynamic or not). Without an epilogue, one result of
/// the accumulator's shape: in f32 only, or in any float type when `anyFloat`.
mlir::LogicalResult verifyEpilogue(EpilogueOpInterface op, int64_t rows, bool anyFloat);

/// Exactly one of a positive `uniform` and `cu_seqlens`, and rows that `uniform` divides.
mlir::LogicalResult verifySegments(mlir::Operation *op, std::optional<int64_t> uniform, mlir::Value cuSeqlens,
                                   int64_t rows);

/// How many segments there are: static only for static rows and `uniform`, or a static cu_seqlens.
int64_t segmentCount(std::optional<int64_t> uniform, mlir::Value cuSeqlens, int64_t rows);

/// Results whose dynamic dimensions are those of the first operand.
mlir::LogicalResult reifyFromFirstOperand(mlir::OpBuilder &builder, mlir::Operation *op,
                                          mlir::ReifiedRankedShapedTypeDims &shapes);

/// Results whose dynamic dimensions are `rows`; all others come from their types.
mlir::LogicalResult reifyRows(mlir::OpBuilder &builder, mlir::Operation *op, mlir::OpFoldResult rows,
                              mlir::ReifiedRankedShapedTypeDims &shapes);

/// An affine expression of sizes of values, as an attribute where it is constant.
mlir::OpFoldResult sizeExpr(mlir::OpBuilder &builder, mlir::Location loc, mlir::AffineExpr expr,
                            llvm::ArrayRef<mlir::OpFoldResult> dims);

/// a * b, which is not affine when neither is constant.
mlir::OpFoldResult sizeProduct(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult a, mlir::OpFoldResult b);

} // namespace vitrify::vit
