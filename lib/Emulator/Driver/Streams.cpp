//===- Streams.cpp - streams and events of the emulated driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Each stream has a thread that takes its work in order; work also waits for the
// tickets it names, which is how events and the default stream's rule are kept.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <algorithm>

namespace vitrify::emulator::driver {
namespace {

/// Flag of cuEventRecordWithFlags and cuStreamWaitEvent in a capture: a node of the graph.
constexpr unsigned kExternalEvent = 1;

bool ready(const QueuedWork &item) {
  return std::all_of(item.after.begin(), item.after.end(), [](const TicketRef &ticket) { return ticket->done; });
}

void workLoop(StreamRef stream) {
  DriverState &s = state();
  Lock lock(s.mutex);
  for (;;) {
    s.changed.wait(lock, [&] { return stream->queue.empty() ? stream->closing : ready(stream->queue.front()); });
    if (stream->queue.empty()) {
      stream->hasWorker = false;
      --s.workers;
      return;
    }
    QueuedWork item = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (item.work && stream->context->error == CUDA_SUCCESS && !s.cancel) {
      ++s.running;
      lock.unlock();
      CUresult result = item.work();
      std::string message = driverMessage();
      item.work = nullptr;
      lock.lock();
      --s.running;
      setSticky(*stream->context, result, std::move(message));
    }
    item.ticket->done = true;
    item.ticket->when = std::chrono::steady_clock::now();
    s.changed.notify_all();
  }
}

CUresult makeStream(CUstream *out, unsigned flags, int priority) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  if (!out || flags > CU_STREAM_NON_BLOCKING)
    return CUDA_ERROR_INVALID_VALUE;
  auto stream = std::make_shared<Stream>();
  stream->context = now.context.get();
  stream->flags = flags;
  stream->priority = std::clamp(priority, -5, 0);
  stream->id = s.nextId++;
  *out = s.streams.add<CUstream>(stream);
  return CUDA_SUCCESS;
}

} // namespace

static thread_local unsigned perThreadDepth = 0;
PerThreadDefault::PerThreadDefault() { ++perThreadDepth; }
PerThreadDefault::~PerThreadDefault() { --perThreadDepth; }
bool PerThreadDefault::active() { return perThreadDepth != 0; }

StreamRef streamOf(Context &context, CUstream handle) {
  if (handle == CU_STREAM_LEGACY || (!handle && !PerThreadDefault::active()))
    return context.legacy;
  if (!handle || handle == CU_STREAM_PER_THREAD)
    return context.perThread;
  return state().streams.find(handle);
}

TicketRef submit(Stream &stream, Work work, std::vector<TicketRef> more) {
  DriverState &s = state();
  Context &context = *stream.context;
  auto wants = [&](const StreamRef &other) {
    if (other.get() != &stream && other->context == &context && other->flags != CU_STREAM_NON_BLOCKING && other->last &&
        !other->last->done)
      more.push_back(other->last);
  };
  if (stream.legacy) {
    for (auto &[key, other] : s.streams)
      wants(other);
    wants(context.perThread);
  } else if (stream.flags != CU_STREAM_NON_BLOCKING) {
    wants(context.legacy);
  }
  auto ticket = std::make_shared<Ticket>();
  stream.queue.push_back({std::move(work), std::move(more), ticket});
  stream.last = ticket;
  if (!stream.hasWorker) {
    StreamRef self = &stream == context.legacy.get()      ? context.legacy
                     : &stream == context.perThread.get() ? context.perThread
                                                          : s.streams.find(&stream);
    stream.hasWorker = true;
    ++s.workers;
    std::thread(workLoop, std::move(self)).detach();
  }
  s.changed.notify_all();
  return ticket;
}

CUresult wait(Lock &lock, Context &context, TicketRef ticket) {
  if (ticket) {
    DriverState &s = state();
    ++s.waiting;
    ++s.waits;
    s.changed.wait(lock, [&] { return ticket->done; });
    --s.waiting;
  }
  return context.error ? fail(context.error, context.message) : CUDA_SUCCESS;
}

