//===- QuantOps.cpp - conversion to codes, quantise and dequantise ---*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Evaluate.h"

#include "vitrify/Support/Float8.h"

#include <cmath>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

FailureOr<Results> reference::evaluate(ConvertOp op, const Environment &values) {
  return Results{roundToType(values[op.getInput()], op.getResult().getType())};
}

FailureOr<Results> reference::evaluate(QuantizeOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()];
  const RefTensor *given = values.optional(op.getScale());
  int64_t rows = x.rows(), columns = x.columns(), wide = columns;
  if (op.getGranularity() == Granularity::Block)
    wide = *op.getBlock();
  RefTensor scales(DType::F32, op.getGranularity() == Granularity::Tensor    ? std::vector<int64_t>{1}
                               : op.getGranularity() == Granularity::Channel ? std::vector<int64_t>{columns}
                                                                             : std::vector<int64_t>{rows, columns / wide});
  auto scaleAt = [&](int64_t i) {
    switch (op.getGranularity()) {
    case Granularity::Tensor: return int64_t(0);
    case Granularity::Channel: return i % columns;
    default: return i / columns * (columns / wide) + i % columns / wide;
    }
  };
  const float largest = getElementTypeOrSelf(op.getCodes().getType()).isInteger(8) ? kI8Max : kE4M3Max;
  if (given) {
    scales.floats = given->floats;
  } else {
    for (int64_t i = 0; i < x.elements(); ++i)
      scales.floats[scaleAt(i)] = std::max(scales.floats[scaleAt(i)], std::fabs(x.floats[i]));
    for (float &scale : scales.floats)
      scale = scale > 0 ? scale / largest : 1.0f;
  }
  RefTensor codes(DType::F32, x.shape);
  for (int64_t i = 0; i < x.elements(); ++i)
    codes.floats[i] = x.floats[i] * (1.0f / scales.floats[scaleAt(i)]);
  Results results;
  results.push_back(roundToType(std::move(codes), op.getCodes().getType()));
  results.push_back(std::move(scales));
  return results;
}

FailureOr<Results> reference::evaluate(DequantizeOp op, const Environment &values) {
  const RefTensor codes = roundTo(DType::F32, values[op.getCodes()]), &scales = values[op.getScales()];
  int64_t columns = codes.columns();
  RefTensor result(DType::F32, codes.shape);
  for (int64_t i = 0; i < codes.elements(); ++i) {
    int64_t at = 0;
    if (scales.shape.size() == 2)
      at = i / columns * scales.columns() + i % columns / (columns / scales.columns());
    else if (scales.elements() > 1)
      at = i % columns;
    result.floats[i] = codes.floats[i] * scales.floats[at];
  }
  return Results{roundToType(std::move(result), op.getType())};
}
