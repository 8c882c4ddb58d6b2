//===- KernelFrame.cpp - the signature of an x86 kernel -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "KernelFrame.h"

#include "vitrify/Kernel/KernelKey.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

std::optional<DType> x86::storageType(Type element, std::string &numeric) {
  if (element.isF32())
    return DType::F32;
  if (element.isBF16())
    return DType::BF16;
  if (element.isF16())
    return DType::F16;
  if (element.isInteger(32))
    return DType::I32;
  if (isa<Float8E4M3FNType>(element)) {
    numeric = "F8_E4M3";
    return DType::BF16;
  }
  if (element.isInteger(8)) {
    numeric = element.isUnsignedInteger() ? "" : "I8";
    return DType::U8;
  }
  return std::nullopt;
}

std::string x86::typeText(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

Type x86::builtinType(MLIRContext *context, DType dtype) {
  switch (dtype) {
  case DType::BF16:
    return BFloat16Type::get(context);
  case DType::F16:
    return Float16Type::get(context);
  case DType::I32:
    return IntegerType::get(context, 32);
  case DType::U8:
  case DType::I8:
    return IntegerType::get(context, 8);
  default:
    return Float32Type::get(context);
  }
}

KernelFrame::KernelFrame(Operation *op, const TargetRow &row) : op(op), row(row) {}

PlanExpr KernelFrame::dimExpr(bool ofResult, unsigned index, unsigned dim) {
  Type type = ofResult ? op->getResult(index).getType() : op->getOperand(index).getType();
  int64_t size = cast<RankedTensorType>(type).getDimSize(dim);
  if (!ShapedType::isDynamic(size))
    return PlanExpr(size);
  KernelScalar scalar{ofResult, index, dim};
  auto it = llvm::find(spec.scalars, scalar);
  unsigned position = it - spec.scalars.begin();
  if (it == spec.scalars.end())
    spec.scalars.push_back(scalar);
  return PlanExpr::symbol(position);
}

void KernelFrame::add(KernelOperand operand, MemRefType type) {
  auto &types = operand.role == KernelOperand::Role::Write ? resultTypes : operandTypes;
  if (types.try_emplace(operand.index, type).second)
    spec.operands.push_back(std::move(operand));
}

void KernelFrame::use(unsigned index, bool flat) {
  Value value = op->getOperand(index);
  auto type = cast<RankedTensorType>(value.getType());
  KernelOperand operand;
  operand.index = index;
  operand.role = isWeight(value) ? KernelOperand::Role::Weight : KernelOperand::Role::Read;
  auto dtype = storageType(type.getElementType(), operand.numeric);
  if (!dtype)
    return fail("operand " + std::to_string(index) + " of element type " + typeText(type.getElementType()));
  if (operand.role == KernelOperand::Role::Weight && !operand.numeric.empty())
    return fail("an " + typeText(type.getElementType()) + " weight outside of a linear");
  operand.dtype = *dtype;
  Type element = builtinType(op->getContext(), *dtype);
  MemRefType memref;
  if (flat || type.getRank() == 0) {
    std::string why;
    auto view = type.getRank() == 2 ? rowViewOf(value, why) : FailureOr<RowView>(RowView{value, 0, 0});
    if (failed(view) || view->base != value)
      return fail("a view of columns where the whole tensor is read");
    memref = MemRefType::get({type.hasStaticShape() ? type.getNumElements() : ShapedType::kDynamic}, element);
  } else if (type.getRank() == 1) {
    memref = MemRefType::get(type.getShape(), element);
  } else if (type.getRank() == 2) {
    if (type.isDynamicDim(1))
      return fail("rows of a dynamic number of columns");
    std::string why;
    auto view = rowViewOf(value, why);
    if (failed(view))
      return fail(why);
    memref = rowsType(element, type.getDimSize(1), view->rowStride);
  } else {
    return fail("a tensor of rank " + std::to_string(type.getRank()));
  }
  add(std::move(operand), memref);
}

void KernelFrame::usePanels(unsigned index, int64_t width, int64_t depth, DType dtype, int scales) {
  bool sums = dtype == DType::I8;
  auto type = cast<RankedTensorType>(op->getOperand(index).getType());
  KernelOperand operand;
  operand.index = index;
  operand.role = KernelOperand::Role::Weight;
  operand.dtype = dtype;
  operand.scales = scales;
  operand.layout = "panel:w" + std::to_string(width) + ":k" + std::to_string(depth) + ":" +
                   std::string(dtypeName(dtype)) + (sums ? ":sums" : "");
  int64_t panels = llvm::divideCeil(type.getDimSize(0), width), steps = llvm::divideCeil(type.getDimSize(1), depth);
  if (sums)
    steps += 4 / depth;
  add(std::move(operand),
      MemRefType::get({panels, steps, width * depth}, builtinType(op->getContext(), dtype)));
}

void KernelFrame::useEpilogue() {
  if (auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op))
    for (unsigned i = 0; i < epilogue.getEpilogueIns().size(); ++i)
      use(epilogue.getEpilogueIns().getBeginOperandIndex() + i);
}

void KernelFrame::useResults(bool flat) {
  for (OpResult value : op->getResults()) {
    auto type = cast<RankedTensorType>(value.getType());
    KernelOperand operand;
    operand.index = value.getResultNumber();
    operand.role = KernelOperand::Role::Write;
    auto dtype = storageType(type.getElementType(), operand.numeric);
    if (!dtype)
      return fail("a result of element type " + typeText(type.getElementType()));
    operand.dtype = *dtype;
    Type element = builtinType(op->getContext(), *dtype);
    MemRefType memref;
    if (flat || type.getRank() != 2)
      memref = MemRefType::get({type.hasStaticShape() ? type.getNumElements() : ShapedType::kDynamic}, element);
    else if (type.isDynamicDim(1))
      return fail("a result with a dynamic number of columns");
    else
      memref = rowsType(element, type.getDimSize(1), type.getDimSize(1));
    add(std::move(operand), memref);
  }
}

