//===- Epilogue.cpp - clones an epilogue region onto lanes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A float value of the body is held as lanes of its own type or as f32 lanes that hold such a value (always so for
// E4M3): loads widen once, and a store of what was just rounded narrows nothing twice.
//===----------------------------------------------------------------------===//
#include "vitrify/Kernel/Epilogue.h"
#include "EpilogueOps.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace vitrify;

OperandMap vitrify::classifyMap(AffineMap map, int64_t &block) {
  block = 1;
  if (map.getNumResults() == 0)
    return OperandMap::Scalar;
  if (map.getNumResults() == 1)
    return map.getResult(0) == getAffineDimExpr(0, map.getContext()) ? OperandMap::Row : OperandMap::Column;
  if (auto binary = dyn_cast<AffineBinaryOpExpr>(map.getResult(1)))
    if (auto divisor = dyn_cast<AffineConstantExpr>(binary.getRHS())) {
      block = divisor.getValue();
      return block == 1 ? OperandMap::Element : OperandMap::Block;
    }
  return OperandMap::Element;
}

static bool isSmallGroup(int64_t group) { return group <= 8 && llvm::isPowerOf2_64(group); }

MathMode EpilogueEmitter::mathMode(Operation *op) {
  bool codes = true, bytes = true;
  for (Type type : op->getResultTypes()) {
    Type element = getElementTypeOrSelf(type);
    if (element.isF32())
      return isa<vit::LinearOp, vit::GroupedLinearOp, vit::PatchEmbedOp>(op) ? MathMode::Near : MathMode::Exact;
    bytes &= element.isInteger(8);
    codes &= isa<Float8E4M3FNType>(element) || element.isInteger(8);
  }
  return bytes ? MathMode::Int8 : codes ? MathMode::Code : MathMode::Fast;
}

std::string EpilogueEmitter::whyUnsupported(Operation *op, int64_t span, unsigned lanes) {
  auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op);
  if (!epilogue || epilogue.getEpilogue().empty())
    return "";
  int64_t group = epilogue.getGroup();
  if (group > span || span % group != 0)
    return "an epilogue of group " + std::to_string(group) + " where " + std::to_string(span) +
           " columns of a row are computed at once";
  bool large = group > 1 && !isSmallGroup(group);
  for (Operation &inner : epilogue.getEpilogue().front())
    if (std::string reason = whyNotOnLanes(&inner, large); !reason.empty())
      return reason;
  for (auto [value, attribute] : llvm::zip(epilogue.getEpilogueIns(), epilogue.getMaps())) {
    Type element = getElementTypeOrSelf(value.getType());
    if (!element.isF32() && !element.isBF16() && !element.isF16() && !isa<Float8E4M3FNType>(element) && !element.isInteger(8))
      return "an epilogue operand of another element type than f32, bf16, f16, f8E4M3FN or i8";
  }
  for (Value yielded : epilogue.getEpilogue().front().getTerminator()->getOperands())
    if (auto vector = dyn_cast<VectorType>(yielded.getType()))
      if (vector.getNumElements() != group && !(isSmallGroup(group) && llvm::isPowerOf2_64(vector.getNumElements())))
        return "an epilogue of group " + std::to_string(group) + " that yields " +
               std::to_string(vector.getNumElements()) + " elements";
  return "";
}

EpilogueEmitter::EpilogueEmitter(LaneBuilder &b, Operation *op, ArrayRef<Value> ins, ArrayRef<Value> outs)
    : b(b), ins(ins), outs(outs), mode(mathMode(op)) {
  auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op);
  if (!epilogue || epilogue.getEpilogue().empty())
    return;
  body = &epilogue.getEpilogue().front();
  group = epilogue.getGroup();
  for (Attribute attribute : epilogue.getMaps()) {
    int64_t block;
    OperandMap kind = classifyMap(cast<AffineMapAttr>(attribute).getValue(), block);
    maps.emplace_back(kind, block);
  }
}

void EpilogueEmitter::emitSpan(Value m, Value n, int64_t span, LoadAccumulator load) {
  if (group == 1) {
    b.forColumns(span, [&](Value column, unsigned valid) {
      emitElements(m, b.addIndex(n, column), valid, load(b.addIndex(n, column), valid));
    });
    return;
  }
  if (isSmallGroup(group)) {
    b.forColumns(span / group, [&](Value index, unsigned valid) {
      emitSmallGroups(m, b.addIndex(n, b.mulIndex(index, group)), valid, load);
    });
    return;
  }
  b.loop(b.index(0), b.index(span), group, [&](Value offset) { emitLargeGroup(m, b.addIndex(n, offset), load); });
}

