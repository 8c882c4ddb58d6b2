//===- Runtime.cpp - the runtime as a Python module -------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// vitrify._runtime: programs and contexts of the C interface. Arrays come as
// DLPack or buffers and are not copied; a run holds no interpreter lock.
// python/vitrify/runtime.py makes the public classes of it.
//===----------------------------------------------------------------------===//
#include "vitrify/Runtime/vitrify.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <tuple>

namespace nb = nanobind;
using namespace vitrify::api;
using nb::literals::operator""_a;

namespace {

using Array = nb::ndarray<nb::ro, nb::c_contig>;    // inputs may be read-only
using Writable = nb::ndarray<nb::c_contig>;

const char *const kDtypes[] = {"f32", "f16", "bf16", "f8e4m3", "f4e2m1", "i8", "u8", "i32", "i64"};

std::string dtypeName(vitrify_dtype dtype) { return kDtypes[dtype]; }

vitrify_dtype dtypeOf(const std::string &name) {
  for (int i = 0; i < int(std::size(kDtypes)); ++i)
    if (name == kDtypes[i])
      return vitrify_dtype(i);
  throw Error(VITRIFY_INVALID_ARGUMENT, "unknown dtype '" + name + "'");
}

/// The element type of an array; DLPack's codes: 0 int, 1 unsigned, 2 float, 4 bfloat, 10 float8_e4m3fn.
vitrify_dtype dtypeOf(const nb::dlpack::dtype &dtype) {
  struct Row {
    int code, bits;
    vitrify_dtype dtype;
  };
  for (Row row : {Row{2, 32, VITRIFY_F32}, Row{2, 16, VITRIFY_F16}, Row{4, 16, VITRIFY_BF16}, Row{10, 8, VITRIFY_F8E4M3},
                  Row{0, 8, VITRIFY_I8}, Row{1, 8, VITRIFY_U8}, Row{0, 32, VITRIFY_I32}, Row{0, 64, VITRIFY_I64}})
    if (dtype.code == row.code && dtype.bits == row.bits && dtype.lanes == 1)
      return row.dtype;
  throw Error(VITRIFY_INVALID_ARGUMENT, "an array of DLPack type code " + std::to_string(dtype.code) + " with " +
                                            std::to_string(dtype.bits) +
                                            " bits; expected f32, f16, bf16, f8e4m3, i8, u8, i32 or i64");
}

template <typename AnyArray>
vitrify_tensor tensorOf(const AnyArray &array, const std::string &dtype, bool frames) {
  bool host = array.device_type() == nb::device::cpu::value || array.device_type() == nb::device::cuda_host::value;
  if (!host && array.device_type() != nb::device::cuda::value)
    throw Error(VITRIFY_INVALID_ARGUMENT, "an array on DLPack device " + std::to_string(array.device_type()) +
                                              "; expected the CPU or CUDA");
  std::vector<int64_t> shape;
  for (size_t i = 0; i < array.ndim(); ++i)
    shape.push_back(int64_t(array.shape(i)));
  vitrify_tensor t = tensor(const_cast<void *>(static_cast<const void *>(array.data())), array.nbytes(),
                            dtype.empty() ? dtypeOf(array.dtype()) : dtypeOf(dtype), shape,
                            host ? VITRIFY_HOST : VITRIFY_DEVICE);
  t.frames = frames;
  return t;
}

/// An argument of a run: the array, the dtype that its bytes mean ("" for its own), and whether it holds u8 frames.
using Input = std::tuple<Array, std::string, bool>;
using Output = std::tuple<Writable, std::string, bool>;

template <typename Argument>
std::vector<vitrify_tensor> tensorsOf(const std::vector<Argument> &arguments) {
  std::vector<vitrify_tensor> tensors;
  for (const auto &[array, dtype, frames] : arguments)
    tensors.push_back(tensorOf(array, dtype, frames));
  return tensors;
}

Program openProgram(const std::string &path, const std::string &device, const std::string &target,
                    const std::string &driver, uint32_t threads, bool lowMemory, uint64_t weightBudget,
                    const std::string &requireSignature) {
  vitrify_options options{};
  auto given = [](const std::string &text) { return text.empty() ? nullptr : text.c_str(); };
  options.device = given(device);
  options.target = given(target);
  options.driver = given(driver);
  options.require_signature = given(requireSignature);
  options.threads = threads;
  options.memory_mode = lowMemory ? VITRIFY_MEMORY_LOW : VITRIFY_MEMORY_FAST;
  options.weight_budget = weightBudget;
  nb::gil_scoped_release release;
  return Program(path, options);
}

/// (name, dtype, [size or name of a symbol; None where it is computed from them]).
nb::list argumentsOf(const vitrify_entry &entry, const vitrify_argument *arguments, size_t count) {
  nb::list all;
  for (size_t i = 0; i < count; ++i) {
    nb::list dims;
    for (int32_t d = 0; d < arguments[i].rank; ++d) {
      const vitrify_dim &dim = arguments[i].dims[d];
      if (dim.symbol >= 0)
        dims.append(nb::str(entry.symbols[dim.symbol].name));
      else if (dim.value >= 0)
        dims.append(dim.value);
      else
        dims.append(nb::none());
    }
    all.append(nb::make_tuple(arguments[i].name, dtypeName(arguments[i].dtype), dims));
  }
  return all;
}

nb::dict describe(const Program &program) {
  vitrify_program_info info = program.info();
  auto text = [](const char *value) { return nb::str(value ? value : ""); };
  nb::dict all;
  all["name"] = text(info.name);
  all["precision"] = text(info.precision);
  all["target"] = text(info.target);
  all["device"] = text(info.device);
  all["license"] = text(info.license);
  all["preprocess"] = text(info.preprocess);
  all["weight_bytes"] = info.weight_bytes;
  all["threads"] = info.threads;
  nb::list labels, entries;
  for (size_t i = 0; i < info.num_labels; ++i)
    labels.append(text(info.labels[i]));
  for (size_t i = 0; i < info.num_entries; ++i) {
    const vitrify_entry &e = info.entries[i];
    nb::list symbols;
    for (size_t s = 0; s < e.num_symbols; ++s)
      symbols.append(nb::make_tuple(e.symbols[s].name, e.symbols[s].min, e.symbols[s].tuned, e.symbols[s].max));
    nb::dict entry;
    entry["name"] = text(e.name);
    entry["symbols"] = symbols;
    entry["inputs"] = argumentsOf(e, e.inputs, e.num_inputs);
    entry["outputs"] = argumentsOf(e, e.outputs, e.num_outputs);
    entries.append(entry);
  }
  all["labels"] = labels;
  all["entries"] = entries;
  return all;
}

/// (dtype, shape) of each output for these inputs.
nb::list outputsFor(const Program &program, const std::string &entry, const std::vector<Input> &inputs) {
  std::vector<int64_t> symbols = program.bind(entry, tensorsOf(inputs));
  nb::list all;
  size_t count = program.find(entry).num_outputs;
  for (size_t i = 0; i < count; ++i) {
    vitrify_tensor output{};
    check(vitrify_program_output(program.get(), Program::name(entry), i, symbols.data(), symbols.size(), &output));
    nb::list shape;
    for (int32_t d = 0; d < output.rank; ++d)
      shape.append(output.shape[d]);
    all.append(nb::make_tuple(dtypeName(output.dtype), shape));
  }
  return all;
}

Context makeContext(const Program &program, uint32_t threads) {
  vitrify_context_options options{};
  options.threads = threads;
  return Context(program, options);
}

void run(Context &context, const std::string &entry, const std::vector<Input> &inputs, const std::vector<Output> &outputs,
         double timeLimit, bool profile) {
  std::vector<vitrify_tensor> in = tensorsOf(inputs), out = tensorsOf(outputs);
  vitrify_run_options options{};
  options.flags = profile ? VITRIFY_RUN_PROFILE : 0;
  options.time_limit_ns = uint64_t(timeLimit * 1e9);
  nb::gil_scoped_release release;
  context.run(entry, in, out, options);
}

nb::list profileOf(const Context &context) {
  nb::list steps;
  for (const vitrify_step_time &step : context.profile())
    steps.append(nb::make_tuple(step.layers, step.kernel, step.ns));
  return steps;
}

nb::dict memoryOf(const Program &program, const std::string &entry, const std::vector<int64_t> &symbols) {
  vitrify_memory_info info = program.memory(entry, symbols);
  nb::dict all;
  all["arena"] = info.arena_bytes;
  all["staging"] = info.staging_bytes;
  all["weights"] = info.weight_bytes;
  all["scratch"] = info.scratch_bytes;
  return all;
}

} // namespace

