//===- HostWeights.h - weights as x86 kernels read them ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The weights of one plan, shared by all contexts of a program: checked by digest
// at first use, packed once (fast mode) or while they are used (low memory mode),
// and read from the file's pages where the stored layout is what kernels read.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Bundle/Verifier.h"
#include "vitrify/Runtime/Device.h"
#include "vitrify/Runtime/Devices/HostX86/HostMemory.h"
#include "vitrify/Weights/Pack.h"
#include "vitrify/Runtime/Devices/HostX86/ThreadPool.h"

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace vitrify {

/// Thread-safe.
class HostWeights {
public:
  /// Reads the layouts; nothing is packed yet.
  static StatusOr<std::unique_ptr<HostWeights>> create(const Plan &plan, const BundleWeights &weights, bool lowMemory);

  /// Checks these weights' digests, and packs them in fast mode, unless that was done before. An error leaves them as
  /// they were; the next call tries again.
  Status require(const std::vector<uint32_t> &weights, ThreadPool &pool, const StopToken *stop);

  /// True where data() is valid after require(); else the weight has to be packed for each use.
  bool isReady(uint32_t weight) const { return slots[slotOf[weight]].data.load(std::memory_order_acquire); }
  const std::byte *data(uint32_t weight) const { return slots[slotOf[weight]].data.load(std::memory_order_relaxed); }
  /// Packs one weight into memory of its packed size.
  void packInto(uint32_t weight, std::byte *out, ThreadPool &pool) const;
  /// Panels of a weight that is packed for each use, each of packedSize() / panels() bytes; 0 when it is in no panels.
  int64_t panels(uint32_t weight) const { return slots[slotOf[weight]].panels; }
  /// Packs one panel.
  void packPanel(uint32_t weight, int64_t panel, std::byte *out) const;

  uint64_t packedSize(uint32_t weight) const { return slots[slotOf[weight]].packedBytes; }
  /// Bytes that kernels read for these weights, each distinct one once.
  uint64_t residentBytes(const std::vector<uint32_t> &weights) const;
  /// Which of a step's weights is packed panel by panel while `panels` panels are computed, if one is: an index into
  /// step.weights, or -1.
  int byPanel(const ScheduledStep &step, int64_t panels) const;
  /// Room for the weights of one step that are packed for each use; 0 in fast mode. One that is packed panel by panel needs
  /// room for one panel a thread.
  uint64_t scratchBytes(const ScheduledStep &step, int64_t panels, unsigned threads) const;
  /// From one thread's panel to the next one's. Kernels prefetch what follows a panel: were it another thread's, that
  /// thread would wait for each of its lines when it packs.
  static uint64_t panelSlotBytes(uint64_t panelBytes) { return (2 * panelBytes + 4095) / 4096 * 4096; }

  /// The weight's place in the file.
  const TensorInfo &stored(uint32_t weight) const { return *slots[slotOf[weight]].info; }
  const MappedFile &file() const { return source.file().mapped(); }

private:
  struct Slot {
    const TensorInfo *info = nullptr;
    PackLayout layout;
    bool direct = false;            ///< read from the file's pages
    uint64_t packedBytes = 0;
    int64_t panels = 0;
    std::atomic<bool> verified{false};
    std::atomic<const std::byte *> data{nullptr};
  };

  HostWeights(const BundleWeights &source, bool lowMemory) : source(source), lowMemory(lowMemory) {}
  Status verify(const std::vector<Slot *> &list, ThreadPool &pool, const StopToken *stop);
  /// Packs what is not read as stored to `out`, which is moved on, and adds where each came to `ready`.
  Status packGroup(const std::vector<Slot *> &list, std::byte *&out, ThreadPool &pool, const StopToken *stop,
                   std::vector<std::pair<Slot *, const std::byte *>> &ready);

  const BundleWeights &source;
  const bool lowMemory;
  std::deque<Slot> slots;         ///< distinct (tensor, layout)
  std::vector<uint32_t> slotOf;   ///< by weight of the plan
  std::mutex mutex;               ///< one caller verifies and packs at a time
  std::vector<HostBlock> blocks;
};

} // namespace vitrify
