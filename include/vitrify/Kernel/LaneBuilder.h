//===- LaneBuilder.h - vectors of f32 lanes over typed memory ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What all CPU kernels are written with: constants, loads and stores of `lanes` f32 values from memory of any storage
// type, with static tails. Values of E4M3 are f32 lanes on its grid, held in memory as bf16; i8 codes are i32 lanes, held in
// memory as bytes with 128 added (`kByteZero`). Only arith, math, vector
// and memref ops are built; what a chip does better is a hook.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <functional>

namespace vitrify {

/// What memory of bytes holds for code 0.
inline constexpr int32_t kByteZero = 128;

class LaneBuilder : public mlir::ImplicitLocOpBuilder {
public:
  /// vector<lanes x f32> to vector<lanes x bf16>, nearest even, NaN stays NaN.
  using TruncBF16 = std::function<mlir::Value(LaneBuilder &, mlir::Value)>;

  /// What a chip has instructions for; either may be missing.
  struct Tables {
    /// Lane by lane table[index & 15], of i32 lanes.
    std::function<mlir::Value(LaneBuilder &, llvm::ArrayRef<float> table, mlir::Value index)> lookup;
    /// Lane by lane x * 2^floor(y), 0 where that is too small.
    std::function<mlir::Value(LaneBuilder &, mlir::Value x, mlir::Value y)> scale;
  };

  LaneBuilder(mlir::Location loc, mlir::OpBuilder &builder, unsigned lanes, TruncBF16 truncBF16 = nullptr, Tables tables = {})
      : ImplicitLocOpBuilder(loc, builder), lanes(lanes), tables(std::move(tables)), truncHook(std::move(truncBF16)) {}

  const unsigned lanes;
  const Tables tables;
  bool hasTables() const { return bool(tables.lookup) && bool(tables.scale); }

  // Types.
  mlir::VectorType laneType(mlir::Type element) { return mlir::VectorType::get({lanes}, element); }
  mlir::VectorType f32Lanes() { return laneType(getF32Type()); }
  mlir::VectorType i32Lanes() { return laneType(getI32Type()); }

  // Constants.
  mlir::Value index(int64_t value);
  mlir::Value f32(float value);
  mlir::Value i32(int32_t value);
  mlir::Value splat(float value);
  /// Splat of a bit pattern.
  mlir::Value splatBits(uint32_t bits);
  mlir::Value splatI32(int32_t value);
  /// 0, 1, ..., lanes - 1 as i32 lanes.
  mlir::Value iota();
  /// The first `valid` lanes.
  mlir::Value tailMask(unsigned valid);

  // Index arithmetic, folded when constant.
  mlir::Value addIndex(mlir::Value a, mlir::Value b);
  mlir::Value addIndex(mlir::Value a, int64_t b);
  mlir::Value mulIndex(mlir::Value a, int64_t b);
  mlir::Value subIndex(mlir::Value a, mlir::Value b);
  mlir::Value divIndex(mlir::Value a, int64_t b);
  mlir::Value remIndex(mlir::Value a, int64_t b);
  mlir::Value ceilDivIndex(mlir::Value a, int64_t b);
  mlir::Value minIndex(mlir::Value a, mlir::Value b);
  mlir::Value maxIndex(mlir::Value a, mlir::Value b);

