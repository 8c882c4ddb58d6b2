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
    forms = [f for f in FORMS if (chip == ("sm_90a" if f.a == "f64" and f.m == 16 else "sm_89") or not (is_integer(f.a) or f.a == "f64")) and (chip == "sm_120a" or "kind" not in f.mods)]
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


WMMA = list(ptx_matrix.wmma_forms())
PAD = 16  # elements between rows: 16-byte alignment of every type
TILE = 8192  # bytes for each of d, a, b, c


def wmma_kernel(name, form):
    """Tiles a, b, c at 8192, 16384 and 24576 of a buffer, d at 0; through shared memory unless the space is global."""
    lines = [f".visible .entry {name}(.param .u64 data)", "{", ".reg .b64 p, q, at, from; .reg .b32 i, n; .reg .b128 line; .reg .pred more;",
             f".shared .align 256 .b8 tiles[{4 * TILE}];", "ld.param.u64 p, [data];"]
    if form.space != "global":
        lines += ["mov.u32 i, %tid.x; mov.u64 q, tiles;", "copy:", "mad.wide.u32 at, i, 16, p; ld.global.b128 line, [at];",
                  "mad.wide.u32 at, i, 16, q; st.shared.b128 [at], line;",
                  f"add.u32 i, i, 32; setp.lt.u32 more, i, {4 * TILE // 16}; @more bra copy;", "bar.warp.sync -1;"]
        lines += ["mov.u64 from, q;" if form.space == "shared" else "cvta.shared.u64 from, q;"]
    else:
        lines += ["mov.u64 from, p;"]
    space = f".{form.space}" if form.space else ""
    names = {}
    for which in "dabc":
        count, bits = form.registers(which)
        lines.append(f".reg .b{bits} {which}<{count}>;")
        names[which] = "{" + ", ".join(f"{which}{i}" for i in range(count)) + "}"
        t = getattr(form, which)
        t = {"s32": "s32"}.get(t, t)
        layout = form.layouts[{"a": 0, "b": 1}.get(which, 2)]
        if which != "d":
            lines.append(f"wmma.load.{which}.sync.aligned.{layout}.{form.shape}{space}.{t} {names[which]}, "
                         f"[from+{'dabc'.index(which) * TILE}], {form.stride(which, PAD)};")
    lines.append(f"{form.text} {names['d']}, {names['a']}, {names['b']}, {names['c']};")
    lines.append(f"wmma.store.d.sync.aligned.{form.layouts[2]}.{form.shape}{space}.{form.d} [from], {names['d']}, {form.stride('d', PAD)};")
    if form.space != "global":
        lines += ["bar.warp.sync -1; mov.u32 i, %tid.x;", "back:", "mad.wide.u32 at, i, 16, q; ld.shared.b128 line, [at];",
                  "mad.wide.u32 at, i, 16, p; st.global.b128 [at], line;",
                  f"add.u32 i, i, 32; setp.lt.u32 more, i, {TILE // 16}; @more bra back;"]
    return "\n".join(lines + ["ret;", "}"]) + "\n"


def test_wmma():
    """Every shape and type, layouts and spaces in turn, by the rule of sm_89."""
    chip = "sm_89"
    text = head(chip) + "".join(wmma_kernel(f"k{i}", f) for i, f in enumerate(WMMA))
    with emulator.Session(text, chip=chip) as session:
        for index, form in enumerate(WMMA):
            rng = random.Random(index)
            kind = "any" if form.mods and not is_integer(form.a) else "near"
            a, b, c = problem(rng, form, kind)
            data = np.zeros(4 * TILE, np.uint8)
            for which, matrix in zip("abc", (a, b, c)):
                size = width(getattr(form, which)) // 8
                for row, values in enumerate(matrix):
                    for column, value in enumerate(values):
                        at = "dabc".index(which) * TILE + form.address(which, row, column, PAD) * size
                        data[at:at + size] = list(value.to_bytes(size, "little"))
            result = session.run(f"k{index}", 1, 32, [data])
            assert result.faults == 0, f"{form.text}: {result.reports[:1]}"
            size = width(form.d) // 8
            got = [[int.from_bytes(bytes(data[form.address("d", r, n, PAD) * size:][:size]), "little") for n in range(form.n)]
                   for r in range(form.m)]
            check_wmma(chip, form, a, b, c, got)


def check_wmma(chip, form, a, b, c, got):
    a, b, c = ([[operand_value(t, x) for x in row] for row in matrix] for t, matrix in ((form.a, a), (form.b, b), (form.c, c)))
    columns = list(zip(*b))
    for row in range(form.m):
        for column in range(form.n):
            want, exact, bound = expected(chip, form, a[row], list(columns[column]), c[row][column])
            bits, at = got[row][column], f"{form.text} {form.space} [{row}][{column}]"
            if want is None:
                assert abs(FORMATS[form.d].decode(bits).exact - exact) <= bound, at
                continue
            if form.mods and form.d in FORMATS:
                fmt = FORMATS[form.d]
                value = fmt.decode(want)
                want = fmt.largest | want & fmt.sign if value.kind == "inf" else 0 if value.kind == "nan" else want
            assert bits == want, f"{at}: got {bits:#x}, expected {want:#x}"
