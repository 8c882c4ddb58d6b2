//===- Devices.cpp - devices of the emulated driver ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// cuInit, the device list, and attributes as the chip table states them.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vitrify::emulator::driver {
namespace {

thread_local std::string lastMessage;

// Programs may end while kernels run: stop them before the core's own statics go away.
void stopWork() {
  DriverState &s = state();
  s.cancel = true;
  Lock lock(s.mutex);
  s.changed.wait_for(lock, std::chrono::seconds(10), [&] { return s.running == 0; });
}

CUresult initialise(DriverState &s) {
  if (s.initialised)
    return CUDA_SUCCESS;
  if (!s.optionsSet) {
    auto options = driverOptionsFromEnvironment();
    if (!options) {
      std::fprintf(stderr, "vitrify emulator: %s\n", options.status().message().c_str());
      return fail(CUDA_ERROR_INVALID_VALUE, options.status());
    }
    s.options = std::move(*options);
    s.optionsSet = true;
  }
  std::vector<const Chip *> chosen;
  for (const std::string &name : s.options.devices) {
    auto chip = findChip(name);
    if (!chip)
      return fail(CUDA_ERROR_INVALID_VALUE, chip.status());
    chosen.push_back(*chip);
  }
  if (s.options.devices.empty())
    for (const Chip &chip : chips())
      chosen.push_back(&chip);
  for (const Chip *chip : chosen) {
    auto device = std::make_unique<DeviceState>();
    device->ordinal = int(s.devices.size());
    device->chip = chip;
    auto pool = std::make_shared<MemoryPool>();
    pool->device = device->ordinal;
    device->pool = device->defaultPool = s.pools.add<CUmemoryPool>(pool);
    s.devices.push_back(std::move(device));
  }
  s.initialised = true;
  std::atexit(stopWork);
  return CUDA_SUCCESS;
}

/// The device of an ordinal, or null with the error set.
DeviceState *deviceOf(CUdevice ordinal, CUresult &error) {
  DriverState &s = state();
  error = !s.initialised ? CUDA_ERROR_NOT_INITIALIZED
          : ordinal < 0 || size_t(ordinal) >= s.devices.size()
              ? fail(CUDA_ERROR_INVALID_DEVICE,
                     "device " + std::to_string(ordinal) + " of " + std::to_string(s.devices.size()))
              : CUDA_SUCCESS;
  return error == CUDA_SUCCESS ? s.devices[size_t(ordinal)].get() : nullptr;
}

constexpr int kMaxInt = 0x7fffffff;

/// -1 for attributes that are not answered.
int64_t attributeOf(const DeviceState &device, int attribute) {
  const Chip &chip = *device.chip;
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return 1024;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return kMaxInt;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 48 << 10;
  case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 64 << 10;
  case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
  case CU_DEVICE_ATTRIBUTE_MAX_PITCH: return kMaxInt;
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return chip.registersPerSM;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return chip.clockKHz;
  case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
  case CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT: return 512;
  case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT: return 32;
  case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP: return 1;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return chip.smCount;
  case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT: return 0;
  case CU_DEVICE_ATTRIBUTE_INTEGRATED: return 0;
  case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY: return 1;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: return 0;
  case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: return 1;
  case CU_DEVICE_ATTRIBUTE_ECC_ENABLED: return 0;
  case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: return device.ordinal + 1;
  case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
  case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
  case CU_DEVICE_ATTRIBUTE_TCC_DRIVER: return 0;
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return chip.memoryClockKHz;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return chip.memoryBusBits;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return int64_t(chip.l2Bytes);
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return chip.maxThreadsPerSM;
  case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 2;
  case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: return 1;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return chip.major;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return chip.minor;
  case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED: return 1;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED: return 1;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return chip.sharedPerSM;
  case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY: return 1;
  case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD: return 0;
  case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID: return device.ordinal;
  case CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED: return 0;
  case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
    // Data centre parts halve the rate, the others have two f64 units an SM.
    return chip.target == "sm_90a" || chip.target == "sm_100a" ? 2 : 64;
  case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
  case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES:
  case CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST: return 0;
  case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS: return 1;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED: return 1;
  case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM: return 1;
  case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH: return 1;
  case CU_DEVICE_ATTRIBUTE_COOPERATIVE_MULTI_DEVICE_LAUNCH: return 0;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return chip.sharedPerBlockOptin;
  case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED: return 1;
  case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: return 0;
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return chip.maxBlocksPerSM;
  case CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE:
  case CU_DEVICE_ATTRIBUTE_MAX_ACCESS_POLICY_WINDOW_SIZE: return 0;
  case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: return chip.sharedReservedPerBlock;
  case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return 1;
  case CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES: return 0;
  case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH: return 0;
  case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED: return 0;
  case CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS: return 0;
  default:
    // Textures, surfaces, sharing between processes: none of it is modelled, and 0 says so.
    return attribute >= 1 && attribute <= 147 ? 0 : -1;
  }
}

} // namespace

DriverState &state() {
  static DriverState *s = new DriverState; // kept: programs call in from their own static destructors
  return *s;
}

CUresult fail(CUresult error, std::string message) {
  lastMessage = std::move(message);
  return error;
}

