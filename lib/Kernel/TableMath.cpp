//===- TableMath.cpp - elementary functions by tables in registers -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Each function is a polynomial of low degree on each of 16 intervals, its coefficients in tables that permutations
// read. Where an epilogue runs beside a product, only its multiplications take time from it: here are one to three.
// Coefficients are minimax fits (Lawson's iteration) in f64 on each interval, rounded to f32.
//===----------------------------------------------------------------------===//
#include "TableMath.h"

using namespace mlir;
using namespace vitrify;

namespace {
/// Coefficients from the constant term upwards, of the variable's distance from the middle of each interval.
using Table = ArrayRef<float[16]>;

/// The interval of x (its number is in the low bits of `index`) and the distance from its middle.
struct Place {
  Value index, rest, rounded;
};

/// Intervals around the multiples of 2^-bits.
Place placeOf(LaneBuilder &b, Value x, int bits) {
  // Adding 1.5 * 2^(23 - bits) rounds to such a multiple, whose bits are then the low ones.
  Value magic = b.splat(12582912.0f / float(1 << bits));
  Value shifted = b.add(x, magic), rounded = b.sub(shifted, magic);
  return {b.toBits(shifted), b.sub(x, rounded), rounded};
}

Value evaluate(LaneBuilder &b, Table table, const Place &place) {
  Value sum = b.tables.lookup(b, table.back(), place.index);
  for (const auto &row : llvm::reverse(table.drop_back()))
    sum = b.fma(sum, place.rest, b.tables.lookup(b, row, place.index));
  return sum;
}

/// 2^(i / 16 + r) by r.
constexpr float kExp2[][16] = {
    {1.0001173f, 1.04439628f, 1.09063566f, 1.13892221f, 1.18934655f, 1.24200344f, 1.29699171f, 1.35441434f,
     1.41437948f, 1.4769994f, 1.54239166f, 1.61067927f, 1.68199003f, 1.75645816f, 1.83422315f, 1.91543114f},
    {0.693120062f, 0.723807096f, 0.755852759f, 0.78931725f, 0.824263275f, 0.860756516f, 0.898865461f, 0.938661695f,
     0.980219781f, 1.02361786f, 1.06893718f, 1.11626315f, 1.16568434f, 1.21729362f, 1.27118778f, 1.32746804f}};
/// log2 Phi(-a) around whole numbers, to 13.
constexpr float kLog2Phi[][16] = {
    {-1.00000322f, -2.65606999f, -5.45799971f, -9.53294277f, -14.9464712f, -21.7342014f, -29.9168358f, -39.507206f,
     -50.5137138f, -62.9421158f, -76.7965088f, -92.0799179f, -108.794601f, -126.942329f, -126.0f, -126.0f},
    {-1.15089369f, -2.20028687f, -3.42381525f, -4.73650503f, -6.09626007f, -7.48254251f, -8.8848114f, -10.2973013f,
     -11.7166576f, -13.1408215f, -14.568469f, -15.9987164f, -17.4309502f, -18.8647366f, 0.0f, 0.0f},
    {-0.461339504f, -0.576538384f, -0.638317764f, -0.670164108f, -0.687536776f, -0.697685301f, -0.704000413f,
     -0.708148003f, -0.710997641f, -0.713030398f, -0.714526653f, -0.715657532f, -0.716531813f, -0.717227399f, 0.0f,
     0.0f},
    {-0.0456028916f, -0.0283341203f, -0.0144035472f, -0.00762858707f, -0.00432185875f, -0.00261669978f,
     -0.00167896284f, -0.00113115157f, -0.000793705578f, -0.000576162362f, -0.000430359272f, -0.000329333328f,
     -0.000257302047f, -0.000216173459f, 0.0f, 0.0f}};
/// a Phi(-a) around multiples of 1/2; around 0 relative to its value.
constexpr float kTail[][16] = {
    {0.0f, 0.154252455f, 0.158664733f, 0.100228198f, 0.0455090366f, 0.0155244013f, 0.00404774584f, 0.000812988786f,
     0.000126276995f, 1.51988015e-05f, 1.41901035e-06f, 1.02812749e-07f, 5.78128567e-09f, 2.52248278e-10f,
     8.53621687e-12f, 2.23893712e-13f},
    {0.50003165f, 0.13254796f, -0.0832844973f, -0.127474248f, -0.0852491483f, -0.0376184359f, -0.0119457133f,
     -0.00282012485f, -0.000502792012f, -6.82845421e-05f, -7.10103905e-06f, -5.67299651e-07f, -3.48912081e-08f,
     -1.65435043e-09f, -6.05213518e-11f, -1.7089521e-12f},
    {-0.401233464f, -0.30595234f, -0.122219138f, 0.0139531475f, 0.0528655462f, 0.0372125544f, 0.0157623403f,
     0.00462787272f, 0.000988912769f, 0.000157406044f, 1.89065195e-05f, 1.72756472e-06f, 1.20733958e-07f,
     6.47801679e-09f, 2.67593114e-10f, 8.52773234e-12f},
    {0.0246206801f, 0.10793978f, 0.119486466f, 0.0569097735f, 0.000835583662f, -0.0160479005f, -0.0110771572f,
     -0.00427853409f, -0.00111176132f, -0.000206489989f, -2.82036908e-05f, -2.87849457e-06f, -2.21734865e-07f,
     -1.29789326e-08f, -5.80039183e-10f, -1.98628006e-11f}};
/// a Phi(-a) around multiples of 1/4, to 3.875.
constexpr float kTailInt8[][16] = {
    {1.02585238e-06f, 0.100319937f, 0.154266715f, 0.169970229f, 0.158656478f, 0.132064298f, 0.100212999f,
     0.0701052845f, 0.0455008671f, 0.0275055319f, 0.0155241964f, 0.00819415972f, 0.00404944737f, 0.00187511707f,
     0.000814050087f, 0.000331471965f},
    {0.499878556f, 0.305366933f, 0.133790255f, 0.00228680181f, -0.0819004253f, -0.121575885f, -0.126805052f,
     -0.110648893f, -0.0852311999f, -0.059336666f, -0.0378029421f, -0.0222012438f, -0.0120754633f, -0.00610200083f,
     -0.00287109637f, -0.00125989981f},
    {-0.39706555f, -0.373466134f, -0.307396024f, -0.216349095f, -0.12137717f, -0.0406204984f, 0.0154865598f,
     0.045270063f, 0.053696949f, 0.0484509356f, 0.037237227f, 0.0253520757f, 0.0155905578f, 0.00875550508f,
     0.00452103233f, 0.00215628836f}};
} // namespace

Value vitrify::exp2ByTable(LaneBuilder &b, Value x) {
  Place place = placeOf(b, b.max(b.splat(-126.0f), x), 4);
  return b.tables.scale(b, evaluate(b, kExp2, place), place.rounded);
}

Value vitrify::geluErfByTable(LaneBuilder &b, Value x, MathMode mode) {
  Value positive = b.select(b.less(x, b.splat(0.0f)), b.splat(0.0f), x);
  auto upTo = [&](float limit) { return b.min(b.abs(x), b.splat(limit)); };
  switch (mode) {
  case MathMode::Int8:
    return b.sub(positive, evaluate(b, kTailInt8, placeOf(b, upTo(3.874f), 2)));
  case MathMode::Code:
    return b.sub(positive, evaluate(b, kTail, placeOf(b, upTo(7.5f), 1)));
  default:
    break;
  }
  Value a = upTo(12.9f), power = evaluate(b, kLog2Phi, placeOf(b, a, 0));
  return b.fma(b.neg(a), exp2ByTable(b, power), positive);
}
