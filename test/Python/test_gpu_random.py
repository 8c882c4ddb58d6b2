"""GPU kernels of random shapes on the emulator against numpy in f64: some of each op.

VITRIFY_RANDOM_SEED=N tries other ones; a failure names the case, and the test the seed.
"""
import math
import os

import numpy as np
import pytest
from gpu_ops import BF16, E4M3, F16, F32, I32, U8, Case, Result, check, f64, kind, normal
from test_gpu_attention import attention_case, uniform_case
from test_gpu_embed import patch_case
from test_gpu_gate import gate_case
from test_gpu_gather import assemble_case, cache_case, merge_case, pool_case, rope_case, scatter_case
from test_gpu_linear import gate_case as gated_case
from test_gpu_linear import gelu_case, residual_case, scaled_case
from test_gpu_ops import linear_case
from test_gpu_rows import norm_case, quantize_case, token_norm

SEED = int(os.environ.get("VITRIFY_RANDOM_SEED", "20260"))
HALVES, FLOATS = (F16, BF16), (F16, BF16, F32)
HEADS = (32, 40, 48, 64, 72, 80, 96, 104, 128)


class Pick:
    def __init__(self, *where):
        self.rng = np.random.default_rng([SEED, *where])

    def of(self, options):
        return options[self.rng.integers(len(options))]

    def between(self, low, high):
        """Sizes are as likely small as large."""
        return int(math.exp(self.rng.uniform(math.log(low), math.log(high + 1))))

    def segments(self, most):
        return [int(n) for n in self.rng.integers(0, most, self.between(1, 5))] + [1]


def run(cases):
    try:
        check(cases)
    except AssertionError as error:
        raise AssertionError(f"VITRIFY_RANDOM_SEED={SEED}: {error}") from None


