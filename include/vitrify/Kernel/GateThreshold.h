//===- GateThreshold.h - the threshold of a gate in f32 ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Dialect/ViT/IR/ViT.h"

namespace vitrify {

/// The largest f32 that is not above the threshold: a score of f32 is above the one exactly if it is above the other.
inline float gateThreshold(vit::GateOp gate) {
  llvm::APFloat threshold = *gate.getThreshold();
  bool inexact = false;
  threshold.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmTowardNegative, &inexact);
  return threshold.convertToFloat();
}

} // namespace vitrify
