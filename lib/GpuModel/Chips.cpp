//===- Chips.cpp - the table of chip constants ------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Figures of the chips and their lookup. Tensor rates are the data sheets'
// dense figures divided by SMs, boost clock and 2; they come out as powers of 2.
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/Chips.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace vitrify {
namespace {

// Sum rules: microsoft/MMA-Sim (arXiv 2511.10909). Ada f16: 24 fraction bits, groups of 8; Hopper and Blackwell: 25,
// groups of 16. Ada e4m3: 13 bits, groups of 16, result cut to 13 bits. Hopper and sm_100 mma.sync on FP8 runs as
// FP16-class instructions with the addend added late (PyPI mmaemu, preset b200_mma_sync: experimental). sm_120 e4m3:
// 25 bits over the whole k32.
constexpr SumRule kAdaF16{24, 23, 8}, kAdaF8{13, 13, 16};
constexpr SumRule kHopperF16{25, 23, 16}, kBlackwellF8{25, 23, 32}, kRewrittenF8{25, 23, 32, true};

constexpr uint64_t GiB = uint64_t(1) << 30, MiB = uint64_t(1) << 20;
constexpr int KiB = 1024;

// Limits: CUDA C++ Programming Guide 13.0, "Compute Capabilities". Latency and L2 rates are round figures from
// published micro-benchmarks (Chips and Cheese, arXiv 2402.13499; hits of Ada's L2: arXiv 2606.22588); Blackwell's L2
// latency is Ada's and Hopper's carried over. Launch cost is that of a node in a CUDA graph.
const Chip kChips[] = {
    {"RTX 4090", "sm_89", 8, 9, 128, 2520000, 10501000, 384, 24 * GiB, 1008e9, 72 * MiB, 16, 1536, 24, 65536,
     100 * KiB, 99 * KiB, 1024, 128, 16, 128, 256, 512, 512, 1024, 1024, 550, 1300, 279, kAdaF16, kAdaF8, false,
     "NVIDIA Ada GPU Architecture whitepaper v2.1, appendix A (FP16 165.2 and 330.3, FP8 330.3 and 660.6 TFLOPS dense)"},
    {"L4", "sm_89", 8, 9, 58, 2040000, 6251000, 192, 24 * GiB, 300e9, 48 * MiB, 16, 1536, 24, 65536, 100 * KiB,
     99 * KiB, 1024, 128, 16, 128, 512, 512, 1024, 1024, 1024, 600, 1300, 279, kAdaF16, kAdaF8, false,
     "NVIDIA L4 data sheet (FP16 121, FP8 242.5 TFLOPS dense, 300 GB/s)"},
    {"L40S", "sm_89", 8, 9, 142, 2520000, 9001000, 384, 48 * GiB, 864e9, 96 * MiB, 16, 1536, 24, 65536, 100 * KiB,
     99 * KiB, 1024, 128, 16, 128, 512, 512, 1024, 1024, 1024, 600, 1300, 279, kAdaF16, kAdaF8, false,
     "NVIDIA L40S data sheet (FP16 362, FP8 733 TFLOPS dense, 864 GB/s)"},
    {"H100", "sm_90a", 9, 0, 132, 1830000, 2619000, 5120, 80 * GiB, 3352e9, 50 * MiB, 28, 2048, 32, 65536, 228 * KiB,
     227 * KiB, 1024, 128, 16, 128, 2048, 2048, 4096, 4096, 4096, 600, 1300, 263, kHopperF16, kRewrittenF8, true,
     "NVIDIA H100 Tensor Core GPU whitepaper (SXM5: FP16 989.4, FP8 1978.9 TFLOPS dense, 3.35 TB/s)"},
    {"B200", "sm_100a", 10, 0, 148, 1850000, 3996000, 8192, 180 * GiB, 8000e9, 126 * MiB, 28, 2048, 32, 65536,
     228 * KiB, 227 * KiB, 1024, 128, 16, 128, 4096, 4096, 8192, 8192, 8192, 700, 1300, 263, kHopperF16,
     kRewrittenF8, true,
     "NVIDIA HGX B200 data sheet (FP16 2.25, FP8 4.5 PFLOPS dense, 8 TB/s)"},
    {"RTX 5090", "sm_120a", 12, 0, 170, 2407000, 14001000, 512, 32 * GiB, 1792e9, 96 * MiB, 16, 1536, 24, 65536,
     100 * KiB, 99 * KiB, 1024, 128, 16, 128, 256, 512, 512, 1024, 1024, 600, 1300, 279, kHopperF16, kBlackwellF8,
     true,
     "NVIDIA RTX Blackwell GPU Architecture whitepaper v1.1 (FP16 209.5 and 419, FP8 419 and 838 TFLOPS dense)"},
};

std::string folded(std::string_view text) {
  std::string out;
  for (char c : text)
    if (!std::isspace(static_cast<unsigned char>(c)) && c != '-')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

} // namespace

std::span<const Chip> chips() { return kChips; }

StatusOr<const Chip *> findChip(std::string_view nameOrTarget) {
  std::string key = folded(nameOrTarget);
  for (const Chip &chip : kChips)
    if (folded(chip.name) == key || chip.target == key || std::string(chip.target) == key + "a")
      return &chip;
  std::string known;
  for (const Chip &chip : kChips)
    known += (known.empty() ? "" : ", ") + std::string(chip.name) + " (" + std::string(chip.target) + ")";
  return notFound("no chip called '" + std::string(nameOrTarget) + "'; known are " + known);
}

int residentBlocksPerSM(const Chip &chip, int threadsPerBlock, int registersPerThread, uint64_t sharedBytesPerBlock) {
  if (threadsPerBlock <= 0 || threadsPerBlock > 1024)
    return 0;
  int warps = (threadsPerBlock + 31) / 32;
  // Registers are given out per warp in units of 256; shared memory in units of 128 bytes.
  int registers = std::max(registersPerThread, 1);
  int registersPerWarp = (registers * 32 + 255) / 256 * 256;
  uint64_t shared = (sharedBytesPerBlock + uint64_t(chip.sharedReservedPerBlock) + 127) / 128 * 128;
  int byWarps = chip.warpsPerSM() / warps;
  int byRegisters = chip.registersPerSM / (registersPerWarp * warps);
  int byShared = static_cast<int>(std::min<uint64_t>(uint64_t(chip.sharedPerSM) / shared, 1024));
  return std::min({byWarps, byRegisters, byShared, chip.maxBlocksPerSM});
}

} // namespace vitrify
