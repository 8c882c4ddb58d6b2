//===- ManifestPrint.cpp - manifest.json from a manifest -----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "PlanJson.h"
#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Support/ContentHash.h"

using namespace vitrify;

static Json printFile(const BundleFile &file) {
  return {{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}};
}

template <typename T, typename F> static Json printList(const std::vector<T> &values, F print) {
  Json array = Json::array();
  for (const T &value : values)
    array.push_back(print(value));
  return array;
}

static Json printArguments(const std::vector<ManifestArgument> &arguments, const std::vector<PlanSymbol> &symbols) {
  auto dim = [&](const PlanExpr &expr) { return printPlanExpr(expr, symbols); };
  return printList(arguments, [&](const ManifestArgument &argument) -> Json {
    return {{"name", argument.name}, {"dtype", dtypeName(argument.dtype)}, {"shape", printList(argument.shape, dim)}};
  });
}

static Json printEntry(const ManifestEntry &entry) {
  return {{"name", entry.name},
          {"symbols", printList(entry.symbols, printPlanSymbol)},
          {"inputs", printArguments(entry.inputs, entry.symbols)},
          {"outputs", printArguments(entry.outputs, entry.symbols)}};
}

static Json printState(const ManifestState &state) {
  return {{"name", state.name}, {"entry", state.entry}, {"input", state.input}, {"output", state.output}};
}

static Json printLayer(const ManifestLayer &layer) {
  return {{"name", layer.name},
          {"precision", layer.precision},
          {"kernel", layer.kernel},
          {"scale", layer.scale},
          {"note", layer.note}};
}

static Json printTarget(const ManifestTarget &target) {
  return {{"name", target.name},
          {"device", target.device},
          {"needs", target.needs},
          {"toolchain", target.toolchain},
          {"driver", target.driver},
          {"plan", printFile(target.plan)},
          {"code", printFile(target.code)},
          {"layers", printList(target.layers, printLayer)}};
}

static Json printAlias(const ManifestAlias &alias) {
  return {{"name", alias.name}, {"tensor", alias.tensor}, {"why", alias.why}};
}

std::string vitrify::printManifest(const Manifest &manifest) {
  const ManifestWeights &weights = manifest.weights;
  Json json = {{"format", "vitrify-bundle"},
               {"version", {{"major", manifest.major}, {"minor", manifest.minor}}},
               {"producer", manifest.producer},
               {"precision", manifest.precision},
               {"model",
                {{"name", manifest.model.name},
                 {"family", manifest.model.family},
                 {"source", manifest.model.source},
                 {"license", manifest.model.license}}},
               {"entries", printList(manifest.entries, printEntry)},
               {"states", printList(manifest.states, printState)},
               {"targets", printList(manifest.targets, printTarget)},
               {"weights",
                {{"path", weights.path},
                 {"bytes", weights.bytes},
                 {"tensor_bytes", weights.tensorBytes},
                 {"chunk_bytes", weights.chunkBytes},
                 {"digests", printFile(weights.digests)},
                 {"aliases", printList(weights.aliases, printAlias)}}}};
  if (manifest.preprocess)
    json["preprocess"] = printFile(*manifest.preprocess);
  std::string text = printLines(json);
  text.resize(text.size() - std::string_view("\n}\n").size());
  return text + std::string(kManifestDigestKey) + toHex(sha256(text)) + "\"\n}\n";
}
