//===- Graphs.cpp - graphs of the emulated driver ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Graphs by hand and by capture, instances, launches and updates. An instance runs
// its nodes one after another in an order that respects the edges.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>

namespace vitrify::emulator::driver {
namespace {

thread_local CUstreamCaptureMode threadMode = CU_STREAM_CAPTURE_MODE_GLOBAL;

CUgraph handleOf(Graph &graph) { return reinterpret_cast<CUgraph>(&graph); }

/// Adds a node after checking its edges.
CUresult addNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *dependencies, size_t count, NodeRef node) {
  DriverState &s = state();
  auto graph = s.graphs.find(handle);
  if (!graph)
    return fail(CUDA_ERROR_INVALID_VALUE, "not a graph, or destroyed before");
  if (!out || (count && !dependencies))
    return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    auto before = s.nodes.find(dependencies[i]);
    if (!before || before->graph != graph.get() ||
        std::find(node->dependencies.begin(), node->dependencies.end(), before.get()) != node->dependencies.end())
      return fail(CUDA_ERROR_INVALID_VALUE, "dependency " + std::to_string(i) + " is no node of the graph, or double");
    node->dependencies.push_back(before.get());
  }
  node->graph = graph.get();
  *out = s.nodes.add<CUgraphNode>(node);
  graph->nodes.push_back(std::move(node));
  return CUDA_SUCCESS;
}

CUresult kernelNode(Context &context, const CUDA_KERNEL_NODE_PARAMS &params, PreparedLaunch &launch) {
  LaunchConfig config;
  config.grid = {params.gridDimX, params.gridDimY, params.gridDimZ};
  config.block = {params.blockDimX, params.blockDimY, params.blockDimZ};
  config.dynamicShared = params.sharedMemBytes;
  CUfunction function = params.func ? params.func : reinterpret_cast<CUfunction>(params.kern);
  return prepareLaunch(context, function, config, params.kernelParams, params.extra, launch);
}

NodeRef makeNode(CUgraphNodeType type) {
  auto node = std::make_shared<GraphNode>();
  node->type = type;
  return node;
}

CUresult instantiate(CUgraphExec *out, CUgraph handle) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  auto graph = s.graphs.find(handle);
  if (!graph || !out)
    return CUDA_ERROR_INVALID_VALUE;
  std::vector<GraphNode *> order;
  if (CUresult error = sortNodes(*graph, order))
    return error;
  auto exec = std::make_shared<GraphExec>();
  exec->context = now.context.get();
  for (GraphNode *node : order) {
    GraphExec::Node ready;
    ready.origin = node;
    ready.node = std::make_shared<GraphNode>(*node);
    for (GraphNode *before : node->dependencies)
      ready.after.push_back(size_t(std::find(order.begin(), order.end(), before) - order.begin()));
    std::sort(ready.after.begin(), ready.after.end());
    exec->nodes.push_back(std::move(ready));
  }
  *out = s.execs.add<CUgraphExec>(exec);
  return CUDA_SUCCESS;
}

/// Copies a list out as the query functions do: a count alone, or at most `*count` entries with nulls after the last.
template <typename Handle, typename List> CUresult listOut(const List &list, Handle *out, size_t *count) {
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  if (out)
    for (size_t i = 0; i < *count; ++i)
      out[i] = i < list.size() ? reinterpret_cast<Handle>(const_cast<GraphNode *>(&*list[i])) : nullptr;
  *count = out ? std::min(*count, list.size()) : list.size();
  return CUDA_SUCCESS;
}

/// Why `now` cannot take the place of `before` in an instance.
CUgraphExecUpdateResult difference(const GraphExec::Node &before, const GraphExec::Node &after) {
  if (before.node->type != after.node->type)
    return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
  if (before.after != after.after)
    return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  if (after.node->type == CU_GRAPH_NODE_TYPE_KERNEL &&
      &before.node->launch.module->device() != &after.node->launch.module->device())
    return CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED;
  if (after.node->type == CU_GRAPH_NODE_TYPE_GRAPH)
    return CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED;
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

} // namespace

