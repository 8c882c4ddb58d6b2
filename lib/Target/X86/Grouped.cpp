//===- Grouped.cpp - linears over the rows that a gate's blocks are on for, on x86 -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Tiles of rows are gathered by a list; panels are those of a dense linear. Along K a work unit keeps the sums of a chunk of
// rows for one panel on the stack and adds block after block to the rows that the block lists: each sum meets its steps of
// K in the order of a dense linear, less those that would add 0, so that results are equal to the bit, whatever runs where.
//===----------------------------------------------------------------------===//
#include "MatrixTile.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::x86;

/// What a work unit along K may keep on the stack, well below what a kernel may use.
static constexpr int64_t kSumsBytes = 192 * 1024;

//===----------------------------------------------------------------------===//
// vit.group_tokens
//===----------------------------------------------------------------------===//

static void describeGroupTokens(KernelFrame &frame) {
  int64_t blocks = cast<vit::GroupTokensOp>(frame.op).getGate().getType().getDimSize(1);
  frame.use(0);
  frame.useResults();
  if (!frame.reason.empty())
    return;
  frame.operandDim(0, 0);
  frame.finish("group_tokens_" + std::to_string(blocks), "gather", "f32", PlanExpr(blocks));
}

static void buildGroupTokens(KernelFrame &frame, LaneBuilder &b) {
  int64_t chunk = cast<vit::GroupTokensOp>(frame.op).getChunk();
  Value gate = frame.operand(0), list = frame.result(0), starts = frame.result(1);
  Value rows = frame.dimValue(b, false, 0, 0), zero = b.f32(0);
  Value chunks = b.ceilDivIndex(rows, chunk);
  b.loop(frame.begin, frame.end, 1, [&](Value block) {
    Value base = arith::MulIOp::create(b, block, rows);
    auto bound = [&](Value i, Value count) {
      memref::StoreOp::create(b, Value(arith::IndexCastOp::create(b, b.getI32Type(), count)), starts, ValueRange{i, block});
    };
    Value count = b.loop(b.index(0), chunks, 1, b.index(0), [&](Value i, ValueRange carried) {
      bound(i, carried[0]);
      Value first = b.mulIndex(i, chunk);
      Value last = b.minIndex(b.addIndex(first, chunk), rows);
      return b.loop(first, last, 1, carried, [&](Value row, ValueRange found) {
        // Stored in any case, and counted when the block is on; the next one that is takes the place otherwise.
        Value number = arith::IndexCastOp::create(b, b.getI32Type(), row);
        memref::StoreOp::create(b, number, list, ValueRange{b.addIndex(base, found[0])});
        Value isOn = arith::CmpFOp::create(b, arith::CmpFPredicate::UNE, b.loadScalar(gate, {row, block}), zero);
        Value more = arith::IndexCastUIOp::create(b, b.getIndexType(), isOn);
        return SmallVector<Value>{b.addIndex(found[0], more)};
      });
    })[0];
    bound(chunks, count);
  });
}

const Family x86::kGroupTokens = {describeGroupTokens, buildGroupTokens};

//===----------------------------------------------------------------------===//
// vit.grouped_linear
//===----------------------------------------------------------------------===//

static std::optional<MicroTile> groupedTile(KernelFrame &frame) {
  auto linear = cast<vit::GroupedLinearOp>(frame.op);
  Type x = linear.getInput().getType().getElementType(), w = linear.getWeight().getType().getElementType();
  int64_t n = linear.getWeight().getType().getDimSize(0), k = linear.getWeight().getType().getDimSize(1);
  bool columns = linear.getAxis() == vit::GroupedAxis::Columns;
  std::string numeric;
  auto activations = storageType(x, numeric);
  if (!activations || *activations == DType::I32) {
    frame.fail("activations of element type " + typeText(x));
    return std::nullopt;
  }
  MicroTile micro{chooseMicroKernel(frame.row, *activations, w), {}, frame.row.lanes};
  if (micro.codes() && k >= 1 << 16) {
    frame.fail("a sum over " + std::to_string(k) + " products of codes, which 32 bits may not hold");
    return std::nullopt;
  }
  int64_t block = linear.getBlock();
  auto tile = chooseLinearTile(n, linear.getGroup(), frame.row.lanes, frame.row.registers,
                               k * int64_t(dtypeBits(micro.panelType())) / 8, columns ? block : 0);
  if (!tile)
    frame.fail("blocks of " + std::to_string(block) + " columns, which no panel of whole groups divides");
  else if (!columns && block % micro.depth())
    frame.fail("blocks of " + std::to_string(block) + " steps of K, which are not whole steps of " + std::to_string(micro.depth()));
  else if (!columns && int64_t(linear.getChunk()) * tile->vectors * micro.lanes * 4 > kSumsBytes)
    frame.fail("chunks of " + std::to_string(linear.getChunk()) + " rows, whose sums the stack does not hold");
  if (!frame.reason.empty())
    return std::nullopt;
  micro.tile = *tile;
  frame.fail(EpilogueEmitter::whyUnsupported(frame.op, micro.width(), frame.row.lanes));
  return micro;
}

