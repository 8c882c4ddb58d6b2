//===- CudaDevice.cpp - an NVIDIA GPU as a device -------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Devices/Cuda/CudaDevice.h"

#include "CudaDriver.h"
#include "CudaExecutable.h"

using namespace vitrify;
using namespace vitrify::cuda;

namespace {

class CudaDevice final : public Device {
public:
  static StatusOr<std::unique_ptr<Device>> open(const DeviceOptions &options, std::unique_ptr<CudaApi> owned,
                                                const CudaApi &api, int index) {
    std::unique_ptr<CudaDevice> device(new CudaDevice(options, std::move(owned), api));
    VITRIFY_RETURN_IF_ERROR(device->find(index));
    return std::unique_ptr<Device>(std::move(device));
  }

  std::string name() const override { return gpu; }

  StatusOr<const ManifestTarget *> chooseTarget(const Manifest &manifest) const override {
    VITRIFY_ASSIGN_OR_RETURN(const ManifestTarget *target, chooseCudaTarget(manifest, major, minor));
    VITRIFY_RETURN_IF_ERROR(checkCudaDriverVersion(*target, version));
    return target;
  }

  Status checkTarget(const ManifestTarget &target) const override {
    VITRIFY_RETURN_IF_ERROR(checkCudaTarget(target, major, minor));
    return checkCudaDriverVersion(target, version);
  }

  StatusOr<std::unique_ptr<DeviceExecutable>> load(const ExecutableSource &source) override {
    if (options.lowMemory)
      return unsupported("the low memory mode is not available on a GPU");
    if (parseCudaTarget(source.target->name)->number != major * 10 + minor && options.log)
      options.log(1, "this GPU (compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                         ") runs the PTX of target " + source.target->name +
                         ", slower than code of its own: compile with --target=sm_" + std::to_string(major) +
                         std::to_string(minor));
    return CudaExecutable::load(*primary, source, options.weightBudget);
  }

private:
  CudaDevice(const DeviceOptions &options, std::unique_ptr<CudaApi> owned, const CudaApi &api)
      : options(options), owned(std::move(owned)), api(api) {}

  Status find(int index) {
    CUresult started = api.cuInit(0);
    if (started == CUDA_ERROR_NO_DEVICE)
      return notFound("the CUDA driver finds no GPU");
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, started, "cuInit"));
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuDriverGetVersion(&version), "cuDriverGetVersion"));
    int count = 0;
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuDeviceGetCount(&count), "cuDeviceGetCount"));
    if (count == 0)
      return notFound("the CUDA driver finds no GPU");
    if (index >= count)
      return notFound("no device cuda:" + std::to_string(index) + ", the CUDA driver finds " + std::to_string(count) +
                      (count == 1 ? " GPU" : " GPUs"));
    CUdevice device = 0;
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuDeviceGet(&device, index), "cuDeviceGet"));
    char text[256] = "";
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, api.cuDeviceGetName(text, sizeof text, device), "cuDeviceGetName"));
    gpu = text;
    auto attribute = [&](CUdevice_attribute which, int &value) {
      return cudaStatus(api, api.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
    };
    VITRIFY_RETURN_IF_ERROR(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, major));
    VITRIFY_RETURN_IF_ERROR(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, minor));
    VITRIFY_ASSIGN_OR_RETURN(primary, CudaPrimaryContext::retain(api, device));
    return {};
  }

  const DeviceOptions options;
  const std::unique_ptr<CudaApi> owned;
  const CudaApi &api;
  std::unique_ptr<CudaPrimaryContext> primary;
  std::string gpu;
  int version = 0, major = 0, minor = 0;
};

} // namespace

StatusOr<std::unique_ptr<Device>> vitrify::createCudaDevice(const DeviceOptions &options, const std::string &driver,
                                                            int index) {
  VITRIFY_ASSIGN_OR_RETURN(std::unique_ptr<CudaApi> api, loadCudaDriver(driver));
  const CudaApi &table = *api;
  return CudaDevice::open(options, std::move(api), table, index);
}

StatusOr<std::unique_ptr<Device>> vitrify::createCudaDevice(const DeviceOptions &options, const CudaApi &api,
                                                            int index) {
  return CudaDevice::open(options, nullptr, api, index);
}
