"""mma.sync and wmma: fragment layouts as the PTX ISA draws them, and the published rules of tensor-core sums in exact integers
(microsoft/MMA-Sim, arXiv 2511.10909). Written from those texts, not from the emulator.
"""
from fractions import Fraction

import ptx_numbers as pn
from ptx_numbers import FORMATS, F16, F32

#: Fraction bits kept below the largest exponent, K in one group, bits of the result's fraction; by chip and operand class.
RULES = {"sm_89": {"half": (24, 8, 23, False), "eight": (13, 16, 13, False)},
         "sm_90a": {"half": (25, 16, 23, False), "eight": (25, 32, 23, True)},
         "sm_120a": {"half": (25, 16, 23, False), "eight": (25, 32, 23, False)}}
SMALLEST_EXPONENT = {13: -132, 24: -133, 25: -133}
EIGHT = ("e4m3", "e5m2")


class Mma:
    def __init__(self, m, n, k, d, a, b, c, mods=""):
        self.m, self.n, self.k, self.d, self.a, self.b, self.c, self.mods = m, n, k, d, a, b, c, mods
        satfinite, kind = ".satfinite" if "satfinite" in mods else "", ".kind::f8f6f4" if "kind" in mods else ""
        self.text = f"mma.sync.aligned.m{m}n{n}k{k}.row.col{satfinite}{kind}.{d}.{a}.{b}.{c}"

    def bits(self, which):
        return width(getattr(self, which))

    def layout(self, which):
        """{(lane, element): (row, column)} of the fragment, by the figures of the ISA (groupID g, threadID_in_group q)."""
        out = {}
        for lane in range(32):
            g, q = lane >> 2, lane & 3
            if which in "dc":
                for i in range(self.m * self.n // 32):
                    out[lane, i] = (g + 8 * (i >> 1), 2 * q + (i & 1))
                continue
            per = 1 if self.bits(which) == 64 else 32 // self.bits(which)
            for i in range((self.m if which == "a" else self.n) * self.k // 32):
                register, within = divmod(i, per)
                if which == "a" and self.m == 16:
                    out[lane, i] = (g + 8 * (register & 1), per * q + within + 4 * per * (register >> 1))
                elif which == "a":
                    out[lane, i] = (g, per * q + within + 4 * per * register)
                else:
                    out[lane, i] = (per * q + within + 4 * per * register, g)
        return out

    def registers(self, which):
        """(count, bits of each)."""
        rows = self.n if which == "b" else self.m
        columns = self.n if which in "dc" else self.k
        total = rows * columns // 32 * self.bits(which)
        size = 64 if self.bits(which) == 64 else 32
        return total // size, size


def width(t):
    return FORMATS[t].bits if t in FORMATS and t != "tf32" else {"tf32": 32, "s8": 8, "u8": 8, "s32": 32}[t]


def mma_forms():
    for k in (8, 16):
        yield Mma(16, 8, k, "f32", "f16", "f16", "f32")
        yield Mma(16, 8, k, "f16", "f16", "f16", "f16")
        yield Mma(16, 8, k, "f32", "bf16", "bf16", "f32")
    for k in (4, 8):
        yield Mma(16, 8, k, "f32", "tf32", "tf32", "f32")
    for k in (16, 32):
        for a in EIGHT:
            for b in EIGHT:
                yield Mma(16, 8, k, "f32", a, b, "f32")
                yield Mma(16, 8, k, "f16", a, b, "f16")
    yield Mma(16, 8, 32, "f32", "e4m3", "e4m3", "f32", "kind")
    for m, k in ((8, 16), (16, 16), (16, 32)):
        for a in ("s8", "u8"):
            for b in ("s8", "u8"):
                for mods in ("", "satfinite"):
                    yield Mma(m, 8, k, "s32", a, b, "s32", mods)
    for m, k in ((8, 4), (16, 4), (16, 8), (16, 16)):
        yield Mma(m, 8, k, "f64", "f64", "f64", "f64")


def is_integer(t):
    return t in ("s8", "u8", "s32")


def operand_value(t, bits):
    """Of a code: an int, or a Value."""
    if is_integer(t):
        return pn.signed(bits, width(t)) if t[0] == "s" else bits
    return pn.F32.decode(bits & ~0x1FFF) if t == "tf32" else FORMATS[t].decode(bits)


def scale_of(t, value):
    """The exponent that alignment sees: of the code, so that subnormals have the smallest."""
    fmt = FORMATS["f32" if t == "tf32" else t]
    return max(pn.floor_log2(value.magnitude), fmt.smallest_exponent)


def truncate(value, quantum_exponent):
    """Toward zero, in units of 2^quantum_exponent."""
    scaled = value * pn.two(-quantum_exponent)
    whole = abs(scaled.numerator) // scaled.denominator
    return -whole if scaled < 0 else whole


def chip_sum(chip, a_type, b_type, d_type, a, b, c):
    """One output's bits: a, b lists of Values, c a Value, all finite. Groups in order; each cuts its terms and its result."""
    fraction, group, result_bits, late = RULES[chip]["eight" if a_type in EIGHT else "half"]
    group = group // 2 if a_type == "tf32" else group
    accumulator = c.exact
    for first in range(0, len(a), group):
        pairs = [(x, y) for x, y in zip(a[first:first + group], b[first:first + group]) if not x.is_zero and not y.is_zero]
        exponents = [scale_of(a_type, x) + scale_of(b_type, y) for x, y in pairs]
        terms = [x.exact * y.exact for x, y in pairs]
        if not late and accumulator:
            exponents.append(pn.floor_log2(abs(accumulator)))
            terms.append(accumulator)
        quantum = max(exponents + [SMALLEST_EXPONENT[fraction]]) - fraction
        total = sum(truncate(t, quantum) for t in terms) * pn.two(quantum)
        if total:
            unit = max(pn.floor_log2(abs(total)), -126) - result_bits
            total = truncate(total, unit) * pn.two(unit)
        if late:  # two IEEE operations: the group's sum, then the addend
            total = F32.decode(F32.encode(pn.number(total + accumulator))).exact
        accumulator = total
        if d_type == "f16":
            bits = F16.encode(pn.number(accumulator))
            value = F16.decode(bits)
            if value.kind != "number":
                return bits
            accumulator = value.exact
    return bits if d_type == "f16" else F32.encode(pn.number(accumulator), "rz")


def bound(chip, a_type, b_type, a, b, c):
    """How far the rule may be from the exact sum: every term of a group loses less than one unit of the cut, every result
    less than one of its own."""
    fraction, group, result_bits, _ = RULES[chip]["eight" if a_type in EIGHT else "half"]
    group = group // 2 if a_type == "tf32" else group
    largest, loss = abs(c.exact), Fraction(0)
    for first in range(0, len(a), group):
        products = [(x, y) for x, y in zip(a[first:first + group], b[first:first + group]) if not x.is_zero and not y.is_zero]
        top = max([scale_of(a_type, x) + scale_of(b_type, y) for x, y in products] + [SMALLEST_EXPONENT[fraction]])
        top = max(top, pn.floor_log2(largest) if largest else top)
        loss += (len(products) + 1) * pn.two(top - fraction)
        largest += sum(abs(x.exact * y.exact) for x, y in products) + loss
        if largest:
            loss += pn.two(max(pn.floor_log2(largest), -126) - min(result_bits, 23))
    return loss


def ieee_special(a, b, c):
    """The result where an operand is infinite or NaN, or None."""
    total = c
    seen = c.kind != "number"
    for x, y in zip(a, b):
        seen |= x.kind != "number" or y.kind != "number"
        total = pn.add(total, pn.multiply(x, y))
    return total if seen and total.kind != "number" else None


class Wmma:
    """wmma on one tile: layouts of a, b and of c and d, and the space all four lie in."""

    def __init__(self, m, n, k, d, a, c, layouts, space, mods=""):
        self.m, self.n, self.k, self.d, self.a, self.b, self.c, self.mods = m, n, k, d, a, a, c, mods
        self.layouts, self.space = layouts, space
        satfinite = ".satfinite" if mods else ""
        types = f"{d}.{c}" if a == "f16" else f"{d}.{a}.{a}.{c}"
        self.shape = f"m{m}n{n}k{k}"
        self.text = f"wmma.mma.sync.aligned.{layouts[0]}.{layouts[1]}.{self.shape}.{types}{satfinite}"

    def extent(self, which):
        return (self.k if which == "b" else self.m), (self.k if which == "a" else self.n)

    def registers(self, which):
        """The ISA's table of fragments: (count, bits)."""
        t = getattr(self, which)
        rows, columns = self.extent(which)
        if t == "f16" and which in "ab":
            return 8, 32
        size = 64 if t == "f64" else 32
        return rows * columns // 32 * width(t) // size, size

    def address(self, which, row, column, pad):
        """Element of the tile in memory, whose rows (or columns) are `pad` elements longer than the tile."""
        rows, columns = self.extent(which)
        layout = self.layouts[{"a": 0, "b": 1}.get(which, 2)]
        return row * (columns + pad) + column if layout == "row" else column * (rows + pad) + row

    def stride(self, which, pad):
        rows, columns = self.extent(which)
        return (columns if self.layouts[{"a": 0, "b": 1}.get(which, 2)] == "row" else rows) + pad


def wmma_forms():
    layouts = [("row", "col", "row"), ("col", "row", "col"), ("row", "row", "col"), ("col", "col", "row")]
    spaces = ["global", "shared", "", "global"]
    kinds = []
    for shape in ((16, 16, 16), (32, 8, 16), (8, 32, 16)):
        kinds += [(*shape, d, "f16", c, mods) for d in ("f16", "f32") for c in ("f16", "f32") for mods in ("", "satfinite")]
        kinds += [(*shape, "f32", "bf16", "f32", "")]
        kinds += [(*shape, "s32", t, "s32", mods) for t in ("s8", "u8") for mods in ("", "satfinite")]
    kinds += [(16, 16, 8, "f32", "tf32", "f32", ""), (8, 8, 4, "f64", "f64", "f64", "")]
    for i, (m, n, k, d, a, c, mods) in enumerate(kinds):
        for j in range(4 if a in ("tf32", "f64", "bf16") else 2):
            yield Wmma(m, n, k, d, a, c, layouts[(i + j) % 4], spaces[(i // 2 + 3 * j) % 4], mods)