CUresult sortNodes(const Graph &graph, std::vector<GraphNode *> &order) {
  // Nodes are made after what they depend on, unless an edge was added later; so this usually takes one round.
  std::set<const GraphNode *> done;
  while (order.size() < graph.nodes.size()) {
    size_t before = order.size();
    for (const NodeRef &node : graph.nodes)
      if (!done.count(node.get()) && std::all_of(node->dependencies.begin(), node->dependencies.end(),
                                                 [&](GraphNode *other) { return done.count(other) != 0; })) {
        done.insert(node.get());
        order.push_back(node.get());
      }
    if (order.size() == before)
      return fail(CUDA_ERROR_INVALID_VALUE, "the graph has a cycle");
  }
  return CUDA_SUCCESS;
}

CUresult refuseCapture(Stream &stream) {
  stream.capture->invalid = true;
  return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is capturing");
}

CUresult refuseImplicit(Context &context) {
  for (auto &[key, stream] : state().streams)
    if (stream->context == &context && stream->capture && stream->flags != CU_STREAM_NON_BLOCKING) {
      stream->capture->invalid = true;
      return fail(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "the default stream would wait for a stream that is capturing");
    }
  return CUDA_SUCCESS;
}

bool unsafeCallForbidden() {
  if (threadMode == CU_STREAM_CAPTURE_MODE_RELAXED)
    return false;
  for (auto &[key, stream] : state().streams) {
    if (!stream->capture || stream->capture->invalid)
      continue;
    const Capture &capture = *stream->capture;
    bool mine = capture.thread == std::this_thread::get_id();
    if (capture.mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        (mine || (capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL && threadMode == CU_STREAM_CAPTURE_MODE_GLOBAL)))
      return true;
  }
  return false;
}

VITRIFY_CU_FUNCTION(cuStreamBeginCapture)(CUstream handle, CUstreamCaptureMode mode) {
  VITRIFY_CU_ENTER(now, handle);
  DriverState &s = state();
  StreamRef &stream = now.stream;
  if (stream->legacy)
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot capture");
  if (stream->capture)
    return fail(CUDA_ERROR_ILLEGAL_STATE, "the stream is capturing");
  auto capture = std::make_shared<Capture>();
  capture->graph = std::make_shared<Graph>();
  capture->origin = stream.get();
  capture->id = s.nextId++;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  stream->capture = std::move(capture);
  stream->tail.clear();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamEndCapture)(CUstream handle, CUgraph *out) {
  VITRIFY_CU_ENTER(now, handle);
  DriverState &s = state();
  StreamRef &stream = now.stream;
  if (!out)
    return CUDA_ERROR_INVALID_VALUE;
  *out = nullptr;
  std::shared_ptr<Capture> capture = stream->capture;
  if (!capture)
    return fail(CUDA_ERROR_ILLEGAL_STATE, "the stream is not capturing");
  if (capture->origin != stream.get())
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id())
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  // Every other stream's newest node must lead to this one's.
  std::set<GraphNode *> reached(stream->tail.begin(), stream->tail.end());
  std::vector<GraphNode *> pending = stream->tail;
  while (!pending.empty()) {
    GraphNode *node = pending.back();
    pending.pop_back();
    for (GraphNode *before : node->dependencies)
      if (reached.insert(before).second)
        pending.push_back(before);
  }
  bool joined = true;
  auto leave = [&](Stream &other) {
    if (other.capture != capture)
      return;
    for (GraphNode *node : other.tail)
      joined &= reached.count(node) != 0;
    other.capture = nullptr;
    other.tail.clear();
  };
  for (auto &[key, other] : s.streams)
    leave(*other);
  leave(*now.context->perThread);
  for (auto &[key, event] : s.events)
    if (event->capture == capture) {
      event->capture = nullptr;
      event->captured.clear();
    }
  if (capture->invalid || !joined) {
    for (NodeRef &node : capture->graph->nodes)
      s.nodes.erase(node.get());
    return capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                            : fail(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "a stream that joined did not come back");
  }
  *out = s.graphs.add<CUgraph>(capture->graph);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamIsCapturing)(CUstream handle, CUstreamCaptureStatus *status) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!status)
    return CUDA_ERROR_INVALID_VALUE;
  *status = !stream->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
            : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                       : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamGetCaptureInfo)
