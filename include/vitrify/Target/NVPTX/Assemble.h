//===- Assemble.h - PTX to a fatbin and what is known of its kernels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Target/NVPTX/Toolchain.h"

namespace vitrify {
class CompileCache;
}

namespace vitrify::nvptx {

/// Kernels of one module, assembled.
struct AssembledKernels {
  std::string fatbin; ///< the cubin and its PTX
  std::map<std::string, std::map<std::string, int64_t>> metrics; ///< by kernel; names as in the manifest
};

/// Assembles PTX for `chip` ("sm_89"), or finds what the same text, ptxas and options gave before; `cache` may be null.
StatusOr<AssembledKernels> assembleCached(const Toolchain &toolchain, const std::string &ptx, const std::string &chip,
                                          CompileCache *cache);

} // namespace vitrify::nvptx
