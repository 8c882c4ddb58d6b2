//===- Emit.cpp - one kernel from the llvm dialect to an object -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Emit.h"

#include "vitrify/Support/ContentHash.h"

#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/CodeGen/MachineModuleInfo.h"
#include "llvm/CodeGen/Passes.h"
#include "llvm/CodeGen/TargetPassConfig.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/LEB128.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/TargetParser/Triple.h"

#include <mutex>

using namespace llvm;
using namespace vitrify;
using namespace vitrify::x86;

static constexpr int64_t kMaxStack = 256 * 1024; // KernelABI.h

static std::unique_ptr<TargetMachine> createMachine(const TargetRow &row, unsigned optLevel, std::string &error) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
  Triple triple("x86_64-unknown-linux-gnu");
  const llvm::Target *target = TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  TargetOptions options;
  options.EmitStackSizeSection = true;
  auto level = CodeGenOpt::getLevel(optLevel).value_or(CodeGenOptLevel::Aggressive);
  return std::unique_ptr<TargetMachine>(target->createTargetMachine(triple, std::string(row.cpu),
                                                                    std::string(row.features), options, Reloc::PIC_,
                                                                    std::nullopt, level));
}

/// Kernels are loops over registers already: what is left for LLVM is to clean up. The loop and SLP vectorisers and
/// the recognition of memcpy (a call that a kernel cannot make) stay out.
static void optimize(Module &module, TargetMachine &machine, unsigned optLevel) {
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager sccs;
  ModuleAnalysisManager modules;
  PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopInterleaving = false;
  tuning.LoopUnrolling = false;
  PassBuilder builder(&machine, tuning);
  TargetLibraryInfoImpl library(module.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  OptimizationLevel level = optLevel >= 3   ? OptimizationLevel::O3
                            : optLevel == 2 ? OptimizationLevel::O2
                            : optLevel == 1 ? OptimizationLevel::O1
                                            : OptimizationLevel::O0;
  ModulePassManager passes = optLevel == 0 ? builder.buildO0DefaultPipeline(level)
                                           : builder.buildPerModuleDefaultPipeline(level);
  passes.run(module, modules);
}

static void emitFile(Module &module, TargetMachine &machine, CodeGenFileType type, SmallVectorImpl<char> &out) {
  raw_svector_ostream stream(out);
  legacy::PassManager passes;
  TargetLibraryInfoImpl library(module.getTargetTriple());
  library.disableAllFunctions();
  passes.add(new TargetLibraryInfoWrapperPass(library));
  // What TargetMachine::addPassesToEmitFile does, without the machine scheduler: it brings all loads of a step of a matrix
  // product to its beginning, and accumulators that then have no register go through the stack in every step. Kernels are
  // built in an order that fits the registers, and the processor reorders.
  TargetPassConfig *config = machine.createPassConfig(passes);
  config->disablePass(&MachineSchedulerID);
  auto *info = new MachineModuleInfoWrapperPass(&machine);
  passes.add(config);
  passes.add(info);
  bool failed = config->addISelPasses();
  assert(!failed && "x86 selects instructions");
  (void)failed;
  config->addMachinePasses();
  config->setInitialized();
  machine.addAsmPrinter(passes, stream, nullptr, type, info->getMMI().getContext());
  passes.add(createFreeMachineFunctionPass());
  passes.run(module);
}

/// Code size, code hash and stack of the kernel from its object.
static bool inspectObject(StringRef bytes, KernelInfo &info, std::string &error) {
  auto object = object::ObjectFile::createELFObjectFile(MemoryBufferRef(bytes, info.name));
  if (!object) {
    error = toString(object.takeError());
    return false;
  }
  int64_t code = 0, stack = 0;
  ContentHasher hash;
  for (const object::SectionRef &section : (*object)->sections()) {
    StringRef name = cantFail(section.getName()), contents = cantFail(section.getContents());
    if (section.isText() || name.starts_with(".rodata"))
      hash.update(std::string_view(contents));
    if (section.isText())
      code += contents.size();
    if (name != ".stack_sizes")
      continue;
    // An entry is a function's address (8 bytes, relocated) and its frame as ULEB128.
    for (size_t at = 8; at < contents.size(); at += 8) {
      unsigned length = 0;
      const auto *from = reinterpret_cast<const uint8_t *>(contents.data()) + at;
      stack = std::max<int64_t>(stack, decodeULEB128(from, &length, contents.bytes_end()));
      at += length;
    }
  }
  info.sha256 = toHex(hash.finish());
  info.metrics["code_bytes"] = code;
  info.metrics["stack_bytes"] = stack;
  if (stack > kMaxStack) {
    error = "kernel " + info.name + " needs " + std::to_string(stack) + " bytes of stack, at most " +
            std::to_string(kMaxStack) + " are allowed";
    return false;
  }
  return true;
}

mlir::FailureOr<KernelObject> x86::compileKernel(mlir::ModuleOp kernel, const TargetRow &row, unsigned optLevel,
                                                 KernelText text, std::string &error) {
  LLVMContext context;
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(kernel, context, "kernel");
  if (!module) {
    error = "translation to LLVM IR failed";
    return mlir::failure();
  }
  std::unique_ptr<TargetMachine> machine = createMachine(row, optLevel, error);
  if (!machine)
    return mlir::failure();
  module->setTargetTriple(machine->getTargetTriple());
  module->setDataLayout(machine->createDataLayout());
  for (Function &function : *module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr(Attribute::NoUnwind);
    function.addFnAttr("no-builtins");
    function.addFnAttr("target-cpu", StringRef(row.cpu.data(), row.cpu.size()));
    if (!row.features.empty())
      function.addFnAttr("target-features", StringRef(row.features.data(), row.features.size()));
    // The level's generic tuning prefers 256 bits, which would halve every vector.
    function.addFnAttr("prefer-vector-width", std::to_string(row.lanes * 32));
  }
  optimize(*module, *machine, optLevel);

  KernelObject result;
  if (text == KernelText::LLVMIR) {
    raw_string_ostream stream(result.text);
    module->print(stream, nullptr);
    return result;
  }
  SmallVector<char, 0> bytes;
  if (text == KernelText::Assembly) {
    emitFile(*module, *machine, CodeGenFileType::AssemblyFile, bytes);
    result.text.assign(bytes.begin(), bytes.end());
    return result;
  }
  emitFile(*module, *machine, CodeGenFileType::ObjectFile, bytes);
  result.object.assign(bytes.begin(), bytes.end());
  return result;
}

bool x86::describeObject(KernelObject &object, std::string &error) {
  return inspectObject(object.object, object.info, error);
}
