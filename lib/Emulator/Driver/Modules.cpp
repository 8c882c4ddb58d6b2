//===- Modules.cpp - modules, functions and libraries of the emulated driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// PTX from text, files and fat binaries; what cannot run is said at load, on stderr
// too, because most programs print an error's number only.
//===----------------------------------------------------------------------===//
#include "Fatbin.h"
#include "State.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

namespace vitrify::emulator::driver {
namespace {

CUresult refuse(CUresult error, const Status &status) {
  std::fprintf(stderr, "vitrify emulator: %s\n", status.message().c_str());
  return fail(error, status);
}

/// Writes the message to the caller's log buffers and their sizes, as the JIT would.
void writeLog(unsigned count, CUjit_option *options, void **values, bool failed) {
  for (unsigned i = 0; options && values && i < count; ++i) {
    bool error = options[i] == CU_JIT_ERROR_LOG_BUFFER;
    if (!error && options[i] != CU_JIT_INFO_LOG_BUFFER)
      continue;
    CUjit_option sizeOption = error ? CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES : CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES;
    for (unsigned j = 0; j < count; ++j) {
      if (options[j] != sizeOption)
        continue;
      auto size = size_t(reinterpret_cast<uintptr_t>(values[j])) & 0xffffffffu;
      std::string text = error && failed ? driverMessage() : std::string();
      size_t length = size ? std::min(text.size(), size - 1) : 0;
      if (size && values[i]) {
        std::memcpy(values[i], text.data(), length);
        static_cast<char *>(values[i])[length] = 0;
      }
      values[j] = reinterpret_cast<void *>(uintptr_t(length));
    }
  }
}

CUresult loadImage(CUmodule *out, const void *image) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  if (!out || !image)
    return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<const emulator::Module> parsed;
  if (CUresult error = parseImage(image, *now.context->device->chip, parsed))
    return error;
  std::shared_ptr<Module> module;
  if (CUresult error = loadModule(*now.context, std::move(parsed), module))
    return error;
  *out = s.modules.add<CUmodule>(module);
  return CUDA_SUCCESS;
}

constexpr int kDefaultShared = 48 << 10;

} // namespace

CUresult readImageFile(const char *path, std::string &bytes) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    return fail(CUDA_ERROR_FILE_NOT_FOUND, std::string("cannot open '") + path + "'");
  bytes.assign(std::istreambuf_iterator<char>(in), {});
  if (bytes.size() < 16)
    bytes.resize(16); // so that a header may be looked at
  return CUDA_SUCCESS;
}

CUresult setFunctionAttribute(std::map<int, int> &attributes, const FunctionInfo *info, const Chip &chip, int attribute,
                              int value) {
  switch (attribute) {
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    if (value < 0 || value + int(info ? info->sharedStaticBytes : 0) > chip.sharedPerBlockOptin)
      return fail(CUDA_ERROR_INVALID_VALUE,
                  "dynamic shared memory: expected at most " +
                      std::to_string(chip.sharedPerBlockOptin - int(info ? info->sharedStaticBytes : 0)) +
                      " bytes, found " + std::to_string(value));
    break;
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    if (value < -1 || value > 100)
      return CUDA_ERROR_INVALID_VALUE;
    break;
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
  case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE: break;
  default: return fail(CUDA_ERROR_INVALID_VALUE, "function attribute " + std::to_string(attribute) + " is read only");
  }
  attributes[attribute] = value;
  return CUDA_SUCCESS;
}

CUresult functionParam(const FunctionInfo &info, size_t index, size_t *offset, size_t *size) {
  if (index >= info.params.size() || !offset)
    return CUDA_ERROR_INVALID_VALUE;
  *offset = info.params[index].offset;
  if (size)
    *size = info.params[index].size;
  return CUDA_SUCCESS;
}

CUresult parseImage(const void *image, const Chip &chip, std::shared_ptr<const emulator::Module> &parsed) {
  auto texts = ptxOfImage(image, uint32_t(chip.major * 10 + chip.minor));
  if (!texts)
    return refuse(texts.status().code() == StatusCode::NotFound ? CUDA_ERROR_NO_BINARY_FOR_GPU
                                                                : CUDA_ERROR_INVALID_IMAGE,
                  texts.status());
  Status why = notFound("the image holds no PTX");
  for (const std::string &text : *texts) {
    auto module = emulator::Module::parse(text, "ptx");
    if (!module)
      return refuse(module.status().code() == StatusCode::Unsupported ? CUDA_ERROR_NOT_SUPPORTED
                                                                      : CUDA_ERROR_INVALID_PTX,
                    module.status());
    why = (*module)->checkTarget(chip);
    if (why.ok()) {
      parsed = std::move(*module);
      return CUDA_SUCCESS;
    }
  }
  return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, why);
}

