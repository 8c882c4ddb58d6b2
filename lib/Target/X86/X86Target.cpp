//===- X86Target.cpp - the x86 code generator as a Target -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Emit.h"
#include "KernelFrame.h"

#include "vitrify/Support/CompileCache.h"

#include "mlir/Conversion/ConvertToLLVM/ToLLVMInterface.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"

#include <atomic>
#include <thread>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

const Family *x86::familyOf(Operation *op) {
  return TypeSwitch<Operation *, const Family *>(op)
      .Case<vit::LinearOp>([](auto) { return &kLinear; })
      .Case<vit::PatchEmbedOp>([](auto) { return &kPatchEmbed; })
      .Case<vit::AttentionOp>([](auto) { return &kAttention; })
      .Case<vit::NormOp>([](auto) { return &kNorm; })
      .Case<vit::ActOp, vit::GluOp, vit::ResidualOp, vit::ConvertOp>([](auto) { return &kElementwise; })
      .Case<vit::AssembleTokensOp>([](auto) { return &kAssembleTokens; })
      .Case<vit::PoolOp>([](auto) { return &kPool; })
      .Case<vit::PosGatherOp>([](auto) { return &kPosGather; })
      .Case<vit::MergePatchesOp>([](auto) { return &kMergePatches; })
      .Case<vit::EmbedOp>([](auto) { return &kEmbed; })
      .Case<vit::ScatterRowsOp>([](auto) { return &kScatterRows; })
      .Case<vit::GateOp>([](auto) { return &kGate; })
      .Case<vit::GroupTokensOp>([](auto) { return &kGroupTokens; })
      .Case<vit::GroupedLinearOp>([](auto) { return &kGroupedLinear; })
      .Case<vit::QuantizeOp>([](auto) { return &kQuantize; })
      .Case<vit::DequantizeOp>([](auto) { return &kDequantize; })
      .Default([](auto) { return nullptr; });
}

namespace {
class X86Target final : public vitrify::Target {
public:
  explicit X86Target(const TargetRow &row) : targetRow(row) {}

  const TargetRow &row() const override { return targetRow; }

  void registerDialects(DialectRegistry &registry) const override {
    registry.insert<func::FuncDialect, scf::SCFDialect, memref::MemRefDialect, vector::VectorDialect,
                    arith::ArithDialect, math::MathDialect, cf::ControlFlowDialect, LLVM::LLVMDialect,
                    x86vector::X86VectorDialect>();
    registerBuiltinDialectTranslation(registry);
    registerLLVMDialectTranslation(registry);
  }

  bool supports(Operation *op, std::string &reason) const override {
    KernelFrame frame(op, targetRow);
    reason = describe(frame);
    return reason.empty();
  }

  FailureOr<std::vector<KernelSpec>> kernelsFor(Operation *op) const override {
    KernelFrame frame(op, targetRow);
    if (std::string reason = describe(frame); !reason.empty())
      return op->emitError() << "no kernel for " << op->getName() << " on " << std::string(targetRow.name) << ": "
                             << reason;
    return std::vector<KernelSpec>{std::move(frame.spec)};
  }

  LogicalResult build(Operation *op, const KernelSpec &spec, ModuleOp kernels) const override {
    if (kernels.lookupSymbol(spec.name))
      return success();
    KernelFrame frame(op, targetRow);
    if (std::string reason = describe(frame); !reason.empty())
      return op->emitError() << "no kernel for " << op->getName() << " on " << std::string(targetRow.name) << ": "
                             << reason;
    func::FuncOp function = frame.createFunction(kernels);
    OpBuilder builder(op->getContext());
    LaneBuilder lanes = frame.laneBuilder(builder);
    familyOf(op)->build(frame, lanes);
    func::ReturnOp::create(lanes);
    return outlinePieces(function);
  }

  FailureOr<KernelBinary> emit(ModuleOp kernels, const EmitOptions &options) const override {
    auto objects = compileAll(kernels, options, KernelText::None);
    if (failed(objects))
      return failure();
    KernelBinary binary;
    binary.fileName = "kernels.so";
    binary.toolchain = "LLVM " LLVM_VERSION_STRING;
    std::string error;
    for (KernelObject &object : *objects) {
      if (!describeObject(object, error))
        return kernels.emitError(error);
      binary.kernels.push_back(object.info);
    }
    auto bytes = linkKernels(*objects, options.lld, error);
    if (failed(bytes))
      return kernels.emitError(error);
    binary.bytes = std::move(*bytes);
    return binary;
  }

