//===- CApi.cpp - the C interface of the runtime --------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Every function catches what the standard library throws (out of memory, no more
// threads) and makes it a status.
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/Program.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

using namespace vitrify;

struct vitrify_status {
  Status value;
};
struct vitrify_program {
  std::shared_ptr<Program> value;
};
struct vitrify_context {
  std::unique_ptr<Context> value;
};

namespace {

/// For when there is no memory left even for a status; never freed.
vitrify_status *outOfMemory() {
  static vitrify_status status{Status(StatusCode::ResourceExhausted, "out of memory")};
  return &status;
}

vitrify_status *wrap(Status status) {
  if (status.ok())
    return nullptr;
  auto *result = new (std::nothrow) vitrify_status{std::move(status)};
  return result ? result : outOfMemory();
}

template <typename F> vitrify_status *guarded(F &&body) noexcept {
  try {
    return wrap(body());
  } catch (const std::bad_alloc &) {
    return outOfMemory();
  } catch (const std::exception &error) {
    try {
      return wrap(internalError(error.what()));
    } catch (...) {
      return outOfMemory();
    }
  }
}

/// The caller's struct, which may be of an older and shorter version; what it lacks is zero.
template <typename T> StatusOr<T> readOptions(const T *options, const char *name) {
  T result{};
  if (!options) {
    result.struct_size = sizeof(T);
    return result;
  }
  if (options->struct_size < sizeof(size_t) || options->struct_size > 4096)
    return invalidArgument(std::string(name) + ".struct_size is " + std::to_string(options->struct_size) +
                           ", expected sizeof(" + name + ")");
  std::memcpy(&result, options, std::min(options->struct_size, sizeof(T)));
  return result;
}

/// Fills as much of the caller's struct as it has room for.
template <typename T> Status writeInfo(const T &value, T *out, const char *name) {
  if (!out || out->struct_size < sizeof(size_t))
    return invalidArgument(std::string(name) + ".struct_size must be set to sizeof(" + name + ")");
  size_t size = std::min(out->struct_size, sizeof(T));
  std::memcpy(out, &value, size);
  out->struct_size = size;
  return {};
}

std::string orEmpty(const char *text) { return text ? text : ""; }

Status required(const void *pointer, const char *name) {
  return pointer ? Status() : invalidArgument(std::string(name) + " is null");
}

} // namespace

vitrify_code vitrify_status_code(const vitrify_status *status) {
  return status ? vitrify_code(status->value.code()) : VITRIFY_OK;
}
const char *vitrify_status_message(const vitrify_status *status) {
  return status ? status->value.message().c_str() : "";
}
void vitrify_status_free(vitrify_status *status) {
  if (status != outOfMemory())
    delete status;
}
const char *vitrify_version(void) { return VITRIFY_VERSION; }

vitrify_status *vitrify_program_open(const char *path, const vitrify_options *options, vitrify_program **program) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(path, "path"));
    VITRIFY_RETURN_IF_ERROR(required(program, "program"));
    *program = nullptr;
    VITRIFY_ASSIGN_OR_RETURN(vitrify_options given, readOptions(options, "vitrify_options"));
    // A C caller may put any number there, and loading one that is no enumerator is undefined.
    int mode;
    static_assert(sizeof(mode) == sizeof(given.memory_mode));
    std::memcpy(&mode, &given.memory_mode, sizeof(mode));
    if (mode != VITRIFY_MEMORY_FAST && mode != VITRIFY_MEMORY_LOW)
      return invalidArgument("memory_mode is " + std::to_string(mode) + ", expected 0 or 1");
    if (given.threads > 4096)
      return invalidArgument("threads is " + std::to_string(given.threads) + ", expected at most 4096");
    ProgramOptions opts;
    opts.device = given.device ? given.device : "cpu";
    opts.target = orEmpty(given.target);
    opts.driver = orEmpty(given.driver);
    opts.publicKey = orEmpty(given.require_signature);
    opts.deviceOptions.threads = given.threads;
    opts.deviceOptions.lowMemory = given.memory_mode == VITRIFY_MEMORY_LOW;
    opts.deviceOptions.weightBudget = given.weight_budget;
    if (given.log)
      opts.deviceOptions.log = [log = given.log, user = given.log_user](int level, const std::string &message) {
        log(level, message.c_str(), user);
      };
    VITRIFY_ASSIGN_OR_RETURN(std::shared_ptr<Program> opened, Program::open(path, opts));
    *program = new vitrify_program{std::move(opened)};
    return {};
  });
}

void vitrify_program_destroy(vitrify_program *program) { delete program; }

