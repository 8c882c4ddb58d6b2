//===- Elementwise.cpp - ops that stayed apart, one run of columns a thread -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Activations, gates, residuals, conversions and row copies that no epilogue took in. They are bound by memory: a
// thread computes eight consecutive columns of a row.
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kRun = 8, kThreads = 128;

RankedTensorType resultType(Operation *op) { return cast<RankedTensorType>(op->getResult(0).getType()); }

/// Grid and names that all kernels of this file have in common: scalar 0 is the rows of the result.
KernelSpec runSpec(Operation *op, const TargetRow &row, const Arguments &args, const std::string &name) {
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.name = kernelName(name, spec.key);
  spec.precision = "f32";
  spec.scalars = {{true, 0, 0}};
  spec.operands = args.operands;
  int64_t runs = (resultType(op).getDimSize(1) + kRun - 1) / kRun;
  PlanExpr all = PlanExpr::binary(PlanExpr::Kind::Mul, PlanExpr::symbol(0), PlanExpr(runs));
  spec.grid[0] = PlanExpr::binary(PlanExpr::Kind::CeilDiv, all, PlanExpr(kThreads));
  spec.block = kThreads;
  spec.dispatch = PlanExpr::symbol(0);
  return spec;
}

/// Calls `body(row, first column)` for the thread's run, where it exists.
void forRun(GpuBuilder &g, Operation *op, Value rows64, llvm::function_ref<void(Value, Value)> body) {
  int64_t runs = (resultType(op).getDimSize(1) + kRun - 1) / kRun;
  Value index = g.add(g.mul(g.blockX(), kThreads), g.threadX());
  Value row = g.div(index, runs), run = g.rem(index, runs);
  auto ifOp = g.create<scf::IfOp>(g.slt(row, g.trunc32(rows64)), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  body(row, g.mul(run, kRun));
}

AffineMap mapOf(MLIRContext *context, bool row, bool column) {
  SmallVector<AffineExpr> results;
  if (row)
    results.push_back(getAffineDimExpr(0, context));
  if (column)
    results.push_back(getAffineDimExpr(1, context));
  return AffineMap::get(2, 0, results, context);
}

EpilogueOperand operandOf(Operation *op, unsigned number, const Arguments &args, ValueRange pointers, bool row, bool column) {
  auto type = cast<RankedTensorType>(op->getOperand(number).getType());
  return {pointers[args.ofOperand[number]], type.getElementType(), mapOf(op->getContext(), row, column), args.rowStride[number]};
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

bool supportsElementwise(Operation *op, const TargetRow &, std::string &reason) {
  if (resultType(op).getRank() != 2) {
    reason = "elementwise ops on rank " + std::to_string(resultType(op).getRank());
    return false;
  }
  if (auto quantize = dyn_cast<vit::QuantizeOp>(op); quantize && !quantize.getScale()) {
    reason = "a scale of a whole tensor that is found at run time";
    return false;
  }
  for (Type type : llvm::concat<const Type>(SmallVector<Type>(op->getOperandTypes()), SmallVector<Type>(op->getResultTypes())))
    if (getElementTypeOrSelf(type).isInteger(8)) {
      reason = "codes of i8";
      return false;
    }
  return succeeded(argumentsOf(op, reason));
}

std::vector<KernelSpec> elementwiseSpecs(Operation *op, const TargetRow &row) {
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  KernelSpec spec = runSpec(op, row, args, op->getName().stripDialect().str());
  spec.layerKind = "row";
  return {spec};
}

/// Scales of codes, addressed by what their shape says.
EpilogueOperand scaleOf(vit::DequantizeOp op, const Arguments &args, ValueRange pointers) {
  auto shape = cast<RankedTensorType>(op.getScales().getType()).getShape();
  int64_t columns = resultType(op).getDimSize(1);
  EpilogueOperand scale = operandOf(op, 1, args, pointers, shape.size() == 2, shape.back() != 1);
  if (shape.size() == 2 && shape[1] > 1 && shape[1] < columns) {
    MLIRContext *c = op.getContext();
    scale.map = AffineMap::get(2, 0, {getAffineDimExpr(0, c), getAffineDimExpr(1, c).floorDiv(columns / shape[1])}, c);
  }
  return scale;
}

/// The static scales of a quantisation are its second result; those who have the first row write them.
void storeScales(GpuBuilder &g, const EpilogueOperand &out, bool channel, Value row, Value column, ArrayRef<Value> scale) {
  Value mine = g.eq(row, g.c32(0));
  if (!channel)
    mine = g.andi(mine, g.eq(column, g.c32(0)));
  auto ifOp = g.create<scf::IfOp>(mine, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, {out}, out.rowStride, channel ? kRun : 1);
  emitter.beginColumns(column);
  emitter.storeResult(0, g.c32(0), channel ? scale : scale.take_front(1));
}

void buildElementwise(GpuBuilder &g, Operation *op, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  ValueRange pointers = arguments.drop_front(1);
  Region none;
  SmallVector<EpilogueOperand> results = {epilogueResults(op, args, pointers)[0]};
  EpilogueEmitter emitter(g, none, 1, {}, results, resultType(op).getDimSize(1), kRun);
  forRun(g, op, arguments[0], [&](Value row, Value column) {
    auto load = [&](unsigned number, bool perRow) {
      return emitter.loadRun(operandOf(op, number, args, pointers, perRow, true), row, column);
    };
    SmallVector<Value> x = load(0, true);
    if (auto act = dyn_cast<vit::ActOp>(op)) {
      for (Value &v : x)
        v = emitActivation(g, act.getKind(), v);
    } else if (auto glu = dyn_cast<vit::GluOp>(op)) {
      SmallVector<Value> up = load(1, true);
      for (auto [v, u] : llvm::zip_equal(x, up))
        v = g.fmul(emitActivation(g, glu.getKind(), v), u);
    } else if (auto residual = dyn_cast<vit::ResidualOp>(op)) {
      SmallVector<Value> branch = load(1, true), scale;
      if (residual.getScale())
        scale = load(2, false);
      for (unsigned i = 0; i < kRun; ++i)
        x[i] = scale.empty() ? g.fadd(x[i], branch[i]) : g.fma(scale[i], branch[i], x[i]);
    } else if (auto quantize = dyn_cast<vit::QuantizeOp>(op)) {
      bool channel = quantize.getGranularity() == vit::Granularity::Channel;
      SmallVector<Value> scale =
          emitter.loadRun(operandOf(op, 1, args, pointers, false, channel), Value(), column);
      storeScales(g, epilogueResults(op, args, pointers)[1], channel, row, column, scale);
      for (auto [v, s] : llvm::zip_equal(x, scale))
        v = g.fmul(v, g.create<arith::DivFOp>(g.fconst(1.0f), s));
    } else if (auto dequantize = dyn_cast<vit::DequantizeOp>(op)) {
      SmallVector<Value> scale = emitter.loadRun(scaleOf(dequantize, args, pointers), row, column);
      for (auto [v, s] : llvm::zip_equal(x, scale))
        v = g.fmul(v, s);
    }
    // vit.convert: loading widens and storing narrows.
    emitter.beginColumns(column);
    emitter.emitRow(row, x);
  });
}

//===----------------------------------------------------------------------===//
// Rows moved by index
//===----------------------------------------------------------------------===//

bool supportsGather(Operation *op, const TargetRow &, std::string &reason) {
  if (auto pool = dyn_cast<vit::PoolOp>(op); pool && !pool.getUniform()) {
    reason = "pooling over cu_seqlens";
    return false;
  }
  if (auto assemble = dyn_cast<vit::AssembleTokensOp>(op); assemble && !assemble.getUniform()) {
    reason = "tokens assembled over cu_seqlens";
    return false;
  }
  return succeeded(argumentsOf(op, reason));
}

std::vector<KernelSpec> gatherSpecs(Operation *op, const TargetRow &row) {
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  KernelSpec spec = runSpec(op, row, args, op->getName().stripDialect().str());
  spec.layerKind = "gather";
  return {spec};
}

void buildAssemble(GpuBuilder &g, vit::AssembleTokensOp op, EpilogueEmitter &emitter, const Arguments &args,
                   ValueRange pointers, Value row, Value column) {
  auto rowsOf = [](Value v) -> int64_t { return v ? cast<RankedTensorType>(v.getType()).getDimSize(0) : 0; };
  int64_t patches = *op.getUniform(), prefix = rowsOf(op.getPrefix()), registers = rowsOf(op.getRegisters());
  int64_t tokens = prefix + registers + patches;
  Value image = g.div(row, tokens), token = g.rem(row, tokens);
  auto number = [](MutableOperandRange range) { return range.begin()->getOperandNumber(); };
  auto load = [&](unsigned operand, Value at) {
    return emitter.loadRun(operandOf(op, operand, args, pointers, true, true), at, column);
  };
  Value patch = g.sub(token, g.c32(prefix + registers));
  Value isPatch = g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, patch, g.c32(0));
  Value patchRow = g.add(g.mul(image, patches), g.smax(patch, g.c32(0)));
  SmallVector<Value> x = load(0, patchRow);
  if (prefix) {
    Value isPrefix = g.slt(token, g.c32(prefix));
    SmallVector<Value> p = load(number(op.getPrefixMutable()), g.smin(token, g.c32(prefix - 1)));
    for (unsigned i = 0; i < kRun; ++i)
      x[i] = g.select(isPrefix, p[i], x[i]);
  }
  if (registers) {
    Value at = g.sub(token, g.c32(prefix));
    Value isRegister = g.andi(g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, at, g.c32(0)).getResult(),
                              g.slt(at, g.c32(registers)));
    SmallVector<Value> r = load(number(op.getRegistersMutable()), g.smax(g.smin(at, g.c32(registers - 1)), g.c32(0)));
    for (unsigned i = 0; i < kRun; ++i)
      x[i] = g.select(isRegister, r[i], x[i]);
  }
  if (op.getPosition()) {
    bool prefixed = rowsOf(op.getPosition()) != patches || prefix == 0;
    // Row of the position table: prefix rows come first when they have a position.
    Value at = g.select(isPatch, g.add(g.smax(patch, g.c32(0)), prefixed ? prefix : 0), g.smin(token, g.c32(std::max<int64_t>(prefix - 1, 0))));
    Value has = prefixed ? g.create<arith::OrIOp>(isPatch, g.slt(token, g.c32(prefix))).getResult() : isPatch;
    SmallVector<Value> p = load(number(op.getPositionMutable()), at);
    for (unsigned i = 0; i < kRun; ++i)
      x[i] = g.fadd(x[i], g.select(has, p[i], g.fconst(0.0f)));
  }
  emitter.emitRow(row, x);
}