  FailureOr<std::string> print(ModuleOp kernels, KernelStage stage) const override {
    std::string text;
    llvm::raw_string_ostream os(text);
    if (stage == KernelStage::Kernel) {
      kernels.print(os);
      return text;
    }
    if (stage == KernelStage::LLVMDialect) {
      OwningOpRef<ModuleOp> copy = kernels.clone();
      if (failed(lowerKernels(*copy)))
        return failure();
      copy->print(os);
      return text;
    }
    auto objects = compileAll(kernels, {}, stage == KernelStage::LLVMIR ? KernelText::LLVMIR : KernelText::Assembly);
    if (failed(objects))
      return failure();
    for (const KernelObject &object : *objects)
      text += object.text;
    return text;
  }

private:
  /// Why there is no kernel, or "".
  static std::string describe(KernelFrame &frame) {
    const Family *family = familyOf(frame.op);
    if (!family)
      return "this kind of op has none";
    family->describe(frame);
    return frame.reason;
  }

  /// Everything that a kernel's object depends on: its text, the machine it is for, and the code that compiles it.
  std::string keyOf(ModuleOp kernel, const std::string &compiler, unsigned optLevel) const {
    std::string text;
    llvm::raw_string_ostream os(text);
    kernel.print(os, OpPrintingFlags().useLocalScope().assumeVerified());
    return CacheKey("x86 object").add(compiler).add(targetRow.cpu).add(targetRow.features).add(targetRow.lanes)
        .add(targetRow.registers).add(optLevel).add(text).finish();
  }

  /// Every kernel as a module of its own, compiled on several threads, or found in the cache.
  FailureOr<std::vector<KernelObject>> compileAll(ModuleOp kernels, const EmitOptions &options, KernelText text) const {
    std::vector<OwningOpRef<ModuleOp>> modules; ///< null when its object was found in the cache
    std::vector<KernelObject> objects;
    std::vector<std::string> keys;
    CompileCache *cache = text == KernelText::None ? options.cache : nullptr;
    const std::string compiler = cache ? CompileCache::compilerIdentity() : "";
    for (auto function : kernels.getOps<func::FuncOp>()) {
      if (function.isPrivate())
        continue;
      KernelInfo info;
      info.name = function.getName().str();
      auto attribute = [&](StringRef name) {
        auto value = function->getAttrOfType<StringAttr>(name);
        return value ? value.getValue().str() : std::string();
      };
      info.layerKind = attribute("vitrify.layer_kind");
      info.precision = attribute("vitrify.precision");
      if (auto panels = function->getAttrOfType<IntegerAttr>("vitrify.panels"))
        info.metrics["panels"] = panels.getInt();
      for (Type input : function.getFunctionType().getInputs().drop_back(2))
        ++(isa<MemRefType>(input) ? info.numBuffers : info.numScalars);
      OwningOpRef<ModuleOp> module = ModuleOp::create(function.getLoc());
      module->push_back(function.clone());
      // The private functions that it calls, and no others.
      for (auto piece : kernels.getOps<func::FuncOp>())
        if (piece.isPrivate() && piece.getName().starts_with((function.getName() + ".").str()))
          module->push_back(piece.clone());
      KernelObject object;
      if (cache) {
        keys.push_back(keyOf(*module, compiler, options.optLevel));
        if (auto found = cache->find(keys.back())) {
          object.object = std::move(*found);
          module = nullptr;
        }
      }
      if (module && (failed(verify(*module)) || failed(lowerKernels(*module))))
        return failure();
      object.info = std::move(info);
      objects.push_back(std::move(object));
      modules.push_back(std::move(module));
    }
    std::vector<std::string> errors(modules.size());
    std::atomic<size_t> next = 0, done = 0;
    const std::string what = "kernels for " + std::string(targetRow.name);
    auto work = [&] {
      for (size_t i; (i = next++) < modules.size();) {
        if (options.progress)
          options.progress(what, done++, modules.size());
        if (!modules[i])
          continue;
        auto object = compileKernel(*modules[i], targetRow, options.optLevel, text, errors[i]);
        if (failed(object))
          continue;
        objects[i].object = std::move(object->object);
        objects[i].text = std::move(object->text);
        if (cache)
          cache->store(keys[i], objects[i].object);
      }
    };
    unsigned count = options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < std::min<size_t>(count, modules.size()); ++i)
      threads.emplace_back(work);
    work();
    for (std::thread &thread : threads)
      thread.join();
    for (auto [i, error] : llvm::enumerate(errors))
      if (!error.empty())
        return kernels.emitError("kernel ") << objects[i].info.name << ": " << error;
    return objects;
  }

  const TargetRow &targetRow;
};
} // namespace

std::unique_ptr<vitrify::Target> vitrify::createX86Target(const TargetRow &row) {
  return std::make_unique<X86Target>(row);
}
