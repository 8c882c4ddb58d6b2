//===- WeightOps.cpp - steps of a weight's recipe, on whole tensors --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Evaluate.h"

#include "vitrify/Support/Float8.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

/// A tensor of `shape` whose element at each index is x's element at from(index).
static RefTensor rearranged(const RefTensor &x, std::vector<int64_t> shape,
                            llvm::function_ref<void(std::vector<int64_t> &index)> from) {
  RefTensor result(x.dtype, std::move(shape));
  std::vector<int64_t> index(result.shape.size());
  for (int64_t i = 0, n = result.elements(); i < n; ++i) {
    int64_t rest = i;
    for (size_t d = index.size(); d-- > 0; rest /= result.shape[d])
      index[d] = rest % result.shape[d];
    std::vector<int64_t> source = index;
    from(source);
    int64_t at = 0;
    for (size_t d = 0; d < source.size(); ++d)
      at = at * x.shape[d] + source[d];
    if (x.isFloatKind())
      result.floats[i] = x.floats[at];
    else
      result.ints[i] = x.ints[at];
  }
  return result;
}

static RefTensor concat(ArrayRef<const RefTensor *> parts, int64_t axis) {
  std::vector<int64_t> shape = parts.front()->shape;
  shape[axis] = 0;
  for (const RefTensor *part : parts)
    shape[axis] += part->shape[axis];
  RefTensor result(parts.front()->dtype, shape);
  int64_t inner = 1, outer = 1, to = 0;
  for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d)
    (d < axis ? outer : inner) *= d == axis ? 1 : shape[d];
  for (int64_t o = 0; o < outer; ++o)
    for (const RefTensor *part : parts)
      for (int64_t i = 0, n = part->shape[axis] * inner; i < n; ++i, ++to) {
        if (result.isFloatKind())
          result.floats[to] = part->floats[o * n + i];
        else
          result.ints[to] = part->ints[o * n + i];
      }
  return result;
}

static RefTensor amax(AmaxOp op, const RefTensor &x) {
  if (auto block = op.getBlock()) {
    int64_t high = (*block)[0], wide = (*block)[1], across = (x.columns() + wide - 1) / wide;
    RefTensor result(DType::F32, {(x.rows() + high - 1) / high, across});
    for (int64_t i = 0; i < x.elements(); ++i) {
      float &largest = result.floats[i / x.columns() / high * across + i % x.columns() / wide];
      largest = std::max(largest, std::fabs(x.floats[i]));
    }
    for (float &value : result.floats)
      value = value == 0 ? 1.0f : static_cast<float>(value / op.getDivisor().convertToDouble());
    return result;
  }
  bool byRow = op.getAxis().has_value();
  float divisor = static_cast<float>(op.getDivisor().convertToDouble());
  RefTensor result(DType::F32, {byRow ? x.rows() : 1});
  for (int64_t i = 0; i < x.elements(); ++i) {
    float &largest = result.floats[byRow ? i / x.columns() : 0];
    largest = std::max(largest, std::fabs(x.floats[i]));
  }
  for (float &value : result.floats)
    value = value == 0 ? 1.0f : value / divisor;
  return result;
}

static RefTensor sumOfRows(const RefTensor &x) {
  RefTensor result(DType::F32, {x.rows()});
  for (int64_t m = 0; m < x.rows(); ++m) {
    double sum = 0;
    for (int64_t k = 0; k < x.columns(); ++k)
      sum += x.isFloatKind() ? x.floats[m * x.columns() + k] : static_cast<double>(x.ints[m * x.columns() + k]);
    result.floats[m] = static_cast<float>(sum);
  }
  return result;
}

/// Index of y's element for x's element i, by the broadcasting rules of vit.mul, vit.add and vit.sub.
static int64_t broadcastIndex(const RefTensor &x, const RefTensor &y, bool columns, int64_t i) {
  if (y.shape == x.shape)
    return i;
  if (y.elements() == 1)
    return 0;
  return columns ? i % x.columns() : i / x.columns();
}

template <typename Op, typename F> static RefTensor binary(Op op, const Environment &values, F f) {
  const RefTensor &x = values[op.getLhs()], &y = values[op.getRhs()];
  RefTensor result(DType::F32, x.shape);
  for (int64_t i = 0; i < x.elements(); ++i)
    result.floats[i] = f(x.floats[i], y.floats[broadcastIndex(x, y, op.getColumns(), i)]);
  return result;
}

