//===- LinearMmaSync.cpp - linear kernels for chips whose mma.sync takes FP8 (sm_89, sm_120a) -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// x [rows, K] and w [N, K] are both K-contiguous, which is what row.col mma.sync wants, so both tiles are loaded by
// ldmatrix without a transpose. How they lie in shared memory is LinearCopies' matter; here an 8x8 matrix is always eight
// rows that follow each other. A thread owns runs of eight consecutive columns of a row of the result, so that epilogue
// operands and results move in 8 to 32 byte pieces without any exchange.
//===----------------------------------------------------------------------===//
#include "LinearCopies.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify::nvptx;

Value vitrify::nvptx::emitMma(GpuBuilder &g, MatrixType type, ArrayRef<Value> wide, Value n0, Value n1, ArrayRef<Value> c, bool f16) {
  SmallVector<Value> operands(wide);
  operands.append({n0, n1});
  StringRef name = "llvm.nvvm.mma.m16n8k32.row.col.f32.e4m3.e4m3.f32";
  SmallVector<Type> results(4, g.f32());
  Type half2 = VectorType::get(2, g.b.getF16Type());
  if (type == MatrixType::BF16)
    name = "llvm.nvvm.mma.m16n8k16.row.col.bf16";
  if (type == MatrixType::F16) {
    name = "llvm.nvvm.mma.m16n8k16.row.col.f32.f32";
    for (Value &v : operands)
      v = g.create<LLVM::BitcastOp>(half2, v);
  }
  if (f16) {
    name = "llvm.nvvm.mma.m16n8k32.row.col.f16.e4m3.e4m3.f16";
    results.assign(2, half2);
  }
  operands.append(c.begin(), c.end());
  return g.intrinsic(name, LLVM::LLVMStructType::getLiteral(g.b.getContext(), results), operands);
}

namespace {

constexpr int kChunk = 16;      // bytes of a row of an ldmatrix tile
constexpr unsigned kOperandRegisters = 24; // of epilogue operands on their way, by when fragments have left theirs
constexpr int kStepBytes = 32;  // bytes of K of one mma.sync, for FP8 and 16-bit alike

/// Eight consecutive columns of one row, as a thread holds them.
struct Run {
  unsigned row;                       ///< which of the thread's rows
  unsigned columns;                   ///< which of the thread's runs of columns
  std::array<unsigned, kLinearRun> at; ///< the accumulators
};

class LinearBuilder {
public:
  LinearBuilder(GpuBuilder &g, const LinearKernel &kernel) : g(g), k(kernel), t(kernel.tile) {
    bool swap = t.swapped;
    wideFragments = (swap ? t.warpTileColumns() : t.warpTileRows()) / 16;
    narrowFragments = (swap ? t.warpTileRows() : t.warpTileColumns()) / 8;
  }

  void build(Value rows64, Value depth64, Value input, Value weight, EpilogueEmitter &epilogue);

private:
  unsigned accumulators() const { return wideFragments * narrowFragments * 4; }
  unsigned accumulatorAt(unsigned wide, unsigned narrow, unsigned r) const {
    return (wide * narrowFragments + narrow) * 4 + r;
  }
  void findThread();
  void findOffsets();
  SmallVector<Run> runs() const;
  SmallVector<Value> rowsOfThread(), columnsOfThread();
  void multiplyStep(int step, Value stage, MutableArrayRef<Value> sums, bool f16);
  void multiply(Value stage, Value tile, MutableArrayRef<Value> sums);
  void promote(MutableArrayRef<Value> sums, ArrayRef<Value> part, ArrayRef<Value> rowScales,
               ArrayRef<SmallVector<Value>> columnScales);
  SmallVector<Value> loadInputScales(Value depthElement);
  SmallVector<SmallVector<Value>> loadWeightScales(Value depthElement);

