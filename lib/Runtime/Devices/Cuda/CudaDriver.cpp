//===- CudaDriver.cpp - finds the driver and the target -------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "CudaDriver.h"

#include "vitrify/Runtime/Devices/Cuda/CudaDevice.h"

#include <charconv>
#include <dlfcn.h>

using namespace vitrify;
using namespace vitrify::cuda;

StatusOr<std::unique_ptr<CudaApi>> vitrify::loadCudaDriver(const std::string &path) {
  const std::string name = path.empty() ? "libcuda.so.1" : path;
  // Never closed: drivers keep threads and exit handlers of their own.
  void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char *why = dlerror();
    return notFound("no CUDA driver: " + std::string(why ? why : name));
  }
  auto api = std::make_unique<CudaApi>();
  std::string missing;
#define VITRIFY_CU_OPTIONAL(name, symbol, params)                                                                      \
  api->name = reinterpret_cast<decltype(api->name)>(dlsym(library, #symbol));
#define VITRIFY_CU(name, symbol, params)                                                                               \
  VITRIFY_CU_OPTIONAL(name, symbol, params)                                                                            \
  if (!api->name && missing.empty())                                                                                   \
    missing = #symbol;
#include "vitrify/Runtime/CudaSymbols.def"
  if (!missing.empty())
    return unsupported("the CUDA driver '" + name + "' lacks " + missing + ": a driver of CUDA 12 or newer is needed");
  return api;
}

std::string vitrify::cudaVersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status vitrify::checkCudaDriverVersion(const ManifestTarget &target, int version) {
  int major = 0, minor = 0;
  const char *end = target.driver.data() + target.driver.size();
  auto [point, error] = std::from_chars(target.driver.data(), end, major);
  if (error != std::errc())
    return {};
  if (point != end && *point == '.')
    std::from_chars(point + 1, end, minor);
  if (version >= major * 1000 + minor * 10)
    return {};
  return unsupported("the driver (CUDA " + cudaVersionText(version) + ") is older than this bundle's " +
                     target.driver + ": update the driver, or rebuild the bundle with --ptxas=PATH of an older toolkit");
}

std::optional<CudaTargetChip> vitrify::parseCudaTarget(std::string_view name) {
  CudaTargetChip chip;
  if (!name.starts_with("sm_"))
    return std::nullopt;
  auto [end, error] = std::from_chars(name.data() + 3, name.data() + name.size(), chip.number);
  std::string_view rest(end, size_t(name.data() + name.size() - end));
  if (error != std::errc() || rest.size() > 1)
    return std::nullopt;
  chip.specific = !rest.empty();
  return chip;
}

Status vitrify::checkCudaTarget(const ManifestTarget &target, int major, int minor) {
  std::optional<CudaTargetChip> chip = parseCudaTarget(target.name);
  if (target.device != "cuda" || !chip)
    return unsupported("target " + target.name + " is not for an NVIDIA GPU");
  const int number = major * 10 + minor;
  if (chip->number == number || (!chip->specific && chip->number < number))
    return {};
  const std::string has = "this GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor);
  if (chip->specific)
    return unsupported("target " + target.name + " runs on no other chip, and " + has);
  return unsupported(has + ", target " + target.name + " needs " + std::to_string(chip->number / 10) + "." +
                     std::to_string(chip->number % 10) + " or newer");
}

StatusOr<const ManifestTarget *> vitrify::chooseCudaTarget(const Manifest &manifest, int major, int minor) {
  const ManifestTarget *best = nullptr;
  int bestRank = -1;
  std::string all;
  for (const ManifestTarget &target : manifest.targets) {
    all += (all.empty() ? "" : ", ") + target.name;
    if (!checkCudaTarget(target, major, minor).ok())
      continue;
    // The exact chip first, its specific form before the portable one, then the newest older one.
    CudaTargetChip chip = *parseCudaTarget(target.name);
    int rank = chip.number * 2 + chip.specific;
    if (rank > bestRank) {
      best = &target;
      bestRank = rank;
    }
  }
  if (best)
    return best;
  return unsupported("this bundle has code for " + (all.empty() ? "nothing" : all) +
                     ", and this GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                     ": compile it with --target=sm_" + std::to_string(major) + std::to_string(minor) + " too");
}
