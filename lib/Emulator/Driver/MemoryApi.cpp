//===- MemoryApi.cpp - memory functions of the emulated driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Allocation of device, managed, pinned and registered memory, pools, and what a
// pointer is.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <cstring>

namespace vitrify::emulator::driver {
namespace {

CUresult allocate(Context &context, uint64_t bytes, AllocationKind kind, CUdeviceptr *address) {
  if (!address || bytes == 0)
    return fail(CUDA_ERROR_INVALID_VALUE, "an allocation of 0 bytes, or no place for its address");
  auto made = memoryOf(context).allocate(bytes, kind);
  if (!made)
    return errorOf(made.status());
  context.allocations.insert(*made);
  *address = *made;
  return CUDA_SUCCESS;
}

/// Frees an allocation of any context of the device that holds it.
CUresult release(uint64_t address) {
  DeviceState *device = deviceOfAddress(address);
  if (!device)
    return fail(CUDA_ERROR_INVALID_VALUE, "not the address of an allocation");
  Status status = device->device->memory().free(address);
  if (!status.ok())
    return fail(CUDA_ERROR_INVALID_VALUE, status);
  for (auto &[key, context] : state().contexts)
    context->allocations.erase(address);
  return CUDA_SUCCESS;
}

CUresult allocateNow(CUdeviceptr *address, size_t bytes, AllocationKind kind) {
  VITRIFY_CU_ENTER(now);
  if (unsafeCallForbidden())
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "allocation while a stream is capturing");
  return allocate(*now.context, bytes, kind, address);
}

CUresult freeNow(CUdeviceptr address) {
  VITRIFY_CU_ENTER(now);
  if (!address)
    return CUDA_SUCCESS;
  if (unsafeCallForbidden())
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "freeing memory while a stream is capturing");
  if (CUresult error = waitAll(now.lock, *now.context))
    return error;
  return release(address);
}

CUresult allocateInStream(CUdeviceptr *address, size_t bytes, CUstream handle) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (stream->capture) {
    stream->capture->invalid = true;
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "allocation nodes of graphs are not emulated");
  }
  // The address is known at once, and no earlier work can know it: nothing has to wait.
  return allocate(*now.context, bytes, AllocationKind::Device, address);
}

std::optional<Allocation> find(uint64_t address, DeviceState *&device) {
  if ((device = deviceOfAddress(address))) {
    auto found = device->device->memory().find(address);
    return found && !found->freed ? found : std::nullopt;
  }
  for (auto &candidate : state().devices)
    if (candidate->device)
      if (auto found = candidate->device->memory().find(address); found && !found->freed) {
        device = candidate.get();
        return found;
      }
  return std::nullopt;
}

bool onHost(const Allocation &allocation) {
  return allocation.kind == AllocationKind::HostPinned || allocation.kind == AllocationKind::HostMapped;
}

