//===- LaunchApi.cpp - launches and occupancy of the emulated driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A launch is checked and its parameters are packed when it is made; it runs when its
// stream gets to it. What it found is printed, kept and written as the options ask.
//===----------------------------------------------------------------------===//
#include "State.h"

#include "vitrify/Emulator/LaunchThreads.h"
#include "vitrify/Support/Json.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace vitrify::emulator::driver {
namespace {

CUresult packParams(const FunctionInfo &info, void **params, void **extra, std::vector<uint8_t> &packed) {
  packed.assign(info.paramBytes, 0);
  if (params && extra)
    return fail(CUDA_ERROR_INVALID_VALUE, "parameters given twice: as pointers and as a buffer");
  if (params) {
    for (const ParamInfo &param : info.params) {
      const void *value = *params++;
      if (!value)
        return fail(CUDA_ERROR_INVALID_VALUE, "parameter '" + param.name + "' of '" + info.name + "' is null");
      std::memcpy(&packed[param.offset], value, param.size);
    }
    return CUDA_SUCCESS;
  }
  if (extra) {
    const void *buffer = nullptr;
    size_t size = 0;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
      if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
        buffer = extra[1];
      else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
        size = *static_cast<const size_t *>(extra[1]);
      else
        return fail(CUDA_ERROR_INVALID_VALUE, "unknown entry in the launch's extra list");
    }
    if (!buffer || size < info.paramBytes)
      return fail(CUDA_ERROR_INVALID_VALUE, "parameter buffer of '" + info.name + "': expected " +
                                                std::to_string(info.paramBytes) + " bytes, found " +
                                                std::to_string(buffer ? size : 0));
    std::memcpy(packed.data(), buffer, info.paramBytes);
    return CUDA_SUCCESS;
  }
  return info.params.empty() ? CUDA_SUCCESS
                             : fail(CUDA_ERROR_INVALID_VALUE, "'" + info.name + "' has parameters, none were given");
}

CUresult checkShape(const Function &function, const LaunchConfig &config) {
  const FunctionInfo &info = *function.info;
  const Chip &chip = function.module->loaded->device().chip();
  const Dim3 &grid = config.grid, &block = config.block;
  if (!grid.count() || !block.count() || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return fail(CUDA_ERROR_INVALID_VALUE, "grid or block outside the limits");
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || block.count() > 1024)
    return fail(CUDA_ERROR_INVALID_VALUE, "block of " + std::to_string(block.count()) + " threads, at most 1024");
  if (info.requiredThreads[0] &&
      (info.requiredThreads[0] != block.x || info.requiredThreads[1] != block.y || info.requiredThreads[2] != block.z))
    return fail(CUDA_ERROR_INVALID_VALUE, "'" + info.name + "' was compiled for another block shape (.reqntid)");
  int dynamicLimit = 0;
  if (CUresult error = functionAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, dynamicLimit))
    return error;
  if (config.dynamicShared > uint32_t(dynamicLimit))
    return fail(CUDA_ERROR_INVALID_VALUE, "dynamic shared memory of " + std::to_string(config.dynamicShared) +
                                              " bytes, at most " + std::to_string(dynamicLimit) +
                                              " until CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES is raised");
  int fitting = residentBlocksPerSM(chip, int(block.count()), int(info.registers),
                                    uint64_t(info.sharedStaticBytes) + config.dynamicShared);
  if (block.count() > info.maxThreads || fitting <= 0)
    return fail(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "'" + info.name + "' with " + std::to_string(block.count()) +
                                                        " threads of " + std::to_string(info.registers) +
                                                        " registers does not fit an SM");
  if (config.cooperative && grid.count() > uint64_t(fitting) * uint64_t(chip.smCount))
    return fail(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                std::to_string(grid.count()) + " blocks, the chip holds " +
                    std::to_string(uint64_t(fitting) * uint64_t(chip.smCount)));
  return CUDA_SUCCESS;
}

void publish(DriverState &s, const DriverOptions &options, LaunchRecord record) {
  if (options.printReports)
    for (const Report &report : record.result.reports)
      std::fputs(formatReport(report).c_str(), stderr);
  if (options.printReports && options.printCounters)
    std::fputs(formatCounters(record.result.counters, *record.chip).c_str(), stderr);
  std::string line = options.reportPath.empty() ? std::string() : launchRecordJson(record) + "\n";
  Lock lock(s.mutex); // one line at a time
  if (!line.empty()) {
    if (std::FILE *out = std::fopen(options.reportPath.c_str(), "ab")) {
      std::fwrite(line.data(), 1, line.size(), out);
      std::fclose(out);
    } else {
      std::fprintf(stderr, "vitrify emulator: cannot write the report '%s'\n", options.reportPath.c_str());
    }
  }
  if (options.keepRecords)
    s.records.push_back(std::move(record));
}