CUresult fail(CUresult error, const Status &status) { return fail(error, status.message()); }

CUresult errorOf(const Status &status) {
  switch (status.code()) {
  case StatusCode::Ok: return CUDA_SUCCESS;
  case StatusCode::ResourceExhausted: return fail(CUDA_ERROR_OUT_OF_MEMORY, status);
  case StatusCode::NotFound: return fail(CUDA_ERROR_NOT_FOUND, status);
  case StatusCode::Unsupported: return fail(CUDA_ERROR_NOT_SUPPORTED, status);
  default: return fail(CUDA_ERROR_INVALID_VALUE, status);
  }
}

using vitrify::cuda::CUresult;

VITRIFY_CU_FUNCTION(cuGetErrorName)(CUresult error, const char **name) {
  if (!name)
    return CUDA_ERROR_INVALID_VALUE;
  switch (int(error)) {
#define VITRIFY_CU_ERROR(id, number, text)                                                                             \
  case number:                                                                                                         \
    *name = "CUDA_" #id;                                                                                               \
    return CUDA_SUCCESS;
#include "vitrify/Runtime/CudaErrors.def"
  }
  *name = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuGetErrorString)(CUresult error, const char **string) {
  if (!string)
    return CUDA_ERROR_INVALID_VALUE;
  switch (int(error)) {
#define VITRIFY_CU_ERROR(id, number, text)                                                                             \
  case number:                                                                                                         \
    *string = text;                                                                                                    \
    return CUDA_SUCCESS;
#include "vitrify/Runtime/CudaErrors.def"
  }
  *string = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuInit)(unsigned flags) {
  if (flags)
    return CUDA_ERROR_INVALID_VALUE;
  DriverState &s = state();
  Lock lock(s.mutex);
  return initialise(s);
}

VITRIFY_CU_FUNCTION(cuDriverGetVersion)(int *version) {
  if (!version)
    return CUDA_ERROR_INVALID_VALUE;
  *version = 13000; // the API that the exported names belong to
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetCount)(int *count) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  *count = int(s.devices.size());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGet)(CUdevice *device, int ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  if (!deviceOf(ordinal, error))
    return error;
  if (!device)
    return CUDA_ERROR_INVALID_VALUE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetName)(char *name, int length, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!name || length <= 0)
    return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, size_t(length), "%.*s (emulated)", int(device->chip->name.size()), device->chip->name.data());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetUuid)(CUuuid *uuid, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!uuid)
    return CUDA_ERROR_INVALID_VALUE;
  std::memset(uuid, 0, sizeof *uuid);
  std::snprintf(uuid->bytes, sizeof uuid->bytes, "emu%.*s-%d", int(device->chip->target.size()),
                device->chip->target.data(), ordinal);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceTotalMem)(size_t *bytes, CUdevice ordinal) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!bytes)
    return CUDA_ERROR_INVALID_VALUE;
  *bytes = s.options.memoryBytes ? s.options.memoryBytes : device->chip->memoryBytes;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetAttribute)(int *value, CUdevice_attribute attribute, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  int64_t answer = attributeOf(*device, attribute);
  if (!value || answer < 0)
    return fail(CUDA_ERROR_INVALID_VALUE, "device attribute " + std::to_string(int(attribute)) + " is not known");
  *value = int(std::min<int64_t>(answer, kMaxInt));
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceComputeCapability)(int *major, int *minor, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!major || !minor)
    return CUDA_ERROR_INVALID_VALUE;
  *major = device->chip->major;
  *minor = device->chip->minor;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetPCIBusId)(char *id, int length, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  if (!deviceOf(ordinal, error))
    return error;
  if (!id || length < 13)
    return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(id, size_t(length), "0000:%02x:00.0", ordinal + 1);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetByPCIBusId)(CUdevice *device, const char *id) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  unsigned domain = 0, bus = 0;
  if (!device || !id || std::sscanf(id, "%x:%x", &domain, &bus) != 2)
    return CUDA_ERROR_INVALID_VALUE;
  if (domain != 0 || bus == 0 || bus > s.devices.size())
    return CUDA_ERROR_INVALID_DEVICE;
  *device = int(bus) - 1;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceCanAccessPeer)(int *can, CUdevice ordinal, CUdevice peer) {
  Lock lock(state().mutex);
  CUresult error;
  if (!deviceOf(ordinal, error) || !deviceOf(peer, error))
    return error;
  if (!can)
    return CUDA_ERROR_INVALID_VALUE;
  *can = 0;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetDefaultMemPool)(CUmemoryPool *pool, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!pool)
    return CUDA_ERROR_INVALID_VALUE;
  *pool = device->defaultPool;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceGetMemPool)(CUmemoryPool *pool, CUdevice ordinal) {
  Lock lock(state().mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!pool)
    return CUDA_ERROR_INVALID_VALUE;
  *pool = device->pool;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDeviceSetMemPool)(CUdevice ordinal, CUmemoryPool pool) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceOf(ordinal, error);
  if (!device)
    return error;
  if (!s.pools.find(pool))
    return CUDA_ERROR_INVALID_VALUE;
  device->pool = pool;
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver

namespace vitrify::emulator {
std::string driverMessage() { return driver::lastMessage; }
} // namespace vitrify::emulator
