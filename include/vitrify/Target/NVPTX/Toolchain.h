//===- Toolchain.h - finds and runs ptxas, fatbinary and nvdisasm -===//
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
#include <string_view>
#include <vector>

namespace vitrify::nvptx {

struct Toolchain {
  std::string ptxas;      ///< path
  std::string fatbinary;  ///< path, "" when there is none
  std::string nvdisasm;   ///< path, "" when there is none: code is then counted from PTX
  int major = 0, minor = 0;
  std::string version;    ///< ptxas's own, "13.0.88"

  /// With `ptxasPath`, that one. Else the first of a supported version (12.4 to 13.x) among ptxas on PATH,
  /// /usr/local/cuda/bin and the wheels under `environmentRoot` (a virtual environment); the other programs likewise.
  /// An error says what was looked for, or which version was found.
  static StatusOr<Toolchain> find(const std::string &ptxasPath, const std::string &environmentRoot);
  /// Refuses PTX that is newer than this ptxas: "+ptx88" came with CUDA 12.9.
  Status checkAssembles(std::string_view target, std::string_view features) const;
};

/// What ptxas reports of one kernel.
struct KernelResources {
  int64_t registers = 0, spillStores = 0, spillLoads = 0, stackBytes = 0, sharedBytes = 0;
};

struct Cubin {
  std::string bytes;
  std::map<std::string, KernelResources> kernels;
};

/// How ptxas is called beside chip and files; a part of what its output depends on.
inline constexpr std::string_view kPtxasOptions = "-v -O3 --warning-as-error --split-compile=0";

/// Assembles PTX for `chip` ("sm_89"). A message of ptxas, a warning included, is an error with its first line.
StatusOr<Cubin> assemble(const Toolchain &toolchain, const std::string &ptx, const std::string &chip);

/// The text of a cubin's code, as `nvdisasm -c` prints it. NotFound without a disassembler.
StatusOr<std::string> disassemble(const Toolchain &toolchain, const std::string &cubin);

/// A fatbin of one cubin and its PTX, as cuModuleLoadData takes it.
StatusOr<std::string> makeFatbin(const Toolchain &toolchain, const std::string &cubin, const std::string &ptx,
                                 const std::string &chip);

} // namespace vitrify::nvptx
