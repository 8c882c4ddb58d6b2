//===- Arguments.h - the caller's buffers and the entry's types -*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Checks the caller's tensors against an entry and converts between their types.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Manifest.h"
#include "vitrify/Bundle/Preprocess.h"
#include "vitrify/Runtime/Schedule.h"
#include "vitrify/Runtime/vitrify.h"

#include <optional>
#include <string>
#include <vector>

namespace vitrify {

/// Symbol values that the inputs' shapes mean; bounds are checked. Errors name the argument, what it should be and is.
StatusOr<std::vector<int64_t>> bindSymbols(const ManifestEntry &entry, const vitrify_tensor *inputs, size_t count);

/// Ok if an input's dtype and frames flag can become the argument's type. `needsCopy`: a conversion is needed.
Status checkInput(const ManifestArgument &argument, const ScheduledArgument &scheduled, const vitrify_tensor &tensor,
                  const std::optional<Preprocess> &preprocess, bool &needsCopy);
/// The same for an output: room and dtype.
Status checkOutput(const ManifestArgument &argument, const ScheduledArgument &scheduled, const vitrify_tensor &tensor,
                   bool &needsCopy);

/// Writes the argument's elements from a checked host tensor.
void convertInput(const ScheduledArgument &scheduled, const vitrify_tensor &tensor,
                  const std::optional<Preprocess> &preprocess, std::byte *out);
/// Writes a checked host tensor's elements from the argument's.
void convertOutput(const ScheduledArgument &scheduled, const std::byte *in, const vitrify_tensor &tensor);

} // namespace vitrify
