//===- Compiler.h - a model file to a bundle -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Target/Target.h"

#include "mlir/IR/MLIRContext.h"

#include <string>
#include <vector>

namespace vitrify {

/// What vitrify-compile is asked for.
struct CompilerOptions {
  std::string input;                   ///< model.mlir, vit as imported or at any later stage
  std::vector<std::string> moreInputs; ///< further models: entries of the same bundle, which share weights of equal values
  std::string output;                  ///< bundle folder, or the file for an emitted stage ("-" or "": standard output)
  std::vector<std::string> targets;    ///< rows of KnownTargets, at least one
  std::string tune;                    ///< the GPU that tiles are chosen for ("L4"); "": all that a target's code runs on
  std::string precision = "f32";
  std::string ranges;                  ///< ranges.json
  std::string fp8Sums = "f32";         ///< f32, or f16: small FP8 weights, so that GPUs that gain by it sum in f16 for a while
  std::string residual = "auto";       ///< type of the residual stream on GPUs: auto (16 bits unless all is f32), f32, f16 or bf16
  std::string activations = "auto";    ///< scales of quantised inputs: auto, static or token
  std::string frames;                  ///< hwc or chw: entries take images as bytes, which preprocess.json normalises; "": as imported
  std::vector<std::string> keep;       ///< rules PRECISION:PATTERN
  double shareLowRank = 0;             ///< largest relative error of a matrix shared up to a difference of low rank; 0: none
  bool skipZeros = true;               ///< linears after a ReLU or a gate skip zeros of their input where a tile has many
  bool groupTokens = true;             ///< skip blocks that a gate turned off, where that pays
  bool pruneGates = false;             ///< remove neurons that never do anything
  std::string activity;                ///< what calibration saw of the neurons, for approximate pruning
  double tolerance = 0;                ///< largest relative error that pruning may cause in a layer
  std::string reportFile;              ///< where a JSON report of what passes did goes; "": nowhere
  std::string emit = "bundle";         ///< bundle, vit, plan, kernel, llvm, llvm-ir, asm
  bool fuse = true;                    ///< false: every named value keeps a buffer of its own
  bool exposeValues = false;           ///< true: every named value is a result of its entry too
  EmitOptions tools;
  std::string cacheFolder;             ///< of compiled code; "": nothing is looked up or kept
  ProgressFunction progress;           ///< called at each stage and as it goes on; may be empty
};

/// Registers every dialect that models and kernels use.
void registerVitrifyDialects(mlir::DialectRegistry &registry);

/// The target of a row.
std::unique_ptr<Target> createTarget(const TargetRow &row);

/// Compiles. Errors have been emitted as diagnostics of `context`; nothing is left at the output then.
mlir::LogicalResult compileModel(mlir::MLIRContext &context, const CompilerOptions &options);

} // namespace vitrify