vitrify_status *vitrify_program_get_info(const vitrify_program *program, vitrify_program_info *info) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(program, "program"));
    return writeInfo(program->value->info(), info, "vitrify_program_info");
  });
}

vitrify_status *vitrify_program_memory(const vitrify_program *program, const char *entry, const int64_t *symbols,
                                       size_t num_symbols, vitrify_memory_info *info) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(program, "program"));
    if (num_symbols)
      VITRIFY_RETURN_IF_ERROR(required(symbols, "symbols"));
    const Program &value = *program->value;
    VITRIFY_ASSIGN_OR_RETURN(uint32_t index, value.findEntry(orEmpty(entry)));
    VITRIFY_ASSIGN_OR_RETURN(auto schedule, value.schedule(index, {symbols, symbols + num_symbols}));
    DeviceMemoryNeeds needs = value.executable().memoryNeeds(*schedule);
    vitrify_memory_info result{sizeof(vitrify_memory_info), needs.arenaBytes, needs.stagingBytes, needs.weightBytes,
                               needs.scratchBytes};
    return writeInfo(result, info, "vitrify_memory_info");
  });
}

vitrify_status *vitrify_program_bind(const vitrify_program *program, const char *entry, const vitrify_tensor *inputs,
                                     size_t num_inputs, int64_t *symbols) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(program, "program"));
    if (num_inputs)
      VITRIFY_RETURN_IF_ERROR(required(inputs, "inputs"));
    VITRIFY_ASSIGN_OR_RETURN(uint32_t index, program->value->findEntry(orEmpty(entry)));
    VITRIFY_ASSIGN_OR_RETURN(std::vector<int64_t> values, program->value->bind(index, inputs, num_inputs));
    if (!values.empty())
      VITRIFY_RETURN_IF_ERROR(required(symbols, "symbols"));
    std::copy(values.begin(), values.end(), symbols);
    return {};
  });
}

vitrify_status *vitrify_program_output(const vitrify_program *program, const char *entry, size_t index,
                                       const int64_t *symbols, size_t num_symbols, vitrify_tensor *output) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(program, "program"));
    VITRIFY_RETURN_IF_ERROR(required(output, "output"));
    if (num_symbols)
      VITRIFY_RETURN_IF_ERROR(required(symbols, "symbols"));
    VITRIFY_ASSIGN_OR_RETURN(uint32_t which, program->value->findEntry(orEmpty(entry)));
    VITRIFY_ASSIGN_OR_RETURN(auto schedule, program->value->schedule(which, {symbols, symbols + num_symbols}));
    if (index >= schedule->outputs.size())
      return invalidArgument("output " + std::to_string(index) + " of " + std::to_string(schedule->outputs.size()));
    const ScheduledArgument &argument = schedule->outputs[index];
    if (argument.shape.size() > VITRIFY_MAX_RANK)
      return unsupported("an output of rank " + std::to_string(argument.shape.size()) + ", expected at most 8");
    *output = {};
    output->bytes = argument.bytes;
    output->dtype = vitrify_dtype(argument.dtype);
    output->rank = int32_t(argument.shape.size());
    std::copy(argument.shape.begin(), argument.shape.end(), output->shape);
    return {};
  });
}

vitrify_status *vitrify_context_create(vitrify_program *program, const vitrify_context_options *options,
                                       vitrify_context **context) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(program, "program"));
    VITRIFY_RETURN_IF_ERROR(required(context, "context"));
    *context = nullptr;
    VITRIFY_ASSIGN_OR_RETURN(vitrify_context_options given, readOptions(options, "vitrify_context_options"));
    if (given.threads > 4096)
      return invalidArgument("threads is " + std::to_string(given.threads) + ", expected at most 4096");
    WorkerOptions opts{given.threads, given.memory, given.memory_bytes, given.stream};
    VITRIFY_ASSIGN_OR_RETURN(std::unique_ptr<Context> made, Context::create(program->value, opts));
    *context = new vitrify_context{std::move(made)};
    return {};
  });
}

void vitrify_context_destroy(vitrify_context *context) { delete context; }

vitrify_status *vitrify_context_prepare(vitrify_context *context, const char *entry, const int64_t *symbols,
                                        size_t num_symbols) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(context, "context"));
    if (num_symbols)
      VITRIFY_RETURN_IF_ERROR(required(symbols, "symbols"));
    return context->value->prepare(orEmpty(entry), {symbols, symbols + num_symbols});
  });
}

