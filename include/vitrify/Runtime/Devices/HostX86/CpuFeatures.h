//===- CpuFeatures.h - what this CPU can execute ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// CPU features by the names of Linux's /proc/cpuinfo, and the choice of a bundle's
// x86 target by them.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Support/Status.h"

#include <set>
#include <string>
#include <string_view>

namespace vitrify {

/// Names such as "avx2", "fma", "avx512_bf16".
using CpuFeatures = std::set<std::string, std::less<>>;

/// Those that CPU and operating system (saved registers) both support. Source: Intel SDM vol. 2A, CPUID; AMD APM vol. 3,
/// appendix E.
CpuFeatures detectCpuFeatures();

/// Ok if a CPU with these features runs the target; else one sentence with what it lacks. What a row is known to need is
/// checked as well as what the manifest says.
Status checkCpuTarget(const ManifestTarget &target, const CpuFeatures &cpu);
/// The highest x86 target of the bundle that this CPU runs.
StatusOr<const ManifestTarget *> chooseCpuTarget(const Manifest &manifest, const CpuFeatures &cpu);

} // namespace vitrify
