//===- KernelLibrary.h - the functions of kernels.so ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Opens a bundle's x86 code after its digest was checked.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/KernelABI.h"
#include "vitrify/Bundle/Verifier.h"

#include <vector>

namespace vitrify {

/// Owns the opened library. Move-only.
class KernelLibrary {
public:
  KernelLibrary() = default;
  ~KernelLibrary();
  KernelLibrary(KernelLibrary &&other) noexcept;
  KernelLibrary &operator=(KernelLibrary &&other) noexcept;

  /// Loads a sealed copy of the file, so that what runs is what was checked. NotFound names a kernel that it lacks.
  static StatusOr<KernelLibrary> open(const Bundle &bundle, const BundleFile &code, const Plan &plan);

  /// The function of a kernel of the plan.
  vitrify_x86_kernel kernel(uint32_t index) const { return functions[index]; }

private:
  void *handle = nullptr;
  int fd = -1; ///< kept: the loader knows an open library by its path, which holds this number
  std::vector<vitrify_x86_kernel> functions;
};

} // namespace vitrify
