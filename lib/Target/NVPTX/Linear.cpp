//===- Linear.cpp - which linear kernel runs an op: tiles and specs -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Family.h"
#include "LinearMmaSync.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

std::optional<MatrixType> matrixType(Type element) {
  if (isa<Float8E4M3FNType>(element)) return MatrixType::F8E4M3;
  if (element.isF16()) return MatrixType::F16;
  if (element.isBF16()) return MatrixType::BF16;
  return std::nullopt;
}

/// KernelSpec::facts of a product [rows, depth] x [depth, columns] of elements of so many bytes.
std::map<std::string, int64_t> factsOf(const LinearTile &t, int64_t columns, int64_t depth, int64_t bytes) {
  int64_t padded = (depth * bytes + t.depthBytes - 1) / t.depthBytes * t.depthBytes / bytes;
  return {{"macs_per_row", columns * depth},
          {"block_outputs", t.rows * t.columns},
          {"block_macs", t.rows * t.columns * padded},
          {"block_copy_bytes", (t.rows + t.columns) * padded * bytes},
          {"stages", t.stages},
          {"stage_bytes", (t.rows + t.columns) * t.depthBytes}};
}

/// Tiles by rows served. Few rows want many small CTAs, many rows want large tiles.
struct TileChoice {
  int64_t rowsMax;
  LinearTile tile;
};
constexpr TileChoice kTiles[] = {
    {64, {32, 64, 128, 4, 1, 2}},
    {512, {64, 64, 128, 3, 2, 2}},
    {INT64_MAX, {128, 128, 64, 4, 2, 2}},
};

LinearKernel kernelOf(vit::LinearOp op, const Arguments &args, const LinearTile &tile) {
  LinearKernel k;
  Type element = op.getInput().getType().getElementType();
  int64_t bytes = element.getIntOrFloatBitWidth() / 8;
  k.type = *matrixType(element);
  k.columns = op.getWeight().getType().getDimSize(0);
  k.depth = op.getWeight().getType().getDimSize(1);
  k.inputStride = args.rowStride[op.getInputMutable().getOperandNumber()] * bytes;
  k.weightStride = args.rowStride[op.getWeightMutable().getOperandNumber()] * bytes;
  k.tile = tile;
  return k;
}

bool supports(Operation *operation, const TargetRow &row, std::string &reason) {
  auto op = cast<vit::LinearOp>(operation);
  Type x = op.getInput().getType().getElementType(), w = op.getWeight().getType().getElementType();
  if (x != w || !matrixType(x)) {
    llvm::raw_string_ostream(reason) << "a product of " << x << " and " << w;
    return false;
  }
  if (isa<Float8E4M3FNType>(x) && !row.has(MicroKernel::MmaSyncE4M3)) {
    reason = "FP8 products by mma.sync (emulated on this chip)";
    return false;
  }
  if (op.getXScales() || op.getWScales()) {
    reason = "scales along K";
    return false;
  }
  return supportsEpilogue(op, reason) && succeeded(argumentsOf(op, reason));
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::LinearOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  std::vector<KernelSpec> all;
  int64_t from = 0;
  unsigned input = op.getInputMutable().getOperandNumber(), weight = op.getWeightMutable().getOperandNumber();
  for (const TileChoice &choice : kTiles) {
    const LinearTile &t = choice.tile;
    KernelSpec spec;
    std::string tile = std::to_string(t.rows) + "x" + std::to_string(t.columns) + "x" + std::to_string(t.depthBytes) +
                       "s" + std::to_string(t.stages) + "w" + std::to_string(t.warpRows) + std::to_string(t.warpColumns);
    spec.key = std::string(row.name) + " " + tile + " " + keyOf(op, args);
    MatrixType type = *matrixType(op.getInput().getType().getElementType());
    spec.precision = type == MatrixType::F8E4M3 ? "f8e4m3" : type == MatrixType::F16 ? "f16" : "bf16";
    spec.name = kernelName("linear_" + spec.precision + "_" + tile, spec.key);
    spec.layerKind = "linear";
    spec.scalars = {{false, input, 0}, {false, weight, 1}};
    spec.operands = args.operands;
    PlanExpr rows = PlanExpr::symbol(0);
    spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(t.rows));
    spec.grid[1] = PlanExpr((op.getWeight().getType().getDimSize(0) + t.columns - 1) / t.columns);
    spec.block = t.threads();
    spec.sharedBytes = t.sharedBytes();
    spec.facts = factsOf(t, op.getWeight().getType().getDimSize(0), op.getWeight().getType().getDimSize(1),
                         op.getWeight().getType().getElementTypeBitWidth() / 8);
    spec.dispatch = rows;
    spec.rangeMin = from;
    spec.rangeMax = choice.rowsMax;
    from = choice.rowsMax + 1;
    all.push_back(std::move(spec));
    if (choice.rowsMax == INT64_MAX)
      break;
  }
  return all;
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::LinearOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  const TileChoice *choice = llvm::find_if(kTiles, [&](const TileChoice &c) { return c.rowsMax == spec.rangeMax; });
  LinearKernel kernel = kernelOf(op, args, choice->tile);
  ValueRange pointers = arguments.drop_front(spec.scalars.size());
  EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers),
                           epilogueResults(op, args, pointers), kernel.columns, kLinearRun);
  emitLinearMmaSync(g, kernel, arguments[0], arguments[1], pointers[args.ofOperand[op.getInputMutable().getOperandNumber()]],
                    pointers[args.ofOperand[op.getWeightMutable().getOperandNumber()]], epilogue);
}

