//===- PatchInput.cpp - rows of a patch embedding, read from images -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "PatchInput.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;
using namespace vitrify::nvptx;

int PatchInput::piece() const { return std::gcd<int64_t>(8, patchWidth); }

Value PatchChunks::firstPixel(Value patch) {
  Value height = g.trunc32(p.height), width = g.trunc32(p.width);
  Value across = g.div(width, p.patchWidth), down = g.div(height, p.patchHeight);
  Value row = g.div(patch, across), j = g.rem(patch, across);
  Value image = g.div(row, down), i = g.rem(row, down);
  Value plane = g.mul(p.height, p.width);
  Value pixel = g.add(g.mul(g.mul(g.zext64(image), p.channels), plane),
                      g.add(g.mul(g.zext64(g.mul(i, p.patchHeight)), p.width), g.zext64(g.mul(j, p.patchWidth))));
  return g.gep(this->image, g.mul(pixel, p.bytes()));
}

Value PatchChunks::pixelAt(Value firstPixel, Value column) {
  Value line = g.div(column, p.patchWidth), across = g.sub(column, g.mul(line, p.patchWidth));
  Value channel = g.div(line, p.patchHeight), y = g.sub(line, g.mul(channel, p.patchHeight));
  // Lines of channel c start c planes further.
  Value lines = g.add(g.mul(g.zext64(channel), p.height), g.zext64(y));
  return g.gep(firstPixel, g.mul(g.add(g.mul(lines, p.width), g.zext64(across)), p.bytes()));
}

void PatchChunks::copy(Value target, Value firstPixel, Value firstColumn, Value valid) {
  int piece = p.piece();
  bool same = bf16 ? p.element.isBF16() : p.element.isF16();
  auto integer = dyn_cast<IntegerType>(p.element);
  Type stored = integer ? Type(g.i8()) : p.element;
  SmallVector<Value> x;
  for (int at = 0; at < 8; at += piece) {
    Value column = g.add(firstColumn, at), inside = g.andi(valid, g.slt(column, g.c32(p.columns())));
    Value from = pixelAt(firstPixel, g.select(inside, column, g.c32(0)));
    if (same && piece > 1) {
      g.cpAsync(g.gep(target, at * 2), from, piece * 2, g.select(inside, g.c32(piece * 2), g.c32(0)));
      continue;
    }
    // Vectors of at most 16 bytes.
    int lanes = std::min<int>(piece, 16 / p.bytes());
    for (int first = 0; first < piece; first += lanes) {
      Type type = lanes == 1 ? stored : Type(VectorType::get(lanes, stored));
      Value loaded = g.load(type, g.gep(from, first * p.bytes()), lanes * p.bytes());
      for (int i = 0; i < lanes; ++i) {
        Value v = lanes == 1 ? loaded : g.create<LLVM::ExtractElementOp>(loaded, g.c32(i)).getResult();
        if (integer && integer.isUnsigned())
          v = g.create<arith::UIToFPOp>(g.f32(), v);
        else if (integer)
          v = g.create<arith::SIToFPOp>(g.f32(), v);
        else if (!p.element.isF32())
          v = g.create<arith::ExtFOp>(g.f32(), v);
        x.push_back(g.select(inside, v, g.fconst(0.0f)));
      }
    }
  }
  if (x.empty())
    return;
  SmallVector<Value> words;
  for (int i = 0; i < 8; i += 2)
    words.push_back(g.toHalf2(x[i], x[i + 1], bf16));
  g.store(g.create<vector::FromElementsOp>(VectorType::get(4, g.i32()), words), target, 16);
}
