//===- GpuBuilder.h - typed builder of the scalar and memory ops of GPU kernels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Kernels are gpu.func over !llvm.ptr<1> and i64 arguments, built from arith, scf,
// gpu, nvvm and llvm ops. Pointers are byte addresses: FP8 has no memref that
// ldmatrix or cp.async accept, and byte offsets keep the swizzle explicit.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

#include <array>

namespace vitrify::nvptx {

using mlir::Type;
using mlir::Value;
using mlir::ValueRange;

/// Address spaces of PTX as LLVM numbers them.
enum : unsigned { kGlobal = 1, kShared = 3 };

class GpuBuilder {
public:
  GpuBuilder(mlir::OpBuilder &builder, mlir::Location loc) : b(builder), loc(loc) {}

  mlir::OpBuilder &b;
  mlir::Location loc;

  template <typename Op, typename... Args> auto create(Args &&...args) {
    return Op::create(b, loc, std::forward<Args>(args)...);
  }

  Type i8() { return b.getI8Type(); }
  Type i16() { return b.getI16Type(); }
  Type i32() { return b.getI32Type(); }
  Type i64() { return b.getI64Type(); }
  Type i1() { return b.getI1Type(); }
  Type f32() { return b.getF32Type(); }
  Type ptr(unsigned space) { return mlir::LLVM::LLVMPointerType::get(b.getContext(), space); }

  // Integers. Operands are i32 unless a name says otherwise.
  Value c32(int64_t value) { return constant(i32(), value); }
  Value c64(int64_t value) { return constant(i64(), value); }
  Value fconst(float value);
  Value add(Value x, Value y);
  Value add(Value x, int64_t y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value mul(Value x, int64_t y);
  Value div(Value x, int64_t y); ///< unsigned, by a constant
  Value rem(Value x, int64_t y); ///< unsigned, by a constant
  Value div(Value x, Value y);
  Value rem(Value x, Value y);
  Value xori(Value x, Value y);
  Value andi(Value x, Value y);
  Value andi(Value x, int64_t y);
  Value ori(Value x, Value y);
  Value shl(Value x, int64_t bits);
  Value shr(Value x, int64_t bits); ///< logical
  Value ult(Value x, Value y);
  Value slt(Value x, Value y);
  Value eq(Value x, Value y);
  Value select(Value condition, Value x, Value y);
  Value smin(Value x, Value y);
  Value smax(Value x, Value y);
  Value zext64(Value x); ///< i32 to i64, unsigned
  Value trunc32(Value x);

  // Floats (f32).
  Value fadd(Value x, Value y);
  Value fsub(Value x, Value y);
  Value fmul(Value x, Value y);
  Value fma(Value x, Value y, Value z);
  Value fmax(Value x, Value y);
  Value fmin(Value x, Value y);
  Value exp2(Value x);  ///< ex2.approx.ftz.f32: 2^x, 2 ulp
  Value rsqrt(Value x); ///< rsqrt.approx.ftz.f32
  Value rcp(Value x);   ///< rcp.approx.ftz.f32
  Value tanh(Value x);  ///< tanh.approx.f32: relative error 2^-11

  // Identity of the thread.
  Value threadX();
  Value blockX();
  Value blockY();
  Value blockZ();
  Value gridX();

  // Memory. Offsets are bytes.
  Value dynamicShared(); ///< start of the launch's dynamic shared memory
  Value gep(Value pointer, Value byteOffset);
  Value gep(Value pointer, int64_t byteOffset);
  Value load(Type type, Value pointer, unsigned alignment);
  void store(Value value, Value pointer, unsigned alignment);
  /// Copies 16 bytes to shared memory asynchronously; `bytes` (i32, 0 to 16) of them come from `global`, the rest are 0.
  /// Without `bytes` all come from there.
  void cpAsync16(Value shared, Value global, Value bytes = Value());
  /// The same for 4, 8 or 16 bytes (`size`).
  void cpAsync(Value shared, Value global, int size, Value bytes);
  void cpAsyncCommit();
  void cpAsyncWait(unsigned pending);
  void barrier();
  /// ldmatrix.x4 of b16 8x8 tiles: four i32.
  std::array<Value, 4> ldmatrix4(Value shared, bool transpose = false);
  /// ldmatrix.x2: two i32.
  std::array<Value, 2> ldmatrix2(Value shared);

  Value shuffleXor(Value value, int mask);
  Value shuffleXorI32(Value value, int mask);

  /// Calls an LLVM intrinsic by name.
  Value intrinsic(llvm::StringRef name, Type result, ValueRange operands);
  Value extract(Value aggregate, int64_t position);

  /// Two f32 to two E4M3 codes, nearest even, saturating: i16 with `low` in the low byte (cvt.rn.satfinite.e4m3x2.f32).
  Value toE4M3x2(Value low, Value high);
  /// Two E4M3 codes of an i16 to f32, the low byte first: exact.
  std::array<Value, 2> fromE4M3x2(Value codes);
  /// Two f32 to a pair of 16-bit floats in an i32, `low` in the low half. f16 unless `bf16`.
  Value toHalf2(Value low, Value high, bool bf16);
  /// Two 16-bit floats of an i32 to f32.
  std::array<Value, 2> fromHalf2(Value pair, bool bf16);

private:
  Value constant(Type type, int64_t value);
};

} // namespace vitrify::nvptx
