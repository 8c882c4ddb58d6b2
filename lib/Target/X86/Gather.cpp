//===- Gather.cpp - kernels that move rows, on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// assemble_tokens, pool, pos_gather, embed, merge_patches and scatter_rows. Indices come from the caller's tensors, so
// they are clamped to the table: a wrong one gives a wrong row, never an access out of bounds.
//===----------------------------------------------------------------------===//
#include "Segments.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

static constexpr int64_t kRowsPerUnit = 8;

static PlanExpr unitsOfRows(PlanExpr rows, int64_t perUnit) {
  return PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(perUnit));
}
static int64_t columnsOf(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(1); }
static unsigned numberOf(OpOperand &operand) { return operand.getOperandNumber(); }
static unsigned numberOf(MutableOperandRange range) { return range[0].getOperandNumber(); }

/// An index of the caller, inside [0, size).
static Value clampedIndex(LaneBuilder &b, Value memref, ValueRange at, Value size) {
  Value index = b.loadIndex(memref, at);
  return b.maxIndex(b.index(0), b.minIndex(index, b.subIndex(size, b.index(1))));
}

//===----------------------------------------------------------------------===//
// vit.assemble_tokens
//===----------------------------------------------------------------------===//

static int64_t staticRows(Value value) { return value ? cast<RankedTensorType>(value.getType()).getDimSize(0) : 0; }

