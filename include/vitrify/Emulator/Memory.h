//===- Memory.h - the device's global memory --------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Global memory of one emulated device: one reserved range of this process's
// addresses, so that a device address is also a host address (unified
// addressing). A table of allocations, a quarantine of freed ranges, and one
// shadow bit for each byte that says whether it was ever written.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/Status.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vitrify::emulator {

enum class AllocationKind : uint8_t {
  Device,     ///< cuMemAlloc and relatives
  Managed,    ///< cuMemAllocManaged: host and device
  HostPinned, ///< cuMemAllocHost: host memory that kernels may address
  HostMapped, ///< cuMemHostRegister: the caller's own memory
  Global,     ///< a module's .global or .const variable
};

struct Allocation {
  uint64_t address = 0;
  uint64_t size = 0; ///< bytes asked for
  AllocationKind kind = AllocationKind::Device;
  bool freed = false;   ///< in quarantine: any access is a use after free
  bool readOnly = false;///< .const variables: kernels may not store
  uint64_t id = 0;      ///< ever increasing, for reports
  std::string name;     ///< a variable's name, else empty
};

/// An immutable picture of the table, sorted by address; what a running kernel checks against.
using AllocationTable = std::vector<Allocation>;

/// Thread-safe. Addresses lie at the same place in every run where the system lets us choose.
class DeviceMemory {
public:
  /// Reserves address space for `bytes` (nothing is committed until it is touched).
  static StatusOr<std::unique_ptr<DeviceMemory>> create(uint64_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;

  /// 256-byte aligned, followed by a red zone. ResourceExhausted says needed and free bytes. `bytes` must not be 0.
  StatusOr<uint64_t> allocate(uint64_t bytes, AllocationKind kind = AllocationKind::Device, std::string name = {},
                              uint64_t alignment = 256);
  /// InvalidArgument if `address` is no live allocation's first byte ("freed before" told apart).
  Status free(uint64_t address);
  /// Makes the caller's own memory addressable by kernels (cuMemHostRegister); it counts as initialised.
  Status registerHost(void *pointer, uint64_t bytes);
  Status unregisterHost(void *pointer);

  /// The allocation, live or in quarantine, that holds `address`.
  std::optional<Allocation> find(uint64_t address) const;
  /// Kernels may not store to the live allocation at `address` from now on; the host may.
  void setReadOnly(uint64_t address);
  /// Ok if [address, address + bytes) lies in one live allocation; else says what is there instead.
  Status checkRange(uint64_t address, uint64_t bytes) const;
  std::shared_ptr<const AllocationTable> table() const;

  /// Copies and fills by the host side; ranges are checked, initialised marks are set or carried over.
  Status copyToDevice(uint64_t dst, const void *src, uint64_t bytes);
  Status copyToHost(void *dst, uint64_t src, uint64_t bytes) const;
  Status copyWithin(uint64_t dst, uint64_t src, uint64_t bytes);
  /// `pattern` of 1, 2 or 4 bytes, `count` times.
  Status fill(uint64_t dst, uint32_t pattern, unsigned patternBytes, uint64_t count);
  /// Marks bytes as written (host code wrote through a pinned or managed pointer).
  void markInitialised(uint64_t address, uint64_t bytes);
  /// The first uninitialised byte of the range, if any. Only device memory is tracked.
  std::optional<uint64_t> firstUninitialised(uint64_t address, uint64_t bytes) const;

  uint64_t totalBytes() const { return total; }
  uint64_t freeBytes() const;

  /// For the interpreter: the reserved range and the shadow bits (bit i of shadow()[i / 8] is byte base() + i).
  uint64_t base() const { return arena; }
  uint64_t span() const { return arenaBytes; }
  uint8_t *shadow() const { return shadowBits; }

private:
  struct State;
  DeviceMemory() = default;
  uint64_t arena = 0, arenaBytes = 0, total = 0;
  uint8_t *shadowBits = nullptr;
  std::unique_ptr<State> state;
};

} // namespace vitrify::emulator
