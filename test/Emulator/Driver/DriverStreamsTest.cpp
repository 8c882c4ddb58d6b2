//===- DriverStreamsTest.cpp - launches, streams, events and graphs of the driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Order of work across streams, what a capture takes and refuses, and errors that stay.
//===----------------------------------------------------------------------===//
#include "DriverFixture.h"

#include <atomic>
#include <thread>

namespace vitrify::emulator {
namespace {

TEST_F(DriverTest, LaunchesCheckTheirShape) {
  CUdeviceptr x = floats(std::vector<float>(64, 1));
  ASSERT_CU(add(x, 2, 64));
  EXPECT_EQ(read(x, 64), std::vector<float>(64, 3));
  float a = 1;
  uint32_t n = 64;
  void *params[] = {&x, &a, &n};
  CUfunction f = kernel("add");
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 0, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 1025, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 65536, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE,
            cu.cuLaunchKernel(kernel("limited"), 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE,
            cu.cuLaunchKernel(reinterpret_cast<CUfunction>(&a), 1, 1, 1, 32, 1, 1, 0, nullptr, params, nullptr));
  // The context is as good as before.
  EXPECT_CU(CUDA_SUCCESS, cu.cuCtxSynchronize());
}

TEST_F(DriverTest, ParametersAsOneBuffer) {
  CUdeviceptr x = floats({1, 2});
  struct {
    CUdeviceptr x;
    float a;
    uint32_t n;
  } packed = {x, 10, 2};
  size_t size = sizeof packed;
  void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
  ASSERT_CU(cu.cuLaunchKernel(kernel("add"), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra));
  EXPECT_EQ(read(x, 2), (std::vector<float>{11, 12}));
  size = 8;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuLaunchKernel(kernel("add"), 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, extra));
}

TEST_F(DriverTest, DynamicSharedMemoryNeedsTheAttributeAbove48K) {
  CUdeviceptr out = floats(std::vector<float>(1024, 0));
  void *params[] = {&out};
  CUfunction f = kernel("shared");
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE,
            cu.cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, (48 << 10) + 16, nullptr, params, nullptr));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE,
            cu.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1 << 20));
  ASSERT_CU(cu.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 64 << 10));
  ASSERT_CU(cu.cuLaunchKernel(f, 1, 1, 1, 256, 1, 1, (48 << 10) + 16, nullptr, params, nullptr));
  std::vector<float> back = read(out, 256);
  uint32_t last;
  memcpy(&last, &back[255], 4);
  EXPECT_EQ(last, 255u);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_NUM_REGS, 8)); // read only
}

TEST_F(DriverTest, ExtendedLaunchesTakeAttributes) {
  CUdeviceptr x = floats({1});
  float a = 1;
  uint32_t n = 1;
  void *params[] = {&x, &a, &n};
  CUlaunchAttribute attributes[2] = {};
  attributes[0].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  attributes[0].value.cooperative = 1;
  attributes[1].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attributes[1].value.clusterDim = {1, 1, 1};
  CUlaunchConfig config{1, 1, 1, 32, 1, 1, 0, nullptr, attributes, 2};
  ASSERT_CU(cu.cuLaunchKernelEx(&config, kernel("add"), params, nullptr));
  EXPECT_EQ(read(x, 1), std::vector<float>{2});
  config.gridDimX = 1u << 20;
  EXPECT_CU(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, cu.cuLaunchKernelEx(&config, kernel("add"), params, nullptr));
  config.gridDimX = 2;
  attributes[1].value.clusterDim = {2, 1, 1};
  EXPECT_CU(CUDA_ERROR_INVALID_CLUSTER_SIZE, cu.cuLaunchKernelEx(&config, kernel("add"), params, nullptr));
}

