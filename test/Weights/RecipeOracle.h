//===- RecipeOracle.h - recipes by definition, one element at a time -----===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Float8.h"
#include "vitrify/Weights/Recipe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

namespace vitrify::test {

/// Tensors in memory that recipes read: sources by "source/tensor", other weights by name.
class MemoryInputs : public RecipeInputs {
public:
  std::map<std::string, TensorData> tensors;
  std::map<std::string, TensorData> weights;

  Status readTensor(const std::string &source, const std::string &tensor, uint64_t offset,
                    std::span<std::byte> out) const override {
    auto it = tensors.find(source + "/" + tensor);
    if (it == tensors.end())
      return notFound("no tensor '" + tensor + "'");
    if (offset + out.size() > it->second.data.size())
      return dataLoss("read past the end of '" + tensor + "'");
    std::memcpy(out.data(), it->second.data.data() + offset, out.size());
    return {};
  }
  StatusOr<TensorData> weightRows(const std::string &weight, int64_t begin, int64_t end) const override {
    auto it = weights.find(weight);
    if (it == weights.end())
      return notFound("no weight '" + weight + "'");
    const TensorData &whole = it->second;
    TensorData rows{whole.type, {}};
    rows.type.shape[0] = end - begin;
    rows.data.assign(whole.data.begin() + whole.type.bytesOfRows(begin), whole.data.begin() + whole.type.bytesOfRows(end));
    return rows;
  }
};

/// The value at a flat index of a tensor's bytes.
inline float elementAt(const TensorData &tensor, int64_t flat) {
  const std::byte *at = tensor.data.data();
  switch (tensor.type.dtype) {
  case DType::F32: {
    float value;
    std::memcpy(&value, at + 4 * flat, 4);
    return value;
  }
  case DType::BF16:
  case DType::F16: {
    uint16_t bits;
    std::memcpy(&bits, at + 2 * flat, 2);
    return tensor.type.dtype == DType::BF16 ? decodeBF16(bits) : decodeF16(bits);
  }
  case DType::F8E4M3: return decodeE4M3(static_cast<uint8_t>(at[flat]));
  case DType::F4E2M1: return decodeE2M1(static_cast<uint8_t>(at[flat / 2]) >> (flat % 2 * 4) & 15);
  default: ADD_FAILURE() << "the oracle knows no " << dtypeName(tensor.type.dtype); return 0;
  }
}

/// Evaluates single elements as the operations are defined, without rows, chunks or bytes.
class Oracle {
public:
  Oracle(const Recipe &recipe, const MemoryInputs &inputs) : recipe(recipe), inputs(inputs) {}

  using Index = std::vector<int64_t>;
  static int64_t flatten(const Index &index, const std::vector<int64_t> &shape) {
    int64_t flat = 0;
    for (size_t i = 0; i < shape.size(); ++i)
      flat = flat * shape[i] + index[i];
    return flat;
  }
  static Index unflatten(int64_t flat, const std::vector<int64_t> &shape) {
    Index index(shape.size());
    for (size_t i = shape.size(); i-- > 0; flat /= shape[i])
      index[i] = flat % shape[i];
    return index;
  }

