//===- Epilogue.cpp - epilogue regions on the registers of a GPU thread -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Epilogue.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

/// What an operand's map says: which of m and n select the element.
struct MapShape {
  bool usesRow = false, usesColumn = false;
  int64_t columnDivisor = 1;
};

MapShape classify(AffineMap map) {
  MapShape shape;
  for (AffineExpr e : map.getResults()) {
    if (auto d = dyn_cast<AffineDimExpr>(e)) {
      (d.getPosition() == 0 ? shape.usesRow : shape.usesColumn) = true;
    } else if (auto bin = dyn_cast<AffineBinaryOpExpr>(e)) {
      shape.usesColumn = true;
      shape.columnDivisor = cast<AffineConstantExpr>(bin.getRHS()).getValue();
    }
  }
  return shape;
}

unsigned bytesOf(Type element) { return std::max(1u, element.getIntOrFloatBitWidth() / 8); }

/// Bits in memory of an element type: FP8 is a byte.
Type storageType(GpuBuilder &g, Type element) { return isa<Float8E4M3FNType>(element) ? g.i8() : element; }

/// A stored element as f32.
Value widen(GpuBuilder &g, Value v, Type element) {
  if (element.isF32())
    return v;
  if (isa<Float8E4M3FNType>(element))
    return g.fromE4M3x2(g.create<arith::ExtUIOp>(g.i16(), v))[0];
  return g.create<arith::ExtFOp>(g.f32(), v);
}

/// Stored elements as f32; of FP8 two at a time.
void widenAll(GpuBuilder &g, Value vector, Type element, unsigned lanes, SmallVectorImpl<Value> &out) {
  if (!isa<Float8E4M3FNType>(element) || lanes % 2) {
    for (unsigned i = 0; i < lanes; ++i)
      out.push_back(widen(g, g.create<LLVM::ExtractElementOp>(vector, g.c32(i)), element));
    return;
  }
  Value pairs = g.create<LLVM::BitcastOp>(VectorType::get(lanes / 2, g.i16()), vector);
  for (unsigned i = 0; i < lanes / 2; ++i)
    llvm::append_range(out, g.fromE4M3x2(g.create<LLVM::ExtractElementOp>(pairs, g.c32(i))));
}

Value sigmoid(GpuBuilder &g, Value x) {
  // sigmoid(x) = 1 / (1 + 2^(-x log2 e))
  Value e = g.exp2(g.fmul(x, g.fconst(-1.44269504f)));
  return g.rcp(g.fadd(e, g.fconst(1.0f)));
}

/// GELU (erf) as max(x, 0) - |x| Phi(-|x|), the second term a polynomial in |x| that is 0 at 0, for |x| up to where it is
/// nearly 0 again and constant from there. Fitted for the smallest maximum of the error, the constant tail included.
/// Degree 10: 1.5e-5 for any x, 12 instructions. `toE4M3`, degree 7: 1.5e-4, which is a quarter of an FP8 scale from an amax
/// of 0.27 on, 9 instructions. No special functions.
Value geluErf(GpuBuilder &g, Value x, bool toE4M3) {
  static constexpr float kLong[] = {1.2893517e-05f,  -3.0500017e-04f, 2.9695579e-03f,  -1.4884133e-02f, 3.7506588e-02f,
                                    -2.8164501e-02f, -5.2198827e-02f, -1.6795291e-03f, 3.9784539e-01f,  -4.9974459e-01f};
  static constexpr float kShort[] = {6.8654167e-04f, -1.0490312e-02f, 6.0466226e-02f, -1.4727297e-01f,
                                     5.2180722e-02f, 3.8519695e-01f,  -4.9932984e-01f};
  ArrayRef<float> coefficients = toE4M3 ? ArrayRef<float>(kShort) : ArrayRef<float>(kLong);
  Value a = g.fmin(g.intrinsic("llvm.fabs.f32", g.f32(), {x}), g.fconst(toE4M3 ? 3.9f : 4.5f));
  Value p = g.fconst(coefficients[0]);
  for (float c : coefficients.drop_front())
    p = g.fma(p, a, g.fconst(c));
  return g.fma(p, a, g.create<arith::MaximumFOp>(x, g.fconst(0.0f))); // NaN stays NaN
}

} // namespace

