//===- Recipe.h - how a weight is derived -----------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A recipe is a small graph of typed operations that derives one weight from the
// tensors of a checkpoint and from other weights. Rows [a, b) of its result can be
// computed alone: each operation knows which rows of its operands they need. Rows
// are indices of axis 0; a rank-0 tensor has one row. The MLIR form of the same
// operations is `vit.weight`'s region.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/ContentHash.h"
#include "vitrify/Support/DType.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vitrify {

/// Index of a node in its recipe.
using RecipeValue = uint32_t;

/// Element type and shape of a value.
struct TensorType {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;

  bool operator==(const TensorType &) const = default;
  /// "F32[768, 768]".
  std::string str() const;
  /// 1 for rank 0.
  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  /// Bits of one row.
  int64_t rowBits() const;
  /// Bytes of rows [0, n); rows of sub-byte types must fill whole bytes.
  int64_t bytesOfRows(int64_t n) const { return n * rowBits() / 8; }
};

/// A tensor that owns its bytes, row-major; or rows of one, then shape[0] is their number.
struct TensorData {
  TensorType type;
  std::vector<std::byte> data;
};

/// One operation. Which fields hold depends on `kind`.
struct RecipeNode {
  enum class Kind : uint8_t {
    Read,      ///< tensor `tensor` of source `name`
    Literal,   ///< `literal`, row-major bytes
    Get,       ///< weight `name`
    Slice,     ///< [begin, end) of `axis`
    Gather,    ///< `indices` of `axis`
    Concat,    ///< operands along `axis`
    Transpose, ///< 2-D
    Reshape,   ///< same elements in order
    Cast,      ///< to another float type: nearest even; to E4M3 saturating
    Amax,      ///< f32: max|x| over `axis` (-1: all) / `number`; where that is 0, 1
    Sum,       ///< f32: sum over `axis` (-1: all), added in index order in f64
    Recip,     ///< 1 / x, f32
    Add,       ///< x + y, x - y, x * y: y of the same shape, rank 0, or rank 1 along `axis`; in f32, rounded to x's type
    Sub,
    Mul,
    Round,     ///< codes (E4M3: nearest even, saturating; I8: nearest even, -127..127) of x / scale along `axis` or scalar
    Dequant,   ///< f32: code * scale, scale scalar or along `axis`
    PadK,      ///< zeros after the last axis up to a multiple of `begin`
  };

  Kind kind = Kind::Literal;
  TensorType type;
  std::vector<RecipeValue> operands; ///< earlier nodes
  std::string name;
  std::string tensor;
  int64_t axis = 0;
  int64_t begin = 0, end = 0;
  std::vector<int64_t> indices;
  float number = 1.0f;
  std::shared_ptr<const std::vector<std::byte>> literal;
};

/// A graph of nodes; the builders check types and return the new node or an error.
class Recipe {
public:
  StatusOr<RecipeValue> read(std::string source, std::string tensor, TensorType type);
  StatusOr<RecipeValue> literal(TensorType type, std::vector<std::byte> bytes);
  /// `type` is the type of the other weight's result; WeightStore checks that it is.
  StatusOr<RecipeValue> get(std::string weight, TensorType type);
  StatusOr<RecipeValue> slice(RecipeValue x, int64_t axis, int64_t begin, int64_t end);
  StatusOr<RecipeValue> gather(RecipeValue x, int64_t axis, std::vector<int64_t> indices);
  StatusOr<RecipeValue> concat(std::vector<RecipeValue> parts, int64_t axis);
  StatusOr<RecipeValue> transpose(RecipeValue x);
  StatusOr<RecipeValue> reshape(RecipeValue x, std::vector<int64_t> shape);
  StatusOr<RecipeValue> cast(RecipeValue x, DType to);
  /// `axis` -1 reduces all. `divisor` is 448 for E4M3 scales, positive and finite.
  StatusOr<RecipeValue> amax(RecipeValue x, int64_t axis, float divisor);
  StatusOr<RecipeValue> sum(RecipeValue x, int64_t axis);
  StatusOr<RecipeValue> recip(RecipeValue x);
  /// Add, Sub or Mul.
  StatusOr<RecipeValue> binary(RecipeNode::Kind kind, RecipeValue x, RecipeValue y, int64_t axis = 0);
  /// `to` is F8E4M3 or I8.
  StatusOr<RecipeValue> round(RecipeValue x, RecipeValue scale, int64_t axis = 0, DType to = DType::F8E4M3);
  StatusOr<RecipeValue> dequant(RecipeValue codes, RecipeValue scale, int64_t axis = 0);
  StatusOr<RecipeValue> padK(RecipeValue x, int64_t multiple);

  /// The value that the recipe yields; set once, after all nodes.
  Status yield(RecipeValue value);
  RecipeValue result() const { return root; }
  const TensorType &type() const { return nodes[root].type; }
  const std::vector<RecipeNode> &allNodes() const { return nodes; }

  /// One line a node reachable from the result, numbered in order of use; equal recipes give equal text. `nameOf` replaces
  /// names of weights (by their keys), `sourceOf` those of sources (by their digests); null keeps them.
  using Rename = std::function<std::string(const std::string &)>;
  std::string text(const Rename &nameOf = {}, const Rename &sourceOf = {}) const;

private:
  StatusOr<RecipeValue> add(RecipeNode node);
  Status checkOperand(RecipeValue value) const;

  std::vector<RecipeNode> nodes;
  RecipeValue root = 0;
};

/// Where a recipe finds what it does not hold. Implementations are thread-safe.
class RecipeInputs {
public:
  virtual ~RecipeInputs() = default;
  /// Bytes [offset, offset + out.size()) of a source's tensor.
  virtual Status readTensor(const std::string &source, const std::string &tensor, uint64_t offset,
                            std::span<std::byte> out) const = 0;
  /// Rows [begin, end) of another weight.
  virtual StatusOr<TensorData> weightRows(const std::string &weight, int64_t begin, int64_t end) const = 0;
};

/// Rows [begin, end) of the recipe's result. Operations that need more rows than they give (reductions over axis 0,
/// transpose) read their operand in pieces of about `chunkBytes`.
StatusOr<TensorData> evaluateRows(const Recipe &recipe, int64_t begin, int64_t end, const RecipeInputs &inputs,
                                  int64_t chunkBytes = int64_t(8) << 20);

} // namespace vitrify
