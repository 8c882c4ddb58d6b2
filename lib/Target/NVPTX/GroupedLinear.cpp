//===- GroupedLinear.cpp - linears over the rows that a gate's blocks are on for -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Over columns a linear kernel gathers its rows: a CTA's columns lie in one block, its rows are entries of that block's list,
// and those beyond the count, which lies in device memory, return at once. Grids have room for every row in every block.
//===----------------------------------------------------------------------===//
#include "Family.h"
#include "GroupedDepth.h"
#include "LinearTiles.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

#include <cmath>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr unsigned kMaxRanges = 4;

/// Tiles along K by rows served: few rows want many small CTAs.
struct DepthChoice {
  int64_t rowsMax;
  GroupedDepthTile tile;
};
constexpr DepthChoice kDepthTiles[] = {{1024, {64, 32}}, {INT64_MAX, {256, 64}}};

bool isColumns(vit::GroupedLinearOp op) { return op.getAxis() == vit::GroupedAxis::Columns; }
int64_t blockBytes(vit::GroupedLinearOp op) {
  return op.getBlock() * op.getInput().getType().getElementTypeBitWidth() / 8;
}
/// The share of blocks that the pass expects to be on.
double shareOf(vit::GroupedLinearOp op) {
  auto share = op->getAttrOfType<FloatAttr>("vit.share");
  return share ? share.getValueAsDouble() : 1.0;
}

/// Rows of whole fragments that lists of a chunk of n rows are expected to fill, over n: the lists' lengths are binomial.
double executedShare(double share, int64_t n) {
  if (share >= 1)
    return 1;
  double probability = std::pow(1 - share, double(n)), rows = 0;
  for (int64_t count = 1; count <= n; ++count) {
    probability *= double(n - count + 1) / double(count) * share / (1 - share);
    rows += probability * double((count + 15) / 16 * 16);
  }
  return std::min(1.0, rows / double(n));
}

LinearProblem problemOf(vit::GroupedLinearOp op) {
  LinearProblem p;
  p.type = *matrixType(op.getInput().getType().getElementType());
  p.columns = op.getWeight().getType().getDimSize(0);
  p.depth = op.getWeight().getType().getDimSize(1);
  EpilogueCost cost = epilogueCost(op, op->getResultTypes());
  p.epilogueInstructions = cost.instructions;
  p.epilogueMufu = cost.mufu;
  p.epilogueBytes = cost.bytes;
  p.maySplit = false;
  p.within = op.getBlock();
  return p;
}

/// Tiles for the rows that a list is expected to have.
std::vector<LinearChoice> choicesOf(vit::GroupedLinearOp op, const TargetRow &row) {
  double share = shareOf(op);
  SmallVector<int64_t> samples;
  for (int64_t rows : sampleRows(op))
    samples.push_back(std::max<int64_t>(1, std::llround(double(rows) * share)));
  samples.erase(llvm::unique(samples), samples.end());
  std::vector<LinearChoice> choices = chooseTiles(problemOf(op), chipsOf(row), samples, kMaxRanges, op->hasAttr("vit.rows"));
  for (LinearChoice &choice : choices)
    if (choice.rowsMax != INT64_MAX)
      choice.rowsMax = std::llround(double(choice.rowsMax) / share);
  return choices;
}

