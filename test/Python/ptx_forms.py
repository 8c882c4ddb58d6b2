"""The arithmetic forms of the PTX ISA 9.0 that act lane by lane, each with its operands and an oracle in Python integers and
exact rationals (ptx_numbers.py). Written from the ISA's text, not from the emulator.
"""
import itertools
import re

import ptx_numbers as pn
from ptx_numbers import E2M1, E4M3, E5M2, F16, F32, F64, FORMATS, TF32, signed


class Form:
    """`text` is the opcode with its modifiers. `dest` and `sources` are register classes: "p", "16", "32", "64", or "32v" and
    the like for small-valued inputs of a type. `oracle` maps source bits to destination bits (several: a tuple), or None for
    inputs whose result the ISA leaves open. `check(got, inputs)` replaces it where only bounds are given. `operands` may
    write the operand list out. `nan`: the format of a result whose NaNs count as one. `zeros`: that of a result whose zeros
    may have either sign (what .relu and .sat make of -0 is not said)."""

    def __init__(self, text, dest, sources, oracle=None, check=None, operands=None, nan=None, kinds=None, zeros=None):
        self.text, self.dest, self.sources = text, dest if isinstance(dest, tuple) else (dest,), sources
        self.oracle, self.check, self.operands, self.nan, self.zeros = oracle, check, operands, nan, zeros
        self.kinds = kinds or [None] * len(sources)


