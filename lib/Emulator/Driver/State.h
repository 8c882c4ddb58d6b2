//===- State.h - objects behind the driver's handles ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Devices, contexts, modules, streams, events and graphs of the emulated driver. One
// lock guards all of it; work of a stream runs on the stream's own thread, without
// the lock, in the order of submission and after the tickets it names.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Emulator/Driver.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

namespace vitrify::emulator::driver {
using namespace vitrify::cuda;

struct Context;
struct Stream;
struct Capture;
struct GraphNode;

/// The completion of one piece of work.
struct Ticket {
  bool done = false;
  std::chrono::steady_clock::time_point when{};
};
using TicketRef = std::shared_ptr<Ticket>;

using Work = std::function<CUresult()>;

struct QueuedWork {
  Work work;
  std::vector<TicketRef> after;
  TicketRef ticket;
};

struct Stream {
  Context *context = nullptr;
  unsigned flags = CU_STREAM_DEFAULT;
  int priority = 0;
  unsigned long long id = 0;
  bool legacy = false;
  bool closing = false, hasWorker = false;
  std::deque<QueuedWork> queue;
  TicketRef last; ///< of the newest work
  std::shared_ptr<Capture> capture;
  std::vector<GraphNode *> tail; ///< while capturing: what the next node depends on
};
using StreamRef = std::shared_ptr<Stream>;

struct Event {
  Context *context = nullptr;
  unsigned flags = 0;
  TicketRef ticket; ///< of the last record; null before
  std::shared_ptr<Capture> capture;
  std::vector<GraphNode *> captured; ///< recorded in a capturing stream: the stream's tail then
};

struct Module;

/// A kernel of a loaded module.
struct Function {
  Module *module = nullptr;
  const FunctionInfo *info = nullptr;
  std::map<int, int> attributes; ///< those set by the caller
};

struct Module {
  Context *context = nullptr;
  std::shared_ptr<const LoadedModule> loaded;
  std::map<std::string, std::shared_ptr<Function>, std::less<>> functions;
};

struct Library;

/// A kernel of a library, on whichever device.
struct Kernel {
  Library *library = nullptr;
  std::string name;
  std::map<int, int> attributes;
};

struct Library {
  std::vector<uint8_t> image;                                         ///< PTX text or one fat binary container
  std::map<uint32_t, std::shared_ptr<const emulator::Module>> parsed; ///< by architecture
  std::map<Context *, std::shared_ptr<Module>> modules;
  std::map<std::string, std::shared_ptr<Kernel>, std::less<>> kernels;
};

/// A launch, checked and with its parameters packed.
struct PreparedLaunch {
  std::shared_ptr<const LoadedModule> module;
  std::string kernel;
  LaunchConfig config;
  std::vector<uint8_t> params;
  CUfunction function = nullptr;
};

/// One piece of stream work, queued or in a graph. Only the fields of its type are used.
struct GraphNode {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  std::vector<GraphNode *> dependencies;
  PreparedLaunch launch;
  CUDA_MEMCPY3D copy{};
  std::vector<uint8_t> staged; ///< what a copy from pageable host memory reads
  CUDA_MEMSET_NODE_PARAMS fill{};
  CUDA_HOST_NODE_PARAMS host{};
  std::shared_ptr<struct Graph> child;
  std::shared_ptr<Event> event; ///< that the node records or waits for
  std::vector<void *> pointers; ///< into launch.params, for cuGraphKernelNodeGetParams
  struct Graph *graph = nullptr;
};
using NodeRef = std::shared_ptr<GraphNode>;

struct Graph {
  std::vector<NodeRef> nodes;
};

/// A graph made ready: copies of its nodes in an order that respects the edges.
struct GraphExec {
  struct Node {
    const GraphNode *origin = nullptr;
    NodeRef node;
    std::vector<size_t> after; ///< positions of what it depends on, ascending
  };
  Context *context = nullptr;
  std::vector<Node> nodes;
};

/// What a stream capture collects; shared by the streams that joined it.
struct Capture {
  std::shared_ptr<Graph> graph;
  Stream *origin = nullptr;
  uint64_t id = 0;
  bool invalid = false;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
};

struct MemoryPool {
  int device = 0;
  std::map<int, uint64_t> attributes;
};

struct DeviceState {
  int ordinal = 0;
  const Chip *chip = nullptr;
  std::unique_ptr<Device> device; ///< made when the first context asks
  std::shared_ptr<Context> primary;
  unsigned primaryRefs = 0, primaryFlags = 0;
  CUmemoryPool pool = nullptr, defaultPool = nullptr;
};

struct Context {
  DeviceState *device = nullptr;
  unsigned flags = 0;
  bool primary = false, destroyed = false;
  unsigned long long id = 0;
  CUresult error = CUDA_SUCCESS; ///< sticky: of a kernel that failed
  std::string message;
  StreamRef legacy, perThread;
  std::map<CUlimit, size_t> limits;
  std::set<CUdeviceptr> allocations;     ///< live device and pinned memory, freed with the context
  std::map<void *, unsigned> registered; ///< cuMemHostRegister: flags
  std::map<void *, unsigned> pinned;     ///< cuMemHostAlloc: flags
};

/// Objects by handle. A handle is the object's address; a dead or foreign one is told apart by not being here.
template <typename T> class Table {
public:
  template <typename Handle> Handle add(std::shared_ptr<T> object) {
    void *key = object.get();
    objects[key] = std::move(object);
    return static_cast<Handle>(key);
  }
  std::shared_ptr<T> find(const void *handle) const {
    auto it = objects.find(const_cast<void *>(handle));
    return it == objects.end() ? nullptr : it->second;
  }
  bool erase(const void *handle) { return objects.erase(const_cast<void *>(handle)) != 0; }
  template <typename P> void eraseIf(P predicate) {
    std::erase_if(objects, [&](auto &entry) { return predicate(*entry.second); });
  }
  auto begin() { return objects.begin(); }
  auto end() { return objects.end(); }

private:
  std::map<void *, std::shared_ptr<T>> objects;
};

struct DriverState {
  std::mutex mutex;
  std::condition_variable changed; ///< work was queued or finished
  bool initialised = false;
  DriverOptions options;
  bool optionsSet = false;
  std::vector<std::unique_ptr<DeviceState>> devices;
  std::vector<LaunchRecord> records;
  std::atomic<bool> cancel{false};
  unsigned running = 0; ///< pieces of work being run now
  unsigned workers = 0; ///< threads of streams
  unsigned waiting = 0; ///< calls that wait for work
  uint64_t waits = 0;   ///< calls that have begun to wait
  unsigned long long nextId = 1;
  Table<Context> contexts;
  Table<Module> modules;
  Table<Function> functions;
  Table<Library> libraries;
  Table<Kernel> kernels;
  Table<Stream> streams;
  Table<Event> events;
  Table<Graph> graphs;
  Table<GraphExec> execs;
  Table<GraphNode> nodes;
  Table<MemoryPool> pools;
};

/// One a process, never destroyed: programs call the driver from static destructors.
DriverState &state();
using Lock = std::unique_lock<std::mutex>;

/// Sets the thread's message and returns `error`.
CUresult fail(CUresult error, std::string message);
CUresult fail(CUresult error, const Status &status);
/// CUresult for a Status of the core's memory or loader.
CUresult errorOf(const Status &status);

/// The thread's current context, or why there is none; a context's sticky error is its answer to everything.
struct Current {
  CUresult error = CUDA_SUCCESS;
  std::shared_ptr<Context> context;
};
Current current(Lock &lock);

/// What most calls begin with: the lock, the thread's current context, and the stream that a handle names. `error` says
/// why the call ends here.
struct Entered : Current {
  Entered();
  explicit Entered(CUstream handle);
  Lock lock;
  StreamRef stream;
};
#define VITRIFY_CU_ENTER(name, ...)                                                                                    \
  Entered name __VA_OPT__((__VA_ARGS__));                                                                              \
  if (name.error)                                                                                                      \
  return name.error
std::vector<std::shared_ptr<Context>> &contextStack();
DeviceMemory &memoryOf(Context &context);

/// The device whose memory holds the address.
DeviceState *deviceOfAddress(uint64_t address);

/// For as long as one lives, this thread's null stream is CU_STREAM_PER_THREAD.
class PerThreadDefault {
public:
  PerThreadDefault();
  ~PerThreadDefault();
  static bool active();
};
/// The stream of a handle: null is the default stream, CU_STREAM_LEGACY the context's one for all threads.
StreamRef streamOf(Context &context, CUstream handle);
/// Queues work: after all work of the stream, what the default stream's rule asks, and `more`.
TicketRef submit(Stream &stream, Work work, std::vector<TicketRef> more = {});
/// Waits without the lock until the ticket is done; then the context's sticky error.
CUresult wait(Lock &lock, Context &context, TicketRef ticket);
/// Waits for all streams of the context.
CUresult waitAll(Lock &lock, Context &context);
/// Keeps the first error for the context.
void setSticky(Context &context, CUresult error, std::string message);
void closeStream(Stream &stream);

/// Captures the node if the stream captures, else queues it.
CUresult issue(Context &context, Stream &stream, NodeRef node, TicketRef *ticket = nullptr);
NodeRef makeNode(CUgraphNodeType type);
/// A kernel node's parameters, checked and packed.
CUresult packKernelNode(Context &context, const CUDA_KERNEL_NODE_PARAMS &params, PreparedLaunch &launch);
/// Runs a node now, on this thread.
CUresult runNode(Context &context, const GraphNode &node);
/// The graph's nodes in an order that respects the edges; INVALID_VALUE for a cycle.
CUresult sortNodes(const Graph &graph, std::vector<GraphNode *> &order);
/// For calls that wait: a capturing stream's capture is made invalid.
CUresult refuseCapture(Stream &stream);
/// For calls that wait on, or work in, the default stream while a blocking stream of the context captures.
CUresult refuseImplicit(Context &context);
/// Whether a capture forbids allocation and the like in this thread.
bool unsafeCallForbidden();

/// Runs a launch now, on this thread, and keeps its record. The context's error is set by what it found.
CUresult runLaunch(Context &context, const PreparedLaunch &launch);
CUresult prepareLaunch(Context &context, CUfunction handle, const LaunchConfig &config, void **params, void **extra,
                       PreparedLaunch &prepared);
/// The function of a handle, which may also be a library's kernel.
CUresult functionOf(Context &context, CUfunction handle, std::shared_ptr<Function> &function);

/// A copy or a fill, checked when it is made and done when run.
CUresult checkCopy(const CUDA_MEMCPY3D &copy);
CUresult runCopy(const CUDA_MEMCPY3D &copy);
CUresult checkFill(const CUDA_MEMSET_NODE_PARAMS &fill);
CUresult runFill(const CUDA_MEMSET_NODE_PARAMS &fill);

/// The PTX of an image that the chip can run, parsed.
CUresult parseImage(const void *image, const Chip &chip, std::shared_ptr<const emulator::Module> &parsed);
CUresult loadModule(Context &context, std::shared_ptr<const emulator::Module> parsed, std::shared_ptr<Module> &module);
CUresult findFunction(Module &module, std::string_view name, std::shared_ptr<Function> &function);
/// The library's module in a context, loaded when first asked for.
CUresult libraryModule(Library &library, Context &context, std::shared_ptr<Module> &module);
CUresult functionAttribute(const Function &function, int attribute, int &value);
CUresult setFunctionAttribute(std::map<int, int> &attributes, const FunctionInfo *info, const Chip &chip, int attribute,
                              int value);
CUresult functionParam(const FunctionInfo &info, size_t index, size_t *offset, size_t *size);
CUresult moduleGlobal(Module &module, const char *name, CUdeviceptr *address, size_t *bytes);
/// A whole file, with at least one NUL behind it.
CUresult readImageFile(const char *path, std::string &bytes);
CUresult destroyContext(Lock &lock, const std::shared_ptr<Context> &context);
void finishLibraryModules(Context &context);

// Prototypes of the driver's functions.
extern "C" {
#define VITRIFY_CU(name, symbol, params) CUresult vitrifyEmulated_##name params;
#define VITRIFY_CU_OPTIONAL(name, symbol, params) CUresult vitrifyEmulated_##name params;
#include "vitrify/Runtime/CudaSymbols.def"
#define VITRIFY_CU_VERSION(name, symbol, from, until, params) CUresult vitrifyEmulatedVersion_##symbol params;
#include "VersionSymbols.def"
}

} // namespace vitrify::emulator::driver

/// Defines the driver's function `name`. The prefix keeps a program that links this library and NVIDIA's apart.
#define VITRIFY_CU_FUNCTION(name) extern "C" ::vitrify::cuda::CUresult vitrifyEmulated_##name
#define VITRIFY_CU_VERSION_FUNCTION(symbol) extern "C" ::vitrify::cuda::CUresult vitrifyEmulatedVersion_##symbol
