"""Kernels of one form each, their input vectors, and what the decoder says of a module. For test_emulator_forms*.py."""
import ctypes
import json
import random

import numpy as np
import ptx_numbers as pn
from ptx_numbers import FORMATS

from vitrify import emulator

THREADS = 256
CHIP = "sm_100" # the one target that has every form
HEAD = ".version 9.0\n.target sm_100a\n.address_size 64\n"
CLASSES = {"p": (".pred", np.uint32), "8": (".b8", np.uint16), "16": (".b16", np.uint16), "32": (".b32", np.uint32),
           "64": (".b64", np.uint64)}


def instructions(ptx=None, chip=CHIP):
    """What the decoder knows, or what it makes of a module: {"keys": [...]} or {"error": "..."}."""
    library = emulator._get().library
    library.vitrifyEmulatorInstructions.restype = ctypes.c_void_p
    library.vitrifyEmulatorInstructions.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    pointer = library.vitrifyEmulatorInstructions(ptx.encode() if ptx is not None else None, chip.encode())
    try:
        return json.loads(ctypes.string_at(pointer).decode())
    finally:
        library.vitrifyEmulatorFree(pointer)


def form_kernel(name, form):
    """Thread t reads element t of each source's array and writes element t of each destination's."""
    names = "abcd"
    params = [f".param .u64 d{i}" for i in range(len(form.dest))] + [f".param .u64 s{i}" for i in range(len(form.sources))]
    lines = [f".visible .entry {name}({', '.join(params)})", "{", ".reg .b64 base, at, index;", ".reg .b32 tid, word, t, lsb;",
             ".reg .b16 half;", ".reg .b8 other;"]
    lines += [f".reg {CLASSES[c][0]} e{i};" for i, c in enumerate(form.dest)]
    lines += [f".reg {CLASSES[c][0]} {names[i]};" for i, c in enumerate(form.sources)]
    lines += ["mov.u32 tid, %tid.x; cvt.u64.u32 index, tid;"]

    def address(parameter, c):
        size = np.dtype(CLASSES[c][1]).itemsize
        return f"ld.param.u64 base, [{parameter}]; mad.lo.u64 at, index, {size}, base;"

    for i, c in enumerate(form.sources):
        load = {"p": f"ld.global.u32 word, [at]; setp.ne.u32 {names[i]}, word, 0;",
                "8": f"ld.global.u16 half, [at]; mov.b16 {{{names[i]}, other}}, half;"}.get(c, f"ld.global.b{c} {names[i]}, [at];")
        lines.append(address(f"s{i}", c) + " " + load)
    lines.append(form.operands or f"{form.text} e0, {', '.join(names[:len(form.sources)])};")
    for i, c in enumerate(form.dest):
        store = {"p": f"selp.u32 word, 1, 0, e{i}; st.global.u32 [at], word;",
                 "8": f"mov.b16 half, {{e{i}, e{i}}}; and.b16 half, half, 255; st.global.u16 [at], half;"}.get(c, f"st.global.b{c} [at], e{i};")
        lines.append(address(f"d{i}", c) + " " + store)
    return "\n".join(lines + ["ret;", "}"]) + "\n"


def edges(fmt):
    one = fmt.encode(pn.number(1))
    codes = [0, 1, 2, (1 << fmt.mantissa) - 1, 1 << fmt.mantissa, (1 << fmt.mantissa) + 1, one - 1, one, one + 1, fmt.largest,
             fmt.largest - 1, fmt.encode(pn.number(pn.Fraction(3, 2))), fmt.encode(pn.number(pn.Fraction(5, 2))), fmt.encode(pn.number(3)),
             fmt.encode(pn.number(pn.Fraction(1, 3))), fmt.encode(pn.number(127)), fmt.encode(pn.number(pn.two(min(31, (1 << fmt.exponent) - 2 - fmt.bias)))),
             fmt.encode(pn.number(pn.two(-fmt.mantissa - 1)))]
    if fmt.infinity is not None:
        codes += [fmt.infinity, fmt.infinity + 1, fmt.nan]
    return codes + [c | fmt.sign for c in codes]


