//===- Writer.cpp - makes a bundle folder --------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Writer.h"

#include "Consistency.h"
#include "vitrify/Bundle/Verifier.h"
#include "vitrify/Support/ContentHash.h"

#include <filesystem>

using namespace vitrify;
namespace fs = std::filesystem;

/// A place that a bundle may take: free, an empty folder, or an older bundle.
static Status checkReplaceable(const std::string &path) {
  std::error_code code;
  if (!fs::is_directory(path, code))
    return {}; // AtomicDirectory refuses what is there and is no folder
  if (fs::is_empty(path, code) || looksLikeBundle(path))
    return {};
  return invalidArgument("'" + path + "' is a folder that holds something else than a bundle; it is not replaced");
}

StatusOr<BundleWriter> BundleWriter::create(const std::string &path) {
  VITRIFY_RETURN_IF_ERROR(checkReplaceable(path));
  BundleWriter writer;
  VITRIFY_ASSIGN_OR_RETURN(writer.directory, AtomicDirectory::create(path));
  writer.finalPath = path;
  return writer;
}

std::string BundleWriter::weightsPath() const { return directory.path() + "/" + built.weights.path; }

StatusOr<BundleFile> BundleWriter::writeFile(const std::string &relative, std::span<const std::byte> bytes) {
  std::string path = directory.path() + "/" + relative;
  std::error_code code;
  fs::create_directories(fs::path(path).parent_path(), code);
  if (code)
    return invalidArgument("cannot create a folder in '" + finalPath + "': " + code.message());
  VITRIFY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  VITRIFY_RETURN_IF_ERROR(file.write(bytes));
  VITRIFY_RETURN_IF_ERROR(file.commit(Durability::Volatile)); // the folder is made durable as a whole
  return BundleFile{relative, bytes.size(), toHex(sha256(bytes))};
}

Status BundleWriter::addWeights(const WeightWriteReport &report) {
  ManifestWeights &weights = built.weights;
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(weightsPath()));
  weights.bytes = file.size();
  weights.tensorBytes = report.tensorBytes;
  std::string lines;
  std::vector<std::byte> chunk(weights.chunkBytes);
  for (uint64_t at = 0; at < file.size(); at += chunk.size()) {
    auto piece = std::span(chunk).first(std::min<uint64_t>(chunk.size(), file.size() - at));
    VITRIFY_RETURN_IF_ERROR(file.read(at, piece));
    lines += toHex(sha256(piece)) + "\n";
  }
  VITRIFY_ASSIGN_OR_RETURN(weights.digests, writeFile("weights.sha256", std::as_bytes(std::span(lines))));
  weights.aliases.clear();
  for (const WrittenWeight &weight : report.weights)
    if (weight.name != weight.tensor)
      weights.aliases.push_back({weight.name, weight.tensor,
                                 weight.sharing == WrittenWeight::Sharing::SameRecipe ? "recipe" : "bytes"});
  haveWeights = true;
  return {};
}

Status BundleWriter::addTarget(ManifestTarget target, const Plan &plan, std::span<const std::byte> code,
                               std::string_view codeName) {
  if (!isSafeRelativePath(target.name) || target.name.find('/') != std::string::npos)
    return invalidArgument("'" + target.name + "' is no name for a target");
  if (plan.target != target.name)
    return internalError("plan for target '" + plan.target + "' was given for '" + target.name + "'");
  VITRIFY_RETURN_IF_ERROR(verifyPlan(plan).prefixed("plan of target '" + target.name + "'"));
  std::string folder = "targets/" + target.name + "/";
  std::string text = printPlan(plan);
  VITRIFY_ASSIGN_OR_RETURN(target.plan, writeFile(folder + "plan.json", std::as_bytes(std::span(text))));
  VITRIFY_ASSIGN_OR_RETURN(target.code, writeFile(folder + std::string(codeName), code));
  built.targets.push_back(std::move(target));
  plans.push_back(plan);
  return {};
}

Status BundleWriter::setPreprocess(const Preprocess &preprocess) {
  std::string text = printPreprocess(preprocess);
  VITRIFY_RETURN_IF_ERROR([&]() -> Status {
    auto parsed = parsePreprocess(text);
    return parsed.ok() ? Status() : parsed.status().prefixed("preprocess.json");
  }());
  VITRIFY_ASSIGN_OR_RETURN(built.preprocess, writeFile("preprocess.json", std::as_bytes(std::span(text))));
  return {};
}

Status BundleWriter::commit(Manifest manifest) {
  if (!haveWeights)
    return internalError("the bundle '" + finalPath + "' has no weights yet");
  if (plans.empty())
    return internalError("the bundle '" + finalPath + "' has no target yet");
  manifest.targets = std::move(built.targets);
  manifest.weights = std::move(built.weights);
  manifest.preprocess = std::move(built.preprocess);
  if (manifest.entries.empty())
    manifest.entries = entriesOf(plans[0]);
  std::string text = printManifest(manifest);
  VITRIFY_ASSIGN_OR_RETURN(BundleFile written, writeFile("manifest.json", std::as_bytes(std::span(text))));
  (void)written;
  // What a loader will check is checked now, when the message can still reach who made it.
  VITRIFY_ASSIGN_OR_RETURN(Bundle bundle, Bundle::open(directory.path()));
  VITRIFY_ASSIGN_OR_RETURN(BundleWeights weights, bundle.openWeights());
  for (size_t i = 0; i < plans.size(); ++i)
    VITRIFY_RETURN_IF_ERROR(checkPlanAgainst(plans[i], bundle.manifest(), bundle.manifest().targets[i],
                                             weights.file().header()));
  VITRIFY_RETURN_IF_ERROR(checkReplaceable(finalPath));
  return directory.commit();
}

std::vector<ManifestEntry> vitrify::entriesOf(const Plan &plan) {
  std::vector<ManifestEntry> entries;
  for (const PlanProgram &program : plan.programs) {
    ManifestEntry entry{program.name, program.symbols, {}, {}};
    auto add = [&](const std::vector<PlanArgument> &arguments, std::vector<ManifestArgument> &to) {
      for (const PlanArgument &argument : arguments) {
        const PlanBuffer &buffer = program.buffers[argument.buffer];
        to.push_back({argument.name, buffer.dtype, buffer.shape});
      }
    };
    add(program.inputs, entry.inputs);
    add(program.outputs, entry.outputs);
    entries.push_back(std::move(entry));
  }
  return entries;
}
