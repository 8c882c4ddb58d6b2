//===- NVPTXTargetTest.cpp - kernels of every family, from op to cubin -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Target/KnownTargets.h"
#include "vitrify/Target/NVPTX/Assemble.h"
#include "vitrify/Target/Target.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <set>

using namespace mlir;
using namespace vitrify;

namespace {

size_t count(const std::string &text, const std::string &word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
    ++n;
  return n;
}

class NVPTXTarget : public ::testing::Test {
protected:
  NVPTXTarget() : target(createNVPTXTarget(**findTarget("sm_89"))) {
    DialectRegistry registry;
    registry.insert<vit::ViTDialect, func::FuncDialect, tensor::TensorDialect, arith::ArithDialect, math::MathDialect>();
    target->registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// Builds the kernels of all vit ops of a function body.
  OwningOpRef<ModuleOp> build(const std::string &source, std::vector<KernelSpec> *all = nullptr) {
    module = parseSourceString<ModuleOp>(source, &context);
    OwningOpRef<ModuleOp> kernels = ModuleOp::create(UnknownLoc::get(&context));
    if (!module) {
      ADD_FAILURE() << "the test's module does not parse";
      return kernels;
    }
    module->walk([&](vit::LayerOpInterface op) {
      auto specs = target->kernelsFor(op);
      EXPECT_TRUE(succeeded(specs));
      if (failed(specs))
        return;
      for (const KernelSpec &spec : *specs) {
        EXPECT_TRUE(succeeded(target->build(op, spec, *kernels)));
        if (all)
          all->push_back(spec);
      }
    });
    EXPECT_TRUE(succeeded(verify(*kernels)));
    return kernels;
  }

  std::unique_ptr<Target> target;
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

/// fc1 of an FP8 block, at a layer whose operands have these names only.
std::string fc1(const std::string &layer, int n, int k) {
  std::string N = std::to_string(n), K = std::to_string(k);
  return "func.func @" + layer + "(%x: tensor<?x" + K + "xf8E4M3FN>, %w: tensor<" + N + "x" + K + "xf8E4M3FN>, %s: tensor<" + N +
         "xf32>, %b: tensor<" + N + "xf32>, %i: tensor<1xf32>) -> tensor<?x" + N + "xf8E4M3FN> {\n" +
         "%r = vit.linear %x, %w layers [\"" + layer + "\"] : tensor<?x" + K + "xf8E4M3FN>, tensor<" + N + "x" + K +
         "xf8E4M3FN> -> tensor<?x" + N + "xf8E4M3FN> epilogue(%s [(m, n) -> (n)] : tensor<" + N +
         "xf32>, %b [(m, n) -> (n)] : tensor<" + N + "xf32>, %i [(m, n) -> ()] : tensor<1xf32>) group 1 {\n" + R"(
    ^bb0(%acc: f32, %scale: f32, %bias: f32, %inv: f32):
      %0 = math.fma %acc, %scale, %bias : f32
      %1 = vit.act gelu_erf %0 : f32
      %2 = arith.mulf %1, %inv : f32
      %3 = vit.convert %2 sat : f32 to f8E4M3FN
      vit.yield %3 : f8E4M3FN
    })" + "\nreturn %r : tensor<?x" + N + "xf8E4M3FN> }\n";
}

const char *kBlock = R"mlir(
func.func @block(%px: tensor<?x3x?x?xf32>, %pw: tensor<64x588xf16>, %cls: tensor<1x64xf32>, %pos: tensor<5x64xf32>,
                 %g: tensor<64xf32>, %b: tensor<64xf32>, %isx: tensor<1xf32>, %qkvw: tensor<192x64xf8E4M3FN>,
                 %rows: index, %hw: tensor<10x64xf16>, %hb: tensor<10xf32>) -> tensor<?x10xf32> {
  %p = vit.patch_embed %px, %pw patch 14 x 14 layers ["patch"] : tensor<?x3x?x?xf32>, tensor<64x588xf16> -> tensor<?x64xf32>
  %x = vit.assemble_tokens %p prefix(%cls : tensor<1x64xf32>) position(%pos : tensor<5x64xf32>) uniform 4 layers ["tokens"]
    : tensor<?x64xf32> -> tensor<?x64xf32>
  %n = vit.norm layer %x gamma(%g : tensor<64xf32>) beta(%b : tensor<64xf32>) eps 1.0e-6 layers ["ln1"]
    : tensor<?x64xf32> -> tensor<?x64xf8E4M3FN> epilogue(%isx [(m, n) -> ()] : tensor<1xf32>) group 1 {
  ^bb0(%v: f32, %i: f32):
    %t = arith.mulf %v, %i : f32
    %c = vit.convert %t sat : f32 to f8E4M3FN
    vit.yield %c : f8E4M3FN
  }
  %qkv = vit.linear %n, %qkvw layers ["qkv"] : tensor<?x64xf8E4M3FN>, tensor<192x64xf8E4M3FN> -> tensor<?x192xf16>
    epilogue() group 1 {
  ^bb0(%acc: f32):
    %h = arith.truncf %acc : f32 to f16
    vit.yield %h : f16
  }
  %q = tensor.extract_slice %qkv[0, 0] [%rows, 64] [1, 1] : tensor<?x192xf16> to tensor<?x64xf16>
  %k = tensor.extract_slice %qkv[0, 64] [%rows, 64] [1, 1] : tensor<?x192xf16> to tensor<?x64xf16>
  %v = tensor.extract_slice %qkv[0, 128] [%rows, 64] [1, 1] : tensor<?x192xf16> to tensor<?x64xf16>
  %a = vit.attention %q, %k, %v heads 2 kv_heads 2 scale 0.176776695 uniform 5 layers ["attn"]
    : tensor<?x64xf16>, tensor<?x64xf16>, tensor<?x64xf16> -> tensor<?x64xf16> epilogue() group 1 {
  ^bb0(%acc: f32):
    %h = arith.truncf %acc : f32 to f16
    vit.yield %h : f16
  }
  %pool = vit.pool token 0 %a uniform 5 layers ["pool"] : tensor<?x64xf16> -> tensor<?x64xf16>
  %logits = vit.linear %pool, %hw layers ["head"] : tensor<?x64xf16>, tensor<10x64xf16> -> tensor<?x10xf32>
    epilogue(%hb [(m, n) -> (n)] : tensor<10xf32>) group 1 {
  ^bb0(%acc: f32, %bias: f32):
    %r = arith.addf %acc, %bias : f32
    vit.yield %r : f32
  }
  return %logits : tensor<?x10xf32>
})mlir";

TEST_F(NVPTXTarget, Fc1IsFp8OnTensorCores) {
  std::vector<KernelSpec> specs;
  auto kernels = build(fc1("b0", 3072, 768), &specs);
  // Few rows, many rows and some between take tiles of their own; a launch that adds parts of K comes after all others.
  std::erase_if(specs, [](const KernelSpec &spec) { return spec.launch != 0; });
  ASSERT_GE(specs.size(), 3u);
  ASSERT_LE(specs.size(), 6u);
  EXPECT_EQ(specs[0].rangeMin, 0);
  for (size_t i = 1; i < specs.size(); ++i)
    EXPECT_EQ(specs[i].rangeMin, specs[i - 1].rangeMax + 1);
  EXPECT_EQ(specs.back().rangeMax, INT64_MAX);
  auto ptx = target->print(*kernels, KernelStage::Assembly);
  ASSERT_TRUE(succeeded(ptx));
  EXPECT_GT(count(*ptx, "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"), 0u);
  EXPECT_EQ(count(*ptx, "m16n8k16"), 0u);
  EXPECT_GT(count(*ptx, "cvt.rn.satfinite.e4m3x2.f32"), 0u);
}

TEST_F(NVPTXTarget, EqualLayersShareAKernelAndOthersDoNot) {
  std::vector<KernelSpec> specs;
  auto kernels = build(fc1("b0", 64, 32) + fc1("b1", 64, 32) + fc1("b2", 96, 32), &specs);
  size_t each = std::ranges::count(specs, 0, &KernelSpec::rangeMin);
  ASSERT_EQ(each, 3u);
  each = specs.size() / each;
  std::set<std::string> names;
  for (size_t i = 0; i < each; ++i) {
    EXPECT_EQ(specs[i].name, specs[i + each].name);
    EXPECT_NE(specs[i].name, specs[i + 2 * each].name);
  }
  for (const KernelSpec &spec : specs)
    names.insert(spec.name);
  size_t functions = 0;
  kernels->walk([&](gpu::GPUFuncOp) { ++functions; });
  EXPECT_EQ(functions, names.size());
}

