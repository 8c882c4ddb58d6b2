//===- Emit.h - from kernels as text to kernels.so -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Target/KnownTargets.h"
#include "vitrify/Target/Target.h"

#include "llvm/IR/Module.h"
#include "llvm/Target/TargetMachine.h"

namespace vitrify::x86 {

/// Lowers every kernel of the module (in place) to the llvm dialect and gives it the signature of KernelABI.h: the
/// function @name of the kernel's own arguments becomes internal, a wrapper reads scalars and pointers from memory.
mlir::LogicalResult lowerKernels(mlir::ModuleOp module);

/// One kernel compiled for a row.
struct KernelObject {
  KernelInfo info;
  std::string object;   ///< ELF
  std::string text;     ///< LLVM IR or assembly, when asked for
};

/// What compileKernel leaves in KernelObject::text.
enum class KernelText : uint8_t { None, LLVMIR, Assembly };

/// Compiles one kernel: `module` holds its functions in the llvm dialect. An error says what LLVM said.
mlir::FailureOr<KernelObject> compileKernel(mlir::ModuleOp module, const TargetRow &row, unsigned optLevel,
                                            KernelText text, std::string &error);

/// Fills hash and metrics of object.info (whose name is set) from the object; an error when its stack is too deep.
bool describeObject(KernelObject &object, std::string &error);

/// Links the objects with ld.lld; the error says what lld said, or where it was looked for.
mlir::FailureOr<std::string> linkKernels(llvm::ArrayRef<KernelObject> objects, const std::string &lld,
                                         std::string &error);

} // namespace vitrify::x86
