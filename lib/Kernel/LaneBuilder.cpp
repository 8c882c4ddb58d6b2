//===- LaneBuilder.cpp - vectors of f32 lanes over typed memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Kernel/LaneBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"

#include <bit>

using namespace mlir;
using namespace vitrify;

Value LaneBuilder::index(int64_t value) { return arith::ConstantIndexOp::create(*this, value); }
Value LaneBuilder::f32(float value) {
  return arith::ConstantOp::create(*this, getF32Type(), getF32FloatAttr(value));
}
Value LaneBuilder::i32(int32_t value) { return arith::ConstantOp::create(*this, getI32IntegerAttr(value)); }
Value LaneBuilder::splat(float value) {
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(f32Lanes(), value));
}
Value LaneBuilder::splatBits(uint32_t bits) { return splatI32(std::bit_cast<int32_t>(bits)); }
Value LaneBuilder::splatI32(int32_t value) {
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(i32Lanes(), value));
}
Value LaneBuilder::iota() {
  SmallVector<int32_t> values(lanes);
  for (unsigned i = 0; i < lanes; ++i)
    values[i] = i;
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(i32Lanes(), ArrayRef<int32_t>(values)));
}
Value LaneBuilder::tailMask(unsigned valid) {
  SmallVector<bool> bits(lanes, false);
  std::fill_n(bits.begin(), valid, true);
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(laneType(getI1Type()), ArrayRef<bool>(bits)));
}

static std::optional<int64_t> constantOf(Value value) {
  APInt result;
  if (matchPattern(value, m_ConstantInt(&result)))
    return result.getSExtValue();
  return std::nullopt;
}

Value LaneBuilder::addIndex(Value a, Value b) {
  auto ca = constantOf(a), cb = constantOf(b);
  if (ca && cb)
    return index(*ca + *cb);
  if (cb && *cb == 0)
    return a;
  if (ca && *ca == 0)
    return b;
  return arith::AddIOp::create(*this, a, b);
}
Value LaneBuilder::addIndex(Value a, int64_t b) { return b == 0 ? a : addIndex(a, index(b)); }
Value LaneBuilder::mulIndex(Value a, int64_t b) {
  if (b == 1)
    return a;
  if (auto ca = constantOf(a))
    return index(*ca * b);
  return arith::MulIOp::create(*this, a, index(b));
}
Value LaneBuilder::subIndex(Value a, Value b) { return arith::SubIOp::create(*this, a, b); }
Value LaneBuilder::divIndex(Value a, int64_t b) {
  if (b == 1)
    return a;
  if (auto ca = constantOf(a))
    return index(*ca / b);
  return arith::DivUIOp::create(*this, a, index(b));
}
Value LaneBuilder::remIndex(Value a, int64_t b) {
  if (b == 1)
    return index(0);
  if (auto ca = constantOf(a))
    return index(*ca % b);
  return arith::RemUIOp::create(*this, a, index(b));
}
Value LaneBuilder::ceilDivIndex(Value a, int64_t b) { return divIndex(addIndex(a, b - 1), b); }
Value LaneBuilder::minIndex(Value a, Value b) { return arith::MinSIOp::create(*this, a, b); }
Value LaneBuilder::maxIndex(Value a, Value b) { return arith::MaxSIOp::create(*this, a, b); }

Value LaneBuilder::fma(Value a, Value b, Value c) {
  if (isa<VectorType>(a.getType()))
    return vector::FMAOp::create(*this, a, b, c);
  return math::FmaOp::create(*this, a, b, c);
}
Value LaneBuilder::abs(Value a) { return math::AbsFOp::create(*this, a); }
Value LaneBuilder::min(Value a, Value b) { return select(less(a, b), a, b); }
Value LaneBuilder::max(Value a, Value b) { return select(less(b, a), a, b); }

Value LaneBuilder::toBits(Value value) {
  if (isa<VectorType>(value.getType()))
    return arith::BitcastOp::create(*this, i32Lanes(), value);
  return arith::BitcastOp::create(*this, getI32Type(), value);
}
Value LaneBuilder::fromBits(Value value) {
  if (isa<VectorType>(value.getType()))
    return arith::BitcastOp::create(*this, f32Lanes(), value);
  return arith::BitcastOp::create(*this, getF32Type(), value);
}

Value LaneBuilder::toF32(Value value) {
  Type type = value.getType(), element = getElementTypeOrSelf(type);
  auto vectorType = dyn_cast<VectorType>(type);
  auto as = [&](Type scalar) -> Type { return vectorType ? vectorType.clone(scalar) : scalar; };
  if (element.isF32())
    return value;
  if (element.isBF16()) {
    // The upper half of an f32: exact, and legal on every row.
    Value bits = arith::BitcastOp::create(*this, as(getIntegerType(16)), value);
    Value wide = arith::ExtUIOp::create(*this, as(getI32Type()), bits);
    Value sixteen = arith::ConstantOp::create(
        *this, vectorType ? TypedAttr(DenseElementsAttr::get(vectorType.clone(getI32Type()), int32_t(16)))
                          : TypedAttr(getI32IntegerAttr(16)));
    return arith::BitcastOp::create(*this, as(getF32Type()), Value(arith::ShLIOp::create(*this, wide, sixteen)));
  }
  if (element.isInteger(32))
    return arith::SIToFPOp::create(*this, as(getF32Type()), value);
  return arith::ExtFOp::create(*this, as(getF32Type()), value);
}

