//===- LinearMmaSync.cpp - linear kernels for chips whose mma.sync takes FP8 (sm_89, sm_120a) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// x [rows, K] and w [N, K] are both K-contiguous, which is what row.col mma.sync wants, so both tiles are loaded by
// ldmatrix without a transpose. In shared memory a tile row is depthBytes long and its 16-byte chunks are permuted by
// an XOR with bits of the row, so that the eight rows of an 8x8 matrix lie in different banks.
//
// The columns of w are not taken in order: fragment j of a block of 32 columns holds, for its column c, the column
// (c / 2) * 8 + 2 j + c % 2. A thread owns columns 2t and 2t + 1 of each fragment, so over the four fragments it owns
// eight consecutive columns, and epilogue operands and results move in 8 to 32 byte pieces without any exchange.
//===----------------------------------------------------------------------===//
#include "LinearMmaSync.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify::nvptx;

namespace {

constexpr int kChunk = 16;      // bytes of a cp.async and of a row of an ldmatrix tile
constexpr int kStepBytes = 32;  // bytes of K of one mma.sync, for FP8 and 16-bit alike

class LinearBuilder {
public:
  LinearBuilder(GpuBuilder &g, const LinearKernel &kernel) : g(g), k(kernel), t(kernel.tile) {}

  void build(Value rows64, Value depth64, Value inputPointer, Value weight, EpilogueEmitter &epilogue);

private:
  /// A tile of one operand: where its rows come from and where the thread puts its chunks.
  struct Operand {
    Value pointer;               // ptr<1> at the tile's first row
    int64_t stride;              // bytes
    int rows;                    // of the tile
    bool weight;                 // swizzle of w
    Value limit;                 // rows that exist, from the tile's first
    int sharedOffset;            // bytes in a stage
    SmallVector<Value> rowPointers, valid, sharedOffsets, chunkBytes; // by copy of this thread
  };

  int chunksPerRow() const { return t.depthBytes / kChunk; }
  int elementBytes() const { return k.type == MatrixType::F8E4M3 ? 1 : 2; }
  int64_t depthInBytes() const { return k.depth * elementBytes(); }
  Value swizzle(Value row, bool weight);
  Value firstPixelOf(Value patch);
  void prepareCopies(Operand &op, Value tid);
  void issueStage(Operand &a, Operand &b, Value depthTile, Value stageOffset);
  void copyPatchChunk(Value target, Value firstPixel, Value firstColumn, Value valid);
  void copyChunk(Value shared, Value rowPointer, Value byteInRow, Value bytes, int64_t stride);
  SmallVector<Value> multiply(ValueRange accumulators, Value stage);
  Value mma(ArrayRef<Value> a, Value b0, Value b1, ArrayRef<Value> c);

