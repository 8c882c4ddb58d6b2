//===- Warp.h - the state of running warps and blocks -----------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A warp: its register block, its paths (groups of lanes at one pc), and the
// services that executors call: memory checks, atomics' locks, reports.
//===----------------------------------------------------------------------===//
#pragma once

#include "Program.h"

#include "vitrify/Emulator/Launch.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vitrify::emulator {

struct RaceState;
struct Cta;
struct GridState;
struct WorkerState;

/// Lanes of a warp that are at one place.
struct Group {
  enum State : uint8_t { Ready, AtBarrier, AtWarpSync, AtMbarrier, AtCluster };
  uint32_t pc = 0, mask = 0;
  State state = Ready;
  uint8_t barrier = 0;
  bool arrived = false;        ///< AtBarrier: counted already
  uint32_t sleep = 0;          ///< rounds left of nanosleep
  uint64_t lastRun = 0;
  uint64_t waitAddress = 0;    ///< AtMbarrier
  uint32_t waitPhase = 0;
  std::vector<uint32_t> calls; ///< return addresses
  std::vector<uint32_t> frames;///< recursion: indices into Warp::saved, 0 for none
};

enum class Access : uint8_t { Read, Write, Atomic, AsyncCopy };

/// A memory access of one warp instruction: addresses are offsets in shared, local, param; else absolute.
struct WarpAccess {
  alignas(64) uint64_t address[32];
  uint32_t bytes;      ///< per lane
  Access access;
};

/// Of the addresses of a warp access: the least, the greatest, and all their bits; dense: lane l is at low + l bytes.
struct Extent {
  uint64_t low, high, bits;
  bool dense;

  /// Whether every lane's bytes lie in [begin, end), at multiples of their size (a power of 2).
  bool within(uint64_t begin, uint64_t end, uint32_t bytes) const {
    return low >= begin && high < end && end - high >= bytes && !(bits & (bytes - 1));
  }
};

struct AsyncCopyState {
  struct Copy {
    uint32_t begin, end; ///< shared bytes
    uint8_t lane;
  };
  std::vector<std::vector<Copy>> groups; ///< committed, oldest first
  std::vector<Copy> open;
};

/// What an instruction is to the watch for polling.
enum class Step : uint8_t { Pure, Load, Atomic, Effect };

/// Where a group of lanes polls.
struct Poll {
  uint32_t pc, mask;
  uint64_t address; ///< of the first lane
};

/// A warp under the watch for polling; see Polling.h.
struct WarpWatch {
  const std::vector<Step> *kinds = nullptr; ///< by pc
  bool effect = false;                      ///< it did what others may see, or looked at a clock
  bool repeats = false;
  uint32_t ran = 0;                         ///< lanes that did something since the last look at the state
  struct Seen {
    uint64_t state;
    uint32_t ran; ///< lanes that did something since
  };
  std::vector<Seen> seen;
  std::vector<Poll> polls;
};

struct Warp {
  uint8_t *regs = nullptr;
  uint32_t alive = 0;       ///< lanes that have not exited
  uint32_t active = 0;      ///< lanes of the running group
  bool event = false;       ///< a fault or a stop was raised
  bool checksMemory = false, checksInit = false, checksRace = false, checksSync = false, counting = false;
  bool perturb = false, plainSums = false;
  uint32_t id = 0;          ///< in the block
  uint32_t initialLanes = 0;
  uint8_t *local = nullptr; ///< 32 blocks of localStride bytes
  uint8_t *localInit = nullptr; ///< a shadow byte for each
  uint32_t localStride = 0;
  uint8_t *shared = nullptr;
  uint8_t *sharedInit = nullptr;
  uint32_t sharedBytes = 0;
  const uint8_t *params = nullptr;
  uint32_t paramBytes = 0;
  Cta *cta = nullptr;
  GridState *grid = nullptr;
  WorkerState *worker = nullptr;
  const Program *program = nullptr;
  const Chip *chip = nullptr;
  uint64_t random = 0;      ///< state of the perturbation
  // Cache of the allocation last hit by a global access.
  uint64_t hitBegin = 1, hitEnd = 0;
  bool hitInitialised = false, hitReadOnly = false;
  std::vector<Group> groups;
  uint32_t current = 0;     ///< index of the running group
  uint64_t ticks = 0;
  std::vector<std::vector<uint8_t>> saved; ///< recursion
  AsyncCopyState async;
  uint32_t stackTop[32] = {}; ///< alloca
  uint32_t clusterPending = 0; ///< lanes that arrived at the cluster barrier's phase, which is not over
  alignas(64) uint32_t laneSync[32] = {}; ///< race: this warp's clock at the lane's last warp-level synchronisation
  uint32_t clock = 1;       ///< race: this warp's own clock
  std::vector<uint32_t> seen;     ///< race: clocks of the block's warps that happened before
  std::shared_ptr<RaceState> race;
  std::unique_ptr<WarpWatch> watch; ///< null: not under watch
};

//===-- Services, in Access.cpp, Faults.cpp, Sync.cpp ----------------------===//

/// Checks a global access; returns the lanes that may go on (others were reported). Also marks writes as initialised,
/// tells the race detector and counts.
/// `extent`: of the lanes' addresses.
uint32_t checkGlobal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent);
uint32_t checkShared(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access, const Extent &extent);
uint32_t checkLocal(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access);
uint32_t checkParam(Warp &w, const Inst &i, uint32_t mask, const WarpAccess &access);
/// Reports an unset register of a tracked instruction.
void checkRegisters(Warp &w, const Inst &i, uint32_t mask);
void raise(Warp &w, const Inst &i, unsigned lane, FaultKind kind, Space space, uint64_t address, uint32_t bytes,
           std::string detail);
/// One lock for all atomics to shared memory of other kinds than the host's own.
std::unique_lock<std::mutex> lockAddress(uint64_t address);

/// Row pointers.
template <class T> inline T *row(Warp &w, uint32_t offset) { return reinterpret_cast<T *>(w.regs + offset); }

} // namespace vitrify::emulator