/// The element of an operand (or the first of `valid`) at a position.
Value EpilogueEmitter::loadOperand(unsigned i, const Position &at) {
  auto [kind, block] = maps[i];
  auto memref = ins[i];
  switch (kind) {
  case OperandMap::Scalar: {
    SmallVector<Value> zeros(cast<MemRefType>(memref.getType()).getRank(), b.index(0));
    return b.broadcast(b.loadScalar(memref, zeros));
  }
  case OperandMap::Row: {
    // [rows] or [rows, 1].
    SmallVector<Value> indices = {at.row};
    indices.resize(cast<MemRefType>(memref.getType()).getRank(), b.index(0));
    return b.broadcast(b.loadScalar(memref, indices));
  }
  case OperandMap::Column:
    return b.load(memref, at.column, at.valid);
  case OperandMap::Element:
    return b.load(memref, {at.row, at.column}, at.valid);
  case OperandMap::Block: {
    // One load a lane: blocks need not be aligned to the lanes.
    Value lane = b.broadcast(arith::IndexCastOp::create(b, b.getI32Type(), at.column));
    Value column = arith::AddIOp::create(b, lane, b.iota());
    Value index = arith::DivUIOp::create(b, column, b.splatI32(block));
    Type element = cast<MemRefType>(memref.getType()).getElementType();
    SmallVector<Value> values;
    Value result = b.splat(0.0f);
    if (block % b.lanes == 0 && alignedToLanes(at.column, b.lanes))
      return b.broadcast(b.loadScalar(memref, {at.row, b.divIndex(at.column, block)}));
    if (element.isF32()) {
      Value zero = b.splat(0.0f);
      return vector::GatherOp::create(b, b.f32Lanes(), memref, ValueRange{at.row, b.index(0)}, index,
                                      b.tailMask(at.valid), zero);
    }
    for (unsigned l = 0; l < at.valid; ++l) {
      Value one = b.loadScalar(memref, {at.row, b.divIndex(b.addIndex(at.column, l), block)});
      result = vector::InsertOp::create(b, one, result, ArrayRef<int64_t>{l});
    }
    return result;
  }
  }
  llvm_unreachable("every map is handled above");
}

void EpilogueEmitter::storeResult(unsigned i, Value lanes, Type yielded, const Position &at) {
  b.store(lanes, outs[i], {at.row, at.column}, at.valid);
}

EpilogueEmitter::Components EpilogueEmitter::lookup(Value value, Environment &env, unsigned components) {
  auto it = env.find(value);
  if (it != env.end())
    return it->second;
  Components result = evaluate(value.getDefiningOp(), env, components);
  env[value] = result;
  return result;
}

Value EpilogueEmitter::evaluateLanes(Operation *inner, ValueRange operands) {
  return buildOnLanes(b, inner, operands, mode);
}

/// Group 1 and the elementwise part of large groups: every value is one vector of lanes.
void EpilogueEmitter::emitElements(Value m, Value n, unsigned valid, Value accumulator) {
  Position at{m, n, valid};
  if (!body) {
    storeResult(0, accumulator, b.getF32Type(), at);
    return;
  }
  Environment env;
  env[body->getArgument(0)] = {accumulator};
  for (unsigned i = 0; i < ins.size(); ++i)
    env[body->getArgument(i + 1)] = {loadOperand(i, at)};
  for (Operation &inner : body->without_terminator())
    if (!env.count(inner.getResult(0)))
      env[inner.getResult(0)] = evaluate(&inner, env, 1);
  for (auto [i, value] : llvm::enumerate(body->getTerminator()->getOperands()))
    storeResult(i, env[value][0], value.getType(), at);
}

