//===- StoreState.h - what a weight store holds --------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Weights/WeightStore.h"

#include <atomic>

namespace vitrify {

struct WeightStore::Entry {
  explicit Entry(Recipe recipe) : recipe(std::move(recipe)) {}

  Recipe recipe;
  std::unique_ptr<RecipeEvaluator> evaluator;

  // Found while checking and evaluating.
  mutable std::mutex mutex; ///< guards `kept` and `key`
  mutable std::optional<TensorData> kept;
  mutable std::string key;
  mutable std::atomic<bool> acyclic = false;
  mutable std::atomic<int64_t> rowCost = 0;
};

struct WeightStore::Source {
  SafeTensorsFile file;
  /// The header's digest, and a number that tells apart files of equal headers: two checkpoints of one architecture have
  /// the same names and shapes, but not the same weights.
  std::string identity;
  uint64_t device = 0, inode = 0;
};

struct WeightStore::State {
  std::map<std::string, Source> sources;
  std::map<std::string, std::unique_ptr<Entry>> weights;

  /// Depth first along gets; an error for a cycle.
  Status visit(const std::string &name, std::vector<std::string> &chain, size_t maxChain) const;
  /// About how many bytes of scratch the evaluation of one row needs.
  int64_t bytesPerRow(const std::string &name) const;
  /// The whole weight, evaluated in pieces.
  StatusOr<TensorData> whole(const std::string &name) const;
};

} // namespace vitrify