Value LaneBuilder::codesOfBytes(Value bytes) {
  auto vectorType = dyn_cast<VectorType>(bytes.getType());
  Type wide = vectorType ? Type(vectorType.clone(getI32Type())) : Type(getI32Type());
  Value zero = vectorType ? Value(arith::ConstantOp::create(*this, DenseElementsAttr::get(vectorType.clone(getI32Type()), kByteZero)))
                          : i32(kByteZero);
  return arith::SubIOp::create(*this, Value(arith::ExtUIOp::create(*this, wide, bytes)), zero);
}

/// Bytes of codes, from i32 lanes or from f32 lanes that hold whole numbers.
static Value bytesOfCodes(LaneBuilder &b, Value codes) {
  // 1.5 * 2^23 more than a whole number has it, in two's complement, in its low bits.
  if (getElementTypeOrSelf(codes.getType()).isF32())
    codes = b.toBits(b.add(codes, b.splat(12582912.0f)));
  Value shifted = arith::AddIOp::create(b, codes, b.splatI32(kByteZero));
  return arith::TruncIOp::create(b, b.laneType(b.getI8Type()), shifted);
}

/// Nearest even on the upper 16 bits; a NaN is made quiet so that its payload cannot round to infinity.
static Value truncBF16ByBits(LaneBuilder &b, Value value) {
  Value bits = b.toBits(value);
  Value lsb = arith::AndIOp::create(b, arith::ShRUIOp::create(b, bits, b.splatI32(16)), b.splatI32(1));
  Value rounded = arith::AddIOp::create(b, arith::AddIOp::create(b, bits, b.splatI32(0x7fff)), lsb);
  Value quiet = arith::OrIOp::create(b, bits, b.splatI32(0x400000));
  Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, value, value);
  Value high = arith::ShRUIOp::create(b, b.select(isNaN, quiet, rounded), b.splatI32(16));
  Value narrow = arith::TruncIOp::create(b, b.laneType(b.getIntegerType(16)), high);
  return arith::BitcastOp::create(b, b.laneType(b.getBF16Type()), narrow);
}

Value LaneBuilder::fromF32(Value value, Type element) {
  if (element.isF32() || getElementTypeOrSelf(value.getType()) == element)
    return value;
  if (element.isBF16())
    return truncHook ? truncHook(*this, value) : truncBF16ByBits(*this, value);
  return arith::TruncFOp::create(*this, laneType(element), value);
}

/// The tail of bf16 or byte lanes in pieces of 2^i elements as integers: without BF16 instructions LLVM would take masked
/// accesses apart into single bf16 values, and each of those into a call; bytes it would take apart where there are no masks.
static void forPieces(unsigned valid, llvm::function_ref<void(unsigned offset, unsigned size)> body) {
  for (unsigned offset = 0; offset < valid;) {
    unsigned size = llvm::bit_floor(valid - offset);
    body(offset, size);
    offset += size;
  }
}

Value LaneBuilder::loadRaw(VectorType type, Value memref, ValueRange indices, unsigned valid) {
  if (valid == type.getNumElements())
    return vector::LoadOp::create(*this, type, memref, indices);
  bool bytes = type.getElementType().isInteger(8);
  if (bytes || (type.getElementType().isBF16() && !truncHook)) {
    VectorType bits = bytes ? type : type.clone(getIntegerType(16));
    Value result = arith::ConstantOp::create(*this, cast<TypedAttr>(getZeroAttr(bits)));
    forPieces(valid, [&](unsigned offset, unsigned size) {
      SmallVector<Value> at(indices);
      at.back() = addIndex(at.back(), offset);
      Value piece = vector::LoadOp::create(*this, VectorType::get({size}, type.getElementType()), memref, at);
      if (!bytes)
        piece = vector::BitCastOp::create(*this, VectorType::get({size}, getIntegerType(16)), piece);
      result = vector::InsertStridedSliceOp::create(*this, piece, result, ArrayRef<int64_t>{offset}, ArrayRef<int64_t>{1});
    });
    return bytes ? result : Value(vector::BitCastOp::create(*this, type, result));
  }
  SmallVector<bool> mask(type.getNumElements(), false);
  std::fill_n(mask.begin(), valid, true);
  Value tail = arith::ConstantOp::create(*this, DenseElementsAttr::get(type.clone(getI1Type()), ArrayRef<bool>(mask)));
  Value zero = arith::ConstantOp::create(*this, cast<TypedAttr>(getZeroAttr(type)));
  return vector::MaskedLoadOp::create(*this, type, memref, indices, tail, zero);
}

Value LaneBuilder::load(Value memref, ValueRange indices, unsigned valid) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Value raw = loadRaw(laneType(element), memref, indices, valid);
  return toF32(element.isInteger(8) ? codesOfBytes(raw) : raw);
}

