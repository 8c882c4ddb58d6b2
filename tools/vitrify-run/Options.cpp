//===- Options.cpp - the command line of vitrify-run ----------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Options.h"

#include <charconv>

using namespace vitrify;
using namespace vitrify::run;

const char *vitrify::run::helpText() {
  return R"(usage: vitrify-run BUNDLE --input FILE [--input FILE ...] [options]
       vitrify-run BUNDLE --bench N [options]

Runs a bundle on images, or on arrays as they are, or measures it.

  --input FILE          a .png or .jpg image, prepared as the bundle's preprocess.json says; or the .npy array of an
                        input, [images, channels, height, width] floats for a vision model
  --output FILE         write the result as a float32 .npy
  --top-k K             print the K best classes of each image (default 5, where nothing is written)
  --batch N             images a run (default: as many as are given, up to the bundle's largest; --bench: 1)
  --entry NAME          entry function (default: the bundle's first)
  --device NAME         cpu (default), cuda, cuda:N, emulator or emulator:CHIP, such as emulator:sm_89
  --target NAME         code to run, such as x86-64-v3 (default: the best that the device runs)
  --threads N           CPU threads (default: all that this process may use)
  --low-memory          leave weights in the file's pages, and lay them out while they are used
  --weight-budget BYTES hold no more weights than this at a time and read ahead (CPU: for all contexts; GPU: each)
  --require-signature KEY.pem  refuse a bundle that was not signed with this Ed25519 key
  --profile             print the time of every step
  --bench N             measure N runs and print one line of JSON: device, precision, batch, runs, min_ms, p50_ms, p90_ms,
                        p99_ms, cpu_ms (least time of all processors), images_per_s, first_ms (from start to first answer), peak_rss_bytes, contexts, threads, target
  --warmup N            runs before those that are measured (default 3)
  --contexts N          requests at the same time (default 1)
  --verbose             print what the runtime says
  --help

Examples:
  vitrify-run vit.vitrify --input cat.jpg --input dog.png --top-k 3
  vitrify-run vit.vitrify --input pixels.npy --output logits.npy
  vitrify-run vit.vitrify --bench 100 --batch 8 --threads 2
  vitrify-run vit.vitrify --input digit.png --device emulator:sm_89
)";
}

namespace {
StatusOr<int64_t> parseNumber(const std::string &name, const std::string &text, int64_t min, int64_t max) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < min || value > max)
    return invalidArgument(name + " takes a number from " + std::to_string(min) + " to " + std::to_string(max) +
                           ", found '" + text + "'");
  return value;
}
} // namespace

StatusOr<Options> vitrify::run::parseOptions(int argc, char **argv) {
  Options options;
  constexpr int64_t kMany = int64_t(1) << 40;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (!name.starts_with("--")) {
      if (!options.bundle.empty())
        return invalidArgument("more than one bundle: '" + options.bundle + "' and '" + name + "'");
      options.bundle = name;
      continue;
    }
    std::optional<std::string> inlineValue;
    if (size_t equals = name.find('='); equals != std::string::npos) {
      inlineValue = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    bool *flag = name == "--profile"      ? &options.profile
                 : name == "--verbose"    ? &options.verbose
                 : name == "--low-memory" ? &options.lowMemory
                 : name == "--help"       ? &options.help
                                          : nullptr;
    if (flag) {
      if (inlineValue)
        return invalidArgument(name + " takes no value");
      *flag = true;
      continue;
    }
    auto value = [&]() -> StatusOr<std::string> {
      if (inlineValue)
        return *inlineValue;
      if (i + 1 >= argc)
        return invalidArgument(name + " needs a value");
      return std::string(argv[++i]);
    };
    auto number = [&](int64_t min, int64_t max) -> StatusOr<int64_t> {
      VITRIFY_ASSIGN_OR_RETURN(std::string text, value());
      return parseNumber(name, text, min, max);
    };
    if (name == "--input") {
      VITRIFY_ASSIGN_OR_RETURN(std::string path, value());
      options.inputs.push_back(std::move(path));
    } else if (name == "--output") {
      VITRIFY_ASSIGN_OR_RETURN(options.output, value());
    } else if (name == "--entry") {
      VITRIFY_ASSIGN_OR_RETURN(options.entry, value());
    } else if (name == "--device") {
      VITRIFY_ASSIGN_OR_RETURN(options.device, value());
    } else if (name == "--target") {
      VITRIFY_ASSIGN_OR_RETURN(options.target, value());
    } else if (name == "--require-signature") {
      VITRIFY_ASSIGN_OR_RETURN(options.signatureKey, value());
    } else if (name == "--top-k") {
      VITRIFY_ASSIGN_OR_RETURN(options.topK, number(1, 1000000));
    } else if (name == "--batch") {
      VITRIFY_ASSIGN_OR_RETURN(options.batch, number(1, 1000000));
    } else if (name == "--threads") {
      VITRIFY_ASSIGN_OR_RETURN(int64_t threads, number(1, 4096));
      options.threads = uint32_t(threads);
    } else if (name == "--weight-budget") {
      VITRIFY_ASSIGN_OR_RETURN(int64_t budget, number(1, kMany));
      options.weightBudget = uint64_t(budget);
    } else if (name == "--bench") {
      VITRIFY_ASSIGN_OR_RETURN(options.bench, number(1, 1000000));
    } else if (name == "--warmup") {
      VITRIFY_ASSIGN_OR_RETURN(options.warmup, number(0, 1000000));
    } else if (name == "--contexts") {
      VITRIFY_ASSIGN_OR_RETURN(options.contexts, number(1, 1024));
    } else {
      return invalidArgument("unknown option " + name + ", see --help");
    }
  }
  if (options.help)
    return options;
  if (options.bundle.empty())
    return invalidArgument("no bundle given, see --help");
  if (options.inputs.empty() && !options.bench)
    return invalidArgument("no --input given, see --help");
  // On the CPU what is packed once stays, so a budget means weights in the file's pages.
  options.lowMemory = options.lowMemory || (options.weightBudget && options.device == "cpu");
  return options;
}
