//===- AttentionMmaSync.cpp - flash attention on 16-bit mma.sync -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A block of four warps has 64 query rows of one head and segment, 16 a warp; queries stay in registers. Keys and values
// come in tiles of 64 rows through a two-stage cp.async pipeline. A tile is worked off 16 keys at a time, and keys past
// the segment's end are skipped by 16, so 197 tokens cost 208 x 208. Softmax is kept online in base 2.
//
// Rows in shared memory are an odd number of 16-byte chunks long, which is what lets the eight rows of an ldmatrix tile
// fall into different banks without a swizzle, for any head dimension.
// Source of the scheme: Dao, FlashAttention-2, 2023.
//===----------------------------------------------------------------------===//
#include "Family.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

constexpr int kWarps = 4, kRows = 16 * kWarps, kKeys = 64, kStages = 2;
constexpr float kLog2E = 1.44269504088896f;
constexpr float kMasked = -1.0e30f; // far below any score, far above the end of f32

int paddedHead(int64_t head) { return (head + 15) / 16 * 16; }
/// Bytes of a row in shared memory: the padded head, made an odd number of chunks.
int rowBytes(int64_t head) { return (paddedHead(head) * 2 / 16 | 1) * 16; }
int tileBytes(int64_t head) { return kKeys * rowBytes(head); }

bool supports(Operation *operation, const TargetRow &, std::string &reason) {
  auto op = cast<vit::AttentionOp>(operation);
  Type element = op.getQuery().getType().getElementType();
  if (!element.isF16() && !element.isBF16()) {
    llvm::raw_string_ostream(reason) << "attention on " << element;
    return false;
  }
  if (op.getKey().getType().getElementType() != element || op.getValue().getType().getElementType() != element) {
    reason = "attention on operands of different types";
    return false;
  }
  int64_t head = op.getHeadDim();
  if (head > 128 || head % 8 != 0) {
    reason = "a head dimension of " + std::to_string(head) + " (multiples of 8 up to 128)";
    return false;
  }
  auto args = argumentsOf(op, reason);
  if (failed(args))
    return false;
  for (unsigned i : {0u, 1u, 2u})
    if (args->rowStride[i] % 8 != 0) {
      reason = "rows of q, k and v that are no multiple of 16 bytes";
      return false;
    }
  if (!op.getUniform() && !op.getCuSeqlensQ()) {
    reason = "attention without segments";
    return false;
  }
  if (op.getGroup() > 1) {
    reason = "an epilogue over groups of columns";
    return false;
  }
  return supportsEpilogue(op, reason);
}

std::vector<KernelSpec> specs(Operation *operation, const TargetRow &row) {
  auto op = cast<vit::AttentionOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  KernelSpec spec;
  spec.key = std::string(row.name) + " " + keyOf(op, args);
  spec.precision = op.getQuery().getType().getElementType().isF16() ? "f16" : "bf16";
  spec.name = kernelName("attention_" + spec.precision + "_" + std::to_string(op.getHeadDim()), spec.key);
  spec.layerKind = "attention";
  spec.operands = args.operands;
  spec.scalars = {{false, 0, 0}, {false, 1, 0}};
  using K = PlanExpr::Kind;
  PlanExpr rows = PlanExpr::symbol(0);
  if (op.getUniform()) {
    int64_t q = *op.getUniform();
    int64_t blocks = (q + kRows - 1) / kRows;
    // A shared query (probe) has one segment's rows; the segments are those of the keys.
    bool probe = op.getQuery().getType().getDimSize(0) == q && op.getKvUniform();
    PlanExpr segments = probe ? PlanExpr::binary(K::FloorDiv, PlanExpr::symbol(1), PlanExpr(int64_t(*op.getKvUniform())))
                              : PlanExpr::binary(K::FloorDiv, rows, PlanExpr(q));
    spec.grid[0] = PlanExpr::binary(K::Mul, segments, PlanExpr(blocks));
    // Rows and keys are worked off 16 at a time; every head has blocks of its own.
    int64_t keys = op.getKvUniform().value_or(q), head = op.getHeadDim();
    if (!probe && !op.getCausal()) {
      spec.facts["macs_per_row"] = 2 * int64_t(op.getHeads()) * keys * head;
      spec.facts["block_macs"] = 2 * ((q + 15) / 16 * 16) * ((keys + 15) / 16 * 16) * paddedHead(head) / blocks;
      spec.facts["block_copy_bytes"] = (2 * keys + std::min<int64_t>(kRows, q)) * head * 2;
    }
  } else {
    unsigned cu = op.getCuSeqlensQMutable().begin()->getOperandNumber();
    spec.scalars.push_back({false, cu, 0});
    // Every segment has at most floor(rows / 64) full blocks in sum, and one that is not full.
    spec.grid[0] = PlanExpr::binary(K::Add, PlanExpr::binary(K::FloorDiv, rows, PlanExpr(kRows)),
                                    PlanExpr::binary(K::Sub, PlanExpr::symbol(2), PlanExpr(1)));
  }
  spec.grid[1] = PlanExpr(int64_t(op.getHeads()));
  spec.block = 32 * kWarps;
  spec.sharedBytes = kStages * 2 * tileBytes(op.getHeadDim());
  spec.facts["stages"] = kStages;
  spec.facts["stage_bytes"] = 2 * tileBytes(op.getHeadDim());
  spec.dispatch = rows;
  return {spec};
}

