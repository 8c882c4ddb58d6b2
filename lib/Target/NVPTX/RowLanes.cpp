//===- RowLanes.cpp - the columns of a row, spread over threads -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "RowLanes.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/bit.h"

#include <cmath>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

int RowShape::threads() const {
  if (runs() <= 32)
    return llvm::bit_ceil(static_cast<uint64_t>(runs()));
  if (runs() <= 32 * kRunsOfThread)
    return 32;
  int threads = kBlock;
  while (threads < 1024 && runs() > int64_t(threads) * kRunsOfThread)
    threads *= 2;
  return threads;
}

RowLanes::RowLanes(GpuBuilder &g, RowShape shape) : g(g), shape(shape), tid(g.threadX()) {
  int threads = shape.threads();
  bool whole = threads > 32;
  Value inRow = whole ? tid : g.andi(tid, threads - 1);
  rowInBlock = whole ? g.c32(0) : g.div(tid, threads);
  leader = g.eq(inRow, g.c32(0));
  for (int run = 0; run < shape.perThread(); ++run)
    firsts.push_back(g.mul(g.add(inRow, int64_t(run) * threads), RowShape::kRun));
}

Value RowLanes::inside(int64_t run, int i) {
  // All columns of a run are there when the last of the last thread's is.
  if ((run + 1) * shape.threads() * RowShape::kRun <= shape.width)
    return Value();
  return g.slt(g.add(firsts[run], i), g.c32(shape.width));
}

Value RowLanes::combine(Fold kind, Value x, Value y) {
  return kind == Fold::Sum ? g.fadd(x, y) : kind == Fold::Maximum ? g.fmax(x, y) : g.fmin(x, y);
}

Value RowLanes::fold(Fold kind, ArrayRef<Value> values) {
  Value neutral = g.fconst(kind == Fold::Sum ? 0.0f : kind == Fold::Maximum ? -INFINITY : INFINITY), all = neutral;
  for (auto [i, v] : llvm::enumerate(values)) {
    Value in = inside(i / RowShape::kRun, i % RowShape::kRun);
    all = combine(kind, all, in ? g.select(in, v, neutral) : v);
  }
  int threads = shape.threads();
  for (int mask = std::min(threads, 32) / 2; mask > 0; mask /= 2)
    all = combine(kind, all, g.shuffleXor(all, mask));
  unsigned slot = folds++;
  if (threads <= 32)
    return all;
  Value base = g.gep(g.dynamicShared(), slot * 32 * 4);
  Value lane = g.andi(tid, 31), warp = g.shr(tid, 5);
  auto first = g.create<scf::IfOp>(g.eq(lane, g.c32(0)), /*withElseRegion=*/false);
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(first.thenBlock());
    g.store(all, g.gep(base, g.mul(warp, 4)), 4);
  }
  g.barrier();
  Value result = neutral;
  for (int w = 0; w < threads / 32; ++w)
    result = combine(kind, result, g.load(g.f32(), g.gep(base, w * 4), 4));
  return result;
}

//===----------------------------------------------------------------------===//
// Epilogues over whole rows
//===----------------------------------------------------------------------===//

static std::optional<Fold> foldOf(vector::CombiningKind kind) {
  switch (kind) {
  case vector::CombiningKind::ADD: return Fold::Sum;
  case vector::CombiningKind::MAXIMUMF:
  case vector::CombiningKind::MAXNUMF: return Fold::Maximum;
  case vector::CombiningKind::MINIMUMF:
  case vector::CombiningKind::MINNUMF: return Fold::Minimum;
  default: return std::nullopt;
  }
}

unsigned RowBody::reductions(vit::EpilogueOpInterface op) {
  unsigned count = 0;
  if (!op.getEpilogue().empty())
    for (Operation &inner : op.getEpilogue().front())
      count += isa<vector::ReductionOp>(inner);
  return count;
}

std::string RowBody::whyUnsupported(vit::EpilogueOpInterface op) {
  auto isYielded = [](Value v) { return llvm::all_of(v.getUsers(), llvm::IsaPred<vit::YieldOp>); };
  for (Operation &inner : op.getEpilogue().front()) {
    std::string name = "'" + inner.getName().getStringRef().str() + "' in an epilogue over whole rows";
    if (auto reduction = dyn_cast<vector::ReductionOp>(inner)) {
      if (!foldOf(reduction.getKind()))
        return "a reduction other than add, max and min in an epilogue over whole rows";
      continue;
    }
    if (auto constant = dyn_cast<arith::ConstantOp>(inner)) {
      auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
      if (elements && !elements.isSplat())
        return "a constant of different elements in an epilogue over whole rows";
      continue;
    }
    if (isa<vit::YieldOp, vit::ActOp, vector::BroadcastOp>(inner))
      continue;
    // Narrowing is part of the store.
    if (isa<vit::ConvertOp, arith::TruncFOp>(inner)) {
      if (!isYielded(inner.getResult(0)))
        return name + " that is not yielded";
      continue;
    }
    if (isa<arith::ExtFOp>(inner)) {
      if (!isa<BlockArgument>(inner.getOperand(0)))
        return name;
      continue;
    }
    bool elementwise = OpTrait::hasElementwiseMappableTraits(&inner);
    if (!elementwise || inner.getNumResults() != 1)
      return name;
  }
  return "";
}