def expand(pattern):
    """ "add{.rn|.rz|}.f32" to every choice."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [[p] if i % 2 == 0 else p.split("|") for i, p in enumerate(parts)]
    for choice in itertools.product(*choices):
        yield "".join(choice)


def width(type_name):
    return int(re.sub(r"^[a-z]+", "", type_name).split("x")[0])


def mask(bits):
    return (1 << bits) - 1


# ---------------------------------------------------------------- integers


def integer(text):
    parts = text.split(".")
    op, mods, t = parts[0], parts[1:-1], parts[-1]
    if t.endswith("x2"):
        w, is_signed = 16, t[0] == "s"
    else:
        w, is_signed = width(t), t[0] == "s"
    m = mask(w)

    def value(x, bits=w):
        x &= mask(bits)
        return signed(x, bits) if is_signed else x

    def clamp(x):
        return max(-(1 << (w - 1)), min((1 << (w - 1)) - 1, x)) if is_signed else max(0, min(m, x))

    def one(*args):
        a = [value(x) for x in args]
        if op == "add":
            r = a[0] + a[1]
        elif op == "sub":
            r = a[0] - a[1]
        elif op in ("mul", "mad"):
            r = a[0] * a[1]
            if "hi" in mods:
                r >>= w
            if op == "mad":
                r = (r if "wide" in mods or "hi" in mods else r & m) + (value(args[2], 2 * w) if "wide" in mods else a[2])
        elif op in ("mul24", "mad24"):
            x, y = ((signed(v & 0xFFFFFF, 24) if is_signed else v & 0xFFFFFF) for v in args[:2])
            r = x * y
            r = r >> 16 if "hi" in mods else r
            if op == "mad24":
                r = (signed(r & m, 32) if is_signed else r & m) + a[2]
        elif op == "sad":
            r = a[2] + abs(a[0] - a[1])
        elif op in ("div", "rem"):
            if a[1] == 0:
                return None  # unspecified
            q = abs(a[0]) // abs(a[1]) * (-1 if (a[0] < 0) != (a[1] < 0) else 1)
            r = q if op == "div" else a[0] - q * a[1]
        elif op == "abs":
            r = abs(a[0])
        elif op == "neg":
            r = -a[0]
        elif op in ("min", "max"):
            r = (min if op == "min" else max)(a[0], a[1])
            if "relu" in mods:
                r = max(r, 0)
        else:
            raise AssertionError(text)
        if "sat" in mods:
            r = clamp(r)
        return r & mask(2 * w if "wide" in mods else w)

    if not t.endswith("x2"):
        return one
    return lambda *args: one(*(x & 0xFFFF for x in args)) | one(*(x >> 16 for x in args)) << 16


def integer_forms():
    all6 = "{.u16|.u32|.u64|.s16|.s32|.s64}"
    three = {"mad", "mad24", "sad"}
    for pattern in ("add" + all6, "add.sat.s32", "add{.u16x2|.s16x2}", "sub" + all6, "sub.sat.s32", "mul{.lo|.hi}" + all6,
                    "mul.wide{.u16|.u32|.s16|.s32}", "mad{.lo|.hi}" + all6, "mad.hi.sat.s32", "mad.wide{.u16|.u32|.s16|.s32}",
                    "mul24{.lo|.hi}{.u32|.s32}", "mad24{.lo|.hi}{.u32|.s32}", "mad24.hi.sat.s32", "sad" + all6, "div" + all6,
                    "rem" + all6, "abs{.s16|.s32|.s64}", "neg{.s16|.s32|.s64}", "{min|max}{.u16|.u32|.u64|.u16x2|.s16|.s64}",
                    "{min|max}{.relu|}{.s16x2|.s32}"):
        for text in expand(pattern):
            op, t = text.split(".")[0], text.split(".")[-1]
            w = 32 if t.endswith("x2") else width(t)
            sources = [str(w)] * (3 if op in three else 1 if op in ("abs", "neg") else 2)
            dest = str(2 * w) if ".wide" in text else str(w)
            if ".wide" in text and op == "mad":
                sources[2] = dest
            yield Form(text, dest, sources, integer(text))
    yield from carry_forms()
    yield from bit_forms()


def carry_forms():
    """The carry goes in by "add.cc" of all ones and the lowest bit of the last source, and comes out by "addc"."""
    for text in expand("{addc|subc|madc.lo|madc.hi}{.cc|}{.u32|.s32|.u64|.s64}"):
        yield carry_form(text, reads=True)
    for text in expand("{add|sub|mad.lo|mad.hi}.cc{.u32|.s32|.u64|.s64}"):
        yield carry_form(text, reads=False)


def carry_form(text, reads):
    parts = text.split(".")
    op, t = parts[0][:3], parts[-1]
    w, is_signed, hi, sets = width(t), t[0] == "s", "hi" in parts, "cc" in parts
    count = 3 if op == "mad" else 2

    def oracle(*args):
        values, carry = args[:count], args[count] & 1
        flag = carry if reads else 0
        if op == "mad":
            a, b = ((signed(v, w) if is_signed else v) for v in values[:2])
            product = (a * b >> w if hi else a * b) & mask(w)
            total = product + values[2] + flag
        elif op == "add":
            total = values[0] + values[1] + flag
        else:
            total = values[0] - values[1] - flag
        out = 1 if total < 0 or total > mask(w) else 0
        return total & mask(w), out if sets else carry

    names = ", ".join("abcd"[i] for i in range(count))
    # subc reads a borrow: the flag is made by a subtraction.
    make = "sub.cc.u32 t, 0, lsb;" if op == "sub" else "add.cc.u32 t, 0xffffffff, lsb;"
    read = "subc.u32 e1, 0, 0; and.b32 e1, e1, 1;" if op == "sub" else "addc.u32 e1, 0, 0;"
    return Form(text, (str(w), "32"), [str(w)] * count + ["32"], oracle,
                operands=f"and.b32 lsb, {'abcd'[count]}, 1; {make} {text} e0, {names}; {read}")


def permute(mode, a, b, c):
    data = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
    if mode == "":
        out = []
        for i in range(4):
            n = c >> 4 * i & 15
            byte = data[n & 7]
            out.append((255 if byte & 128 else 0) if n & 8 else byte)
    else:
        s = c & 3
        order = {"f4e": [s, s + 1, s + 2, s + 3], "b4e": [s, (s - 1) & 7, (s - 2) & 7, (s - 3) & 7], "rc8": [s] * 4,
                 "ecl": [max(i, s) for i in range(4)], "ecr": [min(i, s) for i in range(4)],
                 "rc16": [(s & 1) * 2 + (i & 1) for i in range(4)]}[mode]
        out = [data[i] for i in order]
    return sum(v << 8 * i for i, v in enumerate(out))


def bit_forms():
    def bits(text):
        return width(text.split(".")[-1])

    for text in expand("{and|or|xor}{.b16|.b32|.b64}"):
        w, op = bits(text), text.split(".")[0]
        f = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}[op]
        yield Form(text, str(w), [str(w)] * 2, f)
    for text in expand("{and|or|xor}.pred"):
        f = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}[text.split(".")[0]]
        yield Form(text, "p", ["p", "p"], f)
    yield Form("not.pred", "p", ["p"], lambda a: a ^ 1)
    for text in expand("not{.b16|.b32|.b64}"):
        yield Form(text, str(bits(text)), [str(bits(text))], lambda a, w=bits(text): ~a & mask(w))
    for text in expand("cnot{.b16|.b32|.b64}"):
        yield Form(text, str(bits(text)), [str(bits(text))], lambda a: int(a == 0))
    for text in expand("shl{.b16|.b32|.b64}"):
        w = bits(text)
        yield Form(text, str(w), [str(w), "32"], lambda a, b, w=w: a << min(b, w) & mask(w), kinds=[None, "shift"])
    for text in expand("shr{.b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64}"):
        w, s = bits(text), ".s" in text
        yield Form(text, str(w), [str(w), "32"],
                   lambda a, b, w=w, s=s: (signed(a, w) if s else a) >> min(b, w) & mask(w), kinds=[None, "shift"])
    for text in expand("shf{.l|.r}{.clamp|.wrap}.b32"):
        def funnel(a, b, c, left=".l" in text, clamp=".clamp" in text):
            n = min(c, 32) if clamp else c & 31
            both = b << 32 | a
            return both << n >> 32 & mask(32) if left else both >> n & mask(32)
        yield Form(text, "32", ["32"] * 3, funnel, kinds=[None, None, "shift"])
    for text in expand("popc{.b32|.b64}"):
        yield Form(text, "32", [str(bits(text))], lambda a: bin(a).count("1"))
    for text in expand("clz{.b32|.b64}"):
        yield Form(text, "32", [str(bits(text))], lambda a, w=bits(text): w - a.bit_length())
    for text in expand("bfind{.shiftamt|}{.u32|.u64|.s32|.s64}"):
        def find(a, w=bits(text), s=".s3" in text or ".s6" in text, shift="shiftamt" in text):
            x = ~a & mask(w) if s and a >> (w - 1) else a
            at = x.bit_length() - 1
            return mask(32) if at < 0 else w - 1 - at if shift else at
        yield Form(text, "32", [str(bits(text))], find)
    for text in expand("brev{.b32|.b64}"):
        yield Form(text, str(bits(text)), [str(bits(text))], lambda a, w=bits(text): int(f"{a:0{w}b}"[::-1], 2))
    for text in expand("bfe{.u32|.u64|.s32|.s64}"):
        def extract(a, b, c, w=bits(text), s=text.split(".")[1][0] == "s"):
            pos, length = b & 255, c & 255
            if length == 0:
                return 0
            fill = a >> min(pos + length - 1, w - 1) & 1 if s else 0
            return sum((a >> pos + i & 1 if i < length and pos + i < w else fill) << i for i in range(w))
        yield Form(text, str(bits(text)), [str(bits(text)), "32", "32"], extract, kinds=[None, "shift", "shift"])
    for text in expand("bfi{.b32|.b64}"):
        def insert(a, b, c, d, w=bits(text)):
            pos, length = c & 255, d & 255
            for i in range(min(length, max(w - pos, 0))):
                b = b & ~(1 << pos + i) | (a >> i & 1) << pos + i
            return b
        yield Form(text, str(bits(text)), [str(bits(text))] * 2 + ["32", "32"], insert, kinds=[None, None, "shift", "shift"])
    yield Form("fns.b32", "32", ["32"] * 3, find_nth, kinds=[None, "bit", "offset"])
    for text in expand("bmsk{.clamp|.wrap}.b32"):
        def make_mask(a, b, wrap="wrap" in text):
            a, b = (a & 31, b & 31) if wrap else (a, b)
            return sum(1 << i for i in range(32) if a <= i < a + b)
        yield Form(text, "32", ["32", "32"], make_mask, kinds=["shift", "shift"])
    for text in expand("szext{.clamp|.wrap}{.u32|.s32}"):
        def extend(a, b, wrap="wrap" in text, s=text.endswith("s32")):
            n = b & 31 if wrap else min(b, 32)
            if n == 0:
                return 0
            low = a & mask(n)
            return (signed(low, n) if s else low) & mask(32)
        yield Form(text, "32", ["32", "32"], extend, kinds=[None, "shift"])
    for text in expand("prmt.b32{|.f4e|.b4e|.rc8|.ecl|.ecr|.rc16}"):
        mode = text.split(".")[2] if text.count(".") == 2 else ""
        yield Form(text, "32", ["32"] * 3, lambda a, b, c, mode=mode: permute(mode, a, b, c))
    for table in range(256):
        def lookup(a, b, c, table=table):
            return sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))
        yield Form("lop3.b32", "32", ["32"] * 3, lookup, operands=f"lop3.b32 e0, a, b, c, {table};")
        if table % 37 == 0:
            for boolean in ("or", "and"):
                def with_predicate(a, b, c, q, table=table, boolean=boolean, lookup=lookup):
                    value = lookup(a, b, c)
                    return value, int(bool(value) or q) if boolean == "or" else int(bool(value) and q)
                yield Form(f"lop3.{boolean}.b32", ("32", "p"), ["32", "32", "32", "p"], with_predicate,
                           operands=f"lop3.{boolean}.b32 e0|e1, a, b, c, {table}, d;")
    for text in expand("dp4a{.u32|.s32}{.u32|.s32}"):
        sa, sb = (p[0] == "s" for p in text.split(".")[1:])

        def dot4(a, b, c, sa=sa, sb=sb):
            for i in range(4):
                x, y = a >> 8 * i & 255, b >> 8 * i & 255
                c += (signed(x, 8) if sa else x) * (signed(y, 8) if sb else y)
            return c & mask(32)
        yield Form(text, "32", ["32"] * 3, dot4)
    for text in expand("dp2a{.lo|.hi}{.u32|.s32}{.u32|.s32}"):
        _, half, ta, tb = text.split(".")

        def dot2(a, b, c, half=half, sa=ta[0] == "s", sb=tb[0] == "s"):
            for i in range(2):
                x, y = a >> 16 * i & 0xFFFF, b >> 8 * (i + (2 if half == "hi" else 0)) & 255
                c += (signed(x, 16) if sa else x) * (signed(y, 8) if sb else y)
            return c & mask(32)
        yield Form(text, "32", ["32"] * 3, dot2)


def find_nth(word, base, offset):
    base, offset = base & 31, signed(offset, 32)
    if offset == 0:
        return base if word >> base & 1 else mask(32)
    step, left = (1, offset) if offset > 0 else (-1, -offset)
    at = base
    while 0 <= at < 32:
        left -= word >> at & 1
        if left == 0:
            return at
        at += step
    return mask(32)


# ---------------------------------------------------------------- floating point


def lanes_of(t):
    """(format, how many in a register)."""
    return (FORMATS[t[:-2]], 2) if t.endswith("x2") else (FORMATS[t], 1)


def by_lanes(t, one):
    fmt, count = lanes_of(t)
    if count == 1:
        return one
    w = fmt.bits

    def both(*args):
        low, high = one(*(x & mask(w) for x in args)), one(*(x >> w for x in args))
        return None if low is None or high is None else low | high << w
    return both


def finish(fmt, value, mods, rounding):
    bits = fmt.encode(value, rounding)
    if "ftz" in mods:
        bits = fmt.flush(bits)
    if "sat" in mods:
        v = fmt.decode(bits)
        if v.kind == "nan" or v.negative or v.is_zero:
            bits = 0
        elif v.kind == "inf" or v.magnitude > 1:
            bits = fmt.encode(pn.number(1))
    if "relu" in mods:
        v = fmt.decode(bits)
        if v.kind != "nan" and v.negative:
            bits = 0
    return bits


def floating(text):
    parts = text.split(".")
    op, mods, t = parts[0], parts[1:-1], parts[-1]
    fmt, _ = lanes_of(t)
    rounding = next((m for m in mods if m in ("rn", "rz", "rm", "rp")), "rn")

    def one(*args):
        args = [fmt.flush(x) if "ftz" in mods else x for x in args]
        v = [fmt.decode(x) for x in args]
        if op in ("abs", "neg"):
            if v[0].kind == "nan":
                return fmt.nan
            return args[0] & ~fmt.sign if op == "abs" else args[0] ^ fmt.sign
        if op in ("min", "max"):
            return minmax(fmt, op, mods, args)
        if op == "copysign":
            return args[1] & ~fmt.sign | args[0] & fmt.sign
        result = {"add": lambda: pn.add(v[0], v[1], rounding), "sub": lambda: pn.add(v[0], v[1].negated(), rounding),
                  "mul": lambda: pn.multiply(v[0], v[1]), "div": lambda: pn.divide(v[0], v[1]),
                  "fma": lambda: pn.add(pn.multiply(v[0], v[1]), v[2], rounding),
                  "mad": lambda: pn.add(pn.multiply(v[0], v[1]), v[2], rounding),
                  "rcp": lambda: pn.divide(pn.number(1), v[0]), "sqrt": lambda: pn.square_root(v[0])}[op]()
        return finish(fmt, result, mods, rounding)
    return by_lanes(t, one)


def minmax(fmt, op, mods, args):
    """The ISA's pseudo code; with three operands it is applied twice."""
    if len(args) == 3:
        return minmax(fmt, op, mods, [minmax(fmt, op, mods, args[:2]), args[2]])
    a, b = args
    negative = (a ^ b) & fmt.sign
    if "xorsign" in mods:
        a, b = a & ~fmt.sign, b & ~fmt.sign
    va, vb = fmt.decode(a), fmt.decode(b)
    if va.kind == vb.kind == "nan" or ("NaN" in mods and "nan" in (va.kind, vb.kind)):
        return fmt.nan

    def key(bits):  # codes in order, -0 below +0
        return -(bits & ~fmt.sign) - 1 if bits & fmt.sign else bits
    r = b if va.kind == "nan" else a if vb.kind == "nan" else (min if op == "min" else max)(a, b, key=key)
    return r & ~fmt.sign | negative if "xorsign" in mods else r


