//===- Table.cpp - the table of functions, and finding them by name *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// driverApi, cuGetProcAddress, and older or newer versions of a few functions that
// differ in their parameters only.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <cstdio>
#include <cstring>

namespace vitrify::emulator {
namespace {

cuda::CudaApi makeTable() {
  cuda::CudaApi api;
#define VITRIFY_CU(name, symbol, params) api.name = vitrifyEmulated_##name;
#define VITRIFY_CU_OPTIONAL(name, symbol, params) api.name = vitrifyEmulated_##name;
  using namespace driver;
#include "vitrify/Runtime/CudaSymbols.def"
  return api;
}

struct Entry {
  std::string_view name, symbol;
  int from, until; ///< versions of CUDA whose callers get it under `name`
  void *function;
};

/// A driver's function whose null stream is the thread's own.
template <auto Function> struct PerThread;
template <typename... Args, cuda::CUresult (*Function)(Args...)> struct PerThread<Function> {
  static cuda::CUresult call(Args... args) {
    driver::PerThreadDefault scope;
    return Function(args...);
  }
};

const std::vector<Entry> &perThreadEntries() {
  using namespace driver;
  static const std::vector<Entry> list = {
#define VITRIFY_CU_PER_THREAD(name, symbol)                                                                            \
  {#name, #symbol, 0, 99999, reinterpret_cast<void *>(&PerThread<vitrifyEmulated_##name>::call)},
#include "PerThreadSymbols.def"
  };
  return list;
}

const std::vector<Entry> &entries() {
  using namespace driver;
  // The versions come first: they take a name from the table for their range.
  static const std::vector<Entry> list = {
#define VITRIFY_CU_VERSION(name, symbol, from, until, params)                                                          \
  {#name, #symbol, from, until, reinterpret_cast<void *>(vitrifyEmulatedVersion_##symbol)},
#include "VersionSymbols.def"
#define VITRIFY_CU(name, symbol, params) {#name, #symbol, 0, 99999, reinterpret_cast<void *>(vitrifyEmulated_##name)},
#define VITRIFY_CU_OPTIONAL(name, symbol, params) VITRIFY_CU(name, symbol, params)
#include "vitrify/Runtime/CudaSymbols.def"
  };
  return list;
}

/// `perThread`: the caller is compiled for one default stream a thread.
const Entry *find(std::string_view name, int version, bool perThread) {
  for (const Entry &entry : perThreadEntries())
    if (entry.symbol == name || (perThread && entry.name == name))
      return &entry;
  for (const Entry &entry : entries())
    if (entry.name == name && version >= entry.from && version < entry.until)
      return &entry;
  for (const Entry &entry : entries())
    if (entry.symbol == name)
      return &entry;
  return nullptr;
}

} // namespace

const cuda::CudaApi &driverApi() {
  static const cuda::CudaApi api = makeTable();
  return api;
}

} // namespace vitrify::emulator

// What the exported names of PerThreadSymbols.def jump to (Exports.cpp).
namespace vitrify::emulator {
using namespace driver;
#define VITRIFY_CU_PER_THREAD(name, symbol)                                                                            \
  extern "C" void *const vitrifyPerThread_##symbol = reinterpret_cast<void *>(&PerThread<vitrifyEmulated_##name>::call);
#include "PerThreadSymbols.def"
} // namespace vitrify::emulator

namespace vitrify::emulator::driver {

VITRIFY_CU_FUNCTION(cuGetProcAddress)
(const char *name, void **function, int version, uint64_t flags, CUdriverProcAddressQueryResult *found) {
  if (!name || !function)
    return CUDA_ERROR_INVALID_VALUE;
  if (flags & ~uint64_t(3)) // 1: the legacy default stream, 2: one a thread
    return CUDA_ERROR_INVALID_VALUE;
  const Entry *entry = find(name, version, (flags & 2) != 0);
  *function = entry ? entry->function : nullptr;
  if (found)
    *found = entry ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  if (entry)
    return CUDA_SUCCESS;
  if (driverOptions().printReports)
    std::fprintf(stderr, "vitrify emulator: the driver has no function '%s'\n", name);
  return fail(CUDA_ERROR_NOT_FOUND, std::string("the emulated driver has no function '") + name + "'");
}

VITRIFY_CU_VERSION_FUNCTION(cuGetProcAddress)(const char *name, void **function, int version, uint64_t flags) {
  return vitrifyEmulated_cuGetProcAddress(name, function, version, flags, nullptr);
}

VITRIFY_CU_VERSION_FUNCTION(cuGraphInstantiate_v2)
(CUgraphExec *exec, CUgraph graph, CUgraphNode *errorNode, char *log, size_t logBytes) {
  if (errorNode)
    *errorNode = nullptr;
  if (log && logBytes)
    log[0] = 0;
  return vitrifyEmulated_cuGraphInstantiate(exec, graph, 0);
}

VITRIFY_CU_VERSION_FUNCTION(cuCtxCreate_v4)(CUcontext *context, void *params, unsigned flags, CUdevice device) {
  if (params) {
    // CUctxCreateParams: affinities, their number, graphics interop. An empty one asks for nothing.
    struct Params {
      void *affinities;
      int count;
      void *graphics;
    } given;
    std::memcpy(&given, params, sizeof given);
    if (given.affinities || given.graphics)
      return fail(CUDA_ERROR_NOT_SUPPORTED, "contexts with an execution affinity are not emulated");
  }
  return vitrifyEmulated_cuCtxCreate(context, flags, device);
}

VITRIFY_CU_VERSION_FUNCTION(cuMemAdvise_v2)
(CUdeviceptr address, size_t bytes, CUmem_advise advice, CUmemLocation location) {
  return vitrifyEmulated_cuMemAdvise(address, bytes, advice, location.id);
}

VITRIFY_CU_VERSION_FUNCTION(cuMemPrefetchAsync_v2)
(CUdeviceptr address, size_t bytes, CUmemLocation location, unsigned flags, CUstream stream) {
  return flags ? CUDA_ERROR_INVALID_VALUE : vitrifyEmulated_cuMemPrefetchAsync(address, bytes, location.id, stream);
}

VITRIFY_CU_VERSION_FUNCTION(cuStreamGetCaptureInfo_v3)
(CUstream stream, CUstreamCaptureStatus *status, uint64_t *id, CUgraph *graph, const CUgraphNode **dependencies,
 const CUgraphEdgeData **edges, size_t *count) {
  if (edges)
    *edges = nullptr; // all edges are full dependencies
  return vitrifyEmulated_cuStreamGetCaptureInfo(stream, status, id, graph, dependencies, count);
}

VITRIFY_CU_VERSION_FUNCTION(cuGraphGetEdges_v2)
(CUgraph graph, CUgraphNode *from, CUgraphNode *to, CUgraphEdgeData *edges, size_t *count) {
  CUresult error = vitrifyEmulated_cuGraphGetEdges(graph, from, to, count);
  if (error == CUDA_SUCCESS && edges && from)
    std::memset(edges, 0, *count * sizeof *edges);
  return error;
}

VITRIFY_CU_VERSION_FUNCTION(cuGraphAddDependencies_v2)
(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, const CUgraphEdgeData *edges, size_t count) {
  for (size_t i = 0; edges && i < count; ++i)
    if (edges[i].from_port || edges[i].to_port || edges[i].type)
      return fail(CUDA_ERROR_NOT_SUPPORTED, "edges other than full dependencies are not emulated");
  return vitrifyEmulated_cuGraphAddDependencies(graph, from, to, count);
}

VITRIFY_CU_VERSION_FUNCTION(cuEventElapsedTime_v2)(float *milliseconds, CUevent start, CUevent end) {
  return vitrifyEmulated_cuEventElapsedTime(milliseconds, start, end);
}

VITRIFY_CU_VERSION_FUNCTION(cuStreamGetCtx_v2)(CUstream stream, CUcontext *context, void **greenContext) {
  if (greenContext)
    *greenContext = nullptr;
  return vitrifyEmulated_cuStreamGetCtx(stream, context);
}

VITRIFY_CU_VERSION_FUNCTION(cuCtxGetDevice_v2)(CUdevice *device, CUcontext handle) {
  if (!handle)
    return vitrifyEmulated_cuCtxGetDevice(device);
  Lock lock(state().mutex);
  auto context = state().contexts.find(handle);
  if (!context || context->destroyed)
    return CUDA_ERROR_INVALID_CONTEXT;
  if (!device)
    return CUDA_ERROR_INVALID_VALUE;
  *device = context->device->ordinal;
  return CUDA_SUCCESS;
}

VITRIFY_CU_VERSION_FUNCTION(cuCtxSynchronize_v2)(CUcontext handle) {
  if (!handle)
    return vitrifyEmulated_cuCtxSynchronize();
  Lock lock(state().mutex);
  auto context = state().contexts.find(handle);
  if (!context || context->destroyed)
    return CUDA_ERROR_INVALID_CONTEXT;
  return waitAll(lock, *context);
}

VITRIFY_CU_VERSION_FUNCTION(cuGetExportTable)(const void **table, const CUuuid *id) {
  if (!table || !id)
    return CUDA_ERROR_INVALID_VALUE;
  *table = nullptr;
  return fail(CUDA_ERROR_NOT_FOUND, "the emulated driver has no private tables");
}

} // namespace vitrify::emulator::driver