void KernelFrame::finish(StringRef prefix, StringRef kind, StringRef precision, PlanExpr units) {
  llvm::stable_sort(spec.operands, [](const KernelOperand &a, const KernelOperand &b) { return a.role < b.role; });
  spec.key = kernelKey(op, std::string_view(row.name));
  spec.name = kernelName(prefix, spec.key);
  spec.layerKind = kind.str();
  spec.precision = precision.str();
  spec.grid[0] = std::move(units);
}

func::FuncOp KernelFrame::createFunction(ModuleOp module) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  SmallVector<Type> inputs(spec.scalars.size(), builder.getIndexType());
  for (const KernelOperand &operand : spec.operands)
    inputs.push_back(operand.role == KernelOperand::Role::Write ? resultTypes[operand.index]
                                                                : operandTypes[operand.index]);
  inputs.append(2, builder.getIndexType());
  function = func::FuncOp::create(builder, op->getLoc(), spec.name, builder.getFunctionType(inputs, {}));
  function->setAttr("vitrify.layer_kind", builder.getStringAttr(spec.layerKind));
  function->setAttr("vitrify.precision", builder.getStringAttr(spec.precision));
  if (spec.panels)
    function->setAttr("vitrify.panels", builder.getI64IntegerAttr(spec.panels));
  Block *entry = function.addEntryBlock();
  begin = entry->getArgument(inputs.size() - 2);
  end = entry->getArgument(inputs.size() - 1);
  return function;
}

Value KernelFrame::dimValue(LaneBuilder &b, bool ofResult, unsigned index, unsigned dim) {
  Type type = ofResult ? op->getResult(index).getType() : op->getOperand(index).getType();
  int64_t size = cast<RankedTensorType>(type).getDimSize(dim);
  if (!ShapedType::isDynamic(size))
    return b.index(size);
  auto it = llvm::find(spec.scalars, KernelScalar{ofResult, index, dim});
  assert(it != spec.scalars.end() && "a family uses only dimensions that it described");
  return function.getArgument(it - spec.scalars.begin());
}

static Value findArgument(func::FuncOp function, const KernelSpec &spec, bool write, unsigned index) {
  for (auto [i, operand] : llvm::enumerate(spec.operands))
    if ((operand.role == KernelOperand::Role::Write) == write && operand.index == index)
      return function.getArgument(spec.scalars.size() + i);
  llvm_unreachable("a family uses only operands that it described");
}
Value KernelFrame::operand(unsigned index) const { return findArgument(function, spec, false, index); }
Value KernelFrame::result(unsigned index) const { return findArgument(function, spec, true, index); }

EpilogueEmitter KernelFrame::epilogue(LaneBuilder &b) {
  SmallVector<Value> ins, outs;
  if (auto epilogue = dyn_cast<vit::EpilogueOpInterface>(op))
    for (unsigned i = 0; i < epilogue.getEpilogueIns().size(); ++i)
      ins.push_back(operand(epilogue.getEpilogueIns().getBeginOperandIndex() + i));
  for (unsigned i = 0; i < op->getNumResults(); ++i)
    outs.push_back(result(i));
  return EpilogueEmitter(b, op, ins, outs);
}

/// Permutations and scaling leave the units of multiply-adds alone, and so cost nothing beside products.
static LaneBuilder::Tables tablesOfAVX512() {
  auto call = [](LaneBuilder &b, StringRef name, ValueRange operands) -> Value {
    return LLVM::CallIntrinsicOp::create(b, b.f32Lanes(), b.getStringAttr(name), operands).getResult(0);
  };
  return {[call](LaneBuilder &b, ArrayRef<float> table, Value index) -> Value {
            Value values = arith::ConstantOp::create(b, DenseElementsAttr::get(b.f32Lanes(), table));
            return call(b, "llvm.x86.avx512.permvar.sf.512", {values, index});
          },
          [call](LaneBuilder &b, Value x, Value y) -> Value {
            Value all = arith::ConstantOp::create(b, b.getI16IntegerAttr(-1)), nearest = b.i32(4); // rounding as it is set
            return call(b, "llvm.x86.avx512.mask.scalef.ps.512", {x, y, x, all, nearest});
          }};
}

LaneBuilder KernelFrame::laneBuilder(OpBuilder &builder) {
  builder.setInsertionPointToEnd(&function.front());
  LaneBuilder::TruncBF16 trunc;
  if (row.has(MicroKernel::DotBF16))
    trunc = [](LaneBuilder &b, Value value) -> Value {
      return x86vector::CvtPackedF32ToBF16Op::create(b, b.laneType(b.getBF16Type()), value);
    };
  return LaneBuilder(op->getLoc(), builder, row.lanes, trunc, row.lanes == 16 ? tablesOfAVX512() : LaneBuilder::Tables());
}

void x86::forRowsOfUnits(KernelFrame &frame, LaneBuilder &b, Value rows, int64_t rowsPerUnit,
                         llvm::function_ref<void(Value)> body) {
  Value first = b.mulIndex(frame.begin, rowsPerUnit);
  Value last = b.minIndex(b.mulIndex(frame.end, rowsPerUnit), rows);
  b.loop(first, last, 1, body);
}
