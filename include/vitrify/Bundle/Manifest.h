//===- Manifest.h - what a bundle says about itself -------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// manifest.json of a bundle; lib/Bundle/Format.md describes it field by field.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"
#include "vitrify/Support/Status.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify {

/// A file of the bundle. Paths are relative, with '/', and stay below the folder.
struct BundleFile {
  std::string path;
  uint64_t bytes = 0;
  std::string sha256; ///< 64 lower-case hexadecimal digits
};

/// Where the model came from.
struct ManifestModel {
  std::string name;    ///< "vit_mnist_gelu"
  std::string family;  ///< "vit", "deit"
  std::string source;  ///< file or address it was imported from
  std::string license; ///< SPDX identifier or "unknown"
};

/// An argument or result as the caller sees it.
struct ManifestArgument {
  std::string name;
  DType dtype = DType::F32;
  std::vector<PlanExpr> shape; ///< over the entry's symbols
};

/// An entry function; every target's plan has a program of this name with these arguments and symbols.
struct ManifestEntry {
  std::string name;
  std::vector<PlanSymbol> symbols;
  std::vector<ManifestArgument> inputs, outputs;
};

/// State that lives from call to call: an input of an entry tied to an output.
struct ManifestState {
  std::string name, entry, input, output;
};

/// What one target really does with a layer.
struct ManifestLayer {
  std::string name;      ///< "b0.fc1"
  std::string precision; ///< "f32", "bf16", "f16", "f8e4m3"
  std::string kernel;    ///< kernel of that target's plan that computes it
  std::string scale;     ///< weight that holds the activation's scale, or ""
  std::string note;      ///< why this precision, when a rule or a measurement decided it
};

/// One target's folder.
struct ManifestTarget {
  std::string name;                ///< "x86-64-v4-bf16", "sm_89"
  std::string device;              ///< "cpu" or "cuda"
  std::vector<std::string> needs;  ///< CPU features ("avx512_bf16"), or {"compute_89"}
  std::string toolchain;           ///< what built the code: "LLVM 22.1.8", "ptxas 13.0.88"
  std::string driver;              ///< oldest CUDA driver that loads it, or ""
  BundleFile plan;                 ///< targets/NAME/plan.json
  BundleFile code;                 ///< targets/NAME/kernels.so or kernels.fatbin
  std::vector<ManifestLayer> layers;
};

/// A weight that has no bytes of its own.
struct ManifestAlias {
  std::string name, tensor;
  std::string why; ///< "recipe" or "bytes"
};

/// weights.safetensors and its digests.
struct ManifestWeights {
  std::string path = "weights.safetensors";
  uint64_t bytes = 0;          ///< of the file
  uint64_t tensorBytes = 0;    ///< of the distinct tensors
  uint64_t chunkBytes = 1 << 20;
  BundleFile digests;          ///< weights.sha256: one SHA-256 a chunk of the file, hexadecimal, a line each
  std::vector<ManifestAlias> aliases;
};

struct Manifest {
  static constexpr int kMajor = 1;
  static constexpr int kMinor = 0;
  int major = kMajor, minor = kMinor;
  std::string producer;                  ///< "vitrify 0.1.0"
  std::string precision;                 ///< what was asked for: "f32", "bf16", "fp8", "auto"
  ManifestModel model;
  std::vector<ManifestEntry> entries;
  std::vector<ManifestState> states;
  std::vector<ManifestTarget> targets;
  ManifestWeights weights;
  std::optional<BundleFile> preprocess;  ///< preprocess.json
};

/// manifest.json with stable key order and a final newline. Its last line is the SHA-256 of all text before that line: it
/// finds damage; who made the bundle is what a signature says.
std::string printManifest(const Manifest &manifest);
/// Parses and checks. A newer major version is Unsupported and says both versions; unknown keys are refused, unless the
/// file's minor version is newer than ours.
StatusOr<Manifest> parseManifest(std::string_view json);

} // namespace vitrify
