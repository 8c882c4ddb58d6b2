//===- vitrify.hpp - the C interface with owners ----------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Header-only C++17 over vitrify.h: objects that free themselves, and errors as
// exceptions, which are thrown in the caller's code and never inside the library.
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_RUNTIME_VITRIFY_HPP
#define VITRIFY_RUNTIME_VITRIFY_HPP

#include "vitrify/Runtime/vitrify.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace vitrify::api {

/// What a call that failed returned.
class Error : public std::runtime_error {
public:
  Error(vitrify_code code, const std::string &message) : std::runtime_error(message), code(code) {}
  const vitrify_code code;
};

/// Throws an Error unless the status is success; frees it.
inline void check(vitrify_status *status) {
  if (!status)
    return;
  Error error(vitrify_status_code(status), vitrify_status_message(status));
  vitrify_status_free(status);
  throw error;
}

/// The caller's memory as a tensor; `bytes` of it, dense and row-major.
inline vitrify_tensor tensor(void *data, uint64_t bytes, vitrify_dtype dtype, const std::vector<int64_t> &shape,
                             vitrify_memory memory = VITRIFY_HOST) {
  vitrify_tensor result{};
  result.data = data;
  result.bytes = bytes;
  result.dtype = dtype;
  result.memory = memory;
  if (shape.size() > VITRIFY_MAX_RANK)
    throw Error(VITRIFY_INVALID_ARGUMENT, "a tensor has at most 8 dimensions");
  result.rank = int32_t(shape.size());
  std::copy(shape.begin(), shape.end(), result.shape);
  return result;
}

/// f32 values, which the run does not change.
inline vitrify_tensor floats(const std::vector<float> &values, const std::vector<int64_t> &shape) {
  return tensor(const_cast<float *>(values.data()), values.size() * sizeof(float), VITRIFY_F32, shape);
}

/// u8 images [count, height, width, channels], normalised on the way in.
inline vitrify_tensor frames(const std::vector<uint8_t> &pixels, int64_t count, int64_t height, int64_t width,
                             int64_t channels) {
  vitrify_tensor result = tensor(const_cast<uint8_t *>(pixels.data()), pixels.size(), VITRIFY_U8,
                                 {count, height, width, channels});
  result.frames = 1;
  return result;
}

/// An opened bundle; cheap to copy, shared by threads.
class Program {
public:
  explicit Program(const std::string &path, vitrify_options options = {}) {
    options.struct_size = sizeof options;
    vitrify_program *opened = nullptr;
    check(vitrify_program_open(path.c_str(), &options, &opened));
    handle.reset(opened, vitrify_program_destroy);
  }

  vitrify_program *get() const { return handle.get(); }

  vitrify_program_info info() const {
    vitrify_program_info result{};
    result.struct_size = sizeof result;
    check(vitrify_program_get_info(get(), &result));
    return result;
  }
  /// Symbol values that the inputs' shapes mean. An empty entry is the first.
  std::vector<int64_t> bind(const std::string &entry, const std::vector<vitrify_tensor> &inputs) const {
    std::vector<int64_t> symbols(find(entry).num_symbols);
    check(vitrify_program_bind(get(), name(entry), inputs.data(), inputs.size(), symbols.data()));
    return symbols;
  }
  vitrify_memory_info memory(const std::string &entry, const std::vector<int64_t> &symbols) const {
    vitrify_memory_info result{};
    result.struct_size = sizeof result;
    check(vitrify_program_memory(get(), name(entry), symbols.data(), symbols.size(), &result));
    return result;
  }
  vitrify_entry find(const std::string &entry) const {
    vitrify_program_info all = info();
    for (size_t i = 0; i < all.num_entries; ++i)
      if (entry.empty() || entry == all.entries[i].name)
        return all.entries[i];
    throw Error(VITRIFY_NOT_FOUND, "no entry '" + entry + "'");
  }
  static const char *name(const std::string &entry) { return entry.empty() ? nullptr : entry.c_str(); }

private:
  std::shared_ptr<vitrify_program> handle;
};

/// f32 values and their shape.
struct Result {
  std::vector<float> values;
  std::vector<int64_t> shape;
};

/// Memory of one request at a time.
class Context {
public:
  explicit Context(const Program &program, vitrify_context_options options = {}) : program(program) {
    options.struct_size = sizeof options;
    vitrify_context *made = nullptr;
    check(vitrify_context_create(program.get(), &options, &made));
    handle.reset(made);
  }

  vitrify_context *get() const { return handle.get(); }

  /// Runs on the caller's memory. An empty entry is the first.
  void run(const std::string &entry, const std::vector<vitrify_tensor> &inputs, std::vector<vitrify_tensor> &outputs,
           vitrify_run_options options = {}) {
    options.struct_size = sizeof options;
    check(vitrify_run(get(), Program::name(entry), inputs.data(), inputs.size(), outputs.data(), outputs.size(),
                      &options));
  }
  /// The same with results as f32.
  std::vector<Result> run(const std::vector<vitrify_tensor> &inputs, const std::string &entry = "",
                          vitrify_run_options options = {}) {
    std::vector<int64_t> symbols = program.bind(entry, inputs);
    std::vector<Result> results(program.find(entry).num_outputs);
    std::vector<vitrify_tensor> outputs(results.size());
    for (size_t i = 0; i < results.size(); ++i) {
      check(vitrify_program_output(program.get(), Program::name(entry), i, symbols.data(), symbols.size(), &outputs[i]));
      results[i].shape.assign(outputs[i].shape, outputs[i].shape + outputs[i].rank);
      size_t count = 1;
      for (int64_t dim : results[i].shape)
        count *= size_t(dim);
      results[i].values.resize(count);
      outputs[i] = floats(results[i].values, results[i].shape);
    }
    run(entry, inputs, outputs, options);
    return results;
  }
  void cancel() { vitrify_context_cancel(get()); }
  void wait() { check(vitrify_context_wait(get())); }
  std::vector<vitrify_step_time> profile() const {
    const vitrify_step_time *steps = nullptr;
    size_t count = 0;
    check(vitrify_context_profile(get(), &steps, &count));
    return {steps, steps + count};
  }

private:
  struct Destroy {
    void operator()(vitrify_context *context) const { vitrify_context_destroy(context); }
  };
  Program program;
  std::unique_ptr<vitrify_context, Destroy> handle;
};

} // namespace vitrify::api

#endif
