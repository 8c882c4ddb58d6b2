//===- Libraries.cpp - libraries and kernels of the emulated driver *- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A library is an image that each context loads when it first uses it; CUDA's own
// runtime works through these.
//===----------------------------------------------------------------------===//
#include "Fatbin.h"
#include "State.h"

#include <algorithm>
#include <cstring>

namespace vitrify::emulator::driver {
namespace {

CUresult makeLibrary(CUlibrary *out, const void *code) {
  DriverState &s = state();
  Lock lock(s.mutex);
  if (!s.initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  if (!out || !code)
    return CUDA_ERROR_INVALID_VALUE;
  const void *image = code;
  if (imageKind(image) == ImageKind::FatbinWrapper)
    std::memcpy(&image, static_cast<const uint8_t *>(code) + 8, sizeof image);
  auto library = std::make_shared<Library>();
  const auto *bytes = static_cast<const uint8_t *>(image);
  switch (imageKind(image)) {
  case ImageKind::Ptx: library->image.assign(bytes, bytes + std::strlen(static_cast<const char *>(image)) + 1); break;
  case ImageKind::Fatbin: {
    auto size = fatbinSize(image);
    if (!size)
      return fail(CUDA_ERROR_INVALID_IMAGE, size.status());
    library->image.assign(bytes, bytes + *size);
    break;
  }
  default: {
    // No PTX to be had from it: the reader's message says why.
    auto texts = ptxOfImage(image, 89);
    return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, texts.ok() ? notFound("the image holds no PTX") : texts.status());
  }
  }
  *out = s.libraries.add<CUlibrary>(library);
  return CUDA_SUCCESS;
}

/// The names in a library: parsed for the current context's chip, or for the first device's.
CUresult parsedOf(Library &library, std::shared_ptr<const emulator::Module> &parsed) {
  auto &stack = contextStack();
  const Chip &chip = stack.empty() ? *state().devices.front()->chip : *stack.back()->device->chip;
  auto &slot = library.parsed[uint32_t(chip.major * 10 + chip.minor)];
  if (!slot)
    if (CUresult error = parseImage(library.image.data(), chip, slot))
      return error;
  parsed = slot;
  return CUDA_SUCCESS;
}

CUresult kernelOf(Library &library, std::string_view name, CUkernel *out) {
  auto it = library.kernels.find(name);
  if (it == library.kernels.end()) {
    std::shared_ptr<const emulator::Module> parsed;
    if (CUresult error = parsedOf(library, parsed))
      return error;
    const FunctionInfo *info = parsed->findFunction(name);
    if (!info || !info->isKernel)
      return fail(CUDA_ERROR_NOT_FOUND, "the library has no kernel '" + std::string(name) + "'");
    auto made = std::make_shared<Kernel>();
    made->library = &library;
    made->name = name;
    state().kernels.add<CUkernel>(made);
    it = library.kernels.emplace(name, std::move(made)).first;
  }
  *out = reinterpret_cast<CUkernel>(it->second.get());
  return CUDA_SUCCESS;
}

/// The function of a kernel in the current context.
CUresult functionIn(CUkernel handle, Lock &lock, std::shared_ptr<Kernel> &kernel, std::shared_ptr<Function> &function) {
  Current now = current(lock);
  if (now.error)
    return now.error;
  if (!(kernel = state().kernels.find(handle)))
    return CUDA_ERROR_INVALID_HANDLE;
  return functionOf(*now.context, reinterpret_cast<CUfunction>(handle), function);
}

} // namespace

VITRIFY_CU_FUNCTION(cuLibraryLoadData)
(CUlibrary *library, const void *code, CUjit_option *, void **, unsigned, CUlibraryOption *, void **, unsigned) {
  return makeLibrary(library, code);
}

VITRIFY_CU_FUNCTION(cuLibraryLoadFromFile)
(CUlibrary *library, const char *path, CUjit_option *, void **, unsigned, CUlibraryOption *, void **, unsigned) {
  if (!path)
    return CUDA_ERROR_INVALID_VALUE;
  std::string bytes;
  if (CUresult error = readImageFile(path, bytes))
    return error;
  return makeLibrary(library, bytes.c_str());
}

VITRIFY_CU_FUNCTION(cuLibraryUnload)(CUlibrary handle) {
  DriverState &s = state();
  Lock lock(s.mutex);
  auto library = s.libraries.find(handle);
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  for (auto &[context, module] : library->modules) {
    (void)waitAll(lock, *context);
    s.functions.eraseIf([&](Function &function) { return function.module == module.get(); });
    s.modules.erase(module.get());
  }
  s.kernels.eraseIf([&](Kernel &kernel) { return kernel.library == library.get(); });
  s.libraries.erase(handle);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuLibraryGetKernel)(CUkernel *kernel, CUlibrary handle, const char *name) {
  Lock lock(state().mutex);
  auto library = state().libraries.find(handle);
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  return kernel && name ? kernelOf(*library, name, kernel) : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuLibraryGetKernelCount)(unsigned *count, CUlibrary handle) {
  Lock lock(state().mutex);
  auto library = state().libraries.find(handle);
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<const emulator::Module> parsed;
  if (CUresult error = parsedOf(*library, parsed))
    return error;
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  *count = unsigned(std::count_if(parsed->functions().begin(), parsed->functions().end(),
                                  [](const FunctionInfo &info) { return info.isKernel; }));
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuLibraryEnumerateKernels)(CUkernel *kernels, unsigned count, CUlibrary handle) {
  Lock lock(state().mutex);
  auto library = state().libraries.find(handle);
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<const emulator::Module> parsed;
  if (CUresult error = parsedOf(*library, parsed))
    return error;
  if (!kernels)
    return CUDA_ERROR_INVALID_VALUE;
  unsigned i = 0;
  for (const FunctionInfo &info : parsed->functions())
    if (info.isKernel && i < count)
      if (CUresult error = kernelOf(*library, info.name, &kernels[i++]))
        return error;
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuLibraryGetModule)(CUmodule *out, CUlibrary handle) {
  VITRIFY_CU_ENTER(now);
  auto library = state().libraries.find(handle);
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<Module> module;
  if (CUresult error = libraryModule(*library, *now.context, module))
    return error;
  if (!out)
    return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUmodule>(module.get());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuLibraryGetGlobal)(CUdeviceptr *address, size_t *bytes, CUlibrary handle, const char *name) {
  VITRIFY_CU_ENTER(now);
  auto library = state().libraries.find(handle);
  if (!library)
    return CUDA_ERROR_INVALID_HANDLE;
  std::shared_ptr<Module> module;
  if (CUresult error = libraryModule(*library, *now.context, module))
    return error;
  return moduleGlobal(*module, name, address, bytes);
}

VITRIFY_CU_FUNCTION(cuKernelGetFunction)(CUfunction *out, CUkernel handle) {
  Lock lock(state().mutex);
  std::shared_ptr<Kernel> kernel;
  std::shared_ptr<Function> function;
  if (CUresult error = functionIn(handle, lock, kernel, function))
    return error;
  if (!out)
    return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUfunction>(function.get());
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuKernelGetLibrary)(CUlibrary *library, CUkernel handle) {
  Lock lock(state().mutex);
  auto kernel = state().kernels.find(handle);
  if (!kernel)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!library)
    return CUDA_ERROR_INVALID_VALUE;
  *library = reinterpret_cast<CUlibrary>(kernel->library);
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuKernelGetAttribute)(int *value, CUfunction_attribute attribute, CUkernel handle, CUdevice) {
  Lock lock(state().mutex);
  std::shared_ptr<Kernel> kernel;
  std::shared_ptr<Function> function;
  if (CUresult error = functionIn(handle, lock, kernel, function))
    return error;
  return value ? functionAttribute(*function, attribute, *value) : CUDA_ERROR_INVALID_VALUE;
}

