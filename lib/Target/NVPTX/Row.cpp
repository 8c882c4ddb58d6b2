//===- Row.cpp - layer norm and RMS norm with what follows them, and scales found by row -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A row is read once, as 16 bytes a thread, and stays in registers (RowLanes.h). Statistics take two passes over registers.
// An epilogue of group D sees the row whole: codes and the scale of a token leave together.
//===----------------------------------------------------------------------===//
#include "Family.h"
#include "RowLanes.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kRun = RowShape::kRun;
constexpr float kLargestCode = 448.0f; // of E4M3

/// What the ops of this file have in common: rows of `columns` columns in groups of `width` that are worked on apart.
struct RowOp {
  Operation *op;
  int64_t columns, width;
  explicit RowOp(Operation *op) : op(op), columns(cast<RankedTensorType>(op->getOperand(0).getType()).getDimSize(1)), width(columns) {
    if (auto norm = dyn_cast<vit::NormOp>(op); norm && norm.getWidth())
      width = *norm.getWidth();
    if (auto quantize = dyn_cast<vit::QuantizeOp>(op); quantize && quantize.getBlock())
      width = *quantize.getBlock();
  }
  int64_t groups() const { return columns / width; }
  /// Groups whose runs of eight lie across one another's ends are read as rows of their own, which a slice is not.
  bool asRows() const { return groups() > 1 && width % kRun != 0; }
  RowShape shape() const { return {width}; }
  bool wholeRowEpilogue() const {
    auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op);
    return epilogue && !epilogue.getEpilogue().empty() && epilogue.getGroup() > 2;
  }
  unsigned reductions() const {
    auto norm = dyn_cast<vit::NormOp>(op);
    if (!norm)
      return 1;
    return (norm.getKind() == vit::NormKind::Layer ? 2 : 1) + (wholeRowEpilogue() ? RowBody::reductions(norm) : 0);
  }
};

bool supportsNorm(vit::NormOp norm, const RowOp &row, const Arguments &args, std::string &reason) {
  if (row.asRows() && (!norm.getEpilogue().empty() || args.rowStride[0] != row.columns)) {
    reason = "a norm over groups of " + std::to_string(row.width) + " columns of a slice or with an epilogue (multiples of 8 have one)";
    return false;
  }
  if (!row.wholeRowEpilogue())
    return supportsEpilogue(norm, reason);
  if (int64_t(norm.getGroup()) != row.width || row.groups() > 1) {
    reason = "an epilogue over groups of " + std::to_string(norm.getGroup()) + " columns of a norm over " + std::to_string(row.width);
    return false;
  }
  reason = RowBody::whyUnsupported(norm);
  return reason.empty();
}

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  RowOp row(operation);
  auto args = argumentsOf(operation, reason);
  if (failed(args))
    return false;
  if (row.shape().perThread() > 8) { // 64 values in registers
    reason = "rows of " + std::to_string(row.width) + " columns (at most 65536)";
    return false;
  }
  if (auto norm = dyn_cast<vit::NormOp>(operation))
    return supportsNorm(norm, row, *args, reason);
  if (!isa<Float8E4M3FNType>(cast<vit::QuantizeOp>(operation).getCodes().getType().getElementType())) {
    reason = "codes of i8";
    return false;
  }
  if (row.asRows() && args->rowStride[0] != row.columns) {
    reason = "scales of blocks of " + std::to_string(row.width) + " columns of a slice (multiples of 8)";
    return false;
  }
  return true;
}

std::vector<KernelSpec> specs(Operation *op, const TargetRow &target) {
  RowOp row(op);
  Arguments args = argumentsOf(op);
  KernelSpec spec;
  spec.key = std::string(target.name) + " " + keyOf(op, args);
  auto norm = dyn_cast<vit::NormOp>(op);
  std::string name = !norm ? "quantize_row_" : norm.getKind() == vit::NormKind::Layer ? "layer_norm_" : "rms_norm_";
  spec.name = kernelName(name + std::to_string(row.width), spec.key);
  spec.layerKind = "row";
  spec.precision = "f32";
  spec.scalars = {{false, 0, 0}};
  spec.operands = args.operands;
  PlanExpr rows = PlanExpr::binary(PlanExpr::Kind::Mul, PlanExpr::symbol(0), PlanExpr(row.groups()));
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(int64_t(row.shape().rowsOfBlock())));
  spec.block = row.shape().block();
  spec.sharedBytes = row.shape().sharedBytes(row.reductions());
  spec.dispatch = PlanExpr::symbol(0);
  return {spec};
}