  float at(RecipeValue value, const Index &index) const {
    auto key = std::pair(value, flatten(index, recipe.allNodes()[value].type.shape));
    auto it = known.find(key);
    return it != known.end() ? it->second : known[key] = compute(value, index);
  }

private:
  float compute(RecipeValue value, Index index) const {
    using Kind = RecipeNode::Kind;
    const RecipeNode &n = recipe.allNodes()[value];
    auto operand = [&](size_t i) -> const RecipeNode & { return recipe.allNodes()[n.operands[i]]; };
    auto x = [&](const Index &i) { return at(n.operands[0], i); };
    switch (n.kind) {
    case Kind::Read: return elementAt(inputs.tensors.at(n.name + "/" + n.tensor), flatten(index, n.type.shape));
    case Kind::Get: return elementAt(inputs.weights.at(n.name), flatten(index, n.type.shape));
    case Kind::Literal: return elementAt({n.type, TensorBytes(n.literal->begin(), n.literal->end())}, flatten(index, n.type.shape));
    case Kind::Slice: index[n.axis] += n.begin; return x(index);
    case Kind::Gather: index[n.axis] = n.indices[index[n.axis]]; return x(index);
    case Kind::Concat:
      for (size_t part = 0;; ++part) {
        int64_t size = operand(part).type.shape[n.axis];
        if (index[n.axis] < size)
          return at(n.operands[part], index);
        index[n.axis] -= size;
      }
    case Kind::Transpose: return x({index[1], index[0]});
    case Kind::Reshape: return x(unflatten(flatten(index, n.type.shape), operand(0).type.shape));
    case Kind::Cast: return rounded(x(index), n.type.dtype);
    case Kind::Amax:
    case Kind::Sum: {
      const auto &shape = operand(0).type.shape;
      double most = 0, total = 0;
      for (int64_t flat = 0; flat < *elementCount(shape); ++flat) {
        Index i = unflatten(flat, shape);
        if ((n.kind == Kind::Sum || n.axis == 1) && i[0] / (n.block.empty() ? 1 : n.block[0]) != index[0])
          continue;
        if (!n.block.empty() && i[1] / n.block[1] != index[1])
          continue;
        most = std::max(most, std::fabs(static_cast<double>(x(i))));
        total += static_cast<double>(x(i));
      }
      if (n.kind == Kind::Sum)
        return static_cast<float>(total);
      return most == 0 ? 1.0f : static_cast<float>(most / n.number);
    }
    case Kind::Recip: return 1.0f / x(index);
    case Kind::Add: return x(index) + second(n, index);
    case Kind::Sub: return x(index) - second(n, index);
    case Kind::Mul: return x(index) * second(n, index);
    case Kind::Round:
      if (n.type.dtype == DType::I8)
        return std::nearbyintf(std::fmin(std::fmax(x(index) * (1.0f / scale(n, index)), -127.0f), 127.0f));
      if (n.type.dtype == DType::F4E2M1)
        return scale(n, index) == 0 ? 0.0f : decodeE2M1(encodeE2M1(x(index) * (1.0f / scale(n, index))));
      return decodeE4M3(encodeE4M3(x(index) * (1.0f / scale(n, index))));
    case Kind::Dequant: return x(index) * scale(n, index);
    case Kind::Blocks: {
      int64_t at = index[1] % 18, block = index[1] / 18;
      if (at < 16)
        return x({index[0], block * 16 + at});
      uint8_t code = encodeE4M3(this->at(n.operands[1], {index[0], block}));
      return decodeE2M1(at == 16 ? code & 15 : code >> 4);
    }
    case Kind::Pad: return index[n.axis] < operand(0).type.shape[n.axis] ? x(index) : 0.0f;
    }
    return 0;
  }

  static float rounded(float value, DType to) {
    if (to == DType::BF16)
      return decodeBF16(encodeBF16(value));
    return to == DType::F16 ? decodeF16(encodeF16(value)) : value;
  }
  float second(const RecipeNode &n, const Index &index) const {
    const auto &shape = recipe.allNodes()[n.operands[1]].type.shape;
    if (*elementCount(shape) == 1 && shape.size() <= 1)
      return at(n.operands[1], Index(shape.size()));
    return at(n.operands[1], shape.size() == n.type.shape.size() ? index : Index{index[n.axis]});
  }
  float scale(const RecipeNode &n, const Index &index) const {
    const auto &shape = recipe.allNodes()[n.operands[1]].type.shape;
    if (!n.block.empty())
      return at(n.operands[1], {index[0] / n.block[0], index[1] / n.block[1]});
    return at(n.operands[1], shape.size() == 1 && shape[0] > 1 ? Index{index[0]} : Index(shape.size()));
  }

  const Recipe &recipe;
  const MemoryInputs &inputs;
  mutable std::map<std::pair<RecipeValue, int64_t>, float> known; ///< reductions ask for the same elements again
};

} // namespace vitrify::test
