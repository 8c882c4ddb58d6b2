//===- Inputs.cpp - opens the bundle and reads inputs ---------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Image.h"
#include "Runner.h"

#include "vitrify/Bundle/Verifier.h"
#include "vitrify/Support/Npy.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

using namespace vitrify;
using namespace vitrify::run;

namespace {

int64_t bytesOf(vitrify_dtype dtype, const std::vector<int64_t> &shape, size_t firstDim = 0) {
  int64_t bytes = dtypeBits(DType(dtype)) / 8;
  for (size_t i = firstDim; i < shape.size(); ++i)
    bytes *= shape[i];
  return bytes;
}

void printLog(int level, const char *message, void *) {
  const char *names[] = {"error", "warning", "note"};
  std::fprintf(stderr, "vitrify-run: %s: %s\n", names[level < 0 || level > 2 ? 2 : level], message);
}

/// What a user should know unasked: that code of another chip runs slower, for one.
void printWarning(int level, const char *message, void *user) {
  if (level <= 1)
    printLog(level, message, user);
}

/// The driver that emulates a GPU lies beside the tools, and takes its devices from the environment.
StatusOr<std::string> emulatorDriver(const Options &options) {
  std::error_code code;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", code);
  std::filesystem::path driver = self.parent_path().parent_path() / "lib/emulator/libcuda.so.1";
  if (code || !std::filesystem::exists(driver, code))
    return notFound("no emulated driver at '" + driver.string() + "'");
  std::string chip = options.device == "emulator" ? "" : options.device.substr(std::strlen("emulator:"));
  if (chip.empty()) {
    VITRIFY_ASSIGN_OR_RETURN(Bundle bundle, Bundle::open(options.bundle));
    for (const ManifestTarget &target : bundle.manifest().targets)
      if (target.device == "cuda" && chip.empty() && (options.target.empty() || options.target == target.name))
        chip = target.name;
    if (chip.empty())
      return unsupported("the bundle has no code for a GPU to emulate");
  }
  setenv("VITRIFY_EMULATOR_DEVICES", chip.c_str(), 1);
  return driver.string();
}

} // namespace

vitrify_tensor Input::rows(int64_t first, int64_t count) const {
  std::vector<int64_t> part = shape;
  uint64_t rowBytes = uint64_t(bytesOf(dtype, shape, 1));
  if (!part.empty())
    part[0] = count;
  else
    count = 1;
  vitrify_tensor tensor = api::tensor(const_cast<uint8_t *>(bytes.data()) + uint64_t(first) * rowBytes,
                                      uint64_t(count) * rowBytes, dtype, part);
  tensor.frames = frames;
  return tensor;
}

StatusOr<api::Program> vitrify::run::openProgram(const Options &options) {
  vitrify_options opts{};
  std::string driver;
  const bool emulated = options.device == "emulator" || options.device.starts_with("emulator:");
  if (emulated) {
    VITRIFY_ASSIGN_OR_RETURN(driver, emulatorDriver(options));
  }
  opts.device = emulated ? "cuda" : options.device.c_str();
  opts.driver = emulated ? driver.c_str() : nullptr;
  opts.target = options.target.empty() ? nullptr : options.target.c_str();
  opts.threads = options.threads;
  opts.memory_mode = options.lowMemory ? VITRIFY_MEMORY_LOW : VITRIFY_MEMORY_FAST;
  opts.weight_budget = options.weightBudget;
  opts.require_signature = options.signatureKey.empty() ? nullptr : options.signatureKey.c_str();
  opts.log = options.verbose ? printLog : printWarning;
  return api::Program(options.bundle, opts);
}