  GpuBuilder &g;
  const LinearKernel &k;
  const LinearTile &t;
  Value shared, input, firstRow, lane, warpRow, warpColumn;
  SmallVector<Value> aOffsets, bOffsets; // by k step: offset of the lane's ldmatrix row in a stage
};

Value LinearBuilder::swizzle(Value row, bool weight) {
  // depthBytes = 128: a row spans all banks, eight distinct values are needed. 64: two rows do, four are needed.
  if (!weight)
    return chunksPerRow() == 8 ? g.andi(row, 7) : g.andi(g.shr(row, 1), 3);
  // The eight rows of a matrix of w differ in bits 0, 3 and 4 (see the order of columns above).
  Value high = g.andi(g.shr(row, 3), 3);
  return chunksPerRow() == 8 ? g.ori(g.shl(high, 1), g.andi(row, 1)) : high;
}

void LinearBuilder::prepareCopies(Operand &op, Value tid) {
  int chunks = op.rows * chunksPerRow(), perThread = (chunks + t.threads() - 1) / t.threads();
  for (int i = 0; i < perThread; ++i) {
    Value chunk = g.add(tid, i * t.threads());
    Value row = g.div(chunk, chunksPerRow()), column = g.rem(chunk, chunksPerRow());
    // Rows past the end are read from row 0 with a length of 0, which fills with zeros.
    Value inside = g.slt(row, op.limit);
    if (chunks % t.threads() != 0)
      inside = g.andi(inside, g.slt(chunk, g.c32(chunks)));
    Value source = g.select(inside, row, g.c32(0));
    if (k.patches && !op.weight)
      op.rowPointers.push_back(firstPixelOf(g.add(firstRow, source)));
    else
      op.rowPointers.push_back(g.gep(op.pointer, g.mul(g.zext64(source), op.stride)));
    op.valid.push_back(inside);
    op.chunkBytes.push_back(g.mul(column, kChunk));
    Value offset = g.add(g.mul(row, t.depthBytes), g.mul(g.xori(column, swizzle(row, op.weight)), kChunk));
    op.sharedOffsets.push_back(g.add(offset, op.sharedOffset));
  }
}

/// Address of the first pixel of channel 0 of a patch.
Value LinearBuilder::firstPixelOf(Value patch) {
  const PatchInput &p = *k.patches;
  Value height = g.trunc32(p.height), width = g.trunc32(p.width);
  Value across = g.div(width, p.patchWidth), down = g.div(height, p.patchHeight);
  Value row = g.div(patch, across), j = g.rem(patch, across);
  Value image = g.div(row, down), i = g.rem(row, down);
  Value plane = g.mul(p.height, p.width);
  Value pixel = g.add(g.mul(g.mul(g.zext64(image), p.channels), plane),
                      g.add(g.mul(g.zext64(g.mul(i, p.patchHeight)), p.width), g.zext64(g.mul(j, p.patchWidth))));
  return g.gep(input, g.mul(pixel, p.element.getIntOrFloatBitWidth() / 8));
}

/// Eight columns of x from the image, narrowed to the product's type.
void LinearBuilder::copyPatchChunk(Value target, Value firstPixel, Value firstColumn, Value valid) {
  const PatchInput &p = *k.patches;
  unsigned bytes = p.element.getIntOrFloatBitWidth() / 8;
  Value plane = g.mul(p.height, p.width);
  SmallVector<Value> x, words;
  for (int i = 0; i < 8; ++i) {
    Value column = g.add(firstColumn, i);
    Value inside = g.andi(valid, g.slt(column, g.c32(k.depth)));
    column = g.select(inside, column, g.c32(0));
    Value channel = g.div(column, p.patchHeight * p.patchWidth), within = g.rem(column, p.patchHeight * p.patchWidth);
    Value y = g.div(within, p.patchWidth), across = g.rem(within, p.patchWidth);
    Value offset = g.add(g.mul(g.zext64(channel), plane), g.add(g.mul(g.zext64(y), p.width), g.zext64(across)));
    Value v = g.load(p.element, g.gep(firstPixel, g.mul(offset, bytes)), bytes);
    if (!p.element.isF32())
      v = g.create<arith::ExtFOp>(g.f32(), v);
    x.push_back(g.select(inside, v, g.fconst(0.0f)));
  }
  for (int i = 0; i < 8; i += 2)
    g.store(g.toHalf2(x[i], x[i + 1], k.type == MatrixType::BF16), g.gep(target, i * 2), 4);
}

void LinearBuilder::copyChunk(Value target, Value rowPointer, Value byteInRow, Value bytes, int64_t stride) {
  if (stride % kChunk == 0) {
    // The address of a chunk past the end of a row may not be formed beyond the buffer: its length is 0, its place 0.
    Value source = g.gep(rowPointer, g.zext64(g.select(g.eq(bytes, g.c32(0)), g.c32(0), byteInRow)));
    g.cpAsync16(target, source, bytes);
    return;
  }
  // Rows that are not aligned to 16 bytes are copied element by element, through registers.
  unsigned element = elementBytes();
  Type type = element == 1 ? g.i8() : g.i16();
  for (unsigned i = 0; i < kChunk; i += element) {
    Value inside = g.slt(g.c32(i), bytes);
    Value source = g.gep(rowPointer, g.zext64(g.select(inside, g.add(byteInRow, i), g.c32(0))));
    Value loaded = g.load(type, source, element);
    Value zero = g.create<arith::ConstantOp>(g.b.getIntegerAttr(type, 0));
    g.store(g.select(inside, loaded, zero), g.gep(target, i), element);
  }
}

void LinearBuilder::issueStage(Operand &a, Operand &b, Value depthTile, Value stageOffset) {
  Value firstByte = g.mul(depthTile, t.depthBytes);
  for (Operand *op : {&a, &b}) {
    int chunks = op->rows * chunksPerRow();
    auto copy = [&](Value target, size_t i, Value byte, Value bytes) {
      if (k.patches && !op->weight)
        copyPatchChunk(target, op->rowPointers[i], g.div(byte, 2), op->valid[i]);
      else
        copyChunk(target, op->rowPointers[i], byte, bytes, op->stride);
    };
    for (size_t i = 0; i < op->rowPointers.size(); ++i) {
      Value byte = g.add(firstByte, op->chunkBytes[i]);
      Value left = g.smax(g.sub(g.c32(depthInBytes()), byte), g.c32(0));
      Value bytes = g.select(op->valid[i], g.smin(left, g.c32(kChunk)), g.c32(0));
      Value target = g.gep(shared, g.add(stageOffset, op->sharedOffsets[i]));
      if (chunks % t.threads() != 0 && i + 1 == op->rowPointers.size()) {
        // The last round has more threads than chunks.
        Value mine = g.slt(g.add(g.threadX(), int64_t(i) * t.threads()), g.c32(chunks));
        auto ifOp = g.create<scf::IfOp>(mine, /*withElseRegion=*/false);
        OpBuilder::InsertionGuard guard(g.b);
        g.b.setInsertionPointToStart(ifOp.thenBlock());
        copy(target, i, byte, bytes);
      } else {
        copy(target, i, byte, bytes);
      }
    }
  }
}

Value LinearBuilder::mma(ArrayRef<Value> a, Value b0, Value b1, ArrayRef<Value> c) {
  auto result = LLVM::LLVMStructType::getLiteral(g.b.getContext(), {g.f32(), g.f32(), g.f32(), g.f32()});
  SmallVector<Value> operands(a);
  operands.append({b0, b1});
  StringRef name = "llvm.nvvm.mma.m16n8k32.row.col.f32.e4m3.e4m3.f32";
  if (k.type == MatrixType::BF16)
    name = "llvm.nvvm.mma.m16n8k16.row.col.bf16";
  if (k.type == MatrixType::F16) {
    name = "llvm.nvvm.mma.m16n8k16.row.col.f32.f32";
    for (Value &v : operands)
      v = g.create<LLVM::BitcastOp>(VectorType::get(2, g.b.getF16Type()), v);
  }
  operands.append(c.begin(), c.end());
  return g.intrinsic(name, result, operands);
}

SmallVector<Value> LinearBuilder::multiply(ValueRange accumulators, Value stage) {
  int warpTileRows = t.rows / t.warpRows, warpTileColumns = t.columns / t.warpColumns;
  int mFragments = warpTileRows / 16, blocks = warpTileColumns / 32;
  SmallVector<Value> acc(accumulators);
  for (int step = 0; step < t.depthBytes / kStepBytes; ++step) {
    Value aBase = g.gep(shared, g.add(stage, aOffsets[step]));
    Value bBase = g.gep(shared, g.add(stage, bOffsets[step]));
    SmallVector<std::array<Value, 4>> a;
    for (int m = 0; m < mFragments; ++m)
      a.push_back(g.ldmatrix4(g.gep(aBase, m * 16 * t.depthBytes)));
    for (int block = 0; block < blocks; ++block) {
      for (int pair = 0; pair < 2; ++pair) {
        // Fragments 2 pair and 2 pair + 1 of the block; each has two matrices along K.
        auto b = g.ldmatrix4(g.gep(bBase, (block * 32 + pair * 4) * t.depthBytes));
        for (int half = 0; half < 2; ++half) {
          for (int m = 0; m < mFragments; ++m) {
            int at = ((m * blocks + block) * 4 + pair * 2 + half) * 4;
            Value d = mma(a[m], b[2 * half], b[2 * half + 1], ArrayRef<Value>(acc).slice(at, 4));
            for (int r = 0; r < 4; ++r)
              acc[at + r] = g.extract(d, r);
          }
        }
      }
    }
  }
  return acc;
}

void LinearBuilder::build(Value rows64, Value depth64, Value inputPointer, Value weight, EpilogueEmitter &epilogue) {
  shared = g.dynamicShared();
  input = inputPointer;
  Value rows = g.trunc32(rows64);
  Value depthTiles = g.div(g.add(g.mul(g.trunc32(depth64), elementBytes()), t.depthBytes - 1), t.depthBytes);
  Value tid = g.threadX();
  lane = g.andi(tid, 31);
  Value warp = g.shr(tid, 5);
  warpRow = g.div(warp, t.warpColumns);
  warpColumn = g.rem(warp, t.warpColumns);
  firstRow = g.mul(g.blockX(), t.rows);
  Value firstColumn = g.mul(g.blockY(), t.columns);

  auto at = [&](Value base, Value row, int64_t stride) { return g.gep(base, g.mul(g.zext64(row), stride)); };
  Operand a{at(input, firstRow, k.inputStride), k.inputStride, t.rows, false,
            g.sub(rows, firstRow), 0, {}, {}, {}, {}};
  Operand b{at(weight, firstColumn, k.weightStride), k.weightStride, t.columns, true,
            g.sub(g.c32(k.columns), firstColumn), t.rows * t.depthBytes, {}, {}, {}, {}};
  prepareCopies(a, tid);
  prepareCopies(b, tid);

  // Rows of ldmatrix: matrices 0..3 of x are (rows 0-7, chunk 0), (8-15, 0), (0-7, 1), (8-15, 1); of w, for fragments j
  // and j + 1, (j, chunk 0), (j, 1), (j + 1, 0), (j + 1, 1).
  Value lane8 = g.andi(lane, 7), matrix = g.shr(lane, 3);
  Value aRow = g.add(g.mul(warpRow, t.rows / t.warpRows), g.andi(lane, 15));
  Value aChunk = g.shr(lane, 4);
  Value bColumn = g.add(g.add(g.shl(g.shr(lane8, 1), 3), g.andi(lane8, 1)), g.shl(g.shr(matrix, 1), 1));
  Value bRow = g.add(g.mul(warpColumn, t.columns / t.warpColumns), bColumn);
  Value bChunk = g.andi(matrix, 1);
  for (int step = 0; step < t.depthBytes / kStepBytes; ++step) {
    Value ac = g.xori(g.add(aChunk, 2 * step), swizzle(aRow, false));
    aOffsets.push_back(g.add(g.mul(aRow, t.depthBytes), g.mul(ac, kChunk)));
    // pair * 4 moves bits 1 and 2 of the row, block * 32 bits from 5 on: the swizzle of w sees neither.
    Value bc = g.xori(g.add(bChunk, 2 * step), swizzle(bRow, true));
    bOffsets.push_back(g.add(g.add(g.mul(bRow, t.depthBytes), g.mul(bc, kChunk)), t.rows * t.depthBytes));
  }

  int stageBytes = (t.rows + t.columns) * t.depthBytes;
  for (int s = 0; s + 1 < t.stages; ++s) {
    auto ifOp = g.create<scf::IfOp>(g.slt(g.c32(s), depthTiles), /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard guard(g.b);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
      issueStage(a, b, g.c32(s), g.c32(s * stageBytes));
    }
    g.cpAsyncCommit();
  }

  int accumulators = (t.rows / t.warpRows / 16) * (t.columns / t.warpColumns / 8) * 4;
  SmallVector<Value> initial(accumulators, g.fconst(0.0f));
  initial.push_back(g.c32(0));                            // offset of the stage that is multiplied
  initial.push_back(g.c32((t.stages - 1) * stageBytes));  // offset of the stage that is filled
  auto loop = g.create<scf::ForOp>(g.c32(0), depthTiles, g.c32(1), initial);
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value tile = loop.getInductionVar();
    ValueRange carried = loop.getRegionIterArgs();
    Value reading = carried[accumulators], filling = carried[accumulators + 1];
    // The stage read now has landed, and every warp is done with the stage that is filled next.
    g.cpAsyncWait(t.stages - 2);
    g.barrier();
    Value next = g.add(tile, t.stages - 1);
    auto ifOp = g.create<scf::IfOp>(g.slt(next, depthTiles), /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
      issueStage(a, b, next, filling);
    }
    g.cpAsyncCommit();
    SmallVector<Value> out = multiply(carried.take_front(accumulators), reading);
    auto advance = [&](Value offset) {
      Value moved = g.add(offset, stageBytes);
      return g.select(g.eq(moved, g.c32(t.stages * stageBytes)), g.c32(0), moved);
    };
    out.push_back(advance(reading));
    out.push_back(advance(filling));
    g.create<scf::YieldOp>(out);
  }

