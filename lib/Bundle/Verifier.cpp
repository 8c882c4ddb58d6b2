//===- Verifier.cpp - opens a bundle and checks it -----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Verifier.h"

#include "Consistency.h"
#include "vitrify/Support/Json.h"

#include <algorithm>
#include <filesystem>
#include <set>

using namespace vitrify;
namespace fs = std::filesystem;

namespace {
constexpr uint64_t kMaxManifest = uint64_t(64) << 20;

/// Every file that the manifest names.
std::vector<BundleFile> filesOf(const Manifest &manifest) {
  std::vector<BundleFile> files{manifest.weights.digests};
  for (const ManifestTarget &target : manifest.targets)
    files.insert(files.end(), {target.plan, target.code});
  if (manifest.preprocess)
    files.push_back(*manifest.preprocess);
  return files;
}

/// A regular file below the folder, reached through folders only: no part of the path may be a link.
Status checkPlain(const std::string &folder, const std::string &relative) {
  fs::path path = folder;
  for (const fs::path &part : fs::path(relative)) {
    path /= part;
    std::error_code code;
    fs::file_status status = fs::symlink_status(path, code);
    if (!fs::exists(status))
      return notFound("'" + relative + "' is missing from bundle '" + folder + "'");
    if (fs::is_symlink(status))
      return dataLoss("'" + path.string() + "' is a link, which a bundle may not hold");
  }
  return {};
}

StatusOr<MappedFile> openPlain(const std::string &folder, const std::string &relative, uint64_t bytes) {
  VITRIFY_RETURN_IF_ERROR(checkPlain(folder, relative));
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(folder + "/" + relative, /*followLinks=*/false));
  if (file.size() != bytes)
    return dataLoss("'" + relative + "' has " + std::to_string(file.size()) + " bytes, the manifest says " +
                    std::to_string(bytes));
  return file;
}

std::string_view textOf(const MappedFile &file) {
  return {reinterpret_cast<const char *>(file.bytes().data()), file.bytes().size()};
}
} // namespace

bool vitrify::looksLikeBundle(const std::string &folder) {
  auto text = readFile(folder + "/manifest.json", kMaxManifest);
  if (!text.ok())
    return false;
  auto json = parseJson(*text, 256);
  if (!json.ok())
    return false;
  auto format = JsonCursor(*json).string("format");
  return format.ok() && *format == "vitrify-bundle";
}

StatusOr<Bundle> Bundle::open(const std::string &folder) {
  std::error_code code;
  if (!fs::exists(folder, code))
    return notFound("bundle '" + folder + "' does not exist");
  if (!fs::is_directory(folder, code))
    return invalidArgument("'" + folder + "' is not a folder, expected a bundle");
  if (!fs::exists(fs::symlink_status(folder + "/manifest.json", code)))
    return invalidArgument("'" + folder + "' is not a bundle: it has no manifest.json");
  Bundle bundle;
  bundle.root = folder;
  VITRIFY_RETURN_IF_ERROR(checkPlain(folder, "manifest.json"));
  VITRIFY_ASSIGN_OR_RETURN(std::string text, readFile(folder + "/manifest.json", kMaxManifest));
  auto manifest = parseManifest(text);
  if (!manifest.ok())
    return manifest.status().prefixed("'" + folder + "/manifest.json'");
  bundle.man = std::move(*manifest);
  std::vector<BundleFile> files = filesOf(bundle.man);
  files.push_back({bundle.man.weights.path, bundle.man.weights.bytes, ""});
  for (const BundleFile &file : files) {
    VITRIFY_ASSIGN_OR_RETURN(MappedFile opened, openPlain(folder, file.path, file.bytes));
    (void)opened;
  }
  return bundle;
}

StatusOr<MappedFile> Bundle::openFile(const BundleFile &file) const {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile opened, openPlain(root, file.path, file.bytes));
  std::string found = toHex(sha256(opened.bytes()));
  if (found != file.sha256)
    return dataLoss("'" + file.path + "' of bundle '" + root + "' was changed: its SHA-256 is " + found +
                    ", the manifest says " + file.sha256);
  return opened;
}

StatusOr<Plan> Bundle::loadPlan(const ManifestTarget &target, const SafeTensorsHeader &weights) const {
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, openFile(target.plan));
  auto plan = parsePlan(textOf(file));
  if (!plan.ok())
    return plan.status().prefixed("'" + target.plan.path + "'");
  VITRIFY_RETURN_IF_ERROR(checkPlanAgainst(*plan, man, target, weights));
  return plan;
}

