//===- VectorMath.h - elementary functions on f32 lanes ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// exp, tanh, erf, the activations and the rounding to codes as polynomials on lanes. `Exact` is within 2 ulp of the real
// function for exp and the GELUs, subnormal results included. The other modes say what the result is good for:
//   Near  f32 after a sum over K, whose own rounding is larger: the erf GELU is within 2^-20 of its result from -3 on, 2^-18
//         from -6 and 2^-14 from -9 on, and within 1e-17 below; all else is Exact.
//   Fast  16 bits: the erf GELU is within 2^-12.5 of its result (a quarter of f16's step) or 1e-36, all else within 2^-16 for
//         results above 1e-31; smaller ones are flushed, which no result of 16 bits can tell apart.
//   Int8  i8 codes: the erf GELU is within 2^-11.5 everywhere, a quarter of the step of a tensor that reaches 0.18; else Fast.
//   Code  8 bits with a scale: the erf GELU is within 2^-14 everywhere and 2^-10 of its result between -1 and 1, a quarter of
//         the step of any code of a tensor that reaches 0.11 (E4M3: of its scale); all else is Fast.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Kernel/LaneBuilder.h"

namespace vitrify {

enum class MathMode : uint8_t { Exact, Near, Fast, Code, Int8 };

/// e^x. NaN stays NaN, overflow gives infinity.
mlir::Value buildExp(LaneBuilder &b, mlir::Value x, MathMode mode);
/// e^x for x <= 0, as in a softmax: no care for large arguments. -infinity gives 0.
mlir::Value buildExpNonPositive(LaneBuilder &b, mlir::Value x, MathMode mode);
/// 2^x for x <= 0 that ends in 16 bits: within 2^-13 of it down to -126, and 2^-126 below. NaN stays NaN.
mlir::Value buildExp2NonPositive(LaneBuilder &b, mlir::Value x);
mlir::Value buildTanh(LaneBuilder &b, mlir::Value x, MathMode mode);
mlir::Value buildErf(LaneBuilder &b, mlir::Value x, MathMode mode);
/// The activation of `vit.act`.
mlir::Value buildActivation(LaneBuilder &b, vit::ActKind kind, mlir::Value x, MathMode mode);

/// The nearest value of E4M3 (ties to even), saturating at +-448; NaN stays NaN. Exact.
mlir::Value buildRoundE4M3(LaneBuilder &b, mlir::Value x);
/// i32 lanes of the nearest whole numbers (ties to even), saturating at +-127; NaN gives 0. Exact.
mlir::Value buildRoundI8(LaneBuilder &b, mlir::Value x);

} // namespace vitrify