static void describeGroupedLinear(KernelFrame &frame) {
  auto linear = cast<vit::GroupedLinearOp>(frame.op);
  if (!isWeight(linear.getWeight()))
    return frame.fail("a second factor that is no weight of the module");
  std::optional<MicroTile> micro = groupedTile(frame);
  if (!micro)
    return;
  bool columns = linear.getAxis() == vit::GroupedAxis::Columns;
  auto w = linear.getWeight().getType();
  frame.usePanels(linear.getWeightMutable().getOperandNumber(), micro->width(), micro->depth(), micro->panelType());
  for (OpOperand *operand : {&linear.getInputMutable(), &linear.getRowsMutable(), &linear.getStartsMutable()})
    frame.use(operand->getOperandNumber());
  frame.useEpilogue();
  frame.useResults();
  int64_t panels = llvm::divideCeil(w.getDimSize(0), micro->width());
  PlanExpr rows = frame.operandDim(linear.getInputMutable().getOperandNumber(), 0);
  PlanExpr chunks = PlanExpr::binary(PlanExpr::Kind::CeilDiv, rows, PlanExpr(int64_t(linear.getChunk())));
  std::string precision = micro->codes() ? "int8" : micro->kind == MicroKernel::DotBF16 ? "bf16" : "f32";
  frame.finish(("grouped_" + Twine(columns ? "columns_" : "depth_") + precision + "_n" + Twine(w.getDimSize(0)) + "_k" +
                Twine(w.getDimSize(1)) + "_b" + Twine(linear.getBlock()))
                   .str(),
               "linear", precision, PlanExpr::binary(PlanExpr::Kind::Mul, chunks, PlanExpr(panels)));
  frame.spec.panels = panels;
}

namespace {
/// What the parts of one kernel share.
struct Grouped {
  KernelFrame &frame;
  LaneBuilder &b;
  vit::GroupedLinearOp linear;
  MicroTile micro;
  Value a, list, starts, panels, rows;

  Value entry(Value c, Value block) { return b.loadIndex(starts, {c, block}); }

  /// Sums (or what was in `init`) plus A's rows [k, k + steps * depth) times the panel's steps from `step` on.
  SmallVector<Value> product(ArrayRef<Value> rowOf, Value k, Value steps, Value panel, Value step, ValueRange init) {
    auto loadA = [&](int64_t i, Value s) {
      return loadRowStep(b, micro, a, rowOf[i], b.addIndex(k, b.mulIndex(s, micro.depth())), micro.depth());
    };
    auto loadB = [&](int64_t j, Value s) { return loadPanelStep(b, micro, panels, panel, b.addIndex(step, s), j); };
    return emitProduct(b, micro.kind, init.size() / micro.tile.vectors, micro.tile.vectors, steps, init, loadA, loadB);
  }

  /// Tiles of the entries [from, to) of the list that starts at `base`.
  void forTiles(Value base, Value from, Value to, llvm::function_ref<void(Value count, Value at)> whole,
                llvm::function_ref<void(ArrayRef<Value> rowOf)> body) {
    b.loop(from, to, micro.tile.rows, [&](Value t) {
      Value at = b.addIndex(base, t), count = b.minIndex(b.index(micro.tile.rows), b.subIndex(to, t));
      forRowCount(b, count, micro.tile.rows, [&](int64_t height) {
        SmallVector<Value> rowOf;
        for (int64_t i = 0; i < height; ++i)
          rowOf.push_back(b.loadIndex(list, {b.addIndex(at, i)}));
        body(rowOf);
      });
      if (whole)
        whole(count, at);
    });
  }