CUresult waitAll(Lock &lock, Context &context) {
  std::vector<TicketRef> tickets = {context.legacy->last, context.perThread->last};
  for (auto &[key, stream] : state().streams)
    if (stream->context == &context)
      tickets.push_back(stream->last);
  for (TicketRef &ticket : tickets)
    (void)wait(lock, context, ticket);
  return context.error ? fail(context.error, context.message) : CUDA_SUCCESS;
}

void closeStream(Stream &stream) {
  stream.closing = true;
  state().changed.notify_all();
}

VITRIFY_CU_FUNCTION(cuStreamCreate)(CUstream *stream, unsigned flags) { return makeStream(stream, flags, 0); }

VITRIFY_CU_FUNCTION(cuStreamCreateWithPriority)(CUstream *stream, unsigned flags, int priority) {
  return makeStream(stream, flags, priority);
}

VITRIFY_CU_FUNCTION(cuStreamDestroy)(CUstream handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  auto stream = s.streams.find(handle);
  if (!stream)
    return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture)
    stream->capture->invalid = true;
  // Queued work still runs; the worker leaves when there is none. The default stream must still wait for it.
  Stream &legacy = *stream->context->legacy;
  if (stream->last && !stream->last->done && stream->flags != CU_STREAM_NON_BLOCKING)
    submit(legacy, nullptr, {stream->last});
  closeStream(*stream);
  s.streams.erase(handle);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamSynchronize)(CUstream handle) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (stream->capture)
    return refuseCapture(*stream);
  if (stream->legacy) {
    if (CUresult error = refuseImplicit(*now.context))
      return error;
    return wait(now.lock, *now.context, submit(*stream, nullptr));
  }
  return wait(now.lock, *now.context, stream->last);
}

VITRIFY_CU_FUNCTION(cuStreamQuery)(CUstream handle) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (stream->capture)
    return refuseCapture(*stream);
  if (stream->legacy)
    if (CUresult error = refuseImplicit(*now.context))
      return error;
  return stream->last && !stream->last->done ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamWaitEvent)(CUstream handle, CUevent eventHandle, unsigned flags) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  auto event = state().events.find(eventHandle);
  if (!event)
    return CUDA_ERROR_INVALID_HANDLE;
  if (flags > kExternalEvent)
    return CUDA_ERROR_INVALID_VALUE;
  if (flags) { // a node that waits when the graph runs
    if (!stream->capture)
      return fail(CUDA_ERROR_ILLEGAL_STATE, "an external wait belongs to a stream that is capturing");
    NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_WAIT_EVENT);
    node->event = event;
    return issue(*now.context, *stream, std::move(node));
  }
  if (event->capture) {
    if (event->capture->invalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->legacy)
      return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    if (stream->capture && stream->capture != event->capture) {
      stream->capture->invalid = event->capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (!stream->capture) { // the stream joins
      stream->capture = event->capture;
      stream->tail.clear();
    }
    for (GraphNode *node : event->captured)
      if (std::find(stream->tail.begin(), stream->tail.end(), node) == stream->tail.end())
        stream->tail.push_back(node);
    return CUDA_SUCCESS;
  }
  if (stream->capture) {
    if (!event->ticket)
      return CUDA_SUCCESS;
    stream->capture->invalid = true;
    return fail(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "the event was recorded outside the capture");
  }
  if (event->ticket && !event->ticket->done)
    submit(*stream, nullptr, {event->ticket});
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuLaunchHostFunc)(CUstream handle, CUhostFn function, void *userData) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!function)
    return CUDA_ERROR_INVALID_VALUE;
  auto node = std::make_shared<GraphNode>();
  node->type = CU_GRAPH_NODE_TYPE_HOST;
  node->host = {function, userData};
  return issue(*now.context, *stream, std::move(node));
}