class RowBuilder {
public:
  RowBuilder(GpuBuilder &g, Operation *op, const Arguments &args, ValueRange pointers)
      : g(g), row(op), args(args), pointers(pointers), lanes(g, row.shape()) {}
  void build(Value rows64);

private:
  void locate(Value rows64);
  EpilogueOperand operand(unsigned number, ArrayRef<unsigned> dims, int64_t stride);
  SmallVector<Value> load(unsigned number);
  void normalise(vit::NormOp op, SmallVectorImpl<Value> &x);
  void storeRuns(EpilogueEmitter &emitter, ArrayRef<Value> x, llvm::function_ref<void(ArrayRef<Value>)> store);
  void storeNorm(vit::NormOp op, ArrayRef<Value> x);
  void quantize(ArrayRef<Value> x);
  template <typename Body> void when(Value condition, Body body) {
    if (!condition)
      return body();
    auto ifOp = g.create<scf::IfOp>(condition, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(ifOp.thenBlock());
    body();
  }

  GpuBuilder &g;
  RowOp row;
  const Arguments &args;
  ValueRange pointers;
  RowLanes lanes;
  int64_t columns = 0, stride = 0; ///< of what is read as a row
  Value exists, number, m, offset; ///< row and group, whether there is one; row of memory; the group's first column
};

/// Threads of rows past the end work on the last row and store nothing: shuffles and barriers stay whole.
void RowBuilder::locate(Value rows64) {
  Value rows = g.mul(g.trunc32(rows64), row.groups());
  Value wanted = g.add(g.mul(g.blockX(), row.shape().rowsOfBlock()), lanes.rowInBlock);
  exists = g.slt(wanted, rows);
  number = g.smin(wanted, g.sub(rows, g.c32(1)));
  bool apart = row.groups() > 1 && !row.asRows();
  m = apart ? g.div(number, row.groups()) : number;
  offset = apart ? g.mul(g.rem(number, row.groups()), row.width) : g.c32(0);
  columns = row.asRows() ? row.width : row.columns;
  stride = row.asRows() ? row.width : args.rowStride[0];
}

EpilogueOperand RowBuilder::operand(unsigned number, ArrayRef<unsigned> dims, int64_t rowStride) {
  SmallVector<AffineExpr> exprs;
  for (unsigned d : dims)
    exprs.push_back(getAffineDimExpr(d, g.b.getContext()));
  Type element = cast<RankedTensorType>(row.op->getOperand(number).getType()).getElementType();
  return {pointers[args.ofOperand[number]], element, AffineMap::get(2, 0, exprs, g.b.getContext()), rowStride};
}

/// The row's values; those of columns that do not exist are other columns'.
SmallVector<Value> RowBuilder::load(unsigned number) {
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, {}, columns, kRun);
  EpilogueOperand in = operand(number, {0, 1}, stride);
  SmallVector<Value> x;
  for (Value first : lanes.firsts) {
    if (row.groups() > 1 && !row.asRows())
      first = g.add(offset, g.smin(first, g.c32(row.width - kRun)));
    llvm::append_range(x, emitter.loadRun(in, m, first));
  }
  return x;
}