def vector(rng, register, kind):
    """THREADS values of a register: edges first in a random order, then random bits; small exponents' differences for floats."""
    bits = {"p": 1, "8": 8}.get(register) or int(register)
    if kind == "shift":
        out = list(range(70)) + [255, 256, 257, 0xFFFFFFFF, 0x80000000, 1000]
    elif kind == "bit":
        out = list(range(32)) * 8
    elif kind == "offset":
        out = [x & 0xFFFFFFFF for x in range(-34, 35)]
    elif kind in FORMATS or (kind or "").removesuffix("x2") in FORMATS:
        fmt = FORMATS[kind.removesuffix("x2")]
        out = edges(fmt)
        one = fmt.encode(pn.number(1))
        while len(out) < THREADS:
            near = rng.random() < 0.6
            code = one + rng.randrange(-(6 << fmt.mantissa), 6 << fmt.mantissa) if near else rng.getrandbits(fmt.bits - 1)
            out.append(max(0, code) & (fmt.sign - 1) | (fmt.sign if rng.random() < 0.5 else 0))
        rng.shuffle(out)
        if kind.endswith("x2"):
            other = out[:]
            rng.shuffle(other)
            return [a | b << fmt.bits for a, b in zip(out, other)]
        return out
    elif kind in ("f32pos", "bf16x2pos"):  # positive, around powers of two, for scales
        fmt = FORMATS["f32" if kind == "f32pos" else "bf16"]
        out = [c for e in range(0, 255) for c in [max(0, (e << fmt.mantissa) + rng.choice((-1, 0, 1)))]] + [fmt.nan]
        if kind == "bf16x2pos":
            return [c | d << 16 for c, d in zip(out, out[::-1])]
        rng.shuffle(out)
        return out
    elif register in ("8", "16") and kind is None:
        out = [(i * 0x0101) & ((1 << bits) - 1) for i in range(256)] if register == "8" else \
            [i | (255 - i) << 8 for i in range(256)]
        rng.shuffle(out)
    else:
        out = [0, 1, 2, 3, 31, 32, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF,
               0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF00000000, 0x100000000]
        out += [(1 << k) + d for k in range(0, bits, 3) for d in (-1, 0, 1)]
    out = [x & ((1 << bits) - 1) for x in out][:THREADS]
    while len(out) < THREADS:
        out.append(rng.getrandbits(rng.choice((bits, bits, max(1, bits // 2), min(bits, 8)))))
    rng.shuffle(out)
    return out


def run_form(session, name, form, seed):
    """Runs one kernel; returns (inputs by thread, outputs by thread)."""
    rng = random.Random(seed)
    columns = [vector(rng, c, k) for c, k in zip(form.sources, form.kinds)]
    outputs = [emulator.Empty((THREADS,), CLASSES[c][1]) for c in form.dest]
    arrays = [np.array(column, CLASSES[c][1]) for column, c in zip(columns, form.sources)]
    result = session.run(name, 1, THREADS, outputs + arrays)
    assert result.faults == 0, f"{form.text}: {result.reports[:1]}"
    got = [result.arrays[i].tolist() for i in range(len(form.dest))]
    return list(zip(*columns)), list(zip(*got))


def lanes(bits, t, change):
    """Each number of a register through `change(format, code)`."""
    fmt = FORMATS[t.removesuffix("x2")]
    out = 0
    for i in range(2 if t.endswith("x2") else 1):
        out |= change(fmt, bits >> fmt.bits * i & ((1 << fmt.bits) - 1)) << fmt.bits * i
    return out


def comparable(form, bits):
    """The first result without what the ISA leaves open: the bits of f64's NaNs and of those of abs, neg and copysign, and
    the signs of some zeros."""
    if form.nan and (form.nan == "f64" or form.text.split(".")[0] in ("abs", "neg", "copysign")):
        bits = lanes(bits, form.nan, lambda fmt, code: fmt.nan if fmt.decode(code).kind == "nan" else code)
    if form.zeros:
        bits = lanes(bits, form.zeros, lambda fmt, code: 0 if code == fmt.sign else code)
    return bits
