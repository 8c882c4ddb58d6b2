//===- Interpreter.cpp - evaluates vit modules, slowly and plainly --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/Reference/Interpreter.h"

#include "Evaluate.h"
#include "vitrify/Weights/SafeTensors.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Threading.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

struct Interpreter::Sources {
  std::map<std::string, SafeTensorsFile> open; ///< by symbol
};

Interpreter::Interpreter(ModuleOp owner, std::string folder)
    : module(owner), baseFolder(std::move(folder)), sources(std::make_unique<Sources>()) {}
Interpreter::~Interpreter() = default;

void reference::parallel(Operation *op, int64_t n, llvm::function_ref<void(int64_t)> f) {
  mlir::parallelFor(op->getContext(), 0, n, [&](size_t i) { f(static_cast<int64_t>(i)); });
}

RefTensor reference::roundToType(RefTensor tensor, Type type) {
  return roundTo(*dtypeOf(getElementTypeOrSelf(type)), std::move(tensor));
}

FailureOr<std::vector<int64_t>> reference::segmentOffsets(Operation *op, std::optional<int64_t> uniform,
                                                          const RefTensor *cuSeqlens, int64_t rows) {
  std::vector<int64_t> offsets;
  if (uniform) {
    if (*uniform <= 0 || rows % *uniform)
      return op->emitOpError() << "expected a multiple of " << *uniform << " rows, found " << rows;
    for (int64_t at = 0; at <= rows; at += *uniform)
      offsets.push_back(at);
    return offsets;
  }
  offsets = cuSeqlens->ints;
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != rows || !llvm::is_sorted(offsets))
    return op->emitOpError() << "cu_seqlens must rise from 0 to the number of rows, " << rows;
  return offsets;
}

/// One-element integer tensor of an index.
static RefTensor indexTensor(int64_t value) {
  RefTensor result(DType::I64, {});
  result.ints[0] = value;
  return result;
}

/// A slice with unit or larger strides, of any rank.
static FailureOr<Results> evaluateSlice(tensor::ExtractSliceOp op, const Environment &values) {
  auto number = [&](OpFoldResult value) {
    if (auto attribute = dyn_cast<Attribute>(value))
      return cast<IntegerAttr>(attribute).getInt();
    return values[cast<Value>(value)].ints[0];
  };
  const RefTensor &x = values[op.getSource()];
  SmallVector<int64_t> offsets = llvm::map_to_vector(op.getMixedOffsets(), number);
  SmallVector<int64_t> sizes = llvm::map_to_vector(op.getMixedSizes(), number);
  SmallVector<int64_t> strides = llvm::map_to_vector(op.getMixedStrides(), number);
  for (size_t d = 0; d < sizes.size(); ++d)
    if (offsets[d] < 0 || sizes[d] < 0 || (sizes[d] && offsets[d] + (sizes[d] - 1) * strides[d] >= x.shape[d]))
      return op.emitOpError() << "slice of dimension " << d << " goes past its size " << x.shape[d];
  RefTensor result(x.dtype, {sizes.begin(), sizes.end()});
  for (int64_t i = 0, n = result.elements(); i < n; ++i) {
    int64_t rest = i, from = 0, step = 1;
    for (int64_t d = static_cast<int64_t>(sizes.size()) - 1; d >= 0; --d) {
      from += (offsets[d] + rest % sizes[d] * strides[d]) * step;
      rest /= sizes[d];
      step *= x.shape[d];
    }
    if (x.isFloatKind())
      result.floats[i] = x.floats[from];
    else
      result.ints[i] = x.ints[from];
  }
  if (op.getType().getRank() != static_cast<int64_t>(result.shape.size())) { // unit dimensions dropped
    std::vector<int64_t> kept;
    llvm::SmallBitVector dropped = op.getDroppedDims();
    for (size_t d = 0; d < sizes.size(); ++d)
      if (!dropped.test(d))
        kept.push_back(sizes[d]);
    result.shape = kept;
  }
  return Results{std::move(result)};
}

