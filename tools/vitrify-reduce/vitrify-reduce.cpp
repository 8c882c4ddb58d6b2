//===- vitrify-reduce.cpp - makes a failing module as small as it can be ----===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/IR/Plan.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllPasses();
  registry.insert<vitrify::vit::ViTDialect, vitrify::plan::PlanDialect>();
  mlir::MLIRContext context(registry);
  return mlir::mlirReduceMain(argc, argv, context).succeeded() ? 0 : 1;
}
