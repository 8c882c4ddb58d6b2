//===- Sources.h - the bytes behind vit.read, for passes that look at values -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ElementTypes.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Weights/SafeTensors.h"

#include "mlir/IR/BuiltinOps.h"

#include <map>

namespace vitrify::vit {

/// Opens the checkpoint files of a module. A file that is not there, or not the one that was imported, is left closed: the
/// compiler refuses it when it writes weights, and a module can be looked at without its weights.
class SourceFiles {
public:
  /// Relative paths start at `folder`, or where the module's text is if that is empty.
  SourceFiles(mlir::ModuleOp module, llvm::StringRef folder);

  /// Why a source is closed, by its symbol.
  const std::map<std::string, std::string> &closed() const { return reasons; }
  /// The tensor's bytes as stored; empty when its file is closed or holds no such tensor of this type.
  std::span<const std::byte> bytes(ReadOp read) const;
  /// Lets the tensor's pages go.
  void release(ReadOp read) const;

private:
  const TensorInfo *find(ReadOp read) const;

  std::map<std::string, SafeTensorsFile> files;
  std::map<std::string, std::string> reasons;
};

/// The one vit.read that a weight consists of, but for casts and reshapes; null for other weights.
ReadOp readOf(WeightOp weight);

} // namespace vitrify::vit
