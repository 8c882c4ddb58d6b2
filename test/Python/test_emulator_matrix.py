"""Every mma.sync form on three chips, bit for bit against the published rules in exact integers (ptx_matrix.py), within the
rule's error bound of the exact rational sum, and with infinities and NaNs; integer forms exactly, f64 within IEEE's bound."""
import random

import numpy as np
import ptx_harness
import ptx_matrix
import ptx_numbers as pn
import pytest
from ptx_matrix import FORMATS, is_integer, operand_value, width

from vitrify import emulator

CHIPS = ("sm_89", "sm_90a", "sm_120a")
FORMS = list(ptx_matrix.mma_forms())
PROBLEMS = ("near", "any", "small", "special")


def head(chip):
    return f".version {'9.0' if chip != 'sm_89' else '8.7'}\n.target {chip}\n.address_size 64\n"


def kernel(name, form):
    """Registers of a, b, c from memory, one after another for each lane; those of d to memory."""
    lines = [f".visible .entry {name}(.param .u64 pd, .param .u64 pa, .param .u64 pb, .param .u64 pc)", "{",
             ".reg .b32 lane, word; .reg .b64 base, index;", "mov.u32 lane, %tid.x; mov.u32 word, %ctaid.x; mad.lo.u32 lane, word, 32, lane;",
             "cvt.u64.u32 index, lane;"]
    names = {}
    for which in "dabc":
        count, bits = form.registers(which)
        lines.append(f".reg .b{bits} {which}<{count}>;")
        names[which] = "{" + ", ".join(f"{which}{i}" for i in range(count)) + "}"
        move = [f"ld.param.u64 base, [p{which}]; mad.lo.u64 base, index, {count * bits // 8}, base;"]
        move += [f"ld.global.b{bits} {which}{i}, [base+{i * bits // 8}];" if which != "d" else
                 f"st.global.b{bits} [base+{i * bits // 8}], d{i};" for i in range(count)]
        if which == "d":
            store = move
        else:
            lines += move
    lines += [f"{form.text} {names['d']}, {names['a']}, {names['b']}, {names['c']};"] + store + ["ret;", "}"]
    return "\n".join(lines) + "\n"


def code(rng, t, kind, accumulator=False):
    """A random code of a type."""
    if is_integer(t):
        return rng.getrandbits(width(t)) if not accumulator or kind == "any" else rng.getrandbits(20)
    fmt = FORMATS["f32" if t == "tf32" else t]
    if kind == "special" and rng.random() < 0.02:
        return rng.choice([c for c in (fmt.nan, fmt.infinity) if c is not None]) | (fmt.sign if rng.random() < 0.5 else 0)
    sign = fmt.sign if rng.random() < 0.5 else 0
    if kind == "any" and t not in ("f32", "f64", "tf32", "bf16"):
        return rng.randrange(fmt.largest + 1) | sign
    if kind == "small":
        return rng.randrange(1 << fmt.mantissa + (t not in ("e4m3", "e5m2"))) | sign if rng.random() < 0.8 else sign
    spread = 30 if kind == "any" else 4
    exponent = fmt.bias + rng.randrange(-spread, spread)
    out = exponent << fmt.mantissa | rng.getrandbits(fmt.mantissa) | sign
    return out & ~0x1FFF if t == "tf32" else out


def problem(rng, form, kind):
    """Codes of a, b, c by (row, column)."""
    a = [[code(rng, form.a, kind) for _ in range(form.k)] for _ in range(form.m)]
    b = [[code(rng, form.b, kind) for _ in range(form.n)] for _ in range(form.k)]
    c = [[code(rng, form.c, kind, True) for _ in range(form.n)] for _ in range(form.m)]
    if is_integer(form.a) and "satfinite" in form.mods and kind == "near":
        c = [[0x7FFFFFFF if (i + j) & 1 else 0x80000000 for j in range(form.n)] for i in range(form.m)]
    return a, b, c