static FailureOr<Results> evaluateOp(Operation *op, const Environment &values) {
  return TypeSwitch<Operation *, FailureOr<Results>>(op)
      .Case<PatchEmbedOp, LinearOp, NormOp, AttentionOp>([&](auto fused) -> FailureOr<Results> {
        FailureOr<RefTensor> accumulator = accumulate(fused, values);
        if (failed(accumulator))
          return failure();
        return applyEpilogue(fused, std::move(*accumulator), values);
      })
      .Case<AssembleTokensOp, PosGatherOp, MergePatchesOp, EmbedOp, ScatterRowsOp, PoolOp, ResidualOp, ActOp, GluOp,
            GateOp, GroupTokensOp, GroupedLinearOp, RopeOp, CacheAppendOp, ConvertOp, QuantizeOp, DequantizeOp>(
          [&](auto plain) { return evaluate(plain, values); })
      .Case([&](tensor::ExtractSliceOp slice) { return evaluateSlice(slice, values); })
      .Case([&](tensor::DimOp dim) -> FailureOr<Results> {
        int64_t index = values[dim.getIndex()].ints[0];
        const RefTensor &x = values[dim.getSource()];
        if (index < 0 || index >= static_cast<int64_t>(x.shape.size()))
          return dim.emitOpError() << "dimension " << index << " of a tensor of rank " << x.shape.size();
        return Results{indexTensor(x.shape[index])};
      })
      .Case([&](arith::ConstantOp constant) -> FailureOr<Results> {
        if (auto integer = dyn_cast<IntegerAttr>(constant.getValue()))
          return Results{indexTensor(integer.getInt())};
        if (auto elements = dyn_cast<ElementsAttr>(constant.getValue()))
          if (FailureOr<RefTensor> tensor = fromAttribute(elements); succeeded(tensor))
            return Results{std::move(*tensor)};
        return constant.emitOpError("is of a type that the interpreter does not evaluate");
      })
      .Default([](Operation *other) -> FailureOr<Results> {
        return other->emitOpError("is not evaluated by the reference interpreter");
      });
}

FailureOr<std::shared_ptr<const RefTensor>> Interpreter::weight(FlatSymbolRefAttr name, Operation *user) {
  auto [entry, isNew] = weights.try_emplace(name.getValue().str());
  if (!isNew) {
    if (!entry->second)
      return user->emitOpError() << "weight " << name << " derives from itself";
    return entry->second;
  }
  auto op = module.lookupSymbol<WeightOp>(name.getAttr());
  if (!op)
    return user->emitOpError() << "expected a vit.weight of the name " << name;
  Environment values;
  for (Operation &step : op.getBody().front()) {
    std::shared_ptr<const RefTensor> result;
    if (auto yield = dyn_cast<YieldOp>(step)) {
      return weights[name.getValue().str()] = values.shared(yield.getOperand(0));
    } else if (auto get = dyn_cast<GetOp>(step)) {
      FailureOr<std::shared_ptr<const RefTensor>> other = weight(get.getNameAttr(), get);
      if (failed(other))
        return failure();
      result = *other;
    } else if (auto read = dyn_cast<ReadOp>(step)) {
      auto source = module.lookupSymbol<SourceOp>(read.getSourceAttr().getAttr());
      if (!source)
        return read.emitOpError() << "expected a vit.source of the name " << read.getSourceAttr();
      auto open = sources->open.find(source.getSymName().str());
      if (open == sources->open.end()) {
        std::string path = source.getPath().starts_with("/") ? source.getPath().str()
                                                            : baseFolder + "/" + source.getPath().str();
        StatusOr<SafeTensorsFile> file = SafeTensorsFile::open(path);
        if (!file)
          return source.emitOpError() << file.status().message();
        std::string digest = llvm::toHex(llvm::ArrayRef(file->header().digest.data(), file->header().digest.size()), true);
        if (digest != source.getHeaderSha256() || file->mapped().size() != static_cast<uint64_t>(source.getSize()))
          return source.emitOpError() << path << " is not the file that was imported: its size or header changed";
        open = sources->open.emplace(source.getSymName().str(), std::move(*file)).first;
      }
      const TensorInfo *info = open->second.find(read.getTensor());
      if (!info)
        return read.emitOpError() << "the file has no tensor \"" << read.getTensor() << "\"";
      StatusOr<RefTensor> tensor = fromBytes(info->dtype, info->shape, open->second.data(*info));
      auto type = read.getResult().getType();
      if (!tensor || tensor->shape != type.getShape().vec() || dtypeOf(type.getElementType()) != info->dtype)
        return read.emitOpError() << "the file's tensor is " << dtypeName(info->dtype) << ' ' << shapeString(info->shape)
                                  << ", expected " << type;
      result = std::make_shared<RefTensor>(std::move(*tensor));
    } else {
      FailureOr<RefTensor> tensor = evaluateRecipeOp(&step, values);
      if (failed(tensor))
        return failure();
      result = std::make_shared<RefTensor>(std::move(*tensor));
    }
    values.set(step.getResult(0), std::move(result));
  }
  return op.emitOpError("yields nothing");
}