Value nvptx::emitActivation(GpuBuilder &g, vit::ActKind kind, Value x) {
  switch (kind) {
  case vit::ActKind::Relu: return g.fmax(x, g.fconst(0.0f));
  case vit::ActKind::Tanh: return g.tanh(x);
  case vit::ActKind::Sigmoid: return sigmoid(g, x);
  case vit::ActKind::Silu: return g.fmul(x, sigmoid(g, x));
  case vit::ActKind::QuickGelu: return g.fmul(x, sigmoid(g, g.fmul(x, g.fconst(1.702f))));
  case vit::ActKind::GeluTanh: {
    Value s = g.fmul(x, x);
    Value inner = g.fmul(x, g.fma(s, g.fconst(0.0356774081f), g.fconst(0.7978845608f)));
    Value half = g.fmul(x, g.fconst(0.5f));
    return g.fma(half, g.tanh(inner), half);
  }
  case vit::ActKind::GeluErf: return geluErf(g, x, false);
  }
  llvm_unreachable("every activation is handled");
}

/// Whether nothing but E4M3 codes come of a value, through products with scales.
static bool becomesE4M3(Value value) {
  return !value.use_empty() && llvm::all_of(value.getUsers(), [](Operation *user) {
    if (auto convert = dyn_cast<vit::ConvertOp>(user))
      return isa<Float8E4M3FNType>(getElementTypeOrSelf(convert.getType()));
    return isa<arith::MulFOp>(user) && becomesE4M3(user->getResult(0));
  });
}

EpilogueCost nvptx::epilogueCost(vit::EpilogueOpInterface op, TypeRange results) {
  EpilogueCost cost;
  for (auto [i, map] : llvm::enumerate(op.getMaps().getAsValueRange<AffineMapAttr>())) {
    MapShape shape = classify(map);
    Type element = getElementTypeOrSelf(op.getEpilogueIns()[i].getType());
    if (!shape.usesRow || !shape.usesColumn)
      continue;
    double bytes = double(bytesOf(element)) / shape.columnDivisor;
    cost.bytes += bytes;
    cost.instructions += bytes / 16 + (element.isF32() ? 0 : 1);
  }
  for (Type result : results) {
    double bytes = bytesOf(getElementTypeOrSelf(result));
    cost.bytes += bytes;
    cost.instructions += bytes / 16 + 0.4;
  }
  if (op.getEpilogue().empty())
    return cost;
  std::optional<ScaledGelu> gelu = findScaledGelu(op);
  for (Operation &inner : op.getEpilogue().front().without_terminator()) {
    if (gelu && &inner == gelu->product)
      continue;
    if (gelu && &inner == gelu->act.getOperation()) {
      cost.instructions += 7;
      continue;
    }
    if (auto act = dyn_cast<vit::ActOp>(inner)) {
      bool special = act.getKind() != vit::ActKind::Relu && act.getKind() != vit::ActKind::GeluErf;
      cost.mufu += !special ? 0 : act.getKind() == vit::ActKind::Tanh || act.getKind() == vit::ActKind::GeluTanh ? 1 : 2;
      cost.instructions += act.getKind() == vit::ActKind::GeluErf ? (becomesE4M3(act.getResult()) ? 9 : 12) : special ? 6 : 1;
      continue;
    }
    cost.instructions += isa<vit::ConvertOp, arith::TruncFOp>(inner) ? 0.5 : isa<arith::ExtFOp>(inner) ? 0 : 1;
  }
  return cost;
}

EpilogueEmitter::EpilogueEmitter(GpuBuilder &g, Region &region, uint64_t group, SmallVector<EpilogueOperand> ins,
                                 SmallVector<EpilogueOperand> results, int64_t columns, unsigned width)
    : g(g), region(region), group(group), ins(std::move(ins)), results(std::move(results)), columns(columns),
      width(width), wholeRuns(columns % width == 0) {
  if (auto op = dyn_cast_or_null<vit::EpilogueOpInterface>(region.getParentOp()); op && !region.empty())
    gelu = findScaledGelu(op);
}

/// Whether a run of the operand is whole vectors, wherever it starts.
bool EpilogueEmitter::hasVectors(const EpilogueOperand &in) const {
  MapShape shape = classify(in.map);
  unsigned bytes = bytesOf(in.element);
  int64_t vectorBytes = std::min<int64_t>(16, width * bytes);
  return shape.usesColumn && shape.columnDivisor == 1 && wholeRuns && (!shape.usesRow || in.rowStride * bytes % vectorBytes == 0);
}

