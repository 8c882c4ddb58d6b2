//===- MatrixSum.cpp - sums of tensor cores ---------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Tensor-core sums by the chip's rule: the products of a K group and the addend
// are cut to so many fraction bits below the largest exponent, summed exactly,
// and the sum is cut again (microsoft/MMA-Sim, arXiv 2511.10909; PyPI mmaemu).
// Products are exact floats; one scaling and one conversion truncate each.
//===----------------------------------------------------------------------===//
#include "Matrix.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
namespace {

/// No term is below this exponent: where all are zero it only has to be representable.
VITRIFY_INLINE s32 leastExponent(const SumRule &rule) { return rule.fractionBits <= 13 ? -132 : -133; }

/// One K group of one output.
float sumGroup(const Tile &t, u32 m, u32 n, u32 k0, u32 end, const SumRule &rule, float acc) {
  if (acc - acc != 0)
    return acc; // an earlier group's sum is beyond the range: finite products do not change that
  s32 top = 2 * kNoExponent;
  for (u32 k = k0; k < end; ++k)
    top = std::max(top, t.ea[k][m] + t.eb[k][n]);
  double c = acc;
  s32 ec = s32(std::bit_cast<u64>(c) >> 52 & 0x7ff) - 1023;
  s32 e = std::max(rule.lateAddend ? top : std::max(ec, top), leastExponent(rule));
  s32 shift = s32(rule.fractionBits) - e;
  double scale = std::bit_cast<double>(u64(shift + 1023) << 52);
  s64 sum = s64(rule.lateAddend ? 0.0 : c * scale);
  for (u32 k = k0; k < end; ++k)
    sum += s64(double(t.a[k][m]) * double(t.b[k][n]) * scale);
  double d = double(sum) * std::bit_cast<double>(u64(1023 - shift) << 52);
  // Cut to resultBits below its own exponent, or below 2^-126; a zero is +0.
  u64 b = std::bit_cast<u64>(d);
  s32 ed = s32(b >> 52 & 0x7ff) - 1023;
  s32 drop = 52 - rule.resultBits + (ed < -126 ? -126 - ed : 0);
  u64 cut = drop > 52 ? 0 : b >> drop << drop;
  float r = float(std::bit_cast<double>(cut)) + 0.0f;
  return rule.lateAddend ? r + acc : r;
}

void plainSums(const Tile &t, const SumTask &task, float (&out)[8][16]) {
  for (u32 n = 0; n < 8; ++n)
    for (u32 m = 0; m < 16; ++m) {
      float acc = t.c[n][m];
      for (u32 k0 = 0; k0 < task.k; k0 += task.rule.group) {
        acc = sumGroup(t, m, n, k0, std::min<u32>(task.k, k0 + task.rule.group), task.rule, acc);
        if (task.half)
          acc = halfToFloat(floatToHalf(acc));
      }
      out[n][m] = acc;
    }
}

/// One K group of a column of 16 outputs. Sixteen terms, each below 2^27 (2 fraction bits less for rules of 24), stay
/// within 32 bits: (2 - 2^-10)^2 2^25 16 < 2^31.
template <bool Late> VITRIFY_INLINE void sumColumn(const Tile &t, u32 n, u32 k0, u32 end, const SumRule &rule, V16f &acc) {
  V16i top = V16i{} + 2 * kNoExponent;
  for (u32 k = k0; k < end; ++k) {
    V16i e = loadV<V16i>(t.ea[k]) + t.eb[k][n];
    top = e > top ? e : top;
  }
  V16i accBits = V16i(acc), e = top;
  if constexpr (!Late) {
    V16i ec = (accBits >> 23 & 0xff) - 127;
    e = ec > top ? ec : top;
  }
  s32 least = leastExponent(rule);
  e = e < least ? V16i{} + least : e;
  if constexpr (!Late)
    // Only zeros were multiplied and a very small addend is left: its own exponent may be that of a subnormal.
    if (V16i small = (e < -90) & ((accBits & 0x7fffffff) != 0); anyOf(small)) [[unlikely]] {
      for (u32 m = 0; m < 16; ++m)
        acc[m] = sumGroup(t, m, n, k0, end, rule, acc[m]);
      return;
    }
  V16i beyond = (accBits & 0x7fffffff) >= 0x7f800000;
  V16i shift = s32(rule.fractionBits) - e;
  V16f scale = V16f(((shift > 127 ? V16i{} + 127 : shift) + 127) << 23);
  V16l wideShift = __builtin_convertvector(shift, V16l);
  V16d sum = {};
  if constexpr (!Late) {
    V16d scaleD = V16d((wideShift + 1023) << 52);
    sum = __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(acc, V16d) * scaleD, V16i), V16d);
  }
  for (u32 k1 = k0; k1 < end; k1 += 16) {
    V16i part = {};
    u32 stop = k1 + 16 < end ? k1 + 16 : end;
    for (u32 k = k1; k < stop; ++k)
      part += __builtin_convertvector(loadV<V16f>(t.a[k]) * t.b[k][n] * scale, V16i);
    sum += __builtin_convertvector(part, V16d);
  }
  // Not below 2^-115 unless zero, so that the cut depends on the rule alone.
  V16d d = sum * V16d((1023 - wideShift) << 52);
  V16f r = __builtin_convertvector(V16d(V16ul(d) & (~u64(0) << (52 - rule.resultBits))), V16f) + 0.0f;
  acc = beyond != 0 ? acc : Late ? r + acc : r;
}

