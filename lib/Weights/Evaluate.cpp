//===- Evaluate.cpp - running recipes by rows ----------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Elements.h"
#include "vitrify/Weights/Recipe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

using namespace vitrify;
using Kind = RecipeNode::Kind;

namespace {
int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// A tensor as [outer, axis, inner]; inner in bytes.
struct AxisView {
  int64_t outer = 1, axis = 1, inner = 0;
};
/// `axis` is at least 1: rows stay apart, and the view is of one row.
AxisView viewOfRow(const TensorType &type, int64_t axis) {
  AxisView view;
  for (int64_t i = 1; i < axis; ++i)
    view.outer *= type.shape[i];
  view.axis = type.shape[axis];
  view.inner = type.rowBits() / 8 / view.outer / view.axis;
  return view;
}

/// Rows of a type whose bytes are still to be written.
TensorData allocate(const TensorType &type, int64_t rows) {
  TensorData data{type, TensorBytes(static_cast<size_t>(type.bytesOfRows(rows)))};
  if (!data.type.shape.empty())
    data.type.shape[0] = rows;
  return data;
}

/// Rows [begin, end) of a tensor in memory.
TensorData rowsOf(const TensorType &type, std::span<const std::byte> bytes, int64_t begin, int64_t end) {
  TensorData data = allocate(type, end - begin);
  std::memcpy(data.data.data(), bytes.data() + type.bytesOfRows(begin), data.data.size());
  return data;
}
} // namespace

struct RecipeEvaluator::State {
  const Recipe &recipe;
  const RecipeInputs &inputs;
  int64_t chunkBytes;
  /// Guards `whole`; recursive, because a reduction over all may have another one among its operands.
  std::recursive_mutex mutex;
  std::map<RecipeValue, TensorData> whole; ///< results of reductions over all

  const RecipeNode &node(RecipeValue value) const { return recipe.allNodes()[value]; }

