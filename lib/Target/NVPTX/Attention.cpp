//===- Attention.cpp - which attention kernel runs an op: forms, tiles and specs -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "AttentionMmaSync.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int64_t kEnoughBlocks = 128;

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::AttentionOp>(operation);
  Type element = op.getQuery().getType().getElementType();
  if (!element.isF16() && !element.isBF16()) {
    llvm::raw_string_ostream(reason) << "attention on " << element;
    return false;
  }
  if (op.getKey().getType().getElementType() != element || op.getValue().getType().getElementType() != element) {
    reason = "attention on operands of different types";
    return false;
  }
  int64_t head = op.getHeadDim();
  if (head > 128 || head % 8 != 0) {
    reason = "a head dimension of " + std::to_string(head) + " (multiples of 8 up to 128)";
    return false;
  }
  auto args = argumentsOf(op, reason);
  if (failed(args))
    return false;
  for (unsigned i : {0u, 1u, 2u})
    if (args->rowStride[i] % 8 != 0 || rowViewOf(op->getOperand(i), reason)->columnOffset % 8 != 0) {
      reason = "rows of q, k and v that are no multiple of 16 bytes";
      return false;
    }
  if (op.getGroup() > 1) {
    reason = "an epilogue over groups of columns";
    return false;
  }
  return supportsEpilogue(op, reason);
}

/// A shared query (probe) has one segment's rows; the segments are those of the keys.
bool isProbe(vit::AttentionOp op) {
  return op.getUniform() && op.getKvUniform() && op.getQuery().getType().getDimSize(0) == int64_t(*op.getUniform());
}

/// Keys whose scores fit the registers of a row: 256 take 128 of them. Wide heads of odd places need more for addresses.
int64_t onePassKeys(const AttentionTile &tile) { return tile.swizzled() || tile.head <= 96 ? 256 : 208; }

AttentionTile tileOf(vit::AttentionOp op, int warps) {
  AttentionTile tile;
  tile.head = op.getHeadDim();
  tile.warps = warps;
  int64_t keys = op.getUniform() ? op.getKvUniform().value_or(*op.getUniform()) : 0;
  if (keys <= onePassKeys(tile) && !op.getCausal() && !op.getKeyMask())
    tile.onePassKeys = keys;
  // Three stages of keys and values of the widest heads fit an SM twice with half the rows.
  if (!tile.onePassKeys && tile.head > 80)
    tile.keys = 32;
  return tile;
}

KernelSpec specOf(vit::AttentionOp op, const TargetRow &row, const Arguments &args, int warps) {
  AttentionTile tile = tileOf(op, warps);
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + std::to_string(warps) + " warps " + keyOf(op, args);
  spec.precision = op.getQuery().getType().getElementType().isF16() ? "f16" : "bf16";
  spec.name = kernelName("attention_" + spec.precision + "_" + std::to_string(tile.head) + "w" + std::to_string(warps), spec.key);
  spec.layerKind = "attention";
  spec.operands = args.operands;
  spec.scalars = {{false, 0, 0}, {false, 1, 0}};
  using K = PlanExpr::Kind;
  PlanExpr rows = PlanExpr::symbol(0);
  if (op.getUniform()) {
    int64_t q = *op.getUniform();
    PlanExpr segments = isProbe(op) ? PlanExpr::binary(K::FloorDiv, PlanExpr::symbol(1), PlanExpr(int64_t(*op.getKvUniform())))
                                    : PlanExpr::binary(K::FloorDiv, rows, PlanExpr(q));
    int64_t blocks = (q + tile.rows() - 1) / tile.rows();
    spec.grid[0] = PlanExpr::binary(K::Mul, segments, PlanExpr(blocks));
    // Rows are worked off 16 at a time, keys too, but for scores that stay in registers, by 8; a head has its own blocks.
    int64_t keys = op.getKvUniform().value_or(q);
    if (!isProbe(op) && !op.getCausal()) {
      spec.facts["macs_per_row"] = 2 * int64_t(op.getHeads()) * keys * tile.head;
      int64_t padded = (tile.onePassKeys ? (keys + 7) / 8 * 8 : (keys + 15) / 16 * 16) + (keys + 15) / 16 * 16;
      spec.facts["block_macs"] = (q + 15) / 16 * 16 * padded * tile.head / blocks;
      spec.facts["block_copy_bytes"] = (2 * keys + std::min<int64_t>(tile.rows(), q)) * tile.head * 2;
    }
  } else {
    unsigned cu = op.getCuSeqlensQMutable().begin()->getOperandNumber();
    spec.scalars.push_back({false, cu, 0});
    // Every segment has at most floor(rows / block) full blocks in sum, and one that is not full.
    spec.grid[0] = PlanExpr::binary(K::Add, PlanExpr::binary(K::FloorDiv, rows, PlanExpr(tile.rows())),
                                    PlanExpr::binary(K::Sub, PlanExpr::symbol(2), PlanExpr(1)));
  }
  spec.grid[1] = PlanExpr(int64_t(op.getHeads()));
  spec.block = tile.threads();
  spec.sharedBytes = tile.sharedBytes();
  spec.facts["stages"] = tile.stages;
  spec.facts["stage_bytes"] = tile.stageBytes();
  spec.dispatch = rows;
  return spec;
}

/// Blocks of four warps share the copies of keys and values; where they are too few to fill a chip, two warps or one.
std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::AttentionOp>(operation);
  Arguments args = argumentsOf(op);
  std::vector<KernelSpec> all;
  if (isProbe(op) || (op.getUniform() && *op.getUniform() <= 16)) {
    int64_t q = *op.getUniform();
    all.push_back(specOf(op, row, args, q <= 16 ? 1 : q <= 32 ? 2 : 4));
    return all;
  }
  int64_t heads = op.getHeads(), from = 0;
  for (int warps : {2, 4}) {
    KernelSpec spec = specOf(op, row, args, warps);
    spec.rangeMin = from;
    if (warps == 2) {
      int64_t blocksOfHead = (kEnoughBlocks + heads - 1) / heads;
      spec.rangeMax = blocksOfHead * 64 - 1;
    }
    from = spec.rangeMax + 1;
    all.push_back(std::move(spec));
  }
  return all;
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::AttentionOp>(operation);
  Arguments args = argumentsOf(op);
  size_t scalars = spec.scalars.size();
  emitAttentionMmaSync(g, op, tileOf(op, spec.block / 32), args, arguments.take_front(scalars), arguments.drop_front(scalars));
}

} // namespace

const Family nvptx::kAttentionFamily = {[](Operation *op) { return isa<vit::AttentionOp>(op); }, supports, specs, build};
