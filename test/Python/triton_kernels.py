"""Triton kernels compiled ahead of time for sm_89, without torch and without a GPU: prints JSON with PTX and launch facts.

Run by test_emulator_triton.py under a Python that has triton.
"""
import json
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def matmul_fp8(a, b, bias, c, scale, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """c = gelu(scale * a b + bias) in f16; a is M x K, b is N x K, both E4M3."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    pa = a + rows[:, None] * K + k[None, :]
    pb = b + columns[None, :] * K + k[:, None]
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        va = tl.load(pa, mask=rows[:, None] < M, other=0.0)
        vb = tl.load(pb, mask=columns[None, :] < N, other=0.0)
        acc = tl.dot(va, vb, acc)
        pa += BK
        pb += BK
    x = acc * scale + tl.load(bias + columns, mask=columns < N, other=0.0)[None, :]
    y = 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c + rows[:, None] * N + columns[None, :], y.to(tl.float16), mask=mask)


@triton.jit
def attention(q, k, v, o, scale, S, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """One head of softmax(scale q k^T) v, online softmax; all S x D in f16."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, D)
    base = tl.program_id(1) * S * D
    vq = tl.load(q + base + rows[:, None] * D + d[None, :], mask=rows[:, None] < S, other=0.0)
    most = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, D), tl.float32)
    for start in range(0, S, BN):
        columns = start + tl.arange(0, BN)
        vk = tl.load(k + base + columns[None, :] * D + d[:, None], mask=columns[None, :] < S, other=0.0)
        s = tl.dot(vq, vk) * scale
        s = tl.where(columns[None, :] < S, s, float("-inf"))
        new = tl.maximum(most, tl.max(s, 1))
        p = tl.exp(s - new[:, None])
        old = tl.exp(most - new)
        total = total * old + tl.sum(p, 1)
        vv = tl.load(v + base + columns[:, None] * D + d[None, :], mask=columns[:, None] < S, other=0.0)
        acc = tl.dot(p.to(tl.float16), vv, acc * old[:, None])
        most = new
    tl.store(o + base + rows[:, None] * D + d[None, :], (acc / total[:, None]).to(tl.float16), mask=rows[:, None] < S)


@triton.jit
def layer_norm_quantise(x, gain, shift, y, inverse, N, BLOCK: tl.constexpr):
    """A row of layer norm in f32, times `inverse`, to E4M3."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    mask = i < N
    v = tl.load(x + row * N + i, mask=mask, other=0.0)
    mean = tl.sum(v, 0) / N
    centred = tl.where(mask, v - mean, 0.0)
    variance = tl.sum(centred * centred, 0) / N
    out = centred * (1 / tl.sqrt(variance + 1e-6)) * tl.load(gain + i, mask=mask, other=0.0)
    out += tl.load(shift + i, mask=mask, other=0.0)
    tl.store(y + row * N + i, (out * inverse).to(tl.float8e4nv), mask=mask)


KERNELS = [
    (matmul_fp8, {"a": "*fp8e4nv", "b": "*fp8e4nv", "bias": "*fp32", "c": "*fp16", "scale": "fp32", "M": "i32", "N": "i32", "K": "i32"},
     {"BM": 64, "BN": 64, "BK": 64}, {"num_warps": 4, "num_stages": 3}),
    (attention, {"q": "*fp16", "k": "*fp16", "v": "*fp16", "o": "*fp16", "scale": "fp32", "S": "i32"}, {"D": 64, "BM": 64, "BN": 32},
     {"num_warps": 4, "num_stages": 2}),
    (layer_norm_quantise, {"x": "*fp32", "gain": "*fp32", "shift": "*fp32", "y": "*fp8e4nv", "inverse": "fp32", "N": "i32"},
     {"BLOCK": 256}, {"num_warps": 2}),
]


def main():
    out = {"version": triton.__version__}
    for function, signature, constants, options in KERNELS:
        signature = signature | {name: "constexpr" for name in constants}
        aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
        source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
        compiled = triton.compile(source, target=GPUTarget("cuda", 89, 32), options=options)
        out[compiled.metadata.name] = {"ptx": compiled.asm["ptx"], "shared": compiled.metadata.shared,
                                       "threads": 32 * compiled.metadata.num_warps}
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