  void columns(Value panel, Value chunk);
  void depth(Value panel, Value chunk, Value sums, Value shifts);
  void blockShifts(Value panel, Value firstStep, Value steps, Value shifts);
  Value scratch;
  EpilogueEmitter *epilogue;
};
} // namespace

void Grouped::columns(Value panel, Value chunk) {
  int64_t width = micro.width(), k = linear.getWeight().getType().getDimSize(1), vectors = micro.tile.vectors;
  Value block = b.divIndex(panel, linear.getBlock() / width), firstColumn = b.mulIndex(panel, width);
  Value base = arith::MulIOp::create(b, block, rows);
  auto tile = [&](ArrayRef<Value> rowOf) {
    SmallVector<Value> acc;
    if (micro.codes())
      acc = panelSums(b, micro, rowOf.size(), panels, panel);
    else
      acc.assign(rowOf.size() * vectors, b.splat(0.0f));
    acc = product(rowOf, b.index(0), b.index(k / micro.depth()), panel, b.index(0), acc);
    if (int64_t rest = k % micro.depth()) {
      Value last = b.index(k / micro.depth());
      for (auto [i, row] : llvm::enumerate(rowOf)) {
        Value x = loadRowStep(b, micro, a, row, b.index(k - rest), rest);
        for (int64_t j = 0; j < vectors; ++j)
          acc[i * vectors + j] =
              multiplyAdd(b, micro.kind, acc[i * vectors + j], x, loadPanelStep(b, micro, panels, panel, last, j));
      }
    }
    for (auto [i, sum] : llvm::enumerate(acc))
      b.store(sum, scratch, {b.index(i / vectors), b.index(i % vectors * b.lanes)}, b.lanes);
  };
  auto finish = [&](Value count, Value at) {
    separately(b, "epilogue", [&] {
      b.loop(b.index(0), count, 1, [&](Value i) {
        Value row = b.loadIndex(list, {b.addIndex(at, i)});
        epilogue->emitSpan(row, firstColumn, width, [&](Value column, unsigned) {
          return b.load(scratch, {i, b.subIndex(column, firstColumn)});
        });
      });
    });
  };
  forTiles(base, entry(chunk, block), entry(b.addIndex(chunk, 1), block), finish, tile);
}

/// Bytes of codes are codes plus 128: what that adds over a block's steps is taken off before. A row of 128s finds it.
void Grouped::blockShifts(Value panel, Value firstStep, Value steps, Value shifts) {
  int64_t vectors = micro.tile.vectors;
  SmallVector<Value> acc(vectors, b.splatI32(0));
  auto loadA = [&](int64_t, Value) { return codesOfZero(b, micro); };
  auto loadB = [&](int64_t j, Value s) { return loadPanelStep(b, micro, panels, panel, b.addIndex(firstStep, s), j); };
  acc = emitProduct(b, micro.kind, 1, vectors, steps, acc, loadA, loadB);
  for (int64_t j = 0; j < vectors; ++j)
    vector::StoreOp::create(b, Value(arith::SubIOp::create(b, b.splatI32(0), acc[j])), shifts, ValueRange{b.index(j * b.lanes)});
}

