//===- vitrify-compile.cpp - model.mlir to a bundle -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Pipelines/Compiler.h"
#include "vitrify/Support/CompileCache.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"

#include <malloc.h>

using namespace llvm;

namespace {
cl::OptionCategory category("vitrify-compile options");
cl::list<std::string> inputs(cl::Positional, cl::OneOrMore, cl::desc("model.mlir..."), cl::cat(category));
cl::opt<std::string> output("o", cl::desc("bundle folder, or file of an emitted stage"), cl::value_desc("path"), cl::cat(category));
cl::list<std::string> targets("target", cl::desc("x86-64-v4-bf16, sm_89, ...; may be repeated"), cl::value_desc("name"), cl::cat(category));
cl::opt<std::string> tune("tune", cl::desc("the GPU to choose tiles for (RTX 4090, L4, ...; default all that run the target's code)"), cl::value_desc("chip"), cl::cat(category));
cl::opt<std::string> precision("precision", cl::desc("f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4 (default f32)"), cl::init("f32"), cl::cat(category));
cl::opt<std::string> ranges("ranges", cl::desc("ranges.json, needed for fp8"), cl::value_desc("file"), cl::cat(category));
cl::opt<std::string> fp8Sums("fp8-sums", cl::desc("f32, or f16: weights of small FP8 codes, whose products GPUs sum in f16 and promote to f32\n"
                                                  "every 32 of K: twice the rate on GeForce, sums of 11 bits (default f32)"),
                             cl::init("f32"), cl::cat(category));
cl::opt<std::string> residual("residual", cl::desc("type of the residual stream on GPUs: f16, bf16, f32, or auto: 16 bits unless the precision is f32,\n"
                                                   "bf16 where ranges say that f16 is too small (default auto)"),
                              cl::init("auto"), cl::cat(category));
cl::opt<std::string> activations("activations", cl::desc("scales of quantised inputs: static (by ranges), token (found at run time) or auto: static\n"
                                                        "for fp8, for int8 by token after norms and static elsewhere"),
                                 cl::init("auto"), cl::cat(category));
cl::opt<std::string> frames("frames", cl::desc("hwc or chw: entries take images as bytes, [B, H, W, C] or [B, C, H, W]; what preprocess.json does to\n"
                                               "them goes into the patch embedding"),
                            cl::value_desc("layout"), cl::cat(category));
cl::list<std::string> keep("keep", cl::desc("PRECISION:PATTERN: the precision of layers by name, e.g. f16:b0.*"), cl::cat(category));
cl::opt<std::string> emit("emit", cl::desc("bundle, vit, plan, kernel, llvm, llvm-ir or asm (default bundle)"), cl::init("bundle"), cl::cat(category));
cl::opt<bool> noFuse("no-fuse", cl::desc("keep every named value in a buffer of its own"), cl::cat(category));
cl::opt<bool> exposeValues("expose-values", cl::desc("return every named value too, by its layers' names"), cl::cat(category));
cl::opt<bool> report("report", cl::desc("say what the passes did to which layer, and why not"), cl::cat(category));
cl::opt<bool> noCache("no-cache", cl::desc("compile every kernel again (the cache is $VITRIFY_CACHE or ~/.cache/vitrify)"), cl::cat(category));
cl::opt<std::string> reportFile("report-json", cl::desc("write what passes shared and pruned"), cl::value_desc("file"), cl::cat(category));
cl::opt<double> shareLowRank("share-low-rank", cl::desc("let a weight be another one plus a difference of low rank, with this relative error at most"), cl::value_desc("tolerance"), cl::init(0), cl::cat(category));
cl::opt<bool> skipZeros("skip-zeros", cl::desc("linears after a ReLU or a gate skip columns of their input that are 0 in all rows they compute at once, where many are (x86; default true)"), cl::init(true), cl::cat(category));
cl::opt<bool> denseGates("dense-gates", cl::desc("compute every block of a gated MLP for every token"), cl::cat(category));
cl::opt<bool> pruneGates("vit-prune-gates", cl::desc("remove neurons that provably never do anything"), cl::cat(category));
cl::opt<std::string> activity("activity", cl::desc("with --vit-prune-gates: what calibration saw of the neurons; those that never fired leave too"), cl::value_desc("file"), cl::cat(category));
cl::opt<double> tolerance("tolerance", cl::desc("with --activity: largest relative error that pruning may cause in a layer's output"), cl::value_desc("x"), cl::init(0), cl::cat(category));
cl::opt<std::string> ptxas("ptxas", cl::desc("ptxas to use"), cl::value_desc("path"), cl::cat(category));
cl::opt<std::string> lld("lld", cl::desc("ld.lld to use"), cl::value_desc("path"), cl::cat(category));
cl::extrahelp examples(R"(
EXAMPLES:
  vitrify-compile model.mlir -o model.vitrify --target=x86-64-v4-bf16 --precision=bf16
  vitrify-compile model.mlir -o model.vitrify --target=x86-64-v3 --target=sm_89 --precision=fp8 --ranges=ranges.json
  vitrify-compile small.mlir large.mlir -o both.vitrify --target=x86-64-v3     # entries small and large, equal weights once
  vitrify-compile model.mlir --target=sm_89 --precision=f16 --emit=asm -o kernels.ptx
)");
} // namespace

