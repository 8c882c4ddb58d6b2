//===- GraphNodes.cpp - graphs and their nodes, by hand ----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Graphs are made, cloned, given nodes and edges, and asked about them.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>

namespace vitrify::emulator::driver {
namespace {

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

} // namespace

NodeRef makeNode(CUgraphNodeType type) {
  auto node = std::make_shared<GraphNode>();
  node->type = type;
  return node;
}

CUresult packKernelNode(Context &context, const CUDA_KERNEL_NODE_PARAMS &params, PreparedLaunch &launch) {
  LaunchConfig config;
  config.grid = {params.gridDimX, params.gridDimY, params.gridDimZ};
  config.block = {params.blockDimX, params.blockDimY, params.blockDimZ};
  config.dynamicShared = params.sharedMemBytes;
  CUfunction function = params.func ? params.func : reinterpret_cast<CUfunction>(params.kern);
  return prepareLaunch(context, function, config, params.kernelParams, params.extra, launch);
}

static CUresult addEventNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count,
                             CUevent event, CUgraphNodeType type) {
  Lock lock(state().mutex);
  NodeRef node = makeNode(type);
  node->event = state().events.find(event);
  return node->event ? addNode(out, graph, dependencies, count, std::move(node)) : CUDA_ERROR_INVALID_HANDLE;
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
  if (CUresult error = packKernelNode(*now.context, *params, node->launch))
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
  if (CUresult error = packKernelNode(*now.context, *params, launch))
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

VITRIFY_CU_VERSION_FUNCTION(cuGraphAddEventRecordNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count, CUevent event) {
  return addEventNode(out, graph, dependencies, count, event, CU_GRAPH_NODE_TYPE_EVENT_RECORD);
}

VITRIFY_CU_VERSION_FUNCTION(cuGraphAddEventWaitNode)
(CUgraphNode *out, CUgraph graph, const CUgraphNode *dependencies, size_t count, CUevent event) {
  return addEventNode(out, graph, dependencies, count, event, CU_GRAPH_NODE_TYPE_WAIT_EVENT);
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

} // namespace vitrify::emulator::driver
