"""GPU attention on the emulator against numpy in f64."""
import numpy as np
import pytest
from gpu_ops import BF16, E4M3, F16, F32, I32, UNIT, Case, Kernels, Result, Static, Weight, array_of, check, f64, kind, normal, refused, rows, yielded
from test_x86_attention import reference, uniform
from x86_kernels import Columns

IDS = {F16: "f16", BF16: "bf16", F32: "f32"}
TYPES = pytest.mark.parametrize("dtype", [F16, BF16], ids=IDS.get)


def attention_case(name, q, k, v, heads, kv_heads, options, segments, dtype, scale=None, extra=None, causal=False, mask=None, out=None,
                   requantise=None, seeds=(0, 1)):
    """`options`: text after the scale; `extra`: operands that it names."""
    width = array_of(q).shape[1]
    hd = width // heads
    scale = hd**-0.5 if scale is None else scale
    out = out or dtype
    operands = {"q": q, "k": k, "v": v} | (extra or {})
    epilogue = "epilogue()" if requantise is None else "epilogue(%s [(m, n) -> ()] : tensor<1xf32>)"
    argument, body = ("", yielded("%acc", out)) if requantise is None else (
        ", %i: f32", f"%t = arith.mulf %acc, %i : f32\n    {yielded('%t', out)}")
    if requantise is not None:
        operands["s"] = Weight(F32([requantise]))
    op = (f'%r = vit.attention %q, %k, %v heads {heads} kv_heads {kv_heads} scale {scale:.8f} {options} layers ["a"]\n'
          f"    : {kind(q)}, {kind(k)}, {kind(v)} -> {rows(width, out)} {epilogue} group 1 {{\n"
          f"  ^bb0(%acc: f32{argument}):\n    {body}\n  }}")
    values = [f64(a) for a in (q, k, v)]
    expected = reference(*values, heads, kv_heads, scale, segments, causal, mask)
    # Probabilities are rounded to the operands' type, scores have f32 sums and an exponential of 2 ulp.
    size = reference(values[0], values[1], np.abs(values[2]), heads, kv_heads, scale, segments, causal, mask)
    scores = np.abs(values[0]).max() * np.abs(values[1]).max() * hd * abs(scale)
    bound = (UNIT[np.dtype(dtype)][0] + 2.0**-21 * (1 + scores)) * size + 2.0**-20 * np.abs(expected)
    factor = requantise or 1
    return Case(name, op, operands, [Result(expected * factor, bound * factor, out)], seeds=seeds)


def uniform_case(tokens, images, heads, kv_heads, hd, dtype, kv=None, options="", **more):
    kv = kv or tokens
    rng = np.random.default_rng([tokens, heads, hd])
    q, k, v = normal(rng, (images * tokens, heads * hd), dtype), *(normal(rng, (images * kv, kv_heads * hd), dtype) for _ in range(2))
    options += f"uniform {tokens}" + (f" kv_uniform {kv}" if kv != tokens else "")
    return attention_case(f"{tokens} x {kv} x {hd} {IDS[dtype]}", q, k, v, heads, kv_heads, options, uniform(tokens, images, kv), dtype, **more)


@TYPES
def test_one_pass(dtype):
    """Up to 256 keys: every head dimension that models have, tails of rows and keys, grouped heads, other keys than queries."""
    check([uniform_case(1, 3, 2, 2, 64, dtype), uniform_case(16, 1, 2, 1, 32, dtype), uniform_case(17, 2, 1, 1, 72, dtype),
           uniform_case(64, 1, 1, 1, 128, dtype), uniform_case(65, 1, 2, 2, 80, dtype), uniform_case(50, 1, 2, 1, 96, dtype),
           uniform_case(197, 1, 1, 1, 64, dtype), uniform_case(256, 1, 1, 1, 88, dtype), uniform_case(40, 1, 1, 1, 8, dtype),
           uniform_case(21, 2, 2, 1, 64, dtype, kv=130), uniform_case(33, 1, 1, 1, 40, dtype, scale=-0.2)], every_variant=True)


@TYPES
def test_online(dtype):
    check([uniform_case(257, 1, 1, 1, 64, dtype), uniform_case(577, 1, 1, 1, 72, dtype), uniform_case(300, 1, 2, 1, 128, dtype),
           uniform_case(5, 1, 1, 1, 80, dtype, kv=1024)])


@TYPES
def test_causal(dtype):
    check([uniform_case(77, 2, 2, 2, 64, dtype, options="causal ", causal=True), uniform_case(7, 1, 1, 1, 32, dtype, options="causal ", causal=True, kv=140),
           uniform_case(150, 1, 1, 1, 128, dtype, options="causal ", causal=True)], every_variant=True)


