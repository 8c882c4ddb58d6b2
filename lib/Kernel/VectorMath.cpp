//===- VectorMath.cpp - elementary functions on f32 lanes -===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Coefficients are minimax fits (Lawson's iteration) in f64, rounded to f32 one after the other with the rest refitted.
//===----------------------------------------------------------------------===//
#include "vitrify/Kernel/VectorMath.h"
#include "TableMath.h"

#include <bit>

using namespace mlir;
using namespace vitrify;
using vit::ActKind;

namespace {

/// e^x = 2^n (1 + q) with |q| < 0.42, so that a product with e^x can round once.
struct ExpParts {
  Value q; ///< f32 lanes
  Value n; ///< i32 lanes
};

/// Whether results have 16 bits or less.
bool isShort(MathMode mode) { return mode != MathMode::Exact && mode != MathMode::Near; }

/// Horner's rule, `coefficients` from the constant term upwards.
Value polynomial(LaneBuilder &b, Value x, ArrayRef<float> coefficients) {
  Value sum = b.splat(coefficients.back());
  for (float c : llvm::reverse(coefficients.drop_back()))
    sum = b.fma(sum, x, b.splat(c));
  return sum;
}

ExpParts expParts(LaneBuilder &b, Value x, MathMode mode) {
  // Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits.
  constexpr float kMagic = 12582912.0f;
  Value shifted = b.fma(x, b.splat(1.44269504f), b.splat(kMagic));
  Value n = b.sub(shifted, b.splat(kMagic));
  Value bits = arith::SubIOp::create(b, b.toBits(shifted), b.splatI32(std::bit_cast<int32_t>(kMagic)));
  // ln 2 in two parts: the products with n are exact for the first.
  Value minusN = b.neg(n);
  Value r = b.fma(minusN, b.splat(0.693145751953125f), x);
  r = b.fma(minusN, b.splat(1.42860677e-6f), r);
  static constexpr float kExact[] = {0.5f, 0.166666657f, 0.0416662954f, 0.0083334967f, 0.00139446638f, 0.000197903383f};
  static constexpr float kFast[] = {0.49999994f, 0.166665211f, 0.041668389f, 0.00836871937f};
  Value p = polynomial(b, r, isShort(mode) ? ArrayRef<float>(kFast) : ArrayRef<float>(kExact));
  return {b.fma(b.mul(p, r), r, r), bits};
}

/// w * 2^n in two steps, right down to subnormals and up to infinity.
Value scaleByPower(LaneBuilder &b, Value w, Value n) {
  Value half = arith::ShRSIOp::create(b, n, b.splatI32(1));
  Value rest = arith::SubIOp::create(b, n, half);
  auto power = [&](Value e) {
    Value biased = arith::AddIOp::create(b, e, b.splatI32(127));
    return b.fromBits(arith::ShLIOp::create(b, biased, b.splatI32(23)));
  };
  return b.mul(b.mul(w, power(half)), power(rest));
}

/// 2^n for -126 <= n <= 127, smaller n give 2^-126.
Value powerOfTwo(LaneBuilder &b, Value n) {
  Value clamped = arith::MaxSIOp::create(b, n, b.splatI32(-126));
  Value biased = arith::AddIOp::create(b, clamped, b.splatI32(127));
  return b.fromBits(arith::ShLIOp::create(b, biased, b.splatI32(23)));
}

/// w * 2^n for a w of normal magnitude: an addition to the exponent; 0 below `threshold` of x.
Value scaleFlushing(LaneBuilder &b, Value w, Value n, Value x) {
  Value bits = arith::AddIOp::create(b, b.toBits(w), Value(arith::ShLIOp::create(b, n, b.splatI32(23))));
  return b.select(b.less(x, b.splat(-86.0f)), b.splat(0.0f), b.fromBits(bits));
}

/// q' with 1 + q' = (1 + q) e^delta for a tiny delta.
Value withCorrection(LaneBuilder &b, Value q, Value delta) {
  return b.fma(delta, b.add(q, b.splat(1.0f)), q);
}

/// x * sigmoid(s z) where z >= 0 has the low part `low` (may be null), and s is the sign of x; x = null stands for 1
/// with the sign given by `sign`.
Value logisticProduct(LaneBuilder &b, Value x, Value sign, Value z, Value low, MathMode mode) {
  Value one = b.splat(1.0f);
  // Beyond this every result is 0 or x; NaN passes the clamps.
  Value arg = b.neg(b.min(b.splat(125.0f), z));
  Value bounded = x ? b.max(b.splat(-128.0f), x) : one;
  ExpParts e = expParts(b, arg, mode);
  Value q = low ? withCorrection(b, e.q, b.neg(low)) : e.q;
  Value s = powerOfTwo(b, e.n);
  Value sum = b.add(s, one);
  Value denominator = b.fma(s, q, sum);
  Value numerator = b.fma(bounded, q, bounded);
  Value isNegative = b.less(sign, b.splat(0.0f));
  if (isShort(mode)) {
    Value factor = b.select(isNegative, b.mul(numerator, s), x ? x : one);
    return b.div(factor, denominator);
  }
  // One division; what its operands were rounded by comes back as a correction.
  Value top = b.select(isNegative, numerator, x ? x : one);
  Value topLow = b.select(isNegative, b.fma(bounded, q, b.sub(bounded, numerator)), b.splat(0.0f));
  Value bottomLow = b.add(b.fma(s, q, b.sub(sum, denominator)), b.sub(s, b.sub(sum, one)));
  Value reciprocal = b.div(one, denominator);
  Value quotient = b.mul(top, reciprocal);
  Value rest = b.add(b.fma(b.neg(quotient), denominator, top), b.fma(b.neg(quotient), bottomLow, topLow));
  // An infinite quotient has no correction.
  Value corrected = b.fma(rest, reciprocal, quotient);
  Value isFinite = b.less(b.abs(quotient), b.splat(3.0e38f));
  corrected = b.select(isFinite, corrected, quotient);
  return b.select(isNegative, scaleByPower(b, corrected, e.n), corrected);
}

/// a * b as hi + lo.
std::pair<Value, Value> twoProduct(LaneBuilder &b, Value x, Value y) {
  Value hi = b.mul(x, y);
  return {hi, b.fma(x, y, b.neg(hi))};
}

/// 2 sqrt(2 / pi) (a + 0.044715 a^3) as hi + lo.
std::pair<Value, Value> geluTanhArgument(LaneBuilder &b, Value a, MathMode mode) {
  constexpr double kA = 1.5957691216057308, kB = kA * 0.044715;
  constexpr float aHi = float(kA), bHi = float(kB);
  constexpr float aLo = float(kA - double(aHi)), bLo = float(kB - double(bHi));
  if (isShort(mode))
    return {b.mul(a, b.fma(b.mul(a, a), b.splat(bHi), b.splat(aHi))), Value()};
  auto [square, squareLow] = twoProduct(b, a, a);
  auto [cubic, cubicLow] = twoProduct(b, square, b.splat(bHi));
  // Knuth's sum, since either term may be the larger.
  Value A = b.splat(aHi);
  Value t = b.add(A, cubic), back = b.sub(t, A);
  Value error = b.add(b.sub(A, b.sub(t, back)), b.sub(cubic, back));
  Value small = b.fma(squareLow, b.splat(bHi), b.fma(square, b.splat(bLo), b.splat(aLo)));
  Value tLow = b.add(b.add(error, cubicLow), small);
  Value z = b.mul(a, t);
  return {z, b.fma(a, tLow, b.fma(a, t, b.neg(z)))};
}

/// x Phi(x). For |x| < 1 as x / 2 + x^2 Q(x^2); else |x| Phi(-|x|) = exp(-x^2 / 2) W(t), t = 1 / (1 + 3/8 |x|), with
/// every rounding that matters carried along as a low part.
Value geluErfExact(LaneBuilder &b, Value x) {
  static constexpr float kSmall[] = {0.398942292f,   -0.0664905235f, 0.00997402892f,
                                     -0.00118762779f, 0.000114556839f, -7.97973553e-06f};
  static constexpr float kLarge[] = {3.92366419e-05f, -0.0571262985f, -0.100859433f, -0.214348063f, 0.130630448f,
                                     -0.662083209f,   0.854630053f,   -0.425082266f, 0.0751349181f};
  constexpr float kLimit = 0.3989423f; // W at t = 0
  Value one = b.splat(1.0f), zero = b.splat(0.0f);
  Value a = b.min(b.abs(x), b.splat(15.0f)); // the result is 0 or x from there on
  auto [h, l] = twoProduct(b, a, a);

  Value scale = b.splat(0.375f);
  Value d = b.fma(a, scale, one), t0 = b.div(one, d);
  Value residual = b.fma(b.neg(d), t0, one);
  residual = b.fma(b.neg(b.fma(a, scale, b.neg(b.sub(d, one)))), t0, residual);
  Value t = b.fma(t0, residual, t0);
  Value tLow = b.fma(t0, residual, b.sub(t0, t));

  Value sum = b.splat(kLarge[8]), low = zero;
  for (int i = 7; i >= 0; --i) {
    Value c = b.splat(kLarge[i]);
    Value next = b.fma(sum, t, c);
    if (i < 3)
      low = b.fma(low, t, b.fma(sum, t, b.sub(c, next)));
    sum = next;
  }
  Value limit = b.splat(kLimit);
  Value w = b.fma(sum, t, limit);
  Value wLow = b.fma(sum, tLow, b.fma(low, t, b.fma(sum, t, b.sub(limit, w))));
  ExpParts e = expParts(b, b.mul(h, b.splat(-0.5f)), MathMode::Exact);
  Value q = withCorrection(b, e.q, b.mul(l, b.splat(-0.5f)));
  Value tail = scaleByPower(b, b.add(w, b.fma(w, q, wLow)), e.n);
  Value large = b.sub(b.select(b.less(x, zero), zero, x), tail);

  Value inner = polynomial(b, h, ArrayRef<float>(kSmall).drop_front());
  Value c0 = b.splat(kSmall[0]);
  Value p = b.fma(inner, h, c0);
  Value pLow = b.fma(h, b.fma(inner, h, b.sub(c0, p)), b.mul(l, p));
  Value half = b.mul(x, b.splat(0.5f));
  Value main = b.fma(h, p, half);
  Value small = b.add(main, b.add(b.fma(h, p, b.sub(half, main)), pLow));
  return b.select(b.less(a, one), small, large);
}

/// max(x, 0) - a Phi(-a) with a = |x| up to `limit` and Phi(-a) = 2^q(a): log2 of Phi is smooth, and needs no division.
/// `limit` keeps 2^q a normal number.
Value geluErfLog(LaneBuilder &b, Value x, float limit, ArrayRef<float> log2Phi, ArrayRef<float> exp2) {
  constexpr float kMagic = 12582912.0f;
  Value a = b.min(b.abs(x), b.splat(limit));
  Value q = polynomial(b, a, log2Phi);
  Value shifted = b.add(q, b.splat(kMagic));
  Value fraction = b.sub(q, b.sub(shifted, b.splat(kMagic)));
  // The whole part is in the low bits of `shifted`; the others leave to the left.
  Value exponent = arith::ShLIOp::create(b, b.toBits(shifted), b.splatI32(23));
  Value phi = b.fromBits(arith::AddIOp::create(b, b.toBits(polynomial(b, fraction, exp2)), exponent));
  return b.fma(b.neg(a), phi, b.select(b.less(x, b.splat(0.0f)), b.splat(0.0f), x));
}

Value geluErf(LaneBuilder &b, Value x, MathMode mode) {
  static constexpr float kLogNear[] = {-0.999999881f,    -1.15110826f,    -0.459196955f,   -0.0524898432f,   0.00698274979f,
                                       5.82540315e-06f,  -0.000305643567f, 9.44737039e-05f, -1.73370099e-05f, 2.16444369e-06f,
                                       -1.8571744e-07f,  1.05135181e-08f, -3.54007657e-10f, 5.37085003e-12f};
  static constexpr float kExpNear[] = {1.0f,           0.693147182f,   0.240226462f,  0.0555035882f,
                                       0.00961866323f, 0.00133913045f, 0.000152867986f};
  static constexpr float kLogFast[] = {-1.0001595f,     -1.14930761f,    -0.462292522f,   -0.0511384159f, 0.00753152464f,
                                       -0.000764283002f, 4.96120192e-05f, -1.83698933e-06f, 2.93521065e-08f};
  static constexpr float kExpFast[] = {0.999999285f, 0.693121791f, 0.240247056f, 0.0559179857f, 0.00957139488f};
  // Phi(-a) itself, so that a times it is within 2^-16 up to 4.5, where it is all but 0.
  static constexpr float kPhi[] = {0.499745041f,  -0.397848397f, 0.00168690982f,  0.0521894731f,   0.0281714369f,
                                   -0.0375097729f, 0.0148850502f, -0.00296971947f, 0.000305016089f, -1.28941892e-05f};
  static constexpr float kPhiInt8[] = {0.500490904f,  -0.390818536f,  -0.0428058207f, 0.139967993f,
                                       -0.0575653091f, 0.00992144644f, -0.000642855244f};
  if (isShort(mode) && b.hasTables())
    return geluErfByTable(b, x, mode);
  switch (mode) {
  case MathMode::Exact:
    return geluErfExact(b, x);
  case MathMode::Near:
    return geluErfLog(b, x, 9.0f, kLogNear, kExpNear);
  case MathMode::Fast:
    return geluErfLog(b, x, 12.9f, kLogFast, kExpFast);
  case MathMode::Code:
  case MathMode::Int8:
    break;
  }
  const bool bytes = mode == MathMode::Int8;
  Value a = b.min(b.abs(x), b.splat(bytes ? 4.0f : 4.5f));
  return b.fma(b.neg(a), polynomial(b, a, bytes ? ArrayRef<float>(kPhiInt8) : ArrayRef<float>(kPhi)), b.select(b.less(x, b.splat(0.0f)), b.splat(0.0f), x));
}
} // namespace