  GpuBuilder &g;
  const LinearKernel &k;
  const LinearTile &t;
  unsigned wideFragments, narrowFragments; // of the 16-row and the 8-column operand
  Value rows, shared, lane, warpRow, warpColumn, firstRow, firstColumn;
  SmallVector<Value> wideOffsets, narrowOffsets; // by k step: offset of the lane's ldmatrix row in a stage
  SmallVector<Value> threadRows, threadColumns;
};

void LinearBuilder::findThread() {
  Value tid = g.threadX();
  lane = g.andi(tid, 31);
  Value warp = g.shr(tid, 5);
  warpRow = g.div(warp, t.warpColumns);
  warpColumn = g.rem(warp, t.warpColumns);
  firstRow = g.mul(g.blockX(), t.rows);
  firstColumn = g.mul(g.blockY(), t.columns);
}

/// Rows of ldmatrix: matrices 0 to 3 of the 16-row operand are (rows 0-7, chunk 0), (8-15, 0), (0-7, 1), (8-15, 1); of two
/// fragments j and j + 1 of the other (j, chunk 0), (j, 1), (j + 1, 0), (j + 1, 1).
void LinearBuilder::findOffsets() {
  Value inputBase = g.mul(warpRow, t.warpTileRows()), weightBase = g.mul(warpColumn, t.warpTileColumns());
  int inputAt = 0, weightAt = t.rows * t.depthBytes;
  Value matrix = g.shr(lane, 3);
  Value wideRow = g.add(t.swapped ? weightBase : inputBase, g.andi(lane, 15));
  Value narrowRow = g.add(t.swapped ? inputBase : weightBase, g.add(g.andi(lane, 7), g.shl(g.shr(matrix, 1), 3)));
  for (int step = 0; step < t.depthBytes / kStepBytes; ++step) {
    Value wide = swizzledChunk(g, g.add(g.shr(lane, 4), 2 * step), wideRow, t.depthBytes);
    Value narrow = swizzledChunk(g, g.add(g.andi(matrix, 1), 2 * step), narrowRow, t.depthBytes);
    wideOffsets.push_back(g.add(g.add(g.mul(wideRow, t.depthBytes), g.mul(wide, kChunk)), t.swapped ? weightAt : inputAt));
    narrowOffsets.push_back(
        g.add(g.add(g.mul(narrowRow, t.depthBytes), g.mul(narrow, kChunk)), t.swapped ? inputAt : weightAt));
  }
}

SmallVector<Run> LinearBuilder::runs() const {
  SmallVector<Run> all;
  if (!t.swapped) {
    for (unsigned block = 0; block < narrowFragments / 4; ++block)
      for (unsigned m = 0; m < wideFragments; ++m)
        for (unsigned half = 0; half < 2; ++half) {
          Run run{2 * m + half, block, {}};
          for (unsigned i = 0; i < kLinearRun; ++i)
            run.at[i] = accumulatorAt(m, block * 4 + i / 2, half * 2 + i % 2);
          all.push_back(run);
        }
    return all;
  }
  for (unsigned block = 0; block < wideFragments / 4; ++block)
    for (unsigned n = 0; n < narrowFragments; ++n)
      for (unsigned c = 0; c < 2; ++c) {
        Run run{2 * n + c, block, {}};
        for (unsigned i = 0; i < kLinearRun; ++i)
          run.at[i] = accumulatorAt(block * 4 + i / 2, n, i % 2 * 2 + c);
        all.push_back(run);
      }
  return all;
}

SmallVector<Value> LinearBuilder::rowsOfThread() {
  SmallVector<Value> all;
  Value base = g.add(firstRow, g.mul(warpRow, t.warpTileRows()));
  if (!t.swapped) {
    Value first = g.add(base, g.shr(lane, 2));
    for (unsigned i = 0; i < 2 * wideFragments; ++i)
      all.push_back(g.add(first, i * 8));
  } else {
    Value first = g.add(base, g.shl(g.andi(lane, 3), 1));
    for (unsigned i = 0; i < 2 * narrowFragments; ++i)
      all.push_back(g.add(first, i / 2 * 8 + i % 2));
  }
  return all;
}

SmallVector<Value> LinearBuilder::columnsOfThread() {
  SmallVector<Value> all;
  Value base = g.add(firstColumn, g.mul(warpColumn, t.warpTileColumns()));
  Value first = g.add(base, g.mul(t.swapped ? g.shr(lane, 2) : g.andi(lane, 3), kLinearRun));
  int block = t.swapped ? 64 : 32;
  for (int i = 0; i < t.warpTileColumns() / block; ++i)
    all.push_back(g.add(first, i * block));
  return all;
}

/// One step of 32 bytes of K. `sums` are 4 f32 a fragment pair, or 2 pairs of f16.
void LinearBuilder::multiplyStep(int step, Value stage, MutableArrayRef<Value> sums, bool f16) {
  Value wideBase = g.gep(stage, wideOffsets[step]), narrowBase = g.gep(stage, narrowOffsets[step]);
  unsigned each = f16 ? 2 : 4;
  SmallVector<std::array<Value, 4>> wide;
  for (unsigned m = 0; m < wideFragments; ++m)
    wide.push_back(g.ldmatrix4(g.gep(wideBase, m * 16 * t.depthBytes)));
  auto multiplyFragment = [&](unsigned n, Value n0, Value n1) {
    for (unsigned m = 0; m < wideFragments; ++m) {
      MutableArrayRef<Value> c = sums.slice((m * narrowFragments + n) * each, each);
      Value d = emitMma(g, k.type, wide[m], n0, n1, c, f16);
      for (unsigned r = 0; r < each; ++r)
        c[r] = g.extract(d, r);
    }
  };
  for (unsigned n = 0; n < narrowFragments; n += 2) {
    Value address = g.gep(narrowBase, n * 8 * t.depthBytes);
    if (n + 1 == narrowFragments) {
      // The second half of the lanes' addresses is not used.
      auto last = g.ldmatrix2(address);
      multiplyFragment(n, last[0], last[1]);
      break;
    }
    auto pair = g.ldmatrix4(address);
    multiplyFragment(n, pair[0], pair[1]);
    multiplyFragment(n + 1, pair[2], pair[3]);
  }
}

SmallVector<Value> LinearBuilder::loadInputScales(Value depthElement) {
  SmallVector<Value> all;
  const DepthScales &s = k.inputScales;
  Value block = g.div(depthElement, s.depth);
  for (Value row : threadRows) {
    Value inside = g.smin(row, g.sub(rows, g.c32(1)));
    Value at = g.add(g.mul(g.zext64(inside), s.stride), g.zext64(block));
    all.push_back(g.load(g.f32(), g.gep(s.pointer, g.mul(at, 4)), 4));
  }
  return all;
}

SmallVector<SmallVector<Value>> LinearBuilder::loadWeightScales(Value depthElement) {
  SmallVector<SmallVector<Value>> all;
  const DepthScales &s = k.weightScales;
  Value block = g.div(depthElement, s.depth);
  for (Value first : threadColumns) {
    SmallVector<Value> run;
    for (unsigned i = 0; i < kLinearRun; ++i) {
      if (i > 0 && s.height % kLinearRun == 0) {
        run.push_back(run.front());
        continue;
      }
      Value column = g.smin(g.add(first, i), g.c32(k.columns - 1));
      Value at = g.add(g.mul(g.div(column, s.height), s.stride), block);
      run.push_back(g.load(g.f32(), g.gep(s.pointer, g.zext64(g.mul(at, 4))), 4));
    }
    all.push_back(run);
  }
  return all;
}

/// Adds the sums of some steps of K to the f32 accumulators, times their scales.
void LinearBuilder::promote(MutableArrayRef<Value> sums, ArrayRef<Value> part, ArrayRef<Value> rowScales,
                            ArrayRef<SmallVector<Value>> columnScales) {
  SmallVector<Value> wide(part);
  if (k.f16Sums) {
    wide.clear();
    for (Value pair : part)
      for (int i = 0; i < 2; ++i)
        wide.push_back(g.create<arith::ExtFOp>(g.f32(), Value(g.create<LLVM::ExtractElementOp>(pair, g.c32(i)))));
  }
  for (const Run &run : runs()) {
    for (unsigned i = 0; i < kLinearRun; ++i) {
      Value scale;
      if (!rowScales.empty())
        scale = rowScales[run.row];
      if (!columnScales.empty())
        scale = scale ? g.fmul(scale, columnScales[run.columns][i]) : columnScales[run.columns][i];
      Value &sum = sums[run.at[i]];
      sum = scale ? g.fma(wide[run.at[i]], scale, sum) : g.fadd(sum, wide[run.at[i]]);
    }
  }
}

void LinearBuilder::multiply(Value stage, Value tile, MutableArrayRef<Value> sums) {
  int steps = t.depthBytes / kStepBytes;
  if (!k.promoteDepth) {
    for (int step = 0; step < steps; ++step)
      multiplyStep(step, stage, sums, false);
    return;
  }
  int stepElements = kStepBytes / k.elementBytes();
  int stepsTogether = std::min<int64_t>(steps, k.promoteDepth / stepElements);
  Value zero = k.f16Sums ? g.create<LLVM::ZeroOp>(VectorType::get(2, g.b.getF16Type())).getResult() : g.fconst(0.0f);
  for (int step = 0; step < steps; step += stepsTogether) {
    Value element = g.add(g.mul(tile, steps * stepElements), step * stepElements);
    // Past the end of K everything is zero; the last scale serves there.
    if (k.depth % (steps * stepElements) != 0)
      element = g.smin(element, g.c32(k.depth - 1));
    SmallVector<Value> rowScales;
    SmallVector<SmallVector<Value>> columnScales;
    if (k.inputScales.pointer)
      rowScales = loadInputScales(element);
    if (k.weightScales.pointer)
      columnScales = loadWeightScales(element);
    SmallVector<Value> part(k.f16Sums ? sums.size() / 2 : sums.size(), zero);
    for (int inner = step; inner < step + stepsTogether; ++inner)
      multiplyStep(inner, stage, part, k.f16Sums);
    promote(sums, part, rowScales, columnScales);
  }
}

void LinearBuilder::build(Value rows64, Value depth64, Value input, Value weight, EpilogueEmitter &epilogue) {
  shared = g.dynamicShared();
  rows = g.trunc32(rows64);
  findThread();
  Value tiles = g.div(g.add(g.mul(g.trunc32(depth64), k.elementBytes()), t.depthBytes - 1), t.depthBytes);
  Value begin = g.c32(0), end = tiles;
  if (t.split > 1) {
    Value each = g.div(g.add(tiles, t.split - 1), t.split);
    begin = g.mul(g.blockZ(), each);
    end = g.smin(g.add(begin, each), tiles);
  }
  auto at = [&](Value base, Value row, int64_t stride) { return g.gep(base, g.mul(g.zext64(row), stride)); };
  Value inputAt = k.patches || k.list ? input : at(input, firstRow, k.inputStride);
  OperandCopies x(g, k, OperandCopies::Kind::Input, inputAt, k.inputStride, t.rows, g.sub(rows, firstRow), 0, firstRow);
  Value columnsLeft = k.columns % t.columns == 0 ? Value() : g.sub(g.c32(k.columns), firstColumn);
  OperandCopies w(g, k, OperandCopies::Kind::Weight, at(weight, firstColumn, k.weightStride), k.weightStride, t.columns,
                  columnsLeft, t.rows * t.depthBytes, firstColumn);
  findOffsets();
  threadRows = rowsOfThread();
  threadColumns = columnsOfThread();

  Value firstByte = g.mul(begin, t.depthBytes);
  Value xFirst = x.advance(x.start(), firstByte), wFirst = w.advance(w.start(), firstByte);
  int stageBytes = t.stageBytes();
  for (int s = 0; s + 1 < t.stages; ++s) {
    auto ifOp = g.create<scf::IfOp>(g.slt(g.add(begin, s), end), /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard guard(g.b);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
      Value stage = g.gep(shared, s * stageBytes), byte = g.add(firstByte, s * t.depthBytes);
      x.issue(stage, x.advance(xFirst, s * t.depthBytes), byte);
      w.issue(stage, w.advance(wFirst, s * t.depthBytes), byte);
    }
    g.cpAsyncCommit();
  }

  unsigned sums = accumulators();
  SmallVector<Value> initial(sums, g.fconst(0.0f));
  int ahead = (t.stages - 1) * t.depthBytes;
  initial.append({g.c32(0),                             // offset of the stage that is multiplied
                  g.c32((t.stages - 1) * stageBytes),   // offset of the stage that is filled
                  x.advance(xFirst, ahead), w.advance(wFirst, ahead)});
  auto loop = g.create<scf::ForOp>(begin, end, g.c32(1), initial);
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value tile = loop.getInductionVar();
    ValueRange carried = loop.getRegionIterArgs();
    Value reading = carried[sums], filling = carried[sums + 1], xNext = carried[sums + 2], wNext = carried[sums + 3];
    // The stage read now has landed, and every warp is done with the stage that is filled next.
    g.cpAsyncWait(t.stages - 2);
    g.barrier();
    Value next = g.add(tile, t.stages - 1);
    auto ifOp = g.create<scf::IfOp>(g.slt(next, end), /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
      Value stage = g.gep(shared, filling), byte = g.mul(next, t.depthBytes);
      x.issue(stage, xNext, byte);
      w.issue(stage, wNext, byte);
    }
    g.cpAsyncCommit();
    SmallVector<Value> out(carried.take_front(sums));
    multiply(g.gep(shared, reading), tile, out);
    auto advance = [&](Value offset) {
      Value moved = g.add(offset, stageBytes);
      return g.select(g.eq(moved, g.c32(t.stages * stageBytes)), g.c32(0), moved);
    };
    out.append({advance(reading), advance(filling), x.advance(xNext, t.depthBytes), w.advance(wNext, t.depthBytes)});
    g.create<scf::YieldOp>(out);
  }

