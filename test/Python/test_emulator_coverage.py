"""That the tests of forms leave nothing out: every opcode and every executor that the decoder knows occurs in one of them;
approximations stay inside the ISA's bounds, perturbed or not; and what is not supported is refused by name and line."""
import math
import random
import re

import numpy as np
import ptx_forms
import ptx_harness
import ptx_matrix
import pytest
import test_emulator_matrix
import test_emulator_programs
from ptx_numbers import BF16, F16, F32

from vitrify import emulator

#: (form, function, lowest and highest input, largest relative and absolute error): the bounds of the PTX ISA 9.0. Where the
#: ISA bounds the full range in units in the last place, the relative error is that of one unit (2^-23) or two.
APPROXIMATIONS = [
    ("rcp.approx{.ftz|}.f32", lambda x: 1 / x, -60, 60, 2.0**-23, 0),
    ("sqrt.approx{.ftz|}.f32", math.sqrt, 0, 100, 2.0**-23, 0),
    ("rsqrt.approx{.ftz|}.f32", lambda x: x**-0.5, 0.0001, 1e6, 2.0**-22.9, 0),
    ("ex2.approx{.ftz|}.f32", lambda x: 2.0**x, -30, 30, 2.0**-22, 0),
    ("lg2.approx{.ftz|}.f32", math.log2, 0.5, 2, 0, 2.0**-22),
    ("lg2.approx{.ftz|}.f32", math.log2, 2.1, 1e6, 2.0**-22, 0),
    ("sin.approx{.ftz|}.f32", math.sin, -3.14, 3.14, 0, 2.0**-20.5),
    ("cos.approx{.ftz|}.f32", math.cos, -3.14, 3.14, 0, 2.0**-20.9),
    ("tanh.approx.f32", math.tanh, -4, 4, 2.0**-11, 0),
    ("div.approx{.ftz|}.f32", lambda x: x / 1.7, -1e6, 1e6, 2.0**-22, 0),
    ("div.full{.ftz|}.f32", lambda x: x / 1.7, -1e6, 1e6, 2.0**-22, 0),
]
HALVES = [("ex2.approx{.f16|.f16x2}", lambda x: 2.0**x, 2.0**-9.9), ("tanh.approx{.f16|.f16x2}", math.tanh, 2.0**-10.987),
          ("ex2.approx.ftz{.bf16|.bf16x2}", lambda x: 2.0**x, 2.0**-7), ("tanh.approx{.bf16|.bf16x2}", math.tanh, 2.0**-8)]
DOUBLES = [("rcp.approx.ftz.f64", lambda x: 1 / x, 2.0**-20), ("rsqrt.approx{.ftz|}.f64", lambda x: abs(x) ** -0.5, 2.0**-20)]
#: Kernels beside the tables, for what ends a kernel or prints.
ENDINGS = """.extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);
.extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 u, .param .b64 s);
.global .align 1 .b8 text[8] = {37, 100, 10, 0};
.visible .entry traps() { trap; }
.visible .entry prints() { .param .b64 f; .param .b64 a; .param .b32 r; .local .align 8 .b8 s[8]; .reg .b64 %l<3>;
st.local.u32 [s], 42; mov.u64 %l1, text; cvta.global.u64 %l1, %l1; st.param.b64 [f], %l1; mov.u64 %l2, s; cvta.local.u64 %l2, %l2; st.param.b64 [a], %l2;
call.uni (r), vprintf, (f, a); ret; }
.visible .entry asserts() { .param .b64 m; .param .b64 f; .param .b32 l; .param .b64 u; .param .b64 s; .reg .b64 %l<3>;
mov.u64 %l1, text; cvta.global.u64 %l1, %l1; st.param.b64 [m], %l1; st.param.b64 [f], %l1; st.param.b32 [l], 7; st.param.b64 [u], %l1; st.param.b64 [s], 1;
call __assertfail, (m, f, l, u, s); ret; }
.visible .entry hints(.param .u64 p) { .reg .b64 %l; ld.param.u64 %l, [p]; discard.global.L2 [%l], 128; ret; }
"""


def approximation_forms(table):
    for pattern, *rest in table:
        for text in ptx_forms.expand(pattern):
            yield text, rest


