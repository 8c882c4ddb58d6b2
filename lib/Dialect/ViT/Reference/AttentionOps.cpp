//===- AttentionOps.cpp - attention, rotary positions, cache -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Evaluate.h"

#include <cmath>

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

FailureOr<RefTensor> reference::accumulate(AttentionOp op, const Environment &values) {
  const RefTensor &q = values[op.getQuery()], &k = values[op.getKey()], &v = values[op.getValue()];
  const RefTensor *mask = values.optional(op.getKeyMask());
  const RefTensor *cuQ = values.optional(op.getCuSeqlensQ()), *cuK = values.optional(op.getCuSeqlensK());
  std::optional<int64_t> uniform = op.getUniform();
  std::optional<int64_t> kvUniform = op.getKvUniform();
  if (!kvUniform)
    kvUniform = uniform;
  FailureOr<std::vector<int64_t>> keys = segmentOffsets(op, kvUniform, cuK ? cuK : cuQ, k.rows());
  FailureOr<std::vector<int64_t>> queries = segmentOffsets(op, uniform, cuQ, q.rows());
  if (failed(keys) || failed(queries))
    return failure();
  int64_t segments = keys->size() - 1;
  bool probe = uniform && q.rows() == *uniform && segments > 1; // the same queries for every segment of keys
  if (!probe && queries->size() != keys->size())
    return op.emitOpError() << "found " << queries->size() - 1 << " segments of queries and " << segments << " of keys";
  if (mask && mask->elements() != k.rows())
    return op.emitOpError() << "key_mask has " << mask->elements() << " elements, expected " << k.rows();

  int64_t heads = op.getHeads(), perKv = heads / op.getKvHeads(), hd = q.columns() / heads;
  double scale = op.getScale().convertToDouble();
  RefTensor acc(DType::F32, {probe ? segments * *uniform : q.rows(), q.columns()});
  parallel(op, segments * heads, [&](int64_t index) {
    int64_t s = index / heads, h = index % heads;
    int64_t q0 = probe ? 0 : (*queries)[s], length = probe ? *uniform : (*queries)[s + 1] - q0;
    int64_t out0 = probe ? s * *uniform : q0, k0 = (*keys)[s], count = (*keys)[s + 1] - k0;
    for (int64_t i = 0; i < length; ++i) {
      std::vector<double> score(count, -std::numeric_limits<double>::infinity());
      double largest = -std::numeric_limits<double>::infinity(), total = 0;
      for (int64_t j = 0; j < count; ++j) {
        if ((op.getCausal() && j > i + count - length) || (mask && mask->ints[k0 + j] == 0))
          continue;
        double dot = 0;
        for (int64_t d = 0; d < hd; ++d)
          dot += static_cast<double>(q.floats[(q0 + i) * q.columns() + h * hd + d]) *
                 k.floats[(k0 + j) * k.columns() + h / perKv * hd + d];
        score[j] = scale * dot;
        largest = std::max(largest, score[j]);
      }
      if (largest == -std::numeric_limits<double>::infinity())
        continue; // sees no key: 0
      std::vector<double> sum(hd);
      for (int64_t j = 0; j < count; ++j) {
        double p = std::exp(score[j] - largest);
        total += p;
        for (int64_t d = 0; d < hd && p > 0; ++d)
          sum[d] += p * v.floats[(k0 + j) * v.columns() + h / perKv * hd + d];
      }
      for (int64_t d = 0; d < hd; ++d)
        acc.floats[(out0 + i) * q.columns() + h * hd + d] = static_cast<float>(sum[d] / total);
    }
  });
  return acc;
}

FailureOr<Results> reference::evaluate(RopeOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()], &positions = values[op.getPositions()];
  int64_t hd = op.getHeadDim(), half = hd / 2, rows = x.rows();
  if (positions.columns() != rows)
    return op.emitOpError() << "positions have " << positions.columns() << " columns, expected one a row, " << rows;
  double theta = op.getTheta().convertToDouble();
  std::optional<ArrayRef<int64_t>> sections = op.getSections();
  RefTensor result(x.dtype, x.shape);
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t s = 0; s < half; ++s) {
      int64_t axis = 0, slot = s, slots = half;
      if (op.getKind() == RopeKind::Vision2D) {
        slots = half / 2;
        axis = s >= slots;
        slot = s % slots;
      } else if (sections) {
        for (int64_t a : {1, 2})
          if (s % 3 == a && s < 3 * (*sections)[a])
            axis = a;
      }
      // Frequency and angle in f32, as the models compute them.
      float frequency = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(slot) / slots));
      float angle = static_cast<float>(positions.ints[axis * rows + m]) * frequency;
      double cosine = std::cos(static_cast<double>(angle)), sine = std::sin(static_cast<double>(angle));
      for (int64_t head = 0; head < x.columns(); head += hd) {
        int64_t low = m * x.columns() + head + s, high = low + half;
        double a = x.floats[low], b = x.floats[high];
        result.floats[low] = roundTo(x.dtype, static_cast<float>(a * cosine - b * sine));
        result.floats[high] = roundTo(x.dtype, static_cast<float>(b * cosine + a * sine));
      }
    }
  return Results{std::move(result)};
}

FailureOr<Results> reference::evaluate(CacheAppendOp op, const Environment &values) {
  RefTensor result = values[op.getCache()];
  const RefTensor &rows = values[op.getRows()], &lengths = values[op.getLengths()];
  FailureOr<std::vector<int64_t>> segments = segmentOffsets(op, std::nullopt, &values[op.getCuSeqlens()], rows.rows());
  if (failed(segments))
    return failure();
  int64_t count = result.shape[0], capacity = result.shape[1], d = result.shape[2];
  if (static_cast<int64_t>(segments->size()) != count + 1 || lengths.elements() != count)
    return op.emitOpError() << "expected " << count << " segments, found " << segments->size() - 1;
  for (int64_t s = 0; s < count; ++s)
    for (int64_t row = (*segments)[s]; row < (*segments)[s + 1]; ++row) {
      int64_t at = lengths.ints[s] + row - (*segments)[s];
      if (at < 0 || at >= capacity)
        return op.emitOpError() << "row " << at << " of segment " << s << " is past the capacity " << capacity;
      std::copy_n(rows.floats.begin() + row * d, d, result.floats.begin() + (s * capacity + at) * d);
    }
  return Results{std::move(result)};
}
