//===- HostMemory.h - large blocks of the CPU's memory ----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Arenas and packed weights: page-aligned, in huge pages where the system gives
// them, refused with needed and free bytes when there are not enough.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace vitrify {

/// Owns anonymous mapped memory, all zero at first. Move-only.
class HostBlock {
public:
  HostBlock() = default;
  ~HostBlock();
  HostBlock(HostBlock &&other) noexcept;
  HostBlock &operator=(HostBlock &&other) noexcept;

  /// ResourceExhausted: "WHAT needs N bytes, M are free".
  static StatusOr<HostBlock> allocate(uint64_t bytes, const std::string &what);

  std::byte *data() const { return base; }
  uint64_t size() const { return length; }

private:
  std::byte *base = nullptr;
  uint64_t length = 0;
};

/// Memory that can be had without swapping others out, as the system and the control group say.
uint64_t freeHostBytes();

} // namespace vitrify
