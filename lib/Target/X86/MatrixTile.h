//===- MatrixTile.h - register tiles over packed panels -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#pragma once

#include "KernelFrame.h"

#include "vitrify/Kernel/TileTable.h"

namespace vitrify::x86 {

/// The inner loop of a product: how elements of A meet a panel.
struct MicroTile {
  MicroKernel kind = MicroKernel::FmaF32;
  RegisterTile tile{6, 4, 48};
  unsigned lanes = 16;
  bool codes() const { return kind == MicroKernel::DotI8 || kind == MicroKernel::MaddI16; }
  int64_t depth() const {
    return kind == MicroKernel::DotI8 ? 4 : kind == MicroKernel::DotBF16 || kind == MicroKernel::MaddI16 ? 2 : 1;
  }
  int64_t width() const { return tile.vectors * lanes; }
  DType panelType() const {
    return codes() ? DType::I8 : kind == MicroKernel::DotBF16 ? DType::BF16 : DType::F32;
  }
};

/// The micro-kernel for activations and weights as they are stored; bf16 products only where the row has them. Products of
/// codes are exact everywhere, with sums in i32 as long as K is below 2^16 (255 * 127 * 2^16 < 2^31).
MicroKernel chooseMicroKernel(const TargetRow &row, DType activations, mlir::Type weightElement);

/// Brings in the panel after the one that is computed, a part with each tile, each tile's next rows, and what its epilogue
/// will touch, so that no tile begins or ends with waiting for memory.
struct PanelPrefetch {
  mlir::Value flat;  ///< all panels as one sequence of elements
  mlir::Value chunk; ///< elements of a panel that one tile of rows brings in
  mlir::Value step;  ///< of these, with one step of K
  llvm::SmallVector<mlir::Value> tiles; ///< matrices of which the epilogue reads or writes this tile
};
/// For tiles over `rows` rows in all.
PanelPrefetch preparePrefetch(LaneBuilder &b, const MicroTile &micro, int64_t k, mlir::Value panels, mlir::Value rows);

/// Work that goes on beside a product: `items` pieces of it, each between some steps, so that the processor has instructions
/// for the units that multiply-adds leave idle.
struct Beside {
  int64_t items;
  llvm::function_ref<void(mlir::Value item)> emit;
};

/// The loop over K of a tile: `steps` times, every accumulator (row by row) gets the product of A's lanes for its row and
/// B's lanes for its vector. A short loop is better `unrolled`: its end is then foreseen.
llvm::SmallVector<mlir::Value>
emitProduct(LaneBuilder &b, MicroKernel kind, int64_t rows, int64_t vectors, mlir::Value steps, mlir::ValueRange init,
            llvm::function_ref<mlir::Value(int64_t row, mlir::Value step)> loadA,
            llvm::function_ref<mlir::Value(int64_t vector, mlir::Value step)> loadB,
            llvm::function_ref<void(mlir::Value step)> each = nullptr, const Beside *beside = nullptr,
            int64_t unrolled = 1);
/// A pair of bf16 at [row, k] and [row, k + 1] in every 32-bit lane; `single` leaves the second 0.
mlir::Value broadcastPair(LaneBuilder &b, mlir::Value a, mlir::Value row, mlir::Value k, bool single);

/// One step of a panel: the lanes of B for a vector of columns.
mlir::Value loadPanelStep(LaneBuilder &b, const MicroTile &micro, mlir::Value panels, mlir::Value panel, mlir::Value step,
                          int64_t vector);
/// One step of a row of A in all lanes: `elements` from `column` on, those up to the micro-kernel's depth being 0.
mlir::Value loadRowStep(LaneBuilder &b, const MicroTile &micro, mlir::Value a, mlir::Value row, mlir::Value column,
                        int64_t elements);

/// acc + a . b in each lane.
mlir::Value multiplyAdd(LaneBuilder &b, MicroKernel kind, mlir::Value acc, mlir::Value x, mlir::Value y);
/// What the accumulators of `rows` rows start with: 0, or what a panel of codes begins with.
llvm::SmallVector<mlir::Value> panelSums(LaneBuilder &b, const MicroTile &micro, int64_t rows, mlir::Value panels,
                                         mlir::Value panel);
/// What memory holds for codes of 0, as a product of codes takes a row's step.
mlir::Value codesOfZero(LaneBuilder &b, const MicroTile &micro);

/// `rows` x vectors accumulators (f32, or i32 of codes) of A[aRow.., aColumn + 0..K) times panel `panel` of B. `widened` are
/// the same rows of A in 16 bits, and `widenedPanel` the panel's steps, where products take them so.
llvm::SmallVector<mlir::Value> emitTile(LaneBuilder &b, const MicroTile &micro, int64_t rows, mlir::Value a,
                                        mlir::Value aRow, mlir::Value aColumn, int64_t k, mlir::Value panels,
                                        mlir::Value panel, const PanelPrefetch *prefetch = nullptr,
                                        const Beside *beside = nullptr, mlir::Value widened = {},
                                        mlir::Value widenedPanel = {});

/// The body for `count` rows, 1 to `most`: one of static heights, chosen here and not in a loop inside.
void forRowCount(LaneBuilder &b, mlir::Value count, int64_t most, llvm::function_ref<void(int64_t rows)> body);

/// Fills the scratch for `rows` rows from result row `m` on, in place of emitTile().
using TileBody = llvm::function_ref<void(int64_t rows, mlir::Value m)>;

/// Tiles one after the other, each through the epilogue into the results while the next one's products are made: the
/// epilogue of whole tiles is spread over the loop of the tile that follows.
class TilePipeline {
public:
  /// `columns` of the result.
  TilePipeline(LaneBuilder &b, const MicroTile &micro, int64_t k, mlir::Value panels, int64_t columns,
               EpilogueEmitter &epilogue, const PanelPrefetch *prefetch = nullptr);
  /// Rows [first, last) of one panel's columns. A's row for result row m is m - aOrigin.
  void emitRows(mlir::Value a, mlir::Value aOrigin, mlir::Value panel, mlir::Value first, mlir::Value last);
  /// The epilogue of the last tile; nothing may be emitted after it.
  void finish();

private:
  void widenPanel(mlir::Value panel);
  void widen(mlir::Value a, mlir::Value aRow, mlir::Value count);
  void emitItem(mlir::Value item);
  void flush();

  LaneBuilder &b;
  const MicroTile micro;
  int64_t k, columns, items;
  mlir::Value panels, scratch, widened, widenedPanel, widenedIndex;
  mlir::Value pending; ///< [rows, first row, panel] of the tile in scratch
  EpilogueEmitter &epilogue;
  const PanelPrefetch *prefetch;
};

/// Rows [first, last) of one panel's columns, tile after tile through the epilogue into the results. `tile` fills
/// `scratch`, [tile.rows, width] of f32.
void emitPanelRows(LaneBuilder &b, const MicroTile &micro, mlir::Value panel, int64_t columns, mlir::Value first,
                   mlir::Value last, mlir::Value scratch, EpilogueEmitter &epilogue, TileBody tile);

} // namespace vitrify::x86
