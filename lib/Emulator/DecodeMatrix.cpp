//===- DecodeMatrix.cpp - matrix instructions -------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// ldmatrix, stmatrix, movmatrix, mma.sync and wmma. The rows of the fragments
// are in Program::lists: d, then a, b, c.
//===----------------------------------------------------------------------===//
#include "Decode.h"

namespace vitrify::emulator {

Status FunctionDecoder::ldmatrix() {
  return refuse();
}
Status FunctionDecoder::mma() { return refuse(); }
Status FunctionDecoder::wmma() { return refuse(); }

} // namespace vitrify::emulator
