//===- RunKernel.cpp - one kernel of a module ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Loads the module through the emulated driver, copies arrays in, launches, and copies
// results out to .npy files.
//===----------------------------------------------------------------------===//
#include "EmulateOptions.h"

#include <cstdio>

namespace vitrify::emulate {
namespace {
using namespace vitrify::cuda;
using namespace vitrify::emulator;

Status check(CUresult result, const std::string &what) {
  if (result == CUDA_SUCCESS)
    return {};
  const char *name = nullptr;
  driverApi().cuGetErrorName(result, &name);
  std::string message = driverMessage();
  return deviceError(what + ": " + (name ? name : std::to_string(int(result))) +
                     (message.empty() ? "" : ": " + message));
}

StatusOr<CUfunction> findKernel(CUmodule module, const Options &options) {
  const CudaApi &cu = driverApi();
  CUfunction function = nullptr;
  if (!options.kernel.empty()) {
    VITRIFY_RETURN_IF_ERROR(check(cu.cuModuleGetFunction(&function, module, options.kernel.c_str()), options.module));
    return function;
  }
  unsigned count = 0;
  VITRIFY_RETURN_IF_ERROR(check(cu.cuModuleGetFunctionCount(&count, module), options.module));
  if (count != 1)
    return invalidArgument(options.module + ": has " + std::to_string(count) + " kernels; choose one with --kernel");
  VITRIFY_RETURN_IF_ERROR(check(cu.cuModuleEnumerateFunctions(&function, 1, module), options.module));
  return function;
}

/// Fits the arguments to the kernel's parameters.
Status placeArguments(CUfunction function, const Options &options, std::vector<CUdeviceptr> &addresses,
                      std::vector<void *> &params) {
  const CudaApi &cu = driverApi();
  for (size_t i = 0; i < options.arguments.size(); ++i) {
    const Argument &argument = options.arguments[i];
    size_t offset = 0, size = 0;
    if (cu.cuFuncGetParamInfo(function, i, &offset, &size) != CUDA_SUCCESS)
      return invalidArgument("--arg " + argument.text + ": the kernel has " + std::to_string(i) + " parameters");
    size_t given = argument.kind == Argument::Kind::Scalar ? argument.scalar.size() : sizeof(CUdeviceptr);
    if (given != size)
      return invalidArgument("--arg " + argument.text + ": parameter " + std::to_string(i) + " has " +
                             std::to_string(size) + " bytes, found " + std::to_string(given));
    if (argument.kind == Argument::Kind::Scalar) {
      params.push_back(const_cast<std::byte *>(argument.scalar.data()));
      continue;
    }
    size_t bytes = argument.array.data.size();
    if (bytes == 0)
      return invalidArgument("--arg " + argument.text + ": the array is empty");
    VITRIFY_RETURN_IF_ERROR(check(cu.cuMemAlloc(&addresses[i], bytes), "--arg " + argument.text));
    if (argument.kind != Argument::Kind::Out) // contents, or zeros
      VITRIFY_RETURN_IF_ERROR(
          check(cu.cuMemcpyHtoD(addresses[i], argument.array.data.data(), bytes), "--arg " + argument.text));
    params.push_back(&addresses[i]);
  }
  size_t offset = 0, size = 0;
  if (cu.cuFuncGetParamInfo(function, options.arguments.size(), &offset, &size) == CUDA_SUCCESS)
    return invalidArgument("the kernel has more parameters than the " + std::to_string(options.arguments.size()) +
                           " given by --arg");
  return {};
}

Status writeResults(const Options &options, const std::vector<CUdeviceptr> &addresses) {
  const CudaApi &cu = driverApi();
  for (size_t i = 0; i < options.arguments.size(); ++i) {
    const Argument &argument = options.arguments[i];
    if (argument.kind < Argument::Kind::InOut || argument.path.empty())
      continue;
    std::vector<std::byte> data(argument.array.data.size());
    VITRIFY_RETURN_IF_ERROR(check(cu.cuMemcpyDtoH(data.data(), addresses[i], data.size()), "--arg " + argument.text));
    VITRIFY_RETURN_IF_ERROR(writeNpy(argument.path, argument.array.dtype, argument.array.shape, data));
  }
  return {};
}

} // namespace

StatusOr<int> runKernel(const Options &options) {
  const CudaApi &cu = driverApi();
  DriverOptions driver;
  driver.polling = Polling::Report; // nobody writes while the kernel runs
  for (const auto &[name, value] : options.driver)
    VITRIFY_RETURN_IF_ERROR(setDriverOption(driver, name, value));
  bool print = driver.printReports;
  driver.keepRecords = true;
  driver.printReports = driver.printCounters = false; // printed here, in order
  setDriverOptions(driver);

  CUcontext context = nullptr;
  CUmodule module = nullptr;
  VITRIFY_RETURN_IF_ERROR(check(cu.cuInit(0), "the emulated driver"));
  VITRIFY_RETURN_IF_ERROR(check(cu.cuCtxCreate(&context, 0, 0), "the emulated device"));
  VITRIFY_RETURN_IF_ERROR(check(cu.cuModuleLoad(&module, options.module.c_str()), options.module));
  VITRIFY_ASSIGN_OR_RETURN(CUfunction function, findKernel(module, options));
  std::vector<CUdeviceptr> addresses(options.arguments.size());
  std::vector<void *> params;
  VITRIFY_RETURN_IF_ERROR(placeArguments(function, options, addresses, params));
  if (options.shared > 48u << 10)
    VITRIFY_RETURN_IF_ERROR(
        check(cu.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, int(options.shared)),
              "--smem " + std::to_string(options.shared)));

  const auto &g = options.grid, &b = options.block;
  params.push_back(nullptr); // never read: data() of an empty vector would mean "no parameters given"
  CUresult launched = options.cooperative ? cu.cuLaunchCooperativeKernel(function, g[0], g[1], g[2], b[0], b[1], b[2],
                                                                         options.shared, nullptr, params.data())
                                          : cu.cuLaunchKernel(function, g[0], g[1], g[2], b[0], b[1], b[2],
                                                              options.shared, nullptr, params.data(), nullptr);
  VITRIFY_RETURN_IF_ERROR(check(launched, "launch"));
  CUresult ran = cu.cuCtxSynchronize();
  Status failed = check(ran, "kernel");

  uint64_t faults = 0;
  std::string json;
  for (const LaunchRecord &record : takeLaunchRecords()) {
    faults += record.result.faults;
    json += (json.empty() ? "" : ",\n") + launchRecordJson(record);
    if (print) {
      for (const Report &report : record.result.reports)
        std::fputs(formatReport(report).c_str(), stderr);
      std::fprintf(stderr, "========= ERROR SUMMARY: %llu error%s\n", (unsigned long long)(record.result.faults),
                   record.result.faults == 1 ? "" : "s");
    }
    if (options.counters)
      std::fputs(formatCounters(record.result.counters, *record.chip, options.lines).c_str(),
                 options.json == "-" ? stderr : stdout);
  }
  VITRIFY_RETURN_IF_ERROR(writeJson(options, "[" + json + "]\n"));
  if (ran == CUDA_SUCCESS)
    VITRIFY_RETURN_IF_ERROR(writeResults(options, addresses));
  else
    std::fprintf(stderr, "vitrify-emulate: %s\n", failed.message().c_str());
  return exitStatus(options, faults, ran == CUDA_SUCCESS ? 0 : 1);
}

} // namespace vitrify::emulate
