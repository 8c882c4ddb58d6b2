//===- CudaHandles.h - what the driver gives and takes back -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Owners of the driver's objects, errors in words, and the driver context that is
// current while a call of ours lasts.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Runtime/CudaApi.h"
#include "vitrify/Support/Status.h"

#include <string>
#include <utility>

namespace vitrify {

/// "cuLaunchKernel of 'x' failed: CUDA_ERROR_..., text". Ok for success.
Status cudaStatus(const cuda::CudaApi &api, cuda::CUresult result, const std::string &call);

/// Owns one object; frees it while the context that made it is current. Move-only.
template <typename T, cuda::CUresult (*cuda::CudaApi::*Free)(T)> class CudaOwned {
public:
  CudaOwned() = default;
  CudaOwned(const cuda::CudaApi &api, T value) : api(&api), value(value) {}
  ~CudaOwned() { reset(); }
  CudaOwned(CudaOwned &&other) noexcept : api(other.api), value(std::exchange(other.value, T())) {}
  CudaOwned &operator=(CudaOwned &&other) noexcept {
    std::swap(api, other.api);
    std::swap(value, other.value);
    return *this;
  }

  T get() const { return value; }
  explicit operator bool() const { return value != T(); }
  /// Frees it; an error of freeing has nobody to go to.
  void reset() {
    if (value != T())
      (void)(api->*Free)(std::exchange(value, T()));
  }

private:
  const cuda::CudaApi *api = nullptr;
  T value = T();
};

using CudaStream = CudaOwned<cuda::CUstream, &cuda::CudaApi::cuStreamDestroy>;
using CudaEvent = CudaOwned<cuda::CUevent, &cuda::CudaApi::cuEventDestroy>;
using CudaModule = CudaOwned<cuda::CUmodule, &cuda::CudaApi::cuModuleUnload>;
using CudaGraph = CudaOwned<cuda::CUgraph, &cuda::CudaApi::cuGraphDestroy>;
using CudaGraphExec = CudaOwned<cuda::CUgraphExec, &cuda::CudaApi::cuGraphExecDestroy>;
using CudaPointer = CudaOwned<cuda::CUdeviceptr, &cuda::CudaApi::cuMemFree>;
using CudaPinnedPointer = CudaOwned<void *, &cuda::CudaApi::cuMemFreeHost>;

/// Device memory, 256-byte aligned.
struct CudaMemory {
  CudaPointer address;
  uint64_t bytes = 0;
  /// ResourceExhausted: "WHAT needs N bytes of GPU memory, M are free". Nothing is allocated for 0 bytes.
  static StatusOr<CudaMemory> allocate(const cuda::CudaApi &api, uint64_t bytes, const std::string &what);
};

/// Host memory that the device copies from and to by itself.
struct CudaPinned {
  CudaPinnedPointer pointer;
  uint64_t bytes = 0;
  static StatusOr<CudaPinned> allocate(const cuda::CudaApi &api, uint64_t bytes, const std::string &what);
  std::byte *data() const { return static_cast<std::byte *>(pointer.get()); }
};

StatusOr<CudaStream> createCudaStream(const cuda::CudaApi &api);
StatusOr<CudaEvent> createCudaEvent(const cuda::CudaApi &api);

/// Makes a context current for a scope. Destructors try twice: what is not freed in them never is.
class CudaScope {
public:
  CudaScope(const cuda::CudaApi &api, cuda::CUcontext context, int tries = 1) : api(api) {
    while (tries-- > 0 && result != cuda::CUDA_SUCCESS)
      result = api.cuCtxPushCurrent(context);
  }
  ~CudaScope() {
    cuda::CUcontext popped;
    if (result == cuda::CUDA_SUCCESS)
      (void)api.cuCtxPopCurrent(&popped);
  }
  CudaScope(const CudaScope &) = delete;
  CudaScope &operator=(const CudaScope &) = delete;
  Status status() const { return cudaStatus(api, result, "cuCtxPushCurrent"); }

private:
  const cuda::CudaApi &api;
  cuda::CUresult result = cuda::CUDA_ERROR_UNKNOWN;
};

} // namespace vitrify