bool supports(Operation *operation, const TargetRow &row, std::string &reason) {
  auto op = cast<vit::GroupedLinearOp>(operation);
  Type x = op.getInput().getType().getElementType(), w = op.getWeight().getType().getElementType();
  llvm::raw_string_ostream os(reason);
  if (x != w || !matrixType(x)) {
    os << "a product of " << x << " and " << w;
    return false;
  }
  if (isa<Float8E4M3FNType>(x) && !row.has(MicroKernel::MmaSyncE4M3)) {
    os << "FP8 products by mma.sync (emulated on this chip)";
    return false;
  }
  if (isColumns(op) && op.getBlock() % 32) {
    os << "blocks of " << op.getBlock() << " columns, which are not whole tiles of 32";
    return false;
  }
  if (!supportsEpilogue(op, reason))
    return false;
  auto args = argumentsOf(op, reason);
  if (failed(args) || isColumns(op))
    return succeeded(args);
  for (OpOperand *operand : {&op.getInputMutable(), &op.getWeightMutable()})
    if (blockBytes(op) % 16 || args->rowStride[operand->getOperandNumber()] * x.getIntOrFloatBitWidth() / 8 % 16) {
      os << "blocks of " << blockBytes(op) << " bytes of K, or rows, that are not whole pieces of 16";
      return false;
    }
  for (const DepthChoice &choice : kDepthTiles) {
    const GroupedDepthTile &t = choice.tile;
    if (t.rows % int64_t(op.getChunk())) {
      os << "lists counted by " << op.getChunk() << " rows, which do not divide " << t.rows;
      return false;
    }
    if (t.items(op.getBlocks()) > t.threads() || t.sharedBytes(op.getBlocks()) > chipsOf(row).front()->sharedPerBlockOptin) {
      os << "a gate of " << op.getBlocks() << " blocks along K";
      return false;
    }
  }
  return true;
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::GroupedLinearOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  unsigned input = op.getInputMutable().getOperandNumber(), weight = op.getWeightMutable().getOperandNumber();
  int64_t columns = op.getWeight().getType().getDimSize(0), depth = op.getWeight().getType().getDimSize(1), from = 0;
  int64_t bytes = op.getWeight().getType().getElementTypeBitWidth() / 8;
  MatrixType type = *matrixType(op.getInput().getType().getElementType());
  std::vector<KernelSpec> all;
  auto add = [&](const std::string &tile, int64_t rowsMax, int64_t tileRows, int64_t tileColumns) -> KernelSpec & {
    KernelSpec spec;
    spec.key = std::string(row.name) + " " + tile + " " + keyOf(op, args);
    spec.precision = type == MatrixType::F8E4M3 ? "f8e4m3" : type == MatrixType::F16 ? "f16" : "bf16";
    spec.layerKind = "linear";
    spec.name = kernelName(std::string("grouped_") + (isColumns(op) ? "columns_" : "depth_") + spec.precision + "_" + tile, spec.key);
    spec.scalars = {{false, input, 0}, {false, weight, 1}};
    spec.operands = args.operands;
    spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, PlanExpr::symbol(0), PlanExpr(tileRows));
    spec.grid[1] = PlanExpr((columns + tileColumns - 1) / tileColumns);
    spec.dispatch = PlanExpr::symbol(0);
    spec.rangeMin = from;
    spec.rangeMax = rowsMax;
    from = rowsMax == INT64_MAX ? rowsMax : rowsMax + 1;
    return all.emplace_back(std::move(spec));
  };
  if (isColumns(op)) {
    for (const LinearChoice &choice : choicesOf(op, row)) {
      const LinearTile &t = choice.tile;
      KernelSpec &spec = add(t.name(), choice.rowsMax, t.rows, t.columns);
      spec.block = t.threads();
      spec.sharedBytes = t.sharedBytes();
      spec.variant = numbersOf(t);
      spec.facts = linearFacts(t, columns, depth, bytes);
      spec.facts["macs_per_row"] = std::llround(double(columns * depth) * shareOf(op));
      // Of the row counts that this kernel serves, one in the middle; the last tile of a list is half full.
      SmallVector<int64_t> served;
      for (int64_t rows : sampleRows(op))
        if (rows >= spec.rangeMin && rows <= spec.rangeMax)
          served.push_back(rows);
      double middle = served.empty() ? double(t.rows) : double(served[served.size() / 2]), grid = std::ceil(middle / t.rows);
      spec.facts["active_permille"] = std::llround(1000 * std::min(1.0, (middle * shareOf(op) / t.rows + 0.5) / grid));
    }
  } else {
    for (const DepthChoice &choice : kDepthTiles) {
      const GroupedDepthTile &t = choice.tile;
      KernelSpec &spec = add(std::to_string(t.rows) + "x" + std::to_string(GroupedDepthTile::kColumns) + "g" + std::to_string(t.tileRows),
                             choice.rowsMax, t.rows, GroupedDepthTile::kColumns);
      spec.block = t.threads();
      spec.sharedBytes = t.sharedBytes(op.getBlocks());
      spec.variant = {t.rows, t.tileRows};
      double share = shareOf(op), executed = executedShare(share, t.rows);
      int64_t outputs = t.rows * GroupedDepthTile::kColumns;
      // Every tile of rows brings its own copy of the block's part of w.
      double tiles = std::max(1.0, std::ceil(double(t.rows) * share / t.tileRows)) + 0.5;
      spec.facts = {{"macs_per_row", std::llround(double(columns * depth) * share)},
                    {"block_outputs", outputs},
                    {"block_macs", std::llround(double(outputs * depth) * executed)},
                    {"block_copy_bytes", std::llround((double(t.rows) * share + GroupedDepthTile::kColumns * tiles) * double(depth * bytes))},
                    {"stages", GroupedDepthTile::kStages},
                    {"stage_bytes", t.stageBytes()}};
    }
  }
  return all;
}

