//===- LinearCopies.cpp - a linear's operand tiles on their way to shared memory -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "LinearCopies.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify::nvptx;

namespace {
constexpr int kChunk = 16; // bytes of a cp.async and of a row of an ldmatrix tile
} // namespace

Value vitrify::nvptx::placeWeightRow(GpuBuilder &g, Value row, bool swapped) {
  if (swapped) {
    // Bits [5:3] and [2:0] change places.
    Value block = g.andi(row, ~int64_t(63));
    return g.ori(block, g.ori(g.shl(g.andi(row, 7), 3), g.andi(g.shr(row, 3), 7)));
  }
  // Bits [4:3] and [2:1] change places.
  Value kept = g.andi(row, ~int64_t(30));
  return g.ori(kept, g.ori(g.shl(g.andi(row, 6), 2), g.andi(g.shr(row, 2), 6)));
}

Value vitrify::nvptx::swizzledChunk(GpuBuilder &g, Value chunk, Value placedRow, int depthBytes) {
  // 128: a row spans all banks, eight distinct values are needed. 64: two rows do, four are needed.
  return g.xori(chunk, depthBytes == 128 ? g.andi(placedRow, 7) : g.andi(g.shr(placedRow, 1), 3));
}

OperandCopies::OperandCopies(GpuBuilder &g, const LinearKernel &kernel, Kind kind, Value pointer, int64_t stride, int rows,
                             Value limit, int sharedBase, Value firstRow)
    : g(g), kernel(kernel), tile(kernel.tile), stride(stride),
      tail(kernel.depth * kernel.elementBytes() % tile.depthBytes != 0), firstRow(firstRow) {
  Value tid = g.threadX();
  Value row = g.div(tid, chunksPerRow()), chunk = g.rem(tid, chunksPerRow());
  chunkByte = g.mul(chunk, kChunk);
  if (kernel.patches && kind == Kind::Input)
    patches.emplace(g, *kernel.patches, pointer, kernel.type == MatrixType::BF16);
  bool gathered = kernel.list && kind == Kind::Input;
  if (patches || gathered)
    source = patches ? pointer : g.gep(pointer, chunkByte);
  else
    source = g.gep(pointer, g.add(g.mul(g.zext64(row), stride), g.zext64(chunkByte)));
  int step = tile.rowsPerCopy(), period = kind == Kind::Input ? 8 : tile.swapped ? 64 : 32;
  Value first;
  for (int at = 0; at < rows; at += step) {
    Value copyRow = g.add(row, at);
    if (at % period == 0 || step % period == 0) {
      // The placement repeats: the same chunk of a row further on.
      if (!first) {
        Value placed = kind == Kind::Input ? row : placeWeightRow(g, row, tile.swapped);
        first = g.add(g.add(g.mul(placed, tile.depthBytes), g.mul(swizzledChunk(g, chunk, placed, tile.depthBytes), kChunk)),
                      sharedBase);
      }
      sharedOffsets.push_back(g.add(first, int64_t(at) * tile.depthBytes));
    } else {
      Value placed = kind == Kind::Input ? copyRow : placeWeightRow(g, copyRow, tile.swapped);
      sharedOffsets.push_back(g.add(
          g.add(g.mul(placed, tile.depthBytes), g.mul(swizzledChunk(g, chunk, placed, tile.depthBytes), kChunk)), sharedBase));
    }
    valid.push_back(limit ? g.slt(copyRow, limit) : Value());
    if (gathered) {
      Value entry = g.add(firstRow, g.select(valid.back(), copyRow, g.c32(0)));
      Value named = g.load(g.i32(), g.gep(kernel.list->entries, g.mul(g.zext64(entry), 4)), 4);
      sourceOffsets.push_back(g.mul(g.zext64(named), stride));
    } else {
      sourceOffsets.push_back(g.c64(at * stride));
    }
    if (patches)
      rowPointers.push_back(patches->firstPixel(g.add(firstRow, g.select(valid.back(), copyRow, g.c32(0)))));
  }
  if (rows % step != 0)
    lastMine = g.slt(row, g.c32(rows % step));
}

Value OperandCopies::advance(Value pointer, Value bytes) {
  return patches ? pointer : g.gep(pointer, g.zext64(bytes));
}
Value OperandCopies::advance(Value pointer, int64_t bytes) {
  return patches ? pointer : g.gep(pointer, bytes);
}

/// Rows that are not aligned to 16 bytes are copied element by element, through registers.
void OperandCopies::copyByElements(Value target, Value from, Value bytes) {
  unsigned element = kernel.elementBytes();
  Type type = element == 1 ? g.i8() : g.i16();
  for (unsigned i = 0; i < kChunk; i += element) {
    auto inside = g.create<scf::IfOp>(TypeRange{type}, g.slt(g.c32(i), bytes), /*withElseRegion=*/true);
    {
      OpBuilder::InsertionGuard guard(g.b);
      g.b.setInsertionPointToStart(inside.thenBlock());
      g.create<scf::YieldOp>(ValueRange{g.load(type, g.gep(from, i), element)});
      g.b.setInsertionPointToStart(inside.elseBlock());
      g.create<scf::YieldOp>(ValueRange{g.create<arith::ConstantOp>(g.b.getIntegerAttr(type, 0))});
    }
    g.store(inside.getResult(0), g.gep(target, i), element);
  }
}

void OperandCopies::issue(Value stage, Value pointer, Value firstByte) {
  Value byte = g.add(firstByte, chunkByte);
  // How much of the chunk exists; a chunk without anything is filled with zeros and its address is not read.
  Value left;
  if (tail)
    left = g.smin(g.smax(g.sub(g.c32(kernel.depth * kernel.elementBytes()), byte), g.c32(0)), g.c32(kChunk));
  for (size_t i = 0; i < sharedOffsets.size(); ++i) {
    OpBuilder::InsertionGuard guard(g.b);
    if (lastMine && i + 1 == sharedOffsets.size()) {
      auto ifOp = g.create<scf::IfOp>(lastMine, /*withElseRegion=*/false);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
    }
    Value target = g.gep(stage, sharedOffsets[i]);
    if (patches) {
      patches->copy(target, rowPointers[i], g.div(byte, 2), valid[i]);
      continue;
    }
    Value bytes = left;
    if (valid[i])
      bytes = g.select(valid[i], left ? left : g.c32(kChunk), g.c32(0));
    Value from = g.gep(pointer, sourceOffsets[i]);
    if (stride % kChunk == 0)
      g.cpAsync16(target, from, bytes);
    else
      copyByElements(target, from, bytes ? bytes : g.c32(kChunk));
  }
}
