//===- CudaStreamedWeights.h - weights on their way through a GPU's memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Under a weight budget a worker has one region of that size. Weights of a step are
// copied there, through two pinned buffers on a stream of their own, while earlier
// steps compute; the region is filled in turn, and what comes first goes first.
//===----------------------------------------------------------------------===//
#pragma once

#include "CudaHandles.h"
#include "vitrify/Bundle/Verifier.h"

#include <deque>
#include <map>
#include <memory>
#include <vector>

namespace vitrify {

/// Of one worker; the context is current in every call.
class CudaStreamedWeights {
public:
  /// Bytes of the region that these tensors take together.
  static uint64_t bytesOf(const std::vector<const TensorInfo *> &tensors);

  static StatusOr<std::unique_ptr<CudaStreamedWeights>> create(const cuda::CudaApi &api, const BundleWeights &weights,
                                                               uint64_t budget);
  ~CudaStreamedWeights();

  /// Brings these tensors in, after what they replace has been read, and lets `compute` wait for them. bytesOf them is at
  /// most the budget.
  Status stage(const std::vector<const TensorInfo *> &tensors, cuda::CUstream compute);
  /// Where a staged tensor is.
  cuda::CUdeviceptr place(const TensorInfo *tensor) const { return region.address.get() + entries.at(tensor).offset; }
  /// The work that reads the staged tensors is in `compute` now.
  Status used(const std::vector<const TensorInfo *> &tensors, cuda::CUstream compute);
  /// Waits for copies.
  void finish();

private:
  struct Entry {
    uint64_t offset = 0, bytes = 0;
    std::shared_ptr<CudaEvent> lastUse; ///< null: not used yet
  };

  CudaStreamedWeights(const cuda::CudaApi &api, const BundleWeights &weights) : api(api), weights(weights) {}
  Status copy(const TensorInfo &tensor, uint64_t offset);
  /// Frees [offset, offset + bytes); false if a tensor of `pinned` is there.
  StatusOr<bool> evict(uint64_t offset, uint64_t bytes, const std::vector<const TensorInfo *> &pinned);
  Status drop(const TensorInfo *tensor);

  const cuda::CudaApi &api;
  const BundleWeights &weights;
  CudaMemory region;
  CudaPinned pinned;
  CudaStream copies;
  CudaEvent copied[2];
  bool filled[2] = {false, false};
  unsigned turn = 0;
  uint64_t head = 0;
  std::map<const TensorInfo *, Entry> entries;
  std::deque<const TensorInfo *> order; ///< as they came
};

} // namespace vitrify
