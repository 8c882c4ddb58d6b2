//===- Row.cpp - layer norm and RMS norm, with what follows them -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A row is held in the registers of `threads` threads, in runs of eight columns: run r belongs to thread r mod threads.
// Statistics take two passes over registers, one over memory. A block has several rows when a row needs one warp only.
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kRun = 8;
constexpr int kBlock = 128;         // threads of a block
constexpr int kRunsOfThread = 4;    // 32 values in registers

/// Threads of one row: a warp up to 1,024 columns, else a whole block (of up to 1,024 threads).
int threadsOf(int64_t width) {
  int64_t runs = (width + kRun - 1) / kRun;
  if (runs <= 32 * kRunsOfThread)
    return 32;
  int threads = kBlock;
  while (threads < 1024 && runs > int64_t(threads) * kRunsOfThread)
    threads *= 2;
  return threads;
}

int64_t widthOf(vit::NormOp op) {
  return op.getWidth() ? static_cast<int64_t>(*op.getWidth()) : op.getInput().getType().getDimSize(1);
}

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::NormOp>(operation);
  int64_t columns = op.getInput().getType().getDimSize(1);
  if (widthOf(op) != columns && !op.getEpilogue().empty()) {
    reason = "an epilogue on a norm over groups of " + std::to_string(widthOf(op)) + " columns";
    return false;
  }
  auto args = argumentsOf(op, reason);
  if (failed(args) || !supportsEpilogue(op, reason))
    return false;
  if (widthOf(op) != columns && args->rowStride[0] != columns) {
    reason = "a norm over groups of columns of a slice";
    return false;
  }
  return true;
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::NormOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  int64_t width = widthOf(op);
  int threads = threadsOf(width);
  spec.name = kernelName((op.getKind() == vit::NormKind::Layer ? "layer_norm_" : "rms_norm_") + std::to_string(width), spec.key);
  spec.layerKind = "row";
  spec.precision = "f32";
  spec.scalars = {{false, 0, 0}};
  spec.operands = args.operands;
  int64_t rowsOfBlock = std::max(1, kBlock / threads);
  PlanExpr rows = PlanExpr::binary(PlanExpr::Kind::Mul, PlanExpr::symbol(0),
                                   PlanExpr(op.getInput().getType().getDimSize(1) / width));
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(rowsOfBlock));
  spec.block = std::max(threads, kBlock);
  spec.sharedBytes = threads > 32 ? 2 * 32 * 4 : 0;
  spec.dispatch = PlanExpr::symbol(0);
  return {spec};
}

