//===- NVPTXTarget.cpp - the GPU target: families of kernels, PTX, fatbin -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "vitrify/Support/CompileCache.h"
#include "vitrify/Target/NVPTX/Assemble.h"
#include "vitrify/Target/NVPTX/Serialize.h"
#include "vitrify/Target/NVPTX/Toolchain.h"
#include "vitrify/Target/Target.h"

#include "mlir/Bytecode/BytecodeWriter.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Target/LLVM/NVVM/Target.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr const Family *kFamilies[] = {&kLinearFamily, &kPatchFamily, &kRowFamily, &kAttentionFamily, &kElementwiseFamily, &kPoolFamily, &kGatherFamily, &kRopeFamily,
                                      &kGateFamily, &kScatterFamily, &kGroupTokensFamily, &kGroupedLinearFamily};

const Family *familyOf(Operation *op) {
  for (const Family *family : kFamilies)
    if (family->matches(op))
      return family;
  return nullptr;
}

class NVPTXTarget : public Target {
public:
  explicit NVPTXTarget(const TargetRow &row) : targetRow(row) {}

  const TargetRow &row() const override { return targetRow; }
  void registerDialects(DialectRegistry &registry) const override {
    registry.insert<arith::ArithDialect, cf::ControlFlowDialect, gpu::GPUDialect, LLVM::LLVMDialect, math::MathDialect,
                    NVVM::NVVMDialect, scf::SCFDialect, vector::VectorDialect>();
    // convert-gpu-to-nvvm asks each dialect for its patterns.
    arith::registerConvertArithToLLVMInterface(registry);
    cf::registerConvertControlFlowToLLVMInterface(registry);
    registerConvertMathToLLVMInterface(registry);
    registerAllGPUToLLVMIRTranslations(registry);
    NVVM::registerNVVMTargetInterfaceExternalModels(registry);
  }

  bool supports(Operation *op, std::string &reason) const override {
    const Family *family = familyOf(op);
    if (!family) {
      reason = "'" + op->getName().getStringRef().str() + "'";
      return false;
    }
    return family->supports(op, targetRow, reason);
  }

  FailureOr<std::vector<KernelSpec>> kernelsFor(Operation *op) const override {
    std::string reason;
    if (!supports(op, reason))
      return op->emitOpError() << "has no kernel on " << targetRow.name << ": " << reason;
    const Family &family = *familyOf(op);
    if (!family.specsKey)
      return family.specs(op, targetRow);
    auto [known, added] = knownSpecs.try_emplace(family.specsKey(op, targetRow));
    if (added)
      known->second = family.specs(op, targetRow);
    return known->second;
  }

  LogicalResult build(Operation *op, const KernelSpec &spec, ModuleOp kernels) const override;
  FailureOr<KernelBinary> emit(ModuleOp kernels, const EmitOptions &options) const override;
  FailureOr<std::string> print(ModuleOp kernels, KernelStage stage) const override;

private:
  StringRef featuresOf(gpu::GPUModuleOp module) const;
  FailureOr<std::string> ptxOf(gpu::GPUModuleOp module) const;
  FailureOr<std::string> cachedPtxOf(gpu::GPUModuleOp module, CompileCache *cache) const;

  TargetRow targetRow;
  mutable std::map<std::string, std::vector<KernelSpec>> knownSpecs; ///< by Family::specsKey
};

/// The one gpu.module that holds all kernels, null before the first is built.
gpu::GPUModuleOp moduleOf(ModuleOp kernels) { return kernels.lookupSymbol<gpu::GPUModuleOp>("kernels"); }