class AttentionBuilder {
public:
  AttentionBuilder(GpuBuilder &g, vit::AttentionOp op, const Arguments &args, ValueRange scalars, ValueRange pointers)
      : g(g), op(op), args(args), scalars(scalars), pointers(pointers), head(op.getHeadDim()),
        bf16(op.getQuery().getType().getElementType().isBF16()) {}
  void build();

private:
  struct Softmax {
    std::array<Value, 2> maximum, sum; // of rows g and g + 8 of the warp's tile
    SmallVector<Value> output;         // by 8-column fragment: c0..c3
    SmallVector<Value> flat() const;
    static Softmax of(ValueRange values);
  };

  Value argument(Value operand, unsigned number) { return pointers[args.ofOperand[number]]; }
  void findSegment();
  void loadQuery();
  void issueTile(Value tile, Value stage);
  Softmax step(const Softmax &in, Value firstKey, Value keyOffset, Value stage);
  void mma(SmallVectorImpl<Value> &acc, unsigned at, ArrayRef<Value> a, Value b0, Value b1);
  Value visible(Value key, Value row);
  void store(const Softmax &state);
  void store(EpilogueEmitter &epilogue, Value row, Value column, ArrayRef<Value> values);

  GpuBuilder &g;
  vit::AttentionOp op;
  const Arguments &args;
  ValueRange scalars, pointers;
  int64_t head;
  bool bf16;

  Value shared, tid, lane, warp;
  Value headIndex;
  Value queryFirst, queryCount, queryBlock; // rows of the segment, and the block's first row in it
  Value keyFirst, keyCount;
  Value outputFirst;                        // where the segment's results start (a probe's differ from its queries)
  SmallVector<std::array<Value, 4>> query;  // A fragments by 16 columns
};

SmallVector<Value> AttentionBuilder::Softmax::flat() const {
  SmallVector<Value> all = {maximum[0], maximum[1], sum[0], sum[1]};
  all.append(output.begin(), output.end());
  return all;
}
AttentionBuilder::Softmax AttentionBuilder::Softmax::of(ValueRange v) {
  return {{v[0], v[1]}, {v[2], v[3]}, SmallVector<Value>(v.drop_front(4))};
}

