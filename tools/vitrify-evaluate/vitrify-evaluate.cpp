//===- vitrify-evaluate.cpp - runs a vit function in the reference interpreter --*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Dialect/ViT/Reference/Interpreter.h"
#include "vitrify/Support/Progress.h"

#include "mlir/IR/AsmState.h"
#include "mlir/InitAllDialects.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace vitrify;
namespace cl = llvm::cl;

static int fail(const llvm::Twine &message) {
  llvm::errs() << "vitrify-evaluate: error: " << message << '\n';
  return 1;
}

int main(int argc, char **argv) {
  cl::OptionCategory category("vitrify-evaluate options");
  cl::opt<std::string> path(cl::Positional, cl::desc("model.mlir"), cl::Required, cl::cat(category));
  cl::list<std::string> inputs("input", cl::desc("npy file of an argument, in order"), cl::cat(category));
  cl::list<std::string> outputs("output", cl::desc("npy file for a result, in order"), cl::cat(category));
  cl::opt<std::string> entry("entry", cl::desc("function to run"), cl::init("forward"), cl::cat(category));
  cl::opt<std::string> values("values", cl::desc("folder for every layer's value: NAMES[.RESULT].npy, names joined by +; printed in order"), cl::cat(category));
  cl::HideUnrelatedOptions(category);
  cl::ParseCommandLineOptions(argc, argv, "evaluates a function of a vit module by the reference interpreter\n\n"
      "example: vitrify-evaluate model.mlir --input x.npy --output y.npy --values layers/\n");

  DialectRegistry registry;
  registerAllDialects(registry);
  registry.insert<vit::ViTDialect>();
  MLIRContext context(registry);
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(path, ParserConfig(&context));
  if (!module)
    return 1;
  auto function = module->lookupSymbol<func::FuncOp>(entry);
  if (!function)
    return fail(path + " has no function @" + entry);
  if (inputs.size() != function.getNumArguments())
    return fail("expected " + llvm::Twine(function.getNumArguments()) + " inputs, found " + llvm::Twine(inputs.size()));
  std::vector<vit::RefTensor> arguments;
  for (auto [file, type] : llvm::zip(inputs, function.getArgumentTypes())) {
    StatusOr<NpyArray> array = readNpy(file);
    if (!array)
      return fail(array.status().message());
    // npy has no type for codes: they come as bytes.
    bool codes = array->dtype == DType::U8 && isa<Float8E4M3FNType>(getElementTypeOrSelf(type));
    StatusOr<vit::RefTensor> tensor = vit::fromBytes(codes ? DType::F8E4M3 : array->dtype, array->shape, array->data);
    if (!tensor)
      return fail(file + ": " + tensor.status().message());
    arguments.push_back(std::move(*tensor));
  }
  if (!values.empty())
    if (std::error_code error = llvm::sys::fs::create_directories(values))
      return fail(values + ": " + error.message());

  Status writing;
  auto write = [&](const std::string &file, const vit::RefTensor &tensor) {
    NpyArray array = vit::toNpy(tensor);
    if (writing.ok())
      writing = writeNpy(file, array.dtype, array.shape, array.data);
  };
  llvm::SmallString<128> folder = llvm::sys::path::parent_path(path.getValue());
  vit::Interpreter interpreter(*module, folder.empty() ? "." : folder.str().str());
  ProgressLine progress("vitrify-evaluate");
  uint64_t done = 0, total = 0;
  function.walk([&](Operation *op) { total += op->hasAttr("layers") ? op->getNumResults() : 0; });
  if (!values.empty() || progress.isShown())
    interpreter.setObserver([&](Operation *op, ArrayAttr layers, unsigned number, const vit::RefTensor &tensor) {
      progress.update("values", ++done, total);
      if (values.empty())
        return;
      std::string name = llvm::join(layers.getAsValueRange<StringAttr>(), "+") + (op->getNumResults() > 1 ? "." + std::to_string(number) : "");
      write(values + "/" + name + ".npy", tensor);
      llvm::outs() << name << '\n';
    });
  FailureOr<std::vector<vit::RefTensor>> results = interpreter.run(function, std::move(arguments));
  progress.clear();
  if (failed(results))
    return 1;
  if (outputs.size() > results->size())
    return fail("expected at most " + llvm::Twine(results->size()) + " outputs, found " + llvm::Twine(outputs.size()));
  for (auto [file, tensor] : llvm::zip(outputs, *results))
    write(file, tensor);
  return writing.ok() ? 0 : fail(writing.message());
}
