//===- ManifestParse.cpp - a manifest from manifest.json -----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "JsonLists.h"
#include "PlanJson.h"
#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Support/ContentHash.h"
#include "vitrify/Support/File.h"

#include <algorithm>
#include <set>

using namespace vitrify;

namespace {
class ManifestParser {
public:
  StatusOr<Manifest> parse(const JsonCursor &json, std::string_view text) {
    auto format = json.string("format");
    if (!format.ok() || *format != "vitrify-bundle")
      return json.fail("not a vitrify bundle: expected format 'vitrify-bundle'");
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor version, json.at("version"));
    VITRIFY_ASSIGN_OR_RETURN(int64_t major, version.integer("major", 0, INT32_MAX));
    VITRIFY_ASSIGN_OR_RETURN(int64_t minor, version.integer("minor", 0, INT32_MAX));
    if (major != Manifest::kMajor)
      return unsupported("bundle has version " + std::to_string(major) + "." + std::to_string(minor) +
                         ", this build reads version " + std::to_string(Manifest::kMajor) + ": " +
                         (major > Manifest::kMajor ? "use a newer vitrify" : "compile the model again"));
    VITRIFY_RETURN_IF_ERROR(checkDigest(json, text));
    Manifest manifest;
    manifest.major = static_cast<int>(major);
    manifest.minor = static_cast<int>(minor);
    lenient = minor > Manifest::kMinor;
    VITRIFY_RETURN_IF_ERROR(keys(version, {"major", "minor"}));
    VITRIFY_RETURN_IF_ERROR(keys(json, {"format", "version", "producer", "precision", "model", "entries", "states",
                                        "targets", "weights", "preprocess", "sha256"}));
    VITRIFY_ASSIGN_OR_RETURN(manifest.producer, json.string("producer"));
    VITRIFY_ASSIGN_OR_RETURN(manifest.precision, json.string("precision"));
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor model, json.at("model"));
    VITRIFY_RETURN_IF_ERROR(keys(model, {"name", "family", "source", "license"}));
    VITRIFY_ASSIGN_OR_RETURN(manifest.model.name, model.string("name"));
    VITRIFY_ASSIGN_OR_RETURN(manifest.model.family, model.string("family"));
    VITRIFY_ASSIGN_OR_RETURN(manifest.model.source, model.string("source"));
    VITRIFY_ASSIGN_OR_RETURN(manifest.model.license, model.string("license"));
    auto entry = [this](const JsonCursor &element) { return parseEntry(element); };
    auto state = [this](const JsonCursor &element) { return parseState(element); };
    auto target = [this](const JsonCursor &element) { return parseTarget(element); };
    VITRIFY_ASSIGN_OR_RETURN(manifest.entries, parseJsonList<ManifestEntry>(json, "entries", entry));
    VITRIFY_ASSIGN_OR_RETURN(manifest.states, parseJsonList<ManifestState>(json, "states", state));
    VITRIFY_ASSIGN_OR_RETURN(manifest.targets, parseJsonList<ManifestTarget>(json, "targets", target));
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor weights, json.at("weights"));
    VITRIFY_ASSIGN_OR_RETURN(manifest.weights, parseWeights(weights));
    if (json.has("preprocess")) {
      VITRIFY_ASSIGN_OR_RETURN(manifest.preprocess, file(json, "preprocess"));
    }
    VITRIFY_RETURN_IF_ERROR(check(manifest));
    return manifest;
  }