Value vitrify::buildExp(LaneBuilder &b, Value x, MathMode mode) {
  Value high = b.splat(89.0f), low = b.splat(-105.0f);
  // In this order NaN survives the clamps.
  Value clamped = b.min(high, x);
  clamped = b.max(low, clamped);
  ExpParts e = expParts(b, clamped, mode);
  Value w = b.add(e.q, b.splat(1.0f));
  if (!isShort(mode))
    return scaleByPower(b, w, e.n);
  // An exponent beyond 127 wraps in scaleFlushing; such arguments do not occur in a softmax, but stay right.
  Value flushed = scaleFlushing(b, w, e.n, clamped);
  return b.select(b.less(b.splat(88.0f), x), scaleByPower(b, w, e.n), flushed);
}

Value vitrify::buildExpNonPositive(LaneBuilder &b, Value x, MathMode mode) {
  if (isShort(mode)) {
    // Whatever the parts of a very negative x are, the flush replaces them.
    ExpParts e = expParts(b, x, mode);
    return scaleFlushing(b, b.add(e.q, b.splat(1.0f)), e.n, x);
  }
  ExpParts e = expParts(b, b.max(b.splat(-105.0f), x), mode);
  return scaleByPower(b, b.add(e.q, b.splat(1.0f)), e.n);
}

Value vitrify::buildExp2NonPositive(LaneBuilder &b, Value x) {
  if (b.hasTables())
    return exp2ByTable(b, x);
  // Within 2^-13.7 of 2^f for |f| <= 1/2.
  static constexpr float kExp2[] = {0.999928074f, 0.693260986f, 0.242611122f, 0.055171668f};
  constexpr float kMagic = 12582912.0f;
  Value clamped = b.max(b.splat(-126.0f), x); // NaN passes
  Value shifted = b.add(clamped, b.splat(kMagic));
  Value fraction = b.sub(clamped, b.sub(shifted, b.splat(kMagic)));
  Value exponent = arith::ShLIOp::create(b, b.toBits(shifted), b.splatI32(23));
  return b.fromBits(arith::AddIOp::create(b, b.toBits(polynomial(b, fraction, kExp2)), exponent));
}

Value vitrify::buildTanh(LaneBuilder &b, Value x, MathMode mode) {
  // expm1(2 a) / (expm1(2 a) + 2) with a = |x|: exact for small a, because 2^n - 1 is 0 there.
  Value one = b.splat(1.0f);
  Value a = b.min(b.splat(10.0f), b.abs(x));
  ExpParts e = expParts(b, b.add(a, a), mode);
  Value s = powerOfTwo(b, e.n);
  Value m = b.fma(s, e.q, b.sub(s, one));
  Value magnitude = b.div(m, b.add(m, b.splat(2.0f)));
  Value sign = arith::AndIOp::create(b, b.toBits(x), b.splatBits(0x80000000u));
  return b.fromBits(arith::OrIOp::create(b, b.toBits(magnitude), sign));
}