  int mFragments = t.rows / t.warpRows / 16, blocks = t.columns / t.warpColumns / 32;
  Value rowInWarp = g.add(g.add(firstRow, g.mul(warpRow, t.rows / t.warpRows)), g.shr(lane, 2));
  Value columnInWarp = g.add(g.add(firstColumn, g.mul(warpColumn, t.columns / t.warpColumns)),
                             g.mul(g.andi(lane, 3), kLinearRun));
  for (int block = 0; block < blocks; ++block) {
    epilogue.beginColumns(g.add(columnInWarp, block * 32));
    for (int m = 0; m < mFragments; ++m) {
      for (int half = 0; half < 2; ++half) {
        Value row = g.add(rowInWarp, m * 16 + half * 8);
        SmallVector<Value> run;
        for (int fragment = 0; fragment < 4; ++fragment)
          for (int c = 0; c < 2; ++c)
            run.push_back(loop.getResult(((m * blocks + block) * 4 + fragment) * 4 + half * 2 + c));
        auto ifOp = g.create<scf::IfOp>(g.slt(row, rows), /*withElseRegion=*/false);
        OpBuilder::InsertionGuard guard(g.b);
        g.b.setInsertionPointToStart(ifOp.thenBlock());
        epilogue.emitRow(row, run);
      }
    }
  }
}

} // namespace

void vitrify::nvptx::emitLinearMmaSync(GpuBuilder &g, const LinearKernel &kernel, Value rows, Value depth, Value input,
                                       Value weight, EpilogueEmitter &epilogue) {
  LinearBuilder(g, kernel).build(rows, depth, input, weight, epilogue);
}
