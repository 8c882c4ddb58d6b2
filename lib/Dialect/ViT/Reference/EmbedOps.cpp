//===- EmbedOps.cpp - patches, tokens, positions, pooling --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Evaluate.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::vit;
using namespace vitrify::vit::reference;

FailureOr<RefTensor> reference::accumulate(PatchEmbedOp op, const Environment &values) {
  const RefTensor &x = values[op.getPixels()], &w = values[op.getWeight()];
  int64_t ph = op.getPatchHeight(), pw = op.getPatchWidth();
  int64_t images = x.shape[0], channels = op.channels(), height = x.shape[op.heightAxis()], width = x.shape[op.widthAxis()];
  bool interleaved = op.getInterleaved();
  if (height % ph || width % pw)
    return op.emitOpError() << "the patch " << ph << " x " << pw << " does not divide the image " << height << " x " << width;
  int64_t down = height / ph, across = width / pw, columns = w.shape[0];
  RefTensor acc(DType::F32, {images * down * across, columns});
  auto pixel = [&](int64_t i) -> double { return x.isFloatKind() ? x.floats[i] : static_cast<double>(x.ints[i]); };
  parallel(op, acc.shape[0], [&](int64_t row) {
    int64_t b = row / (down * across), i = row / across % down, j = row % across;
    for (int64_t n = 0; n < columns; ++n) {
      double sum = 0;
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t y = 0; y < ph; ++y)
          for (int64_t z = 0; z < pw; ++z)
            sum += interleaved ? pixel(((b * height + i * ph + y) * width + j * pw + z) * channels + c) *
                                     w.floats[((n * ph + y) * pw + z) * channels + c]
                               : pixel(((b * channels + c) * height + i * ph + y) * width + j * pw + z) *
                                     w.floats[((n * channels + c) * ph + y) * pw + z];
      acc.floats[row * columns + n] = static_cast<float>(sum);
    }
  });
  return acc;
}

FailureOr<Results> reference::evaluate(AssembleTokensOp op, const Environment &values) {
  const RefTensor &patches = values[op.getPatches()];
  const RefTensor *prefix = values.optional(op.getPrefix()), *registers = values.optional(op.getRegisters());
  const RefTensor *position = values.optional(op.getPosition());
  FailureOr<std::vector<int64_t>> segments =
      segmentOffsets(op, op.getUniform(), values.optional(op.getCuSeqlens()), patches.rows());
  if (failed(segments))
    return failure();
  int64_t d = patches.columns(), before = prefix ? prefix->rows() : 0, extra = registers ? registers->rows() : 0;
  int64_t images = segments->size() - 1, row = 0;
  RefTensor result(patches.dtype, {patches.rows() + images * (before + extra), d});
  for (int64_t image = 0; image < images; ++image) {
    int64_t own = (*segments)[image + 1] - (*segments)[image];
    bool onPrefix = position && position->rows() == before + own;
    if (position && !onPrefix && position->rows() != own)
      return op.emitOpError() << "position has " << position->rows() << " rows, expected " << own << " or " << before + own;
    auto put = [&](const RefTensor &from, int64_t fromRow, int64_t positionRow) {
      for (int64_t c = 0; c < d; ++c) {
        float value = from.floats[fromRow * d + c];
        if (positionRow >= 0)
          value += position->floats[positionRow * d + c];
        result.floats[row * d + c] = roundTo(result.dtype, value);
      }
      ++row;
    };
    for (int64_t i = 0; i < before; ++i)
      put(*prefix, i, onPrefix ? i : -1);
    for (int64_t i = 0; i < extra; ++i)
      put(*registers, i, -1);
    for (int64_t i = 0; i < own; ++i)
      put(patches, (*segments)[image] + i, position ? (onPrefix ? before : 0) + i : -1);
  }
  return Results{std::move(result)};
}

/// The row of a table that an index names, or an error at the op.
static FailureOr<int64_t> rowOf(Operation *op, int64_t index, int64_t rows) {
  if (index < 0 || index >= rows)
    return op->emitOpError() << "index " << index << " is outside the " << rows << " rows";
  return index;
}

