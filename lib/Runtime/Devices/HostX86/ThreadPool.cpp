//===- ThreadPool.cpp - fork and join in a microsecond --------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/HostX86/ThreadPool.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace vitrify;

namespace {

void futexWait(std::atomic<uint32_t> &word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void futexWake(std::atomic<uint32_t> &word, int count) {
  syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Spins until `done()` or the time is over; says whether it is done.
template <typename F> bool spinUntil(F &&done) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point end{};
  for (;;) {
    for (int i = 0; i < 32; ++i) {
      if (done())
        return true;
      relax();
    }
    Clock::time_point now = Clock::now();
    if (end == Clock::time_point{})
      end = now + std::chrono::nanoseconds(ThreadPool::kSpinNs);
    else if (now > end)
      return false;
  }
}

} // namespace

ThreadPool::ThreadPool(unsigned threads) {
  workers.reserve(threads);
  for (unsigned i = 1; i < threads; ++i)
    workers.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  stopping.store(true);
  wake.fetch_add(1);
  futexWake(wake, int(workers.size()));
  for (std::thread &worker : workers)
    worker.join();
}

void ThreadPool::takeUnits(int64_t units, Body body, void *user) {
  // Large pieces first, so that a counter is touched seldom; small ones last, so that all end together.
  const int64_t parts = int64_t(size()) * 2;
  for (;;) {
    int64_t begin = next.load(std::memory_order_relaxed), take;
    do {
      if (begin >= units)
        return;
      take = std::max<int64_t>(1, (units - begin) / parts);
    } while (!next.compare_exchange_weak(begin, begin + take, std::memory_order_relaxed));
    body(user, begin, begin + take);
  }
}

void ThreadPool::run(int64_t units, Body body, void *user) {
  if (units <= 0)
    return;
  if (workers.empty() || units == 1)
    return body(user, 0, units);
  regionUnits = units;
  regionBody = body;
  regionUser = user;
  next.store(0, std::memory_order_relaxed);
  uint64_t generation = (state.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
  state.store(generation << kGenerationShift | kOpen, std::memory_order_release);
  wake.fetch_add(1);
  if (sleepers.load() > 0)
    futexWake(wake, int(workers.size()));
  takeUnits(units, body, user);
  // Nobody may enter any more; those inside end the pieces that they took.
  state.fetch_and(~kOpen);
  auto allLeft = [this] { return (state.load(std::memory_order_acquire) & kEntered) == 0; };
  if (spinUntil(allLeft))
    return;
  callerSleeps.store(1);
  for (;;) {
    uint32_t seen = left.load();
    if ((state.load() & kEntered) == 0)
      break;
    futexWait(left, seen);
  }
  callerSleeps.store(0);
}

void ThreadPool::work() {
  uint32_t seen = 0; // not what wake is now: the pool may have moved on, or stop, before this thread starts
  uint64_t done = 0; // the generation that this thread worked on last
  for (;;) {
    uint64_t now = state.load(std::memory_order_acquire);
    bool entered = false;
    while ((now & kOpen) && now >> kGenerationShift != done && !entered)
      entered = state.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire);
    if (entered) {
      done = now >> kGenerationShift;
      takeUnits(regionUnits, regionBody, regionUser);
      state.fetch_sub(1);
      if (callerSleeps.load()) {
        left.fetch_add(1);
        futexWake(left, 1);
      }
    }
    if (!spinUntil([&] { return wake.load(std::memory_order_acquire) != seen; })) {
      sleepers.fetch_add(1);
      while (wake.load() == seen)
        futexWait(wake, seen);
      sleepers.fetch_sub(1);
    }
    seen = wake.load();
    if (stopping.load())
      return;
  }
}

unsigned vitrify::usableThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  unsigned count = 1;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    count = std::max(1, CPU_COUNT(&set));
  else
    count = std::max(1u, std::thread::hardware_concurrency());
  // "QUOTA PERIOD" or "max PERIOD": a container with half the machine's time must not start threads for all of it.
  if (FILE *file = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
    long long quota = 0, period = 0;
    if (std::fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
      count = unsigned(std::clamp<long long>((quota + period - 1) / period, 1, count));
    std::fclose(file);
  }
  return count;
}
