//===- WriteWeights.cpp - weights.safetensors from a weight store --------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "StoreState.h"
#include "vitrify/Weights/Pack.h"

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <cstring>
#include <new>
#include <thread>

using namespace vitrify;

namespace {
/// Pieces larger than this leave the caches without gaining anything.
constexpr int64_t kMaxPieceBytes = 8 << 20;

/// A tensor of the file.
struct Target {
  std::string name;
  TensorType derived;               ///< of the recipe
  TensorType type;                  ///< as written
  std::optional<PackLayout> layout; ///< none: as derived
  uint64_t alignment;
};

StatusOr<Target> targetOf(const WeightRequest &request, const TensorType &derived) {
  Target target{request.name, derived, derived, std::nullopt, request.alignment};
  if (request.layout == "nk")
    return target;
  VITRIFY_ASSIGN_OR_RETURN(PackLayout layout, parseLayout(request.layout, derived.dtype));
  if (!layout.panels || derived.shape.size() != 2)
    return invalidArgument("weight '" + request.name + "': " + derived.str() + " cannot be written as '" +
                           request.layout + "', which is for matrices in panels");
  VITRIFY_ASSIGN_OR_RETURN(target.type.shape, packedShape(layout, derived.shape));
  target.type.dtype = layout.dtype;
  target.layout = layout;
  return target;
}

/// Rows [begin, end) of a tensor.
struct Piece {
  size_t weight;
  int64_t begin, end;
};

/// Evaluates pieces on several threads and hands them out in order, at most `window` ahead.
class PieceQueue {
public:
  PieceQueue(const WeightStore &store, const std::vector<Target> &targets, std::vector<Piece> pieces,
             unsigned threads)
      : store(store), targets(targets), pieces(std::move(pieces)), window(2 * std::max(1u, threads)) {
    for (unsigned i = 0; i < std::max(1u, threads); ++i)
      try {
        workers.emplace_back([this] { work(); });
      } catch (const std::system_error &) {
        break; // fewer threads; with none at all next() evaluates itself
      }
  }

  ~PieceQueue() {
    {
      std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    for (std::thread &worker : workers)
      worker.join();
  }

  /// The result of the next piece in order.
  StatusOr<TensorData> next() {
    size_t index = taken;
    if (workers.empty()) {
      ++taken;
      return evaluate(pieces[index]);
    }
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return results.count(index) != 0; });
    StatusOr<TensorData> result = std::move(results.at(index));
    results.erase(index);
    ++taken;
    lock.unlock();
    changed.notify_all();
    return result;
  }

private:
  StatusOr<TensorData> evaluate(const Piece &piece) const {
    const Target &target = targets[piece.weight];
    const std::string &name = target.name;
    try {
      int64_t each = target.layout ? target.layout->width : 1, first = piece.begin * each;
      int64_t last = std::min(piece.end * each, target.derived.rows());
      auto rows = store.weightRows(name, first, last);
      if (!rows.ok())
        return rows.status().prefixed("weight '" + name + "'");
      if (!target.layout)
        return rows;
      TensorData packed{target.type, TensorBytes(size_t(target.type.bytesOfRows(piece.end - piece.begin)))};
      packed.type.shape[0] = piece.end - piece.begin;
      const int64_t shape[] = {last - first, target.derived.shape[1]};
      pack(*target.layout, target.derived.dtype, shape, rows->data.data(), packed.data.data(), 0, packed.type.shape[0]);
      return packed;
    } catch (const std::bad_alloc &) {
      return resourceExhausted("weight '" + name + "': no memory for rows " + std::to_string(piece.begin) + " to " +
                               std::to_string(piece.end));
    }
  }

  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || started >= pieces.size() || started < taken + window; });
      if (stop || started >= pieces.size())
        return;
      size_t index = started++;
      lock.unlock();
      StatusOr<TensorData> result = evaluate(pieces[index]);
      lock.lock();
      results.emplace(index, std::move(result));
      changed.notify_all();
    }
  }

  const WeightStore &store;
  const std::vector<Target> &targets;
  const std::vector<Piece> pieces;
  const size_t window;
  std::mutex mutex;
  std::condition_variable changed;
  size_t started = 0, taken = 0;
  bool stop = false;
  std::map<size_t, StatusOr<TensorData>> results;
  std::vector<std::thread> workers;
};

/// A number from some of a tensor's bytes, each in its place: tensors of different numbers differ, those of one are compared.
uint64_t sampled(std::span<const std::byte> bytes, uint64_t before) {
  // A cache line in each page, at a place that varies.
  for (size_t at = 0; at < bytes.size(); at += 4096 - 64) {
    size_t count = std::min<size_t>(64, bytes.size() - at);
    uint64_t words[8] = {};
    std::memcpy(words, bytes.data() + at, count);
    for (uint64_t word : words)
      before = std::rotl((before ^ word) * 0x9e3779b97f4a7c15u, 29);
  }
  return before;
}

/// Whether two ranges of the file being written hold the same bytes.
StatusOr<bool> sameBytes(const SafeTensorsWriter &writer, const TensorInfo &a, const TensorInfo &b) {
  std::vector<std::byte> left(std::min<uint64_t>(a.bytes(), 1 << 20)), right(left.size());
  for (uint64_t at = 0; at < a.bytes(); at += left.size()) {
    size_t count = std::min<uint64_t>(left.size(), a.bytes() - at);
    VITRIFY_RETURN_IF_ERROR(writer.readAt(a.begin + at, std::span(left).first(count)));
    VITRIFY_RETURN_IF_ERROR(writer.readAt(b.begin + at, std::span(right).first(count)));
    if (std::memcmp(left.data(), right.data(), count) != 0)
      return false;
  }
  return true;
}
} // namespace

