//===- Lowering.cpp - kernels to the llvm dialect, with the C signature -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Emit.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace vitrify;

namespace {
/// What the wrapper must know of a kernel's arguments after their types are gone.
struct Signature {
  std::string name;
  SmallVector<Type> inputs;
};
} // namespace

/// Builds @name(scalars, buffers, begin, end) that calls the lowered kernel. A memref is five or more values there:
/// pointer, pointer, offset, sizes, strides. A dynamic size is never read, since strides and offsets are static.
static LogicalResult addWrapper(ModuleOp module, const Signature &signature) {
  auto body = module.lookupSymbol<LLVM::LLVMFuncOp>(signature.name);
  std::string bodyName = signature.name + ".body";
  body.setSymName(bodyName);
  body.setLinkage(LLVM::Linkage::Internal);
  body.setAlwaysInline(true);

  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = body.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Type i64 = b.getI64Type();
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), {pointer, pointer, i64, i64});
  auto wrapper = LLVM::LLVMFuncOp::create(b, loc, signature.name, type);
  // No argument's memory overlaps another's while it is written, and LLVM may know it of the two tables.
  for (unsigned i = 0; i < 2; ++i)
    wrapper.setArgAttr(i, LLVM::LLVMDialect::getReadonlyAttrName(), b.getUnitAttr());
  Block *entry = wrapper.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  auto constant = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(value));
  };
  auto loadAt = [&](Value table, Type element, unsigned i) -> Value {
    Value address = LLVM::GEPOp::create(b, loc, pointer, element, table, ArrayRef<LLVM::GEPArg>{int32_t(i)});
    return LLVM::LoadOp::create(b, loc, element, address);
  };
  SmallVector<Value> arguments;
  unsigned scalars = 0, buffers = 0;
  for (Type input : ArrayRef<Type>(signature.inputs).drop_back(2)) {
    auto memref = dyn_cast<MemRefType>(input);
    if (!memref) {
      arguments.push_back(loadAt(entry->getArgument(0), i64, scalars++));
      continue;
    }
    SmallVector<int64_t> strides;
    int64_t offset;
    if (failed(memref.getStridesAndOffset(strides, offset)))
      return module.emitError("kernel ") << signature.name << " has an argument without static strides: " << input;
    Value address = loadAt(entry->getArgument(1), pointer, buffers++);
    arguments.append({address, address, constant(0)});
    for (int64_t size : memref.getShape())
      arguments.push_back(ShapedType::isDynamic(size) ? Value(LLVM::PoisonOp::create(b, loc, i64)) : constant(size));
    for (int64_t stride : strides)
      arguments.push_back(constant(stride));
  }
  arguments.append({entry->getArgument(2), entry->getArgument(3)});
  LLVM::CallOp::create(b, loc, body, arguments);
  LLVM::ReturnOp::create(b, loc, ValueRange());
  return success();
}

LogicalResult x86::lowerKernels(ModuleOp module) {
  SmallVector<Signature> signatures;
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isPrivate())
      signatures.push_back({function.getName().str(), llvm::to_vector(function.getFunctionType().getInputs())});
  PassManager passes(module.getContext());
  passes.addPass(createCSEPass());
  passes.addPass(createLoopInvariantCodeMotionPass());
  passes.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions options;
  options.x86Vector = true;
  passes.addPass(createConvertVectorToLLVMPass(options));
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createFinalizeMemRefToLLVMConversionPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createConvertFuncToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  if (failed(passes.run(module)))
    return failure();
  for (auto piece : module.getOps<LLVM::LLVMFuncOp>())
    if (SymbolTable::getSymbolVisibility(piece) == SymbolTable::Visibility::Private) {
      piece.setLinkage(LLVM::Linkage::Internal);
      piece.setNoInline(true);
    }
  for (const Signature &signature : signatures)
    if (failed(addWrapper(module, signature)))
      return failure();
  return success();
}
