//===- Verifier.h - opens a bundle and checks it ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What a loader calls before it trusts a folder. Manifest, plans and code are
// checked by digest and field by field at once; weights chunk by chunk at first use.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Bundle/Preprocess.h"
#include "vitrify/Support/File.h"
#include "vitrify/Weights/SafeTensors.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vitrify {

/// A weights file with its chunk digests. Thread-safe.
class BundleWeights {
public:
  const SafeTensorsFile &file() const { return tensors; }
  /// Checks every chunk that [begin, end) of the file touches and that was not checked before. The error names the tensor
  /// and the offset of the bad chunk.
  Status verify(uint64_t begin, uint64_t end) const;
  /// find, verify and data in one; NotFound names the tensor.
  StatusOr<std::span<const std::byte>> tensor(const std::string &name) const;
  Status verifyAll() const { return verify(0, tensors.mapped().size()); }

private:
  friend class Bundle;
  Status verifyChunks(const MappedFile &file, uint64_t begin, uint64_t end) const;

  SafeTensorsFile tensors;
  uint64_t chunkBytes = 0;
  std::vector<Digest> digests;
  std::unique_ptr<std::atomic<bool>[]> checked;
};

/// An opened bundle. Nothing in it has been executed.
class Bundle {
public:
  /// Reads the manifest; checks that each file it names is a regular file (no link) below the folder, of the stated size.
  static StatusOr<Bundle> open(const std::string &folder);

  const std::string &folder() const { return root; }
  const Manifest &manifest() const { return man; }

  /// Opens a file of the bundle and checks its digest. The returned descriptor is what was checked: load code through it
  /// (/proc/self/fd/N), not through the path.
  StatusOr<MappedFile> openFile(const BundleFile &file) const;
  /// Parses and verifies a target's plan, and checks it against manifest and weights header.
  StatusOr<Plan> loadPlan(const ManifestTarget &target, const SafeTensorsHeader &weights) const;
  /// Opens the weights and their digests; chunks are checked later.
  StatusOr<BundleWeights> openWeights() const;
  /// The preprocessing, if the bundle has one.
  StatusOr<std::optional<Preprocess>> loadPreprocess() const;
  /// Everything: all digests, all plans, all weights, and no other file in the folder.
  Status verifyAll() const;

private:
  std::string root;
  Manifest man;
};

/// True when the folder has a manifest.json that says it is a bundle, of any version.
bool looksLikeBundle(const std::string &folder);

} // namespace vitrify
