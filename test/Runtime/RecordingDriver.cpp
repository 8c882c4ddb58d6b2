//===- RecordingDriver.cpp - a CUDA driver that writes down calls ---------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "RecordingDriver.h"

#include "vitrify/Bundle/KernelABI.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

using namespace vitrify::cuda;
using namespace vitrify::test;

extern "C" {
#define TEST_KERNEL(name) void name(const int64_t *, void *const *, int64_t, int64_t);
TEST_KERNEL(linear_f32_nk)
TEST_KERNEL(linear_f8_nk)
TEST_KERNEL(relu_small)
TEST_KERNEL(relu_large)
TEST_KERNEL(twice)
TEST_KERNEL(row_max)
TEST_KERNEL(slow)
}

struct vitrify::cuda::CUfunc_st {
  const char *name;
  vitrify_x86_kernel run;
  unsigned scalars, buffers;
  int shared;
};
struct vitrify::cuda::CUstream_st {
  CUgraph graph = nullptr; ///< being captured
};
struct vitrify::cuda::CUgraph_st {
  std::vector<std::function<CUresult()>> nodes;
};
struct vitrify::cuda::CUgraphExec_st {
  std::vector<std::function<CUresult()>> nodes;
};
struct vitrify::cuda::CUevent_st {
  int when = -1;
};
struct vitrify::cuda::CUmod_st {
  std::string image;
};
struct vitrify::cuda::CUctx_st {
  int unused;
};

struct RecordingDriver::State {
  explicit State(RecordingDriver &driver) : driver(driver) {}
  RecordingDriver &driver;
  mutable std::recursive_mutex mutex;
  std::vector<std::string> log, faults;
  int count = 0, failAt = -1, clock = 0;
  CUctx_st context;
  std::map<CUdeviceptr, size_t> memory;
  std::set<void *> pinned;
  std::set<CUstream> streams;
  std::set<CUevent> events;
  std::set<CUmodule> modules;
  std::set<CUgraph> graphs;
  std::set<CUgraphExec> execs;
  int primary = 0;
  std::atomic<int> current{0};
  CUfunc_st kernels[7] = {{"linear_f32_nk", linear_f32_nk, 2, 5, 0}, {"linear_f8_nk", linear_f8_nk, 2, 5, 0},
                          {"relu_small", relu_small, 1, 2, 0},       {"relu_large", relu_large, 1, 2, 0},
                          {"twice", twice, 1, 2, 0},                 {"row_max", row_max, 1, 2, 0},
                          {"slow", slow, 1, 2, 0}};

  CUresult fault(const std::string &text, CUresult result) {
    faults.push_back(text);
    return result;
  }
  bool inside(CUdeviceptr address, size_t bytes) const {
    auto next = memory.upper_bound(address);
    if (next == memory.begin())
      return false;
    auto block = std::prev(next);
    return address - block->first <= block->second && bytes <= block->second - (address - block->first);
  }
};

