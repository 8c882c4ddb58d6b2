//===- Graphs.cpp - graphs of the emulated driver ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Instances of graphs, their launches and updates. An instance runs its nodes one after
// another in an order that respects the edges.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>

namespace vitrify::emulator::driver {
namespace {

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
  if (CUresult error = packKernelNode(*now.context, *params, changed->launch))
    return error;
  it->node = std::move(changed);
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver
