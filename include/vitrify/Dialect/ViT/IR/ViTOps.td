//===- ViTOps.td - all op families of the vit dialect -*- tablegen -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef VITRIFY_DIALECT_VIT_IR_VITOPS_TD
#define VITRIFY_DIALECT_VIT_IR_VITOPS_TD
include "vitrify/Dialect/ViT/IR/EmbedOps.td"
include "vitrify/Dialect/ViT/IR/NormOps.td"
include "vitrify/Dialect/ViT/IR/MlpOps.td"
include "vitrify/Dialect/ViT/IR/AttentionOps.td"
include "vitrify/Dialect/ViT/IR/GateOps.td"
include "vitrify/Dialect/ViT/IR/QuantOps.td"
include "vitrify/Dialect/ViT/IR/WeightOps.td"
#endif