//===----------------------------------------------------------------------===//
// Patch embedding: the same kernel, its input unfolded while it is loaded
//===----------------------------------------------------------------------===//

constexpr LinearTile kPatchTile = {64, 64, 64, 3, 2, 2};

bool supportsPatch(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::PatchEmbedOp>(operation);
  Type w = op.getWeight().getType().getElementType();
  if (!w.isF16() && !w.isBF16()) {
    llvm::raw_string_ostream(reason) << "a patch embedding with weights of " << w;
    return false;
  }
  if (!isa<FloatType>(op.getPixels().getType().getElementType())) {
    llvm::raw_string_ostream(reason) << "pixels of " << op.getPixels().getType().getElementType();
    return false;
  }
  for (Type type : op.getResultTypes())
    if (cast<RankedTensorType>(type).getRank() != 2) {
      reason = "results of another rank than 2";
      return false;
    }
  auto type = op.getPixels().getType();
  if (type.isDynamicDim(1)) {
    reason = "a dynamic number of channels";
    return false;
  }
  return succeeded(argumentsOf(op, reason)) && supportsEpilogue(op, reason);
}

std::vector<KernelSpec> patchSpecs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::PatchEmbedOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.precision = op.getWeight().getType().getElementType().isF16() ? "f16" : "bf16";
  spec.name = kernelName("patch_embed_" + spec.precision, spec.key);
  spec.layerKind = "linear";
  spec.scalars = {{true, 0, 0}, {false, 1, 1}, {false, 0, 2}, {false, 0, 3}};
  spec.operands = args.operands;
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, PlanExpr::symbol(0), PlanExpr(kPatchTile.rows));
  spec.grid[1] = PlanExpr((op.getWeight().getType().getDimSize(0) + kPatchTile.columns - 1) / kPatchTile.columns);
  spec.block = kPatchTile.threads();
  spec.sharedBytes = kPatchTile.sharedBytes();
  spec.facts = factsOf(kPatchTile, op.getWeight().getType().getDimSize(0), op.getWeight().getType().getDimSize(1), 2);
  spec.dispatch = PlanExpr::symbol(0);
  return {spec};
}

void buildPatch(GpuBuilder &g, Operation *operation, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::PatchEmbedOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  ValueRange pointers = arguments.drop_front(4);
  LinearKernel kernel;
  kernel.type = *matrixType(op.getWeight().getType().getElementType());
  kernel.columns = op.getWeight().getType().getDimSize(0);
  kernel.depth = op.getWeight().getType().getDimSize(1);
  kernel.weightStride = kernel.depth * 2;
  kernel.tile = kPatchTile;
  kernel.patches = PatchInput{op.getPixels().getType().getDimSize(1), static_cast<int64_t>(op.getPatchHeight()),
                              static_cast<int64_t>(op.getPatchWidth()), op.getPixels().getType().getElementType(),
                              arguments[2], arguments[3]};
  EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers),
                           epilogueResults(op, args, pointers), kernel.columns, kLinearRun);
  emitLinearMmaSync(g, kernel, arguments[0], arguments[1], pointers[args.ofOperand[0]], pointers[args.ofOperand[1]], epilogue);
}

} // namespace

const Family nvptx::kPatchFamily = {[](Operation *op) { return isa<vit::PatchEmbedOp>(op); }, supportsPatch, patchSpecs,
                                    buildPatch};
const Family nvptx::kLinearFamily = {[](Operation *op) { return isa<vit::LinearOp>(op); }, supports, specs, build};