  // Loads of a few runs are under way together; runs past the end read the last row and store nothing.
  SmallVector<Run> all = runs();
  const unsigned window = std::max(1u, kOperandRegisters / std::max(1u, epilogue.rowRegisters()));
  Value lastRow = g.sub(rows, g.c32(1));
  // The row of the result that a row of the tile is; of gathered rows, what the list says.
  SmallVector<Value> resultRows;
  for (Value row : threadRows) {
    Value inside = g.smin(row, lastRow);
    resultRows.push_back(k.list ? g.load(g.i32(), g.gep(k.list->entries, g.mul(g.zext64(inside), 4)), 4) : inside);
  }
  for (size_t first = 0, end; first < all.size(); first = end) {
    for (end = first + 1; end < all.size() && end < first + window && all[end].columns == all[first].columns; ++end)
      ;
    ArrayRef<Run> together = ArrayRef<Run>(all).slice(first, end - first);
    if (first == 0 || all[first].columns != all[first - 1].columns)
      epilogue.beginColumns(threadColumns[all[first].columns]);
    SmallVector<EpilogueEmitter::RowOperands> operands;
    for (const Run &run : together)
      operands.push_back(epilogue.loadRow(resultRows[run.row]));
    for (auto [run, loaded] : llvm::zip_equal(together, operands)) {
      SmallVector<Value> values;
      for (unsigned i : run.at)
        values.push_back(loop.getResult(i));
      epilogue.emitLoadedRow(resultRows[run.row], g.slt(threadRows[run.row], rows), values, loaded);
    }
  }
}

} // namespace

void vitrify::nvptx::emitLinearMmaSync(GpuBuilder &g, const LinearKernel &kernel, Value rows, Value depth, Value input,
                                       Value weight, EpilogueEmitter &epilogue) {
  LinearBuilder(g, kernel).build(rows, depth, input, weight, epilogue);
}
