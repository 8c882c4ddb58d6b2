//===- Launch.cpp - running a grid ------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Validates a launch, then lets host threads take blocks in index order. A
// block that has used its turn goes to the back of the queue, so that blocks
// that wait for others (look-back, grid barriers) let them run.
//===----------------------------------------------------------------------===//
#include "Cache.h"
#include "GlobalShadow.h"
#include "Polling.h"
#include "Race.h"

#include "vitrify/Emulator/LaunchThreads.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <thread>

namespace vitrify::emulator {

GridState::GridState() = default;
GridState::~GridState() = default;

namespace {

constexpr int64_t kWarpSlice = 20000;   ///< instructions of one warp before the next one's turn
constexpr unsigned kTurnsPerStay = 4;   ///< rounds over the warps before another block's turn

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

struct Special {
  std::string_view name;
  uint64_t value;
};

void fillSpecials(GridState &grid, Cta &cta, Warp &w) {
  const Program &p = *grid.program;
  const Dim3 &block = grid.config.block, &ext = grid.config.grid;
  auto cta3 = coordinates(cta.index, ext);
  uint64_t sm = cta.index % uint64_t(p.chip->smCount);
  for (const SpecialRow &s : p.specials) {
    std::string_view name = s.name;
    unsigned bits = 32;
    if (size_t slash = name.find('/'); slash != std::string_view::npos) {
      bits = static_cast<unsigned>(std::atoi(std::string(name.substr(slash + 1)).c_str()));
      name = name.substr(0, slash);
    }
    if (name == "%gridid" || name == "%current_graph_exec")
      bits = bits == 32 && s.name.find('/') != std::string::npos ? 32 : 64;
    auto store = [&](auto value) {
      for (uint32_t lane = 0; lane < 32; ++lane) {
        uint64_t v = value(lane);
        std::memcpy(w.regs + s.row + lane * (bits / 8), &v, bits / 8);
      }
    };
    auto dim = [&](std::string_view base, uint64_t x, uint64_t y, uint64_t z) {
      if (name.size() != base.size() + 2 || name.substr(0, base.size()) != base)
        return false;
      char c = name.back();
      store([&](uint32_t) { return c == 'x' ? x : c == 'y' ? y : c == 'z' ? z : 0; });
      return true;
    };
    if (name.starts_with("%tid.")) {
      char c = name.back();
      store([&](uint32_t lane) -> uint64_t {
        auto t = coordinates(w.id * 32 + lane, block);
        return c == 'x' ? t[0] : c == 'y' ? t[1] : c == 'z' ? t[2] : 0;
      });
      continue;
    }
    if (dim("%ntid", block.x, block.y, block.z) || dim("%ctaid", cta3[0], cta3[1], cta3[2]) ||
        dim("%nctaid", ext.x, ext.y, ext.z) || dim("%clusterid", cta3[0], cta3[1], cta3[2]) ||
        dim("%nclusterid", ext.x, ext.y, ext.z) || dim("%cluster_ctaid", 0, 0, 0) || dim("%cluster_nctaid", 1, 1, 1))
      continue;
    if (name == "%laneid")
      store([](uint32_t lane) { return lane; });
    else if (name == "%warpid")
      store([&](uint32_t) { return w.id; });
    else if (name == "%lanemask_eq")
      store([](uint32_t l) { return 1u << l; });
    else if (name == "%lanemask_lt")
      store([](uint32_t l) { return (1u << l) - 1; });
    else if (name == "%lanemask_le")
      store([](uint32_t l) { return ((1u << l) - 1) | 1u << l; });
    else if (name == "%lanemask_gt")
      store([](uint32_t l) { return ~(((1u << l) - 1) | 1u << l); });
    else if (name == "%lanemask_ge")
      store([](uint32_t l) { return ~((1u << l) - 1); });
    else {
      uint64_t value = 0;
      if (name == "%nwarpid")
        value = uint64_t(p.chip->warpsPerSM());
      else if (name == "%envreg1")
        value = grid.config.gridWorkspace >> 32;
      else if (name == "%envreg2")
        value = grid.config.gridWorkspace & 0xffffffffu;
      else if (name == "%smid")
        value = sm;
      else if (name == "%nsmid")
        value = uint64_t(p.chip->smCount);
      else if (name == "%gridid")
        value = grid.launchNumber;
      else if (name == "%cluster_nctarank")
        value = 1;
      else if (name == "%total_smem_size")
        value = grid.sharedBytes;
      else if (name == "%dynamic_smem_size")
        value = grid.config.dynamicShared;
      else if (name == "%aggr_smem_size")
        value = grid.sharedBytes + uint64_t(p.chip->sharedReservedPerBlock);
      store([&](uint32_t) { return value; });
    }
  }
}

std::unique_ptr<Cta> makeCta(GridState &grid, std::unique_ptr<Cta> cta, uint64_t index) {
  const Program &p = *grid.program;
  uint32_t threads = static_cast<uint32_t>(grid.threadsPerBlock), warps = (threads + 31) / 32;
  bool fresh = !cta;
  uint32_t localStride = (p.localBytes + 15) / 16 * 16;
  if (p.usesAlloca)
    localStride += 16384;
  localStride = std::max(localStride, 16u);
  if (fresh) {
    cta = std::make_unique<Cta>();
    cta->rowStorageBytes = size_t(p.rowsBytes) * warps + 64;
    cta->rowStorage.reset(new uint8_t[cta->rowStorageBytes]());
    cta->warps = std::vector<Warp>(warps);
    cta->local.resize(size_t(localStride) * 32 * warps);
    cta->localInit.resize(cta->local.size());
    cta->shared.resize(grid.sharedBytes + 16);
    cta->sharedInit.resize(grid.sharedBytes + 16);
  } else {
    std::fill(cta->localInit.begin(), cta->localInit.end(), 0);
    std::fill(cta->sharedInit.begin(), cta->sharedInit.end(), 0);
  }
  // What nobody wrote must not look like a good value.
  std::fill(cta->shared.begin(), cta->shared.end(), 0xcd);
  cta->index = index;
  cta->threads = threads;
  cta->exited = 0;
  cta->nextWarp = 0;
  cta->idleTurns = 0;
  cta->watchEpoch = cta->watchStays = 0;
  cta->stuck = false;
  cta->changed = true;
  cta->asyncArrivals.clear();
  for (BarrierState &b : cta->barriers)
    b = BarrierState();
  auto blockAt = coordinates(index, grid.config.grid);
  std::copy(blockAt.begin(), blockAt.end(), cta->block);
  uint8_t *rows = cta->rowStorage.get();
  rows += (64 - reinterpret_cast<uintptr_t>(rows) % 64) % 64;
  const LaunchOptions &o = *grid.options;
  for (uint32_t k = 0; k < warps; ++k) {
    Warp &w = cta->warps[k];
    std::vector<Group> groups = std::move(w.groups);
    w = Warp();
    w.regs = rows + size_t(k) * p.rowsBytes;
    if (fresh)
      std::memcpy(w.regs, p.constants.data(), p.constants.size());
    w.id = k;
    uint32_t lanes = std::min(threads - k * 32, 32u);
    w.initialLanes = w.alive = lanes == 32 ? ~0u : (1u << lanes) - 1;
    w.checksMemory = o.checks & CheckMemory;
    w.checksInit = o.checks & CheckInit;
    w.checksRace = o.checks & CheckRace;
    w.checksSync = o.checks & CheckSync;
    w.counting = o.counters;
    w.perturb = o.perturbApprox;
    w.plainSums = o.sums == TensorSums::Plain;
    w.localStride = localStride;
    w.local = cta->local.data() + size_t(k) * 32 * localStride;
    w.localInit = cta->localInit.data() + size_t(k) * 32 * localStride;
    w.shared = cta->shared.data();
    w.sharedInit = cta->sharedInit.data();
    w.sharedBytes = grid.sharedBytes;
    w.params = grid.params.data();
    w.paramBytes = static_cast<uint32_t>(grid.function->info.paramBytes);
    w.cta = cta.get();
    w.grid = &grid;
    w.program = &p;
    w.chip = p.chip;
    w.random = mix(o.seed * 0x9e3779b97f4a7c15 + index * 64 + k);
    for (uint32_t lane = 0; lane < 32; ++lane)
      w.stackTop[lane] = localStride;
    groups.assign(1, Group());
    groups[0].pc = grid.function->entry;
    groups[0].mask = w.alive;
    w.groups = std::move(groups);
    for (const TrackedRegister &t : grid.function->tracked)
      *row<uint32_t>(w, t.initRow) = 0;
    fillSpecials(grid, *cta, w);
  }
  raceStart(*cta);
  return cta;
}

enum class Stay : uint8_t { Finished, Preempted, Stopped };

/// Runs the block for a while.
Stay runCta(GridState &grid, Cta &cta, WorkerState &worker) {
  uint64_t random = mix(grid.options->seed ^ mix(cta.index + cta.idleTurns * 977 + cta.exited));
  for (unsigned turn = 0; turn < kTurnsPerStay;) {
    bool anyRan = false, allDone = true, anyLeft = false;
    uint32_t n = static_cast<uint32_t>(cta.warps.size());
    uint32_t start = 0;
    if (grid.options->seed) {
      random = mix(random);
      start = static_cast<uint32_t>(random % n);
    }
    for (uint32_t k = 0; k < n; ++k) {
      Warp &w = cta.warps[(start + k) % n];
      if (w.groups.empty())
        continue;
      allDone = false;
      int64_t slice = kWarpSlice;
      if (grid.options->seed) {
        random = mix(random);
        slice = 16 + static_cast<int64_t>(random % 512);
      }
      w.worker = &worker;
      uint64_t before = w.ticks;
      RunResult result = runWarp(w, slice);
      if (w.watch)
        watchState(w);
      uint64_t ran = w.ticks - before;
      worker.instructions += ran;
      if (grid.options->maxInstructions &&
          grid.instructions.fetch_add(ran, std::memory_order_relaxed) + ran > grid.options->maxInstructions) {
        if (!grid.stop.load())
          grid.fail(LaunchError::Timeout, "kernel '" + grid.function->info.name + "' ran for more than " +
                                              std::to_string(grid.options->maxInstructions) + " warp instructions");
        return Stay::Stopped;
      }
      if (grid.stop.load(std::memory_order_relaxed) || result == RunResult::Stopped) {
        if (grid.stop.load())
          return Stay::Stopped;
        anyRan = true; // a fault that does not end the grid
      }
      if (result == RunResult::Slice || result == RunResult::Done)
        anyRan = true;
      if (result == RunResult::Slice)
        anyLeft = true;
      if (ran > 0)
        anyRan = true;
    }
    if (allDone)
      return Stay::Finished;
    if (!anyRan) {
      // Nobody could run: either a barrier has just opened, or this is the end.
      bool ready = false;
      for (Warp &w : cta.warps)
        for (Group &g : w.groups)
          ready |= g.state == Group::Ready || (g.state == Group::AtMbarrier && mbarrierReady(w, g));
      if (!ready) {
        reportDeadlock(cta);
        return Stay::Stopped;
      }
    }
    turn += anyLeft;
  }
  return Stay::Preempted;
}

void work(GridState &grid, WorkerState &worker) {
  while (true) {
    std::unique_ptr<Cta> cta;
    {
      std::unique_lock lock(grid.mutex);
      while (true) {
        if (grid.stop.load() || grid.finished == grid.blocks)
          return;
        if (grid.options->cancel && grid.options->cancel->load()) {
          lock.unlock();
          grid.fail(LaunchError::LaunchFailed, "cancelled");
          grid.wake.notify_all();
          return;
        }
        // New blocks first, while there is room; then the one that has waited longest.
        if (grid.nextBlock < grid.blocks && grid.resident < uint64_t(grid.residentLimit)) {
          uint64_t index = grid.nextBlock++;
          ++grid.resident;
          std::unique_ptr<Cta> spare;
          if (!grid.spare.empty()) {
            spare = std::move(grid.spare.back());
            grid.spare.pop_back();
          }
          lock.unlock();
          cta = makeCta(grid, std::move(spare), index);
          lock.lock();
          watchBegin(grid, *cta);
          break;
        }
        if (!grid.ready.empty()) {
          cta = std::move(grid.ready.front());
          grid.ready.pop_front();
          watchBegin(grid, *cta);
          break;
        }
        grid.wake.wait(lock);
      }
    }
    cta->changed = false;
    Stay stay = runCta(grid, *cta, worker);
    std::unique_lock lock(grid.mutex);
    if (stay != Stay::Stopped)
      (void)watchEnd(grid, *cta, stay == Stay::Finished);
    if (stay == Stay::Finished) {
      ++grid.finished;
      --grid.resident;
      ++grid.progress;
      grid.spare.push_back(std::move(cta));
    } else if (stay == Stay::Preempted) {
      if (cta->changed) {
        cta->idleTurns = 0;
        ++grid.progress;
      } else {
        ++cta->idleTurns;
      }
      grid.ready.push_back(std::move(cta));
    }
    grid.wake.notify_all();
  }
}

LaunchResult invalid(LaunchError error, std::string message) {
  LaunchResult result;
  result.error = error;
  result.message = std::move(message);
  return result;
}

std::atomic<uint32_t> launchCounter{1};
std::atomic<unsigned> poolThreads{0};

} // namespace

unsigned launchThreads() { return poolThreads.load(); }

void collectCounters(GridState &grid, const std::vector<std::unique_ptr<WorkerState>> &workers, Counters &out);

LaunchResult launch(const LoadedModule &module, std::string_view kernel, const LaunchConfig &config,
                    std::span<const uint8_t> params, const LaunchOptions &options) {
  const Program &program = module.program();
  auto index = program.functionIndex.find(std::string(kernel));
  if (index == program.functionIndex.end() || !program.functions[index->second].info.isKernel)
    return invalid(LaunchError::InvalidValue, "no kernel called '" + std::string(kernel) + "'");
  const DecodedFunction &fn = program.functions[index->second];
  const Chip &chip = *program.chip;
  auto dims = [](const Dim3 &d) {
    return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
  };
  if (config.grid.count() == 0 || config.block.count() == 0 || config.grid.y > 65535 || config.grid.z > 65535 ||
      config.grid.x > 0x7fffffffu)
    return invalid(LaunchError::InvalidValue, "grid of " + dims(config.grid) + " blocks of " + dims(config.block) +
                                                  " threads is out of range");
  if (config.block.x > 1024 || config.block.y > 1024 || config.block.z > 64 || config.block.count() > 1024)
    return invalid(LaunchError::InvalidValue, "block of " + dims(config.block) + " threads, at most 1024");
  if (config.block.count() > fn.info.maxThreads)
    return invalid(LaunchError::InvalidValue, "block of " + std::to_string(config.block.count()) +
                                                  " threads, '" + fn.info.name + "' allows " +
                                                  std::to_string(fn.info.maxThreads));
  if (fn.info.requiredThreads[0] && (config.block.x != fn.info.requiredThreads[0] ||
                                     config.block.y != fn.info.requiredThreads[1] ||
                                     config.block.z != fn.info.requiredThreads[2]))
    return invalid(LaunchError::InvalidValue, "'" + fn.info.name + "' requires another block size than " +
                                                  dims(config.block));
  if (params.size() < fn.info.paramBytes)
    return invalid(LaunchError::InvalidValue, "'" + fn.info.name + "' takes " + std::to_string(fn.info.paramBytes) +
                                                  " bytes of parameters, got " + std::to_string(params.size()));
  uint64_t shared = uint64_t(fn.info.sharedStaticBytes) + config.dynamicShared;
  if (config.dynamicShared)
    shared = uint64_t(program.dynamicSharedBegin) + config.dynamicShared;
  if (shared > uint64_t(chip.sharedPerBlockOptin))
    return invalid(LaunchError::InvalidValue, "shared memory of " + std::to_string(shared) + " bytes, " +
                                                  std::string(chip.name) + " has " +
                                                  std::to_string(chip.sharedPerBlockOptin) + " a block");
  // The register count is an estimate made from virtual registers: it limits residency, but refuses no launch.
  int registers = int(std::min<uint64_t>(std::min(fn.info.registers, 255u), 65536 / ((config.block.count() + 31) / 32 * 32)));
  int perSM = residentBlocksPerSM(chip, int(config.block.count()), registers, shared);
  if (perSM == 0)
    return invalid(LaunchError::OutOfResources, "a block of '" + fn.info.name + "' does not fit on an SM of " +
                                                    std::string(chip.name));
  uint64_t limit = uint64_t(perSM) * uint64_t(chip.smCount);
  if (config.cooperative && config.grid.count() > limit)
    return invalid(LaunchError::CooperativeTooLarge, "cooperative grid of " + std::to_string(config.grid.count()) +
                                                         " blocks, " + std::string(chip.name) + " holds " +
                                                         std::to_string(limit));

  GridState grid;
  grid.loaded = &module;
  grid.program = &program;
  grid.function = &fn;
  grid.options = &options;
  grid.config = config;
  grid.device = &module.device();
  grid.sharedBytes = static_cast<uint32_t>(shared);
  grid.params.assign(params.begin(), params.end());
  grid.params.resize(std::max<size_t>(params.size(), 16) + 16);
  grid.blocks = config.grid.count();
  grid.threadsPerBlock = config.block.count();
  grid.residentLimit = static_cast<int>(std::min<uint64_t>(limit, 1u << 20));
  grid.launchNumber = launchCounter.fetch_add(1);
  if (options.checks & CheckRace)
    grid.shadow = acquireGlobalShadow(module.device(), grid.launchNumber);
  if (options.counters)
    grid.cache = std::make_unique<CacheModel>(chip);

  unsigned threads = options.hostThreads ? options.hostThreads : std::max(1u, std::thread::hardware_concurrency());
  threads = static_cast<unsigned>(std::min<uint64_t>(threads, grid.blocks));
  auto table = module.device().memory().table();
  std::vector<std::unique_ptr<WorkerState>> workers;
  for (unsigned k = 0; k < threads; ++k) {
    workers.push_back(std::make_unique<WorkerState>());
    workers.back()->counts.resize(options.counters ? program.code.size() : 0);
    workers.back()->table = table;
    workers.back()->initialised.resize(table->size());
  }
  std::vector<std::thread> pool;
  poolThreads += threads - 1;
  for (unsigned k = 1; k < threads; ++k)
    pool.emplace_back([&, k] { work(grid, *workers[k]); });
  work(grid, *workers[0]);
  for (std::thread &t : pool)
    t.join();
  poolThreads -= threads - 1;
  LaunchResult result;
  result.error = grid.error;
  result.message = std::move(grid.message);
  result.reports = std::move(grid.reports);
  result.faults = grid.faults;
  if (options.counters)
    collectCounters(grid, workers, result.counters);
  return result;
}

StatusOr<int> residentBlocks(const LoadedModule &module, std::string_view kernel, int threadsPerBlock,
                             uint64_t dynamicShared) {
  const FunctionInfo *info = module.findKernel(kernel);
  if (!info)
    return notFound("no kernel called '" + std::string(kernel) + "'");
  return residentBlocksPerSM(*module.program().chip, threadsPerBlock, int(std::min(info->registers, 255u)),
                             info->sharedStaticBytes + dynamicShared);
}

} // namespace vitrify::emulator
