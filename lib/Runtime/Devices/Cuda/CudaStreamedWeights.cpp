//===- CudaStreamedWeights.cpp - weights on their way through a GPU's memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "CudaStreamedWeights.h"

#include <algorithm>
#include <cstring>
#include <set>

using namespace vitrify;
using namespace vitrify::cuda;

namespace {
constexpr uint64_t kAlign = 256;
constexpr uint64_t kPinnedBytes = 4u << 20; ///< of each of two buffers
uint64_t sizeOf(const TensorInfo &tensor) { return (std::max<uint64_t>(1, tensor.bytes()) + kAlign - 1) / kAlign * kAlign; }
} // namespace

uint64_t CudaStreamedWeights::bytesOf(const std::vector<const TensorInfo *> &tensors) {
  uint64_t total = 0;
  for (const TensorInfo *tensor : std::set<const TensorInfo *>(tensors.begin(), tensors.end()))
    total += sizeOf(*tensor);
  return total;
}

StatusOr<std::unique_ptr<CudaStreamedWeights>> CudaStreamedWeights::create(const CudaApi &api, const BundleWeights &weights,
                                                                           uint64_t budget) {
  std::unique_ptr<CudaStreamedWeights> result(new CudaStreamedWeights(api, weights));
  VITRIFY_ASSIGN_OR_RETURN(result->region, CudaMemory::allocate(api, budget, "the weight budget"));
  VITRIFY_ASSIGN_OR_RETURN(result->pinned, CudaPinned::allocate(api, 2 * kPinnedBytes, "streams of weights"));
  VITRIFY_ASSIGN_OR_RETURN(result->copies, createCudaStream(api));
  for (CudaEvent &event : result->copied) {
    VITRIFY_ASSIGN_OR_RETURN(event, createCudaEvent(api));
  }
  return result;
}

CudaStreamedWeights::~CudaStreamedWeights() { finish(); }

void CudaStreamedWeights::finish() {
  if (copies)
    (void)api.cuStreamSynchronize(copies.get());
}

Status CudaStreamedWeights::drop(const TensorInfo *tensor) {
  auto found = entries.find(tensor);
  if (found->second.lastUse)
    VITRIFY_RETURN_IF_ERROR(
        cudaStatus(api, api.cuStreamWaitEvent(copies.get(), found->second.lastUse->get(), 0), "cuStreamWaitEvent"));
  entries.erase(found);
  order.erase(std::ranges::find(order, tensor));
  return {};
}

StatusOr<bool> CudaStreamedWeights::evict(uint64_t offset, uint64_t bytes, const std::vector<const TensorInfo *> &kept) {
  std::vector<const TensorInfo *> gone;
  for (const TensorInfo *tensor : order) {
    const Entry &entry = entries.at(tensor);
    if (entry.offset >= offset + bytes || offset >= entry.offset + entry.bytes)
      continue;
    if (std::ranges::find(kept, tensor) != kept.end())
      return false;
    gone.push_back(tensor);
  }
  for (const TensorInfo *tensor : gone)
    VITRIFY_RETURN_IF_ERROR(drop(tensor));
  return true;
}

Status CudaStreamedWeights::copy(const TensorInfo &tensor, uint64_t offset) {
  std::span<const std::byte> data = weights.file().data(tensor);
  weights.file().mapped().prefetch(tensor.begin, tensor.bytes());
  for (uint64_t done = 0; done < data.size(); turn ^= 1) {
    uint64_t part = std::min<uint64_t>(kPinnedBytes, data.size() - done);
    VITRIFY_RETURN_IF_ERROR(weights.file().mapped().populate(tensor.begin + done, part));
    VITRIFY_RETURN_IF_ERROR(weights.verify(tensor.begin + done, tensor.begin + done + part));
    if (filled[turn])
      VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuEventSynchronize(copied[turn].get()), "cuEventSynchronize"));
    std::byte *buffer = pinned.data() + turn * kPinnedBytes;
    std::memcpy(buffer, data.data() + done, part);
    VITRIFY_RETURN_IF_ERROR(cudaStatus(
        api, api.cuMemcpyHtoDAsync(region.address.get() + offset + done, buffer, part, copies.get()), "cuMemcpyHtoDAsync of weights"));
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuEventRecord(copied[turn].get(), copies.get()), "cuEventRecord"));
    filled[turn] = true;
    done += part;
  }
  weights.file().mapped().release(tensor.begin, tensor.bytes());
  return {};
}

Status CudaStreamedWeights::stage(const std::vector<const TensorInfo *> &tensors, CUstream compute) {
  bool isNew = false;
  // In turn around the region; when that would replace what this step reads as well, everything from the start.
  for (bool fromStart : {false, true}) {
    if (fromStart) {
      while (!order.empty())
        VITRIFY_RETURN_IF_ERROR(drop(order.front()));
      head = 0;
    }
    bool all = true;
    for (const TensorInfo *tensor : tensors) {
      if (entries.count(tensor))
        continue;
      uint64_t bytes = sizeOf(*tensor), offset = head + bytes > region.bytes ? 0 : head;
      VITRIFY_ASSIGN_OR_RETURN(bool isFree, evict(offset, bytes, tensors));
      if (!isFree) {
        all = false;
        break;
      }
      entries[tensor] = {offset, bytes, nullptr};
      order.push_back(tensor);
      head = offset + bytes;
      VITRIFY_RETURN_IF_ERROR(copy(*tensor, offset));
      isNew = true;
    }
    if (all)
      break;
  }
  if (!isNew)
    return {};
  VITRIFY_ASSIGN_OR_RETURN(CudaEvent arrived, createCudaEvent(api));
  VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuEventRecord(arrived.get(), copies.get()), "cuEventRecord"));
  return cudaStatus(api, api.cuStreamWaitEvent(compute, arrived.get(), 0), "cuStreamWaitEvent");
}

Status CudaStreamedWeights::used(const std::vector<const TensorInfo *> &tensors, CUstream compute) {
  auto event = std::make_shared<CudaEvent>();
  VITRIFY_ASSIGN_OR_RETURN(*event, createCudaEvent(api));
  VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuEventRecord(event->get(), compute), "cuEventRecord"));
  for (const TensorInfo *tensor : tensors)
    entries.at(tensor).lastUse = event;
  return {};
}