void LaneBuilder::store(Value value, Value memref, ValueRange indices, unsigned valid) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  Value typed = value;
  if (element.isInteger(8))
    typed = bytesOfCodes(*this, value);
  else if (getElementTypeOrSelf(value.getType()) != element)
    typed = fromF32(toF32(value), element);
  if (valid == lanes) {
    vector::StoreOp::create(*this, typed, memref, indices);
  } else if (element.isInteger(8) || (element.isBF16() && !truncHook)) {
    Value bits = element.isInteger(8) ? typed : vector::BitCastOp::create(*this, laneType(getIntegerType(16)), typed);
    forPieces(valid, [&](unsigned offset, unsigned size) {
      SmallVector<Value> at(indices);
      at.back() = addIndex(at.back(), offset);
      Value piece = vector::ExtractStridedSliceOp::create(*this, bits, ArrayRef<int64_t>{offset},
                                                          ArrayRef<int64_t>{size}, ArrayRef<int64_t>{1});
      if (!element.isInteger(8))
        piece = vector::BitCastOp::create(*this, VectorType::get({size}, element), piece);
      vector::StoreOp::create(*this, piece, memref, at);
    });
  } else {
    vector::MaskedStoreOp::create(*this, memref, indices, tailMask(valid), typed);
  }
}

Value LaneBuilder::loadScalar(Value memref, ValueRange indices) {
  Value element = memref::LoadOp::create(*this, memref, indices);
  return toF32(element.getType().isInteger(8) ? codesOfBytes(element) : element);
}
Value LaneBuilder::loadIndex(Value memref, ValueRange indices) {
  return arith::IndexCastOp::create(*this, getIndexType(), Value(memref::LoadOp::create(*this, memref, indices)));
}

Value LaneBuilder::scratch(ArrayRef<int64_t> shape, Type element) {
  OpBuilder::InsertionGuard guard(*this);
  auto function = getInsertionBlock()->getParentOp();
  if (!isa<func::FuncOp>(function))
    function = function->getParentOfType<func::FuncOp>();
  setInsertionPointToStart(&cast<func::FuncOp>(function).front());
  return memref::AllocaOp::create(*this, MemRefType::get(shape, element), getI64IntegerAttr(64));
}

void LaneBuilder::loop(Value begin, Value end, int64_t step, LoopBody body) {
  scf::ForOp loop = scf::ForOp::create(*this, begin, end, index(step));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

SmallVector<Value> LaneBuilder::loop(Value begin, Value end, int64_t step, ValueRange init, CarriedBody body) {
  scf::ForOp loop = scf::ForOp::create(*this, begin, end, index(step), init);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
  // A loop without carried values has its terminator already.
  if (!init.empty())
    scf::YieldOp::create(*this, next);
  return SmallVector<Value>(loop.getResults());
}

void LaneBuilder::ifThen(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(*this, condition, bool(otherwise));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op.getThenRegion().front());
  then();
  if (otherwise) {
    setInsertionPointToStart(&op.getElseRegion().front());
    otherwise();
  }
}

void LaneBuilder::forColumns(int64_t columns, llvm::function_ref<void(Value, unsigned)> body) {
  forColumns(columns, {}, [&](Value column, unsigned valid, ValueRange) {
    body(column, valid);
    return SmallVector<Value>();
  });
}

SmallVector<Value> LaneBuilder::forColumns(int64_t columns, ValueRange init,
                                           llvm::function_ref<SmallVector<Value>(Value, unsigned, ValueRange)> body) {
  int64_t full = columns / lanes * lanes;
  SmallVector<Value> carried(init);
  if (full == lanes)
    carried = body(index(0), lanes, carried);
  else if (full > 0)
    carried = loop(index(0), index(full), lanes, carried,
                   [&](Value column, ValueRange values) { return body(column, lanes, values); });
  if (columns > full)
    carried = body(index(full), columns - full, carried);
  return carried;
}

Value LaneBuilder::reduce(vector::CombiningKind kind, Value value) {
  // A tree of halves: short chains, and an order that does not depend on what LLVM may reassociate.
  for (unsigned half = lanes / 2; half >= 1; half /= 2) {
    SmallVector<int64_t> low(half), high(half);
    for (unsigned i = 0; i < half; ++i)
      low[i] = i, high[i] = i + half;
    Value a = vector::ShuffleOp::create(*this, value, value, low);
    Value b = vector::ShuffleOp::create(*this, value, value, high);
    value = kind == vector::CombiningKind::ADD ? Value(add(a, b)) : max(a, b);
  }
  return vector::ExtractOp::create(*this, value, ArrayRef<int64_t>{0});
}

MemRefType vitrify::rowsType(Type element, int64_t columns, int64_t rowStride) {
  MemRefLayoutAttrInterface layout;
  if (rowStride != columns)
    layout = StridedLayoutAttr::get(element.getContext(), 0, {rowStride, 1});
  return MemRefType::get({ShapedType::kDynamic, columns}, element, layout);
}