std::string specsKey(Operation *operation, const TargetRow &) {
  std::string reason, key = keyOf(operation, *argumentsOf(operation, reason));
  llvm::raw_string_ostream os(key);
  os << operation->getAttr("vit.rows") << operation->getAttr("vit.share");
  return key;
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::GroupedLinearOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  ValueRange pointers = arguments.drop_front(spec.scalars.size());
  auto pointer = [&](OpOperand &operand) { return pointers[args.ofOperand[operand.getOperandNumber()]]; };
  auto stride = [&](OpOperand &operand) { return args.rowStride[operand.getOperandNumber()]; };
  int64_t bytes = op.getWeight().getType().getElementTypeBitWidth() / 8, columns = op.getWeight().getType().getDimSize(0);
  EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers), epilogueResults(op, args, pointers),
                           columns, kLinearRun);
  Value x = pointer(op.getInputMutable()), w = pointer(op.getWeightMutable()), list = pointer(op.getRowsMutable()),
        starts = pointer(op.getStartsMutable());
  MatrixType type = *matrixType(op.getInput().getType().getElementType());
  if (!isColumns(op)) {
    GroupedDepthKernel k;
    k.type = type;
    k.columns = columns;
    k.blocks = op.getBlocks();
    k.blockBytes = blockBytes(op);
    k.chunk = op.getChunk();
    k.inputStride = stride(op.getInputMutable()) * bytes;
    k.weightStride = stride(op.getWeightMutable()) * bytes;
    k.startsStride = stride(op.getStartsMutable());
    k.tile = {int(spec.variant[0]), int(spec.variant[1])};
    emitGroupedDepth(g, k, arguments[0], x, w, list, starts, epilogue);
    return;
  }
  LinearKernel k;
  k.type = type;
  k.columns = columns;
  k.depth = op.getWeight().getType().getDimSize(1);
  k.inputStride = stride(op.getInputMutable()) * bytes;
  k.weightStride = stride(op.getWeightMutable()) * bytes;
  k.tile = tileOf(spec.variant);
  Value rows = g.trunc32(arguments[0]), block = g.div(g.mul(g.blockY(), k.tile.columns), op.getBlock());
  Value chunks = g.div(g.add(rows, int64_t(op.getChunk()) - 1), int64_t(op.getChunk()));
  Value element = g.add(g.mul(g.zext64(chunks), stride(op.getStartsMutable())), g.zext64(block));
  Value count = g.load(g.i32(), g.gep(starts, g.mul(element, 4)), 4);
  auto ifOp = g.create<scf::IfOp>(g.slt(g.mul(g.blockX(), k.tile.rows), count), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  k.list = RowList{g.gep(list, g.mul(g.mul(g.zext64(block), g.zext64(rows)), 4))};
  emitLinearMmaSync(g, k, g.zext64(count), arguments[1], x, w, epilogue);
}

} // namespace

const Family nvptx::kGroupedLinearFamily = {[](Operation *op) { return isa<vit::GroupedLinearOp>(op); }, supports, specs, build,
                                            specsKey};