template <typename T> CUresult put(void *data, T value) {
  std::memcpy(data, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult pointerAttribute(void *data, int attribute, CUdeviceptr pointer) {
  DeviceState *device = nullptr;
  auto allocation = find(pointer, device);
  if (!allocation)
    return fail(CUDA_ERROR_INVALID_VALUE, "the pointer belongs to no allocation");
  switch (attribute) {
  case CU_POINTER_ATTRIBUTE_CONTEXT: {
    CUcontext owner = reinterpret_cast<CUcontext>(device->primary.get());
    for (auto &[key, context] : state().contexts)
      if (context->allocations.count(allocation->address))
        owner = reinterpret_cast<CUcontext>(context.get());
    return put(data, owner);
  }
  case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    return put(data, onHost(*allocation) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
  case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: return put(data, pointer);
  case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    if (!onHost(*allocation) && allocation->kind != AllocationKind::Managed)
      return fail(CUDA_ERROR_INVALID_VALUE, "the pointer is device memory");
    return put(data, reinterpret_cast<void *>(pointer));
  case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: return put(data, 0u);
  case CU_POINTER_ATTRIBUTE_BUFFER_ID: return put(data, (unsigned long long)(allocation->id));
  case CU_POINTER_ATTRIBUTE_IS_MANAGED: return put(data, allocation->kind == AllocationKind::Managed);
  case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: return put(data, device->ordinal);
  case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: return put(data, CUdeviceptr(allocation->address));
  case CU_POINTER_ATTRIBUTE_RANGE_SIZE: return put(data, size_t(allocation->size));
  case CU_POINTER_ATTRIBUTE_MAPPED: return put(data, true);
  default: return fail(CUDA_ERROR_NOT_SUPPORTED, "pointer attribute " + std::to_string(attribute));
  }
}

} // namespace

VITRIFY_CU_FUNCTION(cuMemGetInfo)(size_t *free, size_t *total) {
  VITRIFY_CU_ENTER(now);
  if (!free || !total)
    return CUDA_ERROR_INVALID_VALUE;
  *free = memoryOf(*now.context).freeBytes();
  *total = memoryOf(*now.context).totalBytes();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemAlloc)(CUdeviceptr *address, size_t bytes) {
  return allocateNow(address, bytes, AllocationKind::Device);
}

VITRIFY_CU_FUNCTION(cuMemAllocPitch)
(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned elementBytes) {
  if (!pitch || !width || !height || (elementBytes != 4 && elementBytes != 8 && elementBytes != 16))
    return CUDA_ERROR_INVALID_VALUE;
  *pitch = (width + 511) / 512 * 512;
  return allocateNow(address, *pitch * height, AllocationKind::Device);
}

VITRIFY_CU_FUNCTION(cuMemAllocManaged)(CUdeviceptr *address, size_t bytes, unsigned flags) {
  if (flags < 1 || flags > 2)
    return fail(CUDA_ERROR_INVALID_VALUE, "attach flags: expected global (1) or host (2)");
  return allocateNow(address, bytes, AllocationKind::Managed);
}

VITRIFY_CU_FUNCTION(cuMemFree)(CUdeviceptr address) { return freeNow(address); }

VITRIFY_CU_FUNCTION(cuMemAllocAsync)(CUdeviceptr *address, size_t bytes, CUstream stream) {
  return allocateInStream(address, bytes, stream);
}

VITRIFY_CU_FUNCTION(cuMemAllocFromPoolAsync)(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream) {
  {
    Lock lock(state().mutex);
    if (!state().pools.find(pool))
      return CUDA_ERROR_INVALID_VALUE;
  }
  return allocateInStream(address, bytes, stream);
}

VITRIFY_CU_FUNCTION(cuMemFreeAsync)(CUdeviceptr address, CUstream handle) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!address)
    return CUDA_SUCCESS;
  if (stream->capture) {
    stream->capture->invalid = true;
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "freeing nodes of graphs are not emulated");
  }
  DeviceState *device = nullptr;
  auto allocation = find(address, device);
  if (!allocation || allocation->address != address)
    return fail(CUDA_ERROR_INVALID_VALUE, "not the address of an allocation");
  submit(*stream, [address] {
    Lock inner(state().mutex);
    return release(address);
  });
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemHostAlloc)(void **pointer, size_t bytes, unsigned flags) {
  if (!pointer || (flags & ~7u))
    return CUDA_ERROR_INVALID_VALUE;
  CUdeviceptr address = 0;
  if (CUresult error = allocateNow(&address, bytes, AllocationKind::HostPinned))
    return error;
  *pointer = reinterpret_cast<void *>(address);
  Lock lock(state().mutex);
  contextStack().back()->pinned[*pointer] = flags;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemAllocHost)(void **pointer, size_t bytes) {
  return vitrifyEmulated_cuMemHostAlloc(pointer, bytes, CU_MEMHOSTALLOC_DEVICEMAP);
}

