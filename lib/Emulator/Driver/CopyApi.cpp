//===- CopyApi.cpp - copies and fills of the emulated driver -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Every form is one of two: a copy of rows, or a fill of rows. A call that must wait
// does its work in the default stream and waits for it.
//===----------------------------------------------------------------------===//
#include "State.h"

#include <cstring>

namespace vitrify::emulator::driver {
namespace {

CUDA_MEMCPY3D linear(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUmemorytype to, CUmemorytype from) {
  CUDA_MEMCPY3D copy{};
  copy.srcMemoryType = from;
  copy.dstMemoryType = to;
  copy.srcHost = reinterpret_cast<const void *>(src);
  copy.srcDevice = src;
  copy.dstHost = reinterpret_cast<void *>(dst);
  copy.dstDevice = dst;
  copy.WidthInBytes = bytes;
  copy.Height = copy.Depth = 1;
  return copy;
}

CUDA_MEMCPY3D planar(const CUDA_MEMCPY2D &flat) {
  CUDA_MEMCPY3D copy{};
  copy.srcXInBytes = flat.srcXInBytes;
  copy.srcY = flat.srcY;
  copy.srcMemoryType = flat.srcMemoryType;
  copy.srcHost = flat.srcHost;
  copy.srcDevice = flat.srcDevice;
  copy.srcPitch = flat.srcPitch;
  copy.dstXInBytes = flat.dstXInBytes;
  copy.dstY = flat.dstY;
  copy.dstMemoryType = flat.dstMemoryType;
  copy.dstHost = flat.dstHost;
  copy.dstDevice = flat.dstDevice;
  copy.dstPitch = flat.dstPitch;
  copy.WidthInBytes = flat.WidthInBytes;
  copy.Height = flat.Height;
  copy.Depth = 1;
  return copy;
}

/// Whether an end of a copy is ordinary host memory, which the driver must not touch after the call returns.
bool pageable(Context &context, uint64_t address, CUmemorytype type) {
  return type != CU_MEMORYTYPE_DEVICE && !deviceOfAddress(address) && !memoryOf(context).find(address);
}

/// Reads a pageable source now: the caller may change it when the call has returned.
void stage(GraphNode &node) {
  CUDA_MEMCPY3D &copy = node.copy;
  if (copy.Height != 1 || copy.Depth != 1 || copy.srcXInBytes || copy.srcY || copy.srcZ)
    return;
  const auto *bytes = static_cast<const uint8_t *>(
      copy.srcMemoryType == CU_MEMORYTYPE_HOST ? copy.srcHost : reinterpret_cast<const void *>(copy.srcDevice));
  node.staged.assign(bytes, bytes + copy.WidthInBytes);
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = node.staged.data();
}

CUresult doCopy(const CUDA_MEMCPY3D &copy, CUstream handle, bool synchronous) {
  VITRIFY_CU_ENTER(now);
  Context &context = *now.context;
  StreamRef stream = streamOf(context, handle);
  if (!stream)
    return CUDA_ERROR_INVALID_HANDLE;
  if (CUresult error = checkCopy(copy))
    return error;
  if (synchronous && unsafeCallForbidden())
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a copy that waits, while a stream is capturing");
  auto node = std::make_shared<GraphNode>();
  node->type = CU_GRAPH_NODE_TYPE_MEMCPY;
  node->copy = copy;
  uint64_t src = copy.srcMemoryType == CU_MEMORYTYPE_HOST ? reinterpret_cast<uint64_t>(copy.srcHost) : copy.srcDevice;
  uint64_t dst = copy.dstMemoryType == CU_MEMORYTYPE_HOST ? reinterpret_cast<uint64_t>(copy.dstHost) : copy.dstDevice;
  bool empty = !copy.WidthInBytes || !copy.Height || !copy.Depth;
  bool mustWait = synchronous;
  if (!stream->capture && !synchronous && !empty) {
    if (pageable(context, dst, copy.dstMemoryType))
      mustWait = true; // a copy to pageable memory returns when it is done
    else if (pageable(context, src, copy.srcMemoryType)) {
      stage(*node);
      mustWait = node->staged.empty();
    }
  }
  TicketRef ticket;
  if (CUresult error = issue(context, *stream, std::move(node), &ticket))
    return error;
  return mustWait && ticket ? wait(now.lock, context, ticket) : CUDA_SUCCESS;
}

CUresult doFill(const CUDA_MEMSET_NODE_PARAMS &fill, CUstream handle, bool synchronous) {
  VITRIFY_CU_ENTER(now, handle);
  StreamRef &stream = now.stream;
  if (CUresult error = checkFill(fill))
    return error;
  if (synchronous && unsafeCallForbidden())
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a fill that waits, while a stream is capturing");
  auto node = std::make_shared<GraphNode>();
  node->type = CU_GRAPH_NODE_TYPE_MEMSET;
  node->fill = fill;
  TicketRef ticket;
  if (CUresult error = issue(*now.context, *stream, std::move(node), &ticket))
    return error;
  return synchronous && ticket ? wait(now.lock, *now.context, ticket) : CUDA_SUCCESS;
}

constexpr CUmemorytype kHost = CU_MEMORYTYPE_HOST, kDevice = CU_MEMORYTYPE_DEVICE, kAny = CU_MEMORYTYPE_UNIFIED;

CUdeviceptr pointer(const void *p) { return reinterpret_cast<CUdeviceptr>(p); }

} // namespace

VITRIFY_CU_FUNCTION(cuMemcpy)(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
  return doCopy(linear(dst, src, bytes, kAny, kAny), nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemcpyAsync)(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
  return doCopy(linear(dst, src, bytes, kAny, kAny), stream, false);
}
VITRIFY_CU_FUNCTION(cuMemcpyHtoD)(CUdeviceptr dst, const void *src, size_t bytes) {
  return doCopy(linear(dst, pointer(src), bytes, kDevice, kHost), nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemcpyDtoH)(void *dst, CUdeviceptr src, size_t bytes) {
  return doCopy(linear(pointer(dst), src, bytes, kHost, kDevice), nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemcpyDtoD)(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
  return doCopy(linear(dst, src, bytes, kDevice, kDevice), nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemcpyHtoDAsync)(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
  return doCopy(linear(dst, pointer(src), bytes, kDevice, kHost), stream, false);
}
VITRIFY_CU_FUNCTION(cuMemcpyDtoHAsync)(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
  return doCopy(linear(pointer(dst), src, bytes, kHost, kDevice), stream, false);
}
VITRIFY_CU_FUNCTION(cuMemcpyDtoDAsync)(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
  return doCopy(linear(dst, src, bytes, kDevice, kDevice), stream, false);
}
VITRIFY_CU_FUNCTION(cuMemcpyPeer)(CUdeviceptr dst, CUcontext, CUdeviceptr src, CUcontext, size_t bytes) {
  return doCopy(linear(dst, src, bytes, kDevice, kDevice), nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemcpyPeerAsync)
(CUdeviceptr dst, CUcontext, CUdeviceptr src, CUcontext, size_t bytes, CUstream stream) {
  return doCopy(linear(dst, src, bytes, kDevice, kDevice), stream, false);
}
VITRIFY_CU_FUNCTION(cuMemcpy2D)(const CUDA_MEMCPY2D *copy) {
  return copy ? doCopy(planar(*copy), nullptr, true) : CUDA_ERROR_INVALID_VALUE;
}
VITRIFY_CU_FUNCTION(cuMemcpy2DUnaligned)(const CUDA_MEMCPY2D *copy) {
  return copy ? doCopy(planar(*copy), nullptr, true) : CUDA_ERROR_INVALID_VALUE;
}
VITRIFY_CU_FUNCTION(cuMemcpy2DAsync)(const CUDA_MEMCPY2D *copy, CUstream stream) {
  return copy ? doCopy(planar(*copy), stream, false) : CUDA_ERROR_INVALID_VALUE;
}
VITRIFY_CU_FUNCTION(cuMemcpy3D)(const CUDA_MEMCPY3D *copy) {
  return copy ? doCopy(*copy, nullptr, true) : CUDA_ERROR_INVALID_VALUE;
}
VITRIFY_CU_FUNCTION(cuMemcpy3DAsync)(const CUDA_MEMCPY3D *copy, CUstream stream) {
  return copy ? doCopy(*copy, stream, false) : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuMemsetD8)(CUdeviceptr dst, unsigned char value, size_t count) {
  return doFill({dst, 0, value, 1, count, 1}, nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemsetD16)(CUdeviceptr dst, unsigned short value, size_t count) {
  return doFill({dst, 0, value, 2, count, 1}, nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemsetD32)(CUdeviceptr dst, unsigned value, size_t count) {
  return doFill({dst, 0, value, 4, count, 1}, nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemsetD8Async)(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream) {
  return doFill({dst, 0, value, 1, count, 1}, stream, false);
}
VITRIFY_CU_FUNCTION(cuMemsetD16Async)(CUdeviceptr dst, unsigned short value, size_t count, CUstream stream) {
  return doFill({dst, 0, value, 2, count, 1}, stream, false);
}
VITRIFY_CU_FUNCTION(cuMemsetD32Async)(CUdeviceptr dst, unsigned value, size_t count, CUstream stream) {
  return doFill({dst, 0, value, 4, count, 1}, stream, false);
}
VITRIFY_CU_FUNCTION(cuMemsetD2D8)(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width, size_t height) {
  return doFill({dst, pitch, value, 1, width, height}, nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemsetD2D16)(CUdeviceptr dst, size_t pitch, unsigned short value, size_t width, size_t height) {
  return doFill({dst, pitch, value, 2, width, height}, nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemsetD2D32)(CUdeviceptr dst, size_t pitch, unsigned value, size_t width, size_t height) {
  return doFill({dst, pitch, value, 4, width, height}, nullptr, true);
}
VITRIFY_CU_FUNCTION(cuMemsetD2D8Async)
(CUdeviceptr dst, size_t pitch, unsigned char value, size_t width, size_t height, CUstream stream) {
  return doFill({dst, pitch, value, 1, width, height}, stream, false);
}
VITRIFY_CU_FUNCTION(cuMemsetD2D32Async)
(CUdeviceptr dst, size_t pitch, unsigned value, size_t width, size_t height, CUstream stream) {
  return doFill({dst, pitch, value, 4, width, height}, stream, false);
}

} // namespace vitrify::emulator::driver
