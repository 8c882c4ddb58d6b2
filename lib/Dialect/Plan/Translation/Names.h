//===- Names.h - types and names of both forms of a plan --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/Plan/IR/Plan.h"
#include "vitrify/Support/DType.h"

namespace vitrify::plan {

inline mlir::Type elementOfDType(mlir::MLIRContext &context, DType dtype) {
  switch (dtype) {
  case DType::F32:
    return mlir::Float32Type::get(&context);
  case DType::F16:
    return mlir::Float16Type::get(&context);
  case DType::BF16:
    return mlir::BFloat16Type::get(&context);
  case DType::F8E4M3:
    return mlir::Float8E4M3FNType::get(&context);
  case DType::F4E2M1:
    return mlir::Float4E2M1FNType::get(&context);
  case DType::U8:
    return mlir::IntegerType::get(&context, 8, mlir::IntegerType::Unsigned);
  case DType::I32:
    return mlir::IntegerType::get(&context, 32);
  case DType::I64:
    return mlir::IntegerType::get(&context, 64);
  default: // I8: verifyPlan lets no other through
    return mlir::IntegerType::get(&context, 8);
  }
}

/// Of a type that isBufferElement accepts.
inline DType dtypeOfElement(mlir::Type type) {
  mlir::MLIRContext &context = *type.getContext();
  for (DType dtype : {DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F4E2M1, DType::U8, DType::I32, DType::I64})
    if (type == elementOfDType(context, dtype))
      return dtype;
  return DType::I8;
}

inline llvm::StringRef nameOfNumeric(Numeric numeric) { return numeric == Numeric::F8E4M3 ? "F8_E4M3" : "I8"; }

inline std::optional<Numeric> numericOfName(llvm::StringRef name) {
  if (name == "F8_E4M3")
    return Numeric::F8E4M3;
  return name == "I8" ? std::optional(Numeric::I8) : std::nullopt;
}

} // namespace vitrify::plan
