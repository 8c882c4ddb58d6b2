//===- vitrify-kernels.cpp - the kernels of single vit ops -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Builds the kernel of every vit op of a module without a plan around it: to look at one at any stage, and for tests
// that call kernels directly. With --specs a JSON list says how each is called, and with --emit=binary what it needs.
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/GpuModel/Chips.h"
#include "vitrify/Target/KnownTargets.h"
#include "vitrify/Target/Target.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
namespace cl = llvm::cl;

static llvm::json::Value exprJson(const vitrify::PlanExpr &expr, int32_t at = -1) {
  if (at < 0)
    at = expr.nodes.size() - 1;
  using Kind = vitrify::PlanExpr::Kind;
  const auto &node = expr.nodes[at];
  if (node.kind == Kind::Constant)
    return node.value;
  if (node.kind == Kind::Symbol)
    return "s" + std::to_string(node.value);
  static constexpr const char *kNames[] = {"", "", "+", "-", "*", "ceildiv", "floordiv", "mod", "min", "max"};
  return llvm::json::Array{kNames[int(node.kind)], exprJson(expr, node.lhs), exprJson(expr, node.rhs)};
}

static llvm::json::Value specJson(Operation *op, const vitrify::KernelSpec &spec) {
  llvm::json::Array scalars, operands;
  for (const auto &scalar : spec.scalars)
    scalars.push_back(llvm::json::Object{{"of", scalar.ofResult ? "result" : "operand"},
                                         {"index", scalar.index}, {"dim", scalar.dim}});
  static constexpr const char *kRoles[] = {"weight", "read", "write", "scratch"};
  for (const auto &operand : spec.operands)
    operands.push_back(llvm::json::Object{{"role", kRoles[int(operand.role)]}, {"index", operand.index},
                                          {"dtype", std::string(vitrify::dtypeName(operand.dtype))},
                                          {"numeric", operand.numeric}, {"layout", operand.layout}});
  return llvm::json::Object{{"op", op->getName().getStringRef()},
                            {"function", op->getParentOfType<func::FuncOp>().getName()}, {"name", spec.name}, {"key", spec.key},
                            {"kind", spec.layerKind}, {"precision", spec.precision},
                            {"scalars", std::move(scalars)}, {"operands", std::move(operands)},
                            {"units", exprJson(spec.grid[0])},
                            {"grid", llvm::json::Array{exprJson(spec.grid[0]), exprJson(spec.grid[1]), exprJson(spec.grid[2])}},
                            {"block", spec.block}, {"shared", spec.sharedBytes}, {"dispatch", exprJson(spec.dispatch)},
                            {"range", llvm::json::Array{spec.rangeMin, spec.rangeMax}},
                            {"launch", spec.launch}, {"scratch", exprJson(spec.scratchBytes)}};
}

/// Adds what the assembler said about each kernel.
static void addMetrics(llvm::json::Array &specs, const vitrify::KernelBinary &binary) {
  for (llvm::json::Value &spec : specs)
    for (const vitrify::KernelInfo &kernel : binary.kernels)
      if (spec.getAsObject()->getString("name") == llvm::StringRef(kernel.name)) {
        llvm::json::Object metrics;
        for (const auto &[name, value] : kernel.metrics)
          metrics[name] = value;
        (*spec.getAsObject())["metrics"] = std::move(metrics);
      }
}

static int fail(const llvm::Twine &message) {
  llvm::errs() << "vitrify-kernels: " << message << "\n";
  return 1;
}

