//===- LinearMmaSyncTest.cpp - FP8 and 16-bit linears, from op to cubin -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "LinearMmaSync.h"
#include "vitrify/Target/NVPTX/Serialize.h"
#include "vitrify/Target/NVPTX/Toolchain.h"

#include "mlir/IR/Verifier.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Target/LLVM/NVVM/Target.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

class LinearMmaSync : public ::testing::Test {
protected:
  LinearMmaSync() {
    DialectRegistry registry;
    registerAllDialects(registry);
    registerAllExtensions(registry);
    registerAllGPUToLLVMIRTranslations(registry);
    NVVM::registerNVVMTargetInterfaceExternalModels(registry);
    registry.insert<vit::ViTDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  /// fc1 of a block: scale, bias, GELU, requantise.
  static constexpr const char *kFc1 = R"mlir(
    func.func @f(%x: tensor<?x768xf8E4M3FN>, %w: tensor<3072x768xf8E4M3FN>, %s: tensor<3072xf32>, %b: tensor<3072xf32>,
                 %i: tensor<1xf32>) -> tensor<?x3072xf8E4M3FN> {
      %r = vit.linear %x, %w layers ["fc1"] : tensor<?x768xf8E4M3FN>, tensor<3072x768xf8E4M3FN> -> tensor<?x3072xf8E4M3FN>
        epilogue(%s [(m, n) -> (n)] : tensor<3072xf32>, %b [(m, n) -> (n)] : tensor<3072xf32>, %i [(m, n) -> ()] : tensor<1xf32>) group 1 {
      ^bb0(%acc: f32, %scale: f32, %bias: f32, %inv: f32):
        %0 = math.fma %acc, %scale, %bias : f32
        %1 = vit.act gelu_erf %0 : f32
        %2 = arith.mulf %1, %inv : f32
        %3 = vit.convert %2 sat : f32 to f8E4M3FN
        vit.yield %3 : f8E4M3FN
      }
      return %r : tensor<?x3072xf8E4M3FN>
    })mlir";

  std::string compileToPtx(const char *source, LinearTile tile) {
    auto module = parseSourceString<ModuleOp>(source, &context);
    EXPECT_TRUE(module);
    vit::LinearOp op;
    module->walk([&](vit::LinearOp found) { op = found; });
    LinearKernel kernel;
    Type element = op.getInput().getType().getElementType();
    kernel.type = isa<Float8E4M3FNType>(element) ? MatrixType::F8E4M3 : element.isBF16() ? MatrixType::BF16 : MatrixType::F16;
    kernel.columns = op.getWeight().getType().getDimSize(0);
    kernel.depth = op.getWeight().getType().getDimSize(1);
    int64_t elementBytes = element.getIntOrFloatBitWidth() / 8;
    kernel.inputStride = kernel.weightStride = llvm::alignTo(kernel.depth * elementBytes, 16);
    kernel.tile = tile;
    kernel.epilogue = &op.getEpilogue();
    kernel.group = op.getGroup();
    kernel.inputArgument = 0;
    kernel.weightArgument = 1;
    unsigned next = 2;
    for (auto [in, map] : llvm::zip(op.getEpilogueIns(), op.getMaps().getAsValueRange<AffineMapAttr>())) {
      auto type = cast<RankedTensorType>(in.getType());
      kernel.ins.push_back({Value(), type.getElementType(), map, type.getShape().back()});
      kernel.inArguments.push_back(next++);
    }
    for (Type type : op.getResultTypes()) {
      auto tensor = cast<RankedTensorType>(type);
      kernel.results.push_back({Value(), tensor.getElementType(), AffineMap(), tensor.getDimSize(1)});
      kernel.resultArguments.push_back(next++);
    }
    kernel.pointerArguments = next;
    OpBuilder builder(&context);
    builder.setInsertionPointToEnd(module->getBody());
    auto kernels = createKernelModule(builder, builder.getUnknownLoc(), "kernels");
    builder.setInsertionPointToEnd(kernels.getBody());
    buildLinearMmaSync(builder, builder.getUnknownLoc(), "linear", kernel);
    EXPECT_TRUE(succeeded(verify(kernels)));
    EXPECT_TRUE(succeeded(lowerToNVVM(kernels)));
    auto ptx = translateToPTX(kernels, "sm_89", "+ptx84");
    EXPECT_TRUE(succeeded(ptx));
    return succeeded(ptx) ? *ptx : "";
  }

  MLIRContext context;
};

size_t count(const std::string &text, const std::string &word) {
  size_t n = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
    ++n;
  return n;
}

TEST_F(LinearMmaSync, Fc1UsesFp8TensorCoresAndDoesNotSpill) {
  LinearTile tile;
  std::string ptx = compileToPtx(kFc1, tile);
  if (const char *path = std::getenv("VITRIFY_DUMP_PTX"))
    std::ofstream(path) << ptx;
  // 64x64 a warp, 64 bytes of K a stage: 4 x 8 fragments, 2 steps.
  EXPECT_EQ(count(ptx, "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"), 64u);
  EXPECT_EQ(count(ptx, "cvt.rn.satfinite.e4m3x2.f32"), 64u);
  auto toolchain = Toolchain::find("", std::getenv("VIRTUAL_ENV") ? std::getenv("VIRTUAL_ENV") : "");
  if (!toolchain)
    GTEST_SKIP() << toolchain.status().message();
  auto cubin = assemble(*toolchain, ptx, "sm_89");
  ASSERT_TRUE(cubin) << cubin.status().message();
  ASSERT_EQ(cubin->kernels.size(), 1u);
  EXPECT_EQ(cubin->kernels["linear"].spillStores, 0);
  EXPECT_LE(cubin->kernels["linear"].registers, 255);
  if (const char *path = std::getenv("VITRIFY_DUMP_PTX"))
    std::ofstream(std::string(path) + ".cubin") << cubin->bytes;
}

} // namespace