CUresult loadModule(Context &context, std::shared_ptr<const emulator::Module> parsed, std::shared_ptr<Module> &module) {
  auto loaded = LoadedModule::load(std::move(parsed), *context.device->device);
  if (!loaded) {
    StatusCode code = loaded.status().code();
    return refuse(code == StatusCode::ResourceExhausted ? CUDA_ERROR_OUT_OF_MEMORY
                  : code == StatusCode::Unsupported     ? CUDA_ERROR_NOT_SUPPORTED
                  : code == StatusCode::NotFound        ? CUDA_ERROR_NO_BINARY_FOR_GPU
                                                        : CUDA_ERROR_INVALID_PTX,
                  loaded.status());
  }
  module = std::make_shared<Module>();
  module->context = &context;
  module->loaded = std::move(*loaded);
  return CUDA_SUCCESS;
}

CUresult findFunction(Module &module, std::string_view name, std::shared_ptr<Function> &function) {
  auto it = module.functions.find(name);
  if (it == module.functions.end()) {
    const FunctionInfo *info = module.loaded->findKernel(name);
    if (!info)
      return fail(CUDA_ERROR_NOT_FOUND, "the module has no kernel '" + std::string(name) + "'");
    auto made = std::make_shared<Function>();
    made->module = &module;
    made->info = info;
    state().functions.add<CUfunction>(made);
    it = module.functions.emplace(name, std::move(made)).first;
  }
  function = it->second;
  return CUDA_SUCCESS;
}

CUresult libraryModule(Library &library, Context &context, std::shared_ptr<Module> &module) {
  auto &slot = library.modules[&context];
  if (!slot) {
    const Chip &chip = *context.device->chip;
    auto &parsed = library.parsed[uint32_t(chip.major * 10 + chip.minor)];
    if (!parsed)
      if (CUresult error = parseImage(library.image.data(), chip, parsed))
        return error;
    if (CUresult error = loadModule(context, parsed, slot))
      return error;
    state().modules.add<CUmodule>(slot);
  }
  module = slot;
  return CUDA_SUCCESS;
}

void finishLibraryModules(Context &context) {
  for (auto &[key, library] : state().libraries)
    library->modules.erase(&context);
}

CUresult functionOf(Context &context, CUfunction handle, std::shared_ptr<Function> &function) {
  DriverState &s = state();
  if ((function = s.functions.find(handle)))
    return CUDA_SUCCESS;
  auto kernel = s.kernels.find(handle); // a kernel may be launched where a function is expected
  if (!kernel)
    return fail(CUDA_ERROR_INVALID_HANDLE, "not a function, or its module was unloaded");
  std::shared_ptr<Module> module;
  if (CUresult error = libraryModule(*kernel->library, context, module))
    return error;
  if (CUresult error = findFunction(*module, kernel->name, function))
    return error;
  for (auto &[attribute, value] : kernel->attributes)
    function->attributes.try_emplace(attribute, value);
  return CUDA_SUCCESS;
}

CUresult functionAttribute(const Function &function, int attribute, int &value) {
  const FunctionInfo &info = *function.info;
  const Chip &chip = function.module->loaded->device().chip();
  if (auto it = function.attributes.find(attribute); it != function.attributes.end()) {
    value = it->second;
    return CUDA_SUCCESS;
  }
  switch (attribute) {
  case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    value = int(std::min<uint32_t>(info.maxThreads, 1024));
    if (info.registers)
      value = std::min(value, chip.registersPerSM / int(info.registers) / 32 * 32);
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: value = int(info.sharedStaticBytes); return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: value = int(info.constBytes); return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: value = int(info.localBytes); return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_NUM_REGS: value = int(info.registers); return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_PTX_VERSION: {
    const std::string &target = function.module->loaded->module().target(); // "sm_89"
    value = target.size() > 3 ? std::atoi(target.c_str() + 3) : 0;
    return CUDA_SUCCESS;
  }
  case CU_FUNC_ATTRIBUTE_BINARY_VERSION: value = chip.major * 10 + chip.minor; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
    value = std::max(0, kDefaultShared - int(info.sharedStaticBytes));
    return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: value = -1; return CUDA_SUCCESS;
  case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
  case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
  case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
  case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
  case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE: value = 0; return CUDA_SUCCESS;
  default: return fail(CUDA_ERROR_INVALID_VALUE, "function attribute " + std::to_string(attribute) + " is not known");
  }
}

VITRIFY_CU_FUNCTION(cuModuleLoadData)(CUmodule *module, const void *image) { return loadImage(module, image); }
VITRIFY_CU_FUNCTION(cuModuleLoadFatBinary)(CUmodule *module, const void *fatbin) { return loadImage(module, fatbin); }

VITRIFY_CU_FUNCTION(cuModuleLoadDataEx)
(CUmodule *module, const void *image, unsigned count, CUjit_option *options, void **values) {
  CUresult result = loadImage(module, image);
  writeLog(count, options, values, result != CUDA_SUCCESS);
  return result;
}

VITRIFY_CU_FUNCTION(cuModuleLoad)(CUmodule *module, const char *path) {
  if (!path)
    return CUDA_ERROR_INVALID_VALUE;
  std::string bytes;
  if (CUresult error = readImageFile(path, bytes))
    return error;
  return loadImage(module, bytes.c_str());
}

