//===- Contexts.cpp - contexts of the emulated driver --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Primary and own contexts, each thread's stack of them, limits and flags.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>

namespace vitrify::emulator::driver {
namespace {

thread_local std::vector<std::shared_ptr<Context>> stack;

StreamRef makeStream(DriverState &s, Context &context, bool legacy) {
  auto stream = std::make_shared<Stream>();
  stream->context = &context;
  stream->legacy = legacy;
  stream->id = legacy ? 1 : s.nextId++;
  return stream;
}

CUresult makeContext(DriverState &s, DeviceState &device, bool primary, unsigned flags,
                     std::shared_ptr<Context> &context) {
  if (!device.device) {
    auto made = Device::create(*device.chip, s.options.memoryBytes);
    if (!made)
      return fail(CUDA_ERROR_OPERATING_SYSTEM, made.status());
    device.device = std::move(*made);
  }
  context = std::make_shared<Context>();
  context->device = &device;
  context->primary = primary;
  context->flags = flags;
  context->id = s.nextId++;
  context->legacy = makeStream(s, *context, true);
  context->perThread = makeStream(s, *context, false);
  context->limits = {{CU_LIMIT_STACK_SIZE, 1024},
                     {CU_LIMIT_PRINTF_FIFO_SIZE, 1 << 20},
                     {CU_LIMIT_MALLOC_HEAP_SIZE, 8 << 20},
                     {CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 64},
                     {CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 0}};
  s.contexts.add<CUcontext>(context);
  return CUDA_SUCCESS;
}

CUcontext handleOf(Context &context) { return reinterpret_cast<CUcontext>(&context); }

DeviceState *deviceAt(DriverState &s, CUdevice ordinal, CUresult &error) {
  error = !s.initialised                                       ? CUDA_ERROR_NOT_INITIALIZED
          : ordinal < 0 || size_t(ordinal) >= s.devices.size() ? CUDA_ERROR_INVALID_DEVICE
                                                               : CUDA_SUCCESS;
  return error == CUDA_SUCCESS ? s.devices[size_t(ordinal)].get() : nullptr;
}

} // namespace

std::vector<std::shared_ptr<Context>> &contextStack() { return stack; }

DeviceMemory &memoryOf(Context &context) { return context.device->device->memory(); }

DeviceState *deviceOfAddress(uint64_t address) {
  for (auto &device : state().devices)
    if (device->device) {
      const DeviceMemory &memory = device->device->memory();
      if (address - memory.base() < memory.span())
        return device.get();
    }
  return nullptr;
}

Current current(Lock &) {
  Current result;
  if (!state().initialised)
    result.error = CUDA_ERROR_NOT_INITIALIZED;
  else if (stack.empty() || !stack.back())
    result.error = fail(CUDA_ERROR_INVALID_CONTEXT, "no context is current in this thread");
  else if (stack.back()->destroyed)
    result.error = fail(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context was destroyed");
  else if (stack.back()->error != CUDA_SUCCESS)
    result.error = fail(stack.back()->error, stack.back()->message);
  else
    result.context = stack.back();
  return result;
}

Entered::Entered() : lock(state().mutex) { Current::operator=(current(lock)); }

Entered::Entered(CUstream handle) : Entered() {
  if (error)
    return;
  stream = streamOf(*context, handle);
  if (!stream)
    error = fail(CUDA_ERROR_INVALID_HANDLE, "not a stream, or destroyed before");
}

void setSticky(Context &context, CUresult error, std::string message) {
  if (context.error != CUDA_SUCCESS || error == CUDA_SUCCESS)
    return;
  context.error = error;
  context.message = std::move(message);
}

CUresult destroyContext(Lock &lock, const std::shared_ptr<Context> &context) {
  DriverState &s = state();
  (void)waitAll(lock, *context);
  context->destroyed = true;
  for (auto &[key, stream] : s.streams)
    if (stream->context == context.get())
      closeStream(*stream);
  closeStream(*context->legacy);
  closeStream(*context->perThread);
  s.streams.eraseIf([&](Stream &stream) { return stream.context == context.get(); });
  s.events.eraseIf([&](Event &event) { return event.context == context.get(); });
  s.execs.eraseIf([&](GraphExec &exec) { return exec.context == context.get(); });
  finishLibraryModules(*context);
  s.functions.eraseIf([&](Function &function) { return function.module->context == context.get(); });
  s.modules.eraseIf([&](Module &module) { return module.context == context.get(); });
  DeviceMemory &memory = memoryOf(*context);
  for (CUdeviceptr address : context->allocations)
    (void)memory.free(address);
  for (auto &[pointer, flags] : context->registered)
    (void)memory.unregisterHost(pointer);
  context->allocations.clear();
  context->registered.clear();
  context->pinned.clear();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDevicePrimaryCtxRetain)(CUcontext *context, CUdevice ordinal) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceAt(s, ordinal, error);
  if (!device)
    return error;
  if (!context)
    return CUDA_ERROR_INVALID_VALUE;
  if (!device->primary)
    if (CUresult made = makeContext(s, *device, true, device->primaryFlags, device->primary))
      return made;
  ++device->primaryRefs;
  *context = handleOf(*device->primary);
  return CUDA_SUCCESS;
}

static CUresult dropPrimary(CUdevice ordinal, bool always) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceAt(s, ordinal, error);
  if (!device)
    return error;
  if (!device->primary)
    return always ? CUDA_SUCCESS : fail(CUDA_ERROR_INVALID_CONTEXT, "the primary context is not retained");
  if (!always && --device->primaryRefs > 0)
    return CUDA_SUCCESS;
  std::shared_ptr<Context> primary = std::exchange(device->primary, nullptr);
  device->primaryRefs = 0;
  return destroyContext(lock, primary);
}

