//===- ComputeOps.cpp - linear, norms, activations, gates, residual --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Evaluate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

double reference::activate(ActKind kind, double x) {
  switch (kind) {
  case ActKind::GeluErf: return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  case ActKind::GeluTanh:
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  case ActKind::QuickGelu: return x / (1 + std::exp(-1.702 * x));
  case ActKind::Silu: return x / (1 + std::exp(-x));
  case ActKind::Relu: return x < 0 ? 0 : x; // NaN stays NaN
  case ActKind::Tanh: return std::tanh(x);
  case ActKind::Sigmoid: return 1 / (1 + std::exp(-x));
  }
  llvm_unreachable("a new activation needs a formula here");
}

/// Element (m, k) of a matrix times its scale, whose columns (and rows) stand for blocks.
static std::vector<double> scaled(const RefTensor &x, const RefTensor *scales) {
  std::vector<double> result(x.elements());
  int64_t columns = x.columns();
  for (int64_t i = 0; i < x.elements(); ++i) {
    result[i] = x.isFloatKind() ? x.floats[i] : static_cast<double>(x.ints[i]);
    if (!scales)
      continue;
    int64_t high = (x.rows() + scales->rows() - 1) / scales->rows(), wide = columns / scales->columns();
    result[i] *= scales->floats[i / columns / high * scales->columns() + i % columns / wide];
  }
  return result;
}

/// left [M, K] times the transpose of right [N, K], summed in f64.
static RefTensor product(Operation *op, const std::vector<double> &left, const std::vector<double> &right, int64_t m, int64_t n,
                         int64_t k) {
  std::vector<double> transposed(right.size()); // rows of it are added up, so that the inner loop is over columns
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j)
      transposed[j * n + i] = right[i * k + j];
  constexpr int64_t kRows = 8; // rows a piece, so that a row of the transposed weight is loaded once for all of them
  RefTensor acc(DType::F32, {m, n});
  parallel(op, (m + kRows - 1) / kRows, [&](int64_t piece) {
    int64_t begin = piece * kRows, rows = std::min(kRows, m - begin);
    std::vector<double> sum(rows * n);
    for (int64_t j = 0; j < k; ++j)
      for (int64_t r = 0; r < rows; ++r) {
        double factor = left[(begin + r) * k + j];
        for (int64_t i = 0; i < n; ++i)
          sum[r * n + i] += factor * transposed[j * n + i];
      }
    std::copy(sum.begin(), sum.end(), acc.floats.begin() + begin * n);
  });
  return acc;
}

FailureOr<RefTensor> reference::accumulate(LinearOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()], &w = values[op.getWeight()];
  return product(op, scaled(x, values.optional(op.getXScales())), scaled(w, values.optional(op.getWScales())), x.rows(),
                 w.rows(), w.columns());
}

/// Whether block b lists row m, at [m * blocks + b].
static FailureOr<std::vector<bool>> listed(GroupedLinearOp op, const Environment &values, int64_t rows) {
  const RefTensor &list = values[op.getRows()], &starts = values[op.getStarts()];
  int64_t blocks = op.getBlocks();
  std::vector<bool> result(rows * blocks);
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t count = starts.ints[(starts.rows() - 1) * blocks + b];
    if (count < 0 || count > rows || list.elements() != rows * blocks)
      return op.emitOpError() << "a list of " << count << " of " << rows << " rows in " << list.elements() << " entries";
    for (int64_t i = 0; i < count; ++i) {
      int64_t row = list.ints[b * rows + i];
      if (row < 0 || row >= rows)
        return op.emitOpError() << "lists row " << row << " of " << rows;
      result[row * blocks + b] = true;
    }
  }
  return result;
}

FailureOr<Results> reference::evaluate(GroupedLinearOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()], &w = values[op.getWeight()];
  int64_t rows = x.rows(), k = w.columns(), blocks = op.getBlocks(), block = op.getBlock();
  auto on = listed(op, values, rows);
  if (failed(on))
    return failure();
  std::vector<double> left = scaled(x, nullptr);
  bool columns = op.getAxis() == GroupedAxis::Columns;
  for (int64_t i = 0; !columns && i < rows * k; ++i)
    if (!(*on)[i / k * blocks + i % k / block])
      left[i] = 0;
  FailureOr<Results> results = applyEpilogue(op, product(op, left, scaled(w, nullptr), rows, w.rows(), k), values);
  if (failed(results) || !columns)
    return results;
  for (RefTensor &result : *results)
    for (int64_t i = 0, n = result.columns(); i < result.elements(); ++i)
      if (!(*on)[i / n * blocks + i % n / block])
        (result.isFloatKind() ? result.floats[i] = 0.0f : result.ints[i] = 0);
  return results;
}