  StatusOr<TensorData> rows(RecipeValue value, int64_t begin, int64_t end) {
    const RecipeNode &n = node(value);
    switch (n.kind) {
    case Kind::Read: {
      TensorData out = allocate(n.type, end - begin);
      VITRIFY_RETURN_IF_ERROR(
          inputs.readTensor(n.name, n.tensor, static_cast<uint64_t>(n.type.bytesOfRows(begin)), out.data));
      return out;
    }
    case Kind::Literal: return rowsOf(n.type, *n.literal, begin, end);
    case Kind::Get: return inputs.weightRows(n.name, begin, end);
    case Kind::Slice:
      return n.axis == 0 ? rows(n.operands[0], n.begin + begin, n.begin + end) : sliceInner(n, begin, end);
    case Kind::Gather: return n.axis == 0 ? gatherRows(n, begin, end) : gatherInner(n, begin, end);
    case Kind::Concat: return n.axis == 0 ? concatRows(n, begin, end) : concatInner(n, begin, end);
    case Kind::Transpose: return transpose(n, begin, end);
    case Kind::Reshape: return reshape(n, begin, end);
    case Kind::Amax:
      if (n.axis == -1)
        return amaxAll(value);
      if (!n.block.empty())
        return amaxBlocks(n, begin, end);
      [[fallthrough]];
    case Kind::Cast:
    case Kind::Sum:
    case Kind::Recip: {
      VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], begin, end));
      return unary(n, std::move(x), begin, end);
    }
    case Kind::Add:
    case Kind::Sub:
    case Kind::Mul: return binary(n, begin, end);
    case Kind::Round:
    case Kind::Dequant: return scaled(n, begin, end);
    case Kind::Pad: return pad(n, begin, end);
    case Kind::Blocks: return blocks(n, begin, end);
    }
    return internalError("unknown recipe operation");
  }

  /// Calls `use(x, first)` on pieces of the operand, in order of rows.
  template <typename F> Status stream(RecipeValue value, F use) {
    const TensorType &type = node(value).type;
    int64_t step = std::max<int64_t>(1, chunkBytes / std::max<int64_t>(1, type.rowBits() / 8));
    for (int64_t row = 0; row < type.rows(); row += step) {
      int64_t end = std::min(type.rows(), row + step);
      VITRIFY_ASSIGN_OR_RETURN(TensorData piece, rows(value, row, end));
      VITRIFY_RETURN_IF_ERROR(use(piece, row));
    }
    return {};
  }

  StatusOr<TensorData> sliceInner(const RecipeNode &n, int64_t begin, int64_t end) {
    VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], begin, end));
    TensorData out = allocate(n.type, end - begin);
    AxisView from = viewOfRow(node(n.operands[0]).type, n.axis);
    size_t bytes = static_cast<size_t>((n.end - n.begin) * from.inner);
    const std::byte *source = x.data.data() + n.begin * from.inner;
    for (int64_t i = 0; i < (end - begin) * from.outer; ++i)
      std::memcpy(out.data.data() + static_cast<size_t>(i) * bytes, source + i * from.axis * from.inner, bytes);
    return out;
  }

  StatusOr<TensorData> gatherRows(const RecipeNode &n, int64_t begin, int64_t end) {
    TensorData out = allocate(n.type, end - begin);
    std::span<const int64_t> want(n.indices.data() + begin, static_cast<size_t>(end - begin));
    size_t rowBytes = static_cast<size_t>(n.type.rowBits() / 8);
    auto [low, high] = std::minmax_element(want.begin(), want.end());
    if (*high - *low < 4 * (end - begin)) { // close together: one read, then pick
      VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], *low, *high + 1));
      for (size_t i = 0; i < want.size(); ++i)
        std::memcpy(out.data.data() + i * rowBytes, x.data.data() + static_cast<size_t>(want[i] - *low) * rowBytes,
                    rowBytes);
      return out;
    }
    for (size_t i = 0; i < want.size();) {
      size_t run = 1;
      while (i + run < want.size() && want[i + run] == want[i] + static_cast<int64_t>(run))
        ++run;
      VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], want[i], want[i] + static_cast<int64_t>(run)));
      std::memcpy(out.data.data() + i * rowBytes, x.data.data(), run * rowBytes);
      i += run;
    }
    return out;
  }

  StatusOr<TensorData> gatherInner(const RecipeNode &n, int64_t begin, int64_t end) {
    VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], begin, end));
    TensorData out = allocate(n.type, end - begin);
    AxisView from = viewOfRow(node(n.operands[0]).type, n.axis);
    size_t bytes = static_cast<size_t>(from.inner);
    std::byte *target = out.data.data();
    for (int64_t i = 0; i < (end - begin) * from.outer; ++i)
      for (int64_t index : n.indices) {
        std::memcpy(target, x.data.data() + (i * from.axis + index) * from.inner, bytes);
        target += bytes;
      }
    return out;
  }

  StatusOr<TensorData> concatRows(const RecipeNode &n, int64_t begin, int64_t end) {
    TensorData out;
    int64_t first = 0; // row of the result at which the part starts
    for (RecipeValue part : n.operands) {
      int64_t last = first + node(part).type.rows();
      int64_t from = std::max(begin, first), to = std::min(end, last);
      if (from < to) {
        VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(part, from - first, to - first));
        if (from == begin && to == end)
          return x;
        if (out.data.empty())
          out = allocate(n.type, end - begin);
        std::memcpy(out.data.data() + n.type.bytesOfRows(from - begin), x.data.data(), x.data.size());
      }
      first = last;
    }
    return out;
  }

  StatusOr<TensorData> concatInner(const RecipeNode &n, int64_t begin, int64_t end) {
    TensorData out = allocate(n.type, end - begin);
    AxisView to = viewOfRow(n.type, n.axis);
    int64_t at = 0;
    for (RecipeValue part : n.operands) {
      VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(part, begin, end));
      int64_t bytes = viewOfRow(node(part).type, n.axis).axis * to.inner;
      for (int64_t i = 0; i < (end - begin) * to.outer; ++i)
        std::memcpy(out.data.data() + i * to.axis * to.inner + at, x.data.data() + i * bytes,
                    static_cast<size_t>(bytes));
      at += bytes;
    }
    return out;
  }

  StatusOr<TensorData> transpose(const RecipeNode &n, int64_t begin, int64_t end) {
    TensorData out = allocate(n.type, end - begin);
    int64_t width = dtypeBits(n.type.dtype) / 8, columns = n.type.shape[0], height = n.type.shape[1];
    auto place = [&](const TensorData &x, int64_t first) -> Status {
      int64_t count = static_cast<int64_t>(x.data.size()) / (columns * width);
      for (int64_t c = begin; c < end; ++c) // outer loop over columns: writes are contiguous
        for (int64_t r = 0; r < count; ++r)
          std::memcpy(out.data.data() + ((c - begin) * height + first + r) * width,
                      x.data.data() + (r * columns + c) * width, static_cast<size_t>(width));
      return {};
    };
    VITRIFY_RETURN_IF_ERROR(stream(n.operands[0], place));
    return out;
  }

  StatusOr<TensorData> reshape(const RecipeNode &n, int64_t begin, int64_t end) {
    const TensorType &from = node(n.operands[0]).type;
    int64_t rowBytes = from.rowBits() / 8;
    int64_t first = n.type.bytesOfRows(begin), last = n.type.bytesOfRows(end);
    int64_t firstRow = first / rowBytes, lastRow = ceilDiv(last, rowBytes);
    VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], firstRow, lastRow));
    if (x.data.size() == static_cast<uint64_t>(last - first)) {
      x.type = n.type;
      if (!x.type.shape.empty())
        x.type.shape[0] = end - begin;
      return x;
    }
    TensorData out = allocate(n.type, end - begin);
    std::memcpy(out.data.data(), x.data.data() + (first - firstRow * rowBytes), out.data.size());
    return out;
  }

  /// Largest |x| of n values, or an error if one is not finite.
  static StatusOr<float> largest(const float *x, int64_t n, int64_t row) {
    // Magnitudes order as their bits do, and NaN and infinity above all; an integer maximum vectorises.
    uint32_t most = 0;
    for (int64_t i = 0; i < n; ++i) {
      uint32_t bits;
      std::memcpy(&bits, x + i, 4);
      most = std::max(most, bits & 0x7fffffffu);
    }
    if (most >= 0x7f800000u)
      return dataLoss(std::string("amax: ") + (most > 0x7f800000u ? "NaN" : "infinity") + " in row " +
                      std::to_string(row));
    float value;
    std::memcpy(&value, &most, 4);
    return value;
  }
  static float scaleOf(float most, double divisor) {
    return most == 0 ? 1.0f : static_cast<float>(static_cast<double>(most) / divisor);
  }

  StatusOr<TensorData> amaxAll(RecipeValue value) {
    std::lock_guard lock(mutex);
    if (auto it = whole.find(value); it != whole.end())
      return it->second;
    const RecipeNode &n = node(value);
    float most = 0;
    auto use = [&](TensorData &x, int64_t row) -> Status {
      Floats values(std::move(x));
      VITRIFY_ASSIGN_OR_RETURN(float piece, largest(values.data(), values.size(), row));
      most = std::max(most, piece);
      return {};
    };
    VITRIFY_RETURN_IF_ERROR(stream(n.operands[0], use));
    TensorData out = allocate(n.type, 1);
    float scale = scaleOf(most, n.number);
    std::memcpy(out.data.data(), &scale, 4);
    return whole[value] = std::move(out);
  }

  StatusOr<TensorData> amaxBlocks(const RecipeNode &n, int64_t begin, int64_t end) {
    const TensorType &from = node(n.operands[0]).type;
    int64_t k = from.shape[1], width = n.block[1], across = n.type.shape[1];
    TensorData out = allocate(n.type, end - begin);
    for (int64_t row = begin; row < end; ++row) { // a row of blocks at a time
      int64_t first = row * n.block[0], last = std::min(first + n.block[0], from.rows());
      VITRIFY_ASSIGN_OR_RETURN(TensorData piece, rows(n.operands[0], first, last));
      Floats x(std::move(piece));
      std::vector<float> most(static_cast<size_t>(across), 0.0f);
      for (int64_t i = 0; i < last - first; ++i)
        for (int64_t c = 0; c < across; ++c) {
          VITRIFY_ASSIGN_OR_RETURN(float part, largest(x.data() + i * k + c * width, std::min(width, k - c * width), first + i));
          most[static_cast<size_t>(c)] = std::max(most[static_cast<size_t>(c)], part);
        }
      for (float &value : most)
        value = scaleOf(value, n.number);
      std::memcpy(out.data.data() + (row - begin) * across * 4, most.data(), most.size() * 4);
    }
    return out;
  }

  StatusOr<TensorData> unary(const RecipeNode &n, TensorData input, int64_t begin, int64_t end) {
    if (n.kind == Kind::Cast && input.type.dtype == n.type.dtype)
      return input;
    TensorData out = allocate(n.type, end - begin);
    Floats x(std::move(input));
    if (n.kind == Kind::Cast) {
      encodeFloats(x.data(), n.type.dtype, out.data.data(), x.size());
      return out;
    }
    float *result = reinterpret_cast<float *>(out.data.data());
    if (n.kind == Kind::Recip) {
      for (int64_t i = 0; i < x.size(); ++i)
        result[i] = 1.0f / x.data()[i];
      return out;
    }
    int64_t k = x.size() / (end - begin);
    for (int64_t row = 0; row < end - begin; ++row) {
      const float *values = x.data() + row * k;
      if (n.kind == Kind::Amax) {
        VITRIFY_ASSIGN_OR_RETURN(float most, largest(values, k, begin + row));
        result[row] = scaleOf(most, n.number);
        continue;
      }
      double total = 0;
      for (int64_t i = 0; i < k; ++i)
        total += static_cast<double>(values[i]);
      result[row] = static_cast<float>(total);
    }
    return out;
  }

  /// The rows of a second operand that rows [begin, end) of the first need: all of one element or of columns.
  StatusOr<Floats> second(RecipeValue value, bool byRow, int64_t begin, int64_t end) {
    const TensorType &type = node(value).type;
    VITRIFY_ASSIGN_OR_RETURN(TensorData y, byRow ? rows(value, begin, end) : rows(value, 0, type.rows()));
    return Floats(std::move(y));
  }

  static bool isOne(const TensorType &type) {
    return type.shape.empty() || (type.shape.size() == 1 && type.shape[0] == 1);
  }

  StatusOr<TensorData> binary(const RecipeNode &n, int64_t begin, int64_t end) {
    const TensorType &right = node(n.operands[1]).type;
    bool one = isOne(right), columns = n.axis == 1;
    VITRIFY_ASSIGN_OR_RETURN(TensorData left, rows(n.operands[0], begin, end));
    VITRIFY_ASSIGN_OR_RETURN(Floats y, second(n.operands[1], !one && !columns, begin, end));
    Floats x(std::move(left));
    TensorData out = allocate(n.type, end - begin);
    float *result = reinterpret_cast<float *>(out.data.data());
    int64_t k = x.size() / (end - begin);
    bool same = !one && !columns && right.shape.size() == n.type.shape.size();
    for (int64_t row = 0; row < end - begin; ++row)
      for (int64_t i = 0; i < k; ++i) {
        float a = x.data()[row * k + i];
        float b = y.data()[one ? 0 : columns ? i : same ? row * k + i : row];
        result[row * k + i] = n.kind == Kind::Add ? a + b : n.kind == Kind::Sub ? a - b : a * b;
      }
    return out;
  }

  StatusOr<TensorData> scaled(const RecipeNode &n, int64_t begin, int64_t end) {
    const TensorType &scaleType = node(n.operands[1]).type;
    int64_t height = n.block.empty() ? 1 : n.block[0];
    bool one = n.block.empty() && isOne(scaleType);
    VITRIFY_ASSIGN_OR_RETURN(TensorData input, rows(n.operands[0], begin, end));
    // First and last row of scales that these rows use.
    int64_t firstScale = begin / height;
    VITRIFY_ASSIGN_OR_RETURN(Floats scales, second(n.operands[1], !one, firstScale, ceilDiv(end, height)));
    TensorData out = allocate(n.type, end - begin);
    int64_t k = n.type.rowBits() / dtypeBits(n.type.dtype);
    int64_t width = n.block.empty() ? k : n.block[1], across = ceilDiv(k, width);
    Floats x;
    if (n.kind == Kind::Round)
      x = Floats(std::move(input));
    for (int64_t row = 0; row < end - begin; ++row)
      for (int64_t c = 0; c < across; ++c) {
        int64_t from = row * k + c * width, count = std::min(width, k - c * width);
        float scale = scales.data()[one ? 0 : ((begin + row) / height - firstScale) * across + c];
        if (n.kind == Kind::Dequant) {
          const auto *codes = reinterpret_cast<const uint8_t *>(input.data.data()) + from;
          float *result = reinterpret_cast<float *>(out.data.data()) + from;
          if (input.type.dtype == DType::F4E2M1) {
            const auto *bytes = reinterpret_cast<const uint8_t *>(input.data.data());
            for (int64_t i = 0; i < count; ++i)
              result[i] = decodeE2M1(uint8_t(bytes[(from + i) / 2] >> ((from + i) % 2 * 4) & 15));
          } else if (input.type.dtype == DType::I8)
            std::transform(codes, codes + count, result, [](uint8_t code) { return float(static_cast<int8_t>(code)); });
          else
            decodeE4M3(codes, result, static_cast<size_t>(count));
          for (int64_t i = 0; i < count; ++i)
            result[i] *= scale;
          continue;
        }
        float factor = 1.0f / scale;
        if (n.type.dtype == DType::F4E2M1 && scale == 0) {
          std::memset(out.data.data() + from / 2, 0, size_t(ceilDiv(count, 2))); // codes of 0
          continue;
        }
        if (!(scale > 0) || !std::isfinite(factor) || factor == 0)
          return dataLoss("round: scale " + std::to_string(scale) + " of row " + std::to_string(begin + row) +
                          " is not a positive number with a finite reciprocal");
        auto *codes = reinterpret_cast<uint8_t *>(out.data.data()) + from;
        if (n.type.dtype == DType::F4E2M1) // blocks begin at whole bytes
          encodeE2M1Scaled(x.data() + from, factor, reinterpret_cast<uint8_t *>(out.data.data()) + from / 2, static_cast<size_t>(count));
        else if (n.type.dtype == DType::I8)
          encodeI8Scaled(x.data() + from, factor, reinterpret_cast<int8_t *>(codes), static_cast<size_t>(count));
        else
          encodeE4M3Scaled(x.data() + from, factor, codes, static_cast<size_t>(count));
      }
    return out;
  }

  StatusOr<TensorData> blocks(const RecipeNode &n, int64_t begin, int64_t end) {
    VITRIFY_ASSIGN_OR_RETURN(TensorData codes, rows(n.operands[0], begin, end));
    VITRIFY_ASSIGN_OR_RETURN(TensorData scales, rows(n.operands[1], begin, end));
    TensorData out = allocate(n.type, end - begin);
    constexpr size_t bytes = kNvfp4Block / 2;
    for (size_t block = 0; block < scales.data.size(); ++block) {
      std::byte *at = out.data.data() + block * (bytes + 1);
      std::memcpy(at, codes.data.data() + block * bytes, bytes);
      at[bytes] = scales.data[block];
    }
    return out;
  }

  StatusOr<TensorData> pad(const RecipeNode &n, int64_t begin, int64_t end) {
    const TensorType &from = node(n.operands[0]).type;
    TensorData out = allocate(n.type, end - begin);
    std::fill(out.data.begin(), out.data.end(), std::byte{0});
    int64_t last = n.axis == 0 ? std::min(end, from.rows()) : end;
    if (begin >= last)
      return out;
    VITRIFY_ASSIGN_OR_RETURN(TensorData x, rows(n.operands[0], begin, last));
    if (n.axis == 0) {
      std::memcpy(out.data.data(), x.data.data(), x.data.size());
      return out;
    }
    AxisView view = viewOfRow(from, n.axis);
    int64_t bytes = view.axis * view.inner, stride = n.type.shape[n.axis] * view.inner;
    for (int64_t i = 0; i < (end - begin) * view.outer; ++i)
      std::memcpy(out.data.data() + i * stride, x.data.data() + i * bytes, static_cast<size_t>(bytes));
    return out;
  }
};

RecipeEvaluator::RecipeEvaluator(const Recipe &recipe, const RecipeInputs &inputs, int64_t chunkBytes)
    : state(new State{recipe, inputs, chunkBytes, {}, {}}) {}
RecipeEvaluator::~RecipeEvaluator() = default;

StatusOr<TensorData> RecipeEvaluator::rows(int64_t begin, int64_t end) {
  const Recipe &recipe = state->recipe;
  if (recipe.allNodes().empty())
    return internalError("recipe without a result");
  if (begin < 0 || begin >= end || end > recipe.type().rows())
    return internalError("rows " + std::to_string(begin) + " to " + std::to_string(end) + " of " +
                         recipe.type().str());
  return state->rows(recipe.result(), begin, end);
}

StatusOr<TensorData> vitrify::evaluateRows(const Recipe &recipe, int64_t begin, int64_t end,
                                           const RecipeInputs &inputs) {
  return RecipeEvaluator(recipe, inputs).rows(begin, end);
}