SmallVector<Value> EpilogueEmitter::loadVectors(const EpilogueOperand &in, Value m, Value n) {
  unsigned bytes = bytesOf(in.element), vectorBytes = std::min<int64_t>(16, width * bytes), lanes = vectorBytes / bytes;
  Value element = g.zext64(g.smin(n, g.c32(columns - width)));
  if (classify(in.map).usesRow)
    element = g.add(g.mul(g.zext64(m), in.rowStride), element);
  Value base = g.gep(in.pointer, g.mul(element, bytes));
  auto type = VectorType::get(lanes, storageType(g, in.element));
  SmallVector<Value> vectors;
  for (unsigned v = 0; v < width; v += lanes)
    vectors.push_back(g.load(type, g.gep(base, v * bytes), vectorBytes));
  return vectors;
}

SmallVector<Value> EpilogueEmitter::loadRun(const EpilogueOperand &in, Value m, Value n) {
  // Past the last column nothing is stored; loads stay inside the operand.
  Value firstColumn = wholeRuns ? g.smin(n, g.c32(columns - width)) : n;
  MapShape shape = classify(in.map);
  Value row;
  if (shape.usesRow)
    row = g.mul(g.zext64(m), in.rowStride);
  if (!shape.usesColumn) {
    Value element = row ? row : g.c64(0);
    unsigned bytes = bytesOf(in.element);
    Value v = widen(g, g.load(storageType(g, in.element), g.gep(in.pointer, g.mul(element, bytes)), bytes), in.element);
    return SmallVector<Value>(width, v);
  }
  unsigned bytes = bytesOf(in.element);
  auto pointerAt = [&](Value column) {
    Value element = g.zext64(column);
    if (row)
      element = g.add(row, element);
    return g.gep(in.pointer, g.mul(element, bytes));
  };
  SmallVector<Value> values;
  if (shape.columnDivisor > 1) {
    // A run never needs more loads than it has blocks.
    Value last;
    for (unsigned i = 0; i < width; ++i) {
      if (i == 0 || shape.columnDivisor % width != 0) {
        Value column = g.add(firstColumn, i);
        if (!wholeRuns)
          column = g.smin(column, g.c32(columns - 1));
        last = widen(g, g.load(storageType(g, in.element), pointerAt(g.div(column, shape.columnDivisor)), bytes), in.element);
      }
      values.push_back(last);
    }
    return values;
  }
  if (hasVectors(in)) {
    for (Value v : loadVectors(in, m, n))
      widenAll(g, v, in.element, cast<VectorType>(v.getType()).getNumElements(), values);
    return values;
  }
  for (unsigned i = 0; i < width; ++i) {
    Value column = g.smin(g.add(firstColumn, i), g.c32(columns - 1));
    values.push_back(widen(g, g.load(storageType(g, in.element), pointerAt(column), bytes), in.element));
  }
  return values;
}

void EpilogueEmitter::beginColumns(Value n) {
  firstColumn = n;
  columnIns.clear();
  for (const EpilogueOperand &in : ins)
    columnIns.push_back(classify(in.map).usesRow ? SmallVector<Value>() : loadRun(in, Value(), n));
  if (!gelu)
    return;
  Value scale = columnIns[gelu->scale][0];
  if (coefficientsIn != g.b.getInsertionBlock()) {
    geluCoefficients = scaledGeluCoefficients(g, scale);
    coefficientsIn = g.b.getInsertionBlock();
  }
  geluFactor.clear();
  geluBias.clear();
  for (Value v : columnIns[gelu->factor])
    geluFactor.push_back(g.fmul(v, scale));
  if (gelu->bias)
    for (Value v : columnIns[*gelu->bias])
      geluBias.push_back(g.fmul(v, scale));
}

