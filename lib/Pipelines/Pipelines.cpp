//===- Pipelines.cpp - which passes run, in which order -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Pipelines/Pipelines.h"

#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/GpuModel/Chips.h"
#include "vitrify/Pipelines/Compiler.h"
#include "vitrify/Target/KnownTargets.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace vitrify;

/// What the target named so has kernels for; empty for no or an unknown name.
static vit::SupportsFn supportOf(const std::string &name) {
  auto row = findTarget(name);
  if (!row)
    return {};
  std::shared_ptr<Target> target = createTarget(**row);
  return [target](Operation *op, std::string &reason) { return target->supports(op, reason); };
}

/// How a target's kernels cut the rows that a gate's blocks are on for; none where blocks that are off are computed sooner than
/// left out, by the launch model: on GPUs but those whose tensor cores sum FP8 in f32 at half the rate.
static std::optional<vit::GroupTokensOptions> groupingFor(const std::string &target, const std::string &chip) {
  vit::GroupTokensOptions options;
  auto row = findTarget(target);
  if (!row || (*row)->kind != TargetRow::Kind::NVPTX)
    return options;
  auto found = findChip(chip);
  if (!found || (*found)->tensorF8 >= (*found)->tensorF8AccF16)
    return std::nullopt;
  // Small chunks, of which a kernel takes one or several; tiles of mma.sync, of which a part costs as much as the whole.
  options.chunk = 64;
  options.tile = 16;
  options.least = 16;
  return options;
}

void vitrify::buildOptimizePipeline(OpPassManager &pm, const OptimizeOptions &options) {
  // 1. One tensor for equal ones, then one symbol a distinct recipe, so that later passes see sharing.
  vit::DeduplicateWeightsOptions deduplicate;
  deduplicate.folder = options.folder;
  deduplicate.lowRank = options.shareLowRank;
  pm.addPass(vit::createDeduplicateWeights(deduplicate));
  pm.addPass(vit::createMergeWeights());
  pm.addPass(createCSEPass());
  // Neurons leave while layers are apart and weights are floats, and after merging: a shared weight is one symbol.
  if (options.pruneGates) {
    vit::PruneGatesOptions prune;
    prune.folder = options.folder;
    prune.activity = options.activity;
    prune.tolerance = options.tolerance;
    pm.addPass(vit::createPruneGates(prune));
  }
  // 2. One linear for gate and up, one for q, k and v; before precision, so that a joined linear gets one.
  if (options.fuse) {
    pm.addPass(vit::createFuseGLU());
    pm.addPass(vit::createFuseQKV());
  }
  // 3. Which number format each layer computes in, and the conversions that makes necessary.
  vit::AssignPrecisionOptions assign;
  assign.precision = options.precision;
  assign.half = options.half;
  assign.ranges = options.ranges;
  assign.keep.assign(options.keep.begin(), options.keep.end());
  pm.addPass(vit::createAssignPrecision(assign));
  vit::QuantizeOptions quantize;
  quantize.ranges = options.ranges;
  quantize.activations = options.activations;
  // The largest code whose 32 products with 448 stay within f16.
  if (options.f16Sums)
    quantize.fp8WeightMax = 4.5;
  pm.addPass(vit::createQuantize(quantize));
  // 4. Equal conversions of one value are one; then pairs around linears become typed linears.
  pm.addPass(createCSEPass());
  pm.addPass(vit::createFoldQDQ());
  pm.addPass(vit::createExpandCodes(supportOf(options.target)));
  vit::NarrowResidualOptions narrow;
  narrow.type = options.residual;
  narrow.ranges = options.ranges;
  pm.addPass(vit::createNarrowResidual(narrow));
  // 5. What is elementwise moves to its producer.
  if (options.fuse)
    pm.addPass(vit::createFuseEpilogue(supportOf(options.target)));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  if (options.exposeValues)
    pm.addPass(vit::createExposeValues());
  if (options.skipZeros)
    pm.addPass(vit::createSkipZeros());
  // When linears have their final form, and only where nobody looks at the values of blocks that are off.
  if (options.groupTokens && options.fuse && !options.exposeValues)
    if (auto grouping = groupingFor(options.target, options.tune))
      pm.addPass(vit::createGroupTokens(supportOf(options.target), *grouping));
  // 6. Recipes that became equal are one; the rest in order of use.
  pm.addPass(vit::createMergeWeights());
  pm.addPass(vit::createScheduleWeights());
}

StringRef vitrify::preferredHalf(const TargetRow &row) { return row.kind == TargetRow::Kind::X86 ? "bf16" : "f16"; }

std::string vitrify::preferredResidual(const TargetRow &row, StringRef precision) {
  if (row.kind == TargetRow::Kind::X86 || precision == "f32")
    return "f32";
  return (precision == "bf16" ? precision : preferredHalf(row)).str();
}

void vitrify::registerVitrifyPipelines() {
  vit::registerViTPasses();
  PassPipelineRegistration<OptimizeOptions>("vit-optimize", "vit as imported to vit as kernels are built from it",
                                            buildOptimizePipeline);
}