CUresult launchOn(CUfunction handle, const LaunchConfig &config, CUstream streamHandle, void **params, void **extra) {
  VITRIFY_CU_ENTER(now, streamHandle);
  StreamRef &stream = now.stream;
  auto node = std::make_shared<GraphNode>();
  node->type = CU_GRAPH_NODE_TYPE_KERNEL;
  if (CUresult error = prepareLaunch(*now.context, handle, config, params, extra, node->launch))
    return error;
  return issue(*now.context, *stream, std::move(node));
}

LaunchConfig shapeOf(unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,
                     unsigned shared, bool cooperative) {
  LaunchConfig config;
  config.grid = {gridX, gridY, gridZ};
  config.block = {blockX, blockY, blockZ};
  config.dynamicShared = shared;
  config.cooperative = cooperative;
  return config;
}

CUresult findIn(CUfunction handle, Lock &lock, std::shared_ptr<Function> &function) {
  Current now = current(lock);
  return now.error ? now.error : functionOf(*now.context, handle, function);
}

int fittingBlocks(const Function &function, int threads, uint64_t dynamicShared) {
  const FunctionInfo &info = *function.info;
  if (threads <= 0 || threads > 1024)
    return 0;
  return residentBlocksPerSM(function.module->loaded->device().chip(), threads, int(info.registers),
                             info.sharedStaticBytes + dynamicShared);
}

} // namespace

CUresult prepareLaunch(Context &context, CUfunction handle, const LaunchConfig &config, void **params, void **extra,
                       PreparedLaunch &prepared) {
  std::shared_ptr<Function> function;
  if (CUresult error = functionOf(context, handle, function))
    return error;
  if (function->module->context != &context)
    return fail(CUDA_ERROR_INVALID_HANDLE, "the function belongs to another context");
  if (CUresult error = checkShape(*function, config))
    return error;
  if (CUresult error = packParams(*function->info, params, extra, prepared.params))
    return error;
  prepared.module = function->module->loaded;
  prepared.kernel = function->info->name;
  prepared.config = config;
  prepared.function = handle;
  return CUDA_SUCCESS;
}

/// The number of waits begun, as long as nobody can do anything but wait for this launch; else 0.
static uint64_t activityOfTheHost() {
  std::error_code error;
  std::ptrdiff_t threads = 0;
  for (std::filesystem::directory_iterator it("/proc/self/task", error), end; !error && it != end; it.increment(error))
    ++threads;
  DriverState &s = state();
  Lock lock(s.mutex);
  const std::ptrdiff_t known = std::ptrdiff_t(s.workers) + launchThreads() + s.waiting;
  return !error && s.running == 1 && s.waiting && threads == known ? s.waits : 0;
}

CUresult runLaunch(Context &context, const PreparedLaunch &prepared) {
  DriverState &s = state();
  DriverOptions options;
  {
    Lock lock(s.mutex);
    options = s.options;
  }
  options.launch.cancel = &s.cancel;
  if (options.polling == Polling::Auto)
    options.launch.outsideActivity = activityOfTheHost;
  else if (options.polling == Polling::Wait)
    options.launch.outsideActivity = [] { return uint64_t(0); };
  if (!options.kernels.empty() &&
      std::none_of(options.kernels.begin(), options.kernels.end(),
                   [&](const std::string &part) { return prepared.kernel.find(part) != std::string::npos; }))
    options.launch.checks = CheckNone;
  // Cooperative groups find the grid's barrier through two registers (CUDA's driver_abi.h: size, then the barrier).
  LaunchConfig config = prepared.config;
  DeviceMemory &memory = memoryOf(context);
  if (config.cooperative) {
    auto workspace = memory.allocate(16, AllocationKind::Global, "grid workspace");
    if (!workspace)
      return fail(CUDA_ERROR_OUT_OF_MEMORY, workspace.status());
    config.gridWorkspace = *workspace;
    const uint32_t start[4] = {16, 0, 0, 0};
    (void)memory.copyToDevice(config.gridWorkspace, start, sizeof start);
  }
  LaunchRecord record;
  record.kernel = prepared.kernel;
  record.device = context.device->ordinal;
  record.chip = context.device->chip;
  record.result = launch(*prepared.module, prepared.kernel, config, prepared.params, options.launch);
  if (config.gridWorkspace)
    (void)memory.free(config.gridWorkspace);
  auto error = CUresult(record.result.error);
  std::string message = record.result.message;
  publish(s, options, std::move(record));
  return error == CUDA_SUCCESS ? CUDA_SUCCESS : fail(error, std::move(message));
}

VITRIFY_CU_FUNCTION(cuLaunchKernel)
(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,
 unsigned shared, CUstream stream, void **params, void **extra) {
  return launchOn(function, shapeOf(gridX, gridY, gridZ, blockX, blockY, blockZ, shared, false), stream, params, extra);
}