SmallVector<Value> EpilogueEmitter::evaluate(ArrayRef<Value> accumulators, ArrayRef<SmallVector<Value>> inValues) {
  // Returns the values of all results for the run, result by result, in f32.
  if (region.empty())
    return SmallVector<Value>(accumulators);
  Block &body = region.front();
  auto yield = cast<vit::YieldOp>(body.getTerminator());
  SmallVector<SmallVector<Value>> out(yield.getNumOperands());
  for (unsigned first = 0; first < width; first += group) {
    IRMapping map;
    auto argument = [&](ArrayRef<Value> values, BlockArgument arg) -> Value {
      if (auto vec = dyn_cast<VectorType>(arg.getType()))
        return g.create<vector::FromElementsOp>(vec, values.slice(first, group));
      return values[first];
    };
    map.map(body.getArgument(0), argument(accumulators, body.getArgument(0)));
    for (auto [i, values] : llvm::enumerate(inValues)) {
      BlockArgument arg = body.getArgument(i + 1);
      map.map(arg, argument(values, arg));
    }
    for (Operation &op : body.without_terminator()) {
      if (gelu && &op == gelu->affine) {
        Value scaled = geluBias.empty() ? g.fmul(accumulators[first], geluFactor[first])
                                        : g.fma(accumulators[first], geluFactor[first], geluBias[first]);
        map.map(op.getResult(0), scaled);
        continue;
      }
      if (gelu && &op == gelu->act.getOperation()) {
        map.map(op.getResult(0), emitScaledGelu(g, map.lookup(gelu->act.getInput()), geluCoefficients));
        continue;
      }
      if (gelu && &op == gelu->product) {
        map.map(op.getResult(0), map.lookup(gelu->act.getResult()));
        continue;
      }
      if (auto act = dyn_cast<vit::ActOp>(op)) {
        Value in = map.lookup(act.getInput());
        bool narrow = act.getKind() == vit::ActKind::GeluErf && becomesE4M3(act.getResult());
        auto emit = [&](Value v) { return narrow ? geluErf(g, v, true) : emitActivation(g, act.getKind(), v); };
        if (auto vec = dyn_cast<VectorType>(in.getType())) {
          SmallVector<Value> lanes;
          for (int64_t i = 0; i < vec.getNumElements(); ++i)
            lanes.push_back(emit(g.create<vector::ExtractOp>(in, i)));
          map.map(act.getResult(), g.create<vector::FromElementsOp>(vec, lanes));
        } else {
          map.map(act.getResult(), emit(in));
        }
        continue;
      }
      // Narrowing for a store happens on pairs, in storeRun.
      if (isa<vit::ConvertOp, arith::TruncFOp>(op) && llvm::all_of(op.getUsers(), llvm::IsaPred<vit::YieldOp>)) {
        map.map(op.getResult(0), map.lookup(op.getOperand(0)));
        continue;
      }
      // The operand's elements were widened when they were loaded.
      if (isa<arith::ExtFOp>(op) && map.lookup(op.getOperand(0)).getType() == op.getResult(0).getType()) {
        map.map(op.getResult(0), map.lookup(op.getOperand(0)));
        continue;
      }
      g.b.clone(op, map);
    }
    for (auto [i, value] : llvm::enumerate(yield.getOperands())) {
      Value v = map.lookup(value);
      if (auto vec = dyn_cast<VectorType>(v.getType()))
        for (int64_t e = 0; e < vec.getNumElements(); ++e)
          out[i].push_back(g.create<vector::ExtractOp>(v, e));
      else
        out[i].push_back(v);
    }
  }
  SmallVector<Value> flat;
  for (auto &values : out)
    flat.append(values.begin(), values.end());
  return flat;
}

