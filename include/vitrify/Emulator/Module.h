//===- Module.h - a PTX module ----------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A PTX module: parsed once from text (Module), then loaded on a device
// (LoadedModule), which places its variables and decodes its functions. What
// the emulator cannot do is refused here, with instruction and line.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/GpuModel/Chips.h"
#include "vitrify/Emulator/Memory.h"
#include "vitrify/Support/Status.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace vitrify::emulator {

/// One kernel parameter in the packed parameter buffer.
struct ParamInfo {
  std::string name;
  uint32_t offset = 0, size = 0, align = 1; ///< bytes
  std::string type;     ///< ".u64", ".f32", ".b8" (arrays and structs)
  bool pointer = false; ///< declared with .ptr
};

struct FunctionInfo {
  std::string name;
  bool isKernel = false;
  std::vector<ParamInfo> params;
  uint32_t paramBytes = 0;
  uint32_t sharedStaticBytes = 0;
  uint32_t localBytes = 0;          ///< per thread
  uint32_t registers = 0;           ///< an estimate: the most 32-bit registers live at once, plus a few
  uint32_t maxThreads = 1024;       ///< from .maxntid, .reqntid
  uint32_t requiredThreads[3] = {0, 0, 0}; ///< .reqntid, or zeros
  uint32_t minBlocksPerSM = 0;      ///< .minnctapersm
  uint32_t constBytes = 0;          ///< of the module
  uint32_t line = 0;                ///< of the .entry
};

struct VariableInfo {
  std::string name;
  uint64_t size = 0;
  uint32_t align = 1;
  bool isConst = false;
  bool isVisible = false;
};

struct ParsedModule; // lib/Emulator/Syntax.h

/// Parsed PTX; immutable.
class Module {
public:
  /// Errors begin with "name:line: ". InvalidArgument: wrong PTX. Unsupported: an instruction, form, directive or ISA
  /// version that the emulator does not have, by name.
  static StatusOr<std::shared_ptr<const Module>> parse(std::string_view text, std::string name);
  ~Module();

  const std::string &name() const;
  /// ".target"'s first word ("sm_89") and ".version" as 10 * major + minor.
  const std::string &target() const;
  int version() const;
  /// Kernels in order of the text, then device functions.
  const std::vector<FunctionInfo> &functions() const;
  const std::vector<VariableInfo> &variables() const;
  const FunctionInfo *findFunction(std::string_view name) const;
  /// Ok if the chip runs this PTX (sm_89 PTX runs on later chips, sm_90a's on sm_90a alone). NotFound otherwise.
  Status checkTarget(const Chip &chip) const;

  const ParsedModule &parsed() const { return *parse_; }

private:
  Module() = default;
  std::unique_ptr<ParsedModule> parse_;
};

/// One emulated device.
class Device {
public:
  /// `memoryBytes` 0: what the chip has.
  static StatusOr<std::unique_ptr<Device>> create(const Chip &chip, uint64_t memoryBytes = 0);
  const Chip &chip() const { return *chip_; }
  DeviceMemory &memory() { return *memory_; }
  const DeviceMemory &memory() const { return *memory_; }

private:
  const Chip *chip_ = nullptr;
  std::unique_ptr<DeviceMemory> memory_;
};

struct Program;  // lib/Emulator/Program.h: decoded functions

/// A module on a device: variables placed and initialised, functions decoded. Frees its variables when destroyed.
class LoadedModule {
public:
  static StatusOr<std::shared_ptr<const LoadedModule>> load(std::shared_ptr<const Module> module, Device &device);
  ~LoadedModule();

  const Module &module() const { return *module_; }
  Device &device() const { return *device_; }
  /// Address and size of a .global or .const variable; NotFound names it.
  StatusOr<Allocation> variable(std::string_view name) const;
  /// Registers per thread of a kernel as decoded; the same estimate as FunctionInfo::registers once loaded.
  const FunctionInfo *findKernel(std::string_view name) const;
  const Program &program() const { return *program_; }

private:
  LoadedModule() = default;
  std::shared_ptr<const Module> module_;
  Device *device_ = nullptr;
  std::vector<FunctionInfo> kernels_; ///< with the figures that decoding found
  std::map<std::string, Allocation, std::less<>> variables_;
  std::unique_ptr<Program> program_;
};

} // namespace vitrify::emulator
