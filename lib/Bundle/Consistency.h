//===- Consistency.h - what must agree between the files of a bundle -----===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Weights/SafeTensors.h"

namespace vitrify {

/// A plan's weights are in the file with their types; the manifest's entries have programs with the same arguments; the
/// manifest's layers name kernels of the plan.
Status checkPlanAgainst(const Plan &plan, const Manifest &manifest, const ManifestTarget &target,
                        const SafeTensorsHeader &weights);

} // namespace vitrify