def float_forms():
    rnd = "{|.rn|.rz|.rm|.rp}"
    must = "{.rn|.rz|.rm|.rp}"
    patterns = [f"{{add|sub|mul}}{rnd}{{.ftz|}}{{.sat|}}.f32", f"{{add|sub|mul}}{rnd}.f64", f"{{fma|mad}}{must}{{.ftz|}}{{.sat|}}.f32",
                f"{{fma|mad}}{must}.f64", f"div{must}{{.ftz|}}.f32", f"div{must}.f64", f"{{rcp|sqrt}}{must}{{.ftz|}}.f32",
                f"{{rcp|sqrt}}{must}.f64", "{abs|neg}{.ftz|}{.f32|.f16|.f16x2}", "{abs|neg}{.f64|.bf16|.bf16x2}",
                "{min|max}{.ftz|}{.NaN|}{.xorsign.abs|}{.f32|.f16|.f16x2}", "{min|max}{.NaN|}{.xorsign.abs|}{.bf16|.bf16x2}",
                "{min|max}.f64", "copysign{.f32|.f64}", "{add|sub|mul}{.rn|}{.ftz|}{.sat|}{.f16|.f16x2}",
                "{add|sub|mul}{.rn|}{.bf16|.bf16x2}", "fma.rn{.ftz|}{.sat|.relu|}{.f16|.f16x2}", "fma.rn{.relu|}{.bf16|.bf16x2}"]
    for pattern in patterns:
        for text in expand(pattern):
            op, t = text.split(".")[0], text.split(".")[-1]
            fmt, n = lanes_of(t)
            w = str(fmt.bits * n)
            count = 3 if op in ("fma", "mad") else 1 if op in ("abs", "neg", "rcp", "sqrt") else 2
            yield Form(text, w, [w] * count, floating(text), nan=t, kinds=[t] * count, zeros=t if ".sat" in text or ".relu" in text else None)
    for text in expand(f"{{add|sub|mul|fma}}{must}{{.ftz|}}.f32x2"):
        count = 3 if text.startswith("fma") else 2
        yield Form(text, "64", ["64"] * count, floating(text), nan="f32x2", kinds=["f32x2"] * count)
    for text in expand("{min|max}{.ftz|}{.NaN|}.f32"):
        yield Form(text, "32", ["32"] * 3, floating(text), nan="f32", kinds=["f32"] * 3, operands=f"{text} e0, a, b, c;")
    for text in expand("testp{.finite|.infinite|.number|.notanumber|.normal|.subnormal}{.f32|.f64}"):
        _, kind, t = text.split(".")

        def test(a, fmt=FORMATS[t], kind=kind):
            v = fmt.decode(a)
            small = fmt.is_subnormal(a)
            return int({"finite": v.kind == "number", "infinite": v.kind == "inf", "number": v.kind != "nan",
                        "notanumber": v.kind == "nan", "normal": v.kind == "number" and not small and not v.is_zero,
                        "subnormal": small}[kind])
        yield Form(text, "p", [str(FORMATS[t].bits)], test, kinds=[t])


