//===- vitrify-lsp-server.cpp - editors read vit and plan text through it ---===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/Plan/IR/Plan.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/InitAllDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  registry.insert<vitrify::vit::ViTDialect, vitrify::plan::PlanDialect>();
  return mlir::MlirLspServerMain(argc, argv, registry).succeeded() ? 0 : 1;
}