TEST_F(DriverTest, OccupancyAgreesWithTheChip) {
  int blocks = 0;
  ASSERT_CU(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel("add"), 1024, 0));
  EXPECT_EQ(blocks, 1); // 1536 threads an SM
  ASSERT_CU(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel("add"), 32, 0));
  EXPECT_EQ(blocks, 24);
  ASSERT_CU(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel("shared"), 32, 40 << 10));
  EXPECT_EQ(blocks, 2); // 100 KiB an SM, 1 KiB kept for each block
  int grid = 0, size = 0;
  ASSERT_CU(cu.cuOccupancyMaxPotentialBlockSize(&grid, &size, kernel("add"), nullptr, 0, 0));
  EXPECT_EQ(1536 % size, 0);
  EXPECT_EQ(grid, 1536 / size * (*findChip("sm_89"))->smCount);
  size_t bytes = 0;
  ASSERT_CU(cu.cuOccupancyAvailableDynamicSMemPerBlock(&bytes, kernel("shared"), 2, 32));
  EXPECT_EQ(bytes, size_t(49) << 10);
}

TEST_F(DriverTest, WorkOfAStreamIsInOrder) {
  CUstream stream = nullptr;
  ASSERT_CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUdeviceptr x = floats({0});
  std::vector<float> seen(3, -1);
  static std::atomic<int> calls;
  calls = 0;
  ASSERT_CU(add(x, 1, 1, stream));
  float host = 40;
  ASSERT_CU(cu.cuMemcpyHtoDAsync(x, &host, 4, stream)); // staged: may change now
  host = -1;
  ASSERT_CU(add(x, 2, 1, stream));
  ASSERT_CU(cu.cuLaunchHostFunc(
      stream, [](void *) { ++calls; }, nullptr));
  ASSERT_CU(cu.cuMemcpyDtoHAsync(&seen[0], x, 4, stream));
  ASSERT_CU(cu.cuStreamSynchronize(stream));
  EXPECT_EQ(seen[0], 42);
  EXPECT_EQ(calls, 1);
  EXPECT_CU(CUDA_SUCCESS, cu.cuStreamQuery(stream));
  ASSERT_CU(cu.cuStreamDestroy(stream));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cu.cuStreamSynchronize(stream));
}

/// A flag in pinned memory that a kernel waits for, so that a stream is busy for as long as the test wants.
struct Gate {
  uint32_t *flag = nullptr;
  CUdeviceptr address = 0;
  explicit Gate(const CudaApi &cu) {
    void *pointer = nullptr;
    EXPECT_CU(CUDA_SUCCESS, cu.cuMemAllocHost(&pointer, 4));
    flag = static_cast<uint32_t *>(pointer);
    *flag = 0;
    EXPECT_CU(CUDA_SUCCESS, cu.cuMemHostGetDevicePointer(&address, pointer, 0));
  }
  void open() { __atomic_store_n(flag, 1u, __ATOMIC_RELEASE); }
};

TEST_F(DriverTest, EventsOrderStreams) {
  CUstream first = nullptr, second = nullptr;
  CUevent event = nullptr, late = nullptr;
  ASSERT_CU(cu.cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuEventCreate(&event, CU_EVENT_DEFAULT));
  ASSERT_CU(cu.cuEventCreate(&late, CU_EVENT_DEFAULT));
  CUdeviceptr x = floats({5});
  Gate gate(cu);
  void *params[] = {&gate.address};
  ASSERT_CU(cu.cuLaunchKernel(kernel("spin"), 1, 1, 1, 1, 1, 1, 0, first, params, nullptr));
  ASSERT_CU(add(x, 1, 1, first));
  ASSERT_CU(cu.cuEventRecord(event, first));
  ASSERT_CU(cu.cuStreamWaitEvent(second, event, 0));
  ASSERT_CU(add(x, 10, 1, second));
  ASSERT_CU(cu.cuEventRecord(late, second));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cu.cuEventQuery(event));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(second));
  float milliseconds = -1;
  EXPECT_CU(CUDA_ERROR_NOT_READY, cu.cuEventElapsedTime(&milliseconds, event, late));
  gate.open();
  ASSERT_CU(cu.cuEventSynchronize(late));
  EXPECT_EQ(read(x, 1), std::vector<float>{16});
  ASSERT_CU(cu.cuEventElapsedTime(&milliseconds, event, late));
  EXPECT_GE(milliseconds, 0);
  ASSERT_CU(cu.cuEventDestroy(event));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cu.cuEventQuery(event));
}