private:
  /// The last member is the digest of all text before it.
  Status checkDigest(const JsonCursor &json, std::string_view text) const {
    VITRIFY_ASSIGN_OR_RETURN(std::string expected, json.string("sha256"));
    size_t end = text.rfind(kManifestDigestKey);
    if (end == std::string_view::npos || text.substr(end) != std::string(kManifestDigestKey) + expected + "\"\n}\n")
      return json.fail("sha256: expected it to be the last member, on a line of its own");
    std::string found = toHex(sha256(text.substr(0, end)));
    if (found != expected)
      return json.fail("the manifest was changed: its SHA-256 is " + found + ", it says " + expected);
    return {};
  }

  /// Unknown keys are legal only where a newer minor version may have added them.
  Status keys(const JsonCursor &json, const std::set<std::string_view> &known) const {
    return lenient ? json.expectObject() : json.refuseOtherKeys(known);
  }

  StatusOr<std::string> path(const JsonCursor &json) const {
    VITRIFY_ASSIGN_OR_RETURN(std::string path, json.string("path"));
    if (!isSafeRelativePath(path))
      return json.fail("path '" + path.substr(0, 200) + "' is not a file below the bundle's folder");
    return path;
  }

  StatusOr<BundleFile> file(const JsonCursor &json, std::string_view key) const {
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor member, json.at(key));
    VITRIFY_RETURN_IF_ERROR(keys(member, {"path", "bytes", "sha256"}));
    BundleFile file;
    VITRIFY_ASSIGN_OR_RETURN(file.path, path(member));
    VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, member.integer("bytes", 0));
    file.bytes = static_cast<uint64_t>(bytes);
    VITRIFY_ASSIGN_OR_RETURN(file.sha256, member.string("sha256"));
    if (auto digest = parseDigest(file.sha256); !digest.ok())
      return member.fail("sha256: " + digest.status().message());
    return file;
  }

  StatusOr<ManifestArgument> parseArgument(const JsonCursor &json, const std::vector<PlanSymbol> &symbols) const {
    VITRIFY_RETURN_IF_ERROR(keys(json, {"name", "dtype", "shape"}));
    ManifestArgument argument;
    VITRIFY_ASSIGN_OR_RETURN(argument.name, json.string("name"));
    VITRIFY_ASSIGN_OR_RETURN(std::string dtype, json.string("dtype"));
    auto type = parseDType(dtype);
    if (!type.ok() || !isPlanDType(*type))
      return json.fail("dtype: unknown element type '" + dtype.substr(0, 32) + "'");
    argument.dtype = *type;
    auto dim = [&](const JsonCursor &element) { return parsePlanExpr(element, symbols); };
    VITRIFY_ASSIGN_OR_RETURN(argument.shape, parseJsonList<PlanExpr>(json, "shape", dim));
    return argument;
  }

  StatusOr<ManifestEntry> parseEntry(const JsonCursor &json) const {
    VITRIFY_RETURN_IF_ERROR(keys(json, {"name", "symbols", "inputs", "outputs"}));
    ManifestEntry entry;
    VITRIFY_ASSIGN_OR_RETURN(entry.name, json.string("name"));
    auto symbol = [this](const JsonCursor &element) { return parsePlanSymbol(element, lenient); };
    VITRIFY_ASSIGN_OR_RETURN(entry.symbols, parseJsonList<PlanSymbol>(json, "symbols", symbol));
    auto argument = [&](const JsonCursor &element) { return parseArgument(element, entry.symbols); };
    VITRIFY_ASSIGN_OR_RETURN(entry.inputs, parseJsonList<ManifestArgument>(json, "inputs", argument));
    VITRIFY_ASSIGN_OR_RETURN(entry.outputs, parseJsonList<ManifestArgument>(json, "outputs", argument));
    for (const PlanSymbol &symbol : entry.symbols)
      if (symbol.name.empty() || symbol.min < 0 || symbol.min > symbol.tuned || symbol.tuned > symbol.max)
        return json.fail("symbols: expected a name and 0 <= min <= tuned <= max for '" + symbol.name.substr(0, 80) +
                         "'");
    return entry;
  }

  StatusOr<ManifestState> parseState(const JsonCursor &json) const {
    VITRIFY_RETURN_IF_ERROR(keys(json, {"name", "entry", "input", "output"}));
    ManifestState state;
    VITRIFY_ASSIGN_OR_RETURN(state.name, json.string("name"));
    VITRIFY_ASSIGN_OR_RETURN(state.entry, json.string("entry"));
    VITRIFY_ASSIGN_OR_RETURN(state.input, json.string("input"));
    VITRIFY_ASSIGN_OR_RETURN(state.output, json.string("output"));
    return state;
  }

  StatusOr<ManifestLayer> parseLayer(const JsonCursor &json) const {
    VITRIFY_RETURN_IF_ERROR(keys(json, {"name", "precision", "kernel", "scale", "note"}));
    ManifestLayer layer;
    VITRIFY_ASSIGN_OR_RETURN(layer.name, json.string("name"));
    VITRIFY_ASSIGN_OR_RETURN(layer.precision, json.string("precision"));
    VITRIFY_ASSIGN_OR_RETURN(layer.kernel, json.string("kernel"));
    VITRIFY_ASSIGN_OR_RETURN(layer.scale, json.string("scale"));
    VITRIFY_ASSIGN_OR_RETURN(layer.note, json.string("note"));
    return layer;
  }

  StatusOr<ManifestTarget> parseTarget(const JsonCursor &json) const {
    VITRIFY_RETURN_IF_ERROR(keys(json, {"name", "device", "needs", "toolchain", "driver", "plan", "code", "layers"}));
    ManifestTarget target;
    VITRIFY_ASSIGN_OR_RETURN(target.name, json.string("name"));
    VITRIFY_ASSIGN_OR_RETURN(target.device, json.string("device"));
    if (target.device != "cpu" && target.device != "cuda")
      return json.fail("device: expected 'cpu' or 'cuda', found '" + target.device.substr(0, 80) + "'");
    VITRIFY_ASSIGN_OR_RETURN(target.needs, parseStrings(json, "needs"));
    VITRIFY_ASSIGN_OR_RETURN(target.toolchain, json.string("toolchain"));
    VITRIFY_ASSIGN_OR_RETURN(target.driver, json.string("driver"));
    VITRIFY_ASSIGN_OR_RETURN(target.plan, file(json, "plan"));
    VITRIFY_ASSIGN_OR_RETURN(target.code, file(json, "code"));
    // A plan launches kernels of its own folder only.
    std::string folder = "targets/" + target.name + "/";
    for (const BundleFile *f : {&target.plan, &target.code})
      if (f->path.rfind(folder, 0) != 0)
        return json.fail("'" + f->path.substr(0, 200) + "' is not in '" + folder.substr(0, 80) + "'");
    auto layer = [this](const JsonCursor &element) { return parseLayer(element); };
    VITRIFY_ASSIGN_OR_RETURN(target.layers, parseJsonList<ManifestLayer>(json, "layers", layer));
    return target;
  }

  StatusOr<ManifestWeights> parseWeights(const JsonCursor &json) const {
    VITRIFY_RETURN_IF_ERROR(keys(json, {"path", "bytes", "tensor_bytes", "chunk_bytes", "digests", "aliases"}));
    ManifestWeights weights;
    VITRIFY_ASSIGN_OR_RETURN(weights.path, path(json));
    VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, json.integer("bytes", 0));
    VITRIFY_ASSIGN_OR_RETURN(int64_t tensorBytes, json.integer("tensor_bytes", 0, bytes));
    VITRIFY_ASSIGN_OR_RETURN(int64_t chunk, json.integer("chunk_bytes", 4096, int64_t(1) << 30));
    weights.bytes = static_cast<uint64_t>(bytes);
    weights.tensorBytes = static_cast<uint64_t>(tensorBytes);
    weights.chunkBytes = static_cast<uint64_t>(chunk);
    VITRIFY_ASSIGN_OR_RETURN(weights.digests, file(json, "digests"));
    auto alias = [this](const JsonCursor &element) -> StatusOr<ManifestAlias> {
      VITRIFY_RETURN_IF_ERROR(keys(element, {"name", "tensor", "why"}));
      ManifestAlias alias;
      VITRIFY_ASSIGN_OR_RETURN(alias.name, element.string("name"));
      VITRIFY_ASSIGN_OR_RETURN(alias.tensor, element.string("tensor"));
      VITRIFY_ASSIGN_OR_RETURN(alias.why, element.string("why"));
      return alias;
    };
    VITRIFY_ASSIGN_OR_RETURN(weights.aliases, parseJsonList<ManifestAlias>(json, "aliases", alias));
    return weights;
  }

  /// What holds between fields: names and paths are unique, states name entries and arguments.
  Status check(const Manifest &manifest) const {
    auto unique = [](const auto &values, auto nameOf, const std::string &what) -> Status {
      std::set<std::string> seen;
      for (const auto &value : values)
        if (nameOf(value).empty() || !seen.insert(nameOf(value)).second)
          return dataLoss(what + ": name '" + nameOf(value).substr(0, 80) + "' is empty or occurs twice");
      return {};
    };
    auto name = [](const auto &value) -> const std::string & { return value.name; };
    VITRIFY_RETURN_IF_ERROR(unique(manifest.entries, name, "entries"));
    VITRIFY_RETURN_IF_ERROR(unique(manifest.states, name, "states"));
    VITRIFY_RETURN_IF_ERROR(unique(manifest.targets, name, "targets"));
    VITRIFY_RETURN_IF_ERROR(unique(manifest.weights.aliases, name, "weights.aliases"));
    std::vector<std::string> paths{"manifest.json", manifest.weights.path, manifest.weights.digests.path};
    for (const ManifestTarget &target : manifest.targets) {
      VITRIFY_RETURN_IF_ERROR(unique(target.layers, name, "layers of target '" + target.name + "'"));
      paths.insert(paths.end(), {target.plan.path, target.code.path});
    }
    if (manifest.preprocess)
      paths.push_back(manifest.preprocess->path);
    VITRIFY_RETURN_IF_ERROR(unique(paths, [](const std::string &path) -> const std::string & { return path; }, "files"));
    for (const ManifestState &state : manifest.states) {
      auto has = [](const std::vector<ManifestArgument> &arguments, const std::string &wanted) {
        return std::any_of(arguments.begin(), arguments.end(), [&](const auto &a) { return a.name == wanted; });
      };
      bool found = false;
      for (const ManifestEntry &entry : manifest.entries)
        found |= entry.name == state.entry && has(entry.inputs, state.input) && has(entry.outputs, state.output);
      if (!found)
        return dataLoss("states: '" + state.name + "' ties no input and output of an entry");
    }
    return {};
  }

  bool lenient = false;
};
} // namespace

StatusOr<Manifest> vitrify::parseManifest(std::string_view text) {
  VITRIFY_ASSIGN_OR_RETURN(Json document, parseJson(text, 16 + kMaxExprDepth));
  return ManifestParser().parse(JsonCursor(document), text);
}