void AttentionBuilder::findSegment() {
  Value block = g.blockX();
  if (op.getUniform()) {
    int64_t q = *op.getUniform(), k = op.getKvUniform().value_or(q);
    int64_t blocks = (q + kRows - 1) / kRows;
    Value segment = g.div(block, blocks);
    bool probe = op.getQuery().getType().getDimSize(0) == q && op.getKvUniform();
    outputFirst = g.mul(segment, q);
    queryFirst = probe ? g.c32(0) : outputFirst;
    queryCount = g.c32(q);
    queryBlock = g.mul(g.sub(block, g.mul(segment, blocks)), kRows);
    keyFirst = g.mul(segment, k);
    keyCount = g.c32(k);
    return;
  }
  // Walk over the segments until their blocks reach this one; past the last, the count is 0 and nothing is done.
  unsigned numberQ = op.getCuSeqlensQMutable().begin()->getOperandNumber();
  Value cu = pointers[args.ofOperand[numberQ]];
  Value segments = g.sub(g.trunc32(scalars[2]), g.c32(1));
  auto at = [&](Value table, Value i) { return g.load(g.i32(), g.gep(table, g.mul(g.zext64(i), 4)), 4); };
  auto loop = g.create<scf::ForOp>(g.c32(0), segments, g.c32(1), ValueRange{g.c32(0), g.c32(0), g.c32(-1)});
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value i = loop.getInductionVar();
    ValueRange state = loop.getRegionIterArgs(); // blocks so far, first row in the segment, segment
    Value length = g.sub(at(cu, g.add(i, 1)), at(cu, i));
    Value end = g.add(state[0], g.div(g.add(length, kRows - 1), kRows));
    Value here = g.andi(g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, block, state[0]).getResult(), g.slt(block, end));
    Value row = g.mul(g.sub(block, state[0]), kRows);
    g.create<scf::YieldOp>(ValueRange{end, g.select(here, row, state[1]), g.select(here, i, state[2])});
  }
  Value segment = loop.getResult(2);
  Value found = g.create<arith::CmpIOp>(arith::CmpIPredicate::sge, segment, g.c32(0));
  segment = g.smax(segment, g.c32(0));
  queryFirst = at(cu, segment);
  queryCount = g.select(found, g.sub(at(cu, g.add(segment, 1)), queryFirst), g.c32(0));
  queryBlock = loop.getResult(1);
  outputFirst = queryFirst;
  keyFirst = queryFirst;
  keyCount = queryCount;
  if (op.getCuSeqlensK()) {
    Value cuK = pointers[args.ofOperand[op.getCuSeqlensKMutable().begin()->getOperandNumber()]];
    keyFirst = at(cuK, segment);
    keyCount = g.select(found, g.sub(at(cuK, g.add(segment, 1)), keyFirst), g.c32(0));
  }
}

void AttentionBuilder::loadQuery() {
  Value row0 = g.add(g.add(queryBlock, g.mul(warp, 16)), g.shr(lane, 2));
  Value base = argument(op.getQuery(), 0);
  for (int k = 0; k < paddedHead(head); k += 16) {
    std::array<Value, 4> fragment;
    for (int r = 0; r < 4; ++r) {
      // a0: row g, columns 2t; a1: row g + 8; a2: row g, columns 2t + 8; a3: row g + 8.
      Value row = g.add(row0, (r & 1) * 8);
      int column = k + (r >> 1) * 8;
      if (column >= head) {
        fragment[r] = g.c32(0);
        continue;
      }
      Value inside = g.slt(row, queryCount);
      Value source = g.add(queryFirst, g.select(inside, row, g.c32(0)));
      Value element = g.add(g.mul(g.zext64(source), args.rowStride[0]),
                            g.zext64(g.add(g.add(g.mul(headIndex, head), g.mul(g.andi(lane, 3), 2)), column)));
      Value word = g.load(g.i32(), g.gep(base, g.mul(element, 2)), 4);
      fragment[r] = g.select(inside, word, g.c32(0));
    }
    query.push_back(fragment);
  }
}

void AttentionBuilder::issueTile(Value tile, Value stage) {
  int chunks = paddedHead(head) / 8; // of a row; those past the head are filled with zeros
  Value kvHead = g.div(headIndex, int64_t(op.getHeads() / op.getKvHeads()));
  Value stageBase = g.gep(shared, g.mul(stage, 2 * tileBytes(head)));
  for (int matrix = 0; matrix < 2; ++matrix) {
    Value base = argument(matrix == 0 ? Value(op.getKey()) : Value(op.getValue()), 1 + matrix);
    int64_t stride = args.rowStride[1 + matrix];
    int total = kKeys * chunks;
    for (int first = 0; first < total; first += 32 * kWarps) {
      Value chunk = g.add(tid, first);
      Value row = g.div(chunk, chunks), column = g.rem(chunk, chunks);
      auto copy = [&] {
        Value key = g.add(g.mul(tile, kKeys), row);
        Value inside = g.andi(g.slt(key, keyCount), g.slt(column, g.c32(head / 8)));
        Value source = g.add(keyFirst, g.select(inside, key, g.c32(0)));
        Value element = g.add(g.mul(g.zext64(source), stride),
                              g.zext64(g.add(g.mul(kvHead, head), g.mul(g.select(inside, column, g.c32(0)), 8))));
        Value target = g.gep(stageBase, g.add(g.add(g.mul(row, rowBytes(head)), g.mul(column, 16)), matrix * tileBytes(head)));
        g.cpAsync16(target, g.gep(base, g.mul(element, 2)), g.select(inside, g.c32(16), g.c32(0)));
      };
      if (first + 32 * kWarps <= total) {
        copy();
        continue;
      }
      auto ifOp = g.create<scf::IfOp>(g.slt(chunk, g.c32(total)), /*withElseRegion=*/false);
      OpBuilder::InsertionGuard guard(g.b);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
      copy();
    }
  }
}

