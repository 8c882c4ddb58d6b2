//===- Runner.cpp - runs inputs and prints results ------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Runner.h"

#include "vitrify/Support/Npy.h"
#include "vitrify/Support/Progress.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <span>
#include <string_view>

using namespace vitrify;
using namespace vitrify::run;

namespace {

void printClasses(const Options &options, const vitrify_program_info &info, const api::Result &result,
                  const std::vector<Input> &inputs) {
  const size_t rows = size_t(result.shape[0]), classes = rows ? result.values.size() / rows : 0;
  const size_t count = std::min(classes, size_t(options.topK.value_or(5)));
  std::vector<size_t> order(classes);
  for (size_t row = 0; row < rows; ++row) {
    const float *scores = result.values.data() + row * classes;
    std::iota(order.begin(), order.end(), size_t(0));
    // Equal scores go by class, so that the output is the same everywhere; NaN goes last.
    std::partial_sort(order.begin(), order.begin() + long(count), order.end(), [&](size_t a, size_t b) {
      bool nanA = scores[a] != scores[a], nanB = scores[b] != scores[b];
      if (nanA || nanB)
        return nanA != nanB ? nanB : a < b;
      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    if (inputs[0].frames)
      std::printf("%s:", options.inputs[row].c_str());
    else
      std::printf("%s[%zu]:", options.inputs[0].c_str(), row);
    for (size_t i = 0; i < count; ++i) {
      const char *label = order[i] < info.num_labels ? info.labels[order[i]] : nullptr;
      std::printf("%s %zu%s%s%s %.4f", i ? "," : "", order[i], label ? " (" : "", label ? label : "", label ? ")" : "",
                  double(scores[order[i]]));
    }
    std::printf("\n");
  }
}

void printProfile(const std::vector<vitrify_step_time> &steps, std::string_view device) {
  uint64_t total = 0;
  for (const vitrify_step_time &step : steps)
    total += step.ns;
  std::printf("%10s %6s  %-40s %s\n", "us", "%", "layers", "kernel");
  for (const vitrify_step_time &step : steps)
    std::printf("%10.1f %6.2f  %-40s %s\n", double(step.ns) / 1e3,
                total ? 100.0 * double(step.ns) / double(total) : 0.0, step.layers, step.kernel);
  std::printf("%10.1f %6.2f  total\n", double(total) / 1e3, total ? 100.0 : 0.0);
  if (device.ends_with("(emulated)"))
    std::printf("These are the emulator's own times; vitrify-inspect has estimates for the chip.\n");
}

} // namespace

Status vitrify::run::runInputs(const Options &options, const api::Program &program) {
  const vitrify_program_info info = program.info();
  const vitrify_entry entry = program.find(options.entry);
  VITRIFY_ASSIGN_OR_RETURN(std::vector<Input> inputs, readInputs(options, program));
  // Inputs are cut into runs along the symbol that is the first input's first dimension.
  const vitrify_dim first = entry.num_inputs && entry.inputs[0].rank ? entry.inputs[0].dims[0] : vitrify_dim{1, -1};
  const int64_t rows = inputs.empty() ? 1 : inputs[0].shape[0];
  int64_t batch = rows;
  const bool apart = first.symbol >= 0 && entry.num_inputs == 1; // several inputs need not have rows for rows: they stay whole
  if (apart) {
    const vitrify_symbol &symbol = entry.symbols[first.symbol];
    batch = options.batch.value_or(std::min(rows, symbol.max));
    if (batch < symbol.min || batch > symbol.max)
      return invalidArgument("--batch is " + std::to_string(batch) + ", the bundle takes " +
                             std::to_string(symbol.min) + " to " + std::to_string(symbol.max) + " " + symbol.name);
  } else if (options.batch && *options.batch != rows) {
    return invalidArgument("--batch is " + std::to_string(*options.batch) + ", but the input has " +
                           std::to_string(rows) + " rows, which this entry does not take apart");
  }
  api::Context context(program);
  std::vector<api::Result> results;
  std::vector<vitrify_step_time> profile;
  ProgressLine progress("vitrify-run");
  for (int64_t at = 0; at == 0 || at < rows; at += batch) {
    if (batch < rows)
      progress.update("images", uint64_t(at), uint64_t(rows));
    std::vector<vitrify_tensor> tensors;
    for (const Input &input : inputs)
      tensors.push_back(apart ? input.rows(at, std::min(batch, rows - at)) : input.rows(0, input.shape.empty() ? 1 : input.shape[0]));
    vitrify_run_options run{};
    run.flags = options.profile && at == 0 ? uint32_t(VITRIFY_RUN_PROFILE) : 0;
    std::vector<api::Result> part = context.run(tensors, options.entry, run);
    if (options.profile && at == 0)
      printProfile(context.profile(), info.device);
    if (results.empty()) {
      results = std::move(part);
    } else {
      for (size_t i = 0; i < results.size(); ++i) {
        results[i].values.insert(results[i].values.end(), part[i].values.begin(), part[i].values.end());
        results[i].shape[0] += part[i].shape[0];
      }
    }
    if (batch == 0)
      break;
  }
  progress.clear();
  for (size_t i = 0; i < results.size() && !options.output.empty(); ++i) {
    // More results than one are numbered: logits.npy, logits.1.npy, ...
    std::string path = options.output;
    if (i) {
      size_t dot = path.rfind('.') == std::string::npos ? path.size() : path.rfind('.');
      path.insert(dot, "." + std::to_string(i));
    }
    VITRIFY_RETURN_IF_ERROR(
        writeNpy(path, DType::F32, results[i].shape, std::as_bytes(std::span(results[i].values))));
  }
  if (!results.empty() && results[0].shape.size() == 2 && (options.topK || (options.output.empty() && !options.profile)))
    printClasses(options, info, results[0], inputs);
  return {};
}