(CUstream handle, CUstreamCaptureStatus *status, uint64_t *id, CUgraph *graph, const CUgraphNode **dependencies,
 size_t *count) {
  if (CUresult error = vitrifyEmulated_cuStreamIsCapturing(handle, status))
    return error;
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
    return CUDA_SUCCESS;
  Lock lock(state().mutex);
  StreamRef stream = streamOf(*contextStack().back(), handle);
  if (!stream || !stream->capture)
    return CUDA_ERROR_INVALID_HANDLE;
  if (id)
    *id = stream->capture->id;
  if (graph)
    *graph = handleOf(*stream->capture->graph);
  if (dependencies)
    *dependencies = reinterpret_cast<const CUgraphNode *>(stream->tail.data());
  if (count)
    *count = stream->tail.size();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuThreadExchangeStreamCaptureMode)(CUstreamCaptureMode *mode) {
  if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, threadMode);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphCreate)(CUgraph *out, unsigned flags) {
  Lock lock(state().mutex);
  if (!state().initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (!out || flags)
    return CUDA_ERROR_INVALID_VALUE;
  *out = state().graphs.add<CUgraph>(std::make_shared<Graph>());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphDestroy)(CUgraph handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  auto graph = s.graphs.find(handle);
  if (!graph)
    return CUDA_ERROR_INVALID_VALUE;
  for (NodeRef &node : graph->nodes)
    s.nodes.erase(node.get());
  s.graphs.erase(handle);
  return CUDA_SUCCESS;
}

static std::shared_ptr<Graph> cloneGraph(const Graph &original) {
  auto clone = std::make_shared<Graph>();
  std::map<const GraphNode *, GraphNode *> twins;
  for (const NodeRef &node : original.nodes) {
    auto twin = std::make_shared<GraphNode>(*node);
    twin->graph = clone.get();
    twins[node.get()] = twin.get();
    state().nodes.add<CUgraphNode>(twin);
    clone->nodes.push_back(std::move(twin));
  }
  for (NodeRef &twin : clone->nodes)
    for (GraphNode *&dependency : twin->dependencies)
      dependency = twins[dependency];
  return clone;
}

VITRIFY_CU_FUNCTION(cuGraphClone)(CUgraph *out, CUgraph handle) {
  Lock lock(state().mutex);
  auto graph = state().graphs.find(handle);
  if (!graph || !out)
    return CUDA_ERROR_INVALID_VALUE;
  *out = state().graphs.add<CUgraph>(cloneGraph(*graph));
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphAddKernelNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count,
 const CUDA_KERNEL_NODE_PARAMS *params) {
  VITRIFY_CU_ENTER(now);
  if (!params)
    return CUDA_ERROR_INVALID_VALUE;
  NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_KERNEL);
  if (CUresult error = kernelNode(*now.context, *params, node->launch))
    return error;
  return addNode(out, graph, dependencies, count, std::move(node));
}

VITRIFY_CU_FUNCTION(cuGraphKernelNodeGetParams)(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS *params) {
  Lock lock(state().mutex);
  auto node = state().nodes.find(handle);
  if (!node || node->type != CU_GRAPH_NODE_TYPE_KERNEL || !params)
    return CUDA_ERROR_INVALID_VALUE;
  PreparedLaunch &launch = node->launch;
  const FunctionInfo *info = launch.module->findKernel(launch.kernel);
  node->pointers.clear();
  for (const ParamInfo &param : info->params)
    node->pointers.push_back(&launch.params[param.offset]);
  *params = {launch.function,
             launch.config.grid.x,
             launch.config.grid.y,
             launch.config.grid.z,
             launch.config.block.x,
             launch.config.block.y,
             launch.config.block.z,
             launch.config.dynamicShared,
             node->pointers.data(),
             nullptr,
             nullptr,
             nullptr};
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphKernelNodeSetParams)(CUgraphNode handle, const CUDA_KERNEL_NODE_PARAMS *params) {
  VITRIFY_CU_ENTER(now);
  auto node = state().nodes.find(handle);
  if (!node || node->type != CU_GRAPH_NODE_TYPE_KERNEL || !params)
    return CUDA_ERROR_INVALID_VALUE;
  PreparedLaunch launch;
  if (CUresult error = kernelNode(*now.context, *params, launch))
    return error;
  node->launch = std::move(launch);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphAddMemcpyNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count, const CUDA_MEMCPY3D *copy,
 CUcontext context) {
  Lock lock(state().mutex);
  if (!copy || !state().contexts.find(context))
    return fail(CUDA_ERROR_INVALID_VALUE, "no copy, or no context");
  if (CUresult error = checkCopy(*copy))
    return error;
  NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_MEMCPY);
  node->copy = *copy;
  return addNode(out, graph, dependencies, count, std::move(node));
}

