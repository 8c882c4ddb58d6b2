//===- Matrix.cpp - mma.sync ------------------------------------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Tensor-core sums by the chip's rule: the products of a K group and the addend
// are cut to so many fraction bits below the largest exponent, summed exactly,
// and the sum is cut again (microsoft/MMA-Sim, arXiv 2511.10909; PyPI mmaemu).
// Products are exact floats; one scaling and one conversion truncate each.
//===----------------------------------------------------------------------===//
#include "Matrix.h"
#include "Formats.h"

VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {

const DecodeTable &decodeTable() {
  static const DecodeTable table = [] {
    DecodeTable t;
    for (u32 c = 0; c < 256; ++c) {
      t.e4m3[c] = decodeFloat(float(formatToDouble(c, kE4M3)), -6);
      t.e5m2[c] = decodeFloat(float(formatToDouble(c, kE5M2)), -14);
    }
    return t;
  }();
  return table;
}

namespace {

/// Sums one K group into acc[16]: rows m and m + 1 of 8 outputs each. Product is the type that holds a product exactly.
template <class Product>
VITRIFY_INLINE void sumGroup(const Tile &t, u32 m, u32 k0, u32 n, const SumRule &rule, s32 minExponent, float *acc) {
  alignas(64) s32 top[16];
  alignas(64) double scaleD[16];
  alignas(64) float scale[16];
  alignas(64) s64 sum[16];
  for (u32 l = 0; l < 16; ++l)
    top[l] = kNoExponent * 2;
  for (u32 k = k0; k < k0 + n; ++k)
    for (u32 l = 0; l < 16; ++l) {
      s32 e = t.ea[m + l / 8][k] + t.eb[k][l];
      top[l] = e > top[l] ? e : top[l];
    }
  for (u32 l = 0; l < 16; ++l) {
    double c = acc[l];
    s32 ec = s32(std::bit_cast<u64>(c) >> 52 & 0x7ff) - 1023;
    s32 e = rule.lateAddend || ec < top[l] ? top[l] : ec;
    e = e < minExponent ? minExponent : e;
    s32 shift = s32(rule.fractionBits) - e;
    scaleD[l] = std::bit_cast<double>(u64(shift + 1023) << 52);
    scale[l] = std::bit_cast<float>(u32((shift > 127 ? 127 : shift) + 127) << 23);
    sum[l] = s64(rule.lateAddend ? 0.0 : c * scaleD[l]);
  }
  // Eight terms below 2^27 fit in 32 bits.
  for (u32 k1 = k0; k1 < k0 + n; k1 += 8) {
    alignas(64) s32 part[16] = {};
    u32 end = k1 + 8 < k0 + n ? k1 + 8 : k0 + n;
    for (u32 k = k1; k < end; ++k)
      for (u32 l = 0; l < 16; ++l) {
        if constexpr (std::is_same_v<Product, float>)
          part[l] += s32(t.a[m + l / 8][k] * t.b[k][l] * scale[l]);
        else
          part[l] += s32(double(t.a[m + l / 8][k]) * double(t.b[k][l]) * scaleD[l]);
      }
    for (u32 l = 0; l < 16; ++l)
      sum[l] += part[l];
  }
  for (u32 l = 0; l < 16; ++l) {
    double d = double(sum[l]) * (1.0 / scaleD[l]);
    // Cut to resultBits below its own exponent, or below 2^-126; a zero is +0.
    u64 b = std::bit_cast<u64>(d);
    s32 ed = s32(b >> 52 & 0x7ff) - 1023;
    s32 drop = 52 - rule.resultBits + (ed < -126 ? -126 - ed : 0);
    u64 cut = drop > 52 ? 0 : b >> drop << drop;
    float r = float(std::bit_cast<double>(cut)) + 0.0f;
    acc[l] = rule.lateAddend ? r + acc[l] : r;
  }
}

} // namespace

void sumTile(const Warp &w, Tile &t, u32 k, MatrixType type, bool half, float (&out)[16][8]) {
  if (w.plainSums) {
    for (u32 m = 0; m < 16; ++m)
      for (u32 n = 0; n < 8; ++n) {
        float acc = t.c[m][n];
        for (u32 x = 0; x < k; ++x)
          acc = __builtin_fmaf(t.a[m][x], t.b[x][n], acc);
        out[m][n] = acc;
      }
    return;
  }
  // Where an operand is infinite or NaN the IEEE sum is; the rest is summed without those operands.
  bool special = t.special;
  for (u32 m = 0; m < 16; ++m)
    for (u32 n = 0; n < 8; ++n)
      special |= t.c[m][n] - t.c[m][n] != 0;
  Tile finite;
  Tile *use = &t;
  if (special) {
    finite = t;
    auto clean = [](float &v) { v = v - v == 0 ? v : 0.0f; };
    for (u32 x = 0; x < k; ++x) {
      for (u32 m = 0; m < 16; ++m)
        clean(finite.a[m][x]);
      for (u32 l = 0; l < 16; ++l)
        clean(finite.b[x][l]);
    }
    for (u32 m = 0; m < 16; ++m)
      for (u32 n = 0; n < 8; ++n)
        clean(finite.c[m][n]);
    use = &finite;
  }
  bool eight = type == MatrixType::E4M3 || type == MatrixType::E5M2;
  const SumRule &rule = eight ? w.chip->f8Sum : w.chip->f16Sum;
  u32 group = type == MatrixType::TF32 ? rule.group / 2 : rule.group;
  s32 minExponent = rule.fractionBits <= 13 ? -132 : -133;
  bool wide = type == MatrixType::BF16 || type == MatrixType::TF32;
  for (u32 m = 0; m < 16; m += 2) {
    alignas(64) float acc[16];
    for (u32 l = 0; l < 16; ++l)
      acc[l] = use->c[m + l / 8][l % 8];
    for (u32 k0 = 0; k0 < k; k0 += group) {
      u32 n = group < k - k0 ? group : k - k0;
      if (wide)
        sumGroup<double>(*use, m, k0, n, rule, minExponent, acc);
      else
        sumGroup<float>(*use, m, k0, n, rule, minExponent, acc);
      if (half)
        for (u32 l = 0; l < 16; ++l)
          acc[l] = halfToFloat(floatToHalf(acc[l]));
    }
    for (u32 l = 0; l < 16; ++l)
      out[m + l / 8][l % 8] = acc[l];
  }
  if (special)
    for (u32 m = 0; m < 16; ++m)
      for (u32 n = 0; n < 8; ++n) {
        double ieee = t.c[m][n];
        for (u32 x = 0; x < k; ++x)
          ieee += double(t.a[m][x]) * double(t.b[x][n]);
        if (ieee - ieee != 0)
          out[m][n] = ieee != ieee ? std::bit_cast<float>(0x7fffffffu) : float(ieee);
      }
}

namespace {

void mmaFloat(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  const DecodeTable &table = decodeTable();
  Tile t;
  u32 per = s.perRegister(), width = 32 / per;
  for (u32 r = 0; r < s.aRegs; ++r) {
    const u32 *bits = R<u32>(w, ra[r]);
    for (u32 l = 0; l < 32; ++l)
      for (u32 e = 0; e < per; ++e)
        t.setA((l >> 2) + 8 * (r & 1), per * (l & 3) + e + 4 * per * (r >> 1),
               decodeElement(per == 1 ? bits[l] : bits[l] >> (width * e), s.a, table));
  }
  for (u32 r = 0; r < s.bRegs; ++r) {
    const u32 *bits = R<u32>(w, rb[r]);
    for (u32 l = 0; l < 32; ++l)
      for (u32 e = 0; e < per; ++e)
        t.setB(per * (l & 3) + e + 4 * per * r, l >> 2,
               decodeElement(per == 1 ? bits[l] : bits[l] >> (width * e), s.b, table));
  }
  for (u32 l = 0; l < 32; ++l)
    for (u32 r = 0; r < 4; ++r)
      t.c[(l >> 2) + 8 * (r >> 1)][(l & 3) * 2 + (r & 1)] =
          s.halfC ? halfToFloat(u16(R<u32>(w, rc[r >> 1])[l] >> (16 * (r & 1)))) : R<float>(w, rc[r])[l];
  float out[16][8];
  sumTile(w, t, s.k, s.a, s.halfD, out);
  for (u32 rest = m; rest; rest &= rest - 1) {
    u32 l = std::countr_zero(rest), g = l >> 2, q = (l & 3) * 2;
    if (s.halfD)
      for (u32 r = 0; r < 2; ++r)
        R<u32>(w, rows[r])[l] = u32(floatToHalf(out[g + 8 * r][q])) | u32(floatToHalf(out[g + 8 * r][q + 1])) << 16;
    else
      for (u32 r = 0; r < 4; ++r)
        R<float>(w, rows[r])[l] = canon(out[g + 8 * (r >> 1)][q + (r & 1)]);
  }
}

VITRIFY_INLINE s32 byteOf(u32 bits, u32 e, MatrixType type) {
  u32 v = bits >> (8 * e) & 0xff;
  return type == MatrixType::S8 ? s32(s8(v)) : s32(v);
}

void mmaInt(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  s32 a[16][32] = {}, b[32][8] = {};
  for (u32 l = 0; l < 32; ++l)
    for (u32 e = 0; e < 4; ++e) {
      u32 g = l >> 2, q = l & 3;
      for (u32 r = 0; r < s.aRegs; ++r) {
        u32 row = s.m == 16 ? g + 8 * (r & 1) : g, k = 4 * q + e + 16 * (s.m == 16 ? r >> 1 : r);
        a[row][k] = byteOf(R<u32>(w, ra[r])[l], e, s.a);
      }
      for (u32 r = 0; r < s.bRegs; ++r)
        b[4 * q + e + 16 * r][g] = byteOf(R<u32>(w, rb[r])[l], e, s.b);
    }
  s32 result[32][4];
  for (u32 l = 0; l < 32; ++l)
    for (u32 r = 0; r < s.dRegs; ++r) {
      u32 row = (l >> 2) + 8 * (r >> 1), column = (l & 3) * 2 + (r & 1);
      s64 sum = R<s32>(w, rc[r])[l];
      for (u32 k = 0; k < s.k; ++k)
        sum += s64(a[row][k]) * b[k][column];
      if (s.satfinite)
        sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
      result[l][r] = s32(u32(u64(sum)));
    }
  for (u32 r = 0; r < s.dRegs; ++r)
    putEach<s32>(w, rows[r], m, [&](u32 l) { return result[l][r]; });
}

void mmaDouble(Warp &w, const Inst &i, u32 m) {
  MmaShape s = MmaShape::unpack(i.imm);
  const u32 *rows = w.program->lists.data() + i.list;
  const u32 *ra = rows + s.dRegs, *rb = ra + s.aRegs, *rc = rb + s.bRegs;
  double a[16][16] = {}, b[16][8] = {};
  for (u32 l = 0; l < 32; ++l) {
    for (u32 r = 0; r < s.aRegs; ++r)
      a[s.m == 16 ? (l >> 2) + 8 * (r & 1) : l >> 2][(l & 3) + 4 * (s.m == 16 ? r >> 1 : r)] = R<double>(w, ra[r])[l];
    for (u32 r = 0; r < s.bRegs; ++r)
      b[(l & 3) + 4 * r][l >> 2] = R<double>(w, rb[r])[l];
  }
  double result[32][4];
  for (u32 l = 0; l < 32; ++l)
    for (u32 r = 0; r < s.dRegs; ++r) {
      u32 row = (l >> 2) + 8 * (r >> 1), column = (l & 3) * 2 + (r & 1);
      double sum = R<double>(w, rc[r])[l];
      for (u32 k = 0; k < s.k; ++k)
        sum = __builtin_fma(a[row][k], b[k][column], sum);
      result[l][r] = sum;
    }
  for (u32 r = 0; r < s.dRegs; ++r)
    putEach<double>(w, rows[r], m, [&](u32 l) { return result[l][r]; });
}

constexpr OpEntry kOps[] = {{"mma.float", &mmaFloat}, {"mma.int", &mmaInt}, {"mma.f64", &mmaDouble}};

} // namespace

OpList matrixOps() { return listOf(kOps); }

} // namespace vitrify::emulator::VITRIFY_ISA
VITRIFY_ISA_END
