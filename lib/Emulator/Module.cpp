//===- Module.cpp - modules and devices -------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Parsing, the rules of which chip runs which PTX, and loading: variables get
// memory and their initial values, functions are decoded.
//===----------------------------------------------------------------------===//
#include "vitrify/Emulator/Module.h"

#include "Program.h"

#include <cstring>

namespace vitrify::emulator {

namespace {
/// Of a module's .global and .const variables: they are addressed by 32-bit relocations on hardware.
constexpr uint64_t kMaxVariableBytes = uint64_t(2) << 30;
} // namespace

Module::~Module() = default;

StatusOr<std::shared_ptr<const Module>> Module::parse(std::string_view text, std::string name) {
  auto parsed = parsePtx(text, std::move(name));
  if (!parsed)
    return parsed.status();
  std::shared_ptr<Module> module(new Module);
  module->parse_ = std::move(*parsed);
  return std::shared_ptr<const Module>(std::move(module));
}

const std::string &Module::name() const { return parse_->name; }
const std::string &Module::target() const { return parse_->target; }
int Module::version() const { return parse_->version; }
const std::vector<FunctionInfo> &Module::functions() const { return parse_->infos; }
const std::vector<VariableInfo> &Module::variables() const { return parse_->variableInfos; }

const FunctionInfo *Module::findFunction(std::string_view name) const {
  for (const FunctionInfo &info : parse_->infos)
    if (info.name == name)
      return &info;
  return nullptr;
}

Status Module::checkTarget(const Chip &chip) const {
  const std::string &target = parse_->target;
  size_t digits = 3;
  int number = 0;
  while (digits < target.size() && number < 100000 && target[digits] >= '0' && target[digits] <= '9')
    number = number * 10 + (target[digits++] - '0');
  std::string suffix = target.substr(digits);
  int have = chip.major * 10 + chip.minor;
  std::string pair = "'" + parse_->name + "' is for " + target + ", the device is " + std::string(chip.target) + " (" +
                     std::string(chip.name) + ")";
  if (suffix == "a" && number != have)
    return notFound(pair + ": architecture-specific PTX runs on its own chip only");
  if (suffix == "f" && (number / 10 != chip.major || number > have))
    return notFound(pair + ": family-specific PTX runs within its family only");
  if (number > have)
    return notFound(pair + ": the PTX needs a newer chip");
  return {};
}

StatusOr<std::unique_ptr<Device>> Device::create(const Chip &chip, uint64_t memoryBytes) {
  auto memory = DeviceMemory::create(memoryBytes ? memoryBytes : chip.memoryBytes);
  if (!memory)
    return memory.status();
  std::unique_ptr<Device> device(new Device);
  device->chip_ = &chip;
  device->memory_ = std::move(*memory);
  return device;
}

StatusOr<std::shared_ptr<const LoadedModule>> LoadedModule::load(std::shared_ptr<const Module> module, Device &device) {
  VITRIFY_RETURN_IF_ERROR(module->checkTarget(device.chip()));
  std::shared_ptr<LoadedModule> loaded(new LoadedModule);
  loaded->module_ = module;
  loaded->device_ = &device;
  loaded->program_ = std::make_unique<Program>();
  Program &program = *loaded->program_;
  DeviceMemory &memory = device.memory();
  const ParsedModule &parsed = module->parsed();
  uint64_t variableBytes = 0;
  for (const Variable &v : parsed.variables) {
    if (v.space != Space::Global && v.space != Space::Const)
      continue;
    if (v.isExtern) {
      bool defined = false;
      for (const Variable &other : parsed.variables)
        defined |= !other.isExtern && other.name == v.name;
      if (defined)
        continue;
      return unsupported(parsed.name + ":" + std::to_string(v.line) + ": external variable '" + v.name +
                         "' needs a linker");
    }
    variableBytes += v.size;
    if (variableBytes > kMaxVariableBytes)
      return unsupported(parsed.name + ":" + std::to_string(v.line) + ": variables up to '" + v.name + "' take " +
                         std::to_string(variableBytes) + " bytes, at most " + std::to_string(kMaxVariableBytes));
    auto address = memory.allocate(std::max<uint64_t>(v.size, 1), AllocationKind::Global, v.name, v.align);
    if (!address)
      return address.status().prefixed("variable '" + v.name + "'");
    if (!loaded->variables_.emplace(v.name, Allocation()).second)
      return invalidArgument(parsed.name + ":" + std::to_string(v.line) + ": variable '" + v.name +
                             "' is defined twice");
    program.globals[v.name] = *address;
    if (v.space == Space::Const) {
      memory.setReadOnly(*address);
      program.constantRanges.emplace_back(*address, *address + std::max<uint64_t>(v.size, 1));
    }
    VITRIFY_RETURN_IF_ERROR(memory.fill(*address, 0, 1, v.size));
    VITRIFY_RETURN_IF_ERROR(memory.copyToDevice(*address, v.init.data(), v.init.size()));
    loaded->variables_[v.name] = *memory.find(*address);
  }
  VITRIFY_RETURN_IF_ERROR(decodeProgram(*module, device.chip(), program));
  for (const Variable &v : parsed.variables)
    for (const Relocation &r : v.relocations) {
      uint64_t value = static_cast<uint64_t>(r.addend);
      if (auto global = program.globals.find(r.symbol); global != program.globals.end())
        value += global->second;
      else if (auto fn = program.functionIndex.find(r.symbol); fn != program.functionIndex.end())
        value += kFunctionWindow + uint64_t(fn->second) * 16;
      else
        return invalidArgument(parsed.name + ":" + std::to_string(v.line) + ": '" + r.symbol + "' in the initialiser of '" +
                               v.name + "' is not declared");
      VITRIFY_RETURN_IF_ERROR(memory.copyToDevice(program.globals[v.name] + r.offset, &value, r.bytes));
    }
  uint64_t constBytes = 0;
  for (const Variable &v : parsed.variables)
    constBytes += v.space == Space::Const ? v.size : 0;
  for (DecodedFunction &fn : program.functions) {
    fn.info.constBytes = static_cast<uint32_t>(constBytes);
    if (fn.info.isKernel)
      loaded->kernels_.push_back(fn.info);
  }
  return std::shared_ptr<const LoadedModule>(std::move(loaded));
}

LoadedModule::~LoadedModule() {
  for (const auto &[name, a] : variables_)
    if (a.address)
      (void)device_->memory().free(a.address);
}

StatusOr<Allocation> LoadedModule::variable(std::string_view name) const {
  auto it = variables_.find(name);
  if (it == variables_.end())
    return notFound("no variable called '" + std::string(name) + "' in '" + module_->name() + "'");
  return it->second;
}

const FunctionInfo *LoadedModule::findKernel(std::string_view name) const {
  for (const FunctionInfo &info : kernels_)
    if (info.name == name)
      return &info;
  return nullptr;
}

} // namespace vitrify::emulator