VITRIFY_CU_FUNCTION(cuMemFreeHost)(void *pointer) {
  if (CUresult error = freeNow(reinterpret_cast<CUdeviceptr>(pointer)))
    return error;
  Lock lock(state().mutex);
  for (auto &[key, context] : state().contexts)
    context->pinned.erase(pointer);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemHostRegister)(void *pointer, size_t bytes, unsigned flags) {
  VITRIFY_CU_ENTER(now);
  if (!pointer || !bytes || (flags & ~15u))
    return CUDA_ERROR_INVALID_VALUE;
  if (deviceOfAddress(reinterpret_cast<uint64_t>(pointer)) || now.context->registered.count(pointer))
    return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  if (Status status = memoryOf(*now.context).registerHost(pointer, bytes); !status.ok())
    return fail(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, status);
  now.context->registered[pointer] = flags;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemHostUnregister)(void *pointer) {
  VITRIFY_CU_ENTER(now);
  if (CUresult error = waitAll(now.lock, *now.context))
    return error;
  for (auto &[key, context] : state().contexts)
    if (context->registered.erase(pointer)) {
      Status status = memoryOf(*context).unregisterHost(pointer);
      return status.ok() ? CUDA_SUCCESS : fail(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, status);
    }
  return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

VITRIFY_CU_FUNCTION(cuMemHostGetDevicePointer)(CUdeviceptr *address, void *pointer, unsigned flags) {
  VITRIFY_CU_ENTER(now);
  DeviceState *device = nullptr;
  auto allocation = find(reinterpret_cast<uint64_t>(pointer), device);
  if (!address || flags || !allocation || !onHost(*allocation))
    return fail(CUDA_ERROR_INVALID_VALUE, "not pinned or registered host memory");
  *address = reinterpret_cast<CUdeviceptr>(pointer);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemHostGetFlags)(unsigned *flags, void *pointer) {
  VITRIFY_CU_ENTER(now);
  auto it = now.context->pinned.find(pointer);
  if (!flags || it == now.context->pinned.end())
    return CUDA_ERROR_INVALID_VALUE;
  *flags = it->second | CU_MEMHOSTALLOC_DEVICEMAP;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemGetAddressRange)(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
  VITRIFY_CU_ENTER(now);
  DeviceState *device = nullptr;
  auto allocation = find(address, device);
  if (!allocation)
    return fail(CUDA_ERROR_NOT_FOUND, "the address belongs to no allocation");
  if (base)
    *base = allocation->address;
  if (bytes)
    *bytes = allocation->size;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuPointerGetAttribute)(void *data, CUpointer_attribute attribute, CUdeviceptr pointer) {
  Lock lock(state().mutex);
  if (!state().initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  return data ? pointerAttribute(data, attribute, pointer) : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuPointerGetAttributes)
(unsigned count, CUpointer_attribute *attributes, void **data, CUdeviceptr pointer) {
  Lock lock(state().mutex);
  if (!state().initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (count && (!attributes || !data))
    return CUDA_ERROR_INVALID_VALUE;
  DeviceState *device = nullptr;
  bool known = find(pointer, device).has_value();
  for (unsigned i = 0; i < count; ++i) {
    if (known && pointerAttribute(data[i], attributes[i], pointer) == CUDA_SUCCESS)
      continue;
    // Not an error here: the driver answers zeros for memory it does not know. Widths differ by attribute.
    switch (int(attributes[i])) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: put(data[i], 0u); break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: put(data[i], -2); break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_MAPPED: put(data[i], false); break;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: put(data[i], 0u); break;
    default: put(data[i], uint64_t(0)); break;
    }
  }
  return CUDA_SUCCESS;
}

// Hints: the emulated devices have all memory at hand.
VITRIFY_CU_FUNCTION(cuMemAdvise)(CUdeviceptr address, size_t, CUmem_advise, CUdevice) {
  Lock lock(state().mutex);
  Current now = current(lock);
  DeviceState *device = nullptr;
  return now.error ? now.error : find(address, device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuMemPrefetchAsync)(CUdeviceptr address, size_t, CUdevice, CUstream) {
  Lock lock(state().mutex);
  Current now = current(lock);
  DeviceState *device = nullptr;
  return now.error ? now.error : find(address, device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuMemPoolCreate)(CUmemoryPool *pool, const CUmemPoolProps *props) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (!pool || !props || props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->location.id < 0 ||
      size_t(props->location.id) >= s.devices.size())
    return CUDA_ERROR_INVALID_VALUE;
  auto made = std::make_shared<MemoryPool>();
  made->device = props->location.id;
  *pool = s.pools.add<CUmemoryPool>(made);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemPoolDestroy)(CUmemoryPool pool) {
  DriverState &s = state();
  Lock lock(s.mutex);
  for (auto &device : s.devices) {
    if (device->defaultPool == pool)
      return fail(CUDA_ERROR_INVALID_VALUE, "a device's default pool cannot be destroyed");
    if (device->pool == pool)
      device->pool = device->defaultPool;
  }
  return s.pools.erase(pool) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuMemPoolTrimTo)(CUmemoryPool pool, size_t) {
  Lock lock(state().mutex);
  return state().pools.find(pool) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuMemPoolSetAttribute)(CUmemoryPool handle, CUmemPool_attribute attribute, void *value) {
  Lock lock(state().mutex);
  auto pool = state().pools.find(handle);
  if (!pool || !value || attribute < CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
      attribute > CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    return CUDA_ERROR_INVALID_VALUE;
  uint64_t wide = 0;
  std::memcpy(&wide, value, attribute >= CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? 8 : 4);
  pool->attributes[attribute] = wide;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuMemPoolGetAttribute)(CUmemoryPool handle, CUmemPool_attribute attribute, void *value) {
  DriverState &s = state();
  Lock lock(s.mutex);
  auto pool = s.pools.find(handle);
  if (!pool || !value || attribute < CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
      attribute > CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    return CUDA_ERROR_INVALID_VALUE;
  uint64_t wide = attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES; // reuse is allowed at first
  if (auto it = pool->attributes.find(attribute); it != pool->attributes.end())
    wide = it->second;
  if (attribute > CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) { // the device's use, all pools together
    auto &device = s.devices[size_t(pool->device)]->device;
    wide = device ? device->memory().totalBytes() - device->memory().freeBytes() : 0;
  }
  std::memcpy(value, &wide, attribute >= CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? 8 : 4);
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver
