//===- GpuBuilder.cpp - typed builder of the scalar and memory ops of GPU kernels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "GpuBuilder.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vitrify::nvptx;

Value GpuBuilder::constant(Type type, int64_t value) {
  return create<arith::ConstantOp>(b.getIntegerAttr(type, value));
}
Value GpuBuilder::fconst(float value) { return create<arith::ConstantOp>(b.getF32FloatAttr(value)); }
Value GpuBuilder::add(Value x, Value y) { return create<arith::AddIOp>(x, y); }
Value GpuBuilder::add(Value x, int64_t y) { return y == 0 ? x : add(x, constant(x.getType(), y)); }
Value GpuBuilder::sub(Value x, Value y) { return create<arith::SubIOp>(x, y); }
Value GpuBuilder::mul(Value x, Value y) { return create<arith::MulIOp>(x, y); }
Value GpuBuilder::mul(Value x, int64_t y) { return y == 1 ? x : mul(x, constant(x.getType(), y)); }
Value GpuBuilder::div(Value x, int64_t y) {
  return y == 1 ? x : create<arith::DivUIOp>(x, constant(x.getType(), y)).getResult();
}
Value GpuBuilder::rem(Value x, int64_t y) { return create<arith::RemUIOp>(x, constant(x.getType(), y)); }
Value GpuBuilder::div(Value x, Value y) { return create<arith::DivUIOp>(x, y); }
Value GpuBuilder::rem(Value x, Value y) { return create<arith::RemUIOp>(x, y); }
Value GpuBuilder::xori(Value x, Value y) { return create<arith::XOrIOp>(x, y); }
Value GpuBuilder::andi(Value x, Value y) { return create<arith::AndIOp>(x, y); }
Value GpuBuilder::andi(Value x, int64_t y) { return andi(x, constant(x.getType(), y)); }
Value GpuBuilder::ori(Value x, Value y) { return create<arith::OrIOp>(x, y); }
Value GpuBuilder::shl(Value x, int64_t bits) { return create<arith::ShLIOp>(x, constant(x.getType(), bits)); }
Value GpuBuilder::shr(Value x, int64_t bits) { return create<arith::ShRUIOp>(x, constant(x.getType(), bits)); }
Value GpuBuilder::ult(Value x, Value y) { return create<arith::CmpIOp>(arith::CmpIPredicate::ult, x, y); }
Value GpuBuilder::slt(Value x, Value y) { return create<arith::CmpIOp>(arith::CmpIPredicate::slt, x, y); }
Value GpuBuilder::eq(Value x, Value y) { return create<arith::CmpIOp>(arith::CmpIPredicate::eq, x, y); }
Value GpuBuilder::select(Value c, Value x, Value y) { return create<arith::SelectOp>(c, x, y); }
Value GpuBuilder::smin(Value x, Value y) { return create<arith::MinSIOp>(x, y); }
Value GpuBuilder::smax(Value x, Value y) { return create<arith::MaxSIOp>(x, y); }
Value GpuBuilder::zext64(Value x) { return create<arith::ExtUIOp>(i64(), x); }
Value GpuBuilder::trunc32(Value x) { return create<arith::TruncIOp>(i32(), x); }

Value GpuBuilder::fadd(Value x, Value y) { return create<arith::AddFOp>(x, y); }
Value GpuBuilder::fsub(Value x, Value y) { return create<arith::SubFOp>(x, y); }
Value GpuBuilder::fmul(Value x, Value y) { return create<arith::MulFOp>(x, y); }
Value GpuBuilder::fma(Value x, Value y, Value z) { return intrinsic("llvm.fma.f32", f32(), {x, y, z}); }
Value GpuBuilder::fmax(Value x, Value y) { return create<arith::MaxNumFOp>(x, y); }
Value GpuBuilder::fmin(Value x, Value y) { return create<arith::MinNumFOp>(x, y); }
Value GpuBuilder::exp2(Value x) { return intrinsic("llvm.nvvm.ex2.approx.ftz", f32(), {x}); }
Value GpuBuilder::rsqrt(Value x) { return intrinsic("llvm.nvvm.rsqrt.approx.ftz.f", f32(), {x}); }
Value GpuBuilder::rcp(Value x) { return intrinsic("llvm.nvvm.rcp.approx.ftz.f", f32(), {x}); }
Value GpuBuilder::tanh(Value x) {
  // Approximate tanh is the one form that the back end has.
  return create<LLVM::TanhOp>(f32(), x, LLVM::FastmathFlags::afn);
}

Value GpuBuilder::threadX() { return create<NVVM::ThreadIdXOp>(i32()); }
Value GpuBuilder::blockX() { return create<NVVM::BlockIdXOp>(i32()); }
Value GpuBuilder::blockY() { return create<NVVM::BlockIdYOp>(i32()); }
Value GpuBuilder::blockZ() { return create<NVVM::BlockIdZOp>(i32()); }
Value GpuBuilder::gridX() { return create<NVVM::GridDimXOp>(i32()); }

