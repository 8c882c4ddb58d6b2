#===- test_x86_attention.py - attention kernels against numpy in f64 -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
import numpy as np
import pytest

from x86_kernels import BF16, E4M3, Columns, Kernels, op_targets, tensor_type

# head_dim odd and 31 (a whole vector of words with a single last one), 24, 40, 72; 1 token and 577; several blocks of
# keys, the last one shorter.
CASES = [  # tokens, images, heads, kv_heads, head_dim
    (1, 3, 2, 2, 24), (5, 2, 3, 1, 40), (17, 3, 2, 2, 7), (65, 1, 1, 1, 31), (50, 2, 4, 2, 72), (197, 1, 2, 2, 64), (577, 1, 1, 1, 16),
    (130, 2, 1, 1, 256), (1100, 1, 1, 1, 64)]


def reference(q, k, v, heads, kv_heads, scale, segments, causal=False, mask=None):
    """segments: (first query, end, first key, end, first result row)."""
    hd, group = q.shape[1] // heads, heads // kv_heads
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    out = np.zeros((max(s[4] + s[1] - s[0] for s in segments), q.shape[1]))
    for q0, q1, k0, k1, o in segments:
        for h in range(heads):
            g = h // group
            s = q[q0:q1, h * hd:(h + 1) * hd] @ k[k0:k1, g * hd:(g + 1) * hd].T * scale
            if causal:
                i, j = np.arange(q1 - q0)[:, None], np.arange(k1 - k0)[None]
                s = np.where(j <= i + (k1 - k0) - (q1 - q0), s, -np.inf)
            if mask is not None:
                s = np.where(mask[None, k0:k1] != 0, s, -np.inf)
            if s.shape[1] == 0:
                continue
            top = s.max(1, keepdims=True)
            p = np.exp(s - np.where(np.isfinite(top), top, 0))
            total = p.sum(1, keepdims=True)
            out[o:o + q1 - q0, h * hd:(h + 1) * hd] = (p / np.where(total == 0, 1, total)) @ v[k0:k1, g * hd:(g + 1) * hd]
    return out


def uniform(n, images, m=None, shared=False):
    m = m or n
    return [(0 if shared else i * n, n if shared else (i + 1) * n, i * m, (i + 1) * m, i * n) for i in range(images)]


def text(q, k, heads, kv_heads, scale, options, extra="", out=None, tail="", v=None):
    """With `v`, all three are column views of one %qkv."""
    kind = tensor_type(np.empty(q.shape, q.dtype))
    kv = tensor_type(np.empty(k.shape, k.dtype))
    out = out or kind
    if v is not None:
        base = tensor_type(q.base)
        names = "".join(f'  %{n} = tensor.extract_slice %qkv[0, {c.first}] [%n, {c.shape[1]}] [1, 1] : {base} to '
                        f'{tensor_type(np.empty(c.shape, c.dtype))}\n' for n, c in zip("qkv", (q, k, v)))
        head = f"func.func @f(%qkv: {base}, %n: index{extra}) {{\n" + names
    else:
        head = f"func.func @f(%q: {kind}, %k: {kv}, %v: {kv}{extra}) {{\n"
    return head + (f"  %r = vit.attention %q, %k, %v heads {heads} kv_heads {kv_heads} scale {scale} {options} "
                   f'layers ["a"] : {kind}, {kv}, {kv} -> {out} {tail}\n  return\n}}\n')


