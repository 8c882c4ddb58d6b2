//===- CudaHandles.cpp - what the driver gives and takes back -------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "CudaHandles.h"

using namespace vitrify;
using namespace vitrify::cuda;

Status vitrify::cudaStatus(const CudaApi &api, CUresult result, const std::string &call) {
  if (result == CUDA_SUCCESS)
    return {};
  const char *name = nullptr, *text = nullptr;
  if (api.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
    name = "unknown error";
  if (api.cuGetErrorString(result, &text) != CUDA_SUCCESS || !text)
    text = "no description";
  return deviceError(call + " failed: " + name + " (" + std::to_string(int(result)) + "), " + text);
}

StatusOr<CudaMemory> CudaMemory::allocate(const CudaApi &api, uint64_t bytes, const std::string &what) {
  CudaMemory memory;
  if (bytes == 0)
    return memory;
  CUdeviceptr address = 0;
  CUresult result = api.cuMemAlloc(&address, bytes);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    size_t free = 0, total = 0;
    if (api.cuMemGetInfo(&free, &total) == CUDA_SUCCESS)
      return resourceExhausted(what + " needs " + std::to_string(bytes) + " bytes of GPU memory, " +
                               std::to_string(free) + " are free");
  }
  VITRIFY_RETURN_IF_ERROR(cudaStatus(api, result, "cuMemAlloc of " + std::to_string(bytes) + " bytes for " + what));
  memory.address = CudaPointer(api, address);
  memory.bytes = bytes;
  return memory;
}

StatusOr<CudaPinned> CudaPinned::allocate(const CudaApi &api, uint64_t bytes, const std::string &what) {
  CudaPinned memory;
  if (bytes == 0)
    return memory;
  void *pointer = nullptr;
  VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuMemAllocHost(&pointer, bytes),
                                     "cuMemAllocHost of " + std::to_string(bytes) + " bytes for " + what));
  memory.pointer = CudaPinnedPointer(api, pointer);
  memory.bytes = bytes;
  return memory;
}

StatusOr<CudaStream> vitrify::createCudaStream(const CudaApi &api) {
  CUstream stream = nullptr;
  VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate"));
  return CudaStream(api, stream);
}

StatusOr<CudaEvent> vitrify::createCudaEvent(const CudaApi &api) {
  CUevent event = nullptr;
  VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuEventCreate(&event, CU_EVENT_DEFAULT), "cuEventCreate"));
  return CudaEvent(api, event);
}
