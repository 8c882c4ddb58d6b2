//===- CudaHeaderTest.cpp - our declarations against cuda.h -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Compares every number, layout and signature of CudaApi.h with NVIDIA's header,
// where a CUDA toolkit is installed. Built without one, the test says so.
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/CudaApi.h"

#include <gtest/gtest.h>

#if VITRIFY_HAVE_CUDA_H
// Declares all ABI versions of every function under their exported names.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cudaProfiler.h>

#include <string>
#include <type_traits>

namespace {
namespace ours = vitrify::cuda;

// A type as the calling convention sees it.
template <typename T> std::string shape() {
  if constexpr (std::is_void_v<T>)
    return "v";
  else if constexpr (std::is_pointer_v<T>)
    return "p";
  else if constexpr (std::is_enum_v<T> || std::is_integral_v<T>)
    return "i" + std::to_string(sizeof(T));
  else if constexpr (std::is_floating_point_v<T>)
    return "f" + std::to_string(sizeof(T));
  else
    return "s" + std::to_string(sizeof(T));
}

template <typename F> struct Signature;
template <typename R, typename... A> struct Signature<R (*)(A...)> {
  static std::string text() {
    std::string text = shape<R>() + "(";
    ((text += shape<A>() + ","), ...);
    return text + ")";
  }
};

TEST(CudaHeaderTest, Signatures) {
#define VITRIFY_CU(name, symbol, params)                                                                               \
  EXPECT_EQ(Signature<decltype(ours::CudaApi::name)>::text(), Signature<decltype(&::symbol)>::text()) << #symbol;
#define VITRIFY_CU_OPTIONAL(name, symbol, params) VITRIFY_CU(name, symbol, params)
#include "vitrify/Runtime/CudaSymbols.def"
}

TEST(CudaHeaderTest, Errors) {
#define VITRIFY_CU_ERROR(name, number, text) EXPECT_EQ(int(ours::CUDA_##name), int(::CUDA_##name)) << #name;
#include "vitrify/Runtime/CudaErrors.def"
}

#define SAME_SIZE(type) EXPECT_EQ(sizeof(ours::type), sizeof(::type)) << #type
#define SAME_FIELD(type, field)                                                                                        \
  EXPECT_EQ(offsetof(ours::type, field), offsetof(::type, field)) << #type "." #field;                                 \
  EXPECT_EQ(sizeof(ours::type::field), sizeof(::type::field)) << #type "." #field

TEST(CudaHeaderTest, Layouts) {
  SAME_SIZE(CUuuid);
  SAME_SIZE(CUlaunchAttributeValue);
  SAME_SIZE(CUlaunchAttribute);
  SAME_FIELD(CUlaunchAttribute, value);
  EXPECT_EQ(sizeof(ours::CUlaunchConfig), sizeof(::CUlaunchConfig));
  SAME_FIELD(CUlaunchConfig, sharedMemBytes);
  SAME_FIELD(CUlaunchConfig, hStream);
  SAME_FIELD(CUlaunchConfig, attrs);
  SAME_FIELD(CUlaunchConfig, numAttrs);
  SAME_SIZE(CUDA_MEMCPY2D);
  SAME_FIELD(CUDA_MEMCPY2D, srcMemoryType);
  SAME_FIELD(CUDA_MEMCPY2D, srcHost);
  SAME_FIELD(CUDA_MEMCPY2D, srcDevice);
  SAME_FIELD(CUDA_MEMCPY2D, srcPitch);
  SAME_FIELD(CUDA_MEMCPY2D, dstMemoryType);
  SAME_FIELD(CUDA_MEMCPY2D, dstHost);
  SAME_FIELD(CUDA_MEMCPY2D, dstDevice);
  SAME_FIELD(CUDA_MEMCPY2D, dstPitch);
  SAME_FIELD(CUDA_MEMCPY2D, WidthInBytes);
  SAME_FIELD(CUDA_MEMCPY2D, Height);
  SAME_SIZE(CUDA_MEMCPY3D);
  SAME_FIELD(CUDA_MEMCPY3D, srcMemoryType);
  SAME_FIELD(CUDA_MEMCPY3D, srcPitch);
  SAME_FIELD(CUDA_MEMCPY3D, srcHeight);
  SAME_FIELD(CUDA_MEMCPY3D, dstXInBytes);
  SAME_FIELD(CUDA_MEMCPY3D, dstMemoryType);
  SAME_FIELD(CUDA_MEMCPY3D, dstPitch);
  SAME_FIELD(CUDA_MEMCPY3D, WidthInBytes);
  SAME_FIELD(CUDA_MEMCPY3D, Depth);
  EXPECT_EQ(sizeof(ours::CUDA_KERNEL_NODE_PARAMS), sizeof(::CUDA_KERNEL_NODE_PARAMS_v2));
  EXPECT_EQ(offsetof(ours::CUDA_KERNEL_NODE_PARAMS, kernelParams),
            offsetof(::CUDA_KERNEL_NODE_PARAMS_v2, kernelParams));
  EXPECT_EQ(offsetof(ours::CUDA_KERNEL_NODE_PARAMS, kern), offsetof(::CUDA_KERNEL_NODE_PARAMS_v2, kern));
  SAME_SIZE(CUDA_MEMSET_NODE_PARAMS);
  SAME_FIELD(CUDA_MEMSET_NODE_PARAMS, elementSize);
  SAME_FIELD(CUDA_MEMSET_NODE_PARAMS, width);
  SAME_FIELD(CUDA_MEMSET_NODE_PARAMS, height);
  SAME_SIZE(CUDA_HOST_NODE_PARAMS);
  SAME_SIZE(CUgraphExecUpdateResultInfo);
  SAME_FIELD(CUgraphExecUpdateResultInfo, errorFromNode);
  SAME_SIZE(CUgraphEdgeData);
  SAME_SIZE(CUmemLocation);
  SAME_SIZE(CUmemPoolProps);
  SAME_FIELD(CUmemPoolProps, location);
  SAME_FIELD(CUmemPoolProps, maxSize);
  SAME_SIZE(CUmemAccessDesc);
}

#define SAME(name) EXPECT_EQ((long long)(ours::name), (long long)(::name)) << #name

TEST(CudaHeaderTest, Numbers) {
#include "CudaNumbers.inc"
}

} // namespace
#else
TEST(CudaHeaderTest, NeedsToolkit) { GTEST_SKIP() << "no cuda.h: set CUDA_HOME to a CUDA toolkit to compare with it"; }
#endif