StatusOr<std::vector<Input>> vitrify::run::readInputs(const Options &options, const api::Program &program) {
  const vitrify_entry entry = program.find(options.entry);
  std::vector<Input> inputs;
  size_t arrays = 0;
  for (const std::string &path : options.inputs)
    arrays += path.ends_with(".npy");
  if (arrays) {
    if (arrays != options.inputs.size())
      return invalidArgument("--input takes .npy arrays or images, not both");
    if (arrays != entry.num_inputs)
      return invalidArgument("entry '" + std::string(entry.name) + "' takes " + std::to_string(entry.num_inputs) +
                             " arrays, found " + std::to_string(arrays));
    for (const std::string &path : options.inputs) {
      VITRIFY_ASSIGN_OR_RETURN(NpyArray array, readNpy(path));
      const vitrify_argument &argument = entry.inputs[inputs.size()];
      if (array.dtype == DType::F64) { // numpy's default type
        VITRIFY_ASSIGN_OR_RETURN(std::vector<float> floats, array.toFloats());
        array.dtype = DType::F32;
        array.data.resize(floats.size() * 4);
        std::memcpy(array.data.data(), floats.data(), array.data.size());
      }
      const bool bothFloat = isFloat(array.dtype) && isFloat(DType(argument.dtype));
      if (!bothFloat && array.dtype != DType(argument.dtype))
        return invalidArgument("'" + path + "': input '" + argument.name + "' takes " +
                               std::string(dtypeName(DType(argument.dtype))) + ", found " +
                               std::string(dtypeName(array.dtype)));
      if (array.shape.empty() || array.shape.size() > VITRIFY_MAX_RANK)
        return invalidArgument("'" + path + "': an array of " + std::to_string(array.shape.size()) + " dimensions");
      Input input;
      input.bytes.resize(array.data.size());
      if (!array.data.empty())
        std::memcpy(input.bytes.data(), array.data.data(), array.data.size());
      input.dtype = vitrify_dtype(array.dtype);
      input.shape = array.shape;
      inputs.push_back(std::move(input));
    }
    return inputs;
  }
  const vitrify_program_info info = program.info();
  if (!info.preprocess)
    return invalidArgument("the bundle has no preprocess.json, so --input takes .npy arrays only");
  if (entry.num_inputs != 1)
    return invalidArgument("entry '" + std::string(entry.name) + "' takes " + std::to_string(entry.num_inputs) +
                           " inputs, images can be only one");
  VITRIFY_ASSIGN_OR_RETURN(Preprocess preprocess, parsePreprocess(info.preprocess));
  Input input;
  input.dtype = VITRIFY_U8;
  input.frames = true;
  for (const std::string &path : options.inputs) {
    VITRIFY_ASSIGN_OR_RETURN(Image image, readImage(path, preprocess.channels));
    auto ready = prepare(std::move(image), preprocess);
    if (!ready.ok())
      return ready.status().prefixed("'" + path + "'");
    input.bytes.insert(input.bytes.end(), ready->pixels.begin(), ready->pixels.end());
  }
  input.shape = {int64_t(options.inputs.size()), preprocess.height, preprocess.width, preprocess.channels};
  inputs.push_back(std::move(input));
  return inputs;
}

StatusOr<std::vector<Input>> vitrify::run::makeInputs(const Options &options, const api::Program &program,
                                                      int64_t batch) {
  const vitrify_entry entry = program.find(options.entry);
  std::vector<Input> inputs;
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> distribution(-1, 1);
  for (size_t i = 0; i < entry.num_inputs; ++i) {
    const vitrify_argument &argument = entry.inputs[i];
    Input input;
    input.dtype = argument.dtype;
    for (int32_t d = 0; d < argument.rank; ++d) {
      const vitrify_dim &dim = argument.dims[d];
      if (dim.symbol < 0 && dim.value < 0)
        return unsupported("input '" + std::string(argument.name) + "' has a computed size: give --input");
      input.shape.push_back(dim.symbol < 0                 ? dim.value
                            : dim.symbol == 0 ? batch : entry.symbols[dim.symbol].tuned);
    }
    if (isFloat(DType(argument.dtype))) {
      input.dtype = VITRIFY_F32;
      std::vector<float> values(size_t(bytesOf(VITRIFY_F32, input.shape)) / 4);
      for (float &value : values)
        value = distribution(generator);
      input.bytes.resize(values.size() * 4);
      std::memcpy(input.bytes.data(), values.data(), input.bytes.size());
    } else {
      input.bytes.resize(size_t(bytesOf(input.dtype, input.shape)));
    }
    inputs.push_back(std::move(input));
  }
  return inputs;
}
