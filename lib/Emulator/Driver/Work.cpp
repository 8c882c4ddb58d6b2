//===- Work.cpp - what streams and graphs do -----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Copies and fills over any mix of host and device memory, and the one place where a
// piece of work is captured, queued or run.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>
#include <cstring>

namespace vitrify::emulator::driver {
namespace {

/// One side of a copy: its first byte and the distances between rows and slices.
struct Side {
  uint64_t address = 0;
  uint64_t pitch = 0, slice = 0;
  DeviceMemory *memory = nullptr; ///< null: host memory
};

Side sourceOf(const CUDA_MEMCPY3D &copy) {
  Side side;
  side.pitch = copy.srcPitch ? copy.srcPitch : copy.WidthInBytes;
  side.slice = side.pitch * (copy.srcHeight ? copy.srcHeight : copy.Height);
  uint64_t base = copy.srcMemoryType == CU_MEMORYTYPE_HOST ? reinterpret_cast<uint64_t>(copy.srcHost) : copy.srcDevice;
  side.address = base + copy.srcXInBytes + copy.srcY * side.pitch + copy.srcZ * side.slice;
  return side;
}

Side targetOf(const CUDA_MEMCPY3D &copy) {
  Side side;
  side.pitch = copy.dstPitch ? copy.dstPitch : copy.WidthInBytes;
  side.slice = side.pitch * (copy.dstHeight ? copy.dstHeight : copy.Height);
  uint64_t base = copy.dstMemoryType == CU_MEMORYTYPE_HOST ? reinterpret_cast<uint64_t>(copy.dstHost) : copy.dstDevice;
  side.address = base + copy.dstXInBytes + copy.dstY * side.pitch + copy.dstZ * side.slice;
  return side;
}

/// Finds whose memory a side lies in and checks all of it.
CUresult resolve(Side &side, const CUDA_MEMCPY3D &copy, CUmemorytype type, const char *what) {
  if (type != CU_MEMORYTYPE_HOST && type != CU_MEMORYTYPE_DEVICE && type != CU_MEMORYTYPE_UNIFIED)
    return fail(CUDA_ERROR_NOT_SUPPORTED, "copies to and from arrays are not emulated");
  if (!side.address)
    return fail(CUDA_ERROR_INVALID_VALUE, std::string(what) + " of a copy is null");
  if (copy.Height > 1 && side.pitch < copy.WidthInBytes)
    return fail(CUDA_ERROR_INVALID_VALUE, std::string(what) + " pitch " + std::to_string(side.pitch) +
                                              " is less than the width " + std::to_string(copy.WidthInBytes));
  uint64_t span = (copy.Depth - 1) * side.slice + (copy.Height - 1) * side.pitch + copy.WidthInBytes;
  if (DeviceState *device = deviceOfAddress(side.address)) {
    side.memory = &device->device->memory();
    if (Status status = side.memory->checkRange(side.address, span); !status.ok())
      return fail(CUDA_ERROR_INVALID_VALUE, status.prefixed(std::string(what) + " of a copy"));
    return CUDA_SUCCESS;
  }
  if (type != CU_MEMORYTYPE_DEVICE)
    return CUDA_SUCCESS;
  // A device address outside every device's range may still be registered host memory.
  for (auto &device : state().devices)
    if (device->device && device->device->memory().checkRange(side.address, span).ok())
      return CUDA_SUCCESS;
  return fail(CUDA_ERROR_INVALID_VALUE, std::string(what) + " of a copy is no device address");
}

Status copyRow(const Side &dst, uint64_t to, const Side &src, uint64_t from, uint64_t bytes) {
  if (dst.memory && dst.memory == src.memory)
    return dst.memory->copyWithin(to, from, bytes);
  if (dst.memory)
    return dst.memory->copyToDevice(to, reinterpret_cast<const void *>(from), bytes);
  if (src.memory)
    return src.memory->copyToHost(reinterpret_cast<void *>(to), from, bytes);
  std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
  return {};
}

CUresult resolveBoth(const CUDA_MEMCPY3D &copy, Side &src, Side &dst) {
  src = sourceOf(copy);
  dst = targetOf(copy);
  if (CUresult error = resolve(src, copy, copy.srcMemoryType, "source"))
    return error;
  return resolve(dst, copy, copy.dstMemoryType, "destination");
}

bool empty(const CUDA_MEMCPY3D &copy) { return !copy.WidthInBytes || !copy.Height || !copy.Depth; }

} // namespace

CUresult checkCopy(const CUDA_MEMCPY3D &copy) {
  Side src, dst;
  return empty(copy) ? CUDA_SUCCESS : resolveBoth(copy, src, dst);
}

CUresult runCopy(const CUDA_MEMCPY3D &copy) {
  if (empty(copy))
    return CUDA_SUCCESS;
  Side src, dst;
  {
    Lock lock(state().mutex);
    if (CUresult error = resolveBoth(copy, src, dst))
      return error;
  }
  bool dense = src.pitch == copy.WidthInBytes && dst.pitch == copy.WidthInBytes && src.slice == dst.slice &&
               (copy.Depth == 1 || src.slice == src.pitch * copy.Height);
  uint64_t rows = dense ? 1 : copy.Height * copy.Depth;
  uint64_t bytes = dense ? copy.WidthInBytes * copy.Height * copy.Depth : copy.WidthInBytes;
  for (uint64_t row = 0; row < rows; ++row) {
    uint64_t z = row / copy.Height, y = row % copy.Height;
    Status status = copyRow(dst, dst.address + z * dst.slice + y * dst.pitch, src,
                            src.address + z * src.slice + y * src.pitch, bytes);
    if (!status.ok())
      return fail(CUDA_ERROR_ILLEGAL_ADDRESS, status);
  }
  return CUDA_SUCCESS;
}

CUresult checkFill(const CUDA_MEMSET_NODE_PARAMS &fill) {
  if (fill.elementSize != 1 && fill.elementSize != 2 && fill.elementSize != 4)
    return fail(CUDA_ERROR_INVALID_VALUE,
                "element size of a fill: expected 1, 2 or 4, found " + std::to_string(fill.elementSize));
  if (!fill.width || !fill.height)
    return CUDA_SUCCESS;
  if (fill.dst % fill.elementSize || (fill.height > 1 && fill.pitch % fill.elementSize))
    return fail(CUDA_ERROR_INVALID_VALUE, "a fill that is not aligned to its elements");
  uint64_t row = fill.width * fill.elementSize;
  if (fill.height > 1 && fill.pitch < row)
    return fail(CUDA_ERROR_INVALID_VALUE, "a fill's pitch is less than its width");
  DeviceState *device = deviceOfAddress(fill.dst);
  if (!device)
    return fail(CUDA_ERROR_INVALID_VALUE, "destination of a fill is no device address");
  Status status = device->device->memory().checkRange(fill.dst, (fill.height - 1) * fill.pitch + row);
  return status.ok() ? CUDA_SUCCESS : fail(CUDA_ERROR_INVALID_VALUE, status.prefixed("destination of a fill"));
}

CUresult runFill(const CUDA_MEMSET_NODE_PARAMS &fill) {
  if (!fill.width || !fill.height)
    return CUDA_SUCCESS;
  DeviceMemory *memory = nullptr;
  {
    Lock lock(state().mutex);
    if (CUresult error = checkFill(fill))
      return error;
    memory = &deviceOfAddress(fill.dst)->device->memory();
  }
  for (size_t y = 0; y < fill.height; ++y)
    if (Status status = memory->fill(fill.dst + y * fill.pitch, fill.value, fill.elementSize, fill.width); !status.ok())
      return fail(CUDA_ERROR_ILLEGAL_ADDRESS, status);
  return CUDA_SUCCESS;
}

CUresult runNode(Context &context, const GraphNode &node) {
  switch (node.type) {
  case CU_GRAPH_NODE_TYPE_KERNEL: return runLaunch(context, node.launch);
  case CU_GRAPH_NODE_TYPE_MEMCPY: return runCopy(node.copy);
  case CU_GRAPH_NODE_TYPE_MEMSET: return runFill(node.fill);
  case CU_GRAPH_NODE_TYPE_HOST: node.host.fn(node.host.userData); return CUDA_SUCCESS;
  case CU_GRAPH_NODE_TYPE_GRAPH: {
    std::vector<GraphNode *> order;
    if (CUresult error = sortNodes(*node.child, order))
      return error;
    for (GraphNode *inner : order)
      if (CUresult error = runNode(context, *inner))
        return error;
    return CUDA_SUCCESS;
  }
  case CU_GRAPH_NODE_TYPE_EMPTY: return CUDA_SUCCESS;
  case CU_GRAPH_NODE_TYPE_EVENT_RECORD: {
    Lock lock(state().mutex);
    node.event->ticket = std::make_shared<Ticket>(Ticket{true, std::chrono::steady_clock::now()});
    state().changed.notify_all();
    return CUDA_SUCCESS;
  }
  case CU_GRAPH_NODE_TYPE_WAIT_EVENT: {
    Lock lock(state().mutex);
    if (TicketRef ticket = node.event->ticket)
      state().changed.wait(lock, [&] { return ticket->done || state().cancel; });
    return CUDA_SUCCESS;
  }
  }
  return fail(CUDA_ERROR_NOT_SUPPORTED, "graph node of type " + std::to_string(int(node.type)));
}

CUresult issue(Context &context, Stream &stream, NodeRef node, TicketRef *ticket) {
  if (stream.capture) {
    Capture &capture = *stream.capture;
    if (capture.invalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    node->dependencies = stream.tail;
    node->graph = capture.graph.get();
    stream.tail = {node.get()};
    state().nodes.add<CUgraphNode>(node);
    capture.graph->nodes.push_back(std::move(node));
    return CUDA_SUCCESS;
  }
  if (stream.legacy)
    if (CUresult error = refuseImplicit(context))
      return error;
  TicketRef made = submit(stream, [&context, node = std::move(node)] { return runNode(context, *node); });
  if (ticket)
    *ticket = std::move(made);
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver
