//===- vitrify-estimate.cpp - judges GPU kernels without a GPU ------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/KernelMetrics.h"
#include "vitrify/Support/File.h"
#include "vitrify/Support/Json.h"

#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

using namespace vitrify;

namespace {

constexpr std::string_view kHelp = R"(usage: vitrify-estimate --count FILE...
       vitrify-estimate LAUNCHES.json [--chip NAME]...

Counts the instructions of GPU kernels and estimates the time of launches. Estimates come from the launch model
(include/vitrify/GpuModel/LaunchModel.h); nothing is measured. The output is JSON.

  --count FILE   counts of every kernel in PTX, or in the text that `nvdisasm -c` prints for a cubin
  --chip NAME    RTX 4090, L4, H100, ...; may be repeated (default: every chip that the launches' target runs on)

LAUNCHES.json is a list of {"name", "target", "metrics", "blocks", "threads", "dynamic_shared_bytes", "rows", "dram_bytes"};
metrics are a kernel's, as vitrify-inspect or --count show them. With "warm_bytes", {CHIP: BYTES}, what comes from and goes to memory
when launches before left operands in that chip's L2, "warm_us" is given too. Every result holds all inputs of the formula.

examples:
  vitrify-estimate --count kernels.ptx
  nvdisasm -c kernel.cubin > kernel.sass && vitrify-estimate --count kernel.sass
  vitrify-estimate launches.json --chip "RTX 4090" --chip L4
)";

StatusOr<Json> countFile(const std::string &path) {
  VITRIFY_ASSIGN_OR_RETURN(std::string text, readFile(path));
  bool sass = text.find(".text.") != std::string::npos && text.find(".entry") == std::string::npos;
  auto kernels = sass ? countSass(text) : countPtx(text);
  if (!kernels)
    return invalidArgument("'" + path + "': " + kernels.status().message() + ", expected PTX or the output of nvdisasm -c");
  Json json = Json::object();
  for (const KernelCode &kernel : *kernels)
    json[kernel.name] = metricsOf(kernel, sass);
  return json;
}

Json workOf(const BlockWork &work) {
  return {{"macs_f8", work.macs.f8},
          {"macs_f8_acc_f16", work.macs.f8AccF16},
          {"macs_f16", work.macs.f16},
          {"macs_f16_acc_f16", work.macs.f16AccF16},
          {"macs_i8", work.macs.i8},
          {"warp_instructions", work.warpInstructions},
          {"mufu_instructions", work.mufuInstructions},
          {"shared_wavefronts", work.sharedWavefronts},
          {"l2_bytes", work.l2Bytes}};
}

Json cyclesOf(const PipeCycles &cycles) {
  return {{"tensor", cycles.tensor}, {"issue", cycles.issue}, {"mufu", cycles.mufu}, {"shared", cycles.shared}, {"l2", cycles.l2}};
}

Json estimateOn(const KernelLaunch &launch, const Chip &chip, std::optional<double> warmBytes) {
  LaunchEstimate e = estimateLaunch(launch, chip);
  Json json = {{"chip", chip.name},
          {"resident_blocks", e.residentPerSM},
          {"resident_warps", e.residentWarps},
          {"blocks_on_busiest_sm", e.blocksOnBusiestSM},
          {"rounds", e.rounds},
          {"useful_share", e.usefulShare},
          {"fill_share", e.fillShare},
          {"pipe_ceiling", e.pipeCeiling},
          {"l2_bytes_per_clock", e.l2BytesPerCycle},
          {"bytes_in_flight", e.bytesInFlight},
          {"epilogue_share", e.epilogueShare},
          {"loop_cycles", cyclesOf(e.loop)},
          {"epilogue_cycles", cyclesOf(e.epilogue)},
          {"exposed_epilogue_cycles", e.exposedEpilogueCycles},
          {"fill_cycles", e.fillCycles},
          {"dram_us", e.dramNs / 1e3},
          {"launch_overhead_us", chip.launchOverheadNs / 1e3},
          {"limiter", e.limiter},
          {"us", e.nanoseconds / 1e3}};
  if (warmBytes) {
    KernelLaunch warm = launch;
    warm.dramBytes = *warmBytes;
    LaunchEstimate estimate = estimateLaunch(warm, chip);
    json.update({{"warm_bytes", *warmBytes}, {"warm_limiter", estimate.limiter}, {"warm_us", estimate.nanoseconds / 1e3}});
  }
  return json;
}

StatusOr<Json> estimateOne(const JsonCursor &at, const std::vector<const Chip *> &asked) {
  VITRIFY_RETURN_IF_ERROR(at.refuseOtherKeys({"name", "target", "metrics", "blocks", "threads", "dynamic_shared_bytes", "rows", "dram_bytes", "warm_bytes"}));
  VITRIFY_ASSIGN_OR_RETURN(std::string name, at.string("name"));
  VITRIFY_ASSIGN_OR_RETURN(std::string target, at.string("target"));
  VITRIFY_ASSIGN_OR_RETURN(int64_t blocks, at.integer("blocks", 1));
  VITRIFY_ASSIGN_OR_RETURN(int64_t threads, at.integer("threads", 1, 1024));
  VITRIFY_ASSIGN_OR_RETURN(int64_t shared, at.integer("dynamic_shared_bytes", 0));
  VITRIFY_ASSIGN_OR_RETURN(int64_t rows, at.integer("rows", 0));
  VITRIFY_ASSIGN_OR_RETURN(double dram, at.number("dram_bytes"));
  VITRIFY_ASSIGN_OR_RETURN(JsonCursor given, at.at("metrics"));
  VITRIFY_RETURN_IF_ERROR(given.expectObject());
  KernelMetrics metrics;
  for (const auto &[key, value] : given.json().items()) {
    VITRIFY_ASSIGN_OR_RETURN(metrics[key], given.integer(key));
  }
  std::map<std::string, double, std::less<>> warm;
  if (at.json().contains("warm_bytes")) {
    VITRIFY_ASSIGN_OR_RETURN(JsonCursor bytes, at.at("warm_bytes"));
    VITRIFY_RETURN_IF_ERROR(bytes.expectObject());
    for (const auto &[chip, value] : bytes.json().items()) {
      VITRIFY_RETURN_IF_ERROR(findChip(chip).status());
      VITRIFY_ASSIGN_OR_RETURN(warm[chip], bytes.number(chip));
    }
  }
  KernelLaunch launch = launchOf(metrics, double(blocks), int(threads), uint64_t(shared), double(rows), dram);
  std::vector<const Chip *> on = asked;
  if (on.empty())
    for (const Chip &chip : chips())
      if (chip.target == target)
        on.push_back(&chip);
  if (on.empty())
    return at.fail("no chip is known for target '" + target + "'");
  Json list = Json::array();
  for (const Chip *chip : on)
    list.push_back(estimateOn(launch, *chip, warm.contains(chip->name) ? std::optional(warm.find(chip->name)->second) : std::nullopt));
  return Json{{"name", name},
              {"inputs",
               {{"blocks", launch.blocks},
                {"threads", launch.threadsPerBlock},
                {"registers", launch.registersPerThread},
                {"shared_bytes", launch.sharedBytesPerBlock},
                {"stages", launch.stages},
                {"stage_bytes", launch.stageBytes},
                {"useful_macs", launch.usefulMacs},
                {"dram_bytes", launch.dramBytes},
                {"operand_bytes", launch.operandBytes},
                {"loop", workOf(launch.loop)},
                {"epilogue", workOf(launch.epilogue)}}},
              {"estimates", std::move(list)}};
}

StatusOr<Json> estimateAll(const std::string &path, const std::vector<const Chip *> &asked) {
  VITRIFY_ASSIGN_OR_RETURN(std::string text, readFile(path));
  VITRIFY_ASSIGN_OR_RETURN(Json json, parseJson(text));
  JsonCursor root(json, path);
  VITRIFY_ASSIGN_OR_RETURN(size_t count, root.arraySize());
  Json list = Json::array();
  for (size_t i = 0; i < count; ++i) {
    VITRIFY_RETURN_IF_ERROR(root[i].expectObject());
    VITRIFY_ASSIGN_OR_RETURN(Json one, estimateOne(root[i], asked));
    list.push_back(std::move(one));
  }
  return list;
}

StatusOr<Json> run(const std::vector<std::string> &arguments) {
  std::vector<std::string> files;
  std::vector<const Chip *> asked;
  bool count = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string argument = arguments[i];
    if (argument == "--count") {
      count = true;
    } else if (argument == "--chip" || argument.starts_with("--chip=")) {
      if (argument == "--chip" && ++i == arguments.size())
        return invalidArgument("--chip needs a name");
      VITRIFY_ASSIGN_OR_RETURN(const Chip *chip, findChip(argument == "--chip" ? arguments[i] : argument.substr(7)));
      asked.push_back(chip);
    } else if (argument.starts_with("--")) {
      return invalidArgument("unknown option '" + argument + "', expected --count, --chip or --help");
    } else {
      files.push_back(argument);
    }
  }
  if (files.empty() || (!count && files.size() != 1))
    return invalidArgument(count ? "--count needs a file" : "expected one file of launches, as in: vitrify-estimate launches.json");
  if (!count)
    return estimateAll(files[0], asked);
  Json all = Json::object();
  for (const std::string &file : files) {
    VITRIFY_ASSIGN_OR_RETURN(all[file], countFile(file));
  }
  return all;
}

} // namespace

int main(int argc, char **argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const std::string &argument : arguments)
    if (argument == "--help" || argument == "-h") {
      std::fwrite(kHelp.data(), 1, kHelp.size(), stdout);
      return 0;
    }
  auto result = run(arguments);
  Status status = result.status();
  if (status.ok()) {
    std::string text = result->dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
      return 0;
    status = resourceExhausted("cannot write to the standard output");
  }
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
