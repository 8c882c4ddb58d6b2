//===- Linear.cpp - which linear kernel runs an op: tiles and specs -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Family.h"
#include "LinearMmaSync.h"
#include "LinearSplit.h"
#include "LinearSums.h"
#include "LinearTiles.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

/// Kernels of an op at most: each costs compile time and place in the bundle.
constexpr unsigned kMaxRanges = 6;
/// Rows up to which a split tile that was asked for serves.
constexpr int64_t kAskedSplitRows = 4096;

LinearProblem problemOf(vit::LinearOp op, const TargetRow &row) {
  LinearProblem p;
  p.type = *matrixType(op.getInput().getType().getElementType());
  p.columns = op.getWeight().getType().getDimSize(0);
  p.depth = op.getWeight().getType().getDimSize(1);
  SumForm form = sumFormOf(op, row);
  p.f16Sums = form.f16;
  p.promoteDepth = form.promoteDepth;
  EpilogueCost cost = epilogueCost(op, op->getResultTypes());
  p.epilogueInstructions = cost.instructions;
  p.epilogueMufu = cost.mufu;
  p.epilogueBytes = cost.bytes;
  return p;
}

/// The tile that "vit.tile" on the op asks for, for experiments and tests.
std::optional<LinearTile> askedTile(vit::LinearOp op) {
  auto asked = op->getAttrOfType<DenseI64ArrayAttr>("vit.tile");
  return asked && asked.size() == 8 ? std::optional(tileOf(asked.asArrayRef())) : std::nullopt;
}

std::vector<LinearChoice> choicesOf(vit::LinearOp op, const TargetRow &row) {
  if (auto tile = askedTile(op))
    return {{tile->split > 1 ? kAskedSplitRows : INT64_MAX, *tile}};
  bool bounded = op->hasAttr("vit.rows");
  SmallVector<int64_t> samples = sampleRows(op);
  return chooseTiles(problemOf(op, row), chipsOf(row), samples, kMaxRanges, bounded);
}

DepthScales depthScalesOf(MutableOperandRange operand, const Arguments &args, ValueRange pointers, int64_t depth, int64_t height) {
  if (operand.empty())
    return {};
  unsigned index = operand.getAsOperandRange().getBeginOperandIndex();
  auto type = cast<RankedTensorType>(operand[0].get().getType());
  DepthScales s;
  s.pointer = pointers[args.ofOperand[index]];
  s.stride = args.rowStride[index];
  s.depth = depth / type.getDimSize(1);
  s.height = height ? (height + type.getDimSize(0) - 1) / type.getDimSize(0) : 1;
  return s;
}

LinearKernel kernelOf(vit::LinearOp op, const Arguments &args, const LinearTile &tile, ValueRange pointers,
                      const TargetRow &row) {
  LinearKernel k;
  k.type = *matrixType(op.getInput().getType().getElementType());
  k.columns = op.getWeight().getType().getDimSize(0);
  k.depth = op.getWeight().getType().getDimSize(1);
  k.inputStride = args.rowStride[op.getInputMutable().getOperandNumber()] * k.elementBytes();
  k.weightStride = args.rowStride[op.getWeightMutable().getOperandNumber()] * k.elementBytes();
  k.tile = tile;
  k.inputScales = depthScalesOf(op.getXScalesMutable(), args, pointers, k.depth, 0);
  k.weightScales = depthScalesOf(op.getWScalesMutable(), args, pointers, k.depth, k.columns);
  SumForm form = sumFormOf(op, row);
  k.f16Sums = form.f16;
  k.promoteDepth = form.promoteDepth;
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
  int64_t step = 32 / (x.getIntOrFloatBitWidth() / 8);
  if (scaledDepthOf(op) % step) {
    llvm::raw_string_ostream(reason) << "scales for blocks of K that are no multiples of " << step;
    return false;
  }
  if (op->hasAttr("vit.tile") && !(askedTile(op) && buildable(problemOf(op, row), *askedTile(op), *chipsOf(row).front()))) {
    reason = "the tile that vit.tile asks for";
    return false;
  }
  return supportsEpilogue(op, reason) && succeeded(argumentsOf(op, reason));
}

