//===- ThreadPool.h - fork and join in a microsecond ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Threads that split a step's work units. A waiting thread spins for a bounded
// time, then sleeps on a futex. The caller works too and waits only for threads
// that have begun to work: one that another process keeps from its core costs
// nothing.
//===----------------------------------------------------------------------===//
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace vitrify {

/// One pool serves one caller at a time.
class ThreadPool {
public:
  /// `threads` counts the caller; at least 1.
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  unsigned size() const { return unsigned(workers.size()) + 1; }

  /// Calls body(user, begin, end) so that the ranges cover [0, units) once each, and returns when all are done.
  using Body = void (*)(void *user, int64_t begin, int64_t end);
  void run(int64_t units, Body body, void *user);

  template <typename F> void forRange(int64_t units, F &&f) {
    run(units, [](void *user, int64_t begin, int64_t end) { (*static_cast<std::remove_reference_t<F> *>(user))(begin, end); },
        &f);
  }

  /// Nanoseconds that a thread spins before it sleeps.
  static constexpr int64_t kSpinNs = 30'000;

private:
  void work();
  void takeUnits(int64_t units, Body body, void *user);

  // A region is open while kOpen is set in `state`; a worker enters by adding 1 while it is, and the region's fields do
  // not change until all that entered have left.
  static constexpr uint64_t kOpen = uint64_t(1) << 31;
  static constexpr uint64_t kEntered = kOpen - 1;
  static constexpr unsigned kGenerationShift = 32;

  std::vector<std::thread> workers;
  alignas(64) std::atomic<uint64_t> state{0};  ///< generation << 32 | open | workers inside
  alignas(64) std::atomic<int64_t> next{0};    ///< first unit that nobody took
  alignas(64) std::atomic<uint32_t> wake{0};   ///< futex of idle workers; the generation's low bits
  std::atomic<uint32_t> sleepers{0};
  alignas(64) std::atomic<uint32_t> left{0};   ///< futex of the caller
  std::atomic<uint32_t> callerSleeps{0};
  std::atomic<bool> stopping{false};
  int64_t regionUnits = 0;
  Body regionBody = nullptr;
  void *regionUser = nullptr;
};

/// CPUs that this process may use: its affinity, cut by the control group's quota.
unsigned usableThreads();

} // namespace vitrify