Value GpuBuilder::dynamicShared() { return create<LLVM::AddressOfOp>(ptr(kShared), "dynamic_shared"); }
Value GpuBuilder::gep(Value pointer, Value byteOffset) {
  return create<LLVM::GEPOp>(pointer.getType(), i8(), pointer, ArrayRef<LLVM::GEPArg>{byteOffset});
}
Value GpuBuilder::gep(Value pointer, int64_t byteOffset) {
  if (byteOffset == 0)
    return pointer;
  return create<LLVM::GEPOp>(pointer.getType(), i8(), pointer, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(byteOffset)});
}
Value GpuBuilder::load(Type type, Value pointer, unsigned alignment) {
  return create<LLVM::LoadOp>(type, pointer, alignment);
}
void GpuBuilder::store(Value value, Value pointer, unsigned alignment) {
  create<LLVM::StoreOp>(value, pointer, alignment);
}
void GpuBuilder::cpAsync16(Value shared, Value global, Value bytes) {
  create<NVVM::CpAsyncOp>(shared, global, b.getI32IntegerAttr(16),
                          NVVM::LoadCacheModifierKindAttr::get(b.getContext(), NVVM::LoadCacheModifierKind::CG), bytes);
}
void GpuBuilder::cpAsync(Value shared, Value global, int size, Value bytes) {
  if (size == 16)
    return cpAsync16(shared, global, bytes);
  create<NVVM::CpAsyncOp>(shared, global, b.getI32IntegerAttr(size),
                          NVVM::LoadCacheModifierKindAttr::get(b.getContext(), NVVM::LoadCacheModifierKind::CA), bytes);
}
void GpuBuilder::cpAsyncCommit() { create<NVVM::CpAsyncCommitGroupOp>(); }
void GpuBuilder::cpAsyncWait(unsigned pending) { create<NVVM::CpAsyncWaitGroupOp>(pending); }
void GpuBuilder::barrier() { create<NVVM::Barrier0Op>(); }

Value GpuBuilder::extract(Value aggregate, int64_t position) {
  return create<LLVM::ExtractValueOp>(aggregate, ArrayRef<int64_t>{position});
}
Value GpuBuilder::intrinsic(StringRef name, Type result, ValueRange operands) {
  return create<LLVM::CallIntrinsicOp>(result, b.getStringAttr(name), operands).getResult(0);
}
std::array<Value, 4> GpuBuilder::ldmatrix4(Value shared, bool transpose) {
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), {i32(), i32(), i32(), i32()});
  Value all = intrinsic(transpose ? "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.trans.b16"
                                  : "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4.b16",
                        type, {shared});
  return {extract(all, 0), extract(all, 1), extract(all, 2), extract(all, 3)};
}
std::array<Value, 2> GpuBuilder::ldmatrix2(Value shared) {
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), {i32(), i32()});
  Value both = intrinsic("llvm.nvvm.ldmatrix.sync.aligned.m8n8.x2.b16", type, {shared});
  return {extract(both, 0), extract(both, 1)};
}

Value GpuBuilder::shuffleXorI32(Value value, int mask) {
  return intrinsic("llvm.nvvm.shfl.sync.bfly.i32", i32(), {c32(-1), value, c32(mask), c32(31)});
}
Value GpuBuilder::shuffleXor(Value value, int mask) {
  return intrinsic("llvm.nvvm.shfl.sync.bfly.f32", f32(), {c32(-1), value, c32(mask), c32(31)});
}

Value GpuBuilder::toE4M3x2(Value low, Value high) {
  return intrinsic("llvm.nvvm.ff.to.e4m3x2.rn", i16(), {high, low});
}
std::array<Value, 2> GpuBuilder::fromE4M3x2(Value codes) {
  Value v = intrinsic("llvm.nvvm.e4m3x2.to.f16x2.rn", VectorType::get(2, b.getF16Type()), {codes});
  return fromHalf2(create<LLVM::BitcastOp>(i32(), v), /*bf16=*/false);
}
Value GpuBuilder::toHalf2(Value low, Value high, bool bf16) {
  Type pair = VectorType::get(2, bf16 ? Type(b.getBF16Type()) : Type(b.getF16Type()));
  Value v = intrinsic(bf16 ? "llvm.nvvm.ff2bf16x2.rn" : "llvm.nvvm.ff2f16x2.rn", pair, {high, low});
  return create<LLVM::BitcastOp>(i32(), v);
}
std::array<Value, 2> GpuBuilder::fromHalf2(Value pair, bool bf16) {
  if (bf16) {
    // A bf16 is the high half of the f32 with the same value.
    Value low = create<arith::BitcastOp>(f32(), shl(pair, 16));
    Value high = create<arith::BitcastOp>(f32(), andi(pair, static_cast<int32_t>(0xffff0000)));
    return {low, high};
  }
  Value v = create<LLVM::BitcastOp>(VectorType::get(2, b.getF16Type()), pair);
  Value low = create<LLVM::ExtractElementOp>(v, c32(0));
  Value high = create<LLVM::ExtractElementOp>(v, c32(1));
  return {create<arith::ExtFOp>(f32(), low), create<arith::ExtFOp>(f32(), high)};
}
