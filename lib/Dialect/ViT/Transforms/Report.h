//===- Report.h - what passes did, in the module -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Passes append dictionaries to the module's attribute `vit.report`, so that what they did survives printing and entering
// a stage; the compiler writes the list as JSON.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace vitrify::vit {

/// Appends `{pass = NAME, fields...}`.
inline void appendReport(mlir::ModuleOp module, llvm::StringRef pass, llvm::ArrayRef<mlir::NamedAttribute> fields) {
  mlir::Builder builder(module.getContext());
  llvm::SmallVector<mlir::Attribute> list;
  if (auto known = module->getAttrOfType<mlir::ArrayAttr>("vit.report"))
    llvm::append_range(list, known);
  mlir::NamedAttrList entry(fields);
  entry.set("pass", builder.getStringAttr(pass));
  list.push_back(entry.getDictionary(module.getContext()));
  module->setAttr("vit.report", builder.getArrayAttr(list));
}

} // namespace vitrify::vit
