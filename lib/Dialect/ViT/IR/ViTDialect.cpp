//===- ViTDialect.cpp - registration and enum, attribute, op definitions -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include "EpilogueSyntax.h"

using namespace mlir;
using namespace vitrify::vit;

#include "vitrify/Dialect/ViT/IR/ViTDialect.cpp.inc"
#include "vitrify/Dialect/ViT/IR/ViTEnums.cpp.inc"
#include "vitrify/Dialect/ViT/IR/ViTInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "vitrify/Dialect/ViT/IR/ViTAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "vitrify/Dialect/ViT/IR/ViTOps.cpp.inc"

void ViTDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "vitrify/Dialect/ViT/IR/ViTAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "vitrify/Dialect/ViT/IR/ViTOps.cpp.inc"
      >();
}

LogicalResult DimAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef name, int64_t min, int64_t tuned,
                              int64_t max) {
  if (name.empty())
    return emitError() << "dimension needs a name";
  if (min < 1 || tuned < min || max < tuned)
    return emitError() << "expected 1 <= min <= tuned <= max, found " << min << ", " << tuned << ", " << max;
  return success();
}
