//===- LinearTiles.cpp - which tile a linear takes: candidates, their cost, ranges of rows -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "LinearTiles.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace vitrify;
using namespace vitrify::nvptx;

namespace {

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int elementBytes(const LinearProblem &p) { return p.type == MatrixType::F8E4M3 ? 1 : 2; }

/// Warps side by side: along rows, along columns.
constexpr std::pair<int, int> kWarps[] = {{1, 1}, {1, 2}, {2, 1}, {1, 3}, {3, 1}, {1, 4}, {2, 2}, {4, 1}, {1, 5}, {5, 1}, {8, 1}, {7, 1}, {6, 1}, {1, 7},
                                          {2, 3}, {3, 2}, {1, 6}, {2, 4}, {4, 2}, {1, 8}};

/// What a nanosecond that memory hides counts for when tiles are compared.
constexpr double kBusyShare = 0.05;
/// Room for the parts of K at most: what does not stay in L2 costs more than it saves.
constexpr double kMaxPartBytes = 16 << 20;

/// The kernel that adds the parts of K and applies the epilogue: a thread for eight columns of a row.
KernelLaunch reduceLaunch(const LinearProblem &p, int split, int64_t rows) {
  KernelLaunch launch;
  double outputs = double(rows) * p.columns;
  launch.blocks = std::ceil(outputs / kLinearRun / 128);
  launch.threadsPerBlock = 128;
  launch.registersPerThread = 48;
  double perBlock = 128.0 * kLinearRun;
  launch.loop.warpInstructions = perBlock / 32 * (1.5 * split + p.epilogueInstructions + 4);
  launch.loop.mufuInstructions = perBlock / 32 * p.epilogueMufu;
  launch.loop.l2Bytes = perBlock * (4.0 * split + p.epilogueBytes);
  return launch;
}

} // namespace

std::optional<MatrixType> nvptx::matrixType(mlir::Type element) {
  if (mlir::isa<mlir::Float8E4M3FNType>(element)) return MatrixType::F8E4M3;
  if (element.isF16()) return MatrixType::F16;
  if (element.isBF16()) return MatrixType::BF16;
  return std::nullopt;
}

std::vector<const Chip *> nvptx::chipsOf(const TargetRow &row) {
  std::vector<const Chip *> all;
  for (const Chip &chip : chips())
    if (chip.target == row.name && (row.tune.empty() || row.tune == chip.name))
      all.push_back(&chip);
  return all;
}

llvm::SmallVector<int64_t> nvptx::sampleRows(mlir::Operation *op) {
  static constexpr int64_t kSampleRows[] = {1,   8,   16,   32,   48,   64,   96,   128,  197,  256,  394,   512,
                                            788, 1024, 1576, 2048, 3152, 4096, 6304, 8192, 12608, 16384};
  if (auto rows = op->getAttrOfType<mlir::DenseI64ArrayAttr>("vit.rows"))
    return llvm::SmallVector<int64_t>(rows.asArrayRef());
  return {std::begin(kSampleRows), std::end(kSampleRows)};
}

std::vector<int64_t> nvptx::numbersOf(const LinearTile &t) {
  return {t.rows, t.columns, t.depthBytes, t.stages, t.warpRows, t.warpColumns, t.swapped, t.split};
}
LinearTile nvptx::tileOf(llvm::ArrayRef<int64_t> v) {
  return {int(v[0]), int(v[1]), int(v[2]), int(v[3]), int(v[4]), int(v[5]), v[6] != 0, int(v[7])};
}

std::string LinearTile::name() const {
  std::string s = std::to_string(rows) + "x" + std::to_string(columns) + "x" + std::to_string(depthBytes) + "s" +
                  std::to_string(stages) + "w" + std::to_string(warpRows) + std::to_string(warpColumns);
  if (swapped)
    s += "t";
  if (split > 1)
    s += "k" + std::to_string(split);
  return s;
}

int nvptx::registersOf(const LinearProblem &p, const LinearTile &t) {
  int wide = (t.swapped ? t.warpTileColumns() : t.warpTileRows()) / 16;
  int copies = int(ceilDiv(t.rows, t.rowsPerCopy()) + ceilDiv(t.columns, t.rowsPerCopy()));
  int parts = p.promoteDepth ? t.accumulators() / (p.f16Sums ? 2 : 1) + 8 : 0;
  return t.accumulators() + parts + 4 * wide + 8 + 30 + copies;
}