VITRIFY_CU_FUNCTION(cuGraphAddMemsetNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count, const CUDA_MEMSET_NODE_PARAMS *fill,
 CUcontext context) {
  Lock lock(state().mutex);
  if (!fill || !state().contexts.find(context))
    return fail(CUDA_ERROR_INVALID_VALUE, "no fill, or no context");
  if (CUresult error = checkFill(*fill))
    return error;
  NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_MEMSET);
  node->fill = *fill;
  return addNode(out, graph, dependencies, count, std::move(node));
}

VITRIFY_CU_FUNCTION(cuGraphAddHostNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count, const CUDA_HOST_NODE_PARAMS *params) {
  Lock lock(state().mutex);
  if (!params || !params->fn)
    return CUDA_ERROR_INVALID_VALUE;
  NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_HOST);
  node->host = *params;
  return addNode(out, graph, dependencies, count, std::move(node));
}

VITRIFY_CU_FUNCTION(cuGraphAddEmptyNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count) {
  Lock lock(state().mutex);
  return addNode(out, graph, dependencies, count, makeNode(CU_GRAPH_NODE_TYPE_EMPTY));
}

VITRIFY_CU_FUNCTION(cuGraphAddChildGraphNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count, CUgraph childHandle) {
  Lock lock(state().mutex);
  auto child = state().graphs.find(childHandle);
  if (!child || childHandle == graph)
    return CUDA_ERROR_INVALID_VALUE;
  NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_GRAPH);
  node->child = cloneGraph(*child);
  return addNode(out, graph, dependencies, count, std::move(node));
}

VITRIFY_CU_FUNCTION(cuGraphAddDependencies)
(CUgraph handle, const CUgraphNode *from, const CUgraphNode *to, size_t count) {
  DriverState &s = state();
  Lock lock(s.mutex);
  auto graph = s.graphs.find(handle);
  if (!graph || (count && (!from || !to)))
    return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    auto before = s.nodes.find(from[i]), after = s.nodes.find(to[i]);
    if (!before || !after || before->graph != graph.get() || after->graph != graph.get() || before == after)
      return fail(CUDA_ERROR_INVALID_VALUE, "edge " + std::to_string(i) + " is not between two nodes of the graph");
    auto &list = after->dependencies;
    if (std::find(list.begin(), list.end(), before.get()) != list.end())
      return fail(CUDA_ERROR_INVALID_VALUE, "edge " + std::to_string(i) + " exists");
    list.push_back(before.get());
  }
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphGetNodes)(CUgraph handle, CUgraphNode *nodes, size_t *count) {
  Lock lock(state().mutex);
  auto graph = state().graphs.find(handle);
  return graph ? listOut(graph->nodes, nodes, count) : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuGraphGetRootNodes)(CUgraph handle, CUgraphNode *nodes, size_t *count) {
  Lock lock(state().mutex);
  auto graph = state().graphs.find(handle);
  if (!graph)
    return CUDA_ERROR_INVALID_VALUE;
  std::vector<NodeRef> roots;
  for (const NodeRef &node : graph->nodes)
    if (node->dependencies.empty())
      roots.push_back(node);
  return listOut(roots, nodes, count);
}

VITRIFY_CU_FUNCTION(cuGraphGetEdges)(CUgraph handle, CUgraphNode *from, CUgraphNode *to, size_t *count) {
  Lock lock(state().mutex);
  auto graph = state().graphs.find(handle);
  if (!graph || !count || !from != !to)
    return CUDA_ERROR_INVALID_VALUE;
  std::vector<GraphNode *> sources, targets;
  for (const NodeRef &node : graph->nodes)
    for (GraphNode *before : node->dependencies) {
      sources.push_back(before);
      targets.push_back(node.get());
    }
  size_t room = *count;
  if (CUresult error = listOut(sources, from, count))
    return error;
  return listOut(targets, to, &room);
}

VITRIFY_CU_FUNCTION(cuGraphNodeGetType)(CUgraphNode handle, CUgraphNodeType *type) {
  Lock lock(state().mutex);
  auto node = state().nodes.find(handle);
  if (!node || !type)
    return CUDA_ERROR_INVALID_VALUE;
  *type = node->type;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphInstantiate)(CUgraphExec *exec, CUgraph graph, unsigned long long) {
  return instantiate(exec, graph);
}

