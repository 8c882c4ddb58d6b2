//===- PlanDialect.cpp - registration, attributes and types of plans ------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/IR/Plan.h"

#include "PlanSyntax.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vitrify::plan;

#include "vitrify/Dialect/Plan/IR/PlanDialect.cpp.inc"
#include "vitrify/Dialect/Plan/IR/PlanEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "vitrify/Dialect/Plan/IR/PlanAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "vitrify/Dialect/Plan/IR/PlanTypes.cpp.inc"
#define GET_OP_CLASSES
#include "vitrify/Dialect/Plan/IR/PlanOps.cpp.inc"

void PlanDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "vitrify/Dialect/Plan/IR/PlanAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "vitrify/Dialect/Plan/IR/PlanTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "vitrify/Dialect/Plan/IR/PlanOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Expressions
//===----------------------------------------------------------------------===//

ExprAttr ExprAttr::get(MLIRContext *context, int64_t constant) {
  return Base::get(context, ExprKind::Constant, constant, StringAttr(), Attribute(), Attribute());
}

ExprAttr ExprAttr::get(MLIRContext *context, StringRef symbol) {
  return Base::get(context, ExprKind::Symbol, int64_t(0), StringAttr::get(context, symbol), Attribute(), Attribute());
}

ExprAttr ExprAttr::get(ExprKind kind, Attribute lhs, Attribute rhs) {
  return Base::get(lhs.getContext(), kind, int64_t(0), StringAttr(), lhs, rhs);
}

ExprAttr ExprAttr::left() const { return cast<ExprAttr>(getLhs()); }
ExprAttr ExprAttr::right() const { return cast<ExprAttr>(getRhs()); }

std::optional<int64_t> ExprAttr::constant() const {
  return getKind() == ExprKind::Constant ? std::optional(getValue()) : std::nullopt;
}

unsigned ExprAttr::depth() const {
  return getLhs() ? 1 + std::max(left().depth(), right().depth()) : 1;
}

ExprAttr vitrify::plan::simplified(ExprKind kind, ExprAttr lhs, ExprAttr rhs) {
  std::optional<int64_t> a = lhs.constant(), b = rhs.constant();
  auto constant = [&](int64_t value) { return ExprAttr::get(lhs.getContext(), value); };
  int64_t folded;
  switch (kind) {
  case ExprKind::Add:
    if (a && b && !llvm::AddOverflow(*a, *b, folded))
      return constant(folded);
    if (a == 0)
      return rhs;
    return b == 0 ? lhs : ExprAttr::get(kind, lhs, rhs);
  case ExprKind::Sub:
    if (a && b && !llvm::SubOverflow(*a, *b, folded))
      return constant(folded);
    return b == 0 ? lhs : ExprAttr::get(kind, lhs, rhs);
  case ExprKind::Mul:
    if (a && b && !llvm::MulOverflow(*a, *b, folded))
      return constant(folded);
    if (a == 0 || b == 0)
      return constant(0);
    if (a == 1)
      return rhs;
    return b == 1 ? lhs : ExprAttr::get(kind, lhs, rhs);
  case ExprKind::CeilDiv:
  case ExprKind::FloorDiv:
    if (b == 1)
      return lhs;
    if (a && b && *b > 0 && *a >= 0)
      return constant(*a / *b + (kind == ExprKind::CeilDiv && *a % *b != 0));
    return ExprAttr::get(kind, lhs, rhs);
  case ExprKind::Min:
  case ExprKind::Max:
    if (lhs == rhs)
      return lhs;
    if (a && b)
      return constant(kind == ExprKind::Min ? std::min(*a, *b) : std::max(*a, *b));
    return ExprAttr::get(kind, lhs, rhs);
  default:
    return ExprAttr::get(kind, lhs, rhs);
  }
}

//===----------------------------------------------------------------------===//
// Attributes and types
//===----------------------------------------------------------------------===//

LogicalResult SymbolAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef name, int64_t min,
                                 int64_t tuned, int64_t max) {
  auto good = [](char c) { return llvm::isAlnum(c) || c == '_'; };
  constexpr StringRef operators[] = {"min", "max", "mod", "ceildiv", "floordiv"};
  if (name.empty() || llvm::isDigit(name[0]) || !llvm::all_of(name, good) || llvm::is_contained(operators, name))
    return emitError() << "expected an identifier that is no operator as the symbol's name, found '" << name << "'";
  if (min < 0 || tuned < min || max < tuned)
    return emitError() << "expected 0 <= min <= tuned <= max, found " << min << ", " << tuned << ", " << max;
  return success();
}

LogicalResult VariantAttr::verify(function_ref<InFlightDiagnostic()> emitError, FlatSymbolRefAttr, int64_t min,
                                  int64_t max, ArrayRef<ExprAttr> grid, ArrayRef<int64_t> block, int64_t) {
  if (grid.size() != 3 || block.size() != 3)
    return emitError() << "expected 3 sizes of grid and block, found " << grid.size() << " and " << block.size();
  if (min > max)
    return emitError() << "expected min <= max, found " << min << " and " << max;
  return success();
}

bool vitrify::plan::isBufferElement(Type type) {
  return isa<Float32Type, Float16Type, BFloat16Type, Float8E4M3FNType, Float4E2M1FNType>(type) ||
         type.isSignlessInteger(8) || type.isUnsignedInteger(8) || type.isSignlessInteger(32) ||
         type.isSignlessInteger(64);
}

LogicalResult BufferType::verify(function_ref<InFlightDiagnostic()> emitError, Type element) {
  return isBufferElement(element)
             ? success()
             : emitError() << "expected f32, f16, bf16, f8E4M3FN, f4E2M1FN, i8, ui8, i32 or i64, found " << element;
}
