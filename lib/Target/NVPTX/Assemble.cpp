//===- Assemble.cpp - PTX to a fatbin and what is known of its kernels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Target/NVPTX/Assemble.h"

#include "vitrify/GpuModel/KernelMetrics.h"
#include "vitrify/Support/CompileCache.h"
#include "vitrify/Support/Json.h"

using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

/// A cache entry: one line of JSON with the metrics, then the fatbin.
std::string printEntry(const AssembledKernels &kernels) { return Json(kernels.metrics).dump() + "\n" + kernels.fatbin; }

std::optional<AssembledKernels> parseEntry(const std::string &entry) {
  size_t line = entry.find('\n');
  auto json = line == std::string::npos ? StatusOr<Json>(dataLoss("no line")) : parseJson(entry.substr(0, line));
  if (!json || !json->is_object())
    return std::nullopt;
  AssembledKernels kernels;
  for (const auto &[name, metrics] : json->items()) {
    if (!metrics.is_object())
      return std::nullopt;
    for (const auto &[metric, value] : metrics.items()) {
      if (!value.is_number_integer())
        return std::nullopt;
      kernels.metrics[name][metric] = value.get<int64_t>();
    }
  }
  kernels.fatbin = entry.substr(line + 1);
  return kernels;
}

/// Counts of the machine code; of the PTX where no disassembler is at hand, or it does not read this cubin.
StatusOr<std::vector<KernelCode>> countCode(const Toolchain &toolchain, const std::string &cubin, const std::string &ptx,
                                            bool &fromSass) {
  if (!toolchain.nvdisasm.empty())
    if (auto text = disassemble(toolchain, cubin))
      if (auto codes = countSass(*text))
        return codes;
  fromSass = false;
  return countPtx(ptx);
}

} // namespace

StatusOr<AssembledKernels> vitrify::nvptx::assembleCached(const Toolchain &toolchain, const std::string &ptx,
                                                          const std::string &chip, CompileCache *cache) {
  // The compiler is a part of the key: it counts the instructions.
  std::string key = CacheKey("cubin").add(CompileCache::compilerIdentity()).add(toolchain.version).add(toolchain.nvdisasm)
                        .add(chip).add(kPtxasOptions).add(ptx).finish();
  if (cache)
    if (auto found = cache->find(key))
      if (auto kernels = parseEntry(*found))
        return std::move(*kernels);
  VITRIFY_ASSIGN_OR_RETURN(Cubin cubin, assemble(toolchain, ptx, chip));
  AssembledKernels kernels;
  VITRIFY_ASSIGN_OR_RETURN(kernels.fatbin, makeFatbin(toolchain, cubin.bytes, ptx, chip));
  bool fromSass = true;
  VITRIFY_ASSIGN_OR_RETURN(std::vector<KernelCode> codes, countCode(toolchain, cubin.bytes, ptx, fromSass));
  for (const KernelCode &code : codes)
    kernels.metrics[code.name] = metricsOf(code, fromSass);
  for (const auto &[name, used] : cubin.kernels) {
    auto &metrics = kernels.metrics[name];
    metrics["registers"] = used.registers;
    metrics["spill_bytes"] = used.spillStores + used.spillLoads;
    metrics["stack_bytes"] = used.stackBytes;
    metrics["static_shared_bytes"] = used.sharedBytes;
  }
  if (cache)
    cache->store(key, printEntry(kernels));
  return kernels;
}
