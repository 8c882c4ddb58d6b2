//===- Writer.h - makes a bundle folder -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Writes a bundle aside and renames it. A folder that is not a bundle is never
// replaced; a writer that dies leaves the old bundle, or nothing, in place.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Bundle/Preprocess.h"
#include "vitrify/Support/File.h"
#include "vitrify/Weights/WeightStore.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace vitrify {

/// Order of calls: create; weights (WeightStore::write to weightsPath(), then addWeights); addTarget for each;
/// optionally setPreprocess; commit.
class BundleWriter {
public:
  /// Refuses a path that exists and is neither an empty folder nor a bundle.
  static StatusOr<BundleWriter> create(const std::string &path);

  /// Where WeightStore::write must put weights.safetensors.
  std::string weightsPath() const;
  /// Hashes the file at weightsPath() by chunks and notes sizes and aliases.
  Status addWeights(const WeightWriteReport &report);
  /// Writes plan.json and the code under targets/NAME/. `target` gives all but the files; `codeName` is "kernels.so" or
  /// "kernels.fatbin". The plan is verified first.
  Status addTarget(ManifestTarget target, const Plan &plan, std::span<const std::byte> code, std::string_view codeName);
  Status setPreprocess(const Preprocess &preprocess);
  /// Writes the manifest, checks the folder as a loader would, and renames it. Entries are taken from the first target's
  /// plan when `manifest` has none; weights, targets and preprocess are filled in.
  Status commit(Manifest manifest);

private:
  StatusOr<BundleFile> writeFile(const std::string &relative, std::span<const std::byte> bytes);

  AtomicDirectory directory;
  std::string finalPath;
  Manifest built;       ///< files so far
  std::vector<Plan> plans;
  bool haveWeights = false;
};

/// The entries that a plan's programs offer.
std::vector<ManifestEntry> entriesOf(const Plan &plan);

} // namespace vitrify