void buildGather(GpuBuilder &g, Operation *op, const KernelSpec &, const TargetRow &, ValueRange arguments) {
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  ValueRange pointers = arguments.drop_front(1);
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, epilogueResults(op, args, pointers), resultType(op).getDimSize(1), kRun);
  forRun(g, op, arguments[0], [&](Value row, Value column) {
    emitter.beginColumns(column);
    auto load = [&](unsigned number, Value at) {
      return emitter.loadRun(operandOf(op, number, args, pointers, true, true), at, column);
    };
    auto index = [&](unsigned number, Value element) {
      return g.load(g.i32(), g.gep(pointers[args.ofOperand[number]], g.mul(g.zext64(element), 4)), 4);
    };
    if (auto assemble = dyn_cast<vit::AssembleTokensOp>(op)) {
      buildAssemble(g, assemble, emitter, args, pointers, row, column);
    } else if (auto pool = dyn_cast<vit::PoolOp>(op)) {
      int64_t tokens = *pool.getUniform(), first = pool.getFirst();
      Value start = g.add(g.mul(row, tokens), first);
      if (pool.getKind() == vit::PoolKind::Token) {
        emitter.emitRow(row, load(0, start));
        return;
      }
      auto loop = g.create<scf::ForOp>(g.c32(0), g.c32(tokens - first), g.c32(1), SmallVector<Value>(kRun, g.fconst(0.0f)));
      {
        OpBuilder::InsertionGuard guard(g.b);
        g.b.setInsertionPointToStart(loop.getBody());
        SmallVector<Value> x = load(0, g.add(start, loop.getInductionVar()));
        for (auto [v, sum] : llvm::zip_equal(x, loop.getRegionIterArgs()))
          v = g.fadd(sum, v);
        g.create<scf::YieldOp>(x);
      }
      SmallVector<Value> mean;
      for (Value sum : loop.getResults())
        mean.push_back(g.fmul(sum, g.fconst(1.0f / static_cast<float>(tokens - first))));
      emitter.emitRow(row, mean);
    } else if (isa<vit::EmbedOp>(op)) {
      emitter.emitRow(row, load(0, index(1, row)));
    } else {
      auto gather = cast<vit::PosGatherOp>(op);
      int64_t taps = gather.getIndex().getType().getDimSize(1);
      SmallVector<Value> sum(kRun, g.fconst(0.0f));
      for (int64_t tap = 0; tap < taps; ++tap) {
        Value at = g.add(g.mul(row, taps), tap);
        Value weight = g.load(g.f32(), g.gep(pointers[args.ofOperand[2]], g.mul(g.zext64(at), 4)), 4);
        SmallVector<Value> x = load(0, index(1, at));
        for (unsigned i = 0; i < kRun; ++i)
          sum[i] = g.fma(weight, x[i], sum[i]);
      }
      emitter.emitRow(row, sum);
    }
  });
}

} // namespace

const Family nvptx::kElementwiseFamily = {
    [](Operation *op) {
      return isa<vit::ActOp, vit::GluOp, vit::ResidualOp, vit::ConvertOp, vit::QuantizeOp, vit::DequantizeOp>(op);
    },
    supportsElementwise, elementwiseSpecs, buildElementwise};

const Family nvptx::kGatherFamily = {
    [](Operation *op) { return isa<vit::AssembleTokensOp, vit::PoolOp, vit::EmbedOp, vit::PosGatherOp>(op); },
    supportsGather, gatherSpecs, buildGather};