# ---------------------------------------------------------------- comparison and selection

ORDERED = ("eq", "ne", "lt", "le", "gt", "ge")
UNORDERED = ("equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")


def compare(op, t, ftz=False):
    if t in FORMATS:
        fmt = FORMATS[t]

        def key(bits):
            v = fmt.decode(fmt.flush(bits) if ftz else bits)
            return None if v.kind == "nan" else (float("-inf") if v.negative else float("inf")) if v.kind == "inf" else v.exact
    else:
        w, s = width(t), t[0] == "s"

        def key(bits):
            return signed(bits, w) if s else bits
    base = op[:-1] if op in UNORDERED and op[-1] == "u" and op not in ("num", "nan") else op
    relation = {"eq": lambda x, y: x == y, "ne": lambda x, y: x != y, "lt": lambda x, y: x < y, "le": lambda x, y: x <= y,
                "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y, "lo": lambda x, y: x < y, "ls": lambda x, y: x <= y,
                "hi": lambda x, y: x > y, "hs": lambda x, y: x >= y}

    def result(a, b):
        x, y = key(a), key(b)
        unordered = x is None or y is None
        if op in ("num", "nan"):
            return unordered == (op == "nan")
        return op in UNORDERED if unordered else relation[base](x, y)
    return result


def comparisons():
    """(comparison, type) of scalar operands."""
    for t in ("b16", "b32", "b64"):
        yield from ((c, t) for c in ("eq", "ne"))
    for t in ("s16", "s32", "s64"):
        yield from ((c, t) for c in ORDERED)
    for t in ("u16", "u32", "u64"):
        yield from ((c, t) for c in ORDERED + ("lo", "ls", "hi", "hs"))
    for t in ("f16", "bf16", "f32", "f64"):
        yield from ((c, t) for c in ORDERED + UNORDERED)