def product(p):
    m, n, k = p.between(1, 200), p.between(2, 220), p.between(16, 900)
    dtype = p.of((E4M3, E4M3, F16, BF16))
    choice = p.rng.integers(5)
    if choice == 0:
        return gelu_case(m, n, k)
    if choice == 1:
        return residual_case(m, n, k)
    if choice == 2:
        return gated_case(m, n + n % 2, k, p.of(("silu", "gelu_erf")))
    if choice == 3:
        block = p.of((32, 64, 128))
        height = p.between(1, n)  # blocks of rows are told by their number
        height = -(-n // -(-n // height))
        return scaled_case(m, n, block * p.between(1, 5), block, height, per_row=bool(p.rng.integers(2)))
    return linear_case(m, n, k, dtype, p.of((F32, F16 if dtype == E4M3 else dtype)), seed=SEED)


def attention(p):
    dtype, hd, kv = p.of(HALVES), p.of(HEADS), p.between(1, 2)
    heads = kv * p.between(1, 3)
    if p.rng.random() < 0.5:
        tokens = p.between(1, 330)
        keys, causal = (tokens if p.rng.random() < 0.6 else p.between(1, 330)), bool(p.rng.random() < 0.3)
        return uniform_case(tokens, p.between(1, 2), heads, kv, hd, dtype, kv=max(keys, tokens) if causal else keys, options="causal " if causal else "", causal=causal)
    q, causal = p.segments(120), bool(p.rng.integers(2))
    k = [n + int(p.rng.integers(0, 60)) for n in q]
    cq, ck = (I32(np.concatenate([[0], np.cumsum(n)])) for n in (q, k))
    values = normal(p.rng, (cq[-1], heads * hd), dtype), *(normal(p.rng, (ck[-1], kv * hd), dtype) for _ in range(2))
    extra, mask, options = {"cq": cq, "ck": ck}, None, ("causal " if causal else "") + "cu_seqlens_q(%cq : tensor<?xi32>) cu_seqlens_k(%ck : tensor<?xi32>)"
    if p.rng.random() < 0.3:
        mask = (p.rng.random(ck[-1]) < 0.8).astype(I32)
        extra, options = extra | {"m": mask}, options + " key_mask(%m : tensor<?xi32>)"
    return attention_case(f"segments {q} {k} {heads}/{kv}x{hd}", *values, heads, kv, options, list(zip(cq, cq[1:], ck, ck[1:], cq)), dtype, None, extra, causal, mask)


def norm(p):
    m, choice = p.between(1, 40), p.rng.integers(4)
    if choice == 0:
        return token_norm(m, p.between(2, 3000), layer=bool(p.rng.integers(2)))
    if choice == 1:
        block = p.of((8, 12, 32, 64, 128, 200))
        return quantize_case(m, block * p.between(1, 12), block if p.rng.integers(2) else None, p.of(FLOATS))
    if choice == 2:
        width = p.of((12, 64, 72, 80, 128))
        dtype = p.of(FLOATS)
        return norm_case(p.of(("layer", "rms")), m, width * p.between(1, 8), dtype, dtype, width=width, affine=p.of((None, *FLOATS)), seed=SEED)
    return norm_case(p.of(("layer", "rms")), m, p.between(2, 5000), p.of(FLOATS), p.of((*FLOATS, E4M3)), affine=p.of((None, *FLOATS)), seed=SEED)


def place(p):
    d, dtype, choice = p.between(4, 700), p.of(FLOATS), p.rng.integers(6)
    if choice == 0:
        prefix, registers = p.between(1, 3) - 1, p.between(1, 5) - 1
        if p.rng.integers(2):
            own = p.between(1, 60)
            return assemble_case([own] * p.between(1, 4), d, prefix, registers, p.of((0, own, own + prefix)), dtype)
        return assemble_case(p.segments(50), d, prefix, registers, 0, dtype, uniform=False)
    if choice == 1:
        sizes, uniform = [p.between(1, 200)] * p.between(1, 4), bool(p.rng.integers(2))
        sizes = sizes if uniform else [p.between(1, 200) for _ in sizes]
        return pool_case(p.of(("token", "mean", "mean")), int(p.rng.integers(min(sizes))), sizes, d, dtype, uniform=uniform)
    if choice == 2:
        factor = p.between(1, 6)
        return merge_case(factor * p.between(1, 20), d, factor, dtype)
    if choice == 3:
        m = p.between(1, 60)
        return scatter_case(p.of(("set", "add")), m, d, dtype, p.rng.integers(0, m, p.between(1, 90)))
    if choice == 4:
        capacity = p.between(1, 50)
        filled = [int(n) for n in p.rng.integers(0, capacity + 1, p.between(1, 4))]
        return cache_case(capacity, d, dtype, filled, [int(p.rng.integers(0, capacity - n + 1)) for n in filled[:-1]] + [1])
    return rope_case(*p.of((("vision_2d", p.between(1, 4), p.of((12, 32, 64, 72, 128))), ("mrope", p.between(1, 4), p.of((32, 64, 128))))), dtype, m=p.between(1, 40))


def patch(p):
    ph, pw = p.of(((14, 14), (16, 16), (8, 8), (p.between(1, 12), p.between(1, 12))))
    shape = (p.between(1, 3), p.between(1, 4), ph * p.between(1, 5), pw * p.between(1, 5))
    pixels, dtype = p.of(((F32, F16), (F16, F16), (BF16, BF16), (U8, F16), (F32, BF16)))
    return patch_case(shape, (ph, pw), p.between(8, 200), pixels, dtype, p.of((F32, dtype)), static=bool(p.rng.integers(2)), seed=SEED, interleaved=bool(p.rng.integers(2)))


def gate(p):
    blocks = p.between(1, 400)
    return gate_case(blocks, p.of((f"topk k {p.between(1, blocks)}", f"threshold at {p.rng.uniform(-1, 1):.3f}")), p.of(("one", "score", "sigmoid", "softmax")),
                     p.of(FLOATS), m=p.between(1, 40))


erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Formula, and the error of its approximation: relative to the value's input, and as it is.
ACTS = {"gelu_erf": (lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), 2.0**-22, 1.6e-5), "relu": (lambda x: np.maximum(x, 0), 0, 0),
        "gelu_tanh": (lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), 2.0**-10.5, 0), "tanh": (np.tanh, 2.0**-10.5, 0),
        "silu": (lambda x: x * sigmoid(x), 2.0**-20, 0), "quick_gelu": (lambda x: x * sigmoid(1.702 * x), 2.0**-20, 0), "sigmoid": (sigmoid, 0, 2.0**-20)}


def elementwise(p):
    m, d, dtype, choice = p.between(1, 60), p.between(1, 500), p.of(FLOATS), p.rng.integers(3)
    x, y = normal(p.rng, (m, d), dtype, 3), normal(p.rng, (m, d), dtype)
    a, b = f64(x), f64(y)
    name = p.of(tuple(ACTS))
    act, relative, absolute = ACTS[name]
    # A product with an exponential of y is as wrong as y's rounding before it: some units of |y|.
    bound = relative * np.abs(a) + absolute + 2.0**-21 * np.abs(a) * (1 + np.abs(a))
    if choice == 0:
        return Case(f"{name} {m}x{d}", f'%r = vit.act {name} %x layers ["a"] : {kind(x)}', {"x": x}, [Result(act(a), bound, dtype)])
    if choice == 1:
        return Case(f"glu {name} {m}x{d}", f'%r = vit.glu {name} %x, %y layers ["a"] : {kind(x)}, {kind(y)} -> {kind(x)}', {"x": x, "y": y},
                    [Result(act(a) * b, (bound + 2.0**-23 * np.abs(a)) * np.abs(b), dtype)])
    return Case(f"residual {m}x{d}", f'%r = vit.residual %x, %y layers ["a"] : {kind(x)}, {kind(y)} -> {kind(x)}', {"x": x, "y": y},
                [Result(a + b, 2.0**-23 * np.abs(a + b), dtype)])


@pytest.mark.parametrize("make", [product, attention, norm, place, patch, gate, elementwise], ids=lambda make: make.__name__)
def test_random(make):
    run([make(Pick(number, *make.__name__.encode())) for number in range(6)])
