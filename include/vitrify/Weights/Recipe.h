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
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace vitrify {

/// Elements of NVFP4 that share an E4M3 scale.
inline constexpr int64_t kNvfp4Block = 16;
/// F4 elements of a row of K weights with their scales: 18 for each 16, which is 4.5 bits a weight.
constexpr int64_t nvfp4Columns(int64_t k) { return k / kNvfp4Block * (kNvfp4Block + 2); }

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

/// An allocator whose new elements have no value yet: large results are written once, not cleared first.
template <typename T> struct UninitializedAllocator : std::allocator<T> {
  template <typename U> struct rebind {
    using other = UninitializedAllocator<U>;
  };
  template <typename U> void construct(U *at) noexcept { ::new (static_cast<void *>(at)) U; }
  template <typename U, typename... Args> void construct(U *at, Args &&...args) {
    ::new (static_cast<void *>(at)) U(std::forward<Args>(args)...);
  }
};
/// Bytes of a tensor; `resize` and construction with a size leave them undefined.
using TensorBytes = std::vector<std::byte, UninitializedAllocator<std::byte>>;

/// A tensor that owns its bytes, row-major; or rows of one, then shape[0] is their number.
struct TensorData {
  TensorType type;
  TensorBytes data;
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
    Cast,      ///< to F32, F16 or BF16, nearest even
    Amax,      ///< f32: max|x| / `number` of each row ([N, K] -> [N], `axis` 1) or of all (-> [1], `axis` -1); where the
               ///< maximum is 0, 1; values that are not finite are an error. With `block` {h, g}, of each h rows
               ///< by g columns: [ceil(N / h), ceil(K / g)]
    Sum,       ///< f32: sum of each row ([N, K] -> [N]), added in order in f64
    Recip,     ///< 1 / x, f32
    Add,       ///< x + y, x - y, x * y in f32. y has x's shape, or one element, or is [N] for x of [N] or [N, K] (`axis` 0),
    Sub,       ///< or is [K] (`axis` 1)
    Mul,
    Round,     ///< E4M3, E2M1 or I8 codes (nearest even, saturating at 448, 6 or 127) of x * (1 / scale). scale is [1], [N] by
               ///< row, or [ceil(N / h), ceil(K / g)] with `block` {h, g}; it must be positive with a finite reciprocal, but
               ///< for E2M1 codes, which are 0 where it is 0
    Dequant,   ///< f32: code * scale, scale as for Round but of any float type
    Pad,       ///< zeros after the end of `axis` up to a multiple of `begin`
    Blocks,    ///< E2M1 codes [N, K] and E4M3 scales [N, K / 16] as one F4 [N, K / 16 * 18]: 16 codes, then their scale's byte
  };

  Kind kind = Kind::Literal;
  TensorType type;
  std::vector<RecipeValue> operands; ///< earlier nodes
  std::string name;
  std::string tensor;
  int64_t axis = 0;
  int64_t begin = 0, end = 0;
  std::vector<int64_t> indices;
  std::vector<int64_t> block;
  double number = 1.0;
  std::shared_ptr<const std::vector<std::byte>> literal;
};

/// A graph of nodes; the builders check types and return the new node, or one that is there and does the same.
/// Dimensions are at least 1. All of it mirrors the ops of Dialect/ViT/IR/WeightOps.td.
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
  /// Per row of a matrix, or over all. `divisor` is 448 for E4M3 scales, positive and finite.
  StatusOr<RecipeValue> amax(RecipeValue x, bool perRow, double divisor);
  /// Of each block of rows by columns.
  StatusOr<RecipeValue> amaxBlocks(RecipeValue x, std::vector<int64_t> block, double divisor);
  StatusOr<RecipeValue> sum(RecipeValue x);
  StatusOr<RecipeValue> recip(RecipeValue x);
  /// Add, Sub or Mul. `columns`: y is [K] of x's [N, K].
  StatusOr<RecipeValue> binary(RecipeNode::Kind kind, RecipeValue x, RecipeValue y, bool columns = false);
  /// `to` is F8E4M3, F4E2M1 or I8.
  StatusOr<RecipeValue> round(RecipeValue x, RecipeValue scale, std::vector<int64_t> block = {},
                              DType to = DType::F8E4M3);
  StatusOr<RecipeValue> dequant(RecipeValue codes, RecipeValue scale, std::vector<int64_t> block = {});
  StatusOr<RecipeValue> pad(RecipeValue x, int64_t axis, int64_t multiple);
  StatusOr<RecipeValue> blocks(RecipeValue codes, RecipeValue scales);

  /// The value that the recipe yields; set once, after all nodes.
  Status yield(RecipeValue value);
  RecipeValue result() const { return root; }
  const TensorType &type() const { return nodes[root].type; }
  const std::vector<RecipeNode> &allNodes() const { return nodes; }

  /// One line a node reachable from the result, numbered in order of use; equal recipes give equal text. `nameOf` replaces
  /// names of weights (by their keys), `sourceOf` those of sources (by their digests); null keeps them. Literals and long
  /// lists of indices are shown by their digests.
  using Rename = std::function<std::string(const std::string &)>;
  std::string text(const Rename &nameOf = {}, const Rename &sourceOf = {}) const;

private:
  StatusOr<RecipeValue> add(RecipeNode node);
  StatusOr<const TensorType *> operand(RecipeValue value, std::string_view op) const;
  StatusOr<RecipeValue> scaled(RecipeNode::Kind kind, RecipeValue x, RecipeValue scale, std::vector<int64_t> block,
                               DType to);

  std::vector<RecipeNode> nodes;
  std::map<std::string, RecipeValue> known; ///< by line of text
  RecipeValue root = 0;
  bool yielded = false;
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

/// Evaluates one recipe by rows; rows may be asked for from several threads. Operations that need more rows than they give
/// (amax over all, transpose) read their operand in pieces of about `chunkBytes`, and the first once only.
class RecipeEvaluator {
public:
  /// Borrows both.
  RecipeEvaluator(const Recipe &recipe, const RecipeInputs &inputs, int64_t chunkBytes = int64_t(4) << 20);
  ~RecipeEvaluator();

  /// Rows [begin, end) of the result.
  StatusOr<TensorData> rows(int64_t begin, int64_t end);

private:
  struct State;
  std::unique_ptr<State> state;
};

/// Rows [begin, end) of the recipe's result.
StatusOr<TensorData> evaluateRows(const Recipe &recipe, int64_t begin, int64_t end, const RecipeInputs &inputs);

} // namespace vitrify