VITRIFY_CU_FUNCTION(cuLaunchCooperativeKernel)
(CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,
 unsigned shared, CUstream stream, void **params) {
  return launchOn(function, shapeOf(gridX, gridY, gridZ, blockX, blockY, blockZ, shared, true), stream, params,
                  nullptr);
}

VITRIFY_CU_FUNCTION(cuLaunchKernelEx)(const CUlaunchConfig *config, CUfunction function, void **params, void **extra) {
  if (!config || (config->numAttrs && !config->attrs))
    return CUDA_ERROR_INVALID_VALUE;
  bool cooperative = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const CUlaunchAttribute &attribute = config->attrs[i];
    switch (int(attribute.id)) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE: cooperative = attribute.value.cooperative != 0; break;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: {
      const auto &dim = attribute.value.clusterDim;
      if (uint64_t(dim.x) * dim.y * dim.z > 1)
        return fail(CUDA_ERROR_INVALID_CLUSTER_SIZE, "clusters of more than one block are not emulated");
      break;
    }
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: // a kernel may start early, it need not
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: break;
    default: return fail(CUDA_ERROR_NOT_SUPPORTED, "launch attribute " + std::to_string(int(attribute.id)));
    }
  }
  return launchOn(function,
                  shapeOf(config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX, config->blockDimY,
                          config->blockDimZ, config->sharedMemBytes, cooperative),
                  config->hStream, params, extra);
}

VITRIFY_CU_FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessor)
(int *blocks, CUfunction handle, int threads, size_t dynamicShared) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = findIn(handle, lock, function))
    return error;
  if (!blocks || threads <= 0)
    return CUDA_ERROR_INVALID_VALUE;
  *blocks = fittingBlocks(*function, threads, dynamicShared);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
(int *blocks, CUfunction function, int threads, size_t dynamicShared, unsigned) {
  return vitrifyEmulated_cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamicShared);
}

VITRIFY_CU_FUNCTION(cuOccupancyMaxPotentialBlockSize)
(int *minGrid, int *blockSize, CUfunction handle, CUoccupancyB2DSize sharedOf, size_t dynamicShared, int limit) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = findIn(handle, lock, function))
    return error;
  if (!minGrid || !blockSize)
    return CUDA_ERROR_INVALID_VALUE;
  int most = 0;
  if (CUresult error = functionAttribute(*function, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, most))
    return error;
  if (limit > 0)
    most = std::min(most, limit);
  int best = 0, bestThreads = 0, bestBlocks = 0;
  for (int threads = most; threads > 0; threads = (threads - 1) / 32 * 32) {
    int blocks = fittingBlocks(*function, threads, sharedOf ? sharedOf(threads) : dynamicShared);
    if (blocks * threads > best) {
      best = blocks * threads;
      bestThreads = threads;
      bestBlocks = blocks;
    }
  }
  *blockSize = bestThreads;
  *minGrid = bestBlocks * function->module->loaded->device().chip().smCount;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuOccupancyMaxPotentialBlockSizeWithFlags)
(int *minGrid, int *blockSize, CUfunction function, CUoccupancyB2DSize sharedOf, size_t dynamicShared, int limit,
 unsigned) {
  return vitrifyEmulated_cuOccupancyMaxPotentialBlockSize(minGrid, blockSize, function, sharedOf, dynamicShared, limit);
}

VITRIFY_CU_FUNCTION(cuOccupancyAvailableDynamicSMemPerBlock)
(size_t *bytes, CUfunction handle, int blocks, int threads) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = findIn(handle, lock, function))
    return error;
  if (!bytes || blocks <= 0)
    return CUDA_ERROR_INVALID_VALUE;
  const Chip &chip = function->module->loaded->device().chip();
  size_t low = 0, high = size_t(chip.sharedPerBlockOptin) + 1; // fits, does not fit
  if (fittingBlocks(*function, threads, 0) < blocks)
    return fail(CUDA_ERROR_INVALID_VALUE, "that many blocks do not fit an SM");
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    (fittingBlocks(*function, threads, middle) >= blocks ? low : high) = middle;
  }
  *bytes = low;
  return CUDA_SUCCESS;
}

} // namespace vitrify::emulator::driver

namespace vitrify::emulator {

std::string launchRecordJson(const LaunchRecord &record) {
  Json line = Json::object();
  line["kernel"] = record.kernel;
  line["device"] = record.device;
  line["chip"] = std::string(record.chip->name);
  line["error"] = int(record.result.error);
  line["message"] = record.result.message;
  line["faults"] = record.result.faults;
  line["reports"] = Json::parse(reportsToJson(record.result.reports), nullptr, false);
  if (!record.result.counters.kernel.empty())
    line["counters"] = Json::parse(countersToJson(record.result.counters, *record.chip), nullptr, false);
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

} // namespace vitrify::emulator
