//===- FuseForTargetTest.cpp - a target bounds what is fused ---------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Pipelines/Compiler.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

using namespace mlir;
using namespace vitrify;

namespace {
constexpr const char *kModule = R"(
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
  %0 = vit.linear %x, %w layers ["b0.fc1"] : tensor<?x8xf32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %1 = vit.act relu %0 layers ["b0.act"] : tensor<?x8xf32>
  %2 = vit.residual %x, %1 layers ["b0.res"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
})";

class FuseForTarget : public testing::Test {
protected:
  FuseForTarget() {
    DialectRegistry registry;
    registerVitrifyDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Ops of @f that stay, by name; remarks are kept.
  std::vector<std::string> fuse(vit::SupportsFn supports) {
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { remarks += diagnostic.str() + "\n"; });
    auto module = parseSourceString<ModuleOp>(kModule, &context);
    PassManager pm(&context);
    pm.addPass(vit::createFuseEpilogue(std::move(supports)));
    std::vector<std::string> names;
    if (!module || failed(pm.run(*module)))
      return names;
    module->walk([&](vit::LayerOpInterface op) {
      if (isa<func::FuncOp>(op->getParentOp()))
        names.push_back(op->getName().getStringRef().str());
    });
    return names;
  }

  MLIRContext context;
  std::string remarks;
};

/// Of an epilogue with an operand that varies by row, a target may know nothing.
bool noRowOperands(Operation *op, std::string &reason) {
  auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op);
  if (!epilogue || epilogue.getEpilogueIns().empty())
    return true;
  reason = "operands of rows";
  return false;
}

TEST_F(FuseForTarget, WithoutATargetEverythingIsFused) {
  EXPECT_EQ(fuse({}), std::vector<std::string>{"vit.linear"});
  EXPECT_EQ(remarks, "");
}

TEST_F(FuseForTarget, WhatHasNoKernelTogetherStaysApart) {
  EXPECT_EQ(fuse(noRowOperands), (std::vector<std::string>{"vit.linear", "vit.residual"}));
  EXPECT_NE(remarks.find("b0.res stays apart: the target has no kernel for both: operands of rows"), std::string::npos) << remarks;
}

TEST_F(FuseForTarget, WhatHasNoKernelApartEitherIsFused) {
  auto nothing = [](Operation *, std::string &reason) {
    reason = "all";
    return false;
  };
  EXPECT_EQ(fuse(nothing), std::vector<std::string>{"vit.linear"});
}

} // namespace
