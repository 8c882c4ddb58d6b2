//===- Capture.cpp - stream capture of the emulated driver -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Captures begin and end, what joins them, and what they forbid meanwhile.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>

namespace vitrify::emulator::driver {
namespace {

thread_local CUstreamCaptureMode threadMode = CU_STREAM_CAPTURE_MODE_GLOBAL;

CUgraph handleOf(Graph &graph) { return reinterpret_cast<CUgraph>(&graph); }

} // namespace

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

} // namespace vitrify::emulator::driver