vitrify_status *vitrify_run(vitrify_context *context, const char *entry, const vitrify_tensor *inputs,
                            size_t num_inputs, vitrify_tensor *outputs, size_t num_outputs,
                            const vitrify_run_options *options) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(context, "context"));
    if (num_inputs)
      VITRIFY_RETURN_IF_ERROR(required(inputs, "inputs"));
    if (num_outputs)
      VITRIFY_RETURN_IF_ERROR(required(outputs, "outputs"));
    VITRIFY_ASSIGN_OR_RETURN(vitrify_run_options given, readOptions(options, "vitrify_run_options"));
    return context->value->run(orEmpty(entry), inputs, num_inputs, outputs, num_outputs, given);
  });
}

void vitrify_context_cancel(vitrify_context *context) {
  if (context)
    context->value->cancel();
}

vitrify_status *vitrify_context_wait(vitrify_context *context) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(context, "context"));
    return context->value->wait();
  });
}

vitrify_status *vitrify_context_profile(const vitrify_context *context, const vitrify_step_time **steps,
                                        size_t *num_steps) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(context, "context"));
    VITRIFY_RETURN_IF_ERROR(required(steps, "steps"));
    VITRIFY_RETURN_IF_ERROR(required(num_steps, "num_steps"));
    const std::vector<vitrify_step_time> &times = context->value->profile();
    *steps = times.data();
    *num_steps = times.size();
    return {};
  });
}

namespace {
/// DLPack's DLTensor, which is stable: https://dmlc.github.io/dlpack/latest/c_api.html
struct DLTensor {
  void *data;
  int32_t deviceType, deviceId;
  int32_t rank;
  uint8_t code, bits;
  uint16_t lanes;
  const int64_t *shape, *strides;
  uint64_t offset;
};
constexpr int kDLCpu = 1, kDLCuda = 2, kDLCudaHost = 3, kDLCudaManaged = 13;
constexpr int kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBFloat = 4, kDLFloat8E4M3 = 10;

StatusOr<vitrify_dtype> dtypeOf(const DLTensor &tensor) {
  struct Row {
    int code, bits;
    vitrify_dtype dtype;
  };
  constexpr Row rows[] = {{kDLFloat, 32, VITRIFY_F32}, {kDLFloat, 16, VITRIFY_F16}, {kDLBFloat, 16, VITRIFY_BF16},
                          {kDLFloat8E4M3, 8, VITRIFY_F8E4M3}, {kDLInt, 8, VITRIFY_I8}, {kDLUInt, 8, VITRIFY_U8},
                          {kDLInt, 32, VITRIFY_I32}, {kDLInt, 64, VITRIFY_I64}};
  if (tensor.lanes == 1)
    for (const Row &row : rows)
      if (row.code == tensor.code && row.bits == tensor.bits)
        return row.dtype;
  return unsupported("DLPack type code " + std::to_string(tensor.code) + " of " + std::to_string(tensor.bits) +
                     " bits and " + std::to_string(tensor.lanes) + " lanes is not supported");
}
} // namespace

vitrify_status *vitrify_tensor_from_dlpack(const void *dl_tensor, vitrify_tensor *tensor) {
  return guarded([&]() -> Status {
    VITRIFY_RETURN_IF_ERROR(required(dl_tensor, "dl_tensor"));
    VITRIFY_RETURN_IF_ERROR(required(tensor, "tensor"));
    const DLTensor &in = *static_cast<const DLTensor *>(dl_tensor);
    vitrify_tensor out{};
    VITRIFY_ASSIGN_OR_RETURN(out.dtype, dtypeOf(in));
    if (in.rank < 0 || in.rank > VITRIFY_MAX_RANK)
      return unsupported("DLPack tensor of rank " + std::to_string(in.rank) + ", expected at most 8");
    if (in.deviceType == kDLCuda || in.deviceType == kDLCudaManaged)
      out.memory = VITRIFY_DEVICE;
    else if (in.deviceType != kDLCpu && in.deviceType != kDLCudaHost)
      return unsupported("DLPack device type " + std::to_string(in.deviceType) + ", expected CPU or CUDA");
    out.rank = in.rank;
    std::copy(in.shape, in.shape + in.rank, out.shape);
    int64_t dense = 1;
    for (int i = in.rank; i-- > 0; dense *= out.shape[i])
      if (in.strides && out.shape[i] != 1 && in.strides[i] != dense)
        return unsupported("DLPack tensor with stride " + std::to_string(in.strides[i]) + " in dimension " +
                           std::to_string(i) + ", expected " + std::to_string(dense) + ": copy it first");
    VITRIFY_ASSIGN_OR_RETURN(int64_t bytes, tensorBytes(DType(out.dtype), {out.shape, size_t(out.rank)}));
    out.bytes = uint64_t(bytes);
    out.data = static_cast<char *>(in.data) + in.offset;
    *tensor = out;
    return {};
  });
}