def pack(form, which, matrices):
    """Registers of all lanes of all problems."""
    count, bits = form.registers(which)
    out = np.zeros((len(matrices), 32, count), np.uint64 if bits == 64 else np.uint32)
    w = width(getattr(form, which))
    for p, matrix in enumerate(matrices):
        for (lane, i), (row, column) in form.layout(which).items():
            at = i * w
            out[p, lane, at // bits] |= out.dtype.type(matrix[row][column] << at % bits)
    return out


def unpack(form, registers):
    _, bits = form.registers("d")
    w = width(form.d)
    out = [[0] * form.n for _ in range(form.m)]
    for (lane, i), (row, column) in form.layout("d").items():
        out[row][column] = int(registers[lane, i * w // bits]) >> i * w % bits & ((1 << w) - 1)
    return out


def expected(chip, form, a, b, c):
    """(bits, exact value or None, bound)."""
    if is_integer(form.a):
        total = c + sum(x * y for x, y in zip(a, b))
        if "satfinite" in form.mods:
            total = max(-(1 << 31), min((1 << 31) - 1, total))
        return total & 0xFFFFFFFF, None, None
    special = ptx_matrix.ieee_special(a, b, c)
    if special is not None:
        return FORMATS[form.d].encode(special), None, None
    if any(v.kind != "number" for v in a + b + [c]):
        return None, None, None
    exact = c.exact + sum(x.exact * y.exact for x, y in zip(a, b))
    if form.a == "f64":
        size = abs(c.exact) + sum(abs(x.exact * y.exact) for x, y in zip(a, b))
        return None, exact, size * (form.k + 1) * pn.two(-52) + pn.two(-1000)
    return (ptx_matrix.chip_sum(chip, form.a, form.b, form.d, a, b, c), exact,
            ptx_matrix.bound(chip, form.a, form.b, a, b, c) if form.d == "f32" else None)


@pytest.mark.parametrize("chip", CHIPS)
def test_mma(chip):
    # Integer and f64 sums are the same everywhere; kind:: is Blackwell's.
    forms = [f for f in FORMS if (chip == "sm_89" or not (is_integer(f.a) or f.a == "f64")) and (chip == "sm_120a" or "kind" not in f.mods)]
    text = head(chip) + "".join(kernel(f"k{i}", f) for i, f in enumerate(forms))
    with emulator.Session(text, chip=chip) as session:
        for index, form in enumerate(forms):
            rng = random.Random(index)
            problems = [problem(rng, form, kind) for kind in PROBLEMS]
            arrays = {w: pack(form, w, [p["abc".index(w)] for p in problems]) for w in "abc"}
            count, bits = form.registers("d")
            out = emulator.Empty((len(problems), 32, count), np.uint64 if bits == 64 else np.uint32)
            result = session.run(f"k{index}", len(problems), 32, [out, arrays["a"], arrays["b"], arrays["c"]])
            assert result.faults == 0, result.reports[:1]
            for p, (a, b, c) in enumerate(problems):
                check_problem(chip, form, PROBLEMS[p], a, b, c, unpack(form, result.arrays[0][p]))


def check_problem(chip, form, kind, a, b, c, got):
    a = [[operand_value(form.a, x) for x in row] for row in a]
    b = [[operand_value(form.b, x) for x in row] for row in b]
    c = [[operand_value(form.c, x) for x in row] for row in c]
    columns = list(zip(*b))
    checked = 0
    for row in range(form.m):
        for column in range(form.n):
            want, exact, bound = expected(chip, form, a[row], list(columns[column]), c[row][column])
            at = f"{chip} {form.text} {kind} [{row}][{column}]"
            bits = got[row][column]
            if want is not None:
                checked += 1
                if form.d == "f64":  # its NaNs have no bits of their own
                    want, bits = (ptx_harness.lanes(x, "f64", lambda fmt, x: fmt.nan if fmt.decode(x).kind == "nan" else x) for x in (want, bits))
                assert bits == want, f"{at}: got {bits:#x}, expected {want:#x}"
            if bound is not None and FORMATS[form.d].decode(bits).kind == "number":
                checked += 1
                error = abs(FORMATS[form.d].decode(bits).exact - exact)
                assert error <= bound, f"{at}: off by {float(error)}, the bound is {float(bound)}"
    assert checked > form.m * form.n // 2, f"{form.text} {kind}: {checked} outputs checked"
