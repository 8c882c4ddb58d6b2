//===- LinearTiles.h - which tile a linear takes: candidates, their cost, ranges of rows -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The launch model is the cost: for a shape and a chip every candidate's work is computed and estimated. A range of rows
// gets the candidate that loses least against the best one of each of its sample sizes, on the chips that count.
//===----------------------------------------------------------------------===//
#pragma once

#include "LinearTile.h"

#include "vitrify/GpuModel/LaunchModel.h"
#include "vitrify/Target/KnownTargets.h"

#include "mlir/IR/Operation.h"

#include <cstdint>
#include <span>
#include <vector>

namespace vitrify::nvptx {

/// What the cost of a linear depends on.
struct LinearProblem {
  MatrixType type = MatrixType::F8E4M3;
  int64_t columns = 0, depth = 0;      ///< N and K
  double epilogueInstructions = 4;     ///< for an output
  double epilogueMufu = 0;             ///< special functions for an output
  double epilogueBytes = 2;            ///< read and written for an output
  int64_t promoteDepth = 0;            ///< as in LinearKernel
  bool f16Sums = false;
  bool maySplit = true;                ///< parts of K may be summed apart
  int64_t within = 0;                  ///< a tile's columns divide this; 0: any
};

/// A tile for up to so many rows.
struct LinearChoice {
  int64_t rowsMax = INT64_MAX;
  LinearTile tile;
};

/// The type of a product's operands, where tensor cores take it.
std::optional<MatrixType> matrixType(mlir::Type element);
/// The chips that tiles of a row's kernels are chosen for.
std::vector<const Chip *> chipsOf(const TargetRow &row);
/// Row counts that tiles should suit: those that the plan says can occur ("vit.rows"), else some of all sizes.
llvm::SmallVector<int64_t> sampleRows(mlir::Operation *op);
/// A tile as numbers, and back.
std::vector<int64_t> numbersOf(const LinearTile &tile);
LinearTile tileOf(llvm::ArrayRef<int64_t> numbers);

/// Registers of a thread, estimated: accumulators, fragments, addresses.
int registersOf(const LinearProblem &problem, const LinearTile &tile);
/// Whether the emitter has code for this tile and a chip like this runs it.
bool buildable(const LinearProblem &problem, const LinearTile &tile, const Chip &chip);
/// Every tile that the emitter can build for this problem on a chip like this.
std::vector<LinearTile> candidateTiles(const LinearProblem &problem, const Chip &chip);
/// The work of one launch with that many rows; of the product alone where K is split.
KernelLaunch launchOf(const LinearProblem &problem, const LinearTile &tile, int64_t rows);
/// Nanoseconds by the launch model, with the kernel that adds the parts of K where it is split.
double costOf(const LinearProblem &problem, const LinearTile &tile, int64_t rows, const Chip &chip);

/// Ranges of rows that cover [0, INT64_MAX], in order. `samples` are the row counts that the model is evaluated at;
/// at most `most` ranges are made, fewer where fewer lose less than 5 %. `bounded`: no more rows than the last sample
/// occur; only then can the last range split K, and it ends there.
std::vector<LinearChoice> chooseTiles(const LinearProblem &problem, std::span<const Chip *const> chips,
                                      std::span<const int64_t> samples, unsigned most, bool bounded = false);

} // namespace vitrify::nvptx