LogicalResult NVPTXTarget::build(Operation *op, const KernelSpec &spec, ModuleOp kernels) const {
  OpBuilder builder(kernels.getContext());
  // Equal ops share a kernel: where the first of them stood does not belong into it.
  Location loc = builder.getUnknownLoc();
  gpu::GPUModuleOp module = moduleOf(kernels);
  if (!module) {
    builder.setInsertionPointToEnd(kernels.getBody());
    module = createKernelModule(builder, loc, "kernels");
  }
  if (module.lookupSymbol(spec.name))
    return success();
  SmallVector<NamedAttribute> facts;
  for (const auto &[name, value] : spec.facts)
    facts.push_back(builder.getNamedAttr(name, builder.getI64IntegerAttr(value)));
  auto info = builder.getDictionaryAttr({builder.getNamedAttr("facts", builder.getDictionaryAttr(facts)),
                                         builder.getNamedAttr("kind", builder.getStringAttr(spec.layerKind)),
                                         builder.getNamedAttr("precision", builder.getStringAttr(spec.precision)),
                                         builder.getNamedAttr("scalars", builder.getI64IntegerAttr(spec.scalars.size())),
                                         builder.getNamedAttr("buffers", builder.getI64IntegerAttr(spec.operands.size()))});
  builder.setInsertionPointToEnd(module.getBody());
  SmallVector<Type> inputs(spec.scalars.size(), builder.getI64Type());
  inputs.append(spec.operands.size(), LLVM::LLVMPointerType::get(builder.getContext(), kGlobal));
  auto func = gpu::GPUFuncOp::create(builder, loc, spec.name, builder.getFunctionType(inputs, {}));
  func->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), builder.getUnitAttr());
  func->setAttr("vitrify.kernel", info);
  func.setKnownBlockSizeAttr(builder.getDenseI32ArrayAttr({static_cast<int32_t>(spec.block), 1, 1}));
  // One block an SM is enough: without this ptxas trades registers for occupancy and spills in kernels of short K.
  func->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), builder.getI32IntegerAttr(1));
  Block &entry = func.getBody().front();
  builder.setInsertionPointToStart(&entry);
  GpuBuilder g(builder, loc);
  familyOf(op)->build(g, op, spec, targetRow, entry.getArguments());
  g.create<gpu::ReturnOp>();
  return success();
}

