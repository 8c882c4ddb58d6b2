//===- Compiler.cpp - a model file to a bundle -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "JoinModels.h"
#include "vitrify/Pipelines/Compiler.h"

#include "vitrify/Bundle/Writer.h"
#include "vitrify/Conversion/ViTToPlan/ViTToPlan.h"
#include "vitrify/Conversion/WeightsToRecipe/WeightsToRecipe.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Dialect/ViT/Transforms/Passes.h"
#include "vitrify/Pipelines/Pipelines.h"
#include "vitrify/Support/CompileCache.h"
#include "vitrify/Support/File.h"
#include "vitrify/GpuModel/Chips.h"
#include "vitrify/Target/KnownTargets.h"
#include "vitrify/Weights/Pack.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <set>

using namespace mlir;
using namespace vitrify;

void vitrify::registerVitrifyDialects(DialectRegistry &registry) {
  registry.insert<vit::ViTDialect, arith::ArithDialect, func::FuncDialect, math::MathDialect, tensor::TensorDialect,
                  vector::VectorDialect>();
  for (const TargetRow &row : knownTargets())
    createTarget(row)->registerDialects(registry);
}

std::unique_ptr<Target> vitrify::createTarget(const TargetRow &row) {
  return row.kind == TargetRow::Kind::X86 ? createX86Target(row) : createNVPTXTarget(row);
}

namespace {

LogicalResult report(MLIRContext &context, const Status &status) {
  return status.ok() ? success() : emitError(UnknownLoc::get(&context)) << status.message();
}

/// One target on its way to the bundle.
struct TargetState {
  const TargetRow *row;
  std::unique_ptr<Target> target;
  OwningOpRef<ModuleOp> module;  ///< vit, optimised for the target
  OwningOpRef<ModuleOp> kernels;
  PlannedModule planned;
  KernelBinary binary;
};

class Compiler {
public:
  Compiler(MLIRContext &context, const CompilerOptions &options) : context(context), options(options) {}
  LogicalResult run();

private:
  void progress(const std::string &stage) {
    if (options.progress)
      options.progress(stage, 0, 0);
  }
  LogicalResult chooseTargets();
  LogicalResult takeFrames();
  LogicalResult optimize(TargetState &state);
  LogicalResult plan(TargetState &state);
  LogicalResult emitText();
  LogicalResult writeBundle();
  LogicalResult writeReport();
  std::string baseFolder() const { return llvm::sys::path::parent_path(options.input).str(); }
  std::string preprocessPath() const {
    std::string folder = baseFolder();
    return folder.empty() ? "preprocess.json" : folder + "/preprocess.json";
  }

