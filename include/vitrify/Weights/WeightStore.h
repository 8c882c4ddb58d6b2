//===- WeightStore.h - all derived weights of a model -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Named recipes over opened checkpoints. Evaluates any of them by rows, and writes
// weights.safetensors: each distinct recipe once, then equal bytes once.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Progress.h"
#include "vitrify/Weights/Recipe.h"
#include "vitrify/Weights/SafeTensors.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace vitrify {

/// How weights are written.
struct WeightWriteOptions {
  int64_t budgetBytes = int64_t(256) << 20; ///< scratch memory of evaluation, all threads together
  unsigned threads = 2;
  std::map<std::string, std::string> metadata; ///< of the file
  ProgressFunction progress;                   ///< called as MiB are written; may be empty
};

/// One weight to write, in order of use.
struct WeightRequest {
  std::string name;        ///< of the store
  uint64_t alignment = 64; ///< 4096 for a weight that starts a streaming chunk
  std::string layout = "nk"; ///< or a panel layout of Pack.h for a matrix: the tensor is then [panels, groups, W * I]
};

/// Where a requested weight ended up.
struct WrittenWeight {
  std::string name;
  std::string tensor; ///< key in the file; the name of the first weight with these bytes
  TensorType type;    ///< of the tensor
  std::string key;    ///< recipeKey
  enum class Sharing : uint8_t { Own, SameRecipe, SameBytes } sharing = Sharing::Own;
};

/// What writing did.
struct WeightWriteReport {
  std::vector<WrittenWeight> weights; ///< one a request, in order
  uint64_t fileBytes = 0;
  uint64_t tensorBytes = 0; ///< of distinct tensors, without header and padding
  uint64_t sharedBytes = 0; ///< saved by sharing
};

/// Not thread-safe while sources and weights are added; evaluation is.
class WeightStore : public RecipeInputs {
public:
  WeightStore();
  ~WeightStore() override;

  /// Opens a checkpoint file. `size` and `headerDigest`, when given, must match (the file the IR was made from).
  Status addSource(const std::string &name, const std::string &path, std::optional<uint64_t> size = {},
                   std::optional<Digest> headerDigest = {});
  Status addWeight(const std::string &name, Recipe recipe);
  /// Checks all recipes: sources and tensors exist with the types that reads expect, weights that gets name exist with
  /// theirs, no weight depends on itself. Call before evaluation.
  Status check() const;

  const Recipe *find(const std::string &name) const;
  /// SHA-256 (hexadecimal) of the recipe's canonical text, with other weights by their keys and sources by the digest of
  /// their headers (and a number, where different files have the same header). Equal keys of one store give equal bytes.
  StatusOr<std::string> recipeKey(const std::string &name) const;

  StatusOr<TensorData> evaluate(const std::string &name) const;
  Status readTensor(const std::string &source, const std::string &tensor, uint64_t offset,
                    std::span<std::byte> out) const override;
  StatusOr<TensorData> weightRows(const std::string &weight, int64_t begin, int64_t end) const override;

  /// Writes the requested weights to a new file at `path`, each in the canonical layout "nk" that recipes give, or packed
  /// as asked for. A weight is asked for in one layout. Evaluates on `threads` threads, in pieces that together stay within the budget (but
  /// at least a row a piece).
  StatusOr<WeightWriteReport> write(const std::string &path, std::span<const WeightRequest> requests,
                                    const WeightWriteOptions &options) const;

private:
  struct Entry;
  struct Source;
  struct State;
  std::unique_ptr<State> state;
};

} // namespace vitrify