Value vitrify::buildErf(LaneBuilder &b, Value x, MathMode mode) {
  // |x| < 1: an odd polynomial; else 1 - erfc from GELU's tail: erfc(a) = 2 Phi(-a sqrt 2).
  static constexpr float kOdd[] = {1.12837917f,    -0.376126384f,    0.11283782f,     -0.0268654f,
                                   0.00522094527f, -0.000848282617f, 0.000112569267f, -9.64145056e-06f};
  static constexpr float kR[] = {0.1196867f,     0.119571678f, 0.110236496f,  0.0783849135f, 0.0961698964f,
                                 -0.079446733f, 0.191811308f, -0.228232875f, 0.112443507f,  -0.0206248723f};
  Value one = b.splat(1.0f);
  Value a = b.min(b.splat(6.0f), b.abs(x));
  Value square = b.mul(a, a);
  Value small = b.mul(a, polynomial(b, square, kOdd));
  Value y = b.mul(a, b.splat(1.41421356f));
  Value t = b.div(one, b.fma(y, b.splat(0.3f), one));
  Value r = b.mul(t, polynomial(b, t, kR));
  Value e = buildExp(b, b.neg(square), mode);
  Value large = b.fma(b.mul(r, b.splat(-2.0f)), e, one);
  Value magnitude = b.select(b.less(a, one), small, large);
  Value sign = arith::AndIOp::create(b, b.toBits(x), b.splatBits(0x80000000u));
  return b.fromBits(arith::OrIOp::create(b, b.toBits(magnitude), sign));
}