FailureOr<Results> reference::evaluate(GroupTokensOp op, const Environment &values) {
  const RefTensor &gate = values[op.getGate()];
  int64_t rows = gate.rows(), blocks = gate.columns(), chunk = op.getChunk();
  RefTensor list(DType::I32, {rows * blocks}), starts(DType::I32, {(rows + chunk - 1) / chunk + 1, blocks});
  for (int64_t b = 0; b < blocks; ++b) {
    int64_t count = 0;
    for (int64_t m = 0; m < rows; ++m) {
      if (m % chunk == 0)
        starts.ints[m / chunk * blocks + b] = count;
      if (gate.floats[m * blocks + b] != 0)
        list.ints[b * rows + count++] = m;
    }
    starts.ints[(starts.rows() - 1) * blocks + b] = count;
  }
  return Results{std::move(list), std::move(starts)};
}

FailureOr<RefTensor> reference::accumulate(NormOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()];
  const RefTensor *gamma = values.optional(op.getGamma()), *beta = values.optional(op.getBeta());
  int64_t width = op.getWidth().value_or(x.columns());
  double eps = op.getEps().convertToDouble();
  RefTensor acc(DType::F32, x.shape);
  parallel(op, x.elements() / width, [&](int64_t group) {
    const float *from = x.floats.data() + group * width;
    float *to = acc.floats.data() + group * width;
    double mean = op.getKind() == NormKind::Layer ? std::accumulate(from, from + width, 0.0) / width : 0.0;
    double square = 0;
    for (int64_t i = 0; i < width; ++i)
      square += (from[i] - mean) * (from[i] - mean);
    double factor = 1 / std::sqrt(square / width + eps);
    for (int64_t i = 0; i < width; ++i)
      to[i] = static_cast<float>((from[i] - mean) * factor * (gamma ? gamma->floats[i] : 1) + (beta ? beta->floats[i] : 0));
  });
  return acc;
}

FailureOr<Results> reference::evaluate(ResidualOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()], &y = values[op.getBranch()];
  const RefTensor *scale = values.optional(op.getScale());
  if (x.shape != y.shape)
    return op.emitOpError() << "expected equal shapes, found " << shapeString(x.shape) << " and " << shapeString(y.shape);
  RefTensor result(DType::F32, x.shape);
  for (int64_t i = 0; i < x.elements(); ++i)
    result.floats[i] = static_cast<float>(x.floats[i] + static_cast<double>(y.floats[i]) *
                                                            (scale ? scale->floats[i % x.columns()] : 1.0f));
  return Results{roundToType(std::move(result), op.getType())};
}

FailureOr<Results> reference::evaluate(ActOp op, const Environment &values) {
  RefTensor result = values[op.getInput()];
  for (float &value : result.floats)
    value = roundTo(result.dtype, static_cast<float>(activate(op.getKind(), value)));
  return Results{std::move(result)};
}

FailureOr<Results> reference::evaluate(GluOp op, const Environment &values) {
  RefTensor result = values[op.getGate()];
  const RefTensor &up = values[op.getUp()];
  if (result.shape != up.shape)
    return op.emitOpError() << "expected equal shapes, found " << shapeString(result.shape) << " and " << shapeString(up.shape);
  for (int64_t i = 0; i < result.elements(); ++i)
    result.floats[i] = static_cast<float>(activate(op.getKind(), result.floats[i]) * up.floats[i]);
  return Results{roundToType(std::move(result), op.getType())};
}

FailureOr<Results> reference::evaluate(GateOp op, const Environment &values) {
  const RefTensor &scores = values[op.getScores()];
  int64_t blocks = scores.columns();
  RefTensor result(DType::F32, scores.shape);
  for (int64_t m = 0; m < scores.rows(); ++m) {
    const float *row = scores.floats.data() + m * blocks;
    std::vector<int64_t> order(blocks);
    std::iota(order.begin(), order.end(), 0);
    std::vector<int64_t> kept;
    if (op.getKind() == GateKind::TopK) {
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return row[a] > row[b]; });
      kept.assign(order.begin(), order.begin() + std::min<int64_t>(*op.getK(), blocks));
    } else {
      double threshold = op.getThreshold()->convertToDouble();
      std::copy_if(order.begin(), order.end(), std::back_inserter(kept), [&](int64_t b) { return row[b] > threshold; });
    }
    double largest = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t b : kept)
      largest = std::max<double>(largest, row[b]);
    for (int64_t b : kept)
      total += std::exp(row[b] - largest);
    for (int64_t b : kept) {
      double weight = 1;
      switch (op.getWeight()) {
      case GateWeight::One: break;
      case GateWeight::Score: weight = row[b]; break;
      case GateWeight::Sigmoid: weight = activate(ActKind::Sigmoid, row[b]); break;
      case GateWeight::Softmax: weight = std::exp(row[b] - largest) / total; break;
      }
      result.floats[m * blocks + b] = static_cast<float>(weight);
    }
  }
  return Results{std::move(result)};
}