StatusOr<BundleWeights> Bundle::openWeights() const {
  BundleWeights weights;
  VITRIFY_ASSIGN_OR_RETURN(MappedFile digests, openFile(man.weights.digests));
  std::string_view lines = textOf(digests);
  uint64_t chunks = (man.weights.bytes + man.weights.chunkBytes - 1) / man.weights.chunkBytes;
  if (lines.size() != chunks * 65)
    return dataLoss("'" + man.weights.digests.path + "' has " + std::to_string(lines.size()) + " bytes, expected " +
                    std::to_string(chunks) + " lines of 64 digits");
  for (uint64_t i = 0; i < chunks; ++i) {
    auto digest = parseDigest(lines.substr(i * 65, 64));
    if (!digest.ok() || lines[i * 65 + 64] != '\n')
      return dataLoss("line " + std::to_string(i + 1) + " of '" + man.weights.digests.path + "' is not a digest");
    weights.digests.push_back(*digest);
  }
  VITRIFY_RETURN_IF_ERROR(checkPlain(root, man.weights.path));
  weights.chunkBytes = man.weights.chunkBytes;
  weights.checked = std::make_unique<std::atomic<bool>[]>(chunks);
  // The header decides what is read where, so its chunks are checked before it is parsed.
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, openPlain(root, man.weights.path, man.weights.bytes));
  uint64_t headerBytes = std::min<uint64_t>(file.size(), 8);
  if (file.size() >= 8)
    for (size_t i = 0; i < 8; ++i)
      headerBytes += static_cast<uint64_t>(file.bytes()[i]) << (8 * i);
  headerBytes = std::min(headerBytes, file.size());
  VITRIFY_RETURN_IF_ERROR(weights.verifyChunks(file, 0, headerBytes));
  VITRIFY_ASSIGN_OR_RETURN(weights.tensors, SafeTensorsFile::fromMapped(std::move(file)));
  return weights;
}

Status BundleWeights::verifyChunks(const MappedFile &file, uint64_t begin, uint64_t end) const {
  if (begin > end || end > file.size())
    return internalError("bytes " + std::to_string(begin) + " to " + std::to_string(end) + " of weights of " +
                         std::to_string(file.size()));
  if (begin == end)
    return {};
  for (uint64_t chunk = begin / chunkBytes; chunk <= (end - 1) / chunkBytes; ++chunk) {
    // Two threads may check the same chunk at once; both come to the same result.
    if (checked[chunk].load(std::memory_order_acquire))
      continue;
    uint64_t at = chunk * chunkBytes;
    std::span<const std::byte> bytes = file.bytes().subspan(at, std::min(chunkBytes, file.size() - at));
    VITRIFY_RETURN_IF_ERROR(file.populate(at, bytes.size()));
    if (sha256(bytes) != digests[chunk]) {
      std::string tensor;
      for (const TensorInfo &info : tensors.tensors())
        if (tensor.empty() && info.end > at && info.begin < at + bytes.size() && info.begin < end && info.end > begin)
          tensor = ", in tensor '" + info.name + "'";
      return dataLoss("weights were changed: chunk " + std::to_string(chunk) + " at byte " + std::to_string(at) +
                      " of '" + file.path() + "'" + tensor + " does not have its digest");
    }
    checked[chunk].store(true, std::memory_order_release);
  }
  return {};
}

Status BundleWeights::verify(uint64_t begin, uint64_t end) const { return verifyChunks(tensors.mapped(), begin, end); }

StatusOr<std::span<const std::byte>> BundleWeights::tensor(const std::string &name) const {
  const TensorInfo *info = tensors.find(name);
  if (!info)
    return notFound("no tensor '" + name + "' in '" + tensors.path() + "'");
  VITRIFY_RETURN_IF_ERROR(verify(info->begin, info->end));
  return tensors.data(*info);
}

StatusOr<std::optional<Preprocess>> Bundle::loadPreprocess() const {
  if (!man.preprocess)
    return std::optional<Preprocess>();
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, openFile(*man.preprocess));
  auto preprocess = parsePreprocess(textOf(file));
  if (!preprocess.ok())
    return preprocess.status().prefixed("'" + man.preprocess->path + "'");
  return std::optional<Preprocess>(std::move(*preprocess));
}

Status Bundle::verifyAll() const {
  VITRIFY_ASSIGN_OR_RETURN(BundleWeights weights, openWeights());
  for (const ManifestTarget &target : man.targets) {
    VITRIFY_ASSIGN_OR_RETURN(Plan plan, loadPlan(target, weights.file().header()));
    (void)plan;
    VITRIFY_ASSIGN_OR_RETURN(MappedFile code, openFile(target.code));
    (void)code;
  }
  VITRIFY_ASSIGN_OR_RETURN(std::optional<Preprocess> preprocess, loadPreprocess());
  (void)preprocess;
  VITRIFY_RETURN_IF_ERROR(weights.verifyAll());
  for (const ManifestAlias &alias : man.weights.aliases)
    if (!weights.file().find(alias.tensor))
      return dataLoss("weight '" + alias.name + "' shares tensor '" + alias.tensor + "', which the weights lack");

  std::set<std::string> known{"manifest.json", "manifest.json.sig", man.weights.path};
  for (const BundleFile &file : filesOf(man))
    known.insert(file.path);
  std::error_code code;
  for (fs::recursive_directory_iterator it(root, code), end; !code && it != end; it.increment(code)) {
    std::string relative = it->path().lexically_relative(root).generic_string();
    if (it->is_symlink(code))
      return dataLoss("'" + it->path().string() + "' is a link, which a bundle may not hold");
    if (!it->is_directory(code) && !known.count(relative))
      return dataLoss("'" + it->path().string() + "' is not named by the manifest");
  }
  return code ? invalidArgument("cannot list '" + root + "': " + code.message()) : Status();
}