namespace {

RecordingDriver::State *active = nullptr;
thread_local std::vector<CUcontext> contexts;

RecordingDriver::State &state() { return *active; }

enum Function : int {
#define VITRIFY_CU(name, symbol, params) F_##name,
#define VITRIFY_CU_OPTIONAL(name, symbol, params) F_##name,
#include "vitrify/Runtime/CudaSymbols.def"
};
constexpr const char *kNames[] = {
#define VITRIFY_CU(name, symbol, params) #name,
#define VITRIFY_CU_OPTIONAL(name, symbol, params) #name,
#include "vitrify/Runtime/CudaSymbols.def"
};

/// Functions that take something back do so even when they say that they failed, as drivers do.
bool takesBack(int id) {
  switch (id) {
  case F_cuMemFree: case F_cuMemFreeHost: case F_cuStreamDestroy: case F_cuEventDestroy: case F_cuModuleUnload:
  case F_cuGraphDestroy: case F_cuGraphExecDestroy: case F_cuDevicePrimaryCtxRelease: case F_cuCtxPopCurrent:
  case F_cuStreamEndCapture:
    return true;
  default: return false;
  }
}
bool needsContext(int id) {
  return id != F_cuInit && id != F_cuDriverGetVersion && id != F_cuDeviceGetCount && id != F_cuDeviceGet &&
         id != F_cuDeviceGetName && id != F_cuDeviceGetAttribute && id != F_cuDevicePrimaryCtxRetain &&
         id != F_cuDevicePrimaryCtxRelease && id != F_cuCtxPushCurrent && id != F_cuGetErrorName &&
         id != F_cuGetErrorString;
}

template <int Id, typename T> struct Wrapped;
template <int Id, typename... Args> struct Wrapped<Id, CUresult (*)(Args...)> {
  static inline CUresult (*implementation)(Args...) = nullptr;

  static CUresult call(Args... args) {
    std::lock_guard lock(state().mutex);
    bool fails = false;
    if (Id != F_cuGetErrorName && Id != F_cuGetErrorString) {
      state().log.push_back(kNames[Id]);
      fails = state().count++ == state().failAt;
    }
    if (needsContext(Id) && contexts.empty())
      return state().fault(std::string(kNames[Id]) + " without a context", CUDA_ERROR_INVALID_CONTEXT);
    if (fails && !takesBack(Id))
      return CUDA_ERROR_UNKNOWN;
    if (!implementation)
      return state().fault(std::string(kNames[Id]) + " is not recorded", CUDA_ERROR_NOT_SUPPORTED);
    CUresult result = implementation(args...);
    return fails ? CUDA_ERROR_UNKNOWN : result;
  }
};

template <typename T> CUresult create(std::set<T> &set, T *out, T value) {
  set.insert(value);
  *out = value;
  return CUDA_SUCCESS;
}
template <typename T> CUresult destroy(std::set<T> &set, T value, const char *what) {
  if (!set.erase(value))
    return state().fault(std::string("unknown ") + what, CUDA_ERROR_INVALID_HANDLE);
  delete value;
  return CUDA_SUCCESS;
}

/// Now, or when the captured graph is launched.
CUresult enqueue(CUstream stream, std::function<CUresult()> work) {
  if (!state().streams.contains(stream))
    return state().fault("unknown stream", CUDA_ERROR_INVALID_HANDLE);
  if (!stream->graph)
    return work();
  stream->graph->nodes.push_back(std::move(work));
  return CUDA_SUCCESS;
}

CUresult copyBytes(void *dst, const void *src, size_t bytes) {
  std::memcpy(dst, src, bytes);
  return CUDA_SUCCESS;
}
void *host(CUdeviceptr address) { return reinterpret_cast<void *>(address); }

CUresult launchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, CUstream stream, void **params, void **extra) {
  std::vector<int64_t> scalars;
  std::vector<void *> buffers;
  for (unsigned i = 0; i < f->scalars + f->buffers; ++i) {
    uint64_t value;
    std::memcpy(&value, params[i], 8);
    if (i < f->scalars) {
      scalars.push_back(int64_t(value));
      continue;
    }
    buffers.push_back(host(value));
    if (!state().inside(value, 4))
      return state().fault(std::string(f->name) + ": a pointer outside of memory", CUDA_ERROR_ILLEGAL_ADDRESS);
  }
  std::string text = std::string("launch ") + f->name + " grid " + std::to_string(gx) + "," + std::to_string(gy) + "," +
                     std::to_string(gz) + " block " + std::to_string(bx) + "," + std::to_string(by) + "," +
                     std::to_string(bz) + " shared " + std::to_string(shared);
  for (int64_t scalar : scalars)
    text += " " + std::to_string(scalar);
  state().log.back() = text;
  return enqueue(stream, [f, gx, scalars, buffers] {
    f->run(scalars.data(), buffers.data(), 0, gx);
    return CUDA_SUCCESS;
  });
}

CUresult getFunction(CUfunction *out, CUmodule module, const char *name) {
  for (CUfunc_st &kernel : state().kernels)
    if (std::strcmp(kernel.name, name) == 0) {
      *out = &kernel;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_NOT_FOUND;
}

} // namespace

#define IMPLEMENT(function, ...)                                                                                       \
  Wrapped<F_##function, decltype(CudaApi::function)>::implementation = __VA_ARGS__;

