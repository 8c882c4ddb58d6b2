//===- HostMemory.cpp - large blocks of the CPU's memory ------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/HostMemory.h"

#include <algorithm>
#include <cstdio>
#include <sys/mman.h>
#include <utility>

using namespace vitrify;

HostBlock::~HostBlock() {
  if (base)
    munmap(base, length);
}

HostBlock::HostBlock(HostBlock &&other) noexcept
    : base(std::exchange(other.base, nullptr)), length(std::exchange(other.length, 0)) {}

HostBlock &HostBlock::operator=(HostBlock &&other) noexcept {
  std::swap(base, other.base);
  std::swap(length, other.length);
  return *this;
}

StatusOr<HostBlock> HostBlock::allocate(uint64_t bytes, const std::string &what) {
  HostBlock block;
  if (bytes == 0)
    return block;
  const uint64_t available = freeHostBytes();
  auto refused = [&] {
    return resourceExhausted(what + " needs " + std::to_string(bytes) + " bytes, " + std::to_string(available) +
                             " are free");
  };
  // Linux would grant it and kill the process when it is touched.
  if (bytes > available)
    return refused();
  constexpr uint64_t kHuge = uint64_t(2) << 20;
  // A huge page needs an aligned start: map more, and give the ends back.
  const uint64_t page = 4096, length = (bytes + page - 1) / page * page, extra = length >= kHuge ? kHuge : 0;
  void *mapped = mmap(nullptr, length + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED)
    return refused();
  auto *start = static_cast<std::byte *>(mapped);
  if (extra) {
    uint64_t skip = (kHuge - uint64_t(reinterpret_cast<uintptr_t>(start)) % kHuge) % kHuge;
    if (skip)
      munmap(start, skip);
    if (extra - skip)
      munmap(start + skip + length, extra - skip);
    start += skip;
    madvise(start, length, MADV_HUGEPAGE);
  }
  block.base = start;
  block.length = length;
  return block;
}

namespace {
uint64_t readNumber(const char *path) {
  unsigned long long value = 0;
  if (FILE *file = std::fopen(path, "re")) {
    if (std::fscanf(file, "%llu", &value) != 1)
      value = 0;
    std::fclose(file);
  }
  return value;
}
} // namespace

uint64_t vitrify::freeHostBytes() {
  uint64_t bytes = 0;
  if (FILE *file = std::fopen("/proc/meminfo", "re")) {
    char line[128];
    while (std::fgets(line, sizeof line, file)) {
      unsigned long long kib = 0;
      if (std::sscanf(line, "MemAvailable: %llu", &kib) == 1 || std::sscanf(line, "SwapFree: %llu", &kib) == 1)
        bytes += uint64_t(kib) << 10;
    }
    std::fclose(file);
  }
  if (bytes == 0)
    return ~uint64_t(0);
  // "max" where there is no limit, which reads as 0.
  uint64_t limit = readNumber("/sys/fs/cgroup/memory.max"), used = readNumber("/sys/fs/cgroup/memory.current");
  if (limit)
    bytes = std::min(bytes, limit > used ? limit - used : 0);
  return bytes;
}
