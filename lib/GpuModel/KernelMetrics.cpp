//===- KernelMetrics.cpp - a kernel's figures in a manifest -----*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/KernelMetrics.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vitrify {
namespace {

struct Named {
  const char *name;
  int64_t CodeCounts::*member;
};
constexpr Named kCounts[] = {
    {"tensor_f8", &CodeCounts::tensorF8},
    {"tensor_f8_acc_f16", &CodeCounts::tensorF8AccF16},
    {"tensor_f16", &CodeCounts::tensorF16},
    {"tensor_f16_acc_f16", &CodeCounts::tensorF16AccF16},
    {"tensor_bf16", &CodeCounts::tensorBF16},
    {"tensor_i8", &CodeCounts::tensorI8},
    {"tensor_other", &CodeCounts::tensorOther},
    {"macs_f8", &CodeCounts::macsF8},
    {"macs_f8_acc_f16", &CodeCounts::macsF8AccF16},
    {"macs_f16", &CodeCounts::macsF16},
    {"macs_f16_acc_f16", &CodeCounts::macsF16AccF16},
    {"macs_i8", &CodeCounts::macsI8},
    {"mufu", &CodeCounts::mufu},
    {"shared_bytes", &CodeCounts::sharedBytes},
    {"async_copies", &CodeCounts::asyncCopies},
    {"async_bytes", &CodeCounts::asyncBytes},
    {"async_waits", &CodeCounts::asyncWaits},
    {"global_accesses", &CodeCounts::globalAccesses},
    {"local_accesses", &CodeCounts::localAccesses},
    {"barriers", &CodeCounts::barriers},
    {"matrix_loads", &CodeCounts::matrixLoads},
    {"f8_converts", &CodeCounts::converts},
};

void add(KernelMetrics &to, const std::string &prefix, const CodeCounts &counts) {
  to[prefix + "instructions"] = counts.instructions;
  for (const Named &count : kCounts)
    if (counts.*count.member)
      to[prefix + count.name] = counts.*count.member;
}

CodeCounts countsIn(const KernelMetrics &metrics, const std::string &prefix) {
  auto value = [&](const std::string &name) {
    auto found = metrics.find(prefix + name);
    return found == metrics.end() ? 0 : found->second;
  };
  CodeCounts counts;
  counts.instructions = value("instructions");
  for (const Named &count : kCounts)
    counts.*count.member = value(count.name);
  return counts;
}

int64_t metric(const KernelMetrics &metrics, const char *name) {
  auto found = metrics.find(name);
  return found == metrics.end() ? 0 : found->second;
}

BlockWork workOf(const CodeCounts &counts, double times) {
  BlockWork work;
  work.macs.f8 = times * double(counts.macsF8);
  work.macs.f8AccF16 = times * double(counts.macsF8AccF16);
  work.macs.f16 = times * double(counts.macsF16);
  work.macs.f16AccF16 = times * double(counts.macsF16AccF16);
  work.macs.i8 = times * double(counts.macsI8);
  work.warpInstructions = times * double(counts.instructions);
  work.mufuInstructions = times * double(counts.mufu);
  work.sharedWavefronts = times * double(counts.sharedBytes) / 128;
  work.l2Bytes = times * double(counts.asyncBytes);
  return work;
}

} // namespace

KernelMetrics metricsOf(const KernelCode &code, bool fromSass) {
  KernelMetrics metrics = {{"from_sass", fromSass}};
  if (code.registers)
    metrics["registers"] = code.registers;
  add(metrics, "", code.all);
  if (code.hasLoop) {
    add(metrics, "loop_", code.loop);
    add(metrics, "after_", code.after);
  }
  return metrics;
}

std::string tensorInstructions(const KernelMetrics &metrics) {
  std::string text;
  auto say = [&](const char *name, int64_t count) {
    if (count)
      text += (text.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(count);
  };
  CodeCounts counts = countsIn(metrics, "");
  say("f8", counts.tensorF8);
  say("f8/f16", counts.tensorF8AccF16);
  say(counts.tensorBF16 ? "bf16" : "f16", counts.tensorF16);
  say("f16/f16", counts.tensorF16AccF16);
  say("i8", counts.tensorI8);
  say("other", counts.tensorOther);
  return text;
}

std::string builtPrecision(const KernelMetrics &metrics) {
  KernelCode code;
  code.all = countsIn(metrics, "");
  return code.precision();
}

KernelLaunch launchOf(const KernelMetrics &metrics, double blocks, int threads, uint64_t dynamicSharedBytes, double rows,
                      double dramBytes) {
  KernelLaunch launch;
  launch.blocks = blocks;
  // Grids may have room for work that the device finds not to be there: such blocks return at once.
  if (int64_t active = metric(metrics, "active_permille"))
    launch.blocks = std::max(1.0, std::ceil(blocks * double(active) / 1000));
  launch.threadsPerBlock = threads;
  launch.registersPerThread = int(metric(metrics, "registers"));
  launch.sharedBytesPerBlock = dynamicSharedBytes + uint64_t(metric(metrics, "static_shared_bytes"));
  launch.dramBytes = launch.operandBytes = dramBytes;
  const double warps = (threads + 31) / 32;
  CodeCounts loop = countsIn(metrics, "loop_"), all = countsIn(metrics, "");
  if (!loop.macs() && !all.macs()) {
    launch.loop = workOf(all, warps);
    return launch;
  }
  // Without a loop the text is one, of which a warp may execute a part.
  const bool whole = !loop.macs();
  if (whole)
    loop = all;
  // Unrolled or not: so many trips do the block's products.
  const double blockMacs = double(metric(metrics, "block_macs"));
  const double trips = blockMacs > 0 ? blockMacs / (warps * double(loop.macs())) : 1;
  launch.loop = workOf(loop, warps * trips);
  if (int64_t bytes = metric(metrics, "block_copy_bytes"))
    launch.loop.l2Bytes = double(bytes);
  // Rows and columns past the end are filled with zeros, not read: what is read of both operands, over the blocks.
  const double blockRows = double(metric(metrics, "block_rows")), columns = double(metric(metrics, "columns"));
  if (blockRows > 0 && columns > 0 && rows > 0) {
    const double blockColumns = double(metric(metrics, "block_outputs")) / blockRows;
    launch.loop.l2Bytes *= (rows / std::ceil(rows / blockRows) + columns / std::ceil(columns / blockColumns)) / (blockRows + blockColumns);
  }
  if (!whole)
    launch.epilogue = workOf(countsIn(metrics, "after_"), warps);
  launch.stages = std::max(1, int(metric(metrics, "stages")));
  launch.stageBytes = double(metric(metrics, "stage_bytes"));
  launch.usefulMacs = rows * double(metric(metrics, "macs_per_row"));
  return launch;
}

} // namespace vitrify
