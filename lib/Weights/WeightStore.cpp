//===- WeightStore.cpp - all derived weights of a model ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/WeightStore.h"

#include "StoreState.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <sys/stat.h>

using namespace vitrify;
using Kind = RecipeNode::Kind;

namespace {
/// Results up to this size are kept once computed: scales and biases, which many rows ask for.
constexpr int64_t kKeptBytes = 1 << 20;
/// Scratch of one piece when a weight is evaluated on its own.
constexpr int64_t kPieceBytes = 8 << 20;
/// Longer chains of gets are refused; evaluation recurses along them.
constexpr size_t kMaxChain = 256;

int64_t totalBytes(const TensorType &type) { return type.bytesOfRows(type.rows()); }
} // namespace

WeightStore::WeightStore() : state(std::make_unique<State>()) {}
WeightStore::~WeightStore() = default;

Status WeightStore::addSource(const std::string &name, const std::string &path, std::optional<uint64_t> size,
                              std::optional<Digest> headerDigest) {
  if (state->sources.count(name))
    return invalidArgument("source '" + name + "' was added twice");
  VITRIFY_ASSIGN_OR_RETURN(SafeTensorsFile file, SafeTensorsFile::open(path));
  if (size && *size != file.mapped().size())
    return dataLoss("'" + path + "' has " + std::to_string(file.mapped().size()) + " bytes, expected " +
                    std::to_string(*size) + ": the file changed since it was imported");
  if (headerDigest && *headerDigest != file.header().digest)
    return dataLoss("'" + path + "' has a header of SHA-256 " + toHex(file.header().digest) + ", expected " +
                    toHex(*headerDigest) + ": the file changed since it was imported");
  struct stat info;
  if (fstat(file.mapped().descriptor(), &info) != 0)
    return internalError("cannot inspect '" + path + "'");
  Source source{std::move(file), "", info.st_dev, info.st_ino};
  std::string digest = toHex(source.file.header().digest);
  size_t different = 0;
  for (const auto &[other, known] : state->sources) {
    if (known.file.header().digest != source.file.header().digest)
      continue;
    if (known.device == source.device && known.inode == source.inode)
      source.identity = known.identity;
    ++different;
  }
  if (source.identity.empty())
    source.identity = digest + "#" + std::to_string(different);
  state->sources.emplace(name, std::move(source));
  return {};
}

Status WeightStore::addWeight(const std::string &name, Recipe recipe) {
  if (recipe.allNodes().empty())
    return internalError("weight '" + name + "' has an empty recipe");
  auto entry = std::make_unique<Entry>(std::move(recipe));
  entry->evaluator = std::make_unique<RecipeEvaluator>(entry->recipe, *this);
  if (!state->weights.emplace(name, std::move(entry)).second)
    return invalidArgument("weight '" + name + "' was added twice");
  return {};
}

const Recipe *WeightStore::find(const std::string &name) const {
  auto it = state->weights.find(name);
  return it == state->weights.end() ? nullptr : &it->second->recipe;
}

Status WeightStore::check() const {
  for (const auto &[name, entry] : state->weights) {
    for (const RecipeNode &node : entry->recipe.allNodes()) {
      if (node.kind == Kind::Read) {
        auto source = state->sources.find(node.name);
        if (source == state->sources.end())
          return notFound("weight '" + name + "': no source '" + node.name + "'");
        const TensorInfo *tensor = source->second.file.find(node.tensor);
        if (!tensor)
          return notFound("weight '" + name + "': no tensor '" + node.tensor + "' in '" + source->second.file.path() + "'");
        TensorType found{tensor->dtype, tensor->shape};
        // Codes of 4 bits may be stored as the bytes that hold two of them.
        if (node.type.dtype == DType::F4E2M1 && found.dtype == DType::U8 && !found.shape.empty() &&
            found.shape.back() <= INT64_MAX / 2)
          found = {node.type.dtype, [&] { auto shape = found.shape; shape.back() *= 2; return shape; }()};
        if (found != node.type)
          return invalidArgument("weight '" + name + "': tensor '" + node.tensor + "' is " + found.str() +
                                 ", expected " + node.type.str());
      } else if (node.kind == Kind::Get) {
        const Recipe *other = find(node.name);
        if (!other)
          return notFound("weight '" + name + "': no weight '" + node.name + "'");
        if (other->type() != node.type)
          return invalidArgument("weight '" + name + "': weight '" + node.name + "' is " + other->type().str() +
                                 ", expected " + node.type.str());
      }
    }
    std::vector<std::string> chain;
    VITRIFY_RETURN_IF_ERROR(state->visit(name, chain, kMaxChain));
  }
  return {};
}

Status WeightStore::State::visit(const std::string &name, std::vector<std::string> &chain, size_t maxChain) const {
  const Entry &entry = *weights.at(name);
  if (entry.acyclic)
    return {};
  if (std::find(chain.begin(), chain.end(), name) != chain.end())
    return invalidArgument("weight '" + name + "' derives from itself, through '" + chain.back() + "'");
  if (chain.size() >= maxChain)
    return invalidArgument("weight '" + chain.front() + "' derives from a chain of more than " +
                           std::to_string(maxChain) + " weights");
  chain.push_back(name);
  for (const RecipeNode &node : entry.recipe.allNodes())
    if (node.kind == Kind::Get)
      VITRIFY_RETURN_IF_ERROR(visit(node.name, chain, maxChain));
  chain.pop_back();
  entry.acyclic = true;
  return {};
}

