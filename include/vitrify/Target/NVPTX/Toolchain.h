//===- Toolchain.h - finds and runs ptxas and fatbinary -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The only programs of NVIDIA's that the compiler runs. They come from an installed toolkit or from the PyPI wheels
// nvidia-cuda-nvcc (folder nvidia/cu13/bin of a virtual environment).
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <map>
#include <string>
#include <vector>

namespace vitrify::nvptx {

struct Toolchain {
  std::string ptxas;      ///< path
  std::string fatbinary;  ///< path, "" when there is none
  int major = 0, minor = 0;

  /// The first of: `ptxasPath` when given; ptxas on PATH; /usr/local/cuda/bin; the wheels under `environmentRoot`
  /// (a virtual environment). An error says what was looked for, or that the version found is outside 12.4 to 13.x.
  static StatusOr<Toolchain> find(const std::string &ptxasPath, const std::string &environmentRoot);
};

/// What ptxas reports of one kernel.
struct KernelResources {
  int64_t registers = 0, spillStores = 0, spillLoads = 0, stackBytes = 0, sharedBytes = 0;
};

struct Cubin {
  std::string bytes;
  std::map<std::string, KernelResources> kernels;
};

/// Assembles PTX for `chip` ("sm_89"). A message of ptxas, a warning included, is an error with its first line.
StatusOr<Cubin> assemble(const Toolchain &toolchain, const std::string &ptx, const std::string &chip);

/// A fatbin of one cubin and its PTX, as cuModuleLoadData takes it.
StatusOr<std::string> makeFatbin(const Toolchain &toolchain, const std::string &cubin, const std::string &ptx,
                                 const std::string &chip);

} // namespace vitrify::nvptx