/// The arguments of the kernel that adds the parts of K: of the op's own those that its epilogue uses, and the parts.
struct SumArguments {
  std::vector<KernelOperand> operands;
  SmallVector<int> own;  ///< by position: which of the op's arguments it is, -1 for the parts
};
SumArguments sumArguments(vit::LinearOp op, const Arguments &args) {
  SumArguments sum;
  auto add = [&](KernelOperand::Role role) {
    for (auto [i, operand] : llvm::enumerate(args.operands)) {
      bool ofEpilogue = role == KernelOperand::Role::Write ||
                        (!op.getEpilogueIns().empty() && operand.index >= op.getEpilogueIns().getBeginOperandIndex());
      if (operand.role != role || !ofEpilogue)
        continue;
      sum.operands.push_back(operand);
      sum.own.push_back(i);
    }
  };
  add(KernelOperand::Role::Weight);
  sum.operands.push_back({KernelOperand::Role::Scratch, 0, DType::F32, "", "nk"});
  sum.own.push_back(-1);
  add(KernelOperand::Role::Read);
  add(KernelOperand::Role::Write);
  return sum;
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::LinearOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  std::vector<LinearChoice> choices = choicesOf(op, row);
  int64_t columns = op.getWeight().getType().getDimSize(0), from = 0;
  unsigned input = op.getInputMutable().getOperandNumber(), weight = op.getWeightMutable().getOperandNumber();
  PlanExpr rows = PlanExpr::symbol(0);
  using Kind = PlanExpr::Kind;
  // Room for the parts of K of the largest range that is split.
  int64_t partRows = 0, parts = 1;
  for (const LinearChoice &choice : choices)
    if (choice.tile.split > 1) {
      partRows = choice.rowsMax;
      parts = std::max<int64_t>(parts, choice.tile.split);
    }
  std::vector<KernelSpec> first, second;
  SumForm form = sumFormOf(op, row);
  for (const LinearChoice &choice : choices) {
    const LinearTile &t = choice.tile;
    KernelSpec spec;
    spec.key = std::string(row.name) + " " + t.name() + (form.f16 ? " f16 sums " : " ") + std::to_string(form.promoteDepth) +
               " " + keyOf(op, args);
    MatrixType type = *matrixType(op.getInput().getType().getElementType());
    spec.precision = type == MatrixType::F8E4M3 ? "f8e4m3" : type == MatrixType::F16 ? "f16" : "bf16";
    spec.layerKind = "linear";
    spec.scalars = {{false, input, 0}, {false, weight, 1}};
    spec.operands = args.operands;
    spec.dispatch = rows;
    spec.rangeMin = from;
    spec.rangeMax = choice.rowsMax;
    if (parts > 1) {
      spec.scratchBytes = PlanExpr::binary(Kind::Mul, PlanExpr::binary(Kind::Min, rows, PlanExpr(partRows)),
                                           PlanExpr(parts * columns * 4));
      spec.operands.push_back({KernelOperand::Role::Scratch, 0, DType::F32, "", "nk"});
      spec.key += " with scratch";
    }
    from = choice.rowsMax + 1;
    if (t.split > 1) {
      // The sum of the parts reads what the epilogue reads, and the parts before it.
      KernelSpec sum = spec;
      sum.launch = 1;
      sum.variant = numbersOf(t);
      sum.key = std::string(row.name) + " sum of " + std::to_string(t.split) + " " + keyOf(op, args);
      sum.name = kernelName("linear_sum" + std::to_string(t.split), sum.key);
      sum.operands = sumArguments(op, args).operands;
      sum.grid[0] = PlanExpr::binary(Kind::CeilDiv, PlanExpr::binary(Kind::Mul, rows, PlanExpr((columns + kLinearRun - 1) / kLinearRun)),
                                     PlanExpr(kReduceThreads));
      sum.block = kReduceThreads;
      sum.precision = "f32";
      second.push_back(std::move(sum));
    }
    spec.name = kernelName("linear_" + spec.precision + "_" + t.name(), spec.key);
    spec.variant = numbersOf(t);
    spec.grid[0] = PlanExpr::binary(Kind::CeilDiv, rows, PlanExpr(t.rows));
    spec.grid[1] = PlanExpr((columns + t.columns - 1) / t.columns);
    spec.grid[2] = PlanExpr(t.split);
    spec.block = t.threads();
    spec.sharedBytes = t.sharedBytes();
    spec.facts = linearFacts(t, columns, op.getWeight().getType().getDimSize(1),
                         op.getWeight().getType().getElementTypeBitWidth() / 8);
    first.push_back(std::move(spec));
  }
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// What the specs of a linear depend on beside its key.
std::string specsKey(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::LinearOp>(operation);
  std::string reason, key = keyOf(op, *argumentsOf(op, reason));
  SumForm form = sumFormOf(op, row);
  llvm::raw_string_ostream os(key);
  os << op->getAttr("vit.rows") << op->getAttr("vit.tile") << form.f16 << form.promoteDepth;
  return key;
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &row, ValueRange arguments) {
  auto op = cast<vit::LinearOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  LinearTile tile = tileOf(spec.variant);
  ValueRange pointers = arguments.drop_front(spec.scalars.size());
  if (spec.launch == 1) {
    SmallVector<Value> ofOp(args.operands.size());
    Value parts;
    for (auto [pointer, own] : llvm::zip_equal(pointers, sumArguments(op, args).own))
      (own < 0 ? parts : ofOp[own]) = pointer;
    EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, ofOp), epilogueResults(op, args, ofOp),
                             op.getAccumulatorColumns(), kLinearRun);
    emitLinearReduce(g, tile.split, op.getAccumulatorColumns(), arguments[0], parts, epilogue);
    return;
  }
  LinearKernel kernel = kernelOf(op, args, tile, pointers, row);
  Value x = pointers[args.ofOperand[op.getInputMutable().getOperandNumber()]];
  Value w = pointers[args.ofOperand[op.getWeightMutable().getOperandNumber()]];
  if (tile.split > 1) {
    Region none;
    Value part = g.gep(pointers.back(), partOffset(g, arguments[0], kernel.columns, g.blockZ()));
    EpilogueEmitter epilogue(g, none, 1, {}, {{part, g.f32(), AffineMap(), kernel.columns}}, kernel.columns, kLinearRun);
    emitLinearMmaSync(g, kernel, arguments[0], arguments[1], x, w, epilogue);
    return;
  }
  EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers),
                           epilogueResults(op, args, pointers), kernel.columns, kLinearRun);
  emitLinearMmaSync(g, kernel, arguments[0], arguments[1], x, w, epilogue);
}

} // namespace

std::map<std::string, int64_t> vitrify::nvptx::linearFacts(const LinearTile &t, int64_t columns, int64_t depth, int64_t bytes) {
  int64_t padded = (depth * bytes + t.depthBytes - 1) / t.depthBytes * t.depthBytes / bytes;
  padded = (padded + t.split - 1) / t.split;
  return {{"macs_per_row", columns * depth},
          {"block_outputs", t.rows * t.columns},
          {"block_rows", t.rows},
          {"columns", columns},
          {"block_macs", t.rows * t.columns * padded},
          {"block_copy_bytes", (t.rows + t.columns) * padded * bytes},
          {"split", t.split},
          {"stages", t.stages},
          {"stage_bytes", (t.rows + t.columns) * t.depthBytes}};
}

const Family nvptx::kLinearFamily = {[](Operation *op) { return isa<vit::LinearOp>(op); }, supports, specs, build,
                                     specsKey};
