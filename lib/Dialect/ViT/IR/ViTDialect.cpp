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
#include "mlir/Interfaces/FunctionInterfaces.h"
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
  // dim_c1
  if (name.empty())
    return emitError() << "dimension needs a name";
  if (min < 1 || tuned < min || max < tuned)
    return emitError() << "expected 1 <= min <= tuned <= max, found " << min << ", " << tuned << ", " << max;
  return success();
}

/// vit.name of an argument or result.
static LogicalResult verifyName(Operation *op, NamedAttribute attribute) {
  // dim_c3
  auto name = dyn_cast<StringAttr>(attribute.getValue());
  if (attribute.getName() != "vit.name" || (name && !name.empty()))
    return success();
  return op->emitOpError() << "expected a string that is not empty as vit.name, found " << attribute.getValue();
}

LogicalResult ViTDialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned argument, NamedAttribute attribute) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (attribute.getName() != "vit.dims" || !function)
    return verifyName(op, attribute);
  // dim_c2
  auto dims = dyn_cast<ArrayAttr>(attribute.getValue());
  auto type = dyn_cast<RankedTensorType>(function.getArgumentTypes()[argument]);
  int64_t expected = type ? type.getNumDynamicDims() : 0;
  if (!dims || !llvm::all_of(dims, llvm::IsaPred<DimAttr>) || static_cast<int64_t>(dims.size()) != expected)
    return op->emitOpError() << "expected " << expected << " #vit.dim as vit.dims of argument " << argument
                             << ", one a dynamic dimension, found " << attribute.getValue();
  return success();
}

LogicalResult ViTDialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned, NamedAttribute attribute) {
  return verifyName(op, attribute);
}
