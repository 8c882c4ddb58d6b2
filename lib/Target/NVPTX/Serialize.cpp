//===- Serialize.cpp - gpu.module to PTX text -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Target/NVPTX/Serialize.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVM/NVVM/Utils.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/Module.h"

using namespace mlir;

gpu::GPUModuleOp vitrify::nvptx::createKernelModule(OpBuilder &builder, Location loc, StringRef name) {
  auto module = gpu::GPUModuleOp::create(builder, loc, name);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(module.getBody());
  auto bytes = LLVM::LLVMArrayType::get(builder.getI8Type(), 0);
  LLVM::GlobalOp::create(builder, loc, bytes, /*isConstant=*/false, LLVM::Linkage::External, "dynamic_shared", Attribute(),
                         /*alignment=*/128, /*addrSpace=*/3);
  return module;
}

LogicalResult vitrify::nvptx::lowerToNVVM(gpu::GPUModuleOp module) {
  PassManager pm(module.getContext(), gpu::GPUModuleOp::getOperationName());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createLoopInvariantCodeMotionPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertGpuOpsToNVVMOps());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

namespace {
/// Stops the upstream serialisation at PTX: ptxas runs elsewhere, in parallel and cached.
class PtxSerializer : public NVVM::SerializeGPUModuleBase {
public:
  using SerializeGPUModuleBase::SerializeGPUModuleBase;

  FailureOr<SmallVector<char, 0>> moduleToObject(llvm::Module &llvmModule) override {
    auto machine = getOrCreateTargetMachine();
    if (failed(machine))
      return getOperation().emitError("no target machine for this chip");
    auto isa = translateModuleToISA(llvmModule, **machine, [&] { return getOperation().emitError(); });
    if (failed(isa))
      return failure();
    return SmallVector<char, 0>(isa->begin(), isa->end());
  }
};
} // namespace

FailureOr<std::string> vitrify::nvptx::translateToPTX(gpu::GPUModuleOp module, StringRef chip, StringRef features) {
  NVVM::SerializeGPUModuleBase::init();
  auto target = NVVM::NVVMTargetAttr::get(module.getContext(), /*optLevel=*/3, "nvptx64-nvidia-cuda", chip, features);
  PtxSerializer serializer(*module, target);
  auto ptx = serializer.run();
  if (!ptx)
    return failure();
  return std::string(ptx->begin(), ptx->end());
}
