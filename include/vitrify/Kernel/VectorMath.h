//===- VectorMath.h - elementary functions on f32 lanes ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// exp, tanh, erf, the activations and the rounding to E4M3 as polynomials on lanes. `Exact` is within 2 ulp of the real
// function for exp and the GELUs, subnormal results included; `Fast` has a relative error below 2^-16 for results above
// 1e-31 and flushes smaller ones, which no result of 16 or 8 bits can tell apart.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"
#include "vitrify/Kernel/LaneBuilder.h"

namespace vitrify {

enum class MathMode : uint8_t { Exact, Fast };

/// e^x. NaN stays NaN, overflow gives infinity.
mlir::Value buildExp(LaneBuilder &b, mlir::Value x, MathMode mode);
/// e^x for x <= 0, as in a softmax: no care for large arguments. -infinity gives 0.
mlir::Value buildExpNonPositive(LaneBuilder &b, mlir::Value x, MathMode mode);
mlir::Value buildTanh(LaneBuilder &b, mlir::Value x, MathMode mode);
mlir::Value buildErf(LaneBuilder &b, mlir::Value x, MathMode mode);
/// The activation of `vit.act`.
mlir::Value buildActivation(LaneBuilder &b, vit::ActKind kind, mlir::Value x, MathMode mode);

/// The nearest value of E4M3 (ties to even), saturating at +-448; NaN stays NaN. Exact.
mlir::Value buildRoundE4M3(LaneBuilder &b, mlir::Value x);

} // namespace vitrify
