//===- PlanVerify.h - the two halves of the plan verifier ----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Plan.h"

#include <string>
#include <vector>

namespace vitrify {

/// First and last top-level step at which a buffer's bytes matter; unused buffers have first > last.
struct Lifetime {
  size_t first = SIZE_MAX;
  size_t last = 0;
};

/// One a buffer.
std::vector<Lifetime> lifetimesOf(const PlanProgram &program);

/// Checks that need no values: indices, names, counts, order of reads and writes.
Status verifyStructure(const Plan &plan);

} // namespace vitrify