TEST_F(NVPTXTarget, ABlockAssemblesWithoutSpills) {
  auto kernels = build(kBlock);
  EmitOptions options;
  options.environment = TEST_ENVIRONMENT;
  auto binary = target->emit(*kernels, options);
  ASSERT_TRUE(succeeded(binary));
  EXPECT_EQ(binary->fileName, "kernels.fatbin");
  EXPECT_GE(binary->kernels.size(), 8u);
  for (const KernelInfo &kernel : binary->kernels) {
    EXPECT_EQ(kernel.metrics.at("spill_bytes"), 0) << kernel.name;
    EXPECT_GT(kernel.metrics.at("registers"), 0) << kernel.name;
  }
  auto again = target->emit(*kernels, options);
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(binary->bytes, again->bytes);
}

TEST_F(NVPTXTarget, CountsSayWhetherTheyAreOfSassOrOfPtx) {
  auto kernels = build(fc1("b0", 64, 32));
  auto ptx = target->print(*kernels, KernelStage::Assembly);
  ASSERT_TRUE(succeeded(ptx));
  auto toolchain = nvptx::Toolchain::find("", TEST_ENVIRONMENT);
  ASSERT_TRUE(toolchain.ok()) << toolchain.status().message();
  for (bool disassembler : {true, false}) {
    nvptx::Toolchain tools = *toolchain;
    if (!disassembler)
      tools.nvdisasm.clear();
    auto assembled = nvptx::assembleCached(tools, *ptx, "sm_89", nullptr);
    ASSERT_TRUE(assembled.ok()) << assembled.status().message();
    ASSERT_FALSE(assembled->metrics.empty());
    for (const auto &[name, metrics] : assembled->metrics) {
      EXPECT_EQ(metrics.at("from_sass"), disassembler && !tools.nvdisasm.empty()) << name;
      EXPECT_GT(metrics.at("tensor_f8"), 0) << name;
      EXPECT_GT(metrics.at("registers"), 0) << name;
      EXPECT_FALSE(metrics.contains("tensor_f16")) << name;
    }
  }
}

TEST(Toolchain, PtxThatIsTooNewIsRefused) {
  nvptx::Toolchain tools;
  tools.ptxas = "/x/ptxas";
  tools.version = "12.8.61";
  tools.major = 12;
  tools.minor = 8;
  EXPECT_TRUE(tools.checkAssembles("sm_89", "+ptx84").ok());
  EXPECT_TRUE(tools.checkAssembles("sm_90a", "+ptx87").ok());
  EXPECT_EQ(tools.checkAssembles("sm_120a", "+ptx88").message(),
            "ptxas 12.8.61 at /x/ptxas is too old for sm_120a, which needs PTX 8.8: CUDA 12.9 or newer");
  EXPECT_EQ(tools.checkAssembles("x", "+ptx90").message(),
            "ptxas 12.8.61 at /x/ptxas is too old for x, which needs PTX 9.0: CUDA 13.0 or newer");
  tools.minor = 4;
  EXPECT_TRUE(tools.checkAssembles("sm_89", "+ptx84").ok());
  EXPECT_FALSE(tools.checkAssembles("sm_90a", "+ptx86").ok());
  tools.major = 13;
  tools.minor = 0;
  EXPECT_TRUE(tools.checkAssembles("x", "+ptx90").ok());
}

TEST_F(NVPTXTarget, WhatHasNoKernelIsNamed) {
  module = parseSourceString<ModuleOp>(R"mlir(
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %a = vit.attention %x, %x, %x heads 2 kv_heads 2 scale 0.1 uniform 5 layers ["a"]
        : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
      return %a : tensor<?x64xf32>
    })mlir", &context);
  module->walk([&](vit::AttentionOp op) {
    std::string reason;
    EXPECT_FALSE(target->supports(op, reason));
    EXPECT_EQ(reason, "attention on f32");
  });
}

} // namespace