/// The scale of element i of x: one for all, one a row, or one for each block of `block` = [rows, columns].
static float scaleOf(const RefTensor &x, const RefTensor &scale, std::optional<ArrayRef<int64_t>> block, int64_t i) {
  if (block)
    return scale.floats[i / x.columns() / (*block)[0] * scale.columns() + i % x.columns() / (*block)[1]];
  return scale.floats[scale.elements() == 1 ? 0 : i / (x.elements() / x.shape[0])];
}

FailureOr<RefTensor> reference::evaluateRecipeOp(Operation *step, const Environment &values) {
  auto shapeOf = [&] { return cast<RankedTensorType>(step->getResult(0).getType()).getShape().vec(); };
  return llvm::TypeSwitch<Operation *, FailureOr<RefTensor>>(step)
      .Case([&](LiteralOp op) -> FailureOr<RefTensor> {
        FailureOr<RefTensor> value = fromAttribute(op.getValue());
        if (failed(value))
          return op.emitOpError("expected a dense value");
        return value;
      })
      .Case([&](SliceOp op) {
        return rearranged(values[op.getInput()], shapeOf(), [&](auto &index) { index[op.getAxis()] += op.getBegin(); });
      })
      .Case([&](GatherOp op) {
        return rearranged(values[op.getInput()], shapeOf(),
                          [&](auto &index) { index[op.getAxis()] = op.getIndices()[index[op.getAxis()]]; });
      })
      .Case([&](ConcatOp op) {
        return concat(llvm::map_to_vector(op.getInputs(), [&](Value v) { return &values[v]; }), op.getAxis());
      })
      .Case([&](TransposeOp op) {
        return rearranged(values[op.getInput()], shapeOf(), [](auto &index) { std::swap(index[0], index[1]); });
      })
      .Case([&](ReshapeOp op) {
        RefTensor result = values[op.getInput()];
        result.shape = shapeOf();
        return result;
      })
      .Case([&](CastOp op) { return roundToType(values[op.getInput()], op.getType()); })
      .Case([&](AmaxOp op) { return amax(op, values[op.getInput()]); })
      .Case([&](SumOp op) { return sumOfRows(values[op.getInput()]); })
      .Case([&](RecipOp op) {
        RefTensor result = values[op.getInput()];
        for (float &value : result.floats)
          value = 1.0f / value;
        return result;
      })
      .Case([&](MulOp op) { return binary(op, values, [](float a, float b) { return a * b; }); })
      .Case([&](AddOp op) { return binary(op, values, [](float a, float b) { return a + b; }); })
      .Case([&](SubOp op) { return binary(op, values, [](float a, float b) { return a - b; }); })
      .Case([&](RoundOp op) {
        const RefTensor &x = values[op.getInput()], &scale = values[op.getScale()];
        RefTensor codes(DType::F32, x.shape);
        for (int64_t i = 0; i < x.elements(); ++i) {
          float by = scaleOf(x, scale, op.getBlock(), i);
          codes.floats[i] = by == 0 && isa<Float4E2M1FNType>(getElementTypeOrSelf(op.getType())) ? 0.0f : x.floats[i] * (1.0f / by);
        }
        return roundToType(std::move(codes), op.getType());
      })
      .Case([&](DequantOp op) {
        const RefTensor codes = roundTo(DType::F32, values[op.getCodes()]), &scale = values[op.getScale()];
        RefTensor result(DType::F32, codes.shape);
        for (int64_t i = 0; i < codes.elements(); ++i)
          result.floats[i] = codes.floats[i] * scaleOf(codes, scale, op.getBlock(), i);
        return result;
      })
      .Case([&](BlocksOp op) {
        const RefTensor &codes = values[op.getCodes()], &scales = values[op.getScales()];
        RefTensor result(DType::F4E2M1, shapeOf());
        for (int64_t i = 0; i < result.elements(); ++i) {
          uint8_t scale = encodeE4M3(scales.floats[i / 18]);
          result.floats[i] = i % 18 < 16 ? codes.floats[i / 18 * 16 + i % 18] : decodeE2M1(i % 18 == 16 ? scale & 15 : scale >> 4);
        }
        return result;
      })
      .Case([&](PadOp op) {
        const RefTensor &x = values[op.getInput()];
        std::vector<int64_t> more = x.shape;
        more[op.getAxis()] = shapeOf()[op.getAxis()] - x.shape[op.getAxis()];
        RefTensor zeros(x.dtype, more);
        return concat({&x, &zeros}, op.getAxis());
      })
      .Default([](Operation *other) -> FailureOr<RefTensor> {
        return other->emitOpError("is not a step of a weight's recipe");
      });
}