void EpilogueEmitter::storeRun(const EpilogueOperand &out, Value m, ArrayRef<Value> values) {
  unsigned bytes = bytesOf(out.element);
  int64_t count = values.size();           // results of the run: width, or fewer for group > 1
  int64_t outColumns = columns * count / width;
  Value firstOut = g.div(g.mul(firstColumn, count), width);
  bool fp8 = isa<Float8E4M3FNType>(out.element), bf16 = out.element.isBF16(), f16 = out.element.isF16();
  Value rowBase = g.mul(g.zext64(m), out.rowStride * bytes);
  Value base = g.gep(out.pointer, g.add(rowBase, g.mul(g.zext64(firstOut), bytes)));
  int64_t runBytes = count * bytes;
  if (wholeRuns && count % 2 == 0 && runBytes % 4 == 0 && out.rowStride * bytes % std::min<int64_t>(16, runBytes) == 0) {
    // Words of the run, stored 16, 8 or 4 bytes at a time.
    SmallVector<Value> words;
    if (fp8) {
      for (int64_t i = 0; i < count; i += 4) {
        Value pairs = g.create<vector::FromElementsOp>(
            VectorType::get(2, g.i16()),
            ValueRange{g.toE4M3x2(values[i], values[i + 1]), g.toE4M3x2(values[i + 2], values[i + 3])});
        words.push_back(g.create<LLVM::BitcastOp>(g.i32(), pairs));
      }
    } else if (bf16 || f16) {
      for (int64_t i = 0; i < count; i += 2)
        words.push_back(g.toHalf2(values[i], values[i + 1], bf16));
    } else {
      for (Value v : values)
        words.push_back(g.create<arith::BitcastOp>(g.i32(), v));
    }
    for (size_t i = 0; i < words.size();) {
      size_t lanes = words.size() - i >= 4 ? 4 : words.size() - i >= 2 ? 2 : 1;
      if (lanes == 1) {
        g.store(words[i], g.gep(base, i * 4), 4);
      } else {
        Value v = g.create<vector::FromElementsOp>(VectorType::get(lanes, g.i32()),
                                                   ArrayRef<Value>(words).slice(i, lanes));
        g.store(v, g.gep(base, i * 4), lanes * 4);
      }
      i += lanes;
    }
    return;
  }
  for (auto [i, value] : llvm::enumerate(values)) {
    auto storeOne = [&] {
      Value narrow = value;
      if (fp8)
        narrow = g.create<arith::TruncIOp>(g.i8(), g.toE4M3x2(value, value));
      else if (!out.element.isF32())
        narrow = g.create<arith::TruncFOp>(out.element, value);
      g.store(narrow, g.gep(base, i * bytes), bytes);
    };
    if (wholeRuns) {
      storeOne();
      continue;
    }
    Value inside = g.slt(g.add(firstOut, i), g.c32(outColumns));
    auto ifOp = g.create<scf::IfOp>(inside, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(ifOp.thenBlock());
    storeOne();
  }
}

void EpilogueEmitter::storeResult(unsigned result, Value m, ArrayRef<Value> values) {
  OpBuilder::InsertionGuard guard(g.b);
  if (wholeRuns) {
    auto ifOp = g.create<scf::IfOp>(g.slt(firstColumn, g.c32(columns)), /*withElseRegion=*/false);
    g.b.setInsertionPointToStart(ifOp.thenBlock());
  }
  storeRun(results[result], m, values);
}

void EpilogueEmitter::emitRow(Value m, ArrayRef<Value> accumulators) {
  OpBuilder::InsertionGuard guard(g.b);
  if (wholeRuns) {
    auto ifOp = g.create<scf::IfOp>(g.slt(firstColumn, g.c32(columns)), /*withElseRegion=*/false);
    g.b.setInsertionPointToStart(ifOp.thenBlock());
  }
  SmallVector<SmallVector<Value>> values;
  for (auto [in, cached] : llvm::zip_equal(ins, columnIns))
    values.push_back(cached.empty() ? loadRun(in, m, firstColumn) : cached);
  SmallVector<Value> flat = evaluate(accumulators, values);
  size_t each = flat.size() / results.size(), at = 0;
  for (const EpilogueOperand &out : results) {
    storeRun(out, m, ArrayRef<Value>(flat).slice(at, each));
    at += each;
  }
}

unsigned EpilogueEmitter::rowRegisters() const {
  unsigned registers = 0;
  for (const EpilogueOperand &in : ins)
    if (classify(in.map).usesRow)
      registers += hasVectors(in) ? std::max(1u, width * bytesOf(in.element) / 4) : classify(in.map).usesColumn ? width : 1;
  return registers;
}

EpilogueEmitter::RowOperands EpilogueEmitter::loadRow(Value m) {
  RowOperands operands;
  for (auto [in, cached] : llvm::zip_equal(ins, columnIns)) {
    bool vectors = cached.empty() && hasVectors(in);
    operands.vectors.push_back(vectors);
    operands.raw.push_back(!cached.empty() ? SmallVector<Value>() : vectors ? loadVectors(in, m, firstColumn) : loadRun(in, m, firstColumn));
  }
  return operands;
}

void EpilogueEmitter::emitLoadedRow(Value m, Value exists, ArrayRef<Value> accumulators, const RowOperands &operands) {
  SmallVector<SmallVector<Value>> values;
  for (auto [i, in] : llvm::enumerate(ins)) {
    SmallVector<Value> run;
    if (!columnIns[i].empty())
      run = columnIns[i];
    else if (operands.vectors[i])
      for (Value v : operands.raw[i])
        widenAll(g, v, in.element, cast<VectorType>(v.getType()).getNumElements(), run);
    else
      run = operands.raw[i];
    values.push_back(std::move(run));
  }
  SmallVector<Value> flat = evaluate(accumulators, values);
  if (wholeRuns)
    exists = g.andi(exists, g.slt(firstColumn, g.c32(columns)));
  auto ifOp = g.create<scf::IfOp>(exists, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  size_t each = flat.size() / results.size(), at = 0;
  for (const EpilogueOperand &out : results) {
    storeRun(out, m, ArrayRef<Value>(flat).slice(at, each));
    at += each;
  }
}
