//===- HostWeights.cpp - weights as x86 kernels read them -----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/HostWeights.h"

#include <algorithm>
#include <map>
#include <set>

using namespace vitrify;

namespace {

constexpr uint64_t kAlign = 64;
constexpr uint64_t kGroup = uint64_t(8) << 20; ///< of the file's bytes packed at a time
constexpr uint64_t kPiece = uint64_t(1) << 20; ///< the digests' chunk, so that two threads seldom hash the same one

uint64_t alignUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

} // namespace

StatusOr<std::unique_ptr<HostWeights>> HostWeights::create(const Plan &plan, const BundleWeights &weights,
                                                           bool lowMemory) {
  std::unique_ptr<HostWeights> result(new HostWeights(weights, lowMemory));
  std::map<std::pair<std::string, std::string>, uint32_t> known;
  for (const PlanWeight &weight : plan.weights) {
    auto [place, isNew] = known.try_emplace({weight.tensor, weight.layout}, uint32_t(result->slots.size()));
    result->slotOf.push_back(place->second);
    if (!isNew)
      continue;
    Slot &slot = result->slots.emplace_back();
    slot.info = weights.file().find(weight.tensor);
    if (!slot.info)
      return notFound("weight '" + weight.name + "': no tensor '" + weight.tensor + "' in the bundle");
    auto layout = parseLayout(weight.layout, slot.info->dtype);
    if (!layout.ok())
      return layout.status().prefixed("weight '" + weight.name + "'");
    slot.layout = *layout;
    slot.direct = weight.layout == "nk" && slot.info->begin % kAlign == 0;
    VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, packedBytes(slot.layout, slot.info->shape));
    slot.packedBytes = uint64_t(bytes);
    // Panels that are made here, or that the file holds in another type.
    if (slot.layout.panels)
      slot.panels = packUnits(slot.layout, slot.info->shape);
    else if (!slot.direct && slot.info->shape.size() == 3)
      slot.panels = slot.info->shape[0];
  }
  return result;
}

Status HostWeights::require(const std::vector<uint32_t> &weights, ThreadPool &pool, const StopToken *stop) {
  auto done = [this](const Slot &slot) {
    return slot.verified.load(std::memory_order_acquire) && (lowMemory || slot.data.load(std::memory_order_acquire));
  };
  bool all = true;
  for (uint32_t weight : weights)
    all = all && done(slots[slotOf[weight]]);
  if (all)
    return {};
  std::lock_guard lock(mutex);
  std::vector<Slot *> missing;
  std::set<uint32_t> seen;
  for (uint32_t weight : weights)
    if (Slot &slot = slots[slotOf[weight]]; !done(slot) && seen.insert(slotOf[weight]).second)
      missing.push_back(&slot);
  uint64_t bytes = 0;
  for (const Slot *slot : missing)
    bytes += slot->direct || lowMemory ? 0 : alignUp(slot->packedBytes);
  VITRIFY_ASSIGN_OR_RETURN(HostBlock block, HostBlock::allocate(bytes, "the weights of this program"));
  // Some at a time, so that the file's pages and the packed weights are never in memory together as a whole.
  std::byte *out = block.data();
  std::vector<Slot *> group;
  std::vector<std::pair<Slot *, const std::byte *>> ready;
  uint64_t groupBytes = 0;
  for (size_t i = 0; i < missing.size(); ++i) {
    group.push_back(missing[i]);
    groupBytes += missing[i]->info->bytes();
    if (groupBytes < kGroup && i + 1 < missing.size())
      continue;
    VITRIFY_RETURN_IF_ERROR(verify(group, pool, stop));
    if (!lowMemory)
      VITRIFY_RETURN_IF_ERROR(packGroup(group, out, pool, stop, ready));
    group.clear();
    groupBytes = 0;
  }
  for (auto [slot, data] : ready)
    slot->data.store(data, std::memory_order_release);
  for (Slot *slot : missing) {
    if (slot->direct)
      slot->data.store(source.file().data(*slot->info).data(), std::memory_order_release);
    slot->verified.store(true, std::memory_order_release);
  }
  if (block.size())
    blocks.push_back(std::move(block));
  return {};
}

