//===- vitrify-opt.cpp - runs passes and pipelines on text -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/IR/Plan.h"
#include "vitrify/Pipelines/Compiler.h"
#include "vitrify/Pipelines/Pipelines.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllPasses();
  vitrify::registerVitrifyDialects(registry);
  vitrify::registerVitrifyPipelines();
  registry.insert<vitrify::plan::PlanDialect>();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "vitrify optimiser driver\n", registry));
}