StatusOr<std::string> WeightStore::recipeKey(const std::string &name) const {
  auto it = state->weights.find(name);
  if (it == state->weights.end())
    return notFound("no weight '" + name + "'");
  const Entry &entry = *it->second;
  if (!entry.acyclic)
    return internalError("weight '" + name + "' was not checked");
  std::lock_guard lock(entry.mutex);
  if (!entry.key.empty())
    return entry.key;
  Status failed;
  auto nameOf = [&](const std::string &other) {
    auto key = recipeKey(other);
    if (!key.ok())
      failed = key.status();
    return key.ok() ? *key : std::string();
  };
  auto sourceOf = [&](const std::string &source) { return state->sources.at(source).identity; };
  std::string text = entry.recipe.text(nameOf, sourceOf);
  VITRIFY_RETURN_IF_ERROR(failed);
  entry.key = toHex(sha256(text));
  return entry.key;
}

Status WeightStore::readTensor(const std::string &source, const std::string &tensor, uint64_t offset,
                               std::span<std::byte> out) const {
  auto it = state->sources.find(source);
  const TensorInfo *info = it == state->sources.end() ? nullptr : it->second.file.find(tensor);
  if (!info)
    return notFound("no tensor '" + tensor + "' in source '" + source + "'");
  if (offset > info->bytes() || out.size() > info->bytes() - offset)
    return internalError("bytes " + std::to_string(offset) + " + " + std::to_string(out.size()) + " of tensor '" +
                         tensor + "' of " + std::to_string(info->bytes()));
  // By position, not through the mapping: the pages then never count as ours.
  return it->second.file.mapped().read(info->begin + offset, out);
}

int64_t WeightStore::State::bytesPerRow(const std::string &name) const {
  const Entry &entry = *weights.at(name);
  int64_t cost = entry.rowCost.load();
  if (cost != 0)
    return cost;
  const Recipe &recipe = entry.recipe;
  for (const RecipeNode &node : recipe.allNodes()) {
    bool kept = node.kind == Kind::Get && totalBytes(node.type) <= kKeptBytes;
    int64_t share = kept ? 0 : totalBytes(node.type) / recipe.type().rows();
    // A get evaluates the other recipe; values are also held as f32 while they are worked on.
    if (node.kind == Kind::Get && !kept)
      share = bytesPerRow(node.name) * std::max<int64_t>(1, node.type.rows() / recipe.type().rows());
    else if (node.kind != Kind::Read && node.type.dtype != DType::F32)
      share += share * 32 / dtypeBits(node.type.dtype);
    cost += share;
  }
  cost = std::max<int64_t>(1, cost);
  entry.rowCost = cost;
  return cost;
}

StatusOr<TensorData> WeightStore::weightRows(const std::string &weight, int64_t begin, int64_t end) const {
  auto it = state->weights.find(weight);
  if (it == state->weights.end())
    return notFound("no weight '" + weight + "'");
  const Entry &entry = *it->second;
  const TensorType &type = entry.recipe.type();
  if (totalBytes(type) > kKeptBytes)
    return entry.evaluator->rows(begin, end);
  if (begin < 0 || begin >= end || end > type.rows())
    return internalError("rows " + std::to_string(begin) + " to " + std::to_string(end) + " of " + type.str());
  std::lock_guard lock(entry.mutex); // weights derive from one another without cycles, so locks are taken in their order
  if (!entry.kept) {
    VITRIFY_ASSIGN_OR_RETURN(TensorData whole, state->whole(weight));
    entry.kept = std::move(whole);
  }
  TensorData rows{type, {}};
  if (!rows.type.shape.empty())
    rows.type.shape[0] = end - begin;
  rows.data.assign(entry.kept->data.begin() + type.bytesOfRows(begin), entry.kept->data.begin() + type.bytesOfRows(end));
  return rows;
}

StatusOr<TensorData> WeightStore::State::whole(const std::string &name) const {
  const Entry &entry = *weights.at(name);
  const TensorType &type = entry.recipe.type();
  TensorData result{type, {}};
  result.data.reserve(static_cast<size_t>(totalBytes(type)));
  int64_t step = std::max<int64_t>(1, kPieceBytes / bytesPerRow(name));
  for (int64_t row = 0; row < type.rows(); row += step) {
    auto piece = entry.evaluator->rows(row, std::min(type.rows(), row + step));
    if (!piece.ok())
      return piece.status().prefixed("weight '" + name + "'");
    result.data.insert(result.data.end(), piece->data.begin(), piece->data.end());
  }
  return result;
}

StatusOr<TensorData> WeightStore::evaluate(const std::string &name) const {
  if (!find(name))
    return notFound("no weight '" + name + "'");
  try {
    return state->whole(name);
  } catch (const std::bad_alloc &) {
    return resourceExhausted("weight '" + name + "': no memory for " +
                             std::to_string(totalBytes(find(name)->type())) + " bytes");
  }
}