void Grouped::depth(Value panel, Value chunk, Value sums, Value shifts) {
  int64_t width = micro.width(), vectors = micro.tile.vectors, n = linear.getWeight().getType().getDimSize(0);
  bool codes = micro.codes();
  VectorType sumType = codes ? b.i32Lanes() : b.f32Lanes();
  Value first = b.mulIndex(chunk, linear.getChunk());
  Value last = b.minIndex(b.addIndex(first, linear.getChunk()), rows);
  Value height = b.subIndex(last, first), steps = b.index(linear.getBlock() / micro.depth());
  Value zero = codes ? b.splatI32(0) : b.splat(0.0f);
  b.loop(b.index(0), height, 1, [&](Value i) {
    for (int64_t j = 0; j < vectors; ++j)
      vector::StoreOp::create(b, zero, sums, ValueRange{i, b.index(j * b.lanes)});
  });
  b.loop(b.index(0), b.index(linear.getBlocks()), 1, [&](Value block) {
    Value from = entry(chunk, block), to = entry(b.addIndex(chunk, 1), block);
    Value step = b.mulIndex(block, linear.getBlock() / micro.depth());
    if (codes)
      b.ifThen(arith::CmpIOp::create(b, arith::CmpIPredicate::ult, from, to), [&] { blockShifts(panel, step, steps, shifts); });
    forTiles(Value(arith::MulIOp::create(b, block, rows)), from, to, nullptr, [&](ArrayRef<Value> rowOf) {
      SmallVector<Value> acc;
      auto place = [&](size_t i) {
        return SmallVector<Value>{b.subIndex(rowOf[i / vectors], first), b.index(i % vectors * b.lanes)};
      };
      for (size_t i = 0; i < rowOf.size() * vectors; ++i) {
        Value sum = vector::LoadOp::create(b, sumType, sums, place(i));
        if (codes)
          sum = arith::AddIOp::create(b, sum, Value(vector::LoadOp::create(b, sumType, shifts, ValueRange{b.index(i % vectors * b.lanes)})));
        acc.push_back(sum);
      }
      acc = product(rowOf, b.mulIndex(block, linear.getBlock()), steps, panel, step, acc);
      for (auto [i, sum] : llvm::enumerate(acc))
        vector::StoreOp::create(b, sum, sums, place(i));
    });
  });
  Value firstColumn = b.mulIndex(panel, width);
  separately(b, "epilogue", [&] {
    b.loop(b.index(0), height, 1, [&](Value i) {
      auto emit = [&](int64_t span) {
        // Columns beyond N were computed with zeros: reading them is harmless.
        epilogue->emitSpan(b.addIndex(first, i), firstColumn, span, [&](Value column, unsigned) {
          return b.load(sums, {i, b.subIndex(column, firstColumn)});
        });
      };
      int64_t rest = n % width;
      if (rest == 0 || n < width)
        return emit(rest ? rest : width);
      Value isLast = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, panel, b.index(n / width));
      b.ifThen(isLast, [&] { emit(rest); }, [&] { emit(width); });
    });
  });
}

static void buildGroupedLinear(KernelFrame &frame, LaneBuilder &b) {
  auto linear = cast<vit::GroupedLinearOp>(frame.op);
  MicroTile micro = *groupedTile(frame);
  unsigned input = linear.getInputMutable().getOperandNumber();
  auto given = [&](OpOperand &operand) { return frame.operand(operand.getOperandNumber()); };
  Value rows = frame.dimValue(b, false, input, 0);
  Value chunks = b.ceilDivIndex(rows, linear.getChunk());
  EpilogueEmitter epilogue = frame.epilogue(b);
  Grouped grouped{frame, b, linear, micro, frame.operand(input), given(linear.getRowsMutable()), given(linear.getStartsMutable()),
                  given(linear.getWeightMutable()), rows, Value(), &epilogue};
  bool columns = linear.getAxis() == vit::GroupedAxis::Columns;
  Value sums, shifts;
  if (columns) {
    grouped.scratch = b.scratch({micro.tile.rows, micro.width()}, b.getF32Type());
  } else {
    sums = b.scratch({int64_t(linear.getChunk()), micro.width()}, micro.codes() ? Type(b.getI32Type()) : Type(b.getF32Type()));
    if (micro.codes())
      shifts = b.scratch({micro.width()}, b.getI32Type());
  }
  b.loop(frame.begin, frame.end, 1, [&](Value unit) {
    Value panel = arith::DivUIOp::create(b, unit, chunks), chunk = arith::RemUIOp::create(b, unit, chunks);
    if (columns)
      grouped.columns(panel, chunk);
    else
      grouped.depth(panel, chunk, sums, shifts);
  });
}

const Family x86::kGroupedLinear = {describeGroupedLinear, buildGroupedLinear};