void RowBuilder::normalise(vit::NormOp op, SmallVectorImpl<Value> &x) {
  Value scale = g.fconst(1.0f / static_cast<float>(row.width));
  if (op.getKind() == vit::NormKind::Layer) {
    Value mean = g.fmul(lanes.fold(Fold::Sum, x), scale);
    for (Value &v : x)
      v = g.fsub(v, mean);
  }
  SmallVector<Value> squares;
  for (Value v : x)
    squares.push_back(g.fmul(v, v));
  Value variance = g.fmul(lanes.fold(Fold::Sum, squares), scale);
  Value inverse = g.rsqrt(g.fadd(variance, g.fconst(op.getEps().convertToDouble())));
  Region none;
  EpilogueEmitter affine(g, none, 1, {}, {}, row.width, kRun);
  auto load = [&](MutableOperandRange range, Value first) {
    return range.empty() ? SmallVector<Value>() : affine.loadRun(operand(range.begin()->getOperandNumber(), {1}, 0), Value(), first);
  };
  for (auto [run, first] : llvm::enumerate(lanes.firsts)) {
    SmallVector<Value> gamma = load(op.getGammaMutable(), first), beta = load(op.getBetaMutable(), first);
    for (int i = 0; i < kRun; ++i) {
      Value &v = x[run * kRun + i];
      v = g.fmul(v, inverse);
      if (!gamma.empty())
        v = beta.empty() ? g.fmul(v, gamma[i]) : g.fma(v, gamma[i], beta[i]);
      else if (!beta.empty())
        v = g.fadd(v, beta[i]);
    }
  }
}

/// Calls `store` for each run of columns that exists, where the row does.
void RowBuilder::storeRuns(EpilogueEmitter &emitter, ArrayRef<Value> x, llvm::function_ref<void(ArrayRef<Value>)> store) {
  when(exists, [&] {
    for (auto [run, first] : llvm::enumerate(lanes.firsts))
      when(lanes.insideRun(run), [&] {
        emitter.beginColumns(g.add(offset, first));
        store(x.slice(run * kRun, kRun));
      });
  });
}

void RowBuilder::storeNorm(vit::NormOp op, ArrayRef<Value> x) {
  SmallVector<EpilogueOperand> results = epilogueResults(op, args, pointers);
  if (row.wholeRowEpilogue())
    return RowBody(g, lanes, op, epilogueIns(op, args, pointers), results, columns).emit(m, exists, x);
  if (row.asRows())
    for (EpilogueOperand &out : results)
      out.rowStride = row.width;
  EpilogueEmitter emitter(g, op.getEpilogue(), op.getGroup(), epilogueIns(op, args, pointers), results, columns, kRun);
  storeRuns(emitter, x, [&](ArrayRef<Value> run) { emitter.emitRow(m, run); });
}

/// Codes by the largest magnitude of the row or block, and that scale.
void RowBuilder::quantize(ArrayRef<Value> x) {
  SmallVector<Value> sizes, codes;
  for (Value v : x)
    sizes.push_back(g.intrinsic("llvm.fabs.f32", g.f32(), {v}));
  Value largest = lanes.fold(Fold::Maximum, sizes);
  Value none = g.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, largest, g.fconst(0.0f));
  Value scale = g.select(none, g.fconst(1.0f), g.create<arith::DivFOp>(largest, g.fconst(kLargestCode)));
  Value inverse = g.create<arith::DivFOp>(g.fconst(1.0f), scale);
  for (Value v : x)
    codes.push_back(g.fmul(v, inverse));
  SmallVector<EpilogueOperand> results = epilogueResults(row.op, args, pointers);
  if (row.asRows())
    results[0].rowStride = row.width;
  Region none_;
  EpilogueEmitter emitter(g, none_, 1, {}, results, columns, kRun);
  storeRuns(emitter, codes, [&](ArrayRef<Value> run) { emitter.storeResult(0, m, run); });
  when(g.andi(exists, lanes.leader), [&] { g.store(scale, g.gep(results[1].pointer, g.mul(g.zext64(number), 4)), 4); });
}

void RowBuilder::build(Value rows64) {
  locate(rows64);
  SmallVector<Value> x = load(0);
  auto norm = dyn_cast<vit::NormOp>(row.op);
  if (!norm)
    return quantize(x);
  normalise(norm, x);
  storeNorm(norm, x);
}

void build(GpuBuilder &g, Operation *op, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  Arguments args = argumentsOf(op);
  RowBuilder(g, op, args, arguments.drop_front(1)).build(arguments[0]);
}

} // namespace

const Family nvptx::kRowFamily = {
    [](Operation *op) {
      auto quantize = dyn_cast<vit::QuantizeOp>(op);
      return isa<vit::NormOp>(op) || (quantize && !quantize.getScale() && quantize.getGranularity() != vit::Granularity::Tensor);
    },
    supports, specs, build};