TEST_F(DriverTest, TheDefaultStreamWaitsForBlockingStreams) {
  CUstream blocking = nullptr, free = nullptr;
  ASSERT_CU(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  ASSERT_CU(cu.cuStreamCreate(&free, CU_STREAM_NON_BLOCKING));
  CUdeviceptr x = floats({1}), y = floats({1});
  Gate gate(cu);
  void *params[] = {&gate.address};
  ASSERT_CU(cu.cuLaunchKernel(kernel("spin"), 1, 1, 1, 1, 1, 1, 0, blocking, params, nullptr));
  ASSERT_CU(add(x, 1, 1, nullptr)); // behind the blocking stream
  ASSERT_CU(add(y, 1, 1, free));    // beside it
  ASSERT_CU(cu.cuStreamSynchronize(free));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(nullptr));
  gate.open();
  EXPECT_EQ(read(x, 1), std::vector<float>{2});
  EXPECT_EQ(read(y, 1), std::vector<float>{2});
}

TEST_F(DriverTest, FaultsStayWithTheContext) {
  CUdeviceptr x = floats({1});
  ASSERT_CU(poke(x + 64)); // past the end
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuCtxSynchronize());
  auto records = takeLaunchRecords();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].kernel, "poke");
  ASSERT_FALSE(records[0].result.reports.empty());
  EXPECT_EQ(records[0].result.reports[0].kind, FaultKind::OutOfBounds);
  CUdeviceptr y = 0;
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuMemAlloc(&y, 4));
  float host;
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuMemcpyDtoH(&host, x, 4));
  // A new context starts clean.
  ASSERT_CU(cu.cuCtxDestroy(context));
  ASSERT_CU(cu.cuCtxCreate(&context, 0, 0));
  ASSERT_CU(cu.cuModuleLoadData(&module, kTestPtx));
  x = floats({1});
  ASSERT_CU(add(x, 1, 1));
  EXPECT_EQ(read(x, 1), std::vector<float>{2});
}

TEST_F(DriverTest, MisalignedAndFreedAddresses) {
  CUdeviceptr x = floats({1, 2});
  ASSERT_CU(poke(x + 2));
  EXPECT_CU(CUDA_ERROR_MISALIGNED_ADDRESS, cu.cuCtxSynchronize());
  ASSERT_CU(cu.cuCtxDestroy(context));
  ASSERT_CU(cu.cuCtxCreate(&context, 0, 0));
  ASSERT_CU(cu.cuModuleLoadData(&module, kTestPtx));
  x = floats({1, 2});
  ASSERT_CU(cu.cuMemFree(x));
  takeLaunchRecords();
  ASSERT_CU(poke(x));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cu.cuCtxSynchronize());
  auto records = takeLaunchRecords();
  ASSERT_EQ(records.size(), 1u);
  ASSERT_FALSE(records[0].result.reports.empty());
  EXPECT_EQ(records[0].result.reports[0].kind, FaultKind::UseAfterFree);
}

TEST_F(DriverTest, AsyncMemoryFollowsItsStream) {
  CUstream stream = nullptr;
  ASSERT_CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CUdeviceptr x = 0;
  ASSERT_CU(cu.cuMemAllocAsync(&x, 4, stream));
  ASSERT_CU(cu.cuMemsetD32Async(x, 0x40000000, 1, stream)); // 2.0f
  ASSERT_CU(add(x, 1, 1, stream));
  float value = 0;
  ASSERT_CU(cu.cuMemcpyDtoHAsync(&value, x, 4, stream));
  ASSERT_CU(cu.cuMemFreeAsync(x, stream));
  ASSERT_CU(cu.cuStreamSynchronize(stream));
  EXPECT_EQ(value, 3);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuMemFreeAsync(x, stream));
}

