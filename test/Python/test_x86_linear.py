#===- test_x86_linear.py - linear kernels against numpy in f64 -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
import numpy as np
import pytest

from x86_kernels import BF16, E4M3, Kernels, host_targets, tensor_type, weight

# (rows, N, K): tails in every direction, one row, one column, odd K, a 4304 wide MLP.
SHAPES = [(1, 1, 1), (1, 10, 7), (5, 64, 96), (6, 65, 33), (197, 96, 48), (3, 4304, 64), (7, 40, 4304), (49, 130, 129),
          (12, 768, 64)]
DTYPES = {"f32": (np.float32, np.float32), "bf16": (BF16, BF16), "fp8": (E4M3, E4M3), "f16": (np.float16, np.float16),
          "weight-only": (np.float32, E4M3), "mixed": (BF16, np.float32)}


def linear_text(x, w, epilogue="", out="f32", columns=None):
    return (weight("w", w) + f"func.func @f(%x: {tensor_type(x)}, %bias: tensor<{w.shape[0]}xf32>, "
            f"%res: tensor<?x{w.shape[0]}xf32>, %row: tensor<?xf32>, %one: tensor<1xf32>) {{\n"
            f"  %w = vit.get @w : {tensor_type(w, False)}\n"
            f"  %r = vit.linear %x, %w layers [\"l\"] : {tensor_type(x)}, {tensor_type(w, False)} -> "
            f"tensor<?x{columns or w.shape[0]}x{out}> {epilogue}\n  return\n}}\n")


def arrays(rng, rows, n, k, kind):
    x_type, w_type = DTYPES[kind]
    x = rng.standard_normal((rows, k)).astype(np.float32).astype(x_type)
    w = (rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32).astype(w_type)
    return x, w, x.astype(np.float64) @ w.astype(np.float64).T


def tolerance(x, w):
    # f32 accumulation in any order: K eps |x| |w|; products of 16-bit values are exact.
    k = x.shape[1]
    return (k + 4) * 2.0**-24 * (np.abs(x.astype(np.float64)) @ np.abs(w.astype(np.float64)).T) + 1e-37


@pytest.mark.parametrize("target", host_targets())
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_plain(target, kind, shape):
    rng = np.random.default_rng(sum(shape))
    x, w, expected = arrays(rng, *shape, kind)
    kernels = Kernels(linear_text(x, w), target)
    for at_end in (True, False):
        out, = kernels.call({0: x, 1: w}, [np.empty(expected.shape, np.float32)], at_end=at_end)
        assert np.all(np.abs(out - expected) <= tolerance(x, w))