int main(int argc, char **argv) {
  InitLLVM init(argc, argv);
  // Pieces of weights come and go by the hundred: their pages are kept for the next ones, not given back and cleared.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  cl::HideUnrelatedOptions(category);
  cl::ParseCommandLineOptions(argc, argv, "Compiles a vit module to a bundle of kernels, plans and packed weights.\n");

  if (!pruneGates && (!activity.empty() || tolerance != 0)) {
    errs() << "error: --activity and --tolerance are for --vit-prune-gates, which is not given\n";
    return 1;
  }
  vitrify::CompilerOptions options;
  options.input = inputs[0];
  options.moreInputs.assign(inputs.begin() + 1, inputs.end());
  options.output = output;
  options.targets.assign(targets.begin(), targets.end());
  options.tune = tune;
  options.precision = precision;
  options.ranges = ranges;
  options.fp8Sums = fp8Sums;
  options.residual = residual;
  options.activations = activations;
  options.frames = frames;
  options.keep.assign(keep.begin(), keep.end());
  options.emit = emit;
  options.fuse = !noFuse;
  options.exposeValues = exposeValues;
  options.reportFile = reportFile;
  options.skipZeros = skipZeros;
  options.groupTokens = !denseGates;
  options.pruneGates = pruneGates;
  options.activity = activity;
  options.tolerance = tolerance;
  options.shareLowRank = shareLowRank;
  options.tools.ptxas = ptxas;
  options.tools.lld = lld;
  if (!noCache)
    options.cacheFolder = vitrify::CompileCache::defaultFolder();
  // build/bin/vitrify-compile finds build/venv.
  std::string self = sys::fs::getMainExecutable(argv[0], reinterpret_cast<void *>(&main));
  options.tools.environment = (sys::path::parent_path(sys::path::parent_path(self)) + "/venv").str();
  vitrify::ProgressLine progress("vitrify-compile");
  options.progress = progress.function();

  mlir::DialectRegistry registry;
  vitrify::registerVitrifyDialects(registry);
  mlir::MLIRContext context(registry);
  context.loadAllAvailableDialects();
  mlir::ScopedDiagnosticHandler handler(&context, [&progress](mlir::Diagnostic &diagnostic) {
    bool error = diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error;
    bool warning = diagnostic.getSeverity() == mlir::DiagnosticSeverity::Warning;
    if (!error && !warning && !report)
      return mlir::success();
    progress.clear();
    if (auto where = dyn_cast<mlir::FileLineColLoc>(diagnostic.getLocation()))
      errs() << where.getFilename().getValue() << ":" << where.getLine() << ":" << where.getColumn() << ": ";
    errs() << (error ? "error: " : warning ? "warning: " : "remark: ") << diagnostic << "\n";
    return mlir::success();
  });
  return mlir::failed(vitrify::compileModel(context, options));
}
