//===- WeightOps.cpp - verifiers and folders of the weight family -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "Verify.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace vitrify::vit;

LogicalResult SourceOp::verify() { return success(); }

LogicalResult WeightOp::verify() { return success(); }

LogicalResult GetOp::verifySymbolUses(SymbolTableCollection &symbols) { return success(); }

LogicalResult ReadOp::verify() { return success(); }

LogicalResult ReadOp::verifySymbolUses(SymbolTableCollection &symbols) { return success(); }

LogicalResult LiteralOp::verify() { return success(); }

LogicalResult SliceOp::verify() { return success(); }

LogicalResult GatherOp::verify() { return success(); }

LogicalResult ConcatOp::verify() { return success(); }

LogicalResult TransposeOp::verify() { return success(); }

LogicalResult ReshapeOp::verify() { return success(); }

LogicalResult CastOp::verify() { return success(); }

LogicalResult AmaxOp::verify() { return success(); }

LogicalResult SumOp::verify() { return success(); }

LogicalResult RecipOp::verify() { return success(); }

LogicalResult MulOp::verify() { return success(); }

LogicalResult AddOp::verify() { return success(); }

LogicalResult SubOp::verify() { return success(); }

LogicalResult RoundOp::verify() { return success(); }

LogicalResult DequantOp::verify() { return success(); }

LogicalResult PadOp::verify() { return success(); }