RowBody::RowBody(GpuBuilder &g, RowLanes &lanes, vit::EpilogueOpInterface op, SmallVector<EpilogueOperand> ins,
                 SmallVector<EpilogueOperand> results, int64_t columns)
    : g(g), lanes(lanes), op(op), ins(std::move(ins)), results(std::move(results)), columns(columns) {}

RowBody::Values RowBody::evaluate(Operation *inner, DenseMap<Value, Values> &known) {
  if (auto constant = dyn_cast<arith::ConstantOp>(inner)) {
    auto vector = dyn_cast<DenseElementsAttr>(constant.getValue());
    auto value = vector ? vector.getSplatValue<TypedAttr>() : cast<TypedAttr>(constant.getValue());
    return {g.create<arith::ConstantOp>(value).getResult()};
  }
  if (auto reduction = dyn_cast<vector::ReductionOp>(inner)) {
    Fold kind = *foldOf(reduction.getKind());
    Values in = known.lookup(reduction.getVector());
    if (in.size() == 1) // the same everywhere
      in.assign(lanes.firsts.size() * RowShape::kRun, in[0]);
    Value result = lanes.fold(kind, in);
    if (reduction.getAcc()) {
      Value acc = known.lookup(reduction.getAcc())[0];
      result = kind == Fold::Sum ? g.fadd(result, acc) : kind == Fold::Maximum ? g.fmax(result, acc) : g.fmin(result, acc);
    }
    return {result};
  }
  if (isa<vector::BroadcastOp, vit::ConvertOp, arith::TruncFOp, arith::ExtFOp>(inner))
    return known.lookup(inner->getOperand(0));
  size_t count = 1;
  for (Value operand : inner->getOperands())
    count = std::max<size_t>(count, known.lookup(operand).size());
  Values out;
  for (size_t i = 0; i < count; ++i) {
    auto at = [&](Value operand) {
      const Values &values = known[operand];
      return values.size() == 1 ? values[0] : values[i];
    };
    if (auto act = dyn_cast<vit::ActOp>(inner)) {
      out.push_back(emitActivation(g, act.getKind(), at(act.getInput())));
      continue;
    }
    OperationState state(g.loc, inner->getName());
    for (Value operand : inner->getOperands())
      state.addOperands(at(operand));
    state.addTypes(getElementTypeOrSelf(inner->getResult(0).getType()));
    state.addAttributes(inner->getAttrs());
    out.push_back(g.b.create(state)->getResult(0));
  }
  return out;
}

void RowBody::emit(Value m, Value exists, ArrayRef<Value> values) {
  Region none;
  EpilogueEmitter emitter(g, none, 1, {}, results, columns, RowShape::kRun);
  Block &body = op.getEpilogue().front();
  DenseMap<Value, Values> known;
  known[body.getArgument(0)] = Values(values);
  for (auto [i, in] : llvm::enumerate(ins)) {
    BlockArgument argument = body.getArgument(i + 1);
    Values loaded;
    for (Value first : lanes.firsts) {
      SmallVector<Value> run = emitter.loadRun(in, m, first);
      if (!isa<VectorType>(argument.getType())) {
        loaded = {run[0]};
        break;
      }
      loaded.append(run);
    }
    known[argument] = loaded;
  }
  for (Operation &inner : body.without_terminator())
    known[inner.getResult(0)] = evaluate(&inner, known);
  auto ifOp = g.create<scf::IfOp>(exists, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  for (auto [i, yielded] : llvm::enumerate(body.getTerminator()->getOperands())) {
    Values out = known[yielded];
    if (!isa<VectorType>(yielded.getType())) {
      auto one = g.create<scf::IfOp>(lanes.leader, /*withElseRegion=*/false);
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(one.thenBlock());
      EpilogueEmitter single(g, none, 1, {}, results, 1, 1);
      single.beginColumns(g.c32(0));
      single.storeResult(i, m, {out[0]});
      continue;
    }
    for (auto [run, first] : llvm::enumerate(lanes.firsts)) {
      emitter.beginColumns(first);
      emitter.storeResult(i, m, out.size() == 1 ? SmallVector<Value>(RowShape::kRun, out[0])
                                                : SmallVector<Value>(ArrayRef<Value>(out).slice(run * RowShape::kRun, RowShape::kRun)));
    }
  }
}