  MLIRContext &context;
  const CompilerOptions &options;
  OwningOpRef<ModuleOp> source;
  std::vector<TargetState> states;
};

LogicalResult Compiler::chooseTargets() {
  std::set<std::string> seen;
  if (options.fp8Sums != "f32" && options.fp8Sums != "f16")
    return emitError(UnknownLoc::get(&context)) << "unknown form of FP8 sums '" << options.fp8Sums << "', known are f32, f16";
  if (options.residual != "auto" && options.residual != "f32" && options.residual != "f16" && options.residual != "bf16")
    return emitError(UnknownLoc::get(&context)) << "unknown type of the residual stream '" << options.residual
                                                << "', known are auto, f32, f16, bf16";
  std::optional<const Chip *> chip;
  bool tuneUsed = false;
  if (!options.tune.empty()) {
    auto found = findChip(options.tune);
    if (!found)
      return report(context, found.status());
    chip = *found;
  }
  for (const std::string &name : options.targets) {
    auto row = findTarget(name);
    if (!row)
      return report(context, row.status());
    if (!seen.insert(name).second)
      return emitError(UnknownLoc::get(&context)) << "target '" << name << "' is given twice";
    TargetState state;
    state.row = *row;
    state.target = createTarget(**row);
    if (chip && (*chip)->target == (*row)->name) {
      TargetRow tuned = **row;
      tuned.tune = (*chip)->name;
      state.target = createNVPTXTarget(tuned);
      tuneUsed = true;
    }
    states.push_back(std::move(state));
  }
  if (states.empty())
    return emitError(UnknownLoc::get(&context)) << "no target given";
  if (chip && !tuneUsed)
    return emitError(UnknownLoc::get(&context)) << "tiles are to be chosen for " << (*chip)->name << ", which runs "
                                                << (*chip)->target << ", but that is no target here";
  return success();
}

/// Images come as bytes: what preprocess.json does to them goes into the model, before targets part.
LogicalResult Compiler::takeFrames() {
  if (options.frames != "hwc" && options.frames != "chw")
    return emitError(UnknownLoc::get(&context)) << "unknown layout of frames '" << options.frames << "', known are hwc, chw";
  std::string path = preprocessPath();
  auto text = readFile(path);
  if (!text)
    return report(context, text.status().prefixed("frames of bytes need what normalises them"));
  auto preprocess = parsePreprocess(*text);
  if (!preprocess)
    return report(context, preprocess.status().prefixed(path));
  vit::FoldNormalisationOptions fold;
  fold.rescale = preprocess->rescale;
  fold.mean.assign(preprocess->mean.begin(), preprocess->mean.end());
  fold.deviation.assign(preprocess->std.begin(), preprocess->std.end());
  fold.interleaved = options.frames == "hwc";
  PassManager pm(&context);
  pm.addPass(vit::createFoldNormalisation(fold));
  return pm.run(*source);
}

LogicalResult Compiler::optimize(TargetState &state) {
  state.module = source->clone();
  PassManager pm(&context);
  OptimizeOptions pipeline;
  pipeline.precision = options.precision;
  pipeline.half = preferredHalf(*state.row).str();
  // On x86 arithmetic bounds the stream, and it is f32 whatever is asked for.
  bool given = options.residual != "auto" && state.row->kind != TargetRow::Kind::X86;
  pipeline.residual = given ? options.residual : preferredResidual(*state.row, options.precision);
  pipeline.ranges = options.ranges;
  pipeline.activations = options.activations;
  pipeline.f16Sums = options.fp8Sums == "f16";
  for (const std::string &rule : options.keep)
    pipeline.keep.push_back(rule);
  pipeline.fuse = options.fuse;
  pipeline.exposeValues = options.exposeValues;
  pipeline.folder = baseFolder();
  pipeline.skipZeros = options.skipZeros;
  pipeline.groupTokens = options.groupTokens;
  pipeline.tune = options.tune;
  pipeline.pruneGates = options.pruneGates;
  pipeline.activity = options.activity;
  pipeline.tolerance = options.tolerance;
  pipeline.shareLowRank = options.shareLowRank;
  pipeline.target = std::string(state.row->name);
  buildOptimizePipeline(pm, pipeline);
  return pm.run(*state.module);
}

LogicalResult Compiler::plan(TargetState &state) {
  state.kernels = ModuleOp::create(state.module->getLoc());
  auto planned = convertViTToPlan(*state.module, *state.target, *state.kernels);
  if (failed(planned))
    return failure();
  state.planned = std::move(*planned);
  for (const PlanProgram &program : state.planned.plan.programs) {
    std::vector<int64_t> tuned;
    for (const PlanSymbol &symbol : program.symbols)
      tuned.push_back(symbol.tuned);
    if (auto bytes = program.arena_bytes.evaluate(tuned))
      emitRemark(state.module->getLoc()) << state.row->name.data() << ": '" << program.name << "' is " << program.steps.size()
                                         << " steps in an arena of " << *bytes << " bytes";
  }
  // Into a bundle go kernels that are verified where they are compiled; those that the cache has were so before.
  return options.emit == "bundle" ? success() : verify(*state.kernels);
}

LogicalResult Compiler::emitText() {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (TargetState &state : states) {
    if (options.emit == "vit") {
      os << *state.module << "\n";
    } else if (options.emit == "plan") {
      os << printPlan(state.planned.plan);
    } else {
      KernelStage stage = options.emit == "kernel"    ? KernelStage::Kernel
                          : options.emit == "llvm"    ? KernelStage::LLVMDialect
                          : options.emit == "llvm-ir" ? KernelStage::LLVMIR
                                                      : KernelStage::Assembly;
      auto printed = state.target->print(*state.kernels, stage);
      if (failed(printed))
        return failure();
      os << *printed;
    }
  }
  if (options.output.empty() || options.output == "-") {
    llvm::outs() << text;
    return success();
  }
  return report(context, writeFileAtomically(options.output, text));
}

/// What the importer noted about the model.
ManifestModel modelOf(ModuleOp module) {
  ManifestModel model;
  auto info = module->getAttrOfType<DictionaryAttr>("vit.model");
  auto field = [&](StringRef name, StringRef otherwise) {
    auto text = info ? info.getAs<StringAttr>(name) : StringAttr();
    return text ? text.str() : otherwise.str();
  };
  model.name = field("name", "model");
  model.family = field("family", "vit");
  model.source = field("source", "unknown");
  model.license = field("license", "unknown");
  return model;
}

ManifestTarget manifestOf(const TargetState &state) {
  ManifestTarget target;
  target.name = std::string(state.row->name);
  bool gpu = state.row->kind == TargetRow::Kind::NVPTX;
  target.device = gpu ? "cuda" : "cpu";
  if (gpu) {
    target.needs = {"compute_" + target.name.substr(3)};
  } else {
    SmallVector<StringRef> flags;
    StringRef(state.row->cpuFlags).split(flags, ' ', -1, /*KeepEmpty=*/false);
    for (StringRef flag : flags)
      target.needs.push_back(flag.str());
  }
  target.toolchain = state.binary.toolchain;
  target.driver = state.binary.driver;
  target.layers = state.planned.layers;
  return target;
}

/// The layout to store each weight in. One that every plan reads in panels of one order is stored in that order, in its own
/// type, so that a run need not rearrange it; all others are stored as derived.
std::map<std::string, std::string> storedLayouts(ArrayRef<TargetState> states) {
  std::map<std::string, std::string> result;
  for (const TargetState &state : states)
    for (const PlanWeight &weight : state.planned.plan.weights) {
      std::string order = "nk";
      if (auto layout = parseLayout(weight.layout, weight.dtype); layout && layout->panels)
        order = panelLayout(layout->width, layout->blocks ? kNvfp4Block : layout->interleave, weight.dtype, layout->sums);
      auto [place, isNew] = result.try_emplace(weight.tensor, order);
      if (!isNew && place->second != order)
        place->second = "nk";
    }
  return result;
}

LogicalResult Compiler::writeBundle() {
  if (options.output.empty() || options.output == "-")
    return emitError(UnknownLoc::get(&context)) << "a bundle is a folder: give -o DIR";
  auto writer = BundleWriter::create(options.output);
  if (!writer)
    return report(context, writer.status());
  // All targets share the weights: requests in order of use, the first target's first.
  WeightStore store;
  std::vector<WeightRequest> requests;
  std::set<std::string> requested;
  std::map<std::string, std::string> layouts = storedLayouts(states);
  OwningOpRef<ModuleOp> all = ModuleOp::create(source->getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(all->getBody());
  for (TargetState &state : states) {
    for (Operation &op : state.module->getOps())
      if (isa<vit::SourceOp, vit::WeightOp>(op)) {
        StringAttr name = SymbolTable::getSymbolName(&op);
        Operation *known = SymbolTable::lookupSymbolIn(*all, name);
        if (!known)
          builder.clone(op);
        else if (!OperationEquivalence::isEquivalentTo(known, &op, OperationEquivalence::IgnoreLocations))
          return op.emitError() << "weight '" << name.getValue() << "' differs between the targets";
      }
    for (const PlanWeight &weight : state.planned.plan.weights)
      if (requested.insert(weight.tensor).second)
        requests.push_back({weight.tensor, 64, layouts.at(weight.tensor)});
  }
  if (failed(fillWeightStore(*all, baseFolder(), store)))
    return failure();
  WeightWriteOptions how;
  how.progress = options.progress;
  auto written = store.write(writer->weightsPath(), requests, how);
  if (!written)
    return report(context, written.status());
  progress("digests of weights");
  if (failed(report(context, writer->addWeights(*written))))
    return failure();
  std::map<std::string, const WrittenWeight *> tensors;
  for (const WrittenWeight &weight : written->weights)
    tensors[weight.name] = &weight;
  for (TargetState &state : states) {
    for (PlanWeight &weight : state.planned.plan.weights) {
      const WrittenWeight &tensor = *tensors.at(weight.tensor);
      bool asDerived = layouts.at(weight.tensor) == "nk";
      weight.tensor = tensor.tensor;
      if (asDerived)
        continue;
      // In the order of the kernel's panels already: at most a conversion is left.
      auto layout = parseLayout(weight.layout, weight.dtype);
      weight.shape = tensor.type.shape;
      if (layout->blocks)
        continue; // expanded from the file's panels
      weight.layout = layout->dtype == weight.dtype ? "nk" : "nk:" + std::string(dtypeName(layout->dtype));
    }
    auto code = std::as_bytes(std::span(state.binary.bytes.data(), state.binary.bytes.size()));
    if (failed(report(context, writer->addTarget(manifestOf(state), state.planned.plan, code, state.binary.fileName))))
      return failure();
  }
  std::string beside = preprocessPath();
  if (auto text = readFile(beside)) {
    auto preprocess = parsePreprocess(*text);
    if (!preprocess)
      return report(context, preprocess.status().prefixed(beside));
    if (failed(report(context, writer->setPreprocess(*preprocess))))
      return failure();
  }
  Manifest manifest;
  manifest.producer = "vitrify " VITRIFY_VERSION;
  manifest.precision = options.precision;
  manifest.model = modelOf(*source);
  return report(context, writer->commit(std::move(manifest)));
}

/// An attribute of `vit.report` as JSON.
llvm::json::Value jsonOf(Attribute attribute) {
  if (auto text = dyn_cast<StringAttr>(attribute))
    return llvm::json::fixUTF8(text.getValue());
  if (auto flag = dyn_cast<BoolAttr>(attribute))
    return flag.getValue();
  if (auto number = dyn_cast<IntegerAttr>(attribute))
    return number.getInt();
  if (auto number = dyn_cast<FloatAttr>(attribute))
    return number.getValueAsDouble();
  if (auto list = dyn_cast<ArrayAttr>(attribute)) {
    llvm::json::Array array;
    for (Attribute element : list)
      array.push_back(jsonOf(element));
    return array;
  }
  llvm::json::Object object;
  if (auto fields = dyn_cast<DictionaryAttr>(attribute))
    for (NamedAttribute field : fields)
      object[field.getName().getValue()] = jsonOf(field.getValue());
  return object;
}

LogicalResult Compiler::writeReport() {
  if (options.reportFile.empty())
    return success();
  llvm::json::Array targets;
  for (TargetState &state : states) {
    auto passes = state.module->getOperation()->getAttrOfType<ArrayAttr>("vit.report");
    targets.push_back(llvm::json::Object{{"name", state.row->name.data()},
                                         {"passes", passes ? jsonOf(passes) : llvm::json::Value(llvm::json::Array())}});
  }
  std::string text;
  llvm::raw_string_ostream os(text);
  os << llvm::formatv("{0:2}", llvm::json::Value(llvm::json::Object{{"format", 1}, {"targets", std::move(targets)}})) << "\n";
  return report(context, writeFileAtomically(options.reportFile, text));
}

LogicalResult Compiler::run() {
  static const std::set<std::string> stages = {"bundle", "vit", "plan", "kernel", "llvm", "llvm-ir", "asm"};
  if (!stages.contains(options.emit))
    return emitError(UnknownLoc::get(&context)) << "unknown stage '" << options.emit
                                                << "', expected bundle, vit, plan, kernel, llvm, llvm-ir or asm";
  if (failed(chooseTargets()))
    return failure();
  std::vector<std::string> files = {options.input};
  files.insert(files.end(), options.moreInputs.begin(), options.moreInputs.end());
  if (files.size() > 1 && !options.ranges.empty())
    return emitError(UnknownLoc::get(&context)) << "ranges are of one model's values: give one model, or a precision that needs none";
  source = parseModels(context, files);
  if (!source || (!options.frames.empty() && failed(takeFrames())))
    return failure();
  EmitOptions tools = options.tools;
  tools.progress = options.progress;
  std::optional<CompileCache> cache;
  if (!options.cacheFolder.empty()) {
    cache.emplace(options.cacheFolder, CompileCache::kDefaultBytes, [&](const std::string &line) {
      emitWarning(UnknownLoc::get(&context)) << line;
    });
    tools.cache = &*cache;
  }
  for (TargetState &state : states) {
    std::string name(state.row->name);
    progress("optimise for " + name);
    if (failed(optimize(state)))
      return failure();
    if (options.emit == "vit")
      continue;
    progress("plan for " + name);
    if (failed(plan(state)))
      return failure();
    if (options.emit != "bundle")
      continue;
    auto binary = state.target->emit(*state.kernels, tools);
    if (failed(binary))
      return failure();
    state.binary = std::move(*binary);
    describeKernels(state.planned, state.binary);
  }
  if (cache && (cache->hits() || cache->misses()))
    emitRemark(source->getLoc()) << "compile cache " << options.cacheFolder << ": " << cache->hits() << " found, "
                                 << cache->misses() << " compiled";
  if (failed(options.emit == "bundle" ? writeBundle() : emitText()))
    return failure();
  return writeReport();
}

} // namespace

LogicalResult vitrify::compileModel(MLIRContext &context, const CompilerOptions &options) {
  return Compiler(context, options).run();
}
