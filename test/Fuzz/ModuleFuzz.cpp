//===- ModuleFuzz.cpp - modules of the vit dialect from outside ----------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Fuzz.h"

#include "vitrify/Dialect/ViT/IR/ViT.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

#include <memory>
#include <string>

using namespace mlir;

/// Debian's MLIR is built without the sanitizer: memory that its allocators hand out, and that our copies of their inline
/// functions have marked, must not be taken for freed.
extern "C" const char *__asan_default_options() {
  return "allow_user_poisoning=0:detect_container_overflow=0:detect_leaks=0";
}

namespace {
/// A context keeps every type and attribute that it has seen, so it is made anew now and then.
struct Context {
  Context() : context(MLIRContext::Threading::DISABLED) {
    context.loadDialect<vitrify::vit::ViTDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect,
                        tensor::TensorDialect>();
    // A crash is a finding, a diagnostic is not.
    context.getDiagEngine().registerHandler([](Diagnostic &) { return success(); });
  }
  MLIRContext context;
  unsigned inputs = 0;
};

std::string print(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream);
  return text;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static std::unique_ptr<Context> context;
  if (!context || ++context->inputs > 500)
    context = std::make_unique<Context>();
  std::string input(reinterpret_cast<const char *>(data), size); // the lexer needs the zero at its end
  llvm::StringRef text = input;
  // Constraint labels and ops of our own are what is under test: MLIR's builtin attributes that it does not bound itself
  // (hex blobs, resources, affine maps) are not.
  if (text.contains("dense_resource") || text.contains("affine") || text.contains("0x") || text.contains("#"))
    return 0;
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, ParserConfig(&context->context));
  if (!module)
    return 0;
  // What verifies prints as text that parses, verifies and prints the same.
  std::string printed = print(*module);
  OwningOpRef<ModuleOp> again = parseSourceString<ModuleOp>(printed, ParserConfig(&context->context));
  FUZZ_CHECK(again);
  FUZZ_CHECK(print(*again) == printed);
  return 0;
}