static void describeAssemble(KernelFrame &frame) {
  auto op = cast<vit::AssembleTokensOp>(frame.op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    frame.use(i);
  frame.useResults();
  for (Value table : {op.getPrefix(), op.getRegisters(), op.getPosition()})
    if (table && ShapedType::isDynamic(staticRows(table)))
      frame.fail("prefix, registers or position with a dynamic number of rows");
  if (op.getCuSeqlens() && op.getPosition())
    frame.fail("a position table with segments by cu_seqlens");
  if (op.getCuSeqlens())
    frame.operandDim(numberOf(op.getCuSeqlensMutable()), 0);
  frame.finish("assemble_tokens_d" + std::to_string(columnsOf(op.getPatches())), "gather", "f32",
               unitsOfRows(frame.resultDim(0, 0), kRowsPerUnit));
}

static void buildAssemble(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::AssembleTokensOp>(frame.op);
  int64_t columns = columnsOf(op.getPatches());
  int64_t prefixRows = staticRows(op.getPrefix()), extra = prefixRows + staticRows(op.getRegisters());
  Value patches = frame.operand(numberOf(op.getPatchesMutable()));
  Value prefix = op.getPrefix() ? frame.operand(numberOf(op.getPrefixMutable())) : Value();
  Value registers = op.getRegisters() ? frame.operand(numberOf(op.getRegistersMutable())) : Value();
  Value position = op.getPosition() ? frame.operand(numberOf(op.getPositionMutable())) : Value();
  // A table of all tokens, or of the patches alone.
  bool positionOfPrefix = position && op.getUniform() && staticRows(op.getPosition()) != int64_t(*op.getUniform());
  Value result = frame.result(0);
  Segments segments(frame, b, op.getCuSeqlens() ? std::optional(numberOf(op.getCuSeqlensMutable())) : std::nullopt,
                    op.getUniform().value_or(0), extra);
  forRowsOfUnits(frame, b, frame.dimValue(b, true, 0, 0), kRowsPerUnit, [&](Value row) {
    auto [segment, local] = segments.find(row);
    auto copy = [&](Value table, Value from, Value positionRow) {
      b.forColumns(columns, [&](Value column, unsigned valid) {
        Value value = b.load(table, {from, column}, valid);
        if (positionRow)
          value = b.add(value, b.load(position, {positionRow, column}, valid));
        b.store(value, result, {row, column}, valid);
      });
    };
    auto below = [&](int64_t bound) {
      return arith::CmpIOp::create(b, arith::CmpIPredicate::ult, local, b.index(bound));
    };
    auto emitPatch = [&] {
      Value inSegment = b.subIndex(local, b.index(extra));
      Value positionRow = position ? b.addIndex(inSegment, positionOfPrefix ? prefixRows : 0) : Value();
      copy(patches, b.addIndex(segments.inputStart(segment), inSegment), positionRow);
    };
    auto emitRegister = [&] { copy(registers, b.subIndex(local, b.index(prefixRows)), Value()); };
    auto afterPrefix = [&] {
      if (!registers)
        return emitPatch();
      b.ifThen(below(extra), emitRegister, emitPatch);
    };
    if (!prefix)
      return afterPrefix();
    b.ifThen(below(prefixRows), [&] { copy(prefix, local, positionOfPrefix ? local : Value()); }, afterPrefix);
  });
}

const Family x86::kAssembleTokens = {describeAssemble, buildAssemble};

//===----------------------------------------------------------------------===//
// vit.pool
//===----------------------------------------------------------------------===//

static void describePool(KernelFrame &frame) {
  auto op = cast<vit::PoolOp>(frame.op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    frame.use(i);
  frame.useResults();
  frame.finish("pool_d" + std::to_string(columnsOf(op.getInput())), "gather", "f32", frame.resultDim(0, 0));
}

static void buildPool(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::PoolOp>(frame.op);
  Value input = frame.operand(numberOf(op.getInputMutable())), result = frame.result(0);
  b.loop(frame.begin, frame.end, 1, [&](Value segment) {
    Value start, stop;
    if (op.getUniform()) {
      start = b.mulIndex(segment, *op.getUniform());
      stop = b.addIndex(start, *op.getUniform());
    } else {
      Value lengths = frame.operand(numberOf(op.getCuSeqlensMutable()));
      start = b.loadIndex(lengths, segment);
      stop = b.loadIndex(lengths, b.addIndex(segment, 1));
    }
    start = b.addIndex(start, op.getFirst());
    b.forColumns(columnsOf(op.getInput()), [&](Value column, unsigned valid) {
      if (op.getKind() == vit::PoolKind::Token)
        return b.store(b.load(input, {start, column}, valid), result, {segment, column}, valid);
      SmallVector<Value> sum = b.loop(start, stop, 1, b.splat(0.0f), [&](Value row, ValueRange carried) {
        return SmallVector<Value>{b.add(carried[0], b.load(input, {row, column}, valid))};
      });
      Value count = arith::IndexCastOp::create(b, b.getI32Type(), b.subIndex(stop, start));
      Value divisor = arith::SIToFPOp::create(b, b.getF32Type(), count);
      b.store(b.div(sum[0], b.broadcast(divisor)), result, {segment, column}, valid);
    });
  });
}

const Family x86::kPool = {describePool, buildPool};

//===----------------------------------------------------------------------===//
// vit.pos_gather, vit.embed
//===----------------------------------------------------------------------===//

static void describePosGather(KernelFrame &frame) {
  auto op = cast<vit::PosGatherOp>(frame.op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    frame.use(i);
  frame.useResults();
  frame.operandDim(numberOf(op.getTableMutable()), 0);
  frame.finish("pos_gather_d" + std::to_string(columnsOf(op.getTable())), "gather", "f32",
               unitsOfRows(frame.resultDim(0, 0), kRowsPerUnit));
}

static void buildPosGather(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::PosGatherOp>(frame.op);
  Value table = frame.operand(numberOf(op.getTableMutable())), index = frame.operand(numberOf(op.getIndexMutable()));
  Value weights = frame.operand(numberOf(op.getWeightsMutable())), result = frame.result(0);
  Value size = frame.dimValue(b, false, numberOf(op.getTableMutable()), 0);
  int64_t taps = columnsOf(op.getIndex());
  forRowsOfUnits(frame, b, frame.dimValue(b, true, 0, 0), kRowsPerUnit, [&](Value row) {
    b.forColumns(columnsOf(op.getTable()), [&](Value column, unsigned valid) {
      SmallVector<Value> sum =
          b.loop(b.index(0), b.index(taps), 1, b.splat(0.0f), [&](Value tap, ValueRange carried) {
            Value from = clampedIndex(b, index, {row, tap}, size);
            Value w = b.broadcast(b.loadScalar(weights, {row, tap}));
            return SmallVector<Value>{b.fma(w, b.load(table, {from, column}, valid), carried[0])};
          });
      b.store(sum[0], result, {row, column}, valid);
    });
  });
}

const Family x86::kPosGather = {describePosGather, buildPosGather};

static void describeEmbed(KernelFrame &frame) {
  auto op = cast<vit::EmbedOp>(frame.op);
  frame.use(numberOf(op.getTableMutable()));
  frame.use(numberOf(op.getIdsMutable()));
  frame.useResults();
  frame.operandDim(numberOf(op.getTableMutable()), 0);
  frame.finish("embed_d" + std::to_string(columnsOf(op.getTable())), "gather", "f32",
               unitsOfRows(frame.resultDim(0, 0), kRowsPerUnit));
}

static void buildEmbed(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::EmbedOp>(frame.op);
  Value table = frame.operand(numberOf(op.getTableMutable())), ids = frame.operand(numberOf(op.getIdsMutable()));
  Value size = frame.dimValue(b, false, numberOf(op.getTableMutable()), 0);
  forRowsOfUnits(frame, b, frame.dimValue(b, true, 0, 0), kRowsPerUnit, [&](Value row) {
    Value from = clampedIndex(b, ids, row, size);
    b.forColumns(columnsOf(op.getTable()), [&](Value column, unsigned valid) {
      b.store(b.load(table, {from, column}, valid), frame.result(0), {row, column}, valid);
    });
  });
}

const Family x86::kEmbed = {describeEmbed, buildEmbed};

//===----------------------------------------------------------------------===//
// vit.merge_patches
//===----------------------------------------------------------------------===//

static void describeMerge(KernelFrame &frame) {
  auto op = cast<vit::MergePatchesOp>(frame.op);
  frame.use(0);
  frame.useResults();
  frame.finish("merge_patches_d" + std::to_string(columnsOf(op.getInput())), "gather", "f32",
               unitsOfRows(frame.resultDim(0, 0), kRowsPerUnit));
}

static void buildMerge(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::MergePatchesOp>(frame.op);
  int64_t columns = columnsOf(op.getInput());
  forRowsOfUnits(frame, b, frame.dimValue(b, true, 0, 0), kRowsPerUnit, [&](Value row) {
    b.loop(b.index(0), b.index(op.getFactor()), 1, [&](Value part) {
      Value from = b.addIndex(b.mulIndex(row, op.getFactor()), part), to = b.mulIndex(part, columns);
      b.forColumns(columns, [&](Value column, unsigned valid) {
        b.store(b.load(frame.operand(0), {from, column}, valid), frame.result(0), {row, b.addIndex(to, column)}, valid);
      });
    });
  });
}

const Family x86::kMergePatches = {describeMerge, buildMerge};

//===----------------------------------------------------------------------===//
// vit.scatter_rows
//===----------------------------------------------------------------------===//

/// Columns of a unit: rows must be applied in order, columns do not meet.
static constexpr int64_t kScatterColumns = 64;

static void describeScatter(KernelFrame &frame) {
  auto op = cast<vit::ScatterRowsOp>(frame.op);
  for (unsigned i = 0; i < 3; ++i)
    frame.use(i);
  frame.useResults();
  frame.operandDim(numberOf(op.getInputMutable()), 0);
  frame.operandDim(numberOf(op.getSourceMutable()), 0);
  int64_t columns = columnsOf(op.getInput());
  frame.finish("scatter_rows_d" + std::to_string(columns), "gather", "f32",
               PlanExpr(int64_t(llvm::divideCeil(columns, kScatterColumns))));
}

static void buildScatter(KernelFrame &frame, LaneBuilder &b) {
  auto op = cast<vit::ScatterRowsOp>(frame.op);
  Value x = frame.operand(numberOf(op.getInputMutable())), source = frame.operand(numberOf(op.getSourceMutable()));
  Value index = frame.operand(numberOf(op.getIndexMutable())), result = frame.result(0);
  Value rows = frame.dimValue(b, false, numberOf(op.getInputMutable()), 0);
  Value count = frame.dimValue(b, false, numberOf(op.getSourceMutable()), 0);
  int64_t columns = columnsOf(op.getInput());
  auto emit = [&](Value first, int64_t width) {
    b.loop(b.index(0), rows, 1, [&](Value row) {
      b.forColumns(width, [&](Value column, unsigned valid) {
        Value at = b.addIndex(first, column);
        b.store(b.load(x, {row, at}, valid), result, {row, at}, valid);
      });
    });
    b.loop(b.index(0), count, 1, [&](Value k) {
      Value row = clampedIndex(b, index, k, rows);
      b.forColumns(width, [&](Value column, unsigned valid) {
        Value at = b.addIndex(first, column);
        Value value = b.load(source, {k, at}, valid);
        if (op.getMode() == vit::ScatterMode::Add)
          value = b.add(b.load(result, {row, at}, valid), value);
        b.store(value, result, {row, at}, valid);
      });
    });
  };
  b.loop(frame.begin, frame.end, 1, [&](Value unit) {
    Value first = b.mulIndex(unit, kScatterColumns);
    int64_t rest = columns % kScatterColumns;
    if (rest == 0)
      return emit(first, kScatterColumns);
    if (columns < kScatterColumns)
      return emit(first, rest);
    Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, unit, b.index(columns / kScatterColumns));
    b.ifThen(isLast, [&] { emit(first, rest); }, [&] { emit(first, kScatterColumns); });
  });
}

const Family x86::kScatterRows = {describeScatter, buildScatter};