VITRIFY_CU_FUNCTION(cuDevicePrimaryCtxRelease)(CUdevice ordinal) { return dropPrimary(ordinal, false); }
VITRIFY_CU_FUNCTION(cuDevicePrimaryCtxReset)(CUdevice ordinal) { return dropPrimary(ordinal, true); }

VITRIFY_CU_FUNCTION(cuDevicePrimaryCtxSetFlags)(CUdevice ordinal, unsigned flags) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceAt(s, ordinal, error);
  if (!device)
    return error;
  device->primaryFlags = flags;
  if (device->primary)
    device->primary->flags = flags;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuDevicePrimaryCtxGetState)(CUdevice ordinal, unsigned *flags, int *active) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceAt(s, ordinal, error);
  if (!device)
    return error;
  if (!flags || !active)
    return CUDA_ERROR_INVALID_VALUE;
  *flags = device->primaryFlags;
  *active = device->primary != nullptr;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxCreate)(CUcontext *context, unsigned flags, CUdevice ordinal) {
  DriverState &s = state();
  Lock lock(s.mutex);
  CUresult error;
  DeviceState *device = deviceAt(s, ordinal, error);
  if (!device)
    return error;
  if (!context)
    return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Context> made;
  if (CUresult result = makeContext(s, *device, false, flags, made))
    return result;
  stack.push_back(made);
  *context = handleOf(*made);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxDestroy)(CUcontext handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  auto context = s.contexts.find(handle);
  if (!context || context->destroyed || context->primary)
    return fail(CUDA_ERROR_INVALID_CONTEXT, "not a context that cuCtxCreate made, or destroyed before");
  CUresult result = destroyContext(lock, context);
  if (!stack.empty() && stack.back() == context)
    stack.pop_back();
  return result;
}

