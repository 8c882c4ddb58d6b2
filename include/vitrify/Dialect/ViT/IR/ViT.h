//===- ViT.h - the vit dialect ----------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Includes everything of the dialect: enums, attributes, interfaces, ops.
//===----------------------------------------------------------------------===//
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "vitrify/Dialect/ViT/IR/ViTDialect.h.inc"
#include "vitrify/Dialect/ViT/IR/ViTEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "vitrify/Dialect/ViT/IR/ViTAttrs.h.inc"
#include "vitrify/Dialect/ViT/IR/ViTInterfaces.h.inc"
#define GET_OP_CLASSES
#include "vitrify/Dialect/ViT/IR/ViTOps.h.inc"