EpilogueEmitter::Components EpilogueEmitter::evaluate(Operation *inner, Environment &env, unsigned components) {
  auto width = [&](Value value) -> unsigned {
    auto vector = dyn_cast<VectorType>(value.getType());
    return vector && components > 1 ? vector.getNumElements() : 1;
  };
  SmallVector<Components> operands;
  for (Value operand : inner->getOperands())
    operands.push_back(lookup(operand, env, components));

  if (auto extract = dyn_cast<vector::ExtractOp>(inner))
    return {operands[0][extract.getStaticPosition()[0]]};
  if (isa<vector::BroadcastOp>(inner))
    return Components(width(inner->getResult(0)), operands[0][0]);
  if (isa<vector::FromElementsOp>(inner)) {
    Components result;
    for (Components &operand : operands)
      result.push_back(operand[0]);
    return result;
  }
  if (auto insert = dyn_cast<vector::InsertOp>(inner)) {
    Components result = operands[1];
    result[insert.getStaticPosition()[0]] = operands[0][0];
    return result;
  }
  if (auto shuffle = dyn_cast<vector::ShuffleOp>(inner)) {
    Components both = operands[0], result;
    both.append(operands[1]);
    for (int64_t position : shuffle.getMask())
      result.push_back(both[position]);
    return result;
  }
  if (auto reduction = dyn_cast<vector::ReductionOp>(inner)) {
    Value sum = operands[0][0];
    for (Value part : ArrayRef<Value>(operands[0]).drop_front())
      sum = combineLanes(b, reduction.getKind(), sum, part);
    if (operands.size() > 1)
      sum = combineLanes(b, reduction.getKind(), sum, operands[1][0]);
    return {sum};
  }
  Components result;
  for (unsigned c = 0; c < width(inner->getResult(0)); ++c) {
    SmallVector<Value> parts;
    for (Components &operand : operands)
      parts.push_back(operand.size() == 1 ? operand[0] : operand[c]);
    if (auto constant = dyn_cast<arith::ConstantOp>(inner))
      result.push_back(buildConstantLanes(b, constant.getValue(), c));
    else
      result.push_back(evaluateLanes(inner, parts));
  }
  return result;
}

/// Lanes l of components c from memory with element l * count + c, and back. `count` is a power of two.
static SmallVector<Value> deinterleave(LaneBuilder &b, SmallVector<Value> chunks) {
  // Each step separates the even from the odd elements of the whole sequence.
  unsigned count = chunks.size();
  if (count == 1)
    return chunks;
  SmallVector<int64_t> even, odd;
  for (unsigned i = 0; i < b.lanes; ++i)
    even.push_back(2 * i), odd.push_back(2 * i + 1);
  SmallVector<Value> evens, odds;
  for (unsigned i = 0; i < count; i += 2) {
    evens.push_back(vector::ShuffleOp::create(b, chunks[i], chunks[i + 1], even));
    odds.push_back(vector::ShuffleOp::create(b, chunks[i], chunks[i + 1], odd));
  }
  evens = deinterleave(b, evens), odds = deinterleave(b, odds);
  SmallVector<Value> result;
  for (unsigned i = 0; i < count / 2; ++i)
    result.push_back(evens[i]), result.push_back(odds[i]);
  return result;
}

static SmallVector<Value> interleave(LaneBuilder &b, ArrayRef<Value> components) {
  unsigned count = components.size();
  if (count == 1)
    return {components[0]};
  SmallVector<Value> evens, odds;
  for (unsigned i = 0; i < count; i += 2)
    evens.push_back(components[i]), odds.push_back(components[i + 1]);
  evens = interleave(b, evens), odds = interleave(b, odds);
  SmallVector<int64_t> low, high;
  for (unsigned i = 0; i < b.lanes; ++i) {
    low.push_back(i / 2 + (i % 2) * b.lanes);
    high.push_back(b.lanes / 2 + i / 2 + (i % 2) * b.lanes);
  }
  SmallVector<Value> result;
  for (unsigned i = 0; i < count / 2; ++i) {
    result.push_back(vector::ShuffleOp::create(b, evens[i], odds[i], low));
    result.push_back(vector::ShuffleOp::create(b, evens[i], odds[i], high));
  }
  return result;
}

