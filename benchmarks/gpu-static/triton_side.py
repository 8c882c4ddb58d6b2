#===- triton_side.py - the same layers by Triton, compiled without a GPU -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Compiles Triton kernels for sm_89 over a table of tiles: one cubin a tile and epilogue, and what a launch of it is.

Run under a Python that has triton (no torch, no GPU): triton_side.py FOLDER HEAD_DIM... HIDDEN=... writes cubins and kernels.json into FOLDER.
"""
import json
import sys
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def linear(x, w, bias, scale, residual, out, inverse, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, EPILOGUE: tl.constexpr):
    """out = epilogue(scale x w^T + bias): x is M x K and w is N x K in E4M3. Epilogue 0 gives f16, 1 adds an f16 residual, 2 is GELU to E4M3."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    px = x + rows[:, None] * K + k[None, :]
    pw = w + columns[None, :] * K + k[:, None]
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        vx = tl.load(px, mask=(rows[:, None] < M) & (start + k[None, :] < K), other=0.0)
        vw = tl.load(pw, mask=(columns[None, :] < N) & (start + k[:, None] < K), other=0.0)
        acc = tl.dot(vx, vw, acc)
        px += BK
        pw += BK
    y = acc * tl.load(scale + columns, mask=columns < N, other=0.0)[None, :] + tl.load(bias + columns, mask=columns < N, other=0.0)[None, :]
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    at = rows[:, None] * N + columns[None, :]
    if EPILOGUE == 0:
        tl.store(out + at, y.to(tl.float16), mask=mask)
    if EPILOGUE == 1:
        tl.store(out + at, (y + tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)).to(tl.float16), mask=mask)
    if EPILOGUE == 2:
        g = 0.5 * y * (1.0 + tl.math.erf(y * 0.7071067811865476))
        tl.store(out + at, (g * inverse).to(tl.float8e4nv), mask=mask)


@triton.jit
def attention(q, k, v, o, scale, stride, S, inverse, HEAD: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """One head of one image: softmax(scale q k^T) v from rows of `stride` f16, to E4M3. HEAD is the head's size, D a power of 2."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, D)
    base = tl.program_id(2).to(tl.int64) * S * stride + tl.program_id(1) * HEAD
    inside = d < HEAD
    vq = tl.load(q + base + rows[:, None] * stride + d[None, :], mask=(rows[:, None] < S) & inside[None, :], other=0.0)
    most = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, D), tl.float32)
    for start in range(0, S, BN):
        columns = start + tl.arange(0, BN)
        vk = tl.load(k + base + columns[None, :] * stride + d[:, None], mask=(columns[None, :] < S) & inside[:, None], other=0.0)
        s = tl.where(columns[None, :] < S, tl.dot(vq, vk) * scale, float("-inf"))
        new = tl.maximum(most, tl.max(s, 1))
        p = tl.math.exp2(s - new[:, None])
        old = tl.math.exp2(most - new)
        total = total * old + tl.sum(p, 1)
        vv = tl.load(v + base + columns[:, None] * stride + d[None, :], mask=(columns[:, None] < S) & inside[None, :], other=0.0)
        acc = tl.dot(p.to(tl.float16), vv, acc * old[:, None])
        most = new
    y = acc / total[:, None] * inverse
    tl.store(o + base + rows[:, None] * stride + d[None, :], y.to(tl.float8e4nv), mask=(rows[:, None] < S) & inside[None, :])


@triton.jit
def norm(x, gain, shift, y, inverse, N, BLOCK: tl.constexpr):
    """A row of layer norm of the f16 stream to E4M3."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    mask = i < N
    v = tl.load(x + row * N + i, mask=mask, other=0.0).to(tl.float32)
    centred = tl.where(mask, v - tl.sum(v, 0) / N, 0.0)
    y0 = centred * tl.math.rsqrt(tl.sum(centred * centred, 0) / N + 1e-6) * tl.load(gain + i, mask=mask, other=0.0)
    tl.store(y + row * N + i, ((y0 + tl.load(shift + i, mask=mask, other=0.0)) * inverse).to(tl.float8e4nv), mask=mask)


# BM, BN, BK, warps, stages: what an autotuner would be given for these shapes.
TILES = ((16, 64, 128, 4, 4), (32, 64, 128, 4, 4), (64, 64, 128, 4, 3), (64, 128, 64, 4, 4), (128, 64, 64, 4, 4), (128, 128, 64, 4, 4), (128, 128, 128, 8, 3))
ATTENTION = ((64, 32, 4, 2), (64, 64, 4, 2), (128, 64, 8, 2))
LINEAR = {"x": "*fp8e4nv", "w": "*fp8e4nv", "bias": "*fp32", "scale": "*fp32", "residual": "*fp16", "out": None, "inverse": "fp32", "M": "i32", "N": "i32",
          "K": "i32"}


def build(folder, name, function, signature, constants, divisible, warps, stages):
    signature = signature | {c: "constexpr" for c in constants}
    attrs = {(i,): [["tt.divisibility", 16]] for i, (n, kind) in enumerate(signature.items()) if kind.startswith("*") or n in divisible}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=attrs)
    compiled = triton.compile(source, target=GPUTarget("cuda", 89, 32), options={"num_warps": warps, "num_stages": stages})
    (folder / f"{name}.cubin").write_bytes(compiled.asm["cubin"])
    return {"name": name, "kernel": compiled.metadata.name, "threads": 32 * warps, "shared": compiled.metadata.shared, "stages": stages} | constants


def main():
    folder, kernels = Path(sys.argv[1]), []
    heads = [int(a) for a in sys.argv[2:] if "=" not in a]
    hidden = [int(a.split("=")[1]) for a in sys.argv[2:] if "=" in a]
    for epilogue, out in enumerate(("*fp16", "*fp16", "*fp8e4nv")):
        for bm, bn, bk, warps, stages in TILES:
            constants = {"BM": bm, "BN": bn, "BK": bk, "EPILOGUE": epilogue}
            kernels.append(build(folder, f"linear{epilogue}_{bm}x{bn}x{bk}", linear, LINEAR | {"out": out}, constants, ("N", "K"), warps, stages))
    for head in heads:
        for bm, bn, warps, stages in ATTENTION:
            constants = {"HEAD": head, "D": triton.next_power_of_2(head), "BM": bm, "BN": bn}
            signature = {"q": "*fp16", "k": "*fp16", "v": "*fp16", "o": "*fp8e4nv", "scale": "fp32", "stride": "i32", "S": "i32", "inverse": "fp32"}
            kernels.append(build(folder, f"attention{head}_{bm}x{bn}", attention, signature, constants, ("stride",), warps, stages))
    for size in hidden:
        signature = {"x": "*fp16", "gain": "*fp32", "shift": "*fp32", "y": "*fp8e4nv", "inverse": "fp32", "N": "i32"}
        kernels.append(build(folder, f"norm{size}", norm, signature, {"BLOCK": triton.next_power_of_2(size)}, ("N",), 4 if size > 512 else 2, 1))
    (folder / "kernels.json").write_text(json.dumps({"version": triton.__version__, "kernels": kernels}), encoding="utf-8")


if __name__ == "__main__":
    main()
