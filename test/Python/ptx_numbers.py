"""Number formats of PTX as exact rationals: decoding, the four IEEE roundings, sums and products before rounding. The oracle
of the instruction tests: nothing of it comes from the emulator.
"""
from fractions import Fraction
from math import isqrt


class Format:
    """A binary format. kind: "ieee" (infinities and NaNs), "fn" (OCP E4M3: one NaN, no infinity), "finite" (E2M1)."""

    def __init__(self, name, exponent, mantissa, kind="ieee", bias=None):
        self.name, self.exponent, self.mantissa, self.kind = name, exponent, mantissa, kind
        self.bias = (1 << (exponent - 1)) - 1 if bias is None else bias
        self.bits = 1 + exponent + mantissa
        self.sign = 1 << (self.bits - 1)
        top = (1 << exponent) - 1
        self.infinity = top << mantissa if kind == "ieee" else None
        self.nan = self.sign - 1 if kind != "finite" else None
        self.largest = {"ieee": (top << mantissa) - 1, "fn": self.sign - 2, "finite": self.sign - 1}[kind]
        self.smallest_exponent = 1 - self.bias

    def decode(self, bits):
        negative, code = bool(bits & self.sign), bits & (self.sign - 1)
        exponent, fraction = code >> self.mantissa, code & ((1 << self.mantissa) - 1)
        if self.kind == "ieee" and exponent == (1 << self.exponent) - 1:
            return Value(negative, "nan" if fraction else "inf")
        if self.kind == "fn" and code == self.sign - 1:
            return Value(negative, "nan")
        scale = self.smallest_exponent if exponent == 0 else exponent - self.bias
        whole = fraction | ((1 << self.mantissa) if exponent else 0)
        return Value(negative, "number", Fraction(whole) * two(scale - self.mantissa))

    def is_subnormal(self, bits):
        code = bits & (self.sign - 1)
        return 0 < code < (1 << self.mantissa)

    def flush(self, bits):
        return bits & self.sign if self.is_subnormal(bits) else bits

    def encode(self, value, rounding="rn", satfinite=False):
        """Nearest code by the rounding: rn (even), rz, rm, rp, rna (ties away)."""
        sign = self.sign if value.negative else 0
        if value.kind == "nan":
            return self.nan
        if value.kind == "inf":
            if satfinite or self.infinity is None:
                return sign | self.largest
            return sign | self.infinity
        if not value.magnitude:
            return sign
        exponent = max(floor_log2(value.magnitude), self.smallest_exponent)
        quantum = two(exponent - self.mantissa)
        whole, rest = divmod(value.magnitude, quantum)
        whole = int(whole)
        half = Fraction(rest, quantum)
        away = {"rn": half > Fraction(1, 2) or (half == Fraction(1, 2) and whole & 1), "rna": half >= Fraction(1, 2), "rz": False,
                "rm": value.negative and rest, "rp": not value.negative and rest}[rounding]
        whole += bool(away)
        # A carry moves to the next exponent by itself: codes are in order.
        code = whole + ((exponent - self.smallest_exponent) << self.mantissa)
        if code > self.largest:
            to_infinity = rounding in ("rn", "rna") or (rounding == "rm" and value.negative) or (rounding == "rp" and not value.negative)
            code = self.infinity if to_infinity and not satfinite and self.infinity is not None else self.largest
        return sign | code


class Value:
    """A sign and a magnitude: exact, infinite, or not a number."""

    def __init__(self, negative, kind, magnitude=Fraction(0)):
        self.negative, self.kind, self.magnitude = negative, kind, magnitude

    @property
    def exact(self):
        return -self.magnitude if self.negative else self.magnitude

    @property
    def is_zero(self):
        return self.kind == "number" and not self.magnitude

    def negated(self):
        return Value(not self.negative, self.kind, self.magnitude)


NAN = Value(False, "nan")
F16 = Format("f16", 5, 10)
BF16 = Format("bf16", 8, 7)
F32 = Format("f32", 8, 23)
F64 = Format("f64", 11, 52)
TF32 = Format("tf32", 8, 10)
E4M3 = Format("e4m3", 4, 3, "fn")
E5M2 = Format("e5m2", 5, 2)
E2M1 = Format("e2m1", 2, 1, "finite")
FORMATS = {f.name: f for f in (F16, BF16, F32, F64, TF32, E4M3, E5M2, E2M1)}


def two(power):
    return Fraction(1 << power) if power >= 0 else Fraction(1, 1 << -power)


def floor_log2(x):
    """Of a positive Fraction."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if two(e) <= x else e - 1


def number(exact, zero_negative=False):
    return Value(zero_negative if not exact else exact < 0, "number", abs(Fraction(exact)))


def add(a, b, rounding="rn"):
    if a.kind == "nan" or b.kind == "nan" or (a.kind == b.kind == "inf" and a.negative != b.negative):
        return NAN
    if a.kind == "inf" or b.kind == "inf":
        return a if a.kind == "inf" else b
    total = a.exact + b.exact
    if not total:  # a zero's sign: both operands', or that of the rounding
        return Value(a.negative if a.negative == b.negative and a.is_zero and b.is_zero else rounding == "rm", "number")
    return number(total)


def multiply(a, b):
    negative = a.negative != b.negative
    if a.kind == "nan" or b.kind == "nan" or (a.kind == "inf" and b.is_zero) or (b.kind == "inf" and a.is_zero):
        return NAN
    if a.kind == "inf" or b.kind == "inf":
        return Value(negative, "inf")
    return Value(negative, "number", a.magnitude * b.magnitude)


def divide(a, b):
    negative = a.negative != b.negative
    if a.kind == "nan" or b.kind == "nan" or (a.kind == b.kind == "inf") or (a.is_zero and b.is_zero):
        return NAN
    if a.kind == "inf" or b.is_zero:
        return Value(negative, "inf")
    if b.kind == "inf":
        return Value(negative, "number")
    return Value(negative, "number", a.magnitude / b.magnitude)


def square_root(a):
    """With one bit more than any rounding looks at: the rest of the root is one sticky bit."""
    if a.kind == "nan" or (a.negative and not a.is_zero):
        return NAN
    if a.kind == "inf" or a.is_zero:
        return a
    shift = 140 - floor_log2(a.magnitude)
    shift += shift & 1
    scaled = a.magnitude * two(shift)
    floor = int(scaled)
    root = isqrt(floor)
    sticky = root * root != floor or scaled != floor
    return Value(False, "number", Fraction(2 * root + sticky, 2) * two(-shift // 2))


def signed(bits, width):
    return bits - (1 << width) if bits >> (width - 1) & 1 else bits