void EpilogueEmitter::emitSmallGroups(Value m, Value n, unsigned validGroups, LoadAccumulator load) {
  auto loadGroups = [&](auto loadChunk) {
    SmallVector<Value> chunks;
    for (int64_t c = 0; c < group; ++c) {
      int64_t left = std::clamp<int64_t>(validGroups * group - c * b.lanes, 0, b.lanes);
      chunks.push_back(left ? loadChunk(b.addIndex(n, c * b.lanes), unsigned(left)) : b.splat(0.0f));
    }
    SmallVector<Value> parts = deinterleave(b, chunks);
    return Components(parts.begin(), parts.end());
  };
  Environment env;
  env[body->getArgument(0)] = loadGroups([&](Value column, unsigned valid) { return load(column, valid); });
  for (unsigned i = 0; i < ins.size(); ++i) {
    Value argument = body->getArgument(i + 1);
    if (isa<VectorType>(argument.getType())) {
      env[argument] = loadGroups([&](Value column, unsigned valid) { return loadOperand(i, {m, column, valid}); });
      continue;
    }
    // A scalar of a group: the same for the row, or one of each g columns, g a multiple of the group.
    auto &[kind, block] = maps[i];
    if (kind != OperandMap::Block) {
      env[argument] = {loadOperand(i, {m, n, validGroups})};
      continue;
    }
    int64_t whole = block;
    block = whole / group;
    Position at{m, b.divIndex(n, group), validGroups};
    if (block == 1)
      kind = OperandMap::Element;
    env[argument] = {loadOperand(i, at)};
    kind = OperandMap::Block, block = whole;
  }
  for (Operation &inner : body->without_terminator())
    if (!env.count(inner.getResult(0)))
      env[inner.getResult(0)] = evaluate(&inner, env, group);
  for (auto [i, value] : llvm::enumerate(body->getTerminator()->getOperands())) {
    Components &parts = env[value];
    int64_t count = parts.size();
    SmallVector<Value> wide;
    for (Value part : parts)
      wide.push_back(count == 1 ? part : b.toF32(part));
    SmallVector<Value> chunks = interleave(b, wide);
    Value first = b.mulIndex(b.divIndex(n, group), count);
    for (int64_t c = 0; c < count; ++c)
      if (int64_t left = std::clamp<int64_t>(validGroups * count - c * b.lanes, 0, b.lanes))
        storeResult(i, chunks[c], value.getType(), {m, b.addIndex(first, c * b.lanes), unsigned(left)});
  }
}

void EpilogueEmitter::emitLargeGroup(Value m, Value n, LoadAccumulator load) {
  // What is one value for the group is computed once and kept as a splat; what has an element for each column is
  // evaluated where a reduction or the end needs it.
  Environment scalars;
  for (unsigned i = 0; i < ins.size(); ++i)
    if (!isa<VectorType>(body->getArgument(i + 1).getType()))
      scalars[body->getArgument(i + 1)] = {b.broadcast(Value(vector::ExtractOp::create(
          b, loadOperand(i, {m, n, 1}), ArrayRef<int64_t>{0})))};
  auto columnsAt = [&](Value offset, unsigned valid) {
    Environment env = scalars;
    Value column = b.addIndex(n, offset);
    env[body->getArgument(0)] = {load(column, valid)};
    for (unsigned i = 0; i < ins.size(); ++i)
      if (isa<VectorType>(body->getArgument(i + 1).getType()))
        env[body->getArgument(i + 1)] = {loadOperand(i, {m, column, valid})};
    return env;
  };
  for (Operation &inner : body->without_terminator()) {
    if (auto reduction = dyn_cast<vector::ReductionOp>(inner)) {
      Value neutral = neutralLanes(b, reduction.getKind());
      SmallVector<Value> total =
          b.forColumns(group, neutral, [&](Value offset, unsigned valid, ValueRange carried) -> SmallVector<Value> {
            Environment env = columnsAt(offset, valid);
            Value part = b.toF32(lookup(reduction.getVector(), env, 1)[0]);
            if (valid < b.lanes)
              part = b.select(b.tailMask(valid), part, neutral);
            return {combineLanes(b, reduction.getKind(), carried[0], part)};
          });
      Value result = reduceLanes(b, reduction.getKind(), total[0]);
      if (Value start = reduction.getAcc())
        result = combineLanes(b, reduction.getKind(), result, lookup(start, scalars, 1)[0]);
      scalars[reduction.getResult()] = {result};
      continue;
    }
    bool uniform = !isa<VectorType>(inner.getResult(0).getType());
    if (uniform && !scalars.count(inner.getResult(0)))
      scalars[inner.getResult(0)] = evaluate(&inner, scalars, 1);
  }
  Operation *yield = body->getTerminator();
  b.forColumns(group, [&](Value offset, unsigned valid) {
    Environment env = columnsAt(offset, valid);
    for (auto [i, value] : llvm::enumerate(yield->getOperands()))
      if (isa<VectorType>(value.getType()))
        storeResult(i, lookup(value, env, 1)[0], value.getType(), {m, b.addIndex(n, offset), valid});
  });
  for (auto [i, value] : llvm::enumerate(yield->getOperands()))
    if (!isa<VectorType>(value.getType()))
      storeResult(i, scalars[value][0], value.getType(), {m, b.divIndex(n, group), 1});
}
