//===- Memory.cpp - the device's global memory ------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A first-fit allocator over a reserved range. Freed ranges stay in quarantine
// (reported as use after free) until the space is needed.
//===----------------------------------------------------------------------===//
#include "vitrify/Emulator/Memory.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>

#include <sys/mman.h>

namespace vitrify::emulator {

namespace {
constexpr uint64_t kRedZone = 512;            ///< bytes after each allocation that belong to none
constexpr uint64_t kQuarantineBytes = uint64_t(1) << 30;
constexpr size_t kQuarantineCount = 4096;

void *reserve(uint64_t bytes, void *hint) {
  void *p = mmap(hint, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

void setBits(uint8_t *bits, uint64_t first, uint64_t count) {
  // Words are shared with kernels that run: set with atomic or.
  while (count && (first % 8 || count < 8)) {
    __atomic_fetch_or(bits + first / 8, static_cast<uint8_t>(1u << (first % 8)), __ATOMIC_RELAXED);
    ++first;
    --count;
  }
  uint64_t bytes = count / 8;
  for (uint64_t i = 0; i < bytes; ++i)
    __atomic_store_n(bits + first / 8 + i, uint8_t(0xff), __ATOMIC_RELAXED);
  first += bytes * 8;
  for (count -= bytes * 8; count; --count, ++first)
    __atomic_fetch_or(bits + first / 8, static_cast<uint8_t>(1u << (first % 8)), __ATOMIC_RELAXED);
}

bool testBit(const uint8_t *bits, uint64_t i) {
  return __atomic_load_n(bits + i / 8, __ATOMIC_RELAXED) >> (i % 8) & 1;
}
} // namespace

struct DeviceMemory::State {
  mutable std::mutex mutex;
  std::map<uint64_t, Allocation> live;        ///< by address
  std::map<uint64_t, uint64_t> holes;         ///< address to size, of the arena
  std::map<uint64_t, uint64_t> extents;       ///< live and quarantined arena ranges with their red zones
  std::map<uint64_t, Allocation> quarantine;
  std::deque<uint64_t> quarantineOrder;
  uint64_t quarantined = 0, used = 0, nextId = 1;
  mutable std::shared_ptr<const AllocationTable> snapshot;

  void giveBack(uint64_t address, uint64_t size) {
    auto next = holes.lower_bound(address);
    if (next != holes.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == address) {
        address = before->first;
        size += before->second;
        holes.erase(before);
      }
    }
    if (next != holes.end() && address + size == next->first) {
      size += next->second;
      holes.erase(next);
    }
    holes[address] = size;
  }

  bool evictOldest() {
    if (quarantineOrder.empty())
      return false;
    uint64_t address = quarantineOrder.front();
    quarantineOrder.pop_front();
    quarantine.erase(address);
    uint64_t extent = extents[address];
    extents.erase(address);
    quarantined -= extent;
    giveBack(address, extent);
    snapshot.reset();
    return true;
  }

  const Allocation *at(uint64_t address) const {
    for (const auto *map : {&live, &quarantine}) {
      auto it = map->upper_bound(address);
      if (it == map->begin())
        continue;
      --it;
      if (address < it->first + it->second.size)
        return &it->second;
    }
    return nullptr;
  }
};

StatusOr<std::unique_ptr<DeviceMemory>> DeviceMemory::create(uint64_t bytes) {
  if (bytes == 0 || bytes > (uint64_t(1) << 42))
    return invalidArgument("device memory of " + std::to_string(bytes) + " bytes is out of range");
  std::unique_ptr<DeviceMemory> memory(new DeviceMemory);
  // Room for red zones and quarantine beside what can be allocated.
  uint64_t span = bytes + bytes / 2 + (uint64_t(4) << 30);
  span = (span + 4095) / 4096 * 4096;
  void *arena = reserve(span, reinterpret_cast<void *>(uint64_t(0x7e) << 40));
  if (!arena)
    return resourceExhausted("cannot reserve " + std::to_string(span) + " bytes of address space");
  memory->arena = reinterpret_cast<uint64_t>(arena);
  memory->arenaBytes = span;
  memory->total = bytes;
  memory->state = std::make_unique<State>();
  memory->shadowBits = static_cast<uint8_t *>(reserve(span / 8, nullptr));
  if (!memory->shadowBits)
    return resourceExhausted("cannot reserve " + std::to_string(span / 8) + " bytes for shadow memory");
  memory->state->holes[memory->arena] = span;
  return memory;
}

DeviceMemory::~DeviceMemory() {
  if (arena)
    munmap(reinterpret_cast<void *>(arena), arenaBytes);
  if (shadowBits)
    munmap(shadowBits, arenaBytes / 8);
}

StatusOr<uint64_t> DeviceMemory::allocate(uint64_t bytes, AllocationKind kind, std::string name, uint64_t alignment) {
  if (bytes == 0)
    return invalidArgument("an allocation needs at least one byte");
  alignment = std::max<uint64_t>(alignment, 256);
  State &s = *state;
  std::lock_guard lock(s.mutex);
  if (bytes > total || s.used + bytes > total)
    return resourceExhausted("out of device memory: needed " + std::to_string(bytes) + " bytes, free " +
                             std::to_string(total - s.used) + " of " + std::to_string(total));
  uint64_t extent = (bytes + kRedZone + 255) / 256 * 256;
  while (true) {
    for (auto it = s.holes.begin(); it != s.holes.end(); ++it) {
      uint64_t start = (it->first + alignment - 1) / alignment * alignment;
      uint64_t end = it->first + it->second;
      if (start + extent > end || start + extent < start)
        continue;
      uint64_t holeStart = it->first;
      s.holes.erase(it);
      if (start > holeStart)
        s.holes[holeStart] = start - holeStart;
      if (start + extent < end)
        s.holes[start + extent] = end - start - extent;
      // Fresh memory holds no marks of what was there before, and a pattern is not needed: pages are zero or stale.
      uint64_t first = start - arena;
      std::memset(shadowBits + first / 8, 0, (bytes + 7) / 8);
      if (kind == AllocationKind::HostPinned || kind == AllocationKind::Managed)
        setBits(shadowBits, first, bytes);
      Allocation &a = s.live[start];
      a.address = start;
      a.size = bytes;
      a.kind = kind;
      a.id = s.nextId++;
      a.name = std::move(name);
      s.extents[start] = extent;
      s.used += bytes;
      s.snapshot.reset();
      return start;
    }
    if (!s.evictOldest())
      return resourceExhausted("device memory is too fragmented for " + std::to_string(bytes) + " bytes");
  }
}

Status DeviceMemory::free(uint64_t address) {
  State &s = *state;
  std::lock_guard lock(s.mutex);
  auto it = s.live.find(address);
  if (it == s.live.end() || it->second.kind == AllocationKind::HostMapped) {
    char text[32];
    snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
    if (s.quarantine.count(address))
      return invalidArgument(std::string(text) + " was freed before");
    return invalidArgument(std::string(text) + " is not the start of an allocation");
  }
  Allocation a = it->second;
  s.live.erase(it);
  s.used -= a.size;
  a.freed = true;
  s.quarantine[address] = a;
  s.quarantineOrder.push_back(address);
  s.quarantined += s.extents[address];
  s.snapshot.reset();
  // Give the pages back; a later read finds zeros, and is reported.
  uint64_t first = (address + 4095) / 4096 * 4096, last = (address + a.size) / 4096 * 4096;
  if (last > first)
    madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
  while (s.quarantined > kQuarantineBytes || s.quarantineOrder.size() > kQuarantineCount)
    s.evictOldest();
  return {};
}

Status DeviceMemory::registerHost(void *pointer, uint64_t bytes) {
  uint64_t address = reinterpret_cast<uint64_t>(pointer);
  if (!pointer || bytes == 0 || address + bytes < address)
    return invalidArgument("host memory to register is empty");
  State &s = *state;
  std::lock_guard lock(s.mutex);
  auto next = s.live.lower_bound(address);
  bool overlaps = next != s.live.end() && next->first < address + bytes;
  if (next != s.live.begin() && std::prev(next)->first + std::prev(next)->second.size > address)
    overlaps = true;
  if (overlaps)
    return invalidArgument("host memory is registered already");
  Allocation &a = s.live[address];
  a.address = address;
  a.size = bytes;
  a.kind = AllocationKind::HostMapped;
  a.id = s.nextId++;
  s.snapshot.reset();
  return {};
}

Status DeviceMemory::unregisterHost(void *pointer) {
  State &s = *state;
  std::lock_guard lock(s.mutex);
  auto it = s.live.find(reinterpret_cast<uint64_t>(pointer));
  if (it == s.live.end() || it->second.kind != AllocationKind::HostMapped)
    return invalidArgument("host memory is not registered");
  s.live.erase(it);
  s.snapshot.reset();
  return {};
}

std::optional<Allocation> DeviceMemory::find(uint64_t address) const {
  std::lock_guard lock(state->mutex);
  if (const Allocation *a = state->at(address))
    return *a;
  return std::nullopt;
}

void DeviceMemory::setReadOnly(uint64_t address) {
  std::lock_guard lock(state->mutex);
  auto it = state->live.find(address);
  if (it == state->live.end())
    return;
  it->second.readOnly = true;
  state->snapshot = nullptr;
}

Status DeviceMemory::checkRange(uint64_t address, uint64_t bytes) const {
  std::lock_guard lock(state->mutex);
  const Allocation *a = state->at(address);
  char text[96];
  if (!a) {
    snprintf(text, sizeof text, "0x%llx lies in no allocation", static_cast<unsigned long long>(address));
    return invalidArgument(text);
  }
  if (a->freed) {
    snprintf(text, sizeof text, "0x%llx lies in freed memory", static_cast<unsigned long long>(address));
    return invalidArgument(text);
  }
  if (bytes > a->address + a->size - address) {
    snprintf(text, sizeof text, "%llu bytes at 0x%llx pass the allocation's end by %llu",
             static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(address),
             static_cast<unsigned long long>(bytes - (a->address + a->size - address)));
    return invalidArgument(text);
  }
  return {};
}

std::shared_ptr<const AllocationTable> DeviceMemory::table() const {
  std::lock_guard lock(state->mutex);
  if (!state->snapshot) {
    auto table = std::make_shared<AllocationTable>();
    table->reserve(state->live.size() + state->quarantine.size());
    for (const auto &[address, a] : state->live)
      table->push_back(a);
    for (const auto &[address, a] : state->quarantine)
      table->push_back(a);
    std::sort(table->begin(), table->end(), [](const auto &a, const auto &b) { return a.address < b.address; });
    state->snapshot = std::move(table);
  }
  return state->snapshot;
}

Status DeviceMemory::copyToDevice(uint64_t dst, const void *src, uint64_t bytes) {
  if (!bytes)
    return {};
  VITRIFY_RETURN_IF_ERROR(checkRange(dst, bytes));
  std::memmove(reinterpret_cast<void *>(dst), src, bytes);
  markInitialised(dst, bytes);
  return {};
}

Status DeviceMemory::copyToHost(void *dst, uint64_t src, uint64_t bytes) const {
  if (!bytes)
    return {};
  VITRIFY_RETURN_IF_ERROR(checkRange(src, bytes));
  std::memmove(dst, reinterpret_cast<const void *>(src), bytes);
  return {};
}

Status DeviceMemory::copyWithin(uint64_t dst, uint64_t src, uint64_t bytes) {
  if (!bytes)
    return {};
  VITRIFY_RETURN_IF_ERROR(checkRange(src, bytes));
  VITRIFY_RETURN_IF_ERROR(checkRange(dst, bytes));
  std::memmove(reinterpret_cast<void *>(dst), reinterpret_cast<const void *>(src), bytes);
  bool tracked = src >= arena && src - arena < arenaBytes && dst >= arena && dst - arena < arenaBytes;
  if (!tracked || !firstUninitialised(src, bytes)) {
    markInitialised(dst, bytes);
    return {};
  }
  for (uint64_t i = 0; i < bytes; ++i)
    if (testBit(shadowBits, src - arena + i))
      setBits(shadowBits, dst - arena + i, 1);
  return {};
}

Status DeviceMemory::fill(uint64_t dst, uint32_t pattern, unsigned patternBytes, uint64_t count) {
  if (patternBytes != 1 && patternBytes != 2 && patternBytes != 4)
    return invalidArgument("a fill pattern has 1, 2 or 4 bytes");
  if (!count)
    return {};
  if (count > total / patternBytes)
    return invalidArgument("fill of " + std::to_string(count) + " elements is larger than the memory");
  VITRIFY_RETURN_IF_ERROR(checkRange(dst, count * patternBytes));
  uint8_t *out = reinterpret_cast<uint8_t *>(dst);
  if (patternBytes == 1)
    std::memset(out, static_cast<int>(pattern), count);
  else
    for (uint64_t i = 0; i < count; ++i)
      std::memcpy(out + i * patternBytes, &pattern, patternBytes);
  markInitialised(dst, count * patternBytes);
  return {};
}

void DeviceMemory::markInitialised(uint64_t address, uint64_t bytes) {
  if (address < arena || address - arena >= arenaBytes)
    return;
  setBits(shadowBits, address - arena, std::min(bytes, arenaBytes - (address - arena)));
}

std::optional<uint64_t> DeviceMemory::firstUninitialised(uint64_t address, uint64_t bytes) const {
  if (address < arena || address - arena >= arenaBytes)
    return std::nullopt;
  uint64_t i = address - arena, end = std::min(i + bytes, arenaBytes);
  while (i < end) {
    if (i % 64 == 0 && end - i >= 64 &&
        __atomic_load_n(reinterpret_cast<const uint64_t *>(shadowBits) + i / 64, __ATOMIC_RELAXED) == ~uint64_t(0)) {
      i += 64;
      continue;
    }
    if (!testBit(shadowBits, i))
      return arena + i;
    ++i;
  }
  return std::nullopt;
}

uint64_t DeviceMemory::freeBytes() const {
  std::lock_guard lock(state->mutex);
  return total - state->used;
}

} // namespace vitrify::emulator