BOOLEAN = {"and": lambda x, y: x and y, "or": lambda x, y: x or y, "xor": lambda x, y: x != y}


def compare_forms():
    for c, t in comparisons():
        for ftz in ([False, True] if t in ("f16", "f32") else [False]):
            f, w, z = compare(c, t, ftz), str(width(t)), ".ftz" if ftz else ""
            yield Form(f"setp.{c}{z}.{t}", "p", [w, w], lambda a, b, f=f: int(f(a, b)), kinds=[t, t])
            for b in BOOLEAN:
                yield Form(f"setp.{c}.{b}{z}.{t}", ("p", "p"), [w, w, "p"],
                           lambda x, y, q, f=f, b=b: (int(BOOLEAN[b](f(x, y), bool(q))), int(BOOLEAN[b](not f(x, y), bool(q)))),
                           operands=f"setp.{c}.{b}{z}.{t} e0|e1, a, b, c;", kinds=[t, t, None])
            yield Form(f"setp.{c}.and{z}.{t}", "p", [w, w, "p"], lambda x, y, q, f=f: int(f(x, y) and not q),
                       operands=f"setp.{c}.and{z}.{t} e0, a, b, !c;", kinds=[t, t, None])
            targets = {"u32": (mask(32), "32"), "s32": (mask(32), "32"), "f32": (F32.encode(pn.number(1)), "32"),
                       "f16": (F16.encode(pn.number(1)), "16"), "bf16": (pn.BF16.encode(pn.number(1)), "16")}
            if t in ("f16", "bf16"):
                targets |= {"u16": (mask(16), "16"), "s16": (mask(16), "16")}
                del targets["f32"], targets["bf16" if t == "f16" else "f16"]
            for d, (one, dw) in targets.items():
                yield Form(f"set.{c}{z}.{d}.{t}", dw, [w, w], lambda x, y, f=f, one=one: one if f(x, y) else 0, kinds=[t, t])
                yield Form(f"set.{c}.xor{z}.{d}.{t}", dw, [w, w, "p"],
                           lambda x, y, q, f=f, one=one: one if f(x, y) != bool(q) else 0, kinds=[t, t, None])
    for t in ("f16", "bf16"):
        for c in ORDERED + UNORDERED:
            for ftz in ([False, True] if t == "f16" else [False]):
                f, z = compare(c, t, ftz), ".ftz" if ftz else ""
                one = FORMATS[t].encode(pn.number(1))
                yield Form(f"setp.{c}{z}.{t}x2", ("p", "p"), ["32", "32"],
                           lambda a, b, f=f: (int(f(a & 0xFFFF, b & 0xFFFF)), int(f(a >> 16, b >> 16))),
                           operands=f"setp.{c}{z}.{t}x2 e0|e1, a, b;", kinds=[t + "x2"] * 2)
                for d, on in ((t + "x2", one), ("u32", 0xFFFF), ("s32", 0xFFFF)):
                    yield Form(f"set.{c}{z}.{d}.{t}x2", "32", ["32", "32"],
                               lambda a, b, f=f, on=on: (on if f(a & 0xFFFF, b & 0xFFFF) else 0) | (on if f(a >> 16, b >> 16) else 0) << 16,
                               kinds=[t + "x2"] * 2)
    for text in expand("selp{.b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64|.f32|.f64}"):
        w = str(width(text.split(".")[-1]))
        yield Form(text, w, [w, w, "p"], lambda a, b, p: a if p else b)
    for text in expand("slct{.b16|.b32|.b64|.u16|.u32|.u64|.s16|.s32|.s64|.f32|.f64}{.s32|.f32}") :
        w = str(width(text.split(".")[1]))
        if text.endswith(".s32"):
            yield Form(text, w, [w, w, "32"], lambda a, b, c: a if c >> 31 == 0 else b)
            continue
        for z in (False, True):
            def choose(a, b, c, z=z):
                v = F32.decode(F32.flush(c) if z else c)
                return b if v.kind == "nan" else a if v.is_zero or not v.negative else b
            yield Form(text[:-4] + (".ftz" if z else "") + ".f32", w, [w, w, "32"], choose, kinds=[None, None, "f32"])


