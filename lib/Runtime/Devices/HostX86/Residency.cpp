//===- Residency.cpp - which weights' pages are in memory -----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/Residency.h"

#include <algorithm>
#include <set>

using namespace vitrify;

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
  auto mayGo = [&](const Held &one) { return one.readers == 0 && (all || !one.isAhead); };
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
  Place place = held.insert(held.end(), Held{tensor});
  places.emplace(tensor, place);
  bytes += tensor->bytes();
  peak = std::max(peak, bytes);
  return place;
}

void WeightResidency::begin(const std::vector<const TensorInfo *> &tensors) {
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
  for (const TensorInfo *tensor : tensors) {
    Place place = hold(tensor);
    ++place->readers;
    place->isAhead = false;
  }
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
      file.prefetch(tensor->begin, tensor->bytes());
    }
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
