//===- vitrify-kernels.cpp - the kernels of single vit ops -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Builds the kernel of every vit op of a module without a plan around it: to look at one at any stage, and for tests
// that call kernels directly. With --specs a JSON list says how each is called.
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/IR/ViT.h"
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

static llvm::json::Value exprJson(const vitrify::PlanExpr &expr, int32_t at) {
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
  static constexpr const char *kRoles[] = {"weight", "read", "write"};
  for (const auto &operand : spec.operands)
    operands.push_back(llvm::json::Object{{"role", kRoles[int(operand.role)]}, {"index", operand.index},
                                          {"dtype", std::string(vitrify::dtypeName(operand.dtype))},
                                          {"numeric", operand.numeric}, {"layout", operand.layout}});
  return llvm::json::Object{{"op", op->getName().getStringRef()}, {"name", spec.name}, {"key", spec.key},
                            {"kind", spec.layerKind}, {"precision", spec.precision},
                            {"scalars", std::move(scalars)}, {"operands", std::move(operands)},
                            {"units", exprJson(spec.grid[0], spec.grid[0].nodes.size() - 1)}};
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
  cl::opt<std::string> emit("emit", cl::desc("kernel, llvm, ir, asm or so"), cl::init("kernel"));
  cl::opt<std::string> specs("specs", cl::desc("also write how each kernel is called, as JSON"));
  cl::opt<std::string> lld("lld", cl::desc("path of ld.lld"));
  cl::ParseCommandLineOptions(argc, argv, "kernels of single vit ops\n\n"
                                          "  vitrify-kernels block.mlir --target=x86-64-v3 --emit=asm\n");
  auto row = vitrify::findTarget(targetName);
  if (!row)
    return fail(row.status().message());
  if ((*row)->kind != vitrify::TargetRow::Kind::X86)
    return fail("target " + targetName + " is no x86 row");
  auto target = vitrify::createX86Target(**row);
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
  if (!specs.empty() &&
      failed(writeFile(specs, llvm::formatv("{0:2}\n", llvm::json::Value(std::move(list))).str())))
    return 1;
  if (emit == "so") {
    vitrify::EmitOptions options;
    options.lld = lld;
    auto binary = target->emit(*kernels, options);
    return failed(binary) || failed(writeFile(output, binary->bytes));
  }
  static const std::map<std::string, vitrify::KernelStage> stages = {
      {"kernel", vitrify::KernelStage::Kernel}, {"llvm", vitrify::KernelStage::LLVMDialect},
      {"ir", vitrify::KernelStage::LLVMIR}, {"asm", vitrify::KernelStage::Assembly}};
  auto stage = stages.find(emit);
  if (stage == stages.end())
    return fail("unknown --emit=" + emit + ", known are kernel, llvm, ir, asm, so");
  auto text = target->print(*kernels, stage->second);
  return failed(text) || failed(writeFile(output, *text));
}
