//===- Surgeon.cpp - removing inputs of a linear with least change --------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/Weights/Surgeon.h"

#include <algorithm>
#include <cmath>

using namespace vitrify;

namespace {

/// Added to the diagonal, in parts of its mean: inputs that others determine would make the matrix singular.
constexpr double kRidge = 1e-4;

using Matrix = std::vector<double>;

/// The inverse of a symmetric positive definite matrix, by its Cholesky factor; false if it is not.
bool invert(Matrix &m, size_t n) {
  for (size_t j = 0; j < n; ++j) { // m = L L^T in the lower triangle
    double *row = &m[j * n];
    for (size_t i = 0; i < j; ++i) {
      const double *other = &m[i * n];
      double sum = row[i];
      for (size_t k = 0; k < i; ++k)
        sum -= row[k] * other[k];
      row[i] = sum / other[i];
    }
    double sum = row[j];
    for (size_t k = 0; k < j; ++k)
      sum -= row[k] * row[k];
    if (!(sum > 0))
      return false;
    row[j] = std::sqrt(sum);
  }
  Matrix inverse(n * n); // of L, by rows: row j needs the rows above it
  for (size_t j = 0; j < n; ++j) {
    double *row = &inverse[j * n];
    for (size_t k = 0; k < j; ++k) {
      double factor = m[j * n + k];
      const double *other = &inverse[k * n];
      for (size_t i = 0; i <= k; ++i)
        row[i] -= factor * other[i];
    }
    double scale = 1 / m[j * n + j];
    for (size_t i = 0; i < j; ++i)
      row[i] *= scale;
    row[j] = scale;
  }
  std::fill(m.begin(), m.end(), 0); // L^-T L^-1
  for (size_t k = 0; k < n; ++k) {
    const double *row = &inverse[k * n];
    for (size_t i = 0; i <= k; ++i)
      for (size_t j = 0; j <= k; ++j)
        m[i * n + j] += row[i] * row[j];
  }
  return true;
}

/// One state to come back to: columns [rows, alive], alive ones in order.
struct Snapshot {
  std::vector<size_t> alive;
  Matrix columns; ///< of the transposed weights: [inputs, rows]
  double power = 0;
};

} // namespace