# ---------------------------------------------------------------- conversion

INTEGERS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64")
FLOATS = ("f16", "bf16", "f32", "f64")
INTEGRAL = {"rni": "rn", "rzi": "rz", "rmi": "rm", "rpi": "rp"}


def integral(value, rounding):
    """A finite Value rounded to a whole number, as an int."""
    whole, rest = divmod(value.exact, 1)
    whole = int(whole)
    if rounding == "rn":
        return whole + (rest > pn.Fraction(1, 2) or (rest == pn.Fraction(1, 2) and whole & 1))
    if rounding == "rz":
        return whole + (1 if value.exact < 0 and rest else 0)
    return whole + (1 if rounding == "rp" and rest else 0)


def register(type_name):
    return str(max(16, width(type_name)))


def to_integer(value, t, from_double, rounding):
    w, s = width(t), t[0] == "s"
    low, high = (-(1 << (w - 1)), (1 << (w - 1)) - 1) if s else (0, mask(w))
    if value.kind == "nan":
        return 1 << (w - 1) if from_double or w == 64 else 0
    if value.kind == "inf":
        return (low if value.negative else high) & mask(w)
    return max(low, min(high, integral(value, rounding))) & mask(w)


def convert_forms():
    for d in INTEGERS:
        for s in INTEGERS:
            for sat in ("", ".sat"):
                def whole(a, d=d, s=s, sat=sat):
                    x = a & mask(width(s))
                    x = signed(x, width(s)) if s[0] == "s" else x
                    w = width(d)
                    if sat:
                        low, high = (-(1 << (w - 1)), (1 << (w - 1)) - 1) if d[0] == "s" else (0, mask(w))
                        x = max(low, min(high, x))
                    x &= mask(w)
                    return (signed(x, w) if d[0] == "s" else x) & mask(max(w, 16))
                yield Form(f"cvt{sat}.{d}.{s}", register(d), [register(s)], whole)
            # Registers may be wider than both types.
            wide, wider = ("64", "64") if max(width(d), width(s)) > 16 else ("32", "64")
            for source, dest in ((wide, register(d)), (register(s), wide), (wider, wider)):
                def through(a, d=d, s=s, dest=dest):
                    x = a & mask(width(s))
                    x = (signed(x, width(s)) if s[0] == "s" else x) & mask(width(d))
                    return (signed(x, width(d)) if d[0] == "s" else x) & mask(int(dest))
                if int(source) >= width(s) and int(dest) >= width(d):
                    yield Form(f"cvt.{d}.{s}", dest, [source], through)
        for s in FLOATS:
            for r in INTEGRAL:
                for z in (("", ".ftz") if s == "f32" else ("",)):
                    def from_float(a, d=d, s=s, r=r, z=z):
                        fmt = FORMATS[s]
                        x = to_integer(fmt.decode(fmt.flush(a) if z else a), d, s == "f64", INTEGRAL[r])
                        return (signed(x, width(d)) if d[0] == "s" else x) & mask(max(width(d), 16))
                    yield Form(f"cvt.{r}{z}.{d}.{s}", register(d), [register(s)], from_float, kinds=[s])
    for d in FLOATS:
        fmt = FORMATS[d]
        for s in INTEGERS:
            for r in ("rn", "rz", "rm", "rp"):
                def from_integer(a, fmt=fmt, s=s, r=r):
                    x = a & mask(width(s))
                    return fmt.encode(pn.number(signed(x, width(s)) if s[0] == "s" else x), r)
                yield Form(f"cvt.{r}.{d}.{s}", register(d), [register(s)], from_integer)
        for s in FLOATS:
            yield from float_to_float(d, s)
    yield from small_forms()


