//===- FileErrors.h - errno as one sentence ------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace vitrify {

/// The Status of errno after an operation on a path: "cannot open 'x': permission denied".
Status fileError(const char *operation, const std::string &path);
/// The Status of a failed write of `bytes`; no space says the bytes needed and free.
Status writeError(const std::string &path, uint64_t bytes);
/// Reads out.size() bytes at `offset`; an error if the file ends before.
Status readFully(int fd, uint64_t offset, std::span<std::byte> out, const std::string &path);

} // namespace vitrify
