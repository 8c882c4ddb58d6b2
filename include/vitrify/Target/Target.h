//===- Target.h - what a code generator offers to the compiler --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The border between plans and code. The conversion to a plan asks a target for each vit op which kernel runs it, lets
// it build that kernel into a module of kernels that prints and parses as text, and has the module made into a binary
// at the end:
//
//   for (op : compute ops)  specs = target.kernelsFor(op);  target.build(op, spec, kernels) for each spec;  plan.launch
//   binary = target.emit(kernels)
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Kernel/KernelSpec.h"
#include "vitrify/Support/Progress.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace vitrify {

struct TargetRow;
class CompileCache;

/// How binaries are made; paths may be empty.
struct EmitOptions {
  std::string lld;         ///< ld.lld to use; "" looks in LLVM's folder, then in PATH
  std::string ptxas;       ///< ptxas to use; "" looks in PATH, in /usr/local/cuda and in `environment`
  std::string environment; ///< virtual environment with PyPI's nvidia-cuda-nvcc
  unsigned optLevel = 3;   ///< LLVM's, 0 to 3
  unsigned threads = 0;    ///< kernels compiled at once; 0: as many as there are cores
  CompileCache *cache = nullptr; ///< where compiled code is looked up and kept; null: nowhere
  ProgressFunction progress;     ///< called as kernels are compiled; may be empty
};

/// What is known of one kernel once it is built.
struct KernelInfo {
  std::string name, layerKind, precision;
  std::string sha256;      ///< of its code
  unsigned numScalars = 0, numBuffers = 0;
  std::map<std::string, int64_t> metrics; ///< "code_bytes", "stack_bytes", ... read from the binary
};

/// The kernels' binary of one target, and its file name in the bundle.
struct KernelBinary {
  std::string fileName;    ///< "kernels.so" or "kernels.fatbin"
  std::string bytes;
  std::string toolchain;   ///< what made the code: "LLVM 22.1.8", "ptxas 13.0"
  std::string driver;      ///< the oldest CUDA driver interface that loads it, "13.0"; "" on x86
  std::vector<KernelInfo> kernels; ///< in the module's order
};

/// The stages of a kernel that can be printed: as built (upstream dialects), lowered to the llvm dialect, LLVM IR after
/// optimisation, and assembly (x86) or PTX.
enum class KernelStage : uint8_t { Kernel, LLVMDialect, LLVMIR, Assembly };

class Target {
public:
  virtual ~Target() = default;

  /// The row of KnownTargets.
  virtual const TargetRow &row() const = 0;
  /// Dialects that kernels use, to be loaded before kernels are built or parsed.
  virtual void registerDialects(mlir::DialectRegistry &registry) const = 0;

  /// Whether there is a kernel for this vit op; if not, `reason` says in one sentence what is missing ("group 3 of an
  /// epilogue", "f4E2M1FN weights").
  virtual bool supports(mlir::Operation *op, std::string &reason) const = 0;
  /// The kernels that run the op, one for each range of its dispatch value, covering [0, max]. An op without a kernel
  /// gives one error at the op that names it and the target. Building nothing, cheap enough to call for each op.
  virtual mlir::FailureOr<std::vector<KernelSpec>> kernelsFor(mlir::Operation *op) const = 0;
  /// Adds the kernel as a function named spec.name to `kernels`, unless one of this name is there.
  virtual mlir::LogicalResult build(mlir::Operation *op, const KernelSpec &spec, mlir::ModuleOp kernels) const = 0;
  /// Compiles all kernels of the module, which stays as it is. Equal modules give equal bytes.
  virtual mlir::FailureOr<KernelBinary> emit(mlir::ModuleOp kernels, const EmitOptions &options) const = 0;
  /// The text of every kernel at a stage.
  virtual mlir::FailureOr<std::string> print(mlir::ModuleOp kernels, KernelStage stage) const = 0;
};

/// The target of an x86 row, e.g. "x86-64-v4-bf16".
std::unique_ptr<Target> createX86Target(const TargetRow &row);
/// The target of a GPU row, e.g. "sm_89".
std::unique_ptr<Target> createNVPTXTarget(const TargetRow &row);

} // namespace vitrify