/// Sum over the threads of a row. `slot` tells apart the shared memory of the two sums.
Value rowSum(GpuBuilder &g, Value value, int threads, Value tid, int slot) {
  for (int mask = 16; mask > 0; mask /= 2)
    value = g.fadd(value, g.shuffleXor(value, mask));
  if (threads == 32)
    return value;
  Value base = g.gep(g.dynamicShared(), slot * 32 * 4);
  Value lane = g.andi(tid, 31), warp = g.shr(tid, 5);
  auto first = g.create<scf::IfOp>(g.eq(lane, g.c32(0)), /*withElseRegion=*/false);
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(first.thenBlock());
    g.store(value, g.gep(base, g.mul(warp, 4)), 4);
  }
  g.barrier();
  Value sum = g.fconst(0.0f);
  for (int w = 0; w < threads / 32; ++w)
    sum = g.fadd(sum, g.load(g.f32(), g.gep(base, w * 4), 4));
  return sum;
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::NormOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  ValueRange pointers = arguments.drop_front(1);
  int64_t width = widthOf(op), columns = op.getInput().getType().getDimSize(1);
  int threads = threadsOf(width), rowsOfBlock = std::max(1, kBlock / threads);
  int64_t runs = (width + kRun - 1) / kRun, perThread = (runs + threads - 1) / threads;

  Value rows = g.mul(g.trunc32(arguments[0]), columns / width);
  Value tid = g.threadX();
  Value inRow = threads == 32 ? g.andi(tid, 31) : tid;
  Value row = g.add(g.mul(g.blockX(), rowsOfBlock), threads == 32 ? g.shr(tid, 5) : g.c32(0));
  // Threads of rows past the end work on the last row and store nothing: shuffles and barriers stay whole.
  Value exists = g.slt(row, rows);
  Value source = g.smin(row, g.sub(rows, g.c32(1)));

  auto operandAt = [&](Value value, OpOperand &operand, bool perRow) {
    unsigned n = operand.getOperandNumber();
    MLIRContext *c = op.getContext();
    AffineMap map = AffineMap::get(2, 0, perRow ? ArrayRef<AffineExpr>{getAffineDimExpr(0, c), getAffineDimExpr(1, c)}
                                                : ArrayRef<AffineExpr>{getAffineDimExpr(1, c)}, c);
    return EpilogueOperand{pointers[args.ofOperand[n]], cast<RankedTensorType>(value.getType()).getElementType(), map,
                           width == columns ? args.rowStride[n] : width};
  };
  EpilogueOperand input = operandAt(op.getInput(), op.getInputMutable(), true);
  SmallVector<EpilogueOperand> results = epilogueResults(op, args, pointers);
  for (EpilogueOperand &out : results)
    out.rowStride = width == columns ? out.rowStride : width;
  EpilogueEmitter epilogue(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers), results, width, kRun);

  SmallVector<SmallVector<Value>> x(perThread);
  SmallVector<Value> firsts;
  Value sum = g.fconst(0.0f), zero = sum;
  auto inside = [&](int64_t run, int i) -> Value {
    // Null when the column exists for sure.
    if (runs == perThread * threads && width % kRun == 0)
      return Value();
    return g.slt(g.add(firsts[run], i), g.c32(width));
  };
  for (int64_t run = 0; run < perThread; ++run) {
    firsts.push_back(g.mul(g.add(inRow, run * threads), kRun));
    x[run] = epilogue.loadRun(input, source, firsts[run]);
    for (int i = 0; i < kRun; ++i) {
      if (Value in = inside(run, i))
        x[run][i] = g.select(in, x[run][i], zero);
      sum = g.fadd(sum, x[run][i]);
    }
  }
  Value scale = g.fconst(1.0f / static_cast<float>(width));
  Value mean = zero;
  if (op.getKind() == vit::NormKind::Layer)
    mean = g.fmul(rowSum(g, sum, threads, tid, 0), scale);
  Value squares = zero;
  for (int64_t run = 0; run < perThread; ++run)
    for (int i = 0; i < kRun; ++i) {
      Value d = g.fsub(x[run][i], mean);
      x[run][i] = d;
      if (Value in = inside(run, i))
        d = g.select(in, d, zero);
      squares = g.fma(d, d, squares);
    }
  Value variance = g.fmul(rowSum(g, squares, threads, tid, 1), scale);
  Value inverse = g.rsqrt(g.fadd(variance, g.fconst(op.getEps().convertToDouble())));

  auto ifOp = g.create<scf::IfOp>(exists, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  for (int64_t run = 0; run < perThread; ++run) {
    SmallVector<Value> gamma, beta, y;
    if (op.getGamma())
      gamma = epilogue.loadRun(operandAt(op.getGamma(), *op.getGammaMutable().begin(), false), Value(), firsts[run]);
    if (op.getBeta())
      beta = epilogue.loadRun(operandAt(op.getBeta(), *op.getBetaMutable().begin(), false), Value(), firsts[run]);
    for (int i = 0; i < kRun; ++i) {
      Value v = g.fmul(x[run][i], inverse);
      if (!gamma.empty())
        v = beta.empty() ? g.fmul(v, gamma[i]) : g.fma(v, gamma[i], beta[i]);
      else if (!beta.empty())
        v = g.fadd(v, beta[i]);
      y.push_back(v);
    }
    epilogue.beginColumns(firsts[run]);
    epilogue.emitRow(row, y);
  }
}

} // namespace

const Family nvptx::kRowFamily = {[](Operation *op) { return isa<vit::NormOp>(op); }, supports, specs, build};
