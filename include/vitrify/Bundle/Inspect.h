//===- Inspect.h - what a bundle holds, as a report ----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Verifier.h"
#include "vitrify/Support/Json.h"

#include <string>

namespace vitrify {

/// Everything that manifest, plans and weights header say, with derived figures (arena at the tuned and largest shapes, who
/// shares a tensor, how often a kernel is launched). Nothing of the bundle is executed; nothing is estimated.
StatusOr<Json> inspectBundle(const Bundle &bundle);

/// The report for people: tables of at most about 120 columns.
std::string printInspection(const Json &report);

} // namespace vitrify