TEST_F(DriverTest, CapturedGraphsRunAgain) {
  CUstream main = nullptr, side = nullptr;
  CUevent fork = nullptr, join = nullptr;
  ASSERT_CU(cu.cuStreamCreate(&main, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
  ASSERT_CU(cu.cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
  CUdeviceptr x = floats({0}), y = floats({0});
  ASSERT_CU(cu.cuStreamBeginCapture(main, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  ASSERT_CU(add(x, 1, 1, main));
  ASSERT_CU(cu.cuEventRecord(fork, main));
  ASSERT_CU(cu.cuStreamWaitEvent(side, fork, 0));
  ASSERT_CU(add(y, 10, 1, side));
  ASSERT_CU(add(x, 2, 1, main));
  ASSERT_CU(cu.cuEventRecord(join, side));
  ASSERT_CU(cu.cuStreamWaitEvent(main, join, 0));
  ASSERT_CU(cu.cuMemcpyDtoDAsync(y, x, 4, main));
  CUstreamCaptureStatus status{};
  ASSERT_CU(cu.cuStreamIsCapturing(side, &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CUgraph graph = nullptr;
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cu.cuStreamEndCapture(side, &graph));
  ASSERT_CU(cu.cuStreamEndCapture(main, &graph));
  EXPECT_EQ(read(x, 1), std::vector<float>{0}); // nothing ran yet
  size_t nodes = 0, edges = 0;
  ASSERT_CU(cu.cuGraphGetNodes(graph, nullptr, &nodes));
  EXPECT_EQ(nodes, 4u);
  ASSERT_CU(cu.cuGraphGetEdges(graph, nullptr, nullptr, &edges));
  EXPECT_EQ(edges, 4u);
  CUgraphExec exec = nullptr;
  ASSERT_CU(cu.cuGraphInstantiate(&exec, graph, 0));
  ASSERT_CU(cu.cuGraphDestroy(graph));
  for (int i = 1; i <= 3; ++i) {
    ASSERT_CU(cu.cuGraphLaunch(exec, main));
    ASSERT_CU(cu.cuStreamSynchronize(main));
    EXPECT_EQ(read(y, 1), std::vector<float>{3.0f * float(i)});
  }
  ASSERT_CU(cu.cuGraphExecDestroy(exec));
  EXPECT_CU(CUDA_ERROR_INVALID_HANDLE, cu.cuGraphLaunch(exec, main));
}

TEST_F(DriverTest, CaptureRefusesWhatCannotBeCaptured) {
  CUstream main = nullptr, side = nullptr, blocking = nullptr;
  CUevent event = nullptr;
  CUgraph graph = nullptr;
  ASSERT_CU(cu.cuStreamCreate(&main, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuStreamCreate(&side, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  ASSERT_CU(cu.cuEventCreate(&event, 0));
  CUdeviceptr x = floats({0});
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.cuStreamBeginCapture(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_STATE, cu.cuStreamEndCapture(main, &graph));

  // A wait makes the capture invalid.
  ASSERT_CU(cu.cuStreamBeginCapture(main, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CUdeviceptr y = 0;
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.cuMemAlloc(&y, 4));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cu.cuStreamSynchronize(main));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, add(x, 1, 1, main));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cu.cuStreamEndCapture(main, &graph));
  EXPECT_EQ(graph, nullptr);

  // A stream that joined must come back.
  ASSERT_CU(cu.cuStreamBeginCapture(main, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  ASSERT_CU(add(x, 1, 1, main));
  ASSERT_CU(cu.cuEventRecord(event, main));
  EXPECT_CU(CUDA_ERROR_CAPTURED_EVENT, cu.cuEventSynchronize(event));
  ASSERT_CU(cu.cuStreamWaitEvent(side, event, 0));
  ASSERT_CU(add(x, 1, 1, side));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cu.cuStreamEndCapture(main, &graph));

  // Work outside the capture cannot be waited for.
  ASSERT_CU(cu.cuEventRecord(event, side));
  ASSERT_CU(cu.cuStreamBeginCapture(main, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cu.cuStreamWaitEvent(main, event, 0));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cu.cuStreamEndCapture(main, &graph));

  // The default stream waits for blocking streams, so it cannot be used beside their capture.
  ASSERT_CU(cu.cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, add(x, 1, 1, nullptr));
  EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cu.cuStreamEndCapture(blocking, &graph));

  // Another thread may not end it.
  ASSERT_CU(cu.cuStreamBeginCapture(main, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  std::thread([&] {
    EXPECT_CU(CUDA_SUCCESS, cu.cuCtxSetCurrent(context));
    EXPECT_CU(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, cu.cuStreamEndCapture(main, &graph));
  }).join();
  ASSERT_CU(cu.cuStreamEndCapture(main, &graph));
  EXPECT_NE(graph, nullptr);
}

TEST_F(DriverTest, GraphsByHandAndTheirUpdates) {
  CUdeviceptr x = floats({0}), y = floats({7});
  float a = 5;
  uint32_t n = 1;
  void *values[] = {&x, &a, &n};
  CUDA_KERNEL_NODE_PARAMS launch{};
  launch.func = kernel("add");
  launch.gridDimX = launch.gridDimY = launch.gridDimZ = 1;
  launch.blockDimX = 32;
  launch.blockDimY = launch.blockDimZ = 1;
  launch.kernelParams = values;
  CUgraph graph = nullptr;
  ASSERT_CU(cu.cuGraphCreate(&graph, 0));
  CUgraphNode copied = nullptr, added = nullptr, filled = nullptr, again = nullptr;
  CUDA_MEMCPY3D copy{};
  copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.srcDevice = x;
  copy.dstDevice = y;
  copy.WidthInBytes = 4;
  copy.Height = copy.Depth = 1;
  CUDA_MEMSET_NODE_PARAMS fill{x, 0, 0x3f800000, 4, 1, 1}; // 1.0f
  ASSERT_CU(cu.cuGraphAddMemcpyNode(&copied, graph, nullptr, 0, &copy, context));
  ASSERT_CU(cu.cuGraphAddMemsetNode(&filled, graph, nullptr, 0, &fill, context));
  ASSERT_CU(cu.cuGraphAddKernelNode(&added, graph, &filled, 1, &launch));
  ASSERT_CU(cu.cuGraphAddDependencies(graph, &added, &copied, 1)); // an earlier node that runs last
  a = 99;                                                          // parameters were copied
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuGraphAddDependencies(graph, &added, &copied, 1));
  CUgraphNodeType type{};
  ASSERT_CU(cu.cuGraphNodeGetType(filled, &type));
  EXPECT_EQ(type, CU_GRAPH_NODE_TYPE_MEMSET);
  CUDA_KERNEL_NODE_PARAMS got{};
  ASSERT_CU(cu.cuGraphKernelNodeGetParams(added, &got));
  EXPECT_EQ(*static_cast<float *>(got.kernelParams[1]), 5.0f);
  CUgraphExec exec = nullptr;
  ASSERT_CU(cu.cuGraphInstantiate(&exec, graph, 0));
  ASSERT_CU(cu.cuGraphLaunch(exec, nullptr));
  EXPECT_EQ(read(y, 1), std::vector<float>{6});

  // New parameters of one node.
  ASSERT_CU(cu.cuGraphExecKernelNodeSetParams(exec, added, &launch));
  ASSERT_CU(cu.cuGraphLaunch(exec, nullptr));
  EXPECT_EQ(read(y, 1), std::vector<float>{100});

  // A whole graph of the same shape takes its place; one of another shape does not.
  a = 3;
  ASSERT_CU(cu.cuGraphKernelNodeSetParams(added, &launch));
  CUgraphExecUpdateResultInfo info{};
  ASSERT_CU(cu.cuGraphExecUpdate(exec, graph, &info));
  ASSERT_CU(cu.cuGraphLaunch(exec, nullptr));
  EXPECT_EQ(read(y, 1), std::vector<float>{4});
  ASSERT_CU(cu.cuGraphAddKernelNode(&again, graph, &copied, 1, &launch));
  EXPECT_CU(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cu.cuGraphExecUpdate(exec, graph, &info));
  EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);

  // A cycle is refused.
  ASSERT_CU(cu.cuGraphAddDependencies(graph, &again, &filled, 1));
  CUgraphExec none = nullptr;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuGraphInstantiate(&none, graph, 0));
  ASSERT_CU(cu.cuGraphDestroy(graph));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuGraphNodeGetType(filled, &type));
}

TEST_F(DriverTest, ExternalEventsAreNodesOfTheGraph) {
  CUdeviceptr x = floats({1});
  CUstream stream;
  CUevent before, after;
  ASSERT_CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  ASSERT_CU(cu.cuEventCreate(&before, 0));
  ASSERT_CU(cu.cuEventCreate(&after, 0));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_STATE, cu.cuStreamWaitEvent(stream, before, 1));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cu.cuStreamWaitEvent(stream, before, 2));
  ASSERT_CU(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  ASSERT_CU(cu.cuStreamWaitEvent(stream, before, 1));
  ASSERT_CU(cu.cuMemsetD32Async(x, 7, 1, stream));
  ASSERT_CU(cu.cuEventRecordWithFlags(after, stream, 1));
  CUgraph graph;
  ASSERT_CU(cu.cuStreamEndCapture(stream, &graph));
  size_t count = 3;
  CUgraphNode nodes[3];
  ASSERT_CU(cu.cuGraphGetNodes(graph, nodes, &count));
  ASSERT_EQ(count, 3u);
  CUgraphNodeType types[3];
  for (int i = 0; i < 3; ++i)
    ASSERT_CU(cu.cuGraphNodeGetType(nodes[i], &types[i]));
  EXPECT_EQ(types[0], CU_GRAPH_NODE_TYPE_WAIT_EVENT);
  EXPECT_EQ(types[2], CU_GRAPH_NODE_TYPE_EVENT_RECORD);
  CUgraphExec exec;
  ASSERT_CU(cu.cuGraphInstantiate(&exec, graph, 0));
  // The graph waits for work of another stream that its event was recorded behind.
  CUstream other;
  ASSERT_CU(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  std::atomic<bool> go{false};
  ASSERT_CU(cu.cuLaunchHostFunc(
      other,
      [](void *p) {
        while (!static_cast<std::atomic<bool> *>(p)->load())
          std::this_thread::yield();
      },
      &go));
  ASSERT_CU(cu.cuEventRecord(before, other));
  ASSERT_CU(cu.cuGraphLaunch(exec, stream));
  EXPECT_CU(CUDA_ERROR_NOT_READY, cu.cuStreamQuery(stream));
  go = true;
  ASSERT_CU(cu.cuStreamSynchronize(stream));
  EXPECT_CU(CUDA_SUCCESS, cu.cuEventQuery(after));
  float ms = -1;
  ASSERT_CU(cu.cuEventElapsedTime(&ms, before, after));
  EXPECT_GE(ms, 0);
}

TEST_F(DriverTest, PerThreadNamesUseTheThreadsStream) {
  using WriteValue = CUresult (*)(CUdeviceptr, unsigned, size_t, CUstream);
  using Query = CUresult (*)(CUstream, CUstreamCaptureStatus *);
  void *exact = nullptr, *byFlag = nullptr, *plain = nullptr, *query = nullptr;
  ASSERT_CU(cu.cuGetProcAddress("cuMemsetD32Async_ptsz", &exact, 13000, 0, nullptr));
  ASSERT_CU(cu.cuGetProcAddress("cuMemsetD32Async", &byFlag, 13000, 2, nullptr));
  ASSERT_CU(cu.cuGetProcAddress("cuMemsetD32Async", &plain, 13000, 1, nullptr));
  ASSERT_CU(cu.cuGetProcAddress("cuStreamIsCapturing", &query, 13000, 2, nullptr));
  EXPECT_EQ(exact, byFlag);
  EXPECT_NE(exact, plain);
  // While the thread's stream captures, its null stream captures, and the one of the context does not.
  CUdeviceptr x = floats({1});
  ASSERT_CU(cu.cuStreamBeginCapture(CU_STREAM_PER_THREAD, CU_STREAM_CAPTURE_MODE_RELAXED));
  CUstreamCaptureStatus status{};
  ASSERT_CU(reinterpret_cast<Query>(query)(nullptr, &status));
  EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  ASSERT_CU(reinterpret_cast<WriteValue>(exact)(x, 7, 1, nullptr));
  CUgraph graph;
  ASSERT_CU(cu.cuStreamEndCapture(CU_STREAM_PER_THREAD, &graph));
  size_t count = 0;
  ASSERT_CU(cu.cuGraphGetNodes(graph, nullptr, &count));
  EXPECT_EQ(count, 1u);
}

} // namespace
} // namespace vitrify::emulator
