//===- Residency.cpp - which weights' pages are in memory -----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/Residency.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

using namespace vitrify;

namespace {
/// Bytes that the system is asked for ahead of what is waited for.
constexpr uint64_t kInFlight = uint64_t(64) << 20;
/// Bytes that are waited for at a time.
constexpr uint64_t kPiece = uint64_t(8) << 20;
} // namespace

WeightResidency::WeightResidency(const MappedFile &file, uint64_t budget) : file(file), budget(budget) {
  try {
    reader = std::thread([this] { read(); });
  } catch (const std::system_error &) {
  }
}

WeightResidency::~WeightResidency() {
  {
    std::lock_guard lock(mutex);
    stop = true;
  }
  queued.notify_all();
  if (reader.joinable())
    reader.join();
}

void WeightResidency::readOne(Place place, std::unique_lock<std::mutex> &lock) {
  const TensorInfo &tensor = *place->tensor;
  place->isBeingRead = true;
  lock.unlock();
  Status status;
  for (uint64_t done = 0; done < tensor.bytes() && status.ok(); done += kPiece)
    status = file.populate(tensor.begin + done, std::min(kPiece, tensor.bytes() - done));
  lock.lock();
  place->isBeingRead = false;
  place->isRead = status.ok();
  place->status = status;
  changed.notify_all();
}

void WeightResidency::read() {
  std::unique_lock lock(mutex);
  while (true) {
    queued.wait(lock, [&] { return stop || !queue.empty(); });
    if (stop)
      return;
    // Requests go out for what follows before this waits for what is first.
    std::vector<const TensorInfo *> soon;
    uint64_t ahead = 0;
    for (auto next = queue.begin(); next != queue.end() && ahead < kInFlight; ++next) {
      auto place = places.find(*next);
      if (place == places.end() || place->second->isRead)
        continue;
      ahead += (*next)->bytes();
      if (!std::exchange(place->second->isAsked, true))
        soon.push_back(*next);
    }
    const TensorInfo *tensor = queue.front();
    queue.pop_front();
    lock.unlock();
    for (const TensorInfo *one : soon)
      file.prefetch(one->begin, one->bytes());
    lock.lock();
    auto place = places.find(tensor);
    if (place != places.end() && !place->second->isRead && !place->second->isBeingRead)
      readOne(place->second, lock);
  }
}

uint64_t WeightResidency::bytesOf(const std::vector<const TensorInfo *> &tensors) {
  uint64_t total = 0;
  for (const TensorInfo *tensor : std::set<const TensorInfo *>(tensors.begin(), tensors.end()))
    total += tensor->bytes();
  return total;
}

uint64_t WeightResidency::missingBytes(const std::vector<const TensorInfo *> &tensors) const {
  std::vector<const TensorInfo *> missing;
  for (const TensorInfo *tensor : tensors)
    if (!places.count(tensor))
      missing.push_back(tensor);
  return bytesOf(missing);
}

bool WeightResidency::makeRoom(uint64_t wanted, bool all) {
  auto mayGo = [&](const Held &one) { return one.readers == 0 && !one.isBeingRead && (all || !one.isAhead); };
  uint64_t free = budget - bytes;
  for (const Held &one : held)
    free += mayGo(one) ? one.tensor->bytes() : 0;
  if (free < wanted)
    return false;
  for (auto place = held.begin(); budget - bytes < wanted;) {
    if (!mayGo(*place)) {
      ++place;
      continue;
    }
    file.release(place->tensor->begin, place->tensor->bytes());
    bytes -= place->tensor->bytes();
    places.erase(place->tensor);
    place = held.erase(place);
  }
  return true;
}

WeightResidency::Place WeightResidency::hold(const TensorInfo *tensor) {
  auto known = places.find(tensor);
  if (known != places.end()) { // used now: it goes last
    held.splice(held.end(), held, known->second);
    return known->second;
  }
  Place place = held.insert(held.end(), Held{.tensor = tensor});
  places.emplace(tensor, place);
  bytes += tensor->bytes();
  peak = std::max(peak, bytes);
  return place;
}

Status WeightResidency::begin(const std::vector<const TensorInfo *> &tensors) {
  std::unique_lock lock(mutex);
  // What is here already is marked first, so that it does not go to make room for the rest.
  while (true) {
    for (const TensorInfo *tensor : tensors)
      if (auto known = places.find(tensor); known != places.end())
        ++known->second->readers;
    bool fits = makeRoom(missingBytes(tensors), false) || makeRoom(missingBytes(tensors), true);
    for (const TensorInfo *tensor : tensors)
      if (auto known = places.find(tensor); known != places.end())
        --known->second->readers;
    if (fits)
      break;
    changed.wait(lock);
  }
  std::vector<Place> mine;
  for (const TensorInfo *tensor : tensors) {
    Place place = hold(tensor);
    ++place->readers;
    place->isAhead = false;
    mine.push_back(place);
  }
  for (Place place : mine) {
    if (place->isRead || place->isBeingRead)
      continue;
    place->status = {};
    if (reader.joinable()) // before what is not needed yet
      queue.push_front(place->tensor);
    else
      readOne(place, lock);
  }
  queued.notify_all();
  Status status;
  for (Place place : mine) {
    changed.wait(lock, [&] { return place->isRead || !place->status.ok(); });
    if (status.ok())
      status = place->status;
  }
  if (!status.ok()) {
    for (Place place : mine)
      --place->readers;
    changed.notify_all();
  }
  return status;
}

bool WeightResidency::readAhead(const std::vector<const TensorInfo *> &tensors) {
  std::lock_guard lock(mutex);
  // Those that are here and not in use would go first; they are needed soon.
  for (const TensorInfo *tensor : tensors)
    if (auto known = places.find(tensor); known != places.end())
      known->second->isAhead = true;
  if (!makeRoom(missingBytes(tensors), false))
    return false;
  for (const TensorInfo *tensor : tensors)
    if (!places.count(tensor)) {
      hold(tensor)->isAhead = true;
      if (reader.joinable())
        queue.push_back(tensor);
      else
        file.prefetch(tensor->begin, tensor->bytes());
    }
  queued.notify_all();
  return true;
}

void WeightResidency::end(const std::vector<const TensorInfo *> &tensors) {
  {
    std::lock_guard lock(mutex);
    for (const TensorInfo *tensor : tensors)
      --places.at(tensor)->readers;
  }
  changed.notify_all();
}

uint64_t WeightResidency::peakBytes() const {
  std::lock_guard lock(mutex);
  return peak;
}