FailureOr<Results> reference::evaluate(PosGatherOp op, const Environment &values) {
  const RefTensor &table = values[op.getTable()], &index = values[op.getIndex()], &weights = values[op.getWeights()];
  int64_t d = table.columns(), taps = index.columns();
  RefTensor result(table.dtype, {index.rows(), d});
  for (int64_t n = 0; n < index.rows(); ++n) {
    std::vector<double> sum(d);
    for (int64_t t = 0; t < taps; ++t) {
      FailureOr<int64_t> row = rowOf(op, index.ints[n * taps + t], table.rows());
      if (failed(row))
        return failure();
      for (int64_t c = 0; c < d; ++c)
        sum[c] += static_cast<double>(weights.floats[n * taps + t]) * table.floats[*row * d + c];
    }
    for (int64_t c = 0; c < d; ++c)
      result.floats[n * d + c] = roundTo(result.dtype, static_cast<float>(sum[c]));
  }
  return Results{std::move(result)};
}

FailureOr<Results> reference::evaluate(MergePatchesOp op, const Environment &values) {
  RefTensor result = values[op.getInput()];
  int64_t factor = op.getFactor();
  if (result.shape[0] % factor)
    return op.emitOpError() << "factor " << factor << " does not divide " << result.shape[0] << " rows";
  result.shape = {result.shape[0] / factor, result.shape[1] * factor};
  return Results{std::move(result)};
}

FailureOr<Results> reference::evaluate(EmbedOp op, const Environment &values) {
  const RefTensor &table = values[op.getTable()], &ids = values[op.getIds()];
  int64_t d = table.columns();
  RefTensor result(table.dtype, {ids.elements(), d});
  for (int64_t m = 0; m < ids.elements(); ++m) {
    FailureOr<int64_t> row = rowOf(op, ids.ints[m], table.rows());
    if (failed(row))
      return failure();
    std::copy_n(table.floats.begin() + *row * d, d, result.floats.begin() + m * d);
  }
  return Results{std::move(result)};
}

FailureOr<Results> reference::evaluate(ScatterRowsOp op, const Environment &values) {
  RefTensor result = values[op.getInput()];
  const RefTensor &source = values[op.getSource()], &index = values[op.getIndex()];
  int64_t d = result.columns();
  if (index.elements() != source.rows())
    return op.emitOpError() << "index has " << index.elements() << " elements, source " << source.rows() << " rows";
  for (int64_t k = 0; k < index.elements(); ++k) {
    FailureOr<int64_t> row = rowOf(op, index.ints[k], result.rows());
    if (failed(row))
      return failure();
    for (int64_t c = 0; c < d; ++c) {
      float &to = result.floats[*row * d + c];
      float from = source.floats[k * d + c];
      to = op.getMode() == ScatterMode::Add ? roundTo(result.dtype, to + from) : from;
    }
  }
  return Results{std::move(result)};
}

FailureOr<Results> reference::evaluate(PoolOp op, const Environment &values) {
  const RefTensor &x = values[op.getInput()];
  FailureOr<std::vector<int64_t>> segments =
      segmentOffsets(op, op.getUniform(), values.optional(op.getCuSeqlens()), x.rows());
  if (failed(segments))
    return failure();
  int64_t d = x.columns(), first = op.getFirst();
  RefTensor result(x.dtype, {static_cast<int64_t>(segments->size()) - 1, d});
  for (int64_t i = 0; i < result.rows(); ++i) {
    int64_t begin = (*segments)[i] + first, end = op.getKind() == PoolKind::Token ? begin + 1 : (*segments)[i + 1];
    if (begin >= (*segments)[i + 1])
      return op.emitOpError() << "segment " << i << " has no token " << first;
    for (int64_t c = 0; c < d; ++c) {
      double sum = 0;
      for (int64_t row = begin; row < end; ++row)
        sum += x.floats[row * d + c];
      result.floats[i * d + c] = roundTo(x.dtype, static_cast<float>(sum / (end - begin)));
    }
  }
  return Results{std::move(result)};
}
