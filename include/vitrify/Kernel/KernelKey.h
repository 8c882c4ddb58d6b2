//===- KernelKey.h - when two ops can share a kernel ------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/IR/Operation.h"

#include <string>

namespace vitrify {

/// Everything of an op that its code may depend on, as text: kind, attributes but for layer names, operand and result
/// types, which operands are weights, row strides of views, and the epilogue with values numbered in order. Names of
/// weights and of layers, and the place of a view in its buffer, are not part of it: equal layers have equal keys.
std::string kernelKey(mlir::Operation *op, llvm::StringRef target);
/// `prefix` and 8 hexadecimal digits of the key's SHA-256: a symbol.
std::string kernelName(llvm::StringRef prefix, llvm::StringRef key);

} // namespace vitrify