Status HostWeights::verify(const std::vector<Slot *> &list, ThreadPool &pool, const StopToken *stop) {
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> pieces; // by chunk: the bytes of it that are needed
  for (const Slot *slot : list)
    for (uint64_t at = slot->info->begin; at < slot->info->end; at = (at / kPiece + 1) * kPiece) {
      uint64_t end = std::min(slot->info->end, (at / kPiece + 1) * kPiece);
      auto [place, isNew] = pieces.try_emplace(at / kPiece, at, end);
      if (!isNew)
        place->second = {std::min(place->second.first, at), std::max(place->second.second, end)};
    }
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (auto &[chunk, range] : pieces)
    ranges.push_back(range);
  std::mutex errors;
  size_t firstBad = ranges.size(); // the same error, whichever thread finds one first
  Status status;
  pool.forRange(int64_t(ranges.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end && !(stop && stop->stopRequested()); ++i) {
      Status one = source.verify(ranges[i].first, ranges[i].second);
      if (one.ok())
        continue;
      std::lock_guard lock(errors);
      if (size_t(i) < firstBad) {
        firstBad = size_t(i);
        status = one;
      }
    }
  });
  if (status.ok() && stop)
    return stop->check();
  return status;
}

Status HostWeights::packGroup(const std::vector<Slot *> &list, std::byte *&out, ThreadPool &pool, const StopToken *stop,
                              std::vector<std::pair<Slot *, const std::byte *>> &ready) {
  struct Job {
    Slot *slot;
    std::byte *out;
    int64_t firstUnit;
  };
  std::vector<Job> jobs;
  int64_t units = 0;
  for (Slot *slot : list) {
    if (slot->direct)
      continue;
    jobs.push_back({slot, out, units});
    ready.push_back({slot, out});
    units += packUnits(slot->layout, slot->info->shape);
    out += alignUp(slot->packedBytes);
  }
  pool.forRange(units, [&](int64_t begin, int64_t end) {
    auto job = std::ranges::upper_bound(jobs, begin, {}, &Job::firstUnit) - 1;
    while (begin < end && !(stop && stop->stopRequested())) {
      int64_t limit = job + 1 == jobs.end() ? units : (job + 1)->firstUnit, last = std::min(end, limit);
      const TensorInfo &info = *job->slot->info;
      pack(job->slot->layout, info.dtype, info.shape, source.file().data(info).data(), job->out,
           begin - job->firstUnit, last - job->firstUnit);
      begin = last;
      ++job;
    }
  });
  for (const Job &job : jobs)
    file().release(job.slot->info->begin, job.slot->info->bytes());
  return stop ? stop->check() : Status();
}

void HostWeights::packInto(uint32_t weight, std::byte *out, ThreadPool &pool) const {
  const Slot &slot = slots[slotOf[weight]];
  const std::byte *in = source.file().data(*slot.info).data();
  pool.forRange(packUnits(slot.layout, slot.info->shape), [&](int64_t begin, int64_t end) {
    pack(slot.layout, slot.info->dtype, slot.info->shape, in, out, begin, end);
  });
}

void HostWeights::packPanel(uint32_t weight, int64_t panel, std::byte *out) const {
  const Slot &slot = slots[slotOf[weight]];
  const TensorInfo &info = *slot.info;
  const std::byte *in = source.file().data(info).data();
  if (slot.layout.panels)
    return pack(slot.layout, info.dtype, info.shape, in, out - uint64_t(panel) * (slot.packedBytes / uint64_t(slot.panels)),
                panel, panel + 1);
  const int64_t shape[] = {1, info.shape[1] * info.shape[2]};
  pack(slot.layout, info.dtype, shape, in + uint64_t(panel) * (info.bytes() / uint64_t(slot.panels)), out, 0, 1);
}

int HostWeights::byPanel(const ScheduledStep &step, int64_t panels) const {
  if (panels <= 0 || step.grid[0] % panels)
    return -1;
  for (size_t i = 0; i < step.weights.size(); ++i)
    if (const Slot &slot = slots[slotOf[step.weights[i]]]; lowMemory && !slot.direct && slot.panels == panels)
      return int(i);
  return -1;
}

uint64_t HostWeights::residentBytes(const std::vector<uint32_t> &weights) const {
  std::set<uint32_t> seen;
  uint64_t bytes = 0;
  for (uint32_t weight : weights)
    if (seen.insert(slotOf[weight]).second) {
      const Slot &slot = slots[slotOf[weight]];
      bytes += lowMemory || slot.direct ? slot.info->bytes() : alignUp(slot.packedBytes);
    }
  return bytes;
}

uint64_t HostWeights::scratchBytes(const ScheduledStep &step, int64_t panels, unsigned threads) const {
  uint64_t bytes = 0;
  const int panelled = byPanel(step, panels);
  for (size_t i = 0; i < step.weights.size(); ++i)
    if (const Slot &slot = slots[slotOf[step.weights[i]]]; lowMemory && !slot.direct)
      bytes += int(i) == panelled ? threads * panelSlotBytes(slot.packedBytes / uint64_t(slot.panels)) : alignUp(slot.packedBytes);
  return bytes;
}