VITRIFY_CU_FUNCTION(cuModuleUnload)(CUmodule handle) {
  VITRIFY_CU_ENTER(now);
  DriverState &s = state();
  auto module = s.modules.find(handle);
  if (!module)
    return CUDA_ERROR_INVALID_HANDLE;
  if (CUresult error = waitAll(now.lock, *module->context))
    return error;
  s.functions.eraseIf([&](Function &function) { return function.module == module.get(); });
  s.modules.erase(handle);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuModuleGetFunction)(CUfunction *out, CUmodule handle, const char *name) {
  VITRIFY_CU_ENTER(now);
  auto module = state().modules.find(handle);
  if (!module)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!out || !name)
    return CUDA_ERROR_INVALID_VALUE;
  std::shared_ptr<Function> function;
  if (CUresult error = findFunction(*module, name, function))
    return error;
  *out = reinterpret_cast<CUfunction>(function.get());
  return CUDA_SUCCESS;
}

CUresult moduleGlobal(Module &module, const char *name, CUdeviceptr *address, size_t *bytes) {
  if (!name || (!address && !bytes))
    return CUDA_ERROR_INVALID_VALUE;
  auto variable = module.loaded->variable(name);
  if (!variable)
    return fail(CUDA_ERROR_NOT_FOUND, variable.status());
  if (address)
    *address = variable->address;
  if (bytes)
    *bytes = variable->size;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuModuleGetGlobal)(CUdeviceptr *address, size_t *bytes, CUmodule handle, const char *name) {
  VITRIFY_CU_ENTER(now);
  auto module = state().modules.find(handle);
  return module ? moduleGlobal(*module, name, address, bytes) : CUDA_ERROR_INVALID_HANDLE;
}

VITRIFY_CU_FUNCTION(cuModuleGetLoadingMode)(CUmoduleLoadingMode *mode) {
  if (!mode)
    return CUDA_ERROR_INVALID_VALUE;
  *mode = CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

static unsigned kernelCount(const emulator::Module &module) {
  return unsigned(std::count_if(module.functions().begin(), module.functions().end(),
                                [](const FunctionInfo &info) { return info.isKernel; }));
}

VITRIFY_CU_FUNCTION(cuModuleGetFunctionCount)(unsigned *count, CUmodule handle) {
  Lock lock(state().mutex);
  auto module = state().modules.find(handle);
  if (!module)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  *count = kernelCount(module->loaded->module());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuModuleEnumerateFunctions)(CUfunction *functions, unsigned count, CUmodule handle) {
  Lock lock(state().mutex);
  auto module = state().modules.find(handle);
  if (!module)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!functions)
    return CUDA_ERROR_INVALID_VALUE;
  unsigned i = 0;
  for (const FunctionInfo &info : module->loaded->module().functions())
    if (info.isKernel && i < count) {
      std::shared_ptr<Function> function;
      if (CUresult error = findFunction(*module, info.name, function))
        return error;
      functions[i++] = reinterpret_cast<CUfunction>(function.get());
    }
  return CUDA_SUCCESS;
}

/// The function of a handle in the current context.
static CUresult lookUp(CUfunction handle, Lock &lock, std::shared_ptr<Function> &function) {
  Current now = current(lock);
  return now.error ? now.error : functionOf(*now.context, handle, function);
}

VITRIFY_CU_FUNCTION(cuFuncGetAttribute)(int *value, CUfunction_attribute attribute, CUfunction handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = lookUp(handle, lock, function))
    return error;
  return value ? functionAttribute(*function, attribute, *value) : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuFuncSetAttribute)(CUfunction handle, CUfunction_attribute attribute, int value) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = lookUp(handle, lock, function))
    return error;
  return setFunctionAttribute(function->attributes, function->info, function->module->loaded->device().chip(),
                              attribute, value);
}

VITRIFY_CU_FUNCTION(cuFuncSetCacheConfig)(CUfunction handle, CUfunc_cache) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  return lookUp(handle, lock, function);
}

VITRIFY_CU_FUNCTION(cuFuncSetSharedMemConfig)(CUfunction handle, CUsharedconfig) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  return lookUp(handle, lock, function);
}

VITRIFY_CU_FUNCTION(cuFuncGetModule)(CUmodule *module, CUfunction handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = lookUp(handle, lock, function))
    return error;
  if (!module)
    return CUDA_ERROR_INVALID_VALUE;
  *module = reinterpret_cast<CUmodule>(function->module);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuFuncGetName)(const char **name, CUfunction handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = lookUp(handle, lock, function))
    return error;
  if (!name)
    return CUDA_ERROR_INVALID_VALUE;
  *name = function->info->name.c_str();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuFuncGetParamInfo)(CUfunction handle, size_t index, size_t *offset, size_t *size) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = lookUp(handle, lock, function))
    return error;
  return functionParam(*function->info, index, offset, size);
}

VITRIFY_CU_FUNCTION(cuFuncIsLoaded)(int *loaded, CUfunction handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  if (CUresult error = lookUp(handle, lock, function))
    return error;
  if (!loaded)
    return CUDA_ERROR_INVALID_VALUE;
  *loaded = 1;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuFuncLoad)(CUfunction handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Function> function;
  return lookUp(handle, lock, function);
}

} // namespace vitrify::emulator::driver