/// A copy of the kernels in the llvm and nvvm dialects; null on failure. The data layout is looked up in the module
/// around, so the copy has one.
OwningOpRef<ModuleOp> lowered(gpu::GPUModuleOp module) {
  OwningOpRef<ModuleOp> around = ModuleOp::create(module.getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(around->getBody());
  if (failed(lowerToNVVM(cast<gpu::GPUModuleOp>(builder.clone(*module)))))
    return nullptr;
  return around;
}

/// The row's PTX version, or a newer one where a kernel has an instruction that is newer: drivers are asked for no more than
/// a bundle needs.
StringRef NVPTXTarget::featuresOf(gpu::GPUModuleOp module) const {
  constexpr StringLiteral kF16Sums = "+ptx87";
  if (StringRef(targetRow.features) >= kF16Sums)
    return targetRow.features;
  bool newer = module
                   .walk([](LLVM::CallIntrinsicOp call) {
                     return call.getIntrin().ends_with("f16.e4m3.e4m3.f16") ? WalkResult::interrupt() : WalkResult::advance();
                   })
                   .wasInterrupted();
  return newer ? StringRef(kF16Sums) : StringRef(targetRow.features);
}

FailureOr<std::string> NVPTXTarget::ptxOf(gpu::GPUModuleOp module) const {
  if (failed(verify(module)))
    return failure();
  OwningOpRef<ModuleOp> copy = lowered(module);
  if (!copy)
    return failure();
  return translateToPTX(moduleOf(*copy), targetRow.cpu, featuresOf(module));
}

/// The text of one kernel in the PTX of all: from its .entry to the next.
StringRef entryText(StringRef ptx, StringRef name) {
  size_t begin = ptx.find((".entry " + name + "(").str());
  size_t end = ptx.find(".entry ", begin + 1);
  return begin == StringRef::npos ? StringRef() : ptx.slice(begin, end);
}

FailureOr<std::string> NVPTXTarget::cachedPtxOf(gpu::GPUModuleOp module, CompileCache *cache) const {
  if (!cache)
    return ptxOf(module);
  // Everything that the PTX depends on; bytecode is written in a third of the time of text, and holds no more.
  std::string text;
  llvm::raw_string_ostream os(text);
  if (failed(writeBytecodeToFile(module, os)))
    return failure();
  std::string key = CacheKey("ptx").add(CompileCache::compilerIdentity()).add(targetRow.cpu).add(targetRow.features).add(text).finish();
  if (auto found = cache->find(key))
    return std::move(*found);
  auto ptx = ptxOf(module);
  if (succeeded(ptx))
    cache->store(key, *ptx);
  return ptx;
}

FailureOr<KernelBinary> NVPTXTarget::emit(ModuleOp kernels, const EmitOptions &options) const {
  auto toolchain = Toolchain::find(options.ptxas, options.environment);
  gpu::GPUModuleOp module = moduleOf(kernels);
  if (!module)
    return kernels.emitError() << "no kernels to compile for " << targetRow.name;
  Status status = toolchain ? toolchain->checkAssembles(targetRow.name, featuresOf(module)) : toolchain.status();
  if (!status.ok())
    return kernels.emitError() << status.message();
  KernelBinary binary;
  binary.fileName = "kernels.fatbin";
  binary.driver = std::to_string(toolchain->major) + "." + std::to_string(toolchain->minor);
  binary.toolchain = "ptxas " + toolchain->version;
  const size_t count = llvm::range_size(module.getOps<gpu::GPUFuncOp>());
  auto progress = [&](const char *what) {
    if (options.progress)
      options.progress(std::to_string(count) + " kernels for " + std::string(targetRow.name) + ": " + what, 0, 0);
  };
  progress("PTX");
  auto translated = cachedPtxOf(module, options.cache);
  if (failed(translated))
    return failure();
  std::string &ptx = *translated;
  progress("machine code");
  auto assembled = assembleCached(*toolchain, ptx, std::string(targetRow.cpu), options.cache);
  if (!assembled)
    return kernels.emitError() << assembled.status().message();
  binary.bytes = std::move(assembled->fatbin);
  for (auto func : module.getOps<gpu::GPUFuncOp>()) {
    auto info = func->getAttrOfType<DictionaryAttr>("vitrify.kernel");
    KernelInfo kernel;
    kernel.name = func.getName().str();
    kernel.layerKind = info.getAs<StringAttr>("kind").str();
    kernel.precision = info.getAs<StringAttr>("precision").str();
    kernel.sha256 = toHex(sha256(entryText(ptx, func.getName())));
    kernel.numScalars = info.getAs<IntegerAttr>("scalars").getInt();
    kernel.numBuffers = info.getAs<IntegerAttr>("buffers").getInt();
    kernel.metrics = std::move(assembled->metrics[kernel.name]);
    kernel.metrics["threads"] = func.getKnownBlockSizeAttr()[0];
    for (NamedAttribute fact : info.getAs<DictionaryAttr>("facts"))
      kernel.metrics[fact.getName().str()] = cast<IntegerAttr>(fact.getValue()).getInt();
    binary.kernels.push_back(std::move(kernel));
  }
  return binary;
}

FailureOr<std::string> NVPTXTarget::print(ModuleOp kernels, KernelStage stage) const {
  gpu::GPUModuleOp module = moduleOf(kernels);
  if (!module)
    return std::string();
  if (stage == KernelStage::Assembly)
    return ptxOf(module);
  if (stage == KernelStage::LLVMIR)
    return kernels.emitError() << "LLVM IR is printed for x86 targets only; print the llvm dialect or PTX";
  std::string text;
  llvm::raw_string_ostream os(text);
  if (stage == KernelStage::Kernel) {
    os << module << "\n";
    return text;
  }
  OwningOpRef<ModuleOp> copy = lowered(module);
  if (!copy)
    return failure();
  os << moduleOf(*copy) << "\n";
  return text;
}

} // namespace

std::unique_ptr<Target> vitrify::createNVPTXTarget(const TargetRow &row) { return std::make_unique<NVPTXTarget>(row); }
