//===- Bench.cpp - measures a bundle --------------------------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Runner.h"

#include "vitrify/Support/Progress.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <time.h>

using namespace vitrify;
using namespace vitrify::run;

namespace {

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

/// The largest resident size so far. getrusage's counts the process that called exec as well.
uint64_t peakResidentBytes() {
  uint64_t kib = 0;
  if (FILE *file = std::fopen("/proc/self/status", "re")) {
    char line[256];
    while (std::fgets(line, sizeof line, file))
      if (unsigned long long value; std::sscanf(line, "VmHWM: %llu", &value) == 1)
        kib = value;
    std::fclose(file);
  }
  return kib << 10;
}

double rounded(double value) { return double(int64_t(value * 1e4 + 0.5)) / 1e4; }

} // namespace

/// Of all threads of this process.
static double cpuMilliseconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return double(now.tv_sec) * 1e3 + double(now.tv_nsec) * 1e-6;
}

Status vitrify::run::bench(const Options &options, const api::Program &program, Clock::time_point start) {
  const vitrify_program_info info = program.info();
  const vitrify_entry entry = program.find(options.entry);
  int64_t batch = options.batch.value_or(1);
  if (entry.num_symbols && (batch < entry.symbols[0].min || batch > entry.symbols[0].max))
    return invalidArgument("--batch is " + std::to_string(batch) + ", the bundle takes " +
                           std::to_string(entry.symbols[0].min) + " to " + std::to_string(entry.symbols[0].max) + " " +
                           entry.symbols[0].name);
  auto given = options.inputs.empty() ? makeInputs(options, program, batch) : readInputs(options, program);
  VITRIFY_RETURN_IF_ERROR(given.status());
  std::vector<vitrify_tensor> inputs;
  for (size_t i = 0; i < given->size(); ++i) {
    const Input &input = (*given)[i];
    int64_t rows = input.shape.empty() ? 1 : input.shape[0];
    // What is given may be more than one run takes; inputs of other sizes than images stay whole.
    bool cut = options.inputs.size() && entry.inputs[i].rank && entry.inputs[i].dims[0].symbol == 0;
    if (cut && rows < batch)
      return invalidArgument("--batch is " + std::to_string(batch) + ", but --input has " + std::to_string(rows) +
                             " images");
    inputs.push_back(input.rows(0, cut ? batch : rows));
  }

  // Each thread has its context; inputs are shared.
  std::vector<std::unique_ptr<api::Context>> contexts;
  for (int64_t i = 0; i < options.contexts; ++i)
    contexts.push_back(std::make_unique<api::Context>(program));
  contexts[0]->run(inputs, options.entry);
  const double firstMs = milliseconds(Clock::now() - start);

  ProgressLine progress("vitrify-run");
  std::atomic<int64_t> next{0};
  std::vector<double> times(size_t(options.bench)), cpuTimes(size_t(options.bench));
  std::vector<std::string> errors(contexts.size());
  std::atomic<int64_t> waiting{options.contexts};
  Clock::time_point begin;
  auto work = [&](size_t index) {
    try {
      // Room for results once: what is measured is the run.
      std::vector<api::Result> results = contexts[index]->run(inputs, options.entry);
      std::vector<vitrify_tensor> outputs;
      for (api::Result &result : results)
        outputs.push_back(api::floats(result.values, result.shape));
      for (int64_t i = 0; i < options.warmup; ++i)
        contexts[index]->run(options.entry, inputs, outputs);
      if (--waiting == 0)
        begin = Clock::now();
      while (waiting.load() > 0)
        std::this_thread::yield();
      for (int64_t i; (i = next++) < options.bench;) {
        Clock::time_point from = Clock::now();
        const double cpuFrom = cpuMilliseconds();
        contexts[index]->run(options.entry, inputs, outputs);
        times[size_t(i)] = milliseconds(Clock::now() - from);
        cpuTimes[size_t(i)] = cpuMilliseconds() - cpuFrom;
        progress.update("runs", uint64_t(i) + 1, uint64_t(options.bench)); // between what is measured
      }
    } catch (const api::Error &error) {
      errors[index] = error.what();
      --waiting;
    }
  };
  const double cpuBegin = cpuMilliseconds();
  std::vector<std::thread> threads;
  for (size_t i = 1; i < contexts.size(); ++i)
    threads.emplace_back(work, i);
  work(0);
  for (std::thread &thread : threads)
    thread.join();
  const double seconds = milliseconds(Clock::now() - begin) / 1e3;
  const double cpuAll = cpuMilliseconds() - cpuBegin;
  progress.clear();
  for (const std::string &error : errors)
    if (!error.empty())
      return internalError(error);
  std::ranges::sort(times);
  auto percentile = [&](double share) {
    return rounded(times[std::min(times.size() - 1, size_t(share * double(times.size())))]);
  };
  nlohmann::ordered_json line{{"device", options.device},
                              {"precision", info.precision},
                              {"batch", batch},
                              {"runs", options.bench},
                              {"min_ms", percentile(0)},
                              {"p50_ms", percentile(0.5)},
                              {"p90_ms", percentile(0.9)},
                              {"p99_ms", percentile(0.99)},
                              {"cpu_ms", rounded(options.contexts == 1 ? std::ranges::min(cpuTimes) : cpuAll / double(options.bench))},
                              {"images_per_s", rounded(double(batch * options.bench) / seconds)},
                              {"first_ms", rounded(firstMs)},
                              {"peak_rss_bytes", peakResidentBytes()},
                              {"contexts", options.contexts},
                              {"threads", info.threads},
                              {"target", info.target}};
  std::printf("%s\n", line.dump().c_str());
  return {};
}
