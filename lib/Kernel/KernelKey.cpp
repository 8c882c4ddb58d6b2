//===- KernelKey.cpp - when two ops can share a kernel -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Kernel/KernelKey.h"

#include "vitrify/Kernel/KernelSpec.h"
#include "vitrify/Support/ContentHash.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace vitrify;

/// What names a layer, a scale or a reason ("layers", and attributes outside the op's own, such as vit.scales) is no part of
/// the code: equal layers of a model differ in just these. vit.skip_zeros asks for other code.
static void printAttributes(Operation *op, llvm::raw_ostream &os) {
  for (NamedAttribute attribute : op->getAttrDictionary())
    if (attribute.getName() != "layers" && (!attribute.getName().strref().starts_with("vit.") || attribute.getName() == "vit.skip_zeros"))
      os << ' ' << attribute.getName().getValue() << '=' << attribute.getValue();
}

/// Sizes of the first dimension do not matter to code when they come as scalars, so rows print as they are typed.
std::string vitrify::kernelKey(Operation *op, StringRef target) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << target << ' ' << op->getName();
  printAttributes(op, os);
  os << " (";
  for (Value operand : op->getOperands()) {
    os << operand.getType();
    std::string reason;
    auto view = rowViewOf(operand, reason);
    if (isWeight(operand))
      os << " weight";
    else if (succeeded(view) && view->base != operand)
      os << " stride " << view->rowStride;
    os << ", ";
  }
  os << ") -> " << op->getResultTypes();
  llvm::DenseMap<Value, unsigned> numbers;
  for (Region &region : op->getRegions())
    for (Block &block : region) {
      os << " {";
      for (Value argument : block.getArguments()) {
        os << " %" << numbers.size() << ": " << argument.getType();
        numbers.try_emplace(argument, numbers.size());
      }
      for (Operation &inner : block) {
        os << "; " << inner.getName();
        for (Value operand : inner.getOperands())
          os << " %" << numbers.lookup(operand);
        printAttributes(&inner, os);
        os << " : " << inner.getResultTypes();
        for (Value result : inner.getResults())
          numbers.try_emplace(result, numbers.size());
      }
      os << " }";
    }
  return text;
}

std::string vitrify::kernelName(StringRef prefix, StringRef key) {
  return (prefix + "_" + toHex(sha256(std::string_view(key))).substr(0, 8)).str();
}
