//===- KernelMetrics.h - a kernel's figures in a manifest -------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A bundle keeps a kernel's figures by name. Here are the names that its code gives,
// and the way back from them to a launch as the model takes it, so that whoever has
// the bundle can compute an estimate again.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/GpuModel/CodeCounts.h"
#include "vitrify/GpuModel/LaunchModel.h"

#include <map>
#include <string>

namespace vitrify {

using KernelMetrics = std::map<std::string, int64_t>;

/// "instructions", "tensor_f8", ..., the same of one trip of the main loop as "loop_...", of the text behind it as
/// "after_..."; zeros are left out but for "instructions". "from_sass" is 1 for counts of SASS, 0 for counts of PTX.
KernelMetrics metricsOf(const KernelCode &code, bool fromSass);

/// "8 QMMA"-like words for tables: "f8 64, f16 32"; "" without tensor instructions.
std::string tensorInstructions(const KernelMetrics &metrics);
/// What the tensor instructions take, as KernelCode::precision; "" without any.
std::string builtPrecision(const KernelMetrics &metrics);

/// One launch of the kernel over `rows` of its first scalar. Work of the main loop is that of one trip times the trips that
/// "block_macs" needs, bytes from L2 are "block_copy_bytes", less the rows and columns that tiles at the edges do not have (by
/// "block_rows", "block_outputs", "columns"); without a main loop the text is taken for one, and without tensor
/// instructions it is executed once.
KernelLaunch launchOf(const KernelMetrics &metrics, double blocks, int threads, uint64_t dynamicSharedBytes, double rows,
                      double dramBytes);

} // namespace vitrify
