//===- CudaDriver.h - finds the driver and the target -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The driver library, its version, and which of a bundle's targets a chip runs.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Runtime/CudaApi.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace vitrify {

/// Fills the table from a library, which stays loaded.
StatusOr<std::unique_ptr<cuda::CudaApi>> loadCudaDriver(const std::string &path);

/// "13.0" of cuDriverGetVersion's 13000.
std::string cudaVersionText(int version);
/// One sentence if the driver is older than what the target's code needs.
Status checkCudaDriverVersion(const ManifestTarget &target, int version);

/// "sm_89": 89; "sm_90a": 90, specific.
struct CudaTargetChip {
  int number = 0;
  bool specific = false; ///< its code and PTX run on this chip alone
};
std::optional<CudaTargetChip> parseCudaTarget(std::string_view name);
/// Ok if a chip of this compute capability runs the target, by its binary or by compiling its PTX.
Status checkCudaTarget(const ManifestTarget &target, int major, int minor);

} // namespace vitrify
