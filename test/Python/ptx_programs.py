"""Small kernels for the forms that touch memory, other lanes or control: loads, stores, atomics, barriers, copies, shuffles,
calls. Each has its input, and what the PTX ISA says it writes, worked out here in Python.
"""
import itertools

import numpy as np
from ptx_forms import expand, mask, width
from ptx_numbers import BF16, F16, F32, F64, add, signed

RECORD = 64  # bytes of input and of output of a thread
TYPES = ("b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64", "b128")
REGISTERS = """.reg .pred %p<16>; .reg .b16 %h<32>; .reg .b32 %r<64>; .reg .f32 %f<16>; .reg .b64 %l<32>; .reg .b64 %in, %out, %at;
.reg .f64 %d<8>; .reg .b128 %q<8>; .reg .b32 %me;
"""
PROLOGUE = """mov.u32 %me, %tid.x; ld.param.u64 %in, [in]; ld.param.u64 %out, [out];
mad.wide.u32 %in, %me, 64, %in; mad.wide.u32 %out, %me, 64, %out;
"""


class Program:
    """`body` runs with %in and %out at the thread's records (64 bytes) and %me. `expected(records)` gives the bytes of every
    thread's output record, None where any byte will do; records that are not written keep `fill`."""

    def __init__(self, name, body, expected, threads=32, before="", declarations="", params="", grid=1, fill=0xA5, checks="all"):
        self.name, self.body, self.expected, self.threads, self.before = name, body, expected, threads, before
        self.declarations, self.params, self.grid, self.fill, self.checks = declarations, params, grid, fill, checks

    def text(self, kernel):
        params = ".param .u64 in, .param .u64 out" + (", " + self.params if self.params else "")
        return f"{self.before}.visible .entry {kernel}({params})\n{{\n{REGISTERS}{self.declarations}{PROLOGUE}{self.body}\nret;\n}}\n"


def records(rng, threads):
    return rng.integers(0, 256, (threads, RECORD), dtype=np.uint8)


def per_thread(f):
    """An expectation from a function of (thread, its 64 bytes) to the first bytes of the output record."""
    def expected(data):
        out = []
        for t in range(len(data)):
            got = f(t, bytes(data[t]))
            out.append(list(got) + [0xA5] * (RECORD - len(got)))
        return out
    return expected


def integer(data, at, size):
    return int.from_bytes(data[at:at + size], "little")


# ---------------------------------------------------------------- loads and stores

COPY = {  # the input record into the thread's part of a space; its address in %at
    "global": "mov.b64 %at, %in;",
    "shared": "mov.u64 %at, s; mad.wide.u32 %at, %me, 64, %at;",
    "local": "mov.u64 %at, s;",
}
DECLARE = {"shared": ".shared .align 16 .b8 s[2048];\n", "local": ".local .align 16 .b8 s[64];\n"}


def fill_space(space):
    moves = "".join(f"ld.global.v2.b64 {{%l0, %l1}}, [%in+{i}]; st.{space}.v2.b64 [%at+{i}], {{%l0, %l1}};\n" for i in (0, 16, 32, 48))
    return COPY[space] + "\n" + (moves if space != "global" else "")


def drain_space(space):
    return "".join(f"ld.{space}.v2.b64 {{%l0, %l1}}, [%at+{i}]; st.global.v2.b64 [%out+{i}], {{%l0, %l1}};\n" for i in (0, 16, 32, 48))


def register_classes(t):
    w = width(t)
    return [r for r in (16, 32, 64) if r >= w] if w <= 64 else [128]


def vectors(t):
    w = width(t)
    yield 1
    if w <= 64:
        yield 2
    if w <= 32:
        yield 4
    if w == 64:
        yield 4
    if w == 32:
        yield 8


def names(register, count):
    prefix = {16: "%h", 32: "%r", 64: "%l", 128: "%q"}[register]
    listed = [f"{prefix}{i + 8 if register == 16 else i + 16 if register == 32 else i + 8 if register == 64 else i}" for i in range(count)]
    return listed


def operand(listed):
    return listed[0] if len(listed) == 1 else "{" + ", ".join(listed) + "}"


def extended(value, t, register):
    w = width(t)
    return (signed(value, w) if t[0] == "s" and w < register else value) & mask(register)


