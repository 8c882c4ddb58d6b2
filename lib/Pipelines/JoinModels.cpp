//===- JoinModels.cpp - several models as entries of one module -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "JoinModels.h"

#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Support/File.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace vitrify;

namespace {

/// Every symbol, every use of one, and every layer's name begins with `prefix`; sources' paths no longer depend on where
/// the module's file is.
void setApart(ModuleOp module, const std::string &prefix, StringRef folder) {
  DenseMap<StringAttr, StringAttr> renamed;
  Builder builder(module.getContext());
  for (Operation &op : module.getOps())
    if (isa<vit::SourceOp, vit::WeightOp>(op)) {
      StringAttr name = SymbolTable::getSymbolName(&op);
      renamed[name] = builder.getStringAttr(prefix + name.getValue());
      SymbolTable::setSymbolName(&op, renamed[name]);
    }
  for (auto source : module.getOps<vit::SourceOp>())
    if (llvm::sys::path::is_relative(source.getPath())) {
      SmallString<256> path(folder);
      llvm::sys::path::append(path, source.getPath());
      (void)llvm::sys::fs::make_absolute(path);
      source.setPath(path);
    }
  AttrTypeReplacer symbols;
  symbols.addReplacement([&](FlatSymbolRefAttr name) -> std::optional<Attribute> {
    if (StringAttr other = renamed.lookup(name.getAttr()))
      return FlatSymbolRefAttr::get(other);
    return std::nullopt;
  });
  module.walk([&](Operation *op) {
    symbols.replaceElementsIn(op);
    auto layers = op->getAttrOfType<ArrayAttr>("layers");
    if (!layers)
      return;
    SmallVector<std::string> names;
    for (auto layer : layers.getAsRange<StringAttr>())
      names.push_back(prefix + layer.str());
    op->setAttr("layers", builder.getStrArrayAttr(SmallVector<StringRef>(names.begin(), names.end())));
  });
}

} // namespace

OwningOpRef<ModuleOp> vitrify::parseModels(MLIRContext &context, const std::vector<std::string> &files) {
  OwningOpRef<ModuleOp> joined;
  llvm::StringSet<> names;
  std::string preprocess;
  for (const std::string &file : files) {
    OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(file, &context);
    if (!module || files.size() == 1)
      return module;
    auto fail = [&](const Twine &message) {
      emitError(module->getLoc()) << message;
      return OwningOpRef<ModuleOp>();
    };
    std::string name = llvm::sys::path::stem(file).str(), folder = llvm::sys::path::parent_path(file).str();
    if (!names.insert(name).second)
      return fail("two models of the name '" + name + "': entries of a bundle are named by the models' files");
    auto functions = llvm::to_vector(module->getOps<func::FuncOp>());
    if (functions.size() != 1)
      return fail("'" + file + "' has " + Twine(functions.size()) + " functions, expected one in a bundle of several models");
    functions[0].setSymName(name);
    auto beside = readFile(folder.empty() ? "preprocess.json" : folder + "/preprocess.json");
    std::string steps = beside ? *beside : "";
    if (joined && steps != preprocess)
      return fail("'" + file + "' prepares its images in another way than '" + files[0] + "': a bundle has one preprocess.json");
    if (!joined) {
      preprocess = steps;
      joined = std::move(module);
      continue;
    }
    setApart(*module, name + "/", folder);
    Operation *firstFunction = *joined->getOps<func::FuncOp>().begin();
    for (Operation &op : llvm::make_early_inc_range(module->getOps())) {
      op.remove();
      if (isa<func::FuncOp>(op))
        joined->getBody()->push_back(&op);
      else
        joined->getBody()->getOperations().insert(Block::iterator(firstFunction), &op);
    }
  }
  return joined;
}