def unary(text, registers):
    second = ", 0f3FD9999A" if text.startswith("div") else ""
    return ptx_forms.Form(text, registers, [registers], operands=f"{text} e0, a{second};")


def modules():
    """Every module of the tables, as the tests load them."""
    forms = list(ptx_forms.elementwise_forms())
    forms += [unary(t, "32") for t, _ in approximation_forms(APPROXIMATIONS)]
    forms += [unary(t, "32" if t.endswith("x2") else "16") for t, _ in approximation_forms(HALVES)]
    forms += [unary(t, "64") for t, _ in approximation_forms(DOUBLES)]
    yield ptx_harness.HEAD + "".join(ptx_harness.form_kernel(f"k{i}", f) for i, f in enumerate(forms))
    for family in test_emulator_programs.FAMILIES.values():
        yield test_emulator_programs.module(list(family()))
    yield ptx_harness.HEAD + "".join(test_emulator_matrix.kernel(f"k{i}", f) for i, f in enumerate(ptx_matrix.mma_forms()))
    yield ptx_harness.HEAD + "".join(test_emulator_matrix.wmma_kernel(f"k{i}", f) for i, f in enumerate(test_emulator_matrix.WMMA))
    yield ptx_harness.HEAD + ENDINGS


def test_every_form_of_the_decoder_is_tested():
    known, keys, words = ptx_harness.instructions(), set(), set()
    for text in modules():
        found = ptx_harness.instructions(text)
        assert "error" not in found, found["error"]
        keys |= set(found["keys"])
        words |= set(re.findall(r"[a-z]\w*", text))
    missing = sorted(set(known["keys"]) - keys)
    assert not missing, f"{len(missing)} executors that no test of a form uses: {', '.join(missing[:60])}"
    assert not set(known["opcodes"]) - words, f"opcodes without a test: {sorted(set(known['opcodes']) - words)}"


@pytest.mark.parametrize("mode", ["exact", "perturb"])
def test_approximations_stay_inside_the_bounds(mode):
    cases = list(approximation_forms(APPROXIMATIONS))
    text = ptx_harness.HEAD + "".join(ptx_harness.form_kernel(f"k{i}", unary(t, "32")) for i, (t, _) in enumerate(cases))
    moved = 0
    with emulator.Session(text, chip=ptx_harness.CHIP, approx=mode, seed=5) as session:
        for i, (form, (function, low, high, relative, absolute)) in enumerate(cases):
            rng = random.Random(i)
            x = np.array([rng.uniform(low, high) or 1 for _ in range(ptx_harness.THREADS)], np.float32)
            result = session.run(f"k{i}", 1, ptx_harness.THREADS, [emulator.Empty(x.shape, np.float32), x])
            assert result.faults == 0
            divided = [float(v) / float(np.float32(1.7)) for v in x] if form.startswith("div") else [function(float(v)) for v in x]
            for value, got, want in zip(x, result.arrays[0], divided):
                error = abs(float(got) - want)
                assert error <= abs(want) * relative + absolute, f"{form} of {value}: {got}, off by {error}"
                moved += np.float32(want) != got
    # The plain mode rounds once; the other leaves most results elsewhere, or it would test nothing.
    assert (moved > 1000) == (mode == "perturb"), moved


