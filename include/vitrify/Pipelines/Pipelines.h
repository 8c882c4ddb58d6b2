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
  Option<std::string> precision{*this, "precision", llvm::cl::desc("f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4"), llvm::cl::init("f32")};
  Option<std::string> half{*this, "half", llvm::cl::desc("16-bit format of the target: bf16 or f16"), llvm::cl::init("bf16")};
  Option<std::string> residual{*this, "residual", llvm::cl::desc("type of the residual stream: f32, f16 or bf16"), llvm::cl::init("f32")};
  Option<std::string> ranges{*this, "ranges", llvm::cl::desc("ranges.json"), llvm::cl::init("")};
  Option<bool> f16Sums{*this, "f16-sums", llvm::cl::desc("FP8 weights whose products may be summed in f16"), llvm::cl::init(false)};
  Option<std::string> activations{*this, "activations", llvm::cl::desc("scales of quantised inputs: auto, static or token"),
                                  llvm::cl::init("auto")};
  ListOption<std::string> keep{*this, "keep", llvm::cl::desc("rules PRECISION:PATTERN")};
  Option<std::string> target{*this, "target", llvm::cl::desc("row of KnownTargets whose kernels bound what is fused; none: no bound"),
                             llvm::cl::init("")};
  Option<std::string> tune{*this, "tune", llvm::cl::desc("the GPU that a GPU target's code is for first"), llvm::cl::init("")};
  Option<std::string> folder{*this, "folder", llvm::cl::desc("where relative paths of sources start; none: where the module's file is"),
                             llvm::cl::init("")};
  Option<double> shareLowRank{*this, "share-low-rank",
                              llvm::cl::desc("largest relative error of a matrix replaced by another one and a difference of low rank"),
                              llvm::cl::init(0.0)};
  Option<bool> skipZeros{*this, "skip-zeros", llvm::cl::desc("linears after a ReLU or a gate skip zeros of their input where a tile has many"),
                         llvm::cl::init(true)};
  Option<bool> groupTokens{*this, "group-tokens", llvm::cl::desc("skip blocks that a gate turned off, where that pays"),
                           llvm::cl::init(true)};
  Option<bool> pruneGates{*this, "prune-gates", llvm::cl::desc("remove neurons that never do anything"), llvm::cl::init(false)};
  Option<std::string> activity{*this, "activity", llvm::cl::desc("what calibration saw of the neurons, for approximate pruning"),
                               llvm::cl::init("")};
  Option<double> tolerance{*this, "tolerance", llvm::cl::desc("largest relative error that pruning may cause in a layer"),
                           llvm::cl::init(0.0)};
  Option<bool> fuse{*this, "fuse", llvm::cl::desc("join linears and fill epilogues; off keeps every named value"),
                    llvm::cl::init(true)};
  Option<bool> exposeValues{*this, "expose-values", llvm::cl::desc("return every named value too"), llvm::cl::init(false)};
};

/// vit as imported to vit as kernels are built from it.
void buildOptimizePipeline(mlir::OpPassManager &pm, const OptimizeOptions &options);

/// The 16-bit format that a target prefers: bf16 on x86, f16 on GPUs.
llvm::StringRef preferredHalf(const TargetRow &row);

/// The type of the residual stream that a target and precision prefer: 16 bits on GPUs, where memory is what bounds it.
std::string preferredResidual(const TargetRow &row, llvm::StringRef precision);

/// Registers the passes and pipelines.
void registerVitrifyPipelines();

} // namespace vitrify