void AttentionBuilder::mma(SmallVectorImpl<Value> &acc, unsigned at, ArrayRef<Value> a, Value b0, Value b1) {
  auto type = LLVM::LLVMStructType::getLiteral(g.b.getContext(), {g.f32(), g.f32(), g.f32(), g.f32()});
  SmallVector<Value> operands(a);
  operands.append({b0, b1});
  if (!bf16)
    for (Value &v : operands)
      v = g.create<LLVM::BitcastOp>(VectorType::get(2, g.b.getF16Type()), v);
  for (int r = 0; r < 4; ++r)
    operands.push_back(acc[at + r]);
  Value d = g.intrinsic(bf16 ? "llvm.nvvm.mma.m16n8k16.row.col.bf16" : "llvm.nvvm.mma.m16n8k16.row.col.f32.f32", type, operands);
  for (int r = 0; r < 4; ++r)
    acc[at + r] = g.extract(d, r);
}

/// Whether a query row sees a key (both counted in the segment).
Value AttentionBuilder::visible(Value key, Value row) {
  Value in = g.slt(key, keyCount);
  if (op.getCausal())
    in = g.andi(in, g.create<arith::CmpIOp>(arith::CmpIPredicate::sle, key, g.add(row, g.sub(keyCount, queryCount))).getResult());
  if (op.getKeyMask()) {
    unsigned number = op.getKeyMaskMutable().begin()->getOperandNumber();
    Value place = g.add(keyFirst, g.smin(key, g.sub(keyCount, g.c32(1))));
    Value mask = g.load(g.i32(), g.gep(pointers[args.ofOperand[number]], g.mul(g.zext64(place), 4)), 4);
    in = g.andi(in, g.create<arith::CmpIOp>(arith::CmpIPredicate::ne, mask, g.c32(0)).getResult());
  }
  return in;
}