VITRIFY_CU_FUNCTION(cuGraphLaunch)(CUgraphExec handle, CUstream streamHandle) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  auto exec = s.execs.find(handle);
  StreamRef stream = streamOf(*now.context, streamHandle);
  if (!exec || !stream)
    return CUDA_ERROR_INVALID_HANDLE;
  Context &context = *now.context;
  if (stream->capture) { // its nodes become one child graph of the capture
    NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_GRAPH);
    node->child = std::make_shared<Graph>();
    for (const GraphExec::Node &inner : exec->nodes) {
      auto twin = std::make_shared<GraphNode>(*inner.node);
      twin->dependencies.clear();
      for (size_t before : inner.after)
        twin->dependencies.push_back(node->child->nodes[before].get());
      node->child->nodes.push_back(std::move(twin));
    }
    return issue(context, *stream, std::move(node));
  }
  if (stream->legacy)
    if (CUresult error = refuseImplicit(context))
      return error;
  // The nodes as they are now: an update of the instance must not change a launch that is queued.
  std::vector<NodeRef> nodes;
  for (const GraphExec::Node &node : exec->nodes)
    nodes.push_back(node.node);
  submit(*stream, [&context, nodes = std::move(nodes)] {
    for (const NodeRef &node : nodes)
      if (CUresult error = runNode(context, *node))
        return error;
    return CUDA_SUCCESS;
  });
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphUpload)(CUgraphExec exec, CUstream) {
  Lock lock(state().mutex);
  return state().execs.find(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

VITRIFY_CU_FUNCTION(cuGraphExecDestroy)(CUgraphExec exec) {
  Lock lock(state().mutex);
  return state().execs.erase(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

VITRIFY_CU_FUNCTION(cuGraphExecUpdate)(CUgraphExec execHandle, CUgraph graphHandle, CUgraphExecUpdateResultInfo *info) {
  if (!info)
    return CUDA_ERROR_INVALID_VALUE;
  *info = {};
  CUgraphExec freshHandle = nullptr;
  if (CUresult error = instantiate(&freshHandle, graphHandle))
    return error;
  DriverState &s = state();
  Lock lock(s.mutex);
  auto fresh = s.execs.find(freshHandle);
  s.execs.erase(freshHandle);
  auto exec = s.execs.find(execHandle);
  if (!exec || !fresh)
    return CUDA_ERROR_INVALID_HANDLE;
  if (exec->nodes.size() != fresh->nodes.size())
    info->result = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  for (size_t i = 0; info->result == CU_GRAPH_EXEC_UPDATE_SUCCESS && i < exec->nodes.size(); ++i) {
    info->result = difference(exec->nodes[i], fresh->nodes[i]);
    if (info->result != CU_GRAPH_EXEC_UPDATE_SUCCESS)
      info->errorNode = reinterpret_cast<CUgraphNode>(const_cast<GraphNode *>(fresh->nodes[i].origin));
  }
  if (info->result != CU_GRAPH_EXEC_UPDATE_SUCCESS)
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  // Nodes keep the origin they were made from, so that cuGraphExecKernelNodeSetParams finds them.
  for (size_t i = 0; i < exec->nodes.size(); ++i)
    exec->nodes[i].node = fresh->nodes[i].node;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuGraphExecKernelNodeSetParams)
(CUgraphExec handle, CUgraphNode nodeHandle, const CUDA_KERNEL_NODE_PARAMS *params) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  auto exec = s.execs.find(handle);
  if (!exec)
    return CUDA_ERROR_INVALID_HANDLE;
  const auto *origin = reinterpret_cast<const GraphNode *>(nodeHandle);
  auto it = std::find_if(exec->nodes.begin(), exec->nodes.end(),
                         [&](const GraphExec::Node &node) { return node.origin == origin; });
  if (!params || it == exec->nodes.end() || it->node->type != CU_GRAPH_NODE_TYPE_KERNEL)
    return fail(CUDA_ERROR_INVALID_VALUE, "not a kernel node of the graph that the instance was made from");
  auto changed = std::make_shared<GraphNode>(*it->node);
  if (CUresult error = kernelNode(*now.context, *params, changed->launch))
    return error;
  it->node = std::move(changed);
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver
