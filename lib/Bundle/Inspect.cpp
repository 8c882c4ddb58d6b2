//===- Inspect.cpp - what a bundle holds, as a report --------------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Bundle/Inspect.h"

#include "PlanJson.h"
#include "Traffic.h"
#include "vitrify/GpuModel/KernelMetrics.h"

#include <algorithm>
#include <map>
#include <set>

using namespace vitrify;

namespace {
/// The symbols' values that a column of figures is for.
std::vector<int64_t> valuesAt(const PlanProgram &program, int64_t PlanSymbol::*bound) {
  std::vector<int64_t> values;
  for (const PlanSymbol &symbol : program.symbols)
    values.push_back(symbol.*bound);
  return values;
}

/// An expression's value; plans are verified, so it has one.
int64_t at(const PlanExpr &expr, const std::vector<int64_t> &values) {
  auto value = expr.evaluate(values);
  return value.ok() ? *value : -1;
}

Json argumentsOf(const std::vector<ManifestArgument> &arguments, const std::vector<PlanSymbol> &symbols) {
  Json list = Json::array();
  for (const ManifestArgument &argument : arguments) {
    Json shape = Json::array();
    for (const PlanExpr &dim : argument.shape)
      shape.push_back(printPlanExpr(dim, symbols));
    list.push_back({{"name", argument.name}, {"dtype", dtypeName(argument.dtype)}, {"shape", std::move(shape)}});
  }
  return list;
}

Json entriesOf(const Manifest &manifest) {
  Json list = Json::array();
  for (const ManifestEntry &entry : manifest.entries) {
    Json symbols = Json::array();
    for (const PlanSymbol &symbol : entry.symbols)
      symbols.push_back(printPlanSymbol(symbol));
    list.push_back({{"name", entry.name},
                    {"symbols", std::move(symbols)},
                    {"inputs", argumentsOf(entry.inputs, entry.symbols)},
                    {"outputs", argumentsOf(entry.outputs, entry.symbols)}});
  }
  return list;
}

Json weightsOf(const Manifest &manifest, const SafeTensorsHeader &header) {
  std::map<std::string, std::vector<std::string>> sharers;
  for (const ManifestAlias &alias : manifest.weights.aliases)
    sharers[alias.tensor].push_back(alias.name);
  Json tensors = Json::array(), byType = Json::object();
  uint64_t total = 0, shared = 0;
  for (const TensorInfo &tensor : header.tensors) {
    std::string type(dtypeName(tensor.dtype));
    const auto &also = sharers[tensor.name];
    total += tensor.bytes();
    shared += tensor.bytes() * also.size();
    byType[type] = byType.value(type, uint64_t(0)) + tensor.bytes();
    tensors.push_back({{"name", tensor.name},
                       {"dtype", type},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes()},
                       {"offset", tensor.begin},
                       {"shared_with", also}});
  }
  return {{"file_bytes", manifest.weights.bytes},
          {"tensor_bytes", total},
          {"saved_by_sharing", shared},
          {"chunk_bytes", manifest.weights.chunkBytes},
          {"bytes_by_dtype", std::move(byType)},
          {"tensors", std::move(tensors)}};
}

/// One plan in words and numbers.
class PlanReport {
public:
  PlanReport(const Plan &plan, const ManifestTarget &target, const SafeTensorsHeader &header)
      : plan(plan), target(target), header(header) {}