AttentionBuilder::Softmax AttentionBuilder::step(const Softmax &in, Value firstKey, Value keyOffset, Value stage) {
  // Scores of 16 keys: two fragments.
  Value keys = g.gep(shared, g.add(g.mul(stage, 2 * tileBytes(head)), g.mul(keyOffset, rowBytes(head))));
  Value lane8 = g.andi(lane, 7), matrix = g.shr(lane, 3);
  // Matrices of k: (keys 0-7, columns 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
  Value keyRow = g.add(lane8, g.shl(g.shr(matrix, 1), 3));
  Value keyAt = g.add(g.mul(keyRow, rowBytes(head)), g.mul(g.andi(matrix, 1), 16));
  SmallVector<Value> scores(8, g.fconst(0.0f));
  for (int k = 0; k < paddedHead(head) / 16; ++k) {
    auto b = g.ldmatrix4(g.gep(g.gep(keys, keyAt), k * 32));
    mma(scores, 0, query[k], b[0], b[1]);
    mma(scores, 4, query[k], b[2], b[3]);
  }
  // Score c of fragment f: row g + 8 (c / 2), key 8 f + 2 t + c % 2.
  Value scale = g.fconst(static_cast<float>(op.getScale().convertToDouble()) * kLog2E);
  Value row0 = g.add(g.add(queryBlock, g.mul(warp, 16)), g.shr(lane, 2));
  Value key0 = g.add(firstKey, g.mul(g.andi(lane, 3), 2));
  Softmax out = in;
  for (int i = 0; i < 8; ++i) {
    Value key = g.add(key0, (i / 4) * 8 + i % 2);
    Value see = visible(key, g.add(row0, (i / 2 % 2) * 8));
    scores[i] = g.select(see, g.fmul(scores[i], scale), g.fconst(kMasked));
  }
  std::array<Value, 2> factor;
  for (int half = 0; half < 2; ++half) {
    Value best = in.maximum[half];
    for (int i : {0, 1, 4, 5})
      best = g.fmax(best, scores[i + half * 2]);
    best = g.fmax(best, g.shuffleXor(best, 1));
    best = g.fmax(best, g.shuffleXor(best, 2));
    factor[half] = g.exp2(g.fsub(in.maximum[half], best));
    Value sum = g.fmul(in.sum[half], factor[half]);
    for (int i : {0, 1, 4, 5}) {
      Value &s = scores[i + half * 2];
      // A masked score must not count when the maximum is a masked one too.
      Value p = g.exp2(g.fsub(s, best));
      s = g.select(g.create<arith::CmpFOp>(arith::CmpFPredicate::OGT, s, g.fconst(kMasked * 0.5f)).getResult(), p, g.fconst(0.0f));
      sum = g.fadd(sum, s);
    }
    out.maximum[half] = best;
    out.sum[half] = sum;
  }
  for (auto [i, o] : llvm::enumerate(out.output))
    o = g.fmul(o, factor[i / 2 % 2]);
  SmallVector<Value> p = {g.toHalf2(scores[0], scores[1], bf16), g.toHalf2(scores[2], scores[3], bf16),
                          g.toHalf2(scores[4], scores[5], bf16), g.toHalf2(scores[6], scores[7], bf16)};
  // Matrices of v, transposed: (keys 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  Value valueRow = g.add(lane8, g.shl(g.andi(matrix, 1), 3));
  Value valueAt = g.add(g.add(g.mul(valueRow, rowBytes(head)), g.mul(g.shr(matrix, 1), 16)), tileBytes(head));
  for (int d = 0; d < paddedHead(head) / 16; ++d) {
    auto b = g.ldmatrix4(g.gep(g.gep(keys, valueAt), d * 32), /*transpose=*/true);
    mma(out.output, d * 8, p, b[0], b[1]);
    mma(out.output, d * 8 + 4, p, b[2], b[3]);
  }
  return out;
}

