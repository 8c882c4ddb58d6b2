//===- PatchEmbed.cpp - patch embedding: a linear whose rows are read from images -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Family.h"
#include "LinearMmaSync.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

/// Tiles by rows served: few patches want many small CTAs.
struct PatchTile {
  int64_t rowsMax;
  LinearTile tile;
};
constexpr PatchTile kTiles[] = {
    {512, {32, 64, 64, 3, 1, 2}},
    {4096, {64, 64, 64, 3, 2, 2}},
    {INT64_MAX, {128, 128, 64, 3, 2, 2}},
};

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::PatchEmbedOp>(operation);
  Type w = op.getWeight().getType().getElementType();
  if (!w.isF16() && !w.isBF16()) {
    llvm::raw_string_ostream(reason) << "a patch embedding with weights of " << w;
    return false;
  }
  for (Type type : op.getResultTypes())
    if (cast<RankedTensorType>(type).getRank() != 2) {
      reason = "results of another rank than 2";
      return false;
    }
  return succeeded(argumentsOf(op, reason)) && supportsEpilogue(op, reason);
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::PatchEmbedOp>(operation);
  Arguments args = argumentsOf(op);
  int64_t columns = op.getWeight().getType().getDimSize(0), depth = op.getWeight().getType().getDimSize(1), from = 0;
  std::vector<KernelSpec> all;
  for (auto [i, choice] : llvm::enumerate(kTiles)) {
    const LinearTile &t = choice.tile;
    KernelSpec spec;
    spec.key = std::string(row.name) + " " + t.name() + " " + keyOf(op, args);
    spec.precision = op.getWeight().getType().getElementType().isF16() ? "f16" : "bf16";
    spec.name = kernelName("patch_embed_" + spec.precision + "_" + t.name(), spec.key);
    spec.layerKind = "linear";
    spec.scalars = {{true, 0, 0}, {false, 1, 1}, {false, 0, op.heightAxis()}, {false, 0, op.widthAxis()}};
    spec.operands = args.operands;
    spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, PlanExpr::symbol(0), PlanExpr(t.rows));
    spec.grid[1] = PlanExpr((columns + t.columns - 1) / t.columns);
    spec.block = t.threads();
    spec.sharedBytes = t.sharedBytes();
    spec.facts = linearFacts(t, columns, depth, 2);
    spec.dispatch = PlanExpr::symbol(0);
    spec.rangeMin = from;
    spec.rangeMax = choice.rowsMax;
    spec.variant = {int64_t(i)};
    from = choice.rowsMax == INT64_MAX ? INT64_MAX : choice.rowsMax + 1;
    all.push_back(std::move(spec));
  }
  return all;
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::PatchEmbedOp>(operation);
  Arguments args = argumentsOf(op);
  ValueRange pointers = arguments.drop_front(spec.scalars.size());
  auto pixels = op.getPixels().getType(), weight = op.getWeight().getType();
  LinearKernel kernel;
  kernel.type = weight.getElementType().isF16() ? MatrixType::F16 : MatrixType::BF16;
  kernel.columns = weight.getDimSize(0);
  kernel.depth = weight.getDimSize(1);
  kernel.weightStride = args.rowStride[1] * 2;
  kernel.tile = kTiles[spec.variant[0]].tile;
  // Interleaved channels are one channel of lines that many times as long.
  int64_t channels = op.channels(), apart = op.getInterleaved() ? channels : 1;
  kernel.patches = PatchInput{channels / apart, static_cast<int64_t>(op.getPatchHeight()), static_cast<int64_t>(op.getPatchWidth()) * apart,
                              pixels.getElementType(), arguments[2], g.mul(arguments[3], apart)};
  EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers),
                           epilogueResults(op, args, pointers), kernel.columns, kLinearRun);
  emitLinearMmaSync(g, kernel, arguments[0], arguments[1], pointers[args.ofOperand[0]], pointers[args.ofOperand[1]], epilogue);
}

} // namespace

const Family nvptx::kPatchFamily = {[](Operation *op) { return isa<vit::PatchEmbedOp>(op); }, supports, specs, build};