  Json make() {
    // Programs first: they count the launches that kernels() shows, and who reads a tensor.
    Json programs = Json::array();
    for (const PlanProgram &program : plan.programs)
      programs.push_back(programReport(program));
    return {{"name", target.name},         {"device", target.device},
            {"needs", target.needs},       {"toolchain", target.toolchain},
            {"driver", target.driver},     {"code_bytes", target.code.bytes},
            {"layers", layers()},          {"kernels", kernels()},
            {"shared_weights", sharedWeights()},
            {"programs", std::move(programs)}};
  }

private:
  /// Tensors that more than one step reads: stored once, and once in memory for each layout.
  Json sharedWeights() const {
    Json list = Json::array();
    for (const TensorInfo &tensor : header.tensors) {
      auto found = readers.find(tensor.name);
      if (found == readers.end() || found->second.size() < 2)
        continue;
      std::set<std::string> layouts;
      for (const PlanWeight &weight : plan.weights)
        if (weight.tensor == tensor.name)
          layouts.insert(weight.layout);
      list.push_back({{"tensor", tensor.name},
                      {"bytes", tensor.bytes()},
                      {"steps", found->second.size()},
                      {"layers", found->second},
                      {"layouts", layouts},
                      {"saved_bytes", tensor.bytes() * (found->second.size() - 1)}});
    }
    return list;
  }

  Json layers() const {
    Json list = Json::array();
    for (const ManifestLayer &layer : target.layers) {
      auto kernel = std::find_if(plan.kernels.begin(), plan.kernels.end(),
                                 [&](const PlanKernel &k) { return k.name == layer.kernel; });
      // What the numbers are, and what the instructions really take.
      list.push_back({{"name", layer.name},
                      {"precision", layer.precision},
                      {"instructions", kernel == plan.kernels.end() ? "" : kernel->precision},
                      {"kernel", layer.kernel},
                      {"scale", layer.scale},
                      {"note", layer.note}});
    }
    return list;
  }

  Json kernels() const {
    Json list = Json::array();
    for (size_t i = 0; i < plan.kernels.size(); ++i) {
      const PlanKernel &kernel = plan.kernels[i];
      Json metrics = Json::object();
      for (const auto &[name, value] : kernel.metrics)
        metrics[name] = value;
      auto steps = launches.find(i);
      Json json = Json::object();
      if (target.device == "cuda") {
        auto counted = kernel.metrics.find("from_sass");
        json = {{"counted_from", counted == kernel.metrics.end() ? "" : counted->second ? "SASS" : "PTX"},
                {"tensor_instructions", tensorInstructions(kernel.metrics)},
                {"built_precision", builtPrecision(kernel.metrics)}};
      }
      list.push_back({{"name", kernel.name},
                      {"kind", kernel.layer_kind},
                      {"precision", kernel.precision},
                      {"sha256", kernel.sha256},
                      {"steps", steps == launches.end() ? 0 : steps->second},
                      {"metrics", std::move(metrics)}});
      list.back().update(json);
    }
    return list;
  }

  Json programReport(const PlanProgram &program) {
    std::vector<int64_t> tuned = valuesAt(program, &PlanSymbol::tuned), largest = valuesAt(program, &PlanSymbol::max);
    Json buffers = Json::array();
    for (const PlanBuffer &buffer : program.buffers)
      buffers.push_back({{"name", buffer.name},
                         {"kind", kBufferKinds[static_cast<size_t>(buffer.kind)]},
                         {"dtype", dtypeName(buffer.dtype)},
                         {"numeric", buffer.numeric},
                         {"scale", buffer.scale},
                         {"bytes", {{"tuned", at(buffer.size, tuned)}, {"max", at(buffer.size, largest)}}}});
    Json list = Json::array();
    totals.clear();
    caches.clear();
    for (const Chip &chip : chips())
      if (chip.target == target.name)
        caches.try_emplace(&chip, int64_t(chip.l2Bytes));
    steps(program, program.steps, tuned, true, list);
    PlanTraffic traffic = planTraffic(plan, program, tuned);
    Json estimates = Json::array();
    for (const auto &[chip, total] : totals)
      estimates.push_back({{"chip", chip->name},
                           {"kernels_us", total.cold / 1e3},
                           {"warm_kernels_us", total.warm / 1e3},
                           {"warm_bytes", total.warmBytes},
                           {"gaps_us", double(traffic.launches) * chip->launchOverheadNs / 1e3}});
    return {{"name", program.name},
            {"arena_bytes", {{"tuned", at(program.arena_bytes, tuned)}, {"max", at(program.arena_bytes, largest)}}},
            {"traffic",
             {{"bytes", traffic.bytes},
              {"minimum_bytes", traffic.minimum},
              {"launches", traffic.launches},
              {"blocks", traffic.blocks},
              {"launches_of_blocks", traffic.blockLaunches}}},
            {"estimates", std::move(estimates)},
            {"buffers", std::move(buffers)},
            {"steps", std::move(list)}};
  }

  /// `executed`: whether the steps run at the tuned shapes.
  void steps(const PlanProgram &program, const std::vector<PlanStep> &from, const std::vector<int64_t> &tuned, bool executed,
             Json &list) {
    for (const PlanStep &step : from) {
      Json json = {{"kind", kStepKinds[static_cast<size_t>(step.kind)]}, {"layers", step.layers}};
      if (step.kind == PlanStep::Kind::Launch)
        launch(program, step, tuned, executed, json);
      if (step.kind == PlanStep::Kind::Copy && executed) {
        StepRanges ranges = stepRanges(plan, program, step, tuned);
        for (auto &[chip, cache] : caches)
          cache.launch(ranges.reads, ranges.writes);
      }
      if (step.kind == PlanStep::Kind::Call)
        json["callee"] = step.callee;
      if (step.kind == PlanStep::Kind::ExitIf)
        json["threshold"] = step.threshold;
      auto names = [&](const std::vector<PlanOperand> &operands) {
        Json array = Json::array();
        for (const PlanOperand &operand : operands)
          array.push_back(program.buffers[operand.buffer].name);
        return array;
      };
      json["reads"] = names(step.reads);
      json["writes"] = names(step.writes);
      if (step.kind == PlanStep::Kind::If) {
        Json body = Json::array();
        const bool taken = executed && at(step.condition, tuned) != 0;
        steps(program, step.body, tuned, taken, body);
        json["taken"] = taken;
        json["body"] = std::move(body);
      }
      list.push_back(std::move(json));
    }
  }

  void launch(const PlanProgram &program, const PlanStep &step, const std::vector<int64_t> &tuned, bool executed, Json &json) {
    std::set<unsigned> distinct(step.kernels.begin(), step.kernels.end());
    for (unsigned kernel : distinct)
      ++launches[kernel];
    if (int chosen = chosenKernel(step, tuned); chosen >= 0) {
      size_t i = size_t(chosen);
      Json grid = Json::array();
      for (const PlanExpr &size : step.grids[i])
        grid.push_back(at(size, tuned));
      json["kernel"] = plan.kernels[step.kernels[i]].name;
      json["variants"] = step.kernels.size();
      json["grid"] = std::move(grid);
      json["block"] = step.blocks[i];
      json["shared_bytes"] = step.shared_bytes[i];
    }
    json["bytes"] = stepTraffic(plan, program, step, tuned);
    if (target.device == "cuda" && json.contains("kernel") && executed)
      json["estimates"] = estimatesOf(program, step, json, tuned);
    Json weights = Json::array();
    std::set<std::string> tensors;
    for (unsigned weight : step.weights) {
      weights.push_back(plan.weights[weight].name);
      tensors.insert(plan.weights[weight].tensor);
    }
    std::string layers;
    for (const std::string &layer : step.layers)
      layers += (layers.empty() ? "" : "+") + layer;
    for (const std::string &tensor : tensors)
      readers[tensor].push_back(layers);
    json["weights"] = std::move(weights);
  }