bool nvptx::buildable(const LinearProblem &p, const LinearTile &t, const Chip &chip) {
  // A block of K that is promoted lies inside a stage.
  int64_t promoted = p.promoteDepth * elementBytes(p);
  return t.rows >= 8 && t.columns >= 32 && t.rows <= 256 && t.columns <= 256 && t.warpRows > 0 && t.warpColumns > 0 &&
         t.threads() <= 256 && (t.depthBytes == 64 || t.depthBytes == 128) && (!promoted || t.depthBytes % promoted == 0) &&
         t.valid() && t.accumulators() <= 176 && registersOf(p, t) <= 240 && t.sharedBytes() <= chip.sharedPerBlockOptin &&
         t.split >= 1 && (t.split == 1 || p.maySplit) && (!p.within || p.within % t.columns == 0);
}

std::vector<LinearTile> nvptx::candidateTiles(const LinearProblem &p, const Chip &chip) {
  std::vector<LinearTile> all;
  int64_t depthBytes = p.depth * elementBytes(p);
  for (bool swapped : {false, true})
    for (int depth : {64, 128}) {
      for (auto [warpRows, warpColumns] : kWarps)
        for (int rowUnits = 1; rowUnits <= 16; ++rowUnits)
          for (int columnUnits = 1; columnUnits <= 4; ++columnUnits) {
            LinearTile t;
            t.swapped = swapped;
            t.depthBytes = depth;
            t.warpRows = warpRows;
            t.warpColumns = warpColumns;
            t.rows = rowUnits * (swapped ? 8 : 16) * warpRows;
            t.columns = columnUnits * (swapped ? 64 : 32) * warpColumns;
            for (int stages : {3, 4, 6}) {
              t.stages = stages;
              t.split = 1;
              if (!buildable(p, t, chip) || (stages > 4 && t.rows > 32))
                continue;
              for (int split : {1, 2, 3, 4, 6, 8, 12}) {
                t.split = split;
                // Each part keeps its pipeline busy for a few stages.
                if (split > 1 && (!p.maySplit || depthBytes / split < 4 * depth))
                  break;
                all.push_back(t);
              }
            }
          }
    }
  return all;
}

KernelLaunch nvptx::launchOf(const LinearProblem &p, const LinearTile &t, int64_t rows) {
  KernelLaunch launch;
  int64_t rowTiles = ceilDiv(rows, t.rows), columnTiles = ceilDiv(p.columns, t.columns);
  launch.blocks = double(rowTiles * columnTiles * t.split);
  launch.threadsPerBlock = t.threads();
  launch.registersPerThread = std::min(registersOf(p, t), 255);
  launch.sharedBytesPerBlock = t.sharedBytes();
  launch.stages = t.stages;
  launch.stageBytes = t.stageBytes();
  launch.usefulMacs = double(rows) * p.columns * p.depth;
  // Weights come from memory whatever the launches before left in L2.
  launch.dramBytes = double(p.columns) * p.depth * elementBytes(p);

  double stages = double(ceilDiv(ceilDiv(p.depth * elementBytes(p), t.depthBytes), t.split));
  double steps = stages * t.depthBytes / 32, warps = t.threads() / 32;
  int wide = (t.swapped ? t.warpTileColumns() : t.warpTileRows()) / 16;
  int narrow = (t.swapped ? t.warpTileRows() : t.warpTileColumns()) / 8;
  double macs = steps * (32.0 / elementBytes(p)) * t.rows * t.columns;
  (p.type == MatrixType::F8E4M3 ? (p.f16Sums ? launch.loop.macs.f8AccF16 : launch.loop.macs.f8) : launch.loop.macs.f16) = macs;
  double loads = wide + narrow / 2.0;
  double copies = double(t.stageBytes()) / 16 / t.threads();
  double promotions = p.promoteDepth ? t.accumulators() * (p.f16Sums ? 2.0 : 1.0) * t.depthBytes / (p.promoteDepth * elementBytes(p)) : 0;
  launch.loop.warpInstructions =
      warps * (steps * (wide * narrow + loads) + stages * (copies + 20 + t.depthBytes / 32 + promotions));
  launch.loop.sharedWavefronts = warps * steps * (wide * 4 + narrow * 2) + stages * t.stageBytes() / 128.0;
  // Rows past the end are not read.
  double rowsRead = double(rows) / rowTiles, columnsRead = double(p.columns) / columnTiles;
  launch.loop.l2Bytes = (rowsRead + columnsRead) * stages * t.depthBytes;

  double outputs = double(t.rows) * t.columns;
  double instructions = t.split > 1 ? 1 : p.epilogueInstructions, bytes = t.split > 1 ? 4 : p.epilogueBytes;
  launch.epilogue.warpInstructions = outputs / 32 * instructions;
  launch.epilogue.mufuInstructions = t.split > 1 ? 0 : outputs / 32 * p.epilogueMufu;
  launch.epilogue.l2Bytes = rowsRead * columnsRead * bytes;
  return launch;
}

double nvptx::costOf(const LinearProblem &p, const LinearTile &t, int64_t rows, const Chip &chip) {
  LaunchEstimate e = estimateLaunch(launchOf(p, t, rows), chip);
  if (e.residentPerSM == 0 || (t.split > 1 && 4.0 * t.split * rows * p.columns > kMaxPartBytes))
    return std::numeric_limits<double>::infinity();
  // Of tiles that wait for the same, the one that does less: memory costs every tile the same, and would hide what tells them apart.
  double busy = (e.fillCycles + e.loopCycles + e.exposedEpilogueCycles) * 1e6 / chip.clockKHz;
  double nanoseconds = (e.nanoseconds + kBusyShare * busy) / (1 + kBusyShare) + 1e-3 * e.nanoseconds * (1 - e.usefulShare);
  if (t.split == 1)
    return nanoseconds;
  return nanoseconds + estimateLaunch(reduceLaunch(p, t.split, rows), chip).nanoseconds + chip.launchOverheadNs;
}

std::vector<LinearChoice> nvptx::chooseTiles(const LinearProblem &p, std::span<const Chip *const> chips,
                                             std::span<const int64_t> samples, unsigned most, bool bounded) {
  std::vector<LinearTile> tiles = candidateTiles(p, *chips.front());
  size_t n = samples.size();
  // loss[t][i]: how much longer a launch takes than with the best tile, as a share, on the chip where that is worst.
  std::vector<std::vector<double>> loss(tiles.size(), std::vector<double>(n, 0));
  for (const Chip *chip : chips)
    for (size_t i = 0; i < n; ++i) {
      std::vector<double> costs;
      for (const LinearTile &t : tiles)
        costs.push_back(costOf(p, t, samples[i], *chip));
      double best = *std::ranges::min_element(costs);
      for (size_t t = 0; t < tiles.size(); ++t)
        loss[t][i] = std::max(loss[t][i], (costs[t] - best) / (best + chip->launchOverheadNs));
    }
  // What one tile loses on samples [i, j]: squares, so that no sample is given up for the others.
  struct Segment {
    double loss = std::numeric_limits<double>::infinity();
    size_t tile = 0;
  };
  std::vector<std::vector<Segment>> segment(n, std::vector<Segment>(n));
  for (size_t t = 0; t < tiles.size(); ++t)
    for (size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (size_t j = i; j < n; ++j) {
        if (j + 1 == n && tiles[t].split > 1 && !bounded)
          continue; // a range without end, and the parts need room
        sum += loss[t][j] * loss[t][j];
        if (sum < segment[i][j].loss)
          segment[i][j] = {sum, t};
      }
    }
  // best[c][j]: samples [0, j) in c segments.
  std::vector<std::vector<double>> best(most + 1, std::vector<double>(n + 1, std::numeric_limits<double>::infinity()));
  std::vector<std::vector<size_t>> from(most + 1, std::vector<size_t>(n + 1, 0));
  best[0][0] = 0;
  std::vector<LinearChoice> choices;
  for (unsigned c = 1; c <= most; ++c) {
    for (size_t j = 1; j <= n; ++j)
      for (size_t i = 0; i < j; ++i)
        if (double sum = best[c - 1][i] + segment[i][j - 1].loss; sum < best[c][j]) {
          best[c][j] = sum;
          from[c][j] = i;
        }
    if (!std::isfinite(best[c][n]))
      break;
    choices.clear();
    double worst = 0;
    size_t end = n;
    for (unsigned left = c; left > 0; --left) {
      size_t begin = from[left][end], tile = segment[begin][end - 1].tile;
      for (size_t i = begin; i < end; ++i)
        worst = std::max(worst, loss[tile][i]);
      bool open = end == n && !(bounded && tiles[tile].split > 1);
      choices.insert(choices.begin(), {open ? INT64_MAX : samples[end - 1], tiles[tile]});
      end = begin;
    }
    if (worst <= 0.05)
      break;
  }
  // Neighbours that chose alike are one.
  for (size_t i = 1; i < choices.size();)
    if (choices[i].tile.name() == choices[i - 1].tile.name())
      choices.erase(choices.begin() + i - 1);
    else
      ++i;
  return choices;
}
