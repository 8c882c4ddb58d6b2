//===- CudaExecutable.h - a bundle's code and weights on a GPU --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The module of kernels and the weights in device memory, shared by workers, and
// the worker that launches them.
//===----------------------------------------------------------------------===//
#pragma once

#include "CudaHandles.h"
#include "vitrify/Runtime/Device.h"

#include <mutex>
#include <vector>

namespace vitrify {

/// One retained primary context of a device.
class CudaPrimaryContext {
public:
  static StatusOr<std::unique_ptr<CudaPrimaryContext>> retain(const cuda::CudaApi &api, cuda::CUdevice device);
  ~CudaPrimaryContext() { (void)api.cuDevicePrimaryCtxRelease(device); }
  const cuda::CudaApi &api;
  const cuda::CUdevice device;
  const cuda::CUcontext context;

private:
  CudaPrimaryContext(const cuda::CudaApi &api, cuda::CUdevice device, cuda::CUcontext context)
      : api(api), device(device), context(context) {}
};

class CudaExecutable final : public DeviceExecutable {
public:
  static StatusOr<std::unique_ptr<DeviceExecutable>> load(const CudaPrimaryContext &primary,
                                                          const ExecutableSource &source, uint64_t weightBudget);
  ~CudaExecutable() override;

  DeviceMemoryNeeds memoryNeeds(const Schedule &schedule) const override;
  StatusOr<std::unique_ptr<DeviceWorker>> createWorker(const WorkerOptions &options) override;

  /// Checks digests of these weights and copies them to the device, unless done before. The context is current.
  Status requireWeights(const std::vector<uint32_t> &weights);
  /// Bytes of weights that each worker may have on the device at a time; 0: all are there.
  uint64_t weightBudget() const { return budget; }
  const TensorInfo *tensor(uint32_t index) const { return tensors[slotOf[index]]; }
  const BundleWeights &bundleWeights() const { return weights; }
  /// Valid after requireWeights.
  cuda::CUdeviceptr weight(uint32_t index) const { return places[slotOf[index]]; }

  const CudaPrimaryContext &primary;
  const cuda::CudaApi &api;
  const Plan &plan;
  std::vector<cuda::CUfunction> functions; ///< by kernel of the plan

private:
  CudaExecutable(const CudaPrimaryContext &primary, const ExecutableSource &source, uint64_t budget)
      : primary(primary), api(primary.api), plan(*source.plan), weights(*source.weights), budget(budget) {}
  Status loadModule(const ExecutableSource &source);
  Status raiseSharedLimit(const std::vector<PlanStep> &steps);
  Status readLayouts();
  Status upload(const std::vector<uint32_t> &missing, cuda::CUdeviceptr base);

  Status checkBudget() const;

  const BundleWeights &weights;
  const uint64_t budget;
  CudaModule module;
  std::vector<const TensorInfo *> tensors; ///< distinct ones
  std::vector<uint32_t> slotOf;            ///< by weight of the plan
  std::mutex mutex;                        ///< one caller uploads at a time; also guards what follows
  std::vector<cuda::CUdeviceptr> places;   ///< by distinct tensor; 0: not on the device yet
  std::vector<CudaMemory> blocks;
};

} // namespace vitrify