/// Gives every function of the table that the runtime uses its meaning.
static void implement() {
  IMPLEMENT(cuGetErrorName, [](CUresult error, const char **name) {
    *name = error == CUDA_ERROR_UNKNOWN ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR";
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuGetErrorString, [](CUresult error, const char **text) {
    *text = "injected";
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuInit, [](unsigned) { return state().driver.devices ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE; })
  IMPLEMENT(cuDriverGetVersion, [](int *version) {
    *version = state().driver.version;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuDeviceGetCount, [](int *count) {
    *count = state().driver.devices;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuDeviceGet, [](CUdevice *device, int ordinal) {
    *device = ordinal;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuDeviceGetName, [](char *name, int length, CUdevice) {
    std::strncpy(name, "Recorded GPU", size_t(length));
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuDeviceGetAttribute, [](int *value, CUdevice_attribute attribute, CUdevice) {
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? state().driver.major
             : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? state().driver.minor
                                                                         : 0;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuDevicePrimaryCtxRetain, [](CUcontext *context, CUdevice) {
    ++state().primary;
    *context = &state().context;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuDevicePrimaryCtxRelease, [](CUdevice) {
    --state().primary;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuCtxPushCurrent, [](CUcontext context) {
    contexts.push_back(context);
    ++state().current;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuCtxPopCurrent, [](CUcontext *context) {
    *context = contexts.back();
    contexts.pop_back();
    --state().current;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuModuleLoadDataEx, [](CUmodule *module, const void *image, unsigned, CUjit_option *, void **) {
    for (CUfunc_st &kernel : state().kernels)
      kernel.shared = 0;
    return create(state().modules, module, new CUmod_st{static_cast<const char *>(image)});
  })
  IMPLEMENT(cuModuleUnload, [](CUmodule module) { return destroy(state().modules, module, "module"); })
  IMPLEMENT(cuModuleGetFunction, &getFunction)
  IMPLEMENT(cuFuncGetAttribute, [](int *value, CUfunction_attribute, CUfunction function) {
    *value = function->shared;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuFuncSetAttribute, [](CUfunction function, CUfunction_attribute, int value) {
    function->shared = value;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuLaunchKernel, &launchKernel)
  IMPLEMENT(cuMemGetInfo, [](size_t *free, size_t *total) {
    *free = state().driver.freeBytes;
    *total = uint64_t(1) << 30;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuMemAlloc, [](CUdeviceptr *address, size_t bytes) {
    if (bytes > state().driver.freeBytes)
      return CUDA_ERROR_OUT_OF_MEMORY;
    void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    *address = reinterpret_cast<CUdeviceptr>(memory);
    state().memory[*address] = bytes;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuMemFree, [](CUdeviceptr address) {
    if (!state().memory.erase(address))
      return state().fault("free of unknown memory", CUDA_ERROR_INVALID_VALUE);
    std::free(host(address));
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuMemAllocHost, [](void **pointer, size_t bytes) {
    *pointer = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    state().pinned.insert(*pointer);
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuMemFreeHost, [](void *pointer) {
    if (!state().pinned.erase(pointer))
      return state().fault("free of unknown pinned memory", CUDA_ERROR_INVALID_VALUE);
    std::free(pointer);
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuMemcpyHtoDAsync, [](CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
    state().log.back() += " " + std::to_string(bytes);
    if (!state().inside(dst, bytes))
      return state().fault("copy to outside of memory", CUDA_ERROR_INVALID_VALUE);
    return enqueue(stream, [=] { return copyBytes(host(dst), src, bytes); });
  })
  IMPLEMENT(cuMemcpyDtoHAsync, [](void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    state().log.back() += " " + std::to_string(bytes);
    if (!state().inside(src, bytes))
      return state().fault("copy from outside of memory", CUDA_ERROR_INVALID_VALUE);
    return enqueue(stream, [=] { return copyBytes(dst, host(src), bytes); });
  })
  IMPLEMENT(cuMemcpyDtoDAsync, [](CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    state().log.back() += " " + std::to_string(bytes);
    if (!state().inside(src, bytes) || !state().inside(dst, bytes))
      return state().fault("copy outside of memory", CUDA_ERROR_INVALID_VALUE);
    return enqueue(stream, [=] { return copyBytes(host(dst), host(src), bytes); });
  })
  IMPLEMENT(cuStreamCreate, [](CUstream *stream, unsigned) {
    return create(state().streams, stream, new CUstream_st());
  })
  IMPLEMENT(cuStreamDestroy, [](CUstream stream) { return destroy(state().streams, stream, "stream"); })
  IMPLEMENT(cuStreamSynchronize, [](CUstream stream) {
    if (!state().streams.contains(stream) || stream->graph)
      return state().fault("synchronises a stream that is captured or unknown", CUDA_ERROR_INVALID_HANDLE);
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuEventCreate, [](CUevent *event, unsigned) {
    return create(state().events, event, new CUevent_st());
  })
  IMPLEMENT(cuEventDestroy, [](CUevent event) { return destroy(state().events, event, "event"); })
  IMPLEMENT(cuEventRecord, [](CUevent event, CUstream stream) {
    event->when = state().clock++;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuEventSynchronize, [](CUevent event) {
    return event->when < 0 ? state().fault("waits for an event that was not recorded", CUDA_ERROR_INVALID_HANDLE)
                           : CUDA_SUCCESS;
  })
  IMPLEMENT(cuEventElapsedTime, [](float *milliseconds, CUevent start, CUevent end) {
    *milliseconds = float(end->when - start->when) * 0.5f;
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuStreamBeginCapture, [](CUstream stream, CUstreamCaptureMode) {
    return create(state().graphs, &stream->graph, new CUgraph_st());
  })
  IMPLEMENT(cuStreamEndCapture, [](CUstream stream, CUgraph *graph) {
    *graph = std::exchange(stream->graph, nullptr);
    return CUDA_SUCCESS;
  })
  IMPLEMENT(cuGraphDestroy, [](CUgraph graph) { return destroy(state().graphs, graph, "graph"); })
  IMPLEMENT(cuGraphInstantiate, [](CUgraphExec *exec, CUgraph graph, unsigned long long) {
    return create(state().execs, exec, new CUgraphExec_st{graph->nodes});
  })
  IMPLEMENT(cuGraphExecDestroy, [](CUgraphExec exec) { return destroy(state().execs, exec, "graph"); })
  IMPLEMENT(cuGraphLaunch, [](CUgraphExec exec, CUstream stream) {
    return enqueue(stream, [exec] {
      for (auto &node : exec->nodes)
        if (CUresult result = node(); result != CUDA_SUCCESS)
          return result;
      return CUDA_SUCCESS;
    });
  })
}

RecordingDriver::RecordingDriver() : impl(new State(*this)) {
  if (active)
    std::abort();
  active = impl;
#define VITRIFY_CU(name, symbol, params) table.name = &Wrapped<F_##name, decltype(CudaApi::name)>::call;
#define VITRIFY_CU_OPTIONAL(name, symbol, params)
#include "vitrify/Runtime/CudaSymbols.def"

  implement();
}

RecordingDriver::~RecordingDriver() {
  active = nullptr;
  delete impl;
}

std::vector<std::string> RecordingDriver::log() const {
  std::lock_guard lock(impl->mutex);
  return impl->log;
}
void RecordingDriver::clearLog() {
  std::lock_guard lock(impl->mutex);
  impl->log.clear();
}
int RecordingDriver::calls() const {
  std::lock_guard lock(impl->mutex);
  return impl->count;
}
void RecordingDriver::failAt(int number) {
  std::lock_guard lock(impl->mutex);
  impl->count = 0;
  impl->failAt = number;
}
std::map<std::string, int> RecordingDriver::alive() const {
  std::lock_guard lock(impl->mutex);
  return {{"memory", int(impl->memory.size())}, {"pinned", int(impl->pinned.size())},
          {"stream", int(impl->streams.size())}, {"event", int(impl->events.size())},
          {"module", int(impl->modules.size())}, {"graph", int(impl->graphs.size())},
          {"exec", int(impl->execs.size())},     {"primary", impl->primary},
          {"current", impl->current}};
}
std::vector<std::string> RecordingDriver::faults() const {
  std::lock_guard lock(impl->mutex);
  return impl->faults;
}