def load_programs():
    spaces = [(s, s) for s in ("global", "shared", "local")] + [("", s) for s in ("global", "shared", "local")]
    for (named, space), t in itertools.product(spaces, TYPES):
        for register, count in itertools.product(register_classes(t), vectors(t)):
            if count * width(t) > 128 and space != "global":
                continue
            if count > 1 and register != max(16, width(t)):
                continue
            listed = names(register, count)
            vector = f".v{count}" if count > 1 else ""
            generic = "" if named or space == "global" else f"cvta.{space}.u64 %at, %at;"
            size = width(t) // 8
            stores = "".join(f"st.global.b{register} [%out+{i * register // 8}], {n};\n" for i, n in enumerate(listed))
            body = fill_space(space) + generic + f"ld{'.' + named if named else ''}{vector}.{t} {operand(listed)}, [%at];\n" + stores

            def loaded(_, data, t=t, register=register, count=count, size=size):
                return b"".join(extended(integer(data, i * size, size), t, register).to_bytes(register // 8, "little") for i in range(count))
            if count * register // 8 <= RECORD:
                yield Program(f"ld.{named}({space}){vector}.{t} into {register}", body, per_thread(loaded), declarations=DECLARE.get(space, ""))
    constants = bytes((i * 37 + 11) & 255 for i in range(64))
    listing = ", ".join(str(b) for b in constants)
    for t in TYPES:
        for register in register_classes(t):
            (name,) = names(register, 1)
            size = width(t) // 8

            def fixed(_, data, t=t, register=register, size=size):
                return extended(integer(constants, 16, size), t, register).to_bytes(register // 8, "little")
            store = f"st.global.b{register} [%out], {name};"
            yield Program(f"ld.const.{t} into {register}", f"ld.const.{t} {name}, [table+16];{store}", per_thread(fixed),
                          before=f".const .align 16 .b8 table[64] = {{{listing}}};\n")
            yield Program(f"ld.param.{t} into {register}", f"ld.param.{t} {name}, [extra+16];{store}",
                          per_thread(lambda _, data, t=t, register=register, size=size: extended(integer(data, 16, size), t, register).to_bytes(register // 8, "little")),
                          params=".param .align 16 .b8 extra[64]")


def store_programs():
    spaces = [(s, s) for s in ("global", "shared", "local")] + [("", s) for s in ("global", "shared", "local")]
    for (named, space), t in itertools.product(spaces, [t for t in TYPES if t[0] in "bf"]):
        for register, count in itertools.product(register_classes(t), vectors(t)):
            if (count > 1 and register != max(16, width(t))) or (count * width(t) > 128 and space != "global"):
                continue
            listed = names(register, count)
            vector = f".v{count}" if count > 1 else ""
            size = width(t) // 8
            loads = "".join(f"ld.global.b{register} {n}, [%in+{32 + i * 16 if register == 128 else (32 + i * (register // 8)) % 64}];\n"
                            for i, n in enumerate(listed))
            address = "%l2"
            generic = f"mov.b64 {address}, %at;" if named or space == "global" else f"cvta.{space}.u64 {address}, %at;"
            target = space if space != "global" else "global"
            start = fill_space(space) if space != "global" else "mov.b64 %at, %out;\n" + drain_into_out()
            finish = drain_space(target) if space != "global" else ""
            body = start + loads + generic + f"st{'.' + named if named else ''}{vector}.{t} [{address}+8], {operand(listed)};\n" \
                if count * size <= 8 else start + loads + generic + f"st{'.' + named if named else ''}{vector}.{t} [{address}], {operand(listed)};\n"
            at = 8 if count * size <= 8 else 0

            def stored(_, data, register=register, count=count, size=size, at=at):
                out = bytearray(data)
                for i in range(count):
                    value = integer(data, 32 + i * 16 if register == 128 else (32 + i * (register // 8)) % 64, register // 8)
                    out[at + i * size:at + (i + 1) * size] = (value & mask(size * 8)).to_bytes(size, "little")
                return bytes(out)
            yield Program(f"st.{named}({space}){vector}.{t} from {register}", body + finish, per_thread(stored), declarations=DECLARE.get(space, ""))


def drain_into_out():
    return "".join(f"ld.global.v2.b64 {{%l0, %l1}}, [%in+{i}]; st.global.v2.b64 [%out+{i}], {{%l0, %l1}};\n" for i in (0, 16, 32, 48))


def modified_programs():
    """Orders, scopes, cache operators, eviction priorities and policies: the value is the same."""
    policy = "createpolicy.fractional.L2::evict_last.b64 %l20, 1.0;"
    loads = ["ld.weak.global", "ld.volatile.global", "ld.mmio.relaxed.sys.global", "ld.global.nc", "ld.global.L1::evict_last",
             "ld.global.nc.L1::no_allocate", "ld.global.L1::evict_normal", "ld.global.L1::evict_unchanged", "ld.global.L1::evict_first",
             "ld.global.L2::64B", "ld.global.L2::128B", "ld.global.L2::256B", "ld.weak", "ld.volatile", "ldu.global", "ldu", "ld.global.L2::cache_hint"]
    loads += list(expand("ld{.relaxed|.acquire}{.cta|.cluster|.gpu|.sys}{.global|}"))
    loads += [f"ld.global.{c}" for c in ("ca", "cg", "cs", "lu", "cv")] + [f"ld.global.nc.{c}" for c in ("ca", "cg", "cs")]
    for text in loads:
        hint = ", %l20" if "cache_hint" in text else ""
        yield Program(text, f"{policy if hint else ''}{text}.u32 %r1, [%in]{hint}; st.global.u32 [%out], %r1;", per_thread(lambda _, d: d[:4]))
    for text in ("ldu.global.v2", "ldu.global.v4", "ld.global.nc.v4", "ld.relaxed.gpu.global.v2", "ld.volatile.global.v4"):
        n = int(text[-1])
        regs = "{" + ", ".join(f"%r{i}" for i in range(n)) + "}"
        yield Program(text, f"{text}.u32 {regs}, [%in]; st.global.v{n}.u32 [%out], {regs};", per_thread(lambda _, d, n=n: d[:4 * n]))
    stores = ["st.weak.global", "st.volatile.global", "st.mmio.relaxed.sys.global", "st.global.L1::evict_last", "st.global.L1::no_allocate",
              "st.weak", "st.volatile", "st.global.L2::cache_hint"]
    stores += list(expand("st{.relaxed|.release}{.cta|.cluster|.gpu|.sys}{.global|}")) + [f"st.global.{c}" for c in ("wb", "cg", "cs", "wt")]
    for text in stores:
        hint = ", %l20" if "cache_hint" in text else ""
        yield Program(text, f"{policy if hint else ''}ld.global.u32 %r1, [%in]; {text}.u32 [%out], %r1{hint};", per_thread(lambda _, d: d[:4]))
    shared = DECLARE["shared"]
    for text in [t for t in expand("ld{.relaxed|.acquire}{.cta|.gpu}{.shared|.shared::cta}")] + ["ld.volatile.shared", "ld.weak.shared", "ld.shared::cta"]:
        yield Program(text, fill_space("shared") + f"{text}.u32 %r1, [%at]; st.global.u32 [%out], %r1;", per_thread(lambda _, d: d[:4]),
                      declarations=shared)
    for text in [t for t in expand("st{.relaxed|.release}{.cta|.gpu}{.shared|.shared::cta}")] + ["st.volatile.shared", "st.weak.shared", "st.shared::cta"]:
        yield Program(text, fill_space("shared") + f"ld.shared.u32 %r1, [%at+8]; {text}.u32 [%at], %r1; ld.shared.u32 %r2, [%at]; st.global.u32 [%out], %r2;",
                      per_thread(lambda _, d: d[8:12]), declarations=shared)
    for text in ("prefetch.global.L1 [%in]", "prefetch.global.L2 [%in]", "prefetch.L1 [%in]", "prefetch.global.L2::evict_last [%in]",
                 "prefetchu.L1 [%in]", "applypriority.global.L2::evict_normal [%in], 128", "createpolicy.fractional.L2::evict_first.b64 %l1, 0.5",
                 "createpolicy.range.global.L2::evict_last.L2::evict_unchanged.b64 %l1, [%in], 64, 128",
                 "createpolicy.cvt.L2.b64 %l1, 1", "griddepcontrol.launch_dependents", "griddepcontrol.wait", "setmaxnreg.inc.sync.aligned.u32 96",
                 "setmaxnreg.dec.sync.aligned.u32 64", "pmevent 3", "pmevent.mask 7", "brkpt", "nanosleep.u32 20", "fence.proxy.async",
                 "fence.proxy.alias", "fence.proxy.async.global", "fence.mbarrier_init.release.cluster", "membar.cta", "membar.gl", "membar.sys",
                 *[f"fence{s}{c}" for s in ("", ".sc", ".acq_rel", ".acquire", ".release") for c in (".cta", ".cluster", ".gpu", ".sys")]):
        yield Program(text, f"{text}; ld.global.u32 %r1, [%in]; st.global.u32 [%out], %r1;", per_thread(lambda _, d: d[:4]))


# ---------------------------------------------------------------- atomics


def atomic_value(op, t, old, a, b=0):
    w = width(t) if t != "b128" else 128
    m = mask(w)
    s = t[0] == "s"
    x, y = (signed(old, w), signed(a, w)) if s else (old, a)
    return {"and": lambda: old & a, "or": lambda: old | a, "xor": lambda: old ^ a, "exch": lambda: a, "add": lambda: old + a,
            "cas": lambda: b if old == a else old, "min": lambda: min(x, y), "max": lambda: max(x, y),
            "inc": lambda: 0 if old >= a else old + 1, "dec": lambda: a if old == 0 or old > a else old - 1}[op]() & m


def atomic_forms():
    """(operation, type, of the ISA's table)."""
    for op in ("and", "or", "xor", "exch", "cas"):
        yield from ((op, t) for t in ("b32", "b64"))
    yield from (("cas", "b16"), ("exch", "b128"), ("cas", "b128"), ("inc", "u32"), ("dec", "u32"))
    yield from (("add", t) for t in ("u32", "s32", "u64"))
    for op in ("min", "max"):
        yield from ((op, t) for t in ("u32", "s32", "u64", "s64"))


def atomic_programs():
    semantics = ["", ".relaxed.gpu", ".acquire.cta", ".release.sys", ".acq_rel.cluster", ".cta", ".gpu", ".sys"]
    for i, (op, t) in enumerate(atomic_forms()):
        for j, (named, space) in enumerate((("global", "global"), ("shared", "shared"), ("", "global"), ("", "shared"))):
            for order in ([semantics[(i + j) % 8]] if op != "add" else semantics):
                w = width(t)
                prefix = {16: "%h", 32: "%r", 64: "%l", 128: "%q"}[w]
                base = 2 if w == 128 else 20
                old, a, b = f"{prefix}{base}", f"{prefix}{base + 1}", f"{prefix}{base + 2}"
                generic = "cvta.shared.u64 %l4, %at;" if not named and space == "shared" else "mov.b64 %l4, %at;"
                # Of cas half the threads compare with what is there.
                compare = f"and.b32 %r1, %me, 1; setp.eq.u32 %p1, %r1, 0; @%p1 ld.global.b{w} {a}, [%in];" if op == "cas" else ""
                start = fill_space(space) if space == "shared" else "mov.b64 %at, %out;\n" + drain_into_out()
                operands = f"{a}, {b}" if op == "cas" else a
                dest = f".{named}" if named else ""
                loads = f"ld.global.b{w} {a}, [%in+16]; ld.global.b{w} {b}, [%in+32]; {compare} {generic}\n"
                finish = drain_space("shared") if space == "shared" else ""

                def result(thread, data, op=op, t=t, size=w // 8, returns=True):
                    before, x, y = (integer(data, at, size) for at in (0, 16, 32))
                    x = before if op == "cas" and thread % 2 == 0 else x
                    out = bytearray(data)
                    out[:size] = atomic_value(op, t, before, x, y).to_bytes(size, "little")
                    if returns:
                        out[48:48 + size] = before.to_bytes(size, "little")
                    return bytes(out)
                declarations = DECLARE["shared"] if space == "shared" else ""
                yield Program(f"atom{order}{dest}.{op}.{t} ({space})",
                              start + loads + f"atom{order}{dest}.{op}.{t} {old}, [%l4], {operands};\n" + finish + f"st.global.b{w} [%out+48], {old};",
                              per_thread(result), declarations=declarations)
                if op not in ("cas", "exch") and order not in (".acquire.cta", ".acq_rel.cluster"):
                    yield Program(f"red{order}{dest}.{op}.{t} ({space})", start + loads + f"red{order}{dest}.{op}.{t} [%l4], {a};\n" + finish,
                                  per_thread(lambda thread, data, f=result: f(thread, data, returns=False)), declarations=declarations)
    yield from float_atomic_programs()


def float_atomic_programs():
    formats = {"f32": F32, "f64": F64, "f16": F16, "bf16": BF16}
    cases = [("add", "f32", 1, ""), ("add", "f64", 1, ""), ("add", "f32", 2, ""), ("add", "f32", 4, "")]
    cases += [("add", t, n, ".noftz") for t in ("f16", "bf16", "f16x2", "bf16x2") for n in (1, 2, 4)] + [("add", t, 8, ".noftz") for t in ("f16", "bf16")]
    cases += [(op, t, n, ".noftz") for op in ("min", "max") for t in ("f16", "bf16", "f16x2", "bf16x2") for n in (2, 4)]
    cases += [(op, t, 8, ".noftz") for op in ("min", "max") for t in ("f16", "bf16")]
    for op, t, count, noftz in cases:
        element = t.removesuffix("x2")
        fmt = formats[element]
        w = fmt.bits * (2 if t.endswith("x2") else 1)
        for named, space in (("global", "global"), ("shared", "shared"), ("", "global"), ("", "shared")):
            if count > 1 and space != "global":
                continue
            listed, results = ([f"{ {16: '%h', 32: '%r', 64: '%l'}[w]}{i}" for i in range(first, first + count)] for first in (8, 18))
            generic = "cvta.shared.u64 %l4, %at;" if not named and space == "shared" else "mov.b64 %l4, %at;"
            start = fill_space(space) if space == "shared" else "mov.b64 %at, %out;\n" + drain_into_out()
            loads = "".join(f"ld.global.b{w} {n}, [%in+{32 + i * w // 8}];" for i, n in enumerate(listed)) + generic + "\n"
            finish = drain_space("shared") if space == "shared" else ""
            stores = "".join(f"st.global.b{w} [%out+{48 + i * w // 8}], {n};" for i, n in enumerate(results))
            vector = f".v{count}" if count > 1 else ""
            dest = f".{named}" if named else ""
            middle = f".{op}{noftz}{vector}.{t}"

            def result(_, data, op=op, fmt=fmt, total=count * w // fmt.bits, size=fmt.bits // 8, span=count * w // 8, space=space, returns=True):
                out = bytearray(data)
                for i in range(total):
                    x, y = integer(data, i * size, size), integer(data, 32 + i * size, size)
                    out[i * size:(i + 1) * size] = float_atomic(op, fmt, x, y, space).to_bytes(size, "little")
                if returns:
                    out[48:48 + span] = data[:span]
                return bytes(out)
            declarations = DECLARE["shared"] if space == "shared" else ""
            yield Program(f"atom{dest}{middle} ({space})", start + loads + f"atom{dest}{middle} {operand(results)}, [%l4], {operand(listed)};\n" +
                          finish + stores, per_thread(result), declarations=declarations)
            yield Program(f"red{dest}{middle} ({space})", start + loads + f"red{dest}{middle} [%l4], {operand(listed)};\n" + finish,
                          per_thread(lambda t, d, f=result: f(t, d, returns=False)), declarations=declarations)


def float_atomic(op, fmt, x, y, space):
    if op == "add":
        flush = fmt is F32 and space == "global"  # the ISA: subnormals are flushed in global memory, kept in shared memory
        a, b = (fmt.flush(v) if flush else v for v in (x, y))
        bits = fmt.encode(add(fmt.decode(a), fmt.decode(b)))
        return fmt.flush(bits) if flush else bits
    a, b = fmt.decode(x), fmt.decode(y)
    if a.kind == "nan" or b.kind == "nan":
        return fmt.nan if a.kind == b.kind else y if a.kind == "nan" else x

    def key(bits):
        return -(bits & ~fmt.sign) - 1 if bits & fmt.sign else bits
    return (min if op == "min" else max)(x, y, key=key)