def float_to_float(d, s):
    to, source = FORMATS[d], FORMATS[s]
    narrowing = (d, s) in (("f16", "f32"), ("bf16", "f32"), ("f16", "f64"), ("bf16", "f64"), ("f32", "f64"), ("f16", "bf16"), ("bf16", "f16"))
    if d == s:
        roundings = ("rni", "rzi", "rmi", "rpi") + (("",) if d in ("f32", "f64", "f16") else ())
    else:
        roundings = ("rn", "rz", "rm", "rp") if narrowing else ("",)
    for r in roundings:
        for mods in ((), ("ftz",), ("sat",), ("ftz", "sat"), ("relu",), ("satfinite",), ("relu", "satfinite")):
            if "ftz" in mods and "f32" not in (d, s):
                continue
            if ("relu" in mods or "satfinite" in mods) and not (s == "f32" and d in ("f16", "bf16") and r in ("rn", "rz")):
                continue
            if "sat" in mods and d == "bf16" and s == "bf16":
                continue

            def one(a, r=r, mods=mods):
                a = source.flush(a) if "ftz" in mods and s == "f32" else a
                v = source.decode(a)
                if r in INTEGRAL and v.kind == "number":
                    v = pn.Value(v.negative, "number", abs(pn.Fraction(integral(v, INTEGRAL[r]))))
                bits = to.encode(v, r if r in ("rn", "rz", "rm", "rp") else "rn", "satfinite" in mods)
                return finish(to, to.decode(bits), [m for m in mods if m != "ftz" or d == "f32"], "rn")
            text = "cvt" + (f".{r}" if r else "") + "".join(f".{m}" for m in mods if m in ("ftz", "sat")) + \
                   "".join(f".{m}" for m in mods if m in ("relu", "satfinite")) + f".{d}.{s}"
            yield Form(text, register(d), [register(s)], one, kinds=[s], nan=d, zeros=d if "sat" in mods or "relu" in mods else None)


def scale_code(value, rounding):
    """UE8M0, 2^(code - 127): toward zero or up; NaN is 0xff, negative numbers and zero become the smallest."""
    if value.kind == "nan":
        return 0xFF
    if value.kind == "inf":
        return 0xFE if not value.negative else 0
    if value.negative or not value.magnitude:
        return 0
    e = pn.floor_log2(value.magnitude)
    if rounding == "rp" and pn.two(e) != value.magnitude:
        e += 1
    return max(0, min(254, e + 127))