FailureOr<std::vector<RefTensor>> Interpreter::run(func::FuncOp function, std::vector<RefTensor> arguments) {
  if (function.isExternal() || !function.getBody().hasOneBlock())
    return function.emitOpError("expected a function with one block");
  if (arguments.size() != function.getNumArguments())
    return function.emitOpError() << "expected " << function.getNumArguments() << " arguments, found " << arguments.size();
  Environment values;
  for (auto [argument, tensor] : llvm::zip(function.getArguments(), arguments)) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    bool fits = type && dtypeOf(type.getElementType()) == tensor.dtype &&
                type.getRank() == static_cast<int64_t>(tensor.shape.size());
    for (size_t d = 0; fits && d < tensor.shape.size(); ++d)
      fits = type.isDynamicDim(d) || type.getDimSize(d) == tensor.shape[d];
    if (!fits)
      return function.emitOpError() << "argument " << argument.getArgNumber() << ": expected " << argument.getType() << ", found "
                                    << dtypeName(tensor.dtype) << ' ' << shapeString(tensor.shape);
    values.set(argument, std::make_shared<RefTensor>(std::move(tensor)));
  }

  llvm::DenseMap<Value, unsigned> usesLeft;
  for (Operation &op : function.getBody().front()) {
    if (auto done = dyn_cast<func::ReturnOp>(op)) {
      std::vector<RefTensor> results;
      for (Value value : done.getOperands())
        results.push_back(values[value]);
      return results;
    }
    if (auto get = dyn_cast<GetOp>(op)) {
      FailureOr<std::shared_ptr<const RefTensor>> tensor = weight(get.getNameAttr(), get);
      if (failed(tensor))
        return failure();
      values.set(get.getResult(), *tensor);
      continue;
    }
    FailureOr<Results> results = evaluateOp(&op, values);
    if (failed(results))
      return failure();
    for (auto [number, tensor] : llvm::enumerate(*results)) {
      auto type = dyn_cast<RankedTensorType>(op.getResult(number).getType());
      for (size_t d = 0; type && d < tensor.shape.size(); ++d)
        if (!type.isDynamicDim(d) && type.getDimSize(d) != tensor.shape[d])
          return op.emitOpError() << "result " << number << " has shape " << shapeString(tensor.shape) << ", expected " << type;
      if (auto layers = op.getAttrOfType<ArrayAttr>("layers"); layers && observer)
        observer(&op, layers, number, tensor);
      values.set(op.getResult(number), std::make_shared<RefTensor>(std::move(tensor)));
    }
    for (Value operand : op.getOperands()) {
      unsigned &left = usesLeft.try_emplace(operand, std::distance(operand.use_begin(), operand.use_end())).first->second;
      if (--left == 0)
        values.drop(operand);
    }
  }
  return function.emitOpError("does not return");
}