NB_MODULE(_runtime, m) {
  m.doc() = "The vitrify runtime; use vitrify.Program.";
  // Raised as (code, message) so that the package can make its own error of it.
  static nb::exception<Error> error(m, "Error");
  nb::register_exception_translator([](const std::exception_ptr &raised, void *) {
    try {
      std::rethrow_exception(raised);
    } catch (const Error &e) {
      PyErr_SetObject(error.ptr(), nb::make_tuple(int(e.code), e.what()).ptr());
    }
  });
  m.def("version", &vitrify_version, "Version of the runtime.");
  nb::class_<Program>(m, "Program", "An opened bundle.")
      .def("describe", &describe, "Name, precision, target, device, labels and entries.")
      .def("outputs_for", &outputsFor, "entry"_a, "inputs"_a, "(dtype, shape) of each output for these inputs.")
      .def("memory", &memoryOf, "entry"_a, "symbols"_a, "Bytes that one run needs.")
      .def("context", &makeContext, "threads"_a = 0, "Memory for one run at a time.");
  m.def("open", &openProgram, "path"_a, "device"_a, "target"_a, "driver"_a, "threads"_a, "low_memory"_a,
        "weight_budget"_a, "require_signature"_a, "Opens a bundle folder.");
  nb::class_<Context>(m, "Context", "Memory for one run at a time.")
      .def("run", &run, "entry"_a, "inputs"_a, "outputs"_a, "time_limit"_a, "profile"_a, "Runs on the caller's arrays.")
      .def("cancel", &Context::cancel, "Stops the run in progress.")
      .def("profile", &profileOf, "(layers, kernel, ns) of each step of the last profiled run.");
}