def small_forms():
    """Pairs: the first source is the upper half."""
    for d in ("f16", "bf16"):
        for r in ("rn", "rz"):
            for relu, fin in itertools.product(("", ".relu"), ("", ".satfinite")):
                def pair(a, b, fmt=FORMATS[d], r=r, relu=relu, fin=fin):
                    half = [finish(fmt, fmt.decode(fmt.encode(F32.decode(x), r, bool(fin))), ["relu"] if relu else [], "rn") for x in (a, b)]
                    return half[0] << 16 | half[1]
                yield Form(f"cvt.{r}{relu}{fin}.{d}x2.f32", "32", ["32", "32"], pair, kinds=["f32", "f32"], nan=d + "x2",
                           zeros=d + "x2" if relu else None)
    for r, relu, fin in itertools.product(("rn", "rz"), ("", ".relu"), ("", ".satfinite")):
        yield Form(f"cvt.{r}{fin}{relu}.tf32.f32", "32", ["32"],
                   lambda a, r=r, relu=relu, fin=fin: tf32(a, r, relu, fin), kinds=["f32"], nan="f32",
                   zeros="f32" if relu else None)
    for fin in ("", ".satfinite"):
        yield Form(f"cvt.rna{fin}.tf32.f32", "32", ["32"], lambda a, fin=fin: tf32(a, "rna", "", fin), kinds=["f32"], nan="f32")
    for fmt in (E4M3, E5M2, E2M1):
        w = fmt.bits
        for relu in ("", ".relu"):
            for source in ("f32", "f16x2", "bf16x2"):
                def narrow(x, fmt=fmt, source=source, relu=relu):
                    bits = fmt.encode(FORMATS[source.removesuffix("x2")].decode(x), "rn", True) if x is not None else 0
                    v = FORMATS[source.removesuffix("x2")].decode(x)
                    if v.kind == "nan":
                        return fmt.largest if fmt is E2M1 else fmt.nan
                    return 0 if relu and v.negative else bits
                if source == "f32":
                    yield Form(f"cvt.rn.satfinite{relu}.{fmt.name}x2.f32", "8" if w == 4 else "16", ["32", "32"],
                               lambda a, b, n=narrow, w=w: n(a) << w | n(b), kinds=["f32", "f32"], zeros=fmt.name + "x2" if relu else None)
                else:
                    yield Form(f"cvt.rn.satfinite{relu}.{fmt.name}x2.{source}", "8" if w == 4 else "16", ["32"],
                               lambda a, n=narrow, w=w: n(a >> 16) << w | n(a & 0xFFFF), kinds=[source], zeros=fmt.name + "x2" if relu else None)
            def widen(a, fmt=fmt, w=w, relu=relu):
                out = 0
                for i in range(2):
                    bits = F16.encode(fmt.decode(a >> w * i & mask(w)))
                    bits = 0 if relu and bits & F16.sign and bits & 0x7FFF <= F16.infinity else bits
                    out |= bits << 16 * i
                return out
            yield Form(f"cvt.rn{relu}.f16x2.{fmt.name}x2", "32", ["8" if w == 4 else "16"], widen, nan="f16x2",
                       zeros="f16x2" if relu else None)
    for r, fin in itertools.product(("rz", "rp"), ("", ".satfinite")):
        yield Form(f"cvt.{r}{fin}.ue8m0x2.f32", "16", ["32", "32"],
                   lambda a, b, r=r, fin=fin: join8(ue8m0(a, F32, r, fin), ue8m0(b, F32, r, fin)), kinds=["f32pos", "f32pos"])
        yield Form(f"cvt.{r}{fin}.ue8m0x2.bf16x2", "16", ["32"],
                   lambda a, r=r, fin=fin: join8(ue8m0(a >> 16, pn.BF16, r, fin), ue8m0(a & 0xFFFF, pn.BF16, r, fin)), kinds=["bf16x2pos"])
    yield Form("cvt.rn.bf16x2.ue8m0x2", "32", ["16"],
               lambda a: sum((pn.BF16.nan if c == 255 else pn.BF16.encode(pn.number(pn.two(c - 127)))) << 16 * i
                             for i, c in enumerate((a & 255, a >> 8))), nan="bf16x2")
    for t in ("u16", "s16"):
        yield Form(f"cvt.pack.sat.{t}.s32", "32", ["32", "32"],
                   lambda a, b, t=t: saturate(a, t) << 16 | saturate(b, t))
    for t in ("u8", "s8"):
        yield Form(f"cvt.pack.sat.{t}.s32.b32", "32", ["32"] * 3,
                   lambda a, b, c, t=t: (c & 0xFFFF) << 16 | saturate(a, t) << 8 | saturate(b, t))


def join8(high, low):
    return None if high is None or low is None else high << 8 | low


def ue8m0(bits, fmt, rounding, satfinite):
    v = fmt.decode(bits)
    code = scale_code(v, rounding)
    # Without .satfinite a value beyond the largest becomes NaN.
    if not satfinite and v.kind == "inf":
        return 0xFF
    if not satfinite and v.kind == "number" and v.magnitude > pn.two(127) and rounding == "rp":
        return None
    return code


def saturate(x, t):
    w, x = width(t), signed(x, 32)
    low, high = (-(1 << (w - 1)), (1 << (w - 1)) - 1) if t[0] == "s" else (0, mask(w))
    return max(low, min(high, x)) & mask(w)


def tf32(a, r, relu, fin):
    v = F32.decode(a)
    if v.kind == "nan":
        return F32.nan
    if relu and v.negative:
        return 0
    return TF32.encode(v, r, bool(fin)) << 13


def elementwise_forms():
    for family in (integer_forms, float_forms, compare_forms, convert_forms):
        yield from family()
