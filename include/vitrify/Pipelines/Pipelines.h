//===- Pipelines.h - which passes run, in which order -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The only place where the order of passes is written. Every pipeline is registered with vitrify-opt.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace vitrify {

struct TargetRow;

/// What the optimising pipeline is asked for. Fields name effects, not passes.
struct OptimizeOptions : mlir::PassPipelineOptions<OptimizeOptions> {
  Option<std::string> precision{*this, "precision", llvm::cl::desc("f32, bf16, f16 or fp8"), llvm::cl::init("f32")};
  Option<std::string> half{*this, "half", llvm::cl::desc("16-bit format of the target: bf16 or f16"), llvm::cl::init("bf16")};
  Option<std::string> ranges{*this, "ranges", llvm::cl::desc("ranges.json"), llvm::cl::init("")};
  ListOption<std::string> keep{*this, "keep", llvm::cl::desc("rules PRECISION:PATTERN")};
  Option<std::string> target{*this, "target", llvm::cl::desc("row of KnownTargets whose kernels bound what is fused; none: no bound"),
                             llvm::cl::init("")};
  Option<bool> fuse{*this, "fuse", llvm::cl::desc("join linears and fill epilogues; off keeps every named value"),
                    llvm::cl::init(true)};
};

/// vit as imported to vit as kernels are built from it.
void buildOptimizePipeline(mlir::OpPassManager &pm, const OptimizeOptions &options);

/// The 16-bit format that a target prefers: bf16 on x86, f16 on GPUs.
llvm::StringRef preferredHalf(const TargetRow &row);

/// Registers the passes and pipelines.
void registerVitrifyPipelines();

} // namespace vitrify
