//===- Serialize.h - gpu.module to PTX text -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <string>

namespace vitrify::nvptx {

/// An empty gpu.module with the external array that dynamic shared memory is addressed by.
mlir::gpu::GPUModuleOp createKernelModule(mlir::OpBuilder &builder, mlir::Location loc, llvm::StringRef name);

/// Lowers the kernels of `module` (in place) to the llvm and nvvm dialects.
mlir::LogicalResult lowerToNVVM(mlir::gpu::GPUModuleOp module);

/// PTX of a lowered module. `features` selects the PTX version, e.g. "+ptx84"; a version that is too old for an
/// instruction would end the process inside LLVM, so it comes from KnownTargets, never from a user.
mlir::FailureOr<std::string> translateToPTX(mlir::gpu::GPUModuleOp module, llvm::StringRef chip, llvm::StringRef features);

} // namespace vitrify::nvptx
