//===- Gather.cpp - rows moved by place: tokens, pooling, tables, caches -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Bound by memory: a thread computes eight consecutive columns of a row of the result.
//===----------------------------------------------------------------------===//
#include "Runs.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

unsigned numberOf(MutableOperandRange range) { return range.begin()->getOperandNumber(); }
int64_t rowsOf(Value v) { return v ? cast<RankedTensorType>(v.getType()).getDimSize(0) : 0; }

bool supports(Operation *op, const TargetRow &, std::string &reason) {
  auto args = argumentsOf(op, reason);
  if (failed(args))
    return false;
  if (auto assemble = dyn_cast<vit::AssembleTokensOp>(op))
    if (assemble.getPosition() && ShapedType::isDynamic(rowsOf(assemble.getPosition()))) {
      reason = "positions of a number of rows that is not known";
      return false;
    }
  if (auto merge = dyn_cast<vit::MergePatchesOp>(op)) {
    auto type = merge.getInput().getType();
    if (type.getElementType().isInteger(8)) {
      reason = "codes of i8";
      return false;
    }
    if (args->rowStride[0] != type.getDimSize(1) && type.getDimSize(1) % kRun != 0) {
      reason = "rows of a slice that are merged and no multiple of 8 columns";
      return false;
    }
  }
  return true;
}

std::vector<KernelSpec> specs(Operation *op, const TargetRow &row) {
  Arguments args = argumentsOf(op);
  KernelSpec spec = runSpec(op, row, args, op->getName().stripDialect().str());
  spec.layerKind = "gather";
  if (auto assemble = dyn_cast<vit::AssembleTokensOp>(op); assemble && assemble.getCuSeqlens())
    spec.scalars.push_back({false, numberOf(assemble.getCuSeqlensMutable()), 0});
  if (isa<vit::EmbedOp, vit::PosGatherOp>(op)) // the table's rows
    spec.scalars.push_back({false, 0, 0});
  return {spec};
}

class GatherBuilder {
public:
  GatherBuilder(GpuBuilder &g, Operation *op, const Arguments &args, ValueRange scalars, ValueRange pointers)
      : g(g), op(op), args(args), scalars(scalars), pointers(pointers),
        emitter(g, none, 1, {}, epilogueResults(op, args, pointers), resultColumns(op), kRun) {}
  void build();

private:
  SmallVector<Value> load(unsigned number, Value at) {
    return emitter.loadRun(operandOf(op, number, args, pointers, true, true), at, column);
  }
  Value index(unsigned number, Value at) { return indexAt(g, pointers[args.ofOperand[number]], at); }
  /// Row `at` of operand 0 by an index of operand 1.
  SmallVector<Value> loadIndexed(Value at) { return load(0, clampedTo(g, index(1, at), g.trunc32(scalars[1]))); }
  SmallVector<Value> assemble(vit::AssembleTokensOp op);
  SmallVector<Value> pool(vit::PoolOp op);
  SmallVector<Value> merge(vit::MergePatchesOp op);
  SmallVector<Value> gather(vit::PosGatherOp op);
  SmallVector<Value> append(vit::CacheAppendOp op);

  GpuBuilder &g;
  Operation *op;
  const Arguments &args;
  ValueRange scalars, pointers;
  Region none;
  EpilogueEmitter emitter;
  Value row, column;
};

SmallVector<Value> GatherBuilder::assemble(vit::AssembleTokensOp op) {
  int64_t prefix = rowsOf(op.getPrefix()), registers = rowsOf(op.getRegisters()), extra = prefix + registers;
  Value token, first, own; // in the image; the image's first patch, and its patches
  if (op.getUniform()) {
    int64_t patches = *op.getUniform();
    Value image = g.div(row, extra + patches);
    token = g.rem(row, extra + patches);
    first = g.mul(image, patches);
    own = g.c32(patches);
  } else {
    unsigned table = numberOf(op.getCuSeqlensMutable());
    Value segments = g.sub(g.trunc32(scalars[1]), g.c32(1));
    Value image = segmentOf(g, pointers[args.ofOperand[table]], segments, row, extra);
    first = index(table, image);
    own = g.sub(index(table, g.add(image, 1)), first);
    token = g.sub(row, g.add(first, g.mul(image, extra)));
  }
  Value patch = g.sub(token, g.c32(extra)), isPatch = g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, patch, g.c32(0));
  // An image without patches has prefix and registers still: row 0 is read in the place of a patch, and not used.
  SmallVector<Value> x = load(0, g.select(isPatch, g.add(first, patch), g.c32(0)));
  auto choose = [&](MutableOperandRange range, Value at, int64_t count) {
    if (!count)
      return;
    Value mine = g.andi(g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, at, g.c32(0)).getResult(), g.slt(at, g.c32(count)));
    SmallVector<Value> other = load(numberOf(range), g.smax(g.smin(at, g.c32(count - 1)), g.c32(0)));
    for (unsigned i = 0; i < kRun; ++i)
      x[i] = g.select(mine, other[i], x[i]);
  };
  choose(op.getPrefixMutable(), token, prefix);
  choose(op.getRegistersMutable(), g.sub(token, g.c32(prefix)), registers);
  if (op.getPosition()) {
    // Rows of the prefix come first in the table when they have a position: when it has a row for each of them.
    int64_t rows = rowsOf(op.getPosition());
    Value prefixed = prefix ? g.eq(g.add(own, prefix), g.c32(rows)) : g.create<arith::ConstantOp>(g.b.getBoolAttr(true)).getResult();
    Value at = g.select(isPatch, g.add(patch, g.select(prefixed, g.c32(prefix), g.c32(0))), token);
    Value has = g.create<arith::OrIOp>(isPatch, g.andi(prefixed, g.slt(token, g.c32(prefix))));
    SmallVector<Value> position = load(numberOf(op.getPositionMutable()), g.smin(at, g.c32(rows - 1)));
    for (unsigned i = 0; i < kRun; ++i)
      x[i] = g.fadd(x[i], g.select(has, position[i], g.fconst(0.0f)));
  }
  return x;
}