@pytest.mark.parametrize("mode", ["exact", "perturb"])
def test_approximations_in_halves_and_doubles(mode):
    cases = list(approximation_forms(HALVES))
    text = ptx_harness.HEAD + "".join(ptx_harness.form_kernel(f"k{i}", unary(t, "32" if t.endswith("x2") else "16")) for i, (t, _) in enumerate(cases))
    text += "".join(ptx_harness.form_kernel(f"d{i}", unary(t, "64")) for i, (t, _) in enumerate(approximation_forms(DOUBLES)))
    with emulator.Session(text, chip=ptx_harness.CHIP, approx=mode, seed=5) as session:
        for i, (form, (function, relative)) in enumerate(cases):
            fmt, pair, rng = (BF16 if "bf16" in form else F16), form.endswith("x2"), random.Random(i)
            values = [rng.uniform(-4, 4) for _ in range(2 * ptx_harness.THREADS)]
            codes = [fmt.encode(F32.decode(int(np.float32(v).view(np.uint32)))) for v in values]
            x = np.array([a | (b << 16 if pair else 0) for a, b in zip(codes[::2], codes[1::2])], np.uint32 if pair else np.uint16)
            result = session.run(f"k{i}", 1, ptx_harness.THREADS, [emulator.Empty(x.shape, x.dtype), x])
            for source, got in zip(x.tolist(), result.arrays[0].tolist()):
                for half in range(2 if pair else 1):
                    value, out = (float(fmt.decode(v >> 16 * half & 0xFFFF).exact) for v in (source, got))
                    want = function(value)
                    assert abs(out - want) <= abs(want) * relative, f"{form} of {value}: {out}, expected {want}"
        for i, (form, (function, relative)) in enumerate(approximation_forms(DOUBLES)):
            x = np.random.default_rng(i).uniform(1e-3, 1e9, ptx_harness.THREADS)
            result = session.run(f"d{i}", 1, ptx_harness.THREADS, [emulator.Empty(x.shape, np.float64), x])
            want = np.array([function(v) for v in x])
            assert (np.abs(result.arrays[0] - want) <= np.abs(want) * relative).all(), form


def test_kernels_that_end_print_or_hint(capfd):
    for kernel, error in (("traps", 719), ("asserts", 710), ("prints", 0)):
        result = emulator.run(ptx_harness.HEAD + ENDINGS, kernel, 1, 2, [], chip=ptx_harness.CHIP, check=False)
        assert result.error == error, f"{kernel}: {result.message}"
    import ctypes
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out.count("42\n") == 2
    data = np.zeros(64, np.uint32)
    assert emulator.run(ptx_harness.HEAD + ENDINGS, "hints", 1, 1, [data], chip=ptx_harness.CHIP).faults == 0


@pytest.mark.parametrize("statement, reason", [
    ("tex.2d.v4.f32.f32 {a, a, a, a}, [t, {a, a}];", ""), ("suld.b.1d.b32.trap {a}, [t, {a}];", ""), ("vadd.s32.s32.s32 a, a, a;", "vadd.s32.s32.s32"),
    ("mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {a,a,a,a}, {a,a,a,a}, {a,a,a,a}, {a,a,a,a}, a, 0x0;", "mma.sp"),
    ("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned"), ("tcgen05.wait::ld.sync.aligned;", "tcgen05.wait"),
    ("cp.async.bulk.commit_group;", "cp.async.bulk.commit_group"), ("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {a}, {a}, {a}, {a};", "mma.sync.aligned.m8n8k4"),
    ("mma.sync.aligned.m8n8k32.row.col.s32.s4.s4.s32 {a,a}, {a}, {a}, {a,a};", "mma.sync.aligned.m8n8k32"),
    ("multimem.ld_reduce.relaxed.sys.global.add.f32 a, [b];", "multimem.ld_reduce"), ("add.s32.wrong a, a, a;", "add.s32.wrong"),
    ("add.bf16 h, h, h; add.ftz.bf16 h, h, h;", "add.ftz.bf16"), ("fma.rn.sat.bf16 h, h, h, h;", "fma.rn.sat.bf16"),
    ("cvt.rn.e4m3x2.f32 h, a, a;", "satfinite"), ("nosuch.u32 a, a;", "nosuch.u32"),
    ("wmma.mma.sync.aligned.row.col.m16n16k16.f32.tf32.tf32.f32 {a}, {a}, {a}, {a};", "wmma.mma"), ("vote.all.pred p, p;", "only the .sync form"),
    ("st.const.u32 [b], a;", "constants cannot be stored to"), ("ld.global.u32 a, [a];", "a 32-bit address"),
])
def test_what_is_missing_is_refused(statement, reason):
    text = ptx_harness.HEAD + f".visible .entry k()\n{{\n.reg .b32 a; .reg .b64 b; .reg .b16 h; .reg .pred p;\n\n{statement}\nret;\n}}\n"
    error = ptx_harness.instructions(text).get("error", "")
    assert error.startswith("module:8: "), f"{statement}: {error!r}"
    assert reason in error and "\n" not in error, error
