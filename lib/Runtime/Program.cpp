//===- Program.cpp - a bundle opened on a device --------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Program.h"

#include "Arguments.h"
#include "Signature.h"
#include "vitrify/Runtime/Devices/Cuda/CudaDevice.h"
#include "vitrify/Runtime/Devices/HostX86/HostDevice.h"

#include <algorithm>
#include <charconv>
#include <deque>

using namespace vitrify;

/// Storage behind vitrify_program_info.
struct Program::Info {
  std::string name, precision, target, device, license, preprocess;
  std::deque<std::vector<vitrify_dim>> dims;
  std::deque<std::vector<vitrify_symbol>> symbols;
  std::deque<std::vector<vitrify_argument>> arguments;
  std::vector<vitrify_entry> entries;
  std::vector<const char *> labels;
  vitrify_program_info info{};

  const vitrify_argument *add(const std::vector<ManifestArgument> &list) {
    std::vector<vitrify_argument> &result = arguments.emplace_back();
    for (const ManifestArgument &argument : list) {
      std::vector<vitrify_dim> &shape = dims.emplace_back();
      for (const PlanExpr &dim : argument.shape) {
        const PlanExpr::Node &node = dim.nodes.back();
        bool isSymbol = node.kind == PlanExpr::Kind::Symbol, isNumber = node.kind == PlanExpr::Kind::Constant;
        shape.push_back({isNumber ? node.value : -1, isSymbol ? int32_t(node.value) : -1});
      }
      result.push_back({argument.name.c_str(), vitrify_dtype(argument.dtype), int32_t(shape.size()), shape.data()});
    }
    return result.data();
  }
};

Program::~Program() = default;
const vitrify_program_info &Program::info() const { return text->info; }

namespace {

StatusOr<std::unique_ptr<Device>> makeDevice(const ProgramOptions &options) {
  if (options.makeDevice)
    return options.makeDevice(options.deviceOptions);
  if (options.device.empty() || options.device == "cpu")
    return createHostDevice(options.deviceOptions);
  std::string_view name = options.device;
  int index = 0;
  bool known = name == "cuda";
  if (name.starts_with("cuda:")) {
    auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), index);
    known = error == std::errc() && end == name.data() + name.size() && index >= 0;
  }
  if (!known)
    return invalidArgument("unknown device '" + options.device + "', expected cpu, cuda or cuda:N");
  return createCudaDevice(options.deviceOptions, options.driver, index);
}

} // namespace

StatusOr<std::shared_ptr<Program>> Program::open(const std::string &path, const ProgramOptions &options) {
  std::shared_ptr<Program> program(new Program());
  VITRIFY_ASSIGN_OR_RETURN(program->opened, Bundle::open(path));
  const Bundle &bundle = *program->opened;
  const Manifest &manifest = bundle.manifest();
  if (!options.publicKey.empty())
    VITRIFY_RETURN_IF_ERROR(checkSignature(bundle, options.publicKey));
  VITRIFY_ASSIGN_OR_RETURN(program->theDevice, makeDevice(options));
  if (options.target.empty()) {
    VITRIFY_ASSIGN_OR_RETURN(program->chosen, program->theDevice->chooseTarget(manifest));
  } else {
    auto found = std::ranges::find(manifest.targets, options.target, &ManifestTarget::name);
    if (found == manifest.targets.end()) {
      std::string all;
      for (const ManifestTarget &target : manifest.targets)
        all += (all.empty() ? "" : ", ") + target.name;
      return notFound("the bundle has no target '" + options.target + "', it has " + all);
    }
    VITRIFY_RETURN_IF_ERROR(program->theDevice->checkTarget(*found));
    program->chosen = &*found;
  }
  VITRIFY_ASSIGN_OR_RETURN(program->weights, bundle.openWeights());
  VITRIFY_ASSIGN_OR_RETURN(program->thePlan,
                           bundle.loadPlan(*program->chosen, program->weights->file().header()));
  VITRIFY_ASSIGN_OR_RETURN(program->images, bundle.loadPreprocess());
  for (const ManifestEntry &entry : manifest.entries) {
    auto found = std::ranges::find(program->thePlan.programs, entry.name, &PlanProgram::name);
    if (found == program->thePlan.programs.end())
      return dataLoss("target " + program->chosen->name + " has no program for entry '" + entry.name + "'");
    program->programOfEntry.push_back(uint32_t(found - program->thePlan.programs.begin()));
  }
  if (manifest.entries.empty())
    return dataLoss("the bundle has no entry function");
  ExecutableSource source{&bundle, program->chosen, &program->thePlan, &*program->weights};
  VITRIFY_ASSIGN_OR_RETURN(program->code, program->theDevice->load(source));
  program->cache = std::make_unique<ScheduleCache>(program->thePlan);

  Info &text = *(program->text = std::make_unique<Info>());
  text.name = manifest.model.name;
  text.precision = manifest.precision;
  text.target = program->chosen->name;
  text.device = program->theDevice->name();
  text.license = manifest.model.license;
  for (const ManifestEntry &entry : manifest.entries) {
    auto &symbols = text.symbols.emplace_back();
    for (const PlanSymbol &symbol : entry.symbols)
      symbols.push_back({symbol.name.c_str(), symbol.min, symbol.tuned, symbol.max});
    const vitrify_argument *inputs = text.add(entry.inputs);
    const vitrify_argument *outputs = text.add(entry.outputs);
    text.entries.push_back({entry.name.c_str(), symbols.size(), entry.inputs.size(), entry.outputs.size(),
                            symbols.data(), inputs, outputs});
  }
  if (program->images) {
    text.preprocess = printPreprocess(*program->images);
    for (const std::string &label : program->images->labels)
      text.labels.push_back(label.c_str());
  }
  text.info = {sizeof(vitrify_program_info), text.name.c_str(), text.precision.c_str(), text.target.c_str(),
               text.device.c_str(), text.license.c_str(), program->images ? text.preprocess.c_str() : nullptr,
               text.entries.size(), text.entries.data(), text.labels.size(), text.labels.data(),
               manifest.weights.tensorBytes, program->theDevice->threads()};
  if (options.deviceOptions.log)
    options.deviceOptions.log(2, "opened '" + path + "' for " + text.target + " on " + text.device);
  return program;
}

StatusOr<uint32_t> Program::findEntry(const std::string &name) const {
  const std::vector<ManifestEntry> &entries = opened->manifest().entries;
  if (name.empty())
    return 0u;
  std::string all;
  for (uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].name == name)
      return i;
    all += (all.empty() ? "" : ", ") + entries[i].name;
  }
  return notFound("no entry '" + name + "', the bundle has " + all);
}

StatusOr<std::shared_ptr<const Schedule>> Program::schedule(uint32_t entry, const std::vector<int64_t> &symbols) const {
  return cache->get(programOfEntry[entry], symbols);
}

StatusOr<std::vector<int64_t>> Program::bind(uint32_t index, const vitrify_tensor *inputs, size_t count) const {
  return bindSymbols(entry(index), inputs, count);
}