template <bool Late, bool Half> VITRIFY_INLINE void sumColumns(const Tile &t, const SumTask &task, float (&out)[8][16]) {
  for (u32 n = 0; n < 8; ++n) {
    V16f acc = loadV<V16f>(t.c[n]);
    for (u32 k0 = 0; k0 < task.k; k0 += task.rule.group) {
      sumColumn<Late>(t, n, k0, std::min<u32>(task.k, k0 + task.rule.group), task.rule, acc);
      if constexpr (Half)
        for (u32 m = 0; m < 16; ++m)
          acc[m] = halfToFloat(floatToHalf(acc[m]));
    }
    storeV(out[n], acc);
  }
}

void fastSums(const Tile &t, const SumTask &task, float (&out)[8][16]) {
  if (task.rule.lateAddend)
    task.half ? sumColumns<true, true>(t, task, out) : sumColumns<true, false>(t, task, out);
  else
    task.half ? sumColumns<false, true>(t, task, out) : sumColumns<false, false>(t, task, out);
}

VITRIFY_INLINE bool allFinite(const float (&c)[8][16]) {
  V16i bad = {};
  for (u32 n = 0; n < 8; ++n)
    bad |= (loadV<V16i>(c[n]) & 0x7f800000) == 0x7f800000;
  return !anyOf(bad);
}

/// Where an operand is infinite or NaN the IEEE sum is; the rest is summed without those operands.
void sumSpecial(const Tile &t, const SumTask &task, float (&out)[8][16]) {
  Tile finite = t;
  auto clean = [](float &v) { v = v - v == 0 ? v : 0.0f; };
  for (u32 k = 0; k < task.k; ++k) {
    for (float &v : finite.a[k])
      clean(v);
    for (float &v : finite.b[k])
      clean(v);
  }
  for (auto &column : finite.c)
    for (float &v : column)
      clean(v);
  t.extreme ? plainSums(finite, task, out) : fastSums(finite, task, out);
  for (u32 n = 0; n < 8; ++n) {
    V16d ieee = __builtin_convertvector(loadV<V16f>(t.c[n]), V16d);
    for (u32 k = 0; k < task.k; ++k)
      ieee += __builtin_convertvector(loadV<V16f>(t.a[k]), V16d) * double(t.b[k][n]);
    V16f sum = __builtin_convertvector(ieee, V16f), have = loadV<V16f>(out[n]);
    V16l notFinite = (V16l(ieee) & 0x7ff0000000000000) == 0x7ff0000000000000;
    storeV(out[n], __builtin_convertvector(notFinite, V16i) != 0 ? sum != sum ? V16f(V16i{} + 0x7fffffff) : sum : have);
  }
}

} // namespace

TileSums tileSums() { return {&plainSums, &fastSums}; }

void sumTile(const Warp &w, const Tile &t, u32 k, MatrixType type, bool half, float (&out)[8][16]) {
  if (w.plainSums) {
    for (u32 n = 0; n < 8; ++n)
      for (u32 m = 0; m < 16; ++m) {
        float acc = t.c[n][m];
        for (u32 x = 0; x < k; ++x)
          acc = __builtin_fmaf(t.a[x][m], t.b[x][n], acc);
        out[n][m] = acc;
      }
    return;
  }
  SumTask task;
  task.rule = type == MatrixType::E4M3 || type == MatrixType::E5M2 ? w.chip->f8Sum : w.chip->f16Sum;
  if (type == MatrixType::TF32)
    task.rule.group /= 2;
  task.k = k;
  task.half = half;
  if (t.special || !allFinite(t.c)) [[unlikely]]
    sumSpecial(t, task, out);
  else if (t.extreme) [[unlikely]]
    plainSums(t, task, out);
  else
    fastSums(t, task, out);
}

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