VITRIFY_CU_FUNCTION(cuCtxSetCurrent)(CUcontext handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (!handle) {
    if (!stack.empty())
      stack.pop_back();
    return CUDA_SUCCESS;
  }
  auto context = s.contexts.find(handle);
  if (!context || context->destroyed)
    return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.empty())
    stack.push_back(context);
  else
    stack.back() = context;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxGetCurrent)(CUcontext *handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (!handle)
    return CUDA_ERROR_INVALID_VALUE;
  *handle = stack.empty() ? nullptr : handleOf(*stack.back());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxPushCurrent)(CUcontext handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  auto context = s.contexts.find(handle);
  if (!context || context->destroyed)
    return CUDA_ERROR_INVALID_CONTEXT;
  stack.push_back(context);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxPopCurrent)(CUcontext *handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (stack.empty())
    return CUDA_ERROR_INVALID_CONTEXT;
  if (handle)
    *handle = handleOf(*stack.back());
  stack.pop_back();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxGetDevice)(CUdevice *device) {
  Lock lock(state().mutex);
  if (!state().initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (stack.empty() || stack.back()->destroyed)
    return CUDA_ERROR_INVALID_CONTEXT;
  if (!device)
    return CUDA_ERROR_INVALID_VALUE;
  *device = stack.back()->device->ordinal;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxSynchronize)(void) {
  VITRIFY_CU_ENTER(now);
  if (unsafeCallForbidden())
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a stream is capturing");
  return waitAll(now.lock, *now.context);
}

VITRIFY_CU_FUNCTION(cuCtxGetStreamPriorityRange)(int *least, int *greatest) {
  VITRIFY_CU_ENTER(now);
  if (least)
    *least = 0;
  if (greatest)
    *greatest = -5;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxGetApiVersion)(CUcontext handle, unsigned *version) {
  Lock lock(state().mutex);
  if (handle && !state().contexts.find(handle))
    return CUDA_ERROR_INVALID_CONTEXT;
  if (!version)
    return CUDA_ERROR_INVALID_VALUE;
  *version = 3020;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxGetFlags)(unsigned *flags) {
  VITRIFY_CU_ENTER(now);
  if (!flags)
    return CUDA_ERROR_INVALID_VALUE;
  *flags = now.context->flags;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxGetId)(CUcontext handle, unsigned long long *id) {
  Lock lock(state().mutex);
  auto context = handle || stack.empty() ? state().contexts.find(handle) : stack.back();
  if (!context || context->destroyed)
    return CUDA_ERROR_INVALID_CONTEXT;
  if (!id)
    return CUDA_ERROR_INVALID_VALUE;
  *id = context->id;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxGetLimit)(size_t *value, CUlimit limit) {
  VITRIFY_CU_ENTER(now);
  auto it = now.context->limits.find(limit);
  if (it == now.context->limits.end())
    return CUDA_ERROR_UNSUPPORTED_LIMIT;
  if (!value)
    return CUDA_ERROR_INVALID_VALUE;
  *value = it->second;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxSetLimit)(CUlimit limit, size_t value) {
  VITRIFY_CU_ENTER(now);
  auto it = now.context->limits.find(limit);
  if (it == now.context->limits.end())
    return CUDA_ERROR_UNSUPPORTED_LIMIT;
  it->second = value;
  return CUDA_SUCCESS;
}

// Preferences that have no effect on what a kernel computes: taken, and the default is reported.
VITRIFY_CU_FUNCTION(cuCtxGetCacheConfig)(CUfunc_cache *config) {
  Lock lock(state().mutex);
  Current now = current(lock);
  if (now.error || !config)
    return now.error ? now.error : CUDA_ERROR_INVALID_VALUE;
  *config = CU_FUNC_CACHE_PREFER_NONE;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxSetCacheConfig)(CUfunc_cache) {
  Lock lock(state().mutex);
  return current(lock).error;
}

VITRIFY_CU_FUNCTION(cuCtxGetSharedMemConfig)(CUsharedconfig *config) {
  Lock lock(state().mutex);
  Current now = current(lock);
  if (now.error || !config)
    return now.error ? now.error : CUDA_ERROR_INVALID_VALUE;
  *config = CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuCtxSetSharedMemConfig)(CUsharedconfig) {
  Lock lock(state().mutex);
  return current(lock).error;
}

VITRIFY_CU_FUNCTION(cuCtxEnablePeerAccess)(CUcontext, unsigned) {
  Lock lock(state().mutex);
  Current now = current(lock);
  return now.error ? now.error : fail(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "emulated devices see no peer's memory");
}

VITRIFY_CU_FUNCTION(cuCtxDisablePeerAccess)(CUcontext) {
  Lock lock(state().mutex);
  Current now = current(lock);
  return now.error ? now.error : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}

VITRIFY_CU_FUNCTION(cuProfilerStart)(void) {
  Lock lock(state().mutex);
  return current(lock).error;
}

VITRIFY_CU_FUNCTION(cuProfilerStop)(void) {
  Lock lock(state().mutex);
  return current(lock).error;
}

} // namespace vitrify::emulator::driver