StatusOr<PrunedLinear> vitrify::pruneInputs(std::span<const float> weights, int64_t rows, const NeuronMoments &moments,
                                            const std::vector<bool> &gone, double tolerance, int64_t granule) {
  auto count = size_t(moments.count), n = size_t(rows);
  if (moments.mean.size() != count || moments.amax.size() != count || moments.covariance.size() != count * count ||
      weights.size() != n * count || gone.size() != count || count == 0)
    return invalidArgument("moments of " + std::to_string(count) + " inputs for weights of " +
                           std::to_string(n ? weights.size() / n : 0));
  for (const auto *list : {&moments.mean, &moments.amax, &moments.covariance})
    for (float value : *list)
      if (!std::isfinite(value))
        return invalidArgument("a moment is not finite");

  std::vector<size_t> live; // what is worth a look: the others go at no cost
  for (size_t j = 0; j < count; ++j)
    if (!gone[j] && moments.amax[j] > 0)
      live.push_back(j);
  size_t size = live.size(), step = size_t(granule);
  Matrix h(size * size), columns(size * n);
  double trace = 0;
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j)
      h[i * size + j] = moments.covariance[live[i] * count + live[j]];
    trace += h[i * size + i];
    for (size_t r = 0; r < n; ++r)
      columns[i * n + r] = weights[r * count + live[i]];
  }
  // Power of the outputs about their mean: the sum over rows of w C w^T.
  double total = 0;
  for (size_t i = 0; i < size; ++i)
    for (size_t j = 0; j < size; ++j) {
      double dot = 0;
      for (size_t r = 0; r < n; ++r)
        dot += columns[i * n + r] * columns[j * n + r];
      total += h[i * size + j] * dot;
    }
  double ridge = size ? kRidge * trace / double(size) : 0;
  for (size_t i = 0; i < size; ++i)
    h[i * size + i] += ridge > 0 ? ridge : 1;
  if (size && (trace < 0 || !invert(h, size)))
    return invalidArgument("the moments are of no set of activations: their covariance is not positive");

  std::vector<size_t> alive(size);
  for (size_t i = 0; i < size; ++i)
    alive[i] = i;
  double power = 0, limit = tolerance * tolerance * std::max(total, 0.0);
  Snapshot best{alive, columns, 0};
  while (alive.size() > step) {
    size_t chosen = 0;
    double least = HUGE_VAL;
    for (size_t place = 0; place < alive.size(); ++place) {
      size_t i = alive[place];
      double norm = 0;
      for (size_t r = 0; r < n; ++r)
        norm += columns[i * n + r] * columns[i * n + r];
      double rise = norm / h[i * size + i];
      if (rise < least) {
        least = rise;
        chosen = place;
      }
    }
    if (power + least > limit)
      break;
    power += least;
    size_t out = alive[chosen];
    alive.erase(alive.begin() + ptrdiff_t(chosen));
    double diagonal = h[out * size + out];
    std::vector<double> row(h.begin() + ptrdiff_t(out * size), h.begin() + ptrdiff_t((out + 1) * size));
    std::vector<double> column(columns.begin() + ptrdiff_t(out * n), columns.begin() + ptrdiff_t((out + 1) * n));
    for (size_t i : alive) {
      double part = row[i] / diagonal;
      for (size_t r = 0; r < n; ++r)
        columns[i * n + r] -= part * column[r];
      double *target = &h[i * size];
      for (size_t j = 0; j < size; ++j)
        target[j] -= part * row[j];
    }
    if (alive.size() % step == 0)
      best = {alive, columns, power};
  }

  PrunedLinear result;
  std::vector<bool> keeps(count);
  std::vector<const double *> columnOf(count);
  for (size_t i : best.alive) {
    keeps[live[i]] = true;
    columnOf[live[i]] = &best.columns[i * n];
  }
  // Up to the granule with what was free to go: it does nothing here either.
  size_t kept = best.alive.size(), want = std::min(count, std::max(step, (kept + step - 1) / step * step));
  for (bool goneToo : {false, true})
    for (size_t j = 0; j < count && kept < want; ++j)
      if (!keeps[j] && gone[j] == goneToo) {
        keeps[j] = true;
        ++kept;
      }
  for (size_t j = 0; j < count; ++j)
    if (keeps[j])
      result.kept.push_back(int64_t(j));
  result.weights.resize(n * result.kept.size());
  for (size_t place = 0; place < result.kept.size(); ++place) {
    auto j = size_t(result.kept[place]);
    for (size_t r = 0; r < n; ++r)
      result.weights[r * result.kept.size() + place] = columnOf[j] ? float(columnOf[j][r]) : weights[r * count + j];
  }
  // The error that these weights really have: without the ridge, and rounded.
  double error = 0;
  std::vector<double> delta(count);
  for (size_t r = 0; r < n; ++r) {
    for (size_t j = 0; j < count; ++j)
      delta[j] = moments.amax[j] > 0 && !gone[j] ? -double(weights[r * count + j]) : 0;
    for (size_t place = 0; place < result.kept.size(); ++place) {
      auto j = size_t(result.kept[place]);
      if (moments.amax[j] > 0 && !gone[j])
        delta[j] += result.weights[r * result.kept.size() + place];
    }
    for (size_t i = 0; i < count; ++i)
      if (delta[i] != 0)
        for (size_t j = 0; j < count; ++j)
          error += delta[i] * delta[j] * moments.covariance[i * count + j];
  }
  result.error = total > 0 ? std::sqrt(std::max(0.0, error) / total) : 0;
  return result;
}