Value vitrify::buildActivation(LaneBuilder &b, ActKind kind, Value x, MathMode mode) {
  switch (kind) {
  case ActKind::GeluErf:
    return geluErf(b, x, mode);
  case ActKind::GeluTanh: {
    // x / 2 (1 + tanh u) = x sigmoid(2 u). The clamp keeps infinities out of the products of parts.
    auto [z, low] = geluTanhArgument(b, b.min(b.abs(x), b.splat(16.0f)), mode);
    return logisticProduct(b, x, x, z, low, mode);
  }
  case ActKind::QuickGelu: {
    Value a = b.min(b.abs(x), b.splat(80.0f)), c = b.splat(1.702f);
    auto [z, low] = twoProduct(b, a, c);
    constexpr float kLow = float(1.702 - double(1.702f));
    return logisticProduct(b, x, x, z, b.fma(a, b.splat(kLow), low), mode);
  }
  case ActKind::Silu:
    return logisticProduct(b, x, x, b.abs(x), Value(), mode);
  case ActKind::Sigmoid:
    return logisticProduct(b, Value(), x, b.abs(x), Value(), mode);
  case ActKind::Relu:
    return b.select(b.less(x, b.splat(0.0f)), b.splat(0.0f), x);
  case ActKind::Tanh:
    return buildTanh(b, x, mode);
  }
  llvm_unreachable("every activation is handled above");
}

Value vitrify::buildRoundE4M3(LaneBuilder &b, Value x) {
  Value bits = b.toBits(x);
  Value sign = arith::AndIOp::create(b, bits, b.splatBits(0x80000000u));
  Value a = b.min(b.abs(x), b.splat(448.0f));
  // The spacing at a is 2^(e - 3), e at least -6. Adding 2^(e + 20), whose spacing in f32 is the same, rounds to it.
  Value binade = arith::AndIOp::create(b, b.toBits(b.max(a, b.splat(0.015625f))), b.splatBits(0x7f800000u));
  Value magic = b.fromBits(arith::AddIOp::create(b, binade, b.splatI32(20 << 23)));
  Value rounded = b.sub(b.add(a, magic), magic);
  Value result = b.fromBits(arith::OrIOp::create(b, b.toBits(rounded), sign));
  Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
  return b.select(isNaN, x, result);
}

Value vitrify::buildRoundI8(LaneBuilder &b, Value x) {
  constexpr float kMagic = 12582912.0f; // rounds a sum with it to the nearest integer, which is then in the low bits
  Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
  Value bounded = b.select(isNaN, b.splat(0.0f), b.min(b.max(x, b.splat(-127.0f)), b.splat(127.0f)));
  return arith::SubIOp::create(b, b.toBits(b.add(bounded, b.splat(kMagic))), b.splatI32(std::bit_cast<int32_t>(kMagic)));
}