  /// The launch model's columns on each chip that the target's code runs on. `json` has the chosen kernel and its grid. Cold: every
  /// operand comes from memory and every result goes there. Warm: after the launches before it, on one L2.
  Json estimatesOf(const PlanProgram &program, const PlanStep &step, const Json &json, const std::vector<int64_t> &tuned) {
    auto kernel = std::ranges::find(plan.kernels, json["kernel"].get<std::string>(), &PlanKernel::name);
    double blocks = 1, rows = step.args.empty() ? 1 : double(at(step.args[0], tuned));
    for (const Json &size : json["grid"])
      blocks *= size.get<double>();
    int threads = 1;
    for (const Json &size : json["block"])
      threads *= size.get<int>();
    KernelLaunch launch = launchOf(kernel->metrics, blocks, threads, json["shared_bytes"].get<uint64_t>(), rows,
                                   json["bytes"].get<double>());
    StepRanges ranges = stepRanges(plan, program, step, tuned);
    Json list = Json::array();
    for (const Chip &chip : chips()) {
      if (chip.target != target.name)
        continue;
      LaunchEstimate estimate = estimateLaunch(launch, chip);
      KernelLaunch warmLaunch = launch;
      L2Residency::Traffic traffic = caches.at(&chip).launch(ranges.reads, ranges.writes);
      warmLaunch.dramBytes = double(traffic.bytes());
      LaunchEstimate warm = estimateLaunch(warmLaunch, chip);
      Totals &total = totals[&chip];
      total.cold += estimate.nanoseconds;
      total.warm += warm.nanoseconds;
      total.warmBytes += traffic.bytes();
      list.push_back({{"chip", chip.name},
                      {"resident_blocks", estimate.residentPerSM},
                      {"rounds", estimate.rounds},
                      {"useful_share", estimate.usefulShare},
                      {"fill_share", estimate.fillShare},
                      {"pipe_ceiling", estimate.pipeCeiling},
                      {"tensor_cycles", estimate.loop.tensor},
                      {"issue_cycles", estimate.loop.issue},
                      {"epilogue_share", estimate.epilogueShare},
                      {"l2_bytes_per_clock", estimate.l2BytesPerCycle},
                      {"bytes_in_flight", estimate.bytesInFlight},
                      {"limiter", estimate.limiter},
                      {"us", estimate.nanoseconds / 1e3},
                      {"warm_read_bytes", traffic.readBytes},
                      {"warm_written_bytes", traffic.writtenBytes},
                      {"warm_limiter", warm.limiter},
                      {"warm_us", warm.nanoseconds / 1e3}});
    }
    return list;
  }

  const Plan &plan;
  const ManifestTarget &target;
  const SafeTensorsHeader &header;
  std::map<std::string, std::vector<std::string>> readers; ///< by tensor: the layers of each step that reads it
  std::map<size_t, int64_t> launches; ///< steps that may launch each kernel
  struct Totals {
    double cold = 0, warm = 0; ///< nanoseconds
    int64_t warmBytes = 0;
  };
  std::map<const Chip *, Totals> totals; ///< of the program at hand: its launches at the tuned shapes
  std::map<const Chip *, L2Residency> caches; ///< of the program at hand, after the launches so far
};
} // namespace

StatusOr<Json> vitrify::inspectBundle(const Bundle &bundle) {
  const Manifest &manifest = bundle.manifest();
  VITRIFY_ASSIGN_OR_RETURN(BundleWeights weights, bundle.openWeights());
  Json targets = Json::array();
  for (const ManifestTarget &target : manifest.targets) {
    VITRIFY_ASSIGN_OR_RETURN(Plan plan, bundle.loadPlan(target, weights.file().header()));
    PlanReport report(plan, target, weights.file().header());
    targets.push_back(report.make());
  }
  Json json = {{"path", bundle.folder()},
               {"version", std::to_string(manifest.major) + "." + std::to_string(manifest.minor)},
               {"producer", manifest.producer},
               {"precision", manifest.precision},
               {"model",
                {{"name", manifest.model.name},
                 {"family", manifest.model.family},
                 {"source", manifest.model.source},
                 {"license", manifest.model.license}}},
               {"entries", entriesOf(manifest)},
               {"weights", weightsOf(manifest, weights.file().header())},
               {"targets", std::move(targets)}};
  VITRIFY_ASSIGN_OR_RETURN(std::optional<Preprocess> preprocess, bundle.loadPreprocess());
  if (preprocess) {
    VITRIFY_ASSIGN_OR_RETURN(Json parsed, parseJson(printPreprocess(*preprocess)));
    json["preprocess"] = std::move(parsed);
  }
  return json;
}
