//===- Grid.h - running grids -----------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One launch: its blocks, the workers (host threads) that run them in turns,
// its reports and counts.
//===----------------------------------------------------------------------===//
#pragma once

#include "Warp.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <set>

namespace vitrify::emulator {

struct BarrierState {
  uint32_t threads = 0;     ///< arrived
  uint32_t expected = 0;    ///< 0: every thread that has not exited
  bool inUse = false;
  uint32_t popc = 0;
  bool all = true, any = false;
  std::vector<uint32_t> arrivedWarps; ///< race: whose clocks are joined
};

/// State of shared memory's race check; in Race.cpp.
struct SharedShadow;

/// The watch for polling over a grid; guarded by the grid's mutex. See Polling.h.
struct PollWatch {
  enum Phase : uint8_t { Off, Gathering, Watching };
  Phase phase = Off;
  uint32_t epoch = 0;
  uint64_t idleStays = 0, patience = 4;
  uint64_t gathered = 0, stuck = 0;
  uint64_t outside = 0; ///< LaunchOptions::outsideActivity() when the second phase began
  std::vector<Step> kinds; ///< by pc
  struct Stuck {
    std::string polls; ///< who polls what, the first few
    unsigned count;    ///< of all polls
    Warp *warp;
    Poll first;
  };
  std::map<uint64_t, Stuck> blocks; ///< the first few that are stuck, by index
  unsigned unlisted = 0;            ///< polls of further ones
};

struct Cta {
  uint64_t index = 0;
  uint32_t block[3] = {};
  std::vector<Warp> warps;
  std::vector<uint8_t> shared, sharedInit, local, localInit;
  std::unique_ptr<uint8_t[]> rowStorage;
  size_t rowStorageBytes = 0;
  BarrierState barriers[16];
  uint32_t threads = 0, exited = 0;
  uint32_t nextWarp = 0;
  bool changed = false;      ///< something was stored since the last look: not a pure wait
  uint32_t idleTurns = 0;
  PollWatch::Phase watchPhase = PollWatch::Off; ///< when the present turn began
  uint32_t watchEpoch = 0, watchStays = 0;
  bool stuck = false;
  std::unique_ptr<SharedShadow> shadow;
  std::map<uint32_t, std::vector<std::pair<uint32_t, uint32_t>>> asyncArrivals;

  Cta();
  ~Cta();
};

struct PcCounts {
  uint64_t warps = 0, threads = 0, divergent = 0;
  MemoryCounts memory;
};

/// What one host thread adds up.
struct WorkerState {
  std::vector<PcCounts> counts;
  uint64_t instructions = 0, barrierWaits = 0, asyncWaits = 0;
  std::shared_ptr<const AllocationTable> table;
  std::vector<uint8_t> initialised; ///< by index in table: 0 unknown, 1 all written, 2 not
};

struct GlobalShadow;
struct CacheModel;

struct GridState {
  const LoadedModule *loaded = nullptr;
  const Program *program = nullptr;
  const DecodedFunction *function = nullptr;
  const LaunchOptions *options = nullptr;
  LaunchConfig config;
  Device *device = nullptr;
  uint32_t sharedBytes = 0;
  std::vector<uint8_t> params;
  uint64_t blocks = 0, threadsPerBlock = 0;
  uint32_t launchNumber = 0;
  int residentLimit = 1;

  std::atomic<bool> stop{false};
  std::atomic<uint64_t> instructions{0};
  std::mutex mutex; ///< the queue and everything below
  std::condition_variable wake;
  std::deque<std::unique_ptr<Cta>> ready;
  std::vector<std::unique_ptr<Cta>> spare;
  uint64_t nextBlock = 0, resident = 0, finished = 0;
  uint64_t progress = 0; ///< turns in which something changed
  PollWatch watch;

  std::mutex reportMutex;
  std::vector<Report> reports;
  std::map<std::tuple<int, uint32_t, uint32_t>, size_t> reportIndex;
  uint64_t faults = 0;
  LaunchError error = LaunchError::Success;
  std::string message;
  std::unique_ptr<GlobalShadow> shadow;
  std::unique_ptr<CacheModel> cache;

  GridState();
  ~GridState();
  void fail(LaunchError error, std::string message);
};

enum class RunResult : uint8_t { Done, Blocked, Slice, Stopped };
/// Runs one warp until it has exited, only waits, has used its slice, or the grid was stopped.
RunResult runWarp(Warp &warp, int64_t slice);

// Sync.cpp
/// A group of `warp` reached a barrier instruction. True if it may go on at once.
bool arriveBarrier(Warp &warp, Group &group, const Inst &inst, uint32_t mask);
/// barrier.cluster.arrive by the lanes of `mask`; clusters have one block.
void arriveCluster(Warp &warp, const Inst &inst, uint32_t mask);
/// After threads of the block have exited.
void recheckBarriers(Cta &cta);
/// All groups of the warp wait: aligned barriers that only a part reached arrive by part, and are reported.
bool forceDivergentBarriers(Warp &warp);
/// Who waits on what, for the report of a deadlock.
std::string describeWaits(const Cta &cta);
void reportDeadlock(Cta &cta);
/// True if the condition that a group waits for (an mbarrier's phase) has come.
bool mbarrierReady(Warp &warp, const Group &group);

// Faults.cpp
void addReport(GridState &grid, Report report);
Site siteOf(const Warp &warp, const Inst &inst, unsigned lane);
Site siteOf(const GridState &grid, uint32_t pc, uint64_t blockIndex, uint32_t thread);
uint32_t pcOf(const Warp &warp, const Inst &inst);
std::array<uint32_t, 3> coordinates(uint64_t index, const Dim3 &extent);

// Print.cpp
void printFormatted(Warp &warp, const Inst &inst, uint32_t mask);
void assertFailed(Warp &warp, const Inst &inst, uint32_t mask);

} // namespace vitrify::emulator