VITRIFY_CU_FUNCTION(cuStreamAddCallback)(CUstream handle, CUstreamCallback callback, void *userData, unsigned flags) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!callback || flags)
    return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture)
    return refuseCapture(*stream);
  submit(*stream, [=] {
    callback(handle, CUDA_SUCCESS, userData);
    return CUDA_SUCCESS;
  });
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamGetCtx)(CUstream handle, CUcontext *context) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!context)
    return CUDA_ERROR_INVALID_VALUE;
  *context = reinterpret_cast<CUcontext>(stream->context);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamGetFlags)(CUstream handle, unsigned *flags) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!flags)
    return CUDA_ERROR_INVALID_VALUE;
  *flags = stream->flags;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamGetPriority)(CUstream handle, int *priority) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!priority)
    return CUDA_ERROR_INVALID_VALUE;
  *priority = stream->priority;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuStreamGetId)(CUstream handle, unsigned long long *id) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (!id)
    return CUDA_ERROR_INVALID_VALUE;
  *id = stream->id;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuEventCreate)(CUevent *out, unsigned flags) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  if (!out || (flags & ~7u))
    return CUDA_ERROR_INVALID_VALUE;
  auto event = std::make_shared<Event>();
  event->context = now.context.get();
  event->flags = flags;
  *out = s.events.add<CUevent>(event);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuEventDestroy)(CUevent handle) {
  Lock lock(state().mutex);
  return state().events.erase(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

VITRIFY_CU_FUNCTION(cuEventRecord)(CUevent eventHandle, CUstream handle) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  auto event = state().events.find(eventHandle);
  if (!event || event->context != stream->context)
    return fail(CUDA_ERROR_INVALID_HANDLE, "not an event of the stream's context");
  if (stream->capture) {
    if (stream->capture->invalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    event->capture = stream->capture;
    event->captured = stream->tail;
    return CUDA_SUCCESS;
  }
  if (stream->legacy)
    if (CUresult error = refuseImplicit(*now.context))
      return error;
  event->capture = nullptr;
  event->captured.clear();
  event->ticket = submit(*stream, nullptr);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuEventRecordWithFlags)(CUevent event, CUstream stream, unsigned flags) {
  if (!flags)
    return vitrifyEmulated_cuEventRecord(event, stream);
  if (flags != kExternalEvent)
    return CUDA_ERROR_INVALID_VALUE;
  VITRIFY_CU_ENTER(now, stream);
  NodeRef node = makeNode(CU_GRAPH_NODE_TYPE_EVENT_RECORD);
  node->event = state().events.find(event);
  if (!node->event)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!now.stream->capture)
    return fail(CUDA_ERROR_ILLEGAL_STATE, "an external record belongs to a stream that is capturing");
  return issue(*now.context, *now.stream, std::move(node));
}

/// A live event that is not part of a capture.
static CUresult findEvent(CUevent handle, std::shared_ptr<Event> &event) {
  event = state().events.find(handle);
  if (!event)
    return CUDA_ERROR_INVALID_HANDLE;
  return event->capture ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuEventQuery)(CUevent handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Event> event;
  if (CUresult error = findEvent(handle, event))
    return error;
  if (event->context->error)
    return event->context->error;
  return event->ticket && !event->ticket->done ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuEventSynchronize)(CUevent handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Event> event;
  if (CUresult error = findEvent(handle, event))
    return error;
  return wait(lock, *event->context, event->ticket);
}

VITRIFY_CU_FUNCTION(cuEventElapsedTime)(float *milliseconds, CUevent startHandle, CUevent endHandle) {
  Lock lock(state().mutex);
  std::shared_ptr<Event> start, end;
  if (CUresult error = findEvent(startHandle, start))
    return error;
  if (CUresult error = findEvent(endHandle, end))
    return error;
  if (!milliseconds)
    return CUDA_ERROR_INVALID_VALUE;
  if (!start->ticket || !end->ticket || ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING))
    return fail(CUDA_ERROR_INVALID_HANDLE, "an event that was not recorded, or keeps no time");
  if (!start->ticket->done || !end->ticket->done)
    return CUDA_ERROR_NOT_READY;
  *milliseconds = std::chrono::duration<float, std::milli>(end->ticket->when - start->ticket->when).count();
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver
