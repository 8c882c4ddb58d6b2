//===- EpilogueGelu.h - GELU that ends in E4M3 codes, at what the codes can show -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "GpuBuilder.h"
#include "vitrify/Dialect/ViT/IR/ViT.h"

#include <optional>

namespace vitrify::nvptx {

/// What a weight's value is computed by: its recipe's last step, looked up through other weights.
Value weightDefinition(Value value);

/// An epilogue of group 1 in which `gelu_erf(acc * c + b) * r` becomes an E4M3 code: c and b by column, b perhaps missing, and r one
/// number, whose recipe says that a quarter of the codes' scale is more than the error of the short form. Then x r is what is computed,
/// from c r and b r, and GELU of it with coefficients of x r: `x r Phi(x)`, Phi as `0.5 + x q(x^2)` kept between 0 and 1, q of degree 4:
/// seven instructions after the first, 1.08e-3 off GELU at most. A quarter of a scale is amax / 1792.
struct ScaledGelu {
  mlir::Operation *affine; ///< arith.mulf or math.fma
  vit::ActOp act;
  mlir::Operation *product; ///< with r
  unsigned factor, scale;   ///< operands of the epilogue: c, r
  std::optional<unsigned> bias;
};
std::optional<ScaledGelu> findScaledGelu(vit::EpilogueOpInterface op);

/// 0 to 4: coefficients of q for x r, powers of 1 / r in them.
llvm::SmallVector<Value> scaledGeluCoefficients(GpuBuilder &g, Value scale);
/// GELU(x) r of x r.
Value emitScaledGelu(GpuBuilder &g, Value scaled, llvm::ArrayRef<Value> coefficients);

} // namespace vitrify::nvptx
