//===- CudaExecutable.cpp - a bundle's code and weights on a GPU ----------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "CudaExecutable.h"

#include "CudaStreamedWeights.h"
#include "CudaWorker.h"
#include "vitrify/Support/ContentHash.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

using namespace vitrify;
using namespace vitrify::cuda;

namespace {
constexpr uint64_t kAlign = 256;               ///< what cuMemAlloc gives, and enough for every load instruction
constexpr uint64_t kPinnedBytes = 4u << 20;    ///< of each of two upload buffers
constexpr int64_t kPlainSharedBytes = 48 << 10; ///< above it a kernel has to ask: CUDA programming guide, 16.4
uint64_t alignUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
} // namespace

StatusOr<std::unique_ptr<CudaPrimaryContext>> CudaPrimaryContext::retain(const CudaApi &api, CUdevice device) {
  CUcontext context = nullptr;
  VITRIFY_RETURN_IF_ERROR(
      cudaStatus(api, api.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain"));
  return std::unique_ptr<CudaPrimaryContext>(new CudaPrimaryContext(api, device, context));
}

StatusOr<std::unique_ptr<DeviceExecutable>> CudaExecutable::load(const CudaPrimaryContext &primary,
                                                                 const ExecutableSource &source, uint64_t weightBudget) {
  CudaScope scope(primary.api, primary.context);
  VITRIFY_RETURN_IF_ERROR(scope.status());
  std::unique_ptr<CudaExecutable> result(new CudaExecutable(primary, source, weightBudget));
  VITRIFY_RETURN_IF_ERROR(result->readLayouts());
  VITRIFY_RETURN_IF_ERROR(result->checkBudget());
  VITRIFY_RETURN_IF_ERROR(result->loadModule(source));
  return std::unique_ptr<DeviceExecutable>(std::move(result));
}

CudaExecutable::~CudaExecutable() {
  CudaScope scope(api, primary.context, 2);
  blocks.clear();
  module.reset();
}

Status CudaExecutable::readLayouts() {
  std::map<std::string, uint32_t> known;
  for (const PlanWeight &weight : plan.weights) {
    if (weight.layout != "nk")
      return unsupported("weight '" + weight.name + "' has layout '" + weight.layout + "', expected nk on a GPU");
    auto [place, isNew] = known.try_emplace(weight.tensor, uint32_t(tensors.size()));
    slotOf.push_back(place->second);
    if (!isNew)
      continue;
    tensors.push_back(weights.file().find(weight.tensor));
    if (!tensors.back())
      return notFound("weight '" + weight.name + "': no tensor '" + weight.tensor + "' in the bundle");
  }
  places.assign(tensors.size(), 0);
  return {};
}

Status CudaExecutable::checkBudget() const {
  if (!budget)
    return {};
  WeightNeed need = smallestWeightBudget(plan, [&](const std::vector<unsigned> &step) {
    std::vector<const TensorInfo *> read;
    for (unsigned index : step)
      read.push_back(tensor(index));
    return CudaStreamedWeights::bytesOf(read);
  });
  return need.check(budget);
}

Status CudaExecutable::loadModule(const ExecutableSource &source) {
  const BundleFile &code = source.target->code;
  VITRIFY_ASSIGN_OR_RETURN(MappedFile file, source.bundle->openFile(code));
  // A copy, so that what is loaded is what was checked; the zero after it ends PTX text.
  std::vector<std::byte> image(file.bytes().begin(), file.bytes().end());
  if (toHex(sha256(image)) != code.sha256)
    return dataLoss(code.path + " changed while it was read");
  image.push_back(std::byte(0));

  char log[2048] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
  CUmodule loaded = nullptr;
  CUresult result = api.cuModuleLoadDataEx(&loaded, image.data(), 2, options, values);
  if (result != CUDA_SUCCESS) {
    log[sizeof log - 1] = 0;
    std::string_view first(log);
    first = first.substr(0, first.find('\n'));
    return cudaStatus(api, result, "loading " + code.path + (first.empty() ? "" : " (" + std::string(first) + ")"));
  }
  module = CudaModule(api, loaded);
  for (const PlanKernel &kernel : plan.kernels) {
    CUfunction function = nullptr;
    CUresult found = api.cuModuleGetFunction(&function, loaded, kernel.name.c_str());
    if (found == CUDA_ERROR_NOT_FOUND)
      return notFound("kernel '" + kernel.name + "' is not in " + code.path);
    VITRIFY_RETURN_IF_ERROR(cudaStatus(api, found, "cuModuleGetFunction of '" + kernel.name + "'"));
    functions.push_back(function);
  }
  for (const PlanProgram &program : plan.programs)
    VITRIFY_RETURN_IF_ERROR(raiseSharedLimit(program.steps));
  return {};
}

Status CudaExecutable::raiseSharedLimit(const std::vector<PlanStep> &steps) {
  for (const PlanStep &step : steps) {
    VITRIFY_RETURN_IF_ERROR(raiseSharedLimit(step.body));
    for (size_t i = 0; i < step.kernels.size() && i < step.shared_bytes.size(); ++i) {
      if (step.shared_bytes[i] <= kPlainSharedBytes)
        continue;
      CUfunction function = functions[step.kernels[i]];
      int now = 0;
      const std::string &name = plan.kernels[step.kernels[i]].name;
      VITRIFY_RETURN_IF_ERROR(
          cudaStatus(api, api.cuFuncGetAttribute(&now, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function),
                     "cuFuncGetAttribute of '" + name + "'"));
      if (now < step.shared_bytes[i])
        VITRIFY_RETURN_IF_ERROR(cudaStatus(
            api,
            api.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, int(step.shared_bytes[i])),
            "cuFuncSetAttribute of '" + name + "' for " + std::to_string(step.shared_bytes[i]) +
                " bytes of shared memory"));
    }
  }
  return {};
}

Status CudaExecutable::requireWeights(const std::vector<uint32_t> &wanted) {
  std::lock_guard lock(mutex);
  std::vector<uint32_t> missing;
  std::set<uint32_t> seen;
  uint64_t bytes = 0;
  for (uint32_t index : wanted)
    if (uint32_t slot = slotOf[index]; !places[slot] && seen.insert(slot).second) {
      missing.push_back(slot);
      bytes += alignUp(std::max<uint64_t>(1, tensors[slot]->bytes()));
    }
  if (missing.empty())
    return {};
  VITRIFY_ASSIGN_OR_RETURN(CudaMemory block, CudaMemory::allocate(api, bytes, "the weights of this program"));
  VITRIFY_RETURN_IF_ERROR(upload(missing, block.address.get()));
  uint64_t at = 0;
  for (uint32_t slot : missing) {
    places[slot] = block.address.get() + at;
    at += alignUp(std::max<uint64_t>(1, tensors[slot]->bytes()));
  }
  blocks.push_back(std::move(block));
  return {};
}

Status CudaExecutable::upload(const std::vector<uint32_t> &missing, CUdeviceptr base) {
  // The file's bytes go through two pinned buffers in turn: one is filled while the other is copied.
  VITRIFY_ASSIGN_OR_RETURN(CudaStream stream, createCudaStream(api));
  VITRIFY_ASSIGN_OR_RETURN(CudaPinned pinned, CudaPinned::allocate(api, 2 * kPinnedBytes, "uploads of weights"));
  CudaEvent copied[2];
  for (CudaEvent &event : copied) {
    VITRIFY_ASSIGN_OR_RETURN(event, createCudaEvent(api));
  }
  bool used[2] = {false, false};
  unsigned turn = 0;
  auto copyAll = [&]() -> Status {
    uint64_t at = 0;
    for (uint32_t slot : missing) {
      const TensorInfo &info = *tensors[slot];
      std::span<const std::byte> data = weights.file().data(info);
      for (uint64_t done = 0; done < data.size(); turn ^= 1) {
        uint64_t part = std::min<uint64_t>(kPinnedBytes, data.size() - done);
        VITRIFY_RETURN_IF_ERROR(weights.verify(info.begin + done, info.begin + done + part));
        if (used[turn])
          VITRIFY_RETURN_IF_ERROR(
              cudaStatus(api, api.cuEventSynchronize(copied[turn].get()), "cuEventSynchronize"));
        std::byte *buffer = pinned.data() + turn * kPinnedBytes;
        std::memcpy(buffer, data.data() + done, part);
        VITRIFY_RETURN_IF_ERROR(cudaStatus(
            api, api.cuMemcpyHtoDAsync(base + at + done, buffer, part, stream.get()), "cuMemcpyHtoDAsync of weights"));
        VITRIFY_RETURN_IF_ERROR(
            cudaStatus(api, api.cuEventRecord(copied[turn].get(), stream.get()), "cuEventRecord"));
        used[turn] = true;
        done += part;
      }
      weights.file().mapped().release(info.begin, info.bytes());
      at += alignUp(std::max<uint64_t>(1, info.bytes()));
    }
    return {};
  };
  Status status = copyAll();
  // Even after an error the buffers may not go before the copies have ended.
  Status ended = cudaStatus(api, api.cuStreamSynchronize(stream.get()), "cuStreamSynchronize after uploading weights");
  return status.ok() ? ended : status;
}

DeviceMemoryNeeds CudaExecutable::memoryNeeds(const Schedule &schedule) const {
  DeviceMemoryNeeds needs;
  needs.arenaBytes = schedule.arenaBytes;
  std::set<uint32_t> seen;
  for (uint32_t weight : schedule.weights)
    if (seen.insert(slotOf[weight]).second)
      needs.weightBytes += alignUp(tensors[slotOf[weight]]->bytes());
  if (budget)
    needs.weightBytes = std::min(needs.weightBytes, budget);
  for (const auto *list : {&schedule.inputs, &schedule.outputs})
    for (const ScheduledArgument &argument : *list)
      needs.stagingBytes += alignUp(argument.bytes);
  return needs;
}

StatusOr<std::unique_ptr<DeviceWorker>> CudaExecutable::createWorker(const WorkerOptions &options) {
  if (reinterpret_cast<uintptr_t>(options.memory) % kAlign)
    return invalidArgument("the given memory is not aligned to 256 bytes");
  return CudaWorker::create(*this, options);
}