@TYPES
@pytest.mark.parametrize("causal", [False, True])
def test_cu_seqlens(dtype, causal):
    """Segments without keys, without queries, of one and of several blocks; and a key mask."""
    heads, hd = 2, 24
    cu_q, cu_k = I32([0, 3, 3, 130, 131]), I32([0, 5, 6, 150, 150])
    rng = np.random.default_rng(3)
    q, k, v = normal(rng, (131, heads * hd), dtype), *(normal(rng, (150, hd), dtype) for _ in range(2))
    hidden = (rng.random(150) < 0.7).astype(I32)
    segments = [(a, b, c, d, a) for a, b, c, d in zip(cu_q, cu_q[1:], cu_k, cu_k[1:])]
    options = ("causal " if causal else "") + "cu_seqlens_q(%cq : tensor<?xi32>) cu_seqlens_k(%ck : tensor<?xi32>)"
    check([attention_case("two tables", q, k, v, heads, 1, options, segments, dtype, None, {"cq": cu_q, "ck": cu_k}, causal),
           attention_case("key mask", q, k, v, heads, 1, options + " key_mask(%m : tensor<?xi32>)", segments, dtype, None,
                          {"cq": cu_q, "ck": cu_k, "m": hidden}, causal, hidden)], every_variant=True)


@TYPES
def test_probe_shared_by_all_segments(dtype):
    """Pooling by attention: one query row for all images."""
    rng = np.random.default_rng(4)
    q, (k, v) = normal(rng, (1, 144), dtype), (normal(rng, (3 * 49, 144), dtype) for _ in range(2))
    case = attention_case("probe", Static(q), k, v, 2, 2, "uniform 1 kv_uniform 49", uniform(1, 3, 49, shared=True), dtype, 0.2)
    long = attention_case("long probe", Static(q), k, v, 2, 2, "uniform 1 kv_uniform 147", uniform(1, 1, 147, shared=True), dtype, 0.2)
    check([case, long])


def test_views_of_qkv_and_requantised_result():
    """q, k and v where one linear left them, and codes for the next."""
    heads, hd, tokens = 3, 40, 21
    d = heads * hd
    qkv = normal(np.random.default_rng(5), (2 * tokens, 3 * d), F16)
    q, k, v = (Columns(qkv, i * d, (i + 1) * d) for i in range(3))
    check([attention_case("requantised", q, k, v, heads, heads, f"uniform {tokens}", uniform(tokens, 2), F16, 0.15, out=E4M3, requantise=37.5)])


def test_work_at_197_tokens():
    """13 tiles of 16 rows by 13 blocks of 16 keys and no more; no bank conflicts, whole sectors, one wait a tile."""
    case = uniform_case(197, 1, 2, 2, 64, F16)
    counters = check([case])[case.name]
    memory, warps = counters["memory"], counters["grid"][0] * counters["grid"][1] * counters["block"][0] // 32
    useful = 2 * 2 * 197 * 197 * 64
    assert useful <= counters["tensor_macs"]["f16"] <= 1.12 * useful
    assert memory["shared_wavefronts"] == memory["shared_least_wavefronts"]
    assert memory["global_bytes"] >= 0.95 * 32 * memory["global_sectors"]
    assert counters["barrier_waits"] == warps * (2 * 4 + 1)  # 4 tiles of keys, 4 of values, and the queries


def test_registers_suffice():
    """ptxas spills nothing: the most scores and the widest heads, and heads that are not swizzled."""
    cases = [uniform_case(tokens, 1, 1, 1, hd, F16) for hd in (72, 96, 120, 128) for tokens in (256, 577)]
    cases += [uniform_case(208, 1, 1, 1, 120, BF16), uniform_case(400, 1, 1, 1, 128, F16, options="causal ", causal=True)]
    for spec in Kernels(cases, assemble=True).specs:
        assert spec["metrics"]["spill_bytes"] == 0 and spec["metrics"]["registers"] <= 255, spec["name"]
        assert spec["shared"] <= 99 << 10


def refusal(dtype, hd=64, **more):
    return refused(uniform_case(5, 1, 1, 1, hd, dtype, **more))


def test_what_is_refused():
    assert "attention on f32" in refusal(F32)
    assert "a head dimension of 136 (multiples of 8 up to 128)" in refusal(F16, 136)
    assert "a head dimension of 20 (multiples of 8 up to 128)" in refusal(F16, 20)
    qkv = np.zeros((5, 3 * 64 + 4), F16)
    q, k, v = (Columns(qkv, i, i + 64) for i in (0, 64, 132))
    assert "rows of q, k and v that are no multiple of 16 bytes" in refused(attention_case("x", q, k, v, 1, 1, "uniform 5", uniform(5, 1), F16))
    qkv = np.zeros((5, 256), F16)
    q, k, v = (Columns(qkv, i, i + 64) for i in (0, 64, 132))
    assert "rows of q, k and v that are no multiple of 16 bytes" in refused(attention_case("x", q, k, v, 1, 1, "uniform 5", uniform(5, 1), F16))