VITRIFY_CU_FUNCTION(cuKernelSetAttribute)(CUfunction_attribute attribute, int value, CUkernel handle, CUdevice) {
  Lock lock(state().mutex);
  std::shared_ptr<Kernel> kernel;
  std::shared_ptr<Function> function;
  if (CUresult error = functionIn(handle, lock, kernel, function))
    return error;
  const Chip &chip = function->module->loaded->device().chip();
  if (CUresult error = setFunctionAttribute(function->attributes, function->info, chip, attribute, value))
    return error;
  kernel->attributes[attribute] = value; // for contexts that load it later
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuKernelSetCacheConfig)(CUkernel handle, CUfunc_cache, CUdevice) {
  Lock lock(state().mutex);
  return state().kernels.find(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

VITRIFY_CU_FUNCTION(cuKernelGetName)(const char **name, CUkernel handle) {
  Lock lock(state().mutex);
  auto kernel = state().kernels.find(handle);
  if (!kernel)
    return CUDA_ERROR_INVALID_HANDLE;
  if (!name)
    return CUDA_ERROR_INVALID_VALUE;
  *name = kernel->name.c_str();
  return CUDA_SUCCESS;
}

VITRIFY_CU_FUNCTION(cuKernelGetParamInfo)(CUkernel handle, size_t index, size_t *offset, size_t *size) {
  Lock lock(state().mutex);
  std::shared_ptr<Kernel> kernel;
  std::shared_ptr<Function> function;
  if (CUresult error = functionIn(handle, lock, kernel, function))
    return error;
  return functionParam(*function->info, index, offset, size);
}

} // namespace vitrify::emulator::driver