StatusOr<WeightWriteReport> WeightStore::write(const std::string &path, std::span<const WeightRequest> requests,
                                               const WeightWriteOptions &options) const {
  VITRIFY_RETURN_IF_ERROR(check());
  unsigned threads = std::clamp(options.threads, 1u, 64u);
  WeightWriteReport report;
  std::vector<Target> targets;       // of the distinct recipes and layouts, in order of first request
  std::map<std::string, size_t> firstOfKey;
  std::vector<size_t> distinctOf;    // request to distinct recipe
  for (const WeightRequest &request : requests) {
    const Recipe *recipe = find(request.name);
    if (!recipe)
      return notFound("no weight '" + request.name + "'");
    VITRIFY_ASSIGN_OR_RETURN(std::string key, recipeKey(request.name));
    auto [it, isNew] = firstOfKey.emplace(request.layout + " " + key, targets.size());
    if (isNew) {
      VITRIFY_ASSIGN_OR_RETURN(Target target, targetOf(request, recipe->type()));
      targets.push_back(std::move(target));
    }
    uint64_t &alignment = targets[it->second].alignment;
    alignment = std::max(alignment, request.alignment);
    distinctOf.push_back(it->second);
    report.weights.push_back({request.name, "", targets[it->second].type, key,
                              isNew ? WrittenWeight::Sharing::Own : WrittenWeight::Sharing::SameRecipe});
  }

  std::vector<Piece> pieces;
  std::vector<std::pair<std::string, size_t>> namesAndRanks;
  // Twice the threads wait to be written, and each works on one more.
  int64_t pieceBytes = std::clamp<int64_t>(options.budgetBytes / (3 * threads), 1, kMaxPieceBytes);
  for (size_t i = 0; i < targets.size(); ++i) {
    const Target &target = targets[i];
    namesAndRanks.emplace_back(target.name, target.type.shape.size());
    int64_t rowBytes = state->bytesPerRow(target.name) * (target.layout ? target.layout->width : 1);
    int64_t step = std::max<int64_t>(1, pieceBytes / rowBytes);
    for (int64_t row = 0; row < target.type.rows(); row += step)
      pieces.push_back({i, row, std::min(target.type.rows(), row + step)});
  }
  uint64_t metadataBytes = 0;
  for (const auto &[key, value] : options.metadata)
    metadataBytes += key.size() + value.size() + 8;

  VITRIFY_ASSIGN_OR_RETURN(
      SafeTensorsWriter writer,
      SafeTensorsWriter::create(path, SafeTensorsWriter::headerBytes(namesAndRanks, metadataBytes)));
  std::vector<std::string> tensorOf(targets.size());
  std::map<std::pair<uint64_t, uint64_t>, std::vector<TensorInfo>> written; ///< by size and sample
  std::vector<bool> shared(targets.size());
  uint64_t doneBytes = 0, allBytes = 0;
  for (const Target &target : targets)
    allBytes += uint64_t(target.type.bytesOfRows(target.type.rows()));
  {
    PieceQueue queue(*this, targets, std::move(pieces), threads);
    for (size_t i = 0; i < targets.size(); ++i) {
      const Target &target = targets[i];
      VITRIFY_RETURN_IF_ERROR(writer.begin(target.name, target.type.dtype, target.type.shape, target.alignment));
      uint64_t sample = 0;
      while (writer.size() < writer.current().end) {
        VITRIFY_ASSIGN_OR_RETURN(TensorData rows, queue.next());
        sample = sampled(rows.data, sample);
        VITRIFY_RETURN_IF_ERROR(writer.write(rows.data));
        doneBytes += rows.data.size();
        if (options.progress)
          options.progress("weights (MiB)", doneBytes >> 20, allBytes >> 20);
      }
      TensorInfo mine = writer.current();
      tensorOf[i] = target.name;
      std::vector<TensorInfo> &candidates = written[{mine.bytes(), sample}];
      for (const TensorInfo &other : candidates) {
        // The start of a streaming chunk keeps its place, whoever else has its bytes.
        if (other.dtype != mine.dtype || other.shape != mine.shape || other.begin % target.alignment != 0)
          continue;
        VITRIFY_ASSIGN_OR_RETURN(bool same, sameBytes(writer, other, mine));
        if (same) {
          tensorOf[i] = other.name;
          shared[i] = true;
          break;
        }
      }
      if (shared[i]) {
        VITRIFY_RETURN_IF_ERROR(writer.discard());
        continue;
      }
      VITRIFY_RETURN_IF_ERROR(writer.end());
      report.tensorBytes += mine.bytes();
      candidates.push_back(std::move(mine));
    }
  }
  report.fileBytes = writer.size();
  VITRIFY_RETURN_IF_ERROR(writer.finish(options.metadata));
  for (size_t i = 0; i < requests.size(); ++i) {
    WrittenWeight &weight = report.weights[i];
    weight.tensor = tensorOf[distinctOf[i]];
    if (shared[distinctOf[i]] && weight.sharing == WrittenWeight::Sharing::Own)
      weight.sharing = WrittenWeight::Sharing::SameBytes;
    if (weight.sharing != WrittenWeight::Sharing::Own)
      report.sharedBytes += static_cast<uint64_t>(weight.type.bytesOfRows(weight.type.rows()));
  }
  return report;
}
