//===- KernelABI.h - how the runtime calls an x86 kernel --------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include <cstdint>

extern "C" {
/// Every function of kernels.so. `scalars` are the step's args; `buffers` its weights, reads and writes in that order,
/// each pointer at the operand's first byte and aligned to 64 unless the operand has an offset. The call computes work
/// units [begin, end) of the step's grid.x; the runtime splits the range over threads, so units are independent. A
/// kernel keeps its scratch on the stack (at most 256 KiB), allocates nothing, calls nothing, and sets no errno.
typedef void (*vitrify_x86_kernel)(const int64_t *scalars, void *const *buffers, int64_t begin, int64_t end);
}