static LogicalResult writeFile(StringRef path, StringRef bytes) {
  std::string error;
  auto file = openOutputFile(path, &error);
  if (!file)
    return fail(error), failure();
  file->os() << bytes;
  file->keep();
  return success();
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  cl::opt<std::string> input(cl::Positional, cl::desc("<module>"), cl::init("-"));
  cl::opt<std::string> output("o", cl::desc("output file"), cl::init("-"));
  cl::opt<std::string> targetName("target", cl::desc("row of the target table"), cl::init("x86-64-v4-bf16"));
  cl::opt<std::string> tune("tune", cl::desc("the GPU that tiles are chosen for, such as L4; default all that run the target's code"));
  cl::opt<std::string> emit("emit", cl::desc("kernel, llvm, ir, asm (PTX on GPUs) or binary"), cl::init("kernel"));
  cl::opt<std::string> specs("specs", cl::desc("also write how each kernel is called, as JSON"));
  cl::opt<std::string> lld("lld", cl::desc("path of ld.lld"));
  cl::opt<std::string> ptxas("ptxas", cl::desc("path of ptxas"));
  cl::opt<std::string> environment("environment", cl::desc("Python environment that may hold ptxas"));
  cl::ParseCommandLineOptions(argc, argv, "kernels of single vit ops\n\n"
                                          "  vitrify-kernels block.mlir --target=x86-64-v3 --emit=asm\n");
  auto row = vitrify::findTarget(targetName);
  if (!row)
    return fail(row.status().message());
  vitrify::TargetRow tuned = **row;
  if (!tune.empty()) {
    auto chip = vitrify::findChip(tune.getValue());
    if (!chip)
      return fail(chip.status().message());
    if ((*chip)->target != tuned.name)
      return fail("chip " + std::string((*chip)->name) + " runs " + std::string((*chip)->target) + ", not " + targetName);
    tuned.tune = (*chip)->name;
  }
  auto target = tuned.kind == vitrify::TargetRow::Kind::X86 ? vitrify::createX86Target(**row) : vitrify::createNVPTXTarget(tuned);
  DialectRegistry registry;
  registry.insert<vitrify::vit::ViTDialect, func::FuncDialect, tensor::TensorDialect, math::MathDialect,
                  vector::VectorDialect>();
  target->registerDialects(registry);
  MLIRContext context(registry);
  context.loadAllAvailableDialects();
  auto module = parseSourceFile<ModuleOp>(input, &context);
  if (!module)
    return 1;
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(module->getLoc());
  llvm::json::Array list;
  WalkResult walk = module->walk([&](Operation *op) {
    if (!isa<vitrify::vit::LayerOpInterface>(op) && !isa<vitrify::vit::ActOp, vitrify::vit::ConvertOp>(op))
      return WalkResult::advance();
    if (!isa<func::FuncOp>(op->getParentOp()))
      return WalkResult::advance();
    auto found = target->kernelsFor(op);
    if (failed(found))
      return WalkResult::interrupt();
    for (const vitrify::KernelSpec &spec : *found) {
      if (failed(target->build(op, spec, *kernels)))
        return WalkResult::interrupt();
      list.push_back(specJson(op, spec));
    }
    return WalkResult::skip();
  });
  if (walk.wasInterrupted() || failed(kernels->verify()))
    return 1;
  std::string text;
  if (emit == "so" || emit == "binary") {
    vitrify::EmitOptions options;
    options.lld = lld;
    options.ptxas = ptxas;
    options.environment = environment;
    auto binary = target->emit(*kernels, options);
    if (failed(binary))
      return 1;
    addMetrics(list, *binary);
    text = binary->bytes;
  }
  static const std::map<std::string, vitrify::KernelStage> stages = {
      {"kernel", vitrify::KernelStage::Kernel}, {"llvm", vitrify::KernelStage::LLVMDialect},
      {"ir", vitrify::KernelStage::LLVMIR}, {"asm", vitrify::KernelStage::Assembly}};
  if (text.empty()) {
    auto stage = stages.find(emit);
    if (stage == stages.end())
      return fail("unknown --emit=" + emit + ", known are kernel, llvm, ir, asm, so, binary");
    auto printed = target->print(*kernels, stage->second);
    if (failed(printed))
      return 1;
    text = std::move(*printed);
  }
  if (!specs.empty() &&
      failed(writeFile(specs, llvm::formatv("{0:2}\n", llvm::json::Value(std::move(list))).str())))
    return 1;
  return failed(writeFile(output, text));
}