void AttentionBuilder::store(EpilogueEmitter &epilogue, Value row, Value column, ArrayRef<Value> values) {
  epilogue.beginColumns(column);
  auto ifOp = g.create<scf::IfOp>(g.slt(row, queryCount), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(g.b);
  g.b.setInsertionPointToStart(ifOp.thenBlock());
  epilogue.emitRow(g.add(outputFirst, row), values);
}

void AttentionBuilder::store(const Softmax &state) {
  int64_t columns = op.getQuery().getType().getDimSize(1);
  EpilogueEmitter runs(g, op.getEpilogue(), 1, epilogueIns(op, args, pointers), epilogueResults(op, args, pointers), columns, 8);
  EpilogueEmitter pairs(g, op.getEpilogue(), 1, epilogueIns(op, args, pointers), epilogueResults(op, args, pointers), columns, 2);
  Value row0 = g.add(g.add(queryBlock, g.mul(warp, 16)), g.shr(lane, 2));
  Value column0 = g.mul(headIndex, head), t = g.andi(lane, 3);
  for (int half = 0; half < 2; ++half) {
    Value total = state.sum[half];
    total = g.fadd(total, g.shuffleXor(total, 1));
    total = g.fadd(total, g.shuffleXor(total, 2));
    // No key seen: the result is 0, not 0 / 0.
    Value none = g.create<arith::CmpFOp>(arith::CmpFPredicate::OEQ, total, g.fconst(0.0f));
    Value inverse = g.select(none, g.fconst(0.0f), g.rcp(total));
    Value row = g.add(row0, half * 8);
    int fragments = head / 8;
    auto value = [&](int fragment, int c) { return g.fmul(state.output[fragment * 4 + half * 2 + c], inverse); };
    int fragment = 0;
    for (; fragment + 4 <= fragments; fragment += 4) {
      // Thread t of four holds columns 2t, 2t + 1 of four fragments; after two exchanges it has fragment t whole.
      SmallVector<std::array<Value, 2>> v;
      for (int j = 0; j < 4; ++j)
        v.push_back({value(fragment + j, 0), value(fragment + j, 1)});
      for (int bit : {1, 2}) {
        Value odd = g.create<arith::CmpIOp>(arith::CmpIPredicate::ne, g.andi(t, bit), g.c32(0));
        for (int j = 0; j < 4; ++j) {
          if (j & bit)
            continue;
          for (int c = 0; c < 2; ++c) {
            Value low = v[j][c], high = v[j + bit][c];
            Value other = g.shuffleXor(g.select(odd, low, high), bit);
            v[j][c] = g.select(odd, other, low);
            v[j + bit][c] = g.select(odd, high, other);
          }
        }
      }
      SmallVector<Value> run;
      for (int j = 0; j < 4; ++j)
        run.append({v[j][0], v[j][1]});
      store(runs, row, g.add(g.add(column0, fragment * 8), g.mul(t, 8)), run);
    }
    for (; fragment < fragments; ++fragment)
      store(pairs, row, g.add(g.add(column0, fragment * 8), g.mul(t, 2)), {value(fragment, 0), value(fragment, 1)});
  }
}

void AttentionBuilder::build() {
  shared = g.dynamicShared();
  tid = g.threadX();
  lane = g.andi(tid, 31);
  warp = g.shr(tid, 5);
  headIndex = g.blockY();
  findSegment();
  loadQuery();

  Value lastKey = keyCount;
  if (op.getCausal()) // keys that the block's last row sees
    lastKey = g.smax(g.smin(keyCount, g.add(g.add(queryBlock, kRows), g.sub(keyCount, queryCount))), g.c32(0));
  lastKey = g.select(g.slt(queryBlock, queryCount), lastKey, g.c32(0));
  Value tiles = g.div(g.add(lastKey, kKeys - 1), kKeys);
  auto first = g.create<scf::IfOp>(g.slt(g.c32(0), tiles), /*withElseRegion=*/false);
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(first.thenBlock());
    issueTile(g.c32(0), g.c32(0));
  }
  g.cpAsyncCommit();

  Softmax start;
  start.maximum = {g.fconst(kMasked), g.fconst(kMasked)};
  start.sum = {g.fconst(0.0f), g.fconst(0.0f)};
  start.output.assign(paddedHead(head) / 8 * 4, g.fconst(0.0f));
  // A warp whose 16 rows lie past the segment's end only helps to load.
  Value warpWorks = g.slt(g.add(queryBlock, g.mul(warp, 16)), queryCount);
  auto loop = g.create<scf::ForOp>(g.c32(0), tiles, g.c32(1), start.flat());
  {
    OpBuilder::InsertionGuard guard(g.b);
    g.b.setInsertionPointToStart(loop.getBody());
    Value tile = loop.getInductionVar(), stage = g.andi(tile, 1);
    // The tile has landed and every warp is done with the one before it.
    g.cpAsyncWait(0);
    g.barrier();
    Value next = g.add(tile, 1);
    auto more = g.create<scf::IfOp>(g.slt(next, tiles), /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(more.thenBlock());
      issueTile(next, g.andi(next, 1));
    }
    g.cpAsyncCommit();
    Softmax state = Softmax::of(loop.getRegionIterArgs());
    for (int offset = 0; offset < kKeys; offset += 16) {
      Value key = g.add(g.mul(tile, kKeys), offset);
      Value work = g.andi(warpWorks, g.slt(key, lastKey));
      SmallVector<Value> before = state.flat();
      auto ifOp = g.create<scf::IfOp>(ValueRange(before).getTypes(), work, /*withElseRegion=*/true);
      OpBuilder::InsertionGuard inner(g.b);
      g.b.setInsertionPointToStart(ifOp.thenBlock());
      g.create<scf::YieldOp>(step(state, key, g.c32(offset), stage).flat());
      g.b.setInsertionPointToStart(ifOp.elseBlock());
      g.create<scf::YieldOp>(before);
      state = Softmax::of(ifOp.getResults());
    }
    g.create<scf::YieldOp>(state.flat());
  }
  store(Softmax::of(loop.getResults()));
}

void build(GpuBuilder &g, Operation *operation, const KernelSpec &spec, const TargetRow &, ValueRange arguments) {
  auto op = cast<vit::AttentionOp>(operation);
  std::string reason;
  Arguments args = *argumentsOf(op, reason);
  size_t scalars = spec.scalars.size();
  AttentionBuilder(g, op, args, arguments.take_front(scalars), arguments.drop_front(scalars)).build();
}

} // namespace

const Family nvptx::kAttentionFamily = {[](Operation *op) { return isa<vit::AttentionOp>(op); }, supports, specs, build};
