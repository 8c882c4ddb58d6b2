#===- peers.py - FP8 products by cuBLASLt and Triton -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
"""Reads [[M, N, K], ...] and prints the least microseconds of each product: {"cublaslt": [...], "triton": [...]}. Needs torch on a GPU."""
import json
import sys
from pathlib import Path

try:
    import torch
except ImportError:
    sys.exit("this Python has no torch (VITRIFY_TORCH_PYTHON names one)")
if not torch.cuda.is_available():
    sys.exit("torch finds no GPU")

ROUNDS, RUNS = 5, 20


def least(call):
    """Least mean of some runs, microseconds."""
    call()
    torch.cuda.synchronize()
    best = float("inf")
    for _ in range(ROUNDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(RUNS):
            call()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) * 1e3 / RUNS)
    return best


def operands(m, n, k):
    x = torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn)
    w = torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn)
    return x, w


def cublaslt(m, n, k):
    """Tensor-wise scales and f16 results. Sizes that cuBLASLt does not take (K or N no multiple of 16) give NaN."""
    x, w = operands(m, n, k)
    one = torch.ones((), device="cuda")
    try:
        return least(lambda: torch._scaled_mm(x, w.t(), scale_a=one, scale_b=one, out_dtype=torch.float16))
    except RuntimeError:
        return float("nan")


def triton_linear():
    """m, n, k -> microseconds with the best tile; None without triton."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gpu-static"))
    try:
        import triton
        from triton_side import TILES, linear
    except ImportError:
        return None

    def run(m, n, k):
        x, w = operands(m, n, k)
        bias, scale = torch.zeros(n, device="cuda"), torch.ones(n, device="cuda")
        out = torch.empty(m, n, device="cuda", dtype=torch.float16)
        best = float("inf")
        for bm, bn, bk, warps, stages in TILES:
            grid = (triton.cdiv(m, bm), triton.cdiv(n, bn))
            try:
                best = min(best, least(lambda: linear[grid](x, w, bias, scale, bias, out, 1.0, m, n, k, BM=bm, BN=bn, BK=bk, EPILOGUE=0, num_warps=warps,
                                                            num_stages=stages)))
            except triton.runtime.errors.OutOfResources:
                continue
        return best

    return run


def main():
    shapes = json.load(sys.stdin)
    result = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cublaslt": [cublaslt(*s) for s in shapes]}
    if (run := triton_linear()) is not None:
        result["triton"] = [run(*s) for s in shapes]
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