def close(found, expected, dtype, v):
    # bf16: probabilities and results are rounded to 8 bits, relative to the largest value that is averaged.
    bound = 3e-6 if dtype == np.float32 else 2.0**-7
    return np.max(np.abs(found.astype(np.float64) - expected)) <= bound * max(1.0, np.abs(v.astype(np.float64)).max())


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_uniform(target, dtype, case):
    tokens, images, heads, kv_heads, hd = case
    rng = np.random.default_rng(tokens + hd)
    rows = tokens * images
    q, k, v = (rng.standard_normal((rows, h * hd)).astype(np.float32).astype(dtype) for h in (heads, kv_heads, kv_heads))
    scale = hd**-0.5
    kernels = Kernels(text(q, k, heads, kv_heads, scale, f"uniform {tokens}"), target)
    expected = reference(q, k, v, heads, kv_heads, scale, uniform(tokens, images))
    for at_end in (True, False):
        out, = kernels.call({0: q, 1: k, 2: v}, [np.empty(q.shape, dtype)], at_end=at_end, parts=3)
        assert close(out, expected, dtype, v)


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
@pytest.mark.parametrize("causal", [False, True])
def test_cu_seqlens(target, dtype, causal):
    heads, hd = 2, 24
    cu_q, cu_k = np.int32([0, 3, 3, 130, 131]), np.int32([0, 5, 6, 150, 150])
    rng = np.random.default_rng(3)
    q = rng.standard_normal((131, heads * hd)).astype(np.float32).astype(dtype)
    k, v = (rng.standard_normal((150, heads * hd)).astype(np.float32).astype(dtype) for _ in range(2))
    mask = (rng.random(150) < 0.7).astype(np.int32)
    options = ("causal " if causal else "") + ("cu_seqlens_q(%cq : tensor<?xi32>) cu_seqlens_k(%ck : tensor<?xi32>) "
                                               "key_mask(%m : tensor<?xi32>)")
    kernels = Kernels(text(q, k, heads, heads, 0.3, options, ", %cq: tensor<?xi32>, %ck: tensor<?xi32>, %m: tensor<?xi32>"),
                      target)
    segments = [(a, b, c, d, a) for a, b, c, d in zip(cu_q, cu_q[1:], cu_k, cu_k[1:])]
    expected = reference(q, k, v, heads, heads, 0.3, segments, causal, mask)
    out, = kernels.call({0: q, 1: k, 2: v, 3: cu_q, 4: cu_k, 5: mask}, [np.empty(q.shape, dtype)], parts=4)
    assert close(out, expected, dtype, v)


@pytest.mark.parametrize("target", op_targets())
def test_probe_shared_by_all_segments(target):
    rng = np.random.default_rng(4)
    q = rng.standard_normal((1, 96)).astype(np.float32)
    k, v = (rng.standard_normal((3 * 20, 96)).astype(np.float32) for _ in range(2))
    kernels = Kernels(text(q, k, 4, 4, 0.2, "uniform 1 kv_uniform 20"), target)
    out, = kernels.call({0: q, 1: k, 2: v}, [np.empty((3, 96), np.float32)])
    assert close(out, reference(q, k, v, 4, 4, 0.2, uniform(1, 3, 20, shared=True)), np.float32, v)


@pytest.mark.parametrize("target", op_targets())
def test_views_of_qkv_and_requantised_result(target):
    heads, hd, tokens = 3, 40, 21
    d = heads * hd
    rng = np.random.default_rng(5)
    qkv = rng.standard_normal((2 * tokens, 3 * d)).astype(np.float32).astype(BF16)
    q, k, v = (Columns(qkv, i * d, (i + 1) * d) for i in range(3))
    tail = ("epilogue(%s [(m, n) -> ()] : tensor<1xf32>) group 1 {\n  ^bb0(%acc: f32, %i: f32):\n"
            "    %t = arith.mulf %acc, %i : f32\n    %c = vit.convert %t sat : f32 to f8E4M3FN\n    vit.yield %c : f8E4M3FN\n  }")
    source = text(q, k, heads, heads, 0.15, f"uniform {tokens}", ", %s: tensor<1xf32>", f"tensor<?x{d}xf8E4M3FN>", tail,
                  v)
    kernels = Kernels(source, target)
    scale = np.float32([37.5])
    out, = kernels.call({0: q, 1: k, 2: v, 3: scale}, [np.empty((2 * tokens, d), E4M3)])
    expected = reference(q.values, k.values, v.values, heads, heads, 0.15, uniform(tokens, 2)) * 37.5
    # Within one code of the exact value: E4M3 has 3 mantissa bits, smallest step 2^-9.
    assert np.all(np.abs(out.astype(np.float64) - expected) <= np.maximum(np.abs(expected) * 2.0**-3, 2.0**-9) + 0.5)
    assert np.mean(np.abs(out.astype(np.float64) - expected)) < 0.04 * np.mean(np.abs(expected))