/// One token of each image; means are in Pool.cpp.
SmallVector<Value> GatherBuilder::pool(vit::PoolOp op) {
  return load(0, g.add(segmentAt(g, op, args, pointers, row).first, op.getFirst()));
}

SmallVector<Value> GatherBuilder::merge(vit::MergePatchesOp op) {
  int64_t d = op.getInput().getType().getDimSize(1), factor = op.getFactor();
  EpilogueOperand in = operandOf(op, 0, args, pointers, true, true);
  if (in.rowStride == d) { // the very bytes
    in.rowStride = d * factor;
    return emitter.loadRun(in, row, column);
  }
  Value part = g.div(column, d);
  return emitter.loadRun(in, g.add(g.mul(row, factor), part), g.sub(column, g.mul(part, d)));
}

SmallVector<Value> GatherBuilder::gather(vit::PosGatherOp op) {
  int64_t taps = op.getIndex().getType().getDimSize(1);
  SmallVector<Value> sum(kRun, g.fconst(0.0f));
  for (int64_t tap = 0; tap < taps; ++tap) {
    Value at = g.add(g.mul(row, taps), tap);
    Value weight = g.load(g.f32(), g.gep(pointers[args.ofOperand[2]], g.mul(g.zext64(at), 4)), 4);
    SmallVector<Value> x = loadIndexed(at);
    for (unsigned i = 0; i < kRun; ++i)
      sum[i] = g.fma(weight, x[i], sum[i]);
  }
  return sum;
}

/// A row of the cache, or the new row that has come to its place.
SmallVector<Value> GatherBuilder::append(vit::CacheAppendOp op) {
  Value capacity = g.trunc32(scalars[1]), segment = g.div(row, capacity), at = g.rem(row, capacity);
  unsigned table = numberOf(op.getCuSeqlensMutable());
  Value first = index(table, segment), count = g.sub(index(table, g.add(segment, 1)), first);
  Value number = g.sub(at, index(numberOf(op.getLengthsMutable()), segment));
  Value isNew = g.andi(g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, number, g.c32(0)).getResult(), g.slt(number, count));
  auto choice = g.create<scf::IfOp>(SmallVector<Type>(kRun, g.f32()), isNew, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(choice.thenBlock());
  g.create<scf::YieldOp>(load(numberOf(op.getRowsMutable()), g.add(first, number)));
  g.b.setInsertionPointToStart(choice.elseBlock());
  EpilogueOperand cache = operandOf(op, numberOf(op.getCacheMutable()), args, pointers, true, true);
  cache.rowStride = resultColumns(op);
  g.create<scf::YieldOp>(emitter.loadRun(cache, row, column));
  return SmallVector<Value>(choice.getResults());
}

void GatherBuilder::build() {
  forRun(g, op, scalars, [&](Value atRow, Value atColumn) {
    row = atRow;
    column = atColumn;
    emitter.beginColumns(column);
    SmallVector<Value> x;
    if (auto tokens = dyn_cast<vit::AssembleTokensOp>(op))
      x = assemble(tokens);
    else if (auto pooling = dyn_cast<vit::PoolOp>(op))
      x = pool(pooling);
    else if (auto merging = dyn_cast<vit::MergePatchesOp>(op))
      x = merge(merging);
    else if (auto positions = dyn_cast<vit::PosGatherOp>(op))
      x = gather(positions);
    else if (auto cache = dyn_cast<vit::CacheAppendOp>(op))
      x = append(cache);
    else // vit.embed
      x = loadIndexed(row);
    emitter.emitRow(row, x);
  });
}

void build(GpuBuilder &g, Operation *op, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  Arguments args = argumentsOf(op);
  size_t scalars = spec.scalars.size();
  GatherBuilder(g, op, args, arguments.take_front(scalars), arguments.drop_front(scalars)).build();
}

} // namespace

const Family nvptx::kGatherFamily = {
    [](Operation *op) {
      return isa<vit::AssembleTokensOp, vit::PoolOp, vit::EmbedOp, vit::PosGatherOp, vit::MergePatchesOp, vit::CacheAppendOp>(op);
    },
    supports, specs, build};