  // Shorthands on lanes.
  mlir::Value broadcast(mlir::Value scalar) { return mlir::vector::BroadcastOp::create(*this, laneType(scalar.getType()), scalar); }
  mlir::Value add(mlir::Value a, mlir::Value b) { return mlir::arith::AddFOp::create(*this, a, b); }
  mlir::Value sub(mlir::Value a, mlir::Value b) { return mlir::arith::SubFOp::create(*this, a, b); }
  mlir::Value mul(mlir::Value a, mlir::Value b) { return mlir::arith::MulFOp::create(*this, a, b); }
  mlir::Value div(mlir::Value a, mlir::Value b) { return mlir::arith::DivFOp::create(*this, a, b); }
  /// a * b + c with one rounding.
  mlir::Value fma(mlir::Value a, mlir::Value b, mlir::Value c);
  mlir::Value neg(mlir::Value a) { return mlir::arith::NegFOp::create(*this, a); }
  mlir::Value abs(mlir::Value a);
  /// a < b ? a : b, so b when either is NaN: one instruction on x86, unlike IEEE's minimum.
  mlir::Value min(mlir::Value a, mlir::Value b);
  mlir::Value max(mlir::Value a, mlir::Value b);
  mlir::Value less(mlir::Value a, mlir::Value b) { return mlir::arith::CmpFOp::create(*this, mlir::arith::CmpFPredicate::OLT, a, b); }
  mlir::Value select(mlir::Value c, mlir::Value a, mlir::Value b) { return mlir::arith::SelectOp::create(*this, c, a, b); }
  mlir::Value toBits(mlir::Value f32Lanes);
  mlir::Value fromBits(mlir::Value i32Lanes);

  // Conversions between lanes of element types.
  mlir::Value toF32(mlir::Value lanesOfFloat);
  /// i32 lanes of the codes that bytes of memory hold.
  mlir::Value codesOfBytes(mlir::Value bytes);
  /// To f32, bf16 or f16 lanes; to E4M3's grid use `roundE4M3` first.
  mlir::Value fromF32(mlir::Value f32Lanes, mlir::Type element);

  // Memory. `valid` < lanes touches only that many elements; the other lanes are 0.
  mlir::Value load(mlir::Value memref, mlir::ValueRange indices, unsigned valid);
  mlir::Value load(mlir::Value memref, mlir::ValueRange indices) { return load(memref, indices, lanes); }
  /// The same without conversion, for a vector of any length.
  mlir::Value loadRaw(mlir::VectorType type, mlir::Value memref, mlir::ValueRange indices, unsigned valid);
  /// Stores f32 lanes (or lanes of the memref's element type, or codes) converted to the memref's element type. To bytes f32
  /// lanes must be codes already: whole numbers from -128 to 127.
  void store(mlir::Value value, mlir::Value memref, mlir::ValueRange indices, unsigned valid);
  /// One element as f32.
  mlir::Value loadScalar(mlir::Value memref, mlir::ValueRange indices);
  /// One i32 element as index.
  mlir::Value loadIndex(mlir::Value memref, mlir::ValueRange indices);
  /// A block of memory on the stack, 64-byte aligned, at the entry of the function.
  mlir::Value scratch(llvm::ArrayRef<int64_t> shape, mlir::Type element);

  // Control.
  using LoopBody = llvm::function_ref<void(mlir::Value iv)>;
  void loop(mlir::Value begin, mlir::Value end, int64_t step, LoopBody body);
  using CarriedBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value iv, mlir::ValueRange carried)>;
  llvm::SmallVector<mlir::Value> loop(mlir::Value begin, mlir::Value end, int64_t step, mlir::ValueRange init,
                                      CarriedBody body);
  void ifThen(mlir::Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise = nullptr);
  /// body(column, valid) over [0, columns) in steps of `lanes`, the last with the static tail.
  void forColumns(int64_t columns, llvm::function_ref<void(mlir::Value column, unsigned valid)> body);
  /// The same with values carried from step to step.
  llvm::SmallVector<mlir::Value>
  forColumns(int64_t columns, mlir::ValueRange init,
             llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, unsigned, mlir::ValueRange)> body);

  /// Sum or maximum over all lanes; lanes are added pairwise.
  mlir::Value reduce(mlir::vector::CombiningKind kind, mlir::Value lanes);

private:
  TruncBF16 truncHook;
};

/// The memref of rows that a kernel argument of this type is: [?, columns], `rowStride` elements apart.
mlir::MemRefType rowsType(mlir::Type element, int64_t columns, int64_t rowStride);

} // namespace vitrify
