#===- test_x86_linear.py - linear kernels against numpy in f64 -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
import numpy as np
import pytest

from x86_kernels import BF16, E4M3, Kernels, host_targets, op_targets, tensor_type, weight

# (rows, N, K): tails in every direction, one row, one column, odd K, a 4304 wide MLP.
SHAPES = [(1, 1, 1), (1, 10, 7), (5, 64, 96), (6, 65, 33), (197, 96, 48), (3, 4304, 64), (7, 40, 4304), (49, 130, 129),
          (12, 768, 64)]
DTYPES = {"f32": (np.float32, np.float32), "bf16": (BF16, BF16), "fp8": (E4M3, E4M3), "f16": (np.float16, np.float16),
          "weight-only": (np.float32, E4M3), "mixed": (BF16, np.float32), "int8": (np.int8, np.int8)}


def linear_text(x, w, epilogue="", out="f32", columns=None):
    return (weight("w", w) + f"func.func @f(%x: {tensor_type(x)}, %bias: tensor<{w.shape[0]}xf32>, "
            f"%res: tensor<?x{w.shape[0]}xf32>, %row: tensor<?xf32>, %one: tensor<1xf32>) {{\n"
            f"  %w = vit.get @w : {tensor_type(w, False)}\n"
            f"  %r = vit.linear %x, %w layers [\"l\"] : {tensor_type(x)}, {tensor_type(w, False)} -> "
            f"tensor<?x{columns or w.shape[0]}x{out}> {epilogue}\n  return\n}}\n")


def arrays(rng, rows, n, k, kind):
    x_type, w_type = DTYPES[kind]
    if kind == "int8":  # every code; the largest sums that there can be in some rows
        x, w = (rng.integers(-127, 128, size).astype(np.int8) for size in ((rows, k), (n, k)))
        x[0], w[0] = 127, 127
        x[-1], w[-1] = 127, -127
        return x, w, (x.astype(np.int64) @ w.astype(np.int64).T).astype(np.float64)
    x = rng.standard_normal((rows, k)).astype(np.float32).astype(x_type)
    w = (rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32).astype(w_type)
    return x, w, x.astype(np.float64) @ w.astype(np.float64).T


def tolerance(x, w):
    # f32 accumulation in any order: K eps |x| |w|; products of 16-bit values are exact.
    k = x.shape[1]
    if x.dtype == np.int8:  # exact sums, rounded once to f32
        return 2.0**-24 * np.abs(x.astype(np.float64) @ w.astype(np.float64).T)
    return (k + 4) * 2.0**-24 * (np.abs(x.astype(np.float64)) @ np.abs(w.astype(np.float64)).T) + 1e-37


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_plain(target, kind, shape):
    check(target, kind, shape)


@pytest.mark.parametrize("target", host_targets())
@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_every_row_that_runs_here(target, kind):
    check(target, kind, (13, 70, 31))


def test_int8_instructions():
    """Each row says int8 and multiplies as its table allows: saturating products are used nowhere."""
    x, w, _ = arrays(np.random.default_rng(0), 5, 64, 96, "int8")
    for target, instruction in (("x86-64-v3", "vpmaddwd"), ("x86-64-v4", "vpmaddwd"), ("x86-64-v4-vnni", "vpdpbusd"), ("x86-64-v4-bf16", "vpdpbusd")):
        kernels = Kernels(linear_text(x, w), target)
        assembly = kernels.assembly(linear_text(x, w), target)
        assert kernels.specs[0]["precision"] == "int8"
        assert instruction in assembly and "vpmaddubsw" not in assembly and "vpdpbusds" not in assembly


def check(target, kind, shape):
    rng = np.random.default_rng(sum(shape))
    x, w, expected = arrays(rng, *shape, kind)
    kernels = Kernels(linear_text(x, w), target)
    for at_end in (True, False):
        out, = kernels.call({0: x, 1: w}, [np.empty(expected.shape, np.float32)], at_end=at_end)
        assert np.all(np.abs(out - expected) <= tolerance(x, w))


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
@pytest.mark.parametrize("case", [(2, 1, 28, 28, 7, 7, 33), (3, 3, 12, 20, 4, 5, 16), (1, 3, 32, 32, 16, 16, 100),
                                  (1, 2, 14, 14, 14, 14, 5)], ids=str)
def test_patch_embed(target, dtype, case):
    """Images that are not square, patches of any size, image sizes static and dynamic."""
    images, channels, height, width, ph, pw, n = case
    rng = np.random.default_rng(n)
    pixels = rng.standard_normal((images, channels, height, width)).astype(np.float32).astype(dtype)
    w = rng.standard_normal((n, channels * ph * pw)).astype(np.float32).astype(dtype)
    name = "f32" if dtype == np.float32 else "bf16"
    patches = pixels.reshape(images, channels, height // ph, ph, width // pw, pw).transpose(0, 2, 4, 1, 3, 5)
    unfolded = patches.reshape(-1, channels * ph * pw)
    expected = unfolded.astype(np.float64) @ w.astype(np.float64).T
    for sizes in (f"{height}x{width}", "?x?"):
        kind = f"tensor<?x{channels}x{sizes}x{name}>"
        text = (weight("w", w) + f"func.func @f(%x: {kind}) {{\n  %w = vit.get @w : {tensor_type(w, False)}\n"
                f'  %r = vit.patch_embed %x, %w patch {ph} x {pw} layers ["p"] : {kind}, {tensor_type(w, False)} -> '
                f"tensor<?x{n}xf32>\n  return\n}}\n")
        out, = Kernels(text, target).call({0: pixels, 1: w}, [np.empty(expected.shape, np.float32)])
        assert np.all(np.abs(out - expected) <= tolerance(unfolded, w))


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, BF16], ids=["f32", "bf16"])
def test_frames_of_bytes(target, dtype, interleaved):
    """Bytes from 0 to 255 as they are, channels in planes or side by side."""
    rng = np.random.default_rng(3)
    for images, channels, height, width, ph, pw, n in ((2, 3, 32, 48, 16, 16, 40), (1, 3, 28, 42, 14, 14, 17), (2, 1, 10, 12, 5, 3, 9)):
        frames = rng.integers(0, 256, (images, height, width, channels)).astype(np.uint8)
        w = rng.standard_normal((n, channels * ph * pw)).astype(np.float32).astype(dtype)
        patches = frames.reshape(images, height // ph, ph, width // pw, pw, channels).transpose((0, 1, 3, 2, 4, 5) if interleaved else (0, 1, 3, 5, 2, 4))
        unfolded = patches.reshape(-1, channels * ph * pw).astype(np.float32)
        expected = unfolded.astype(np.float64) @ w.astype(np.float64).T
        given = frames if interleaved else np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
        kind = f"tensor<?x{'x'.join(map(str, given.shape[1:]))}xui8>"
        text = (weight("w", w) + f"func.func @f(%x: {kind}) {{\n  %w = vit.get @w : {tensor_type(w, False)}\n"
                f'  %r = vit.patch_embed %x, %w patch {ph} x {pw} {"interleaved " if interleaved else ""}layers ["p"] : {kind}, {tensor_type(w, False)} -> '
                f"tensor<?x{n}xf32>\n  return\n}}\n")
        out, = Kernels(text, target).call({0: given, 1: w}, [np.empty(expected.shape, np.float32)])
        assert np.all(np.abs(out - expected) <= tolerance(unfolded, w))


# N, K, rows of w and columns of K that share a scale; x's columns that do (0: no scales of x).
SCALED = [(40, 64, 40, 32, 32), (70, 96, 35, 32, 0), (256, 256, 128, 128, 128), (130, 128, 64, 64, 32), (9, 48, 3, 16, 48), (64, 32, 1, 32, 32)]


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("kind", ["fp8", "bf16", "f32"])
@pytest.mark.parametrize("n, k, high, along, x_along", SCALED, ids=str)
def test_scales_along_k(target, kind, n, k, high, along, x_along):
    rows = 13
    rng = np.random.default_rng(n + k)
    x, w, _ = arrays(rng, rows, n, k, kind)
    w_scales = rng.uniform(0.5, 2, (-(-n // high), k // along)).astype(np.float32)
    inferred = -(-n // len(w_scales))
    left, right = x.astype(np.float64), w.astype(np.float64) * np.repeat(np.repeat(w_scales, inferred, 0)[:n], along, 1)
    operands, values = "", {0: x, 1: w}
    if x_along:
        x_scales = rng.uniform(0.5, 2, (rows, k // x_along)).astype(np.float32)
        left = left * np.repeat(x_scales, x_along, 1)
        operands = f"x_scales(%xs : tensor<?x{k // x_along}xf32>) "
        values[2] = x_scales
    values[3 if x_along else 2] = w_scales
    text = (weight("w", w) + weight("ws", w_scales) + f"func.func @f(%x: {tensor_type(x)}, %xs: tensor<?x{k // (x_along or k)}xf32>) {{\n"
            f"  %w = vit.get @w : {tensor_type(w, False)}\n  %ws = vit.get @ws : {tensor_type(w_scales, False)}\n"
            f"  %r = vit.linear %x, %w {operands}w_scales(%ws : {tensor_type(w_scales, False)}) layers [\"l\"] : "
            f"{tensor_type(x)}, {tensor_type(w, False)} -> tensor<?x{n}xf32>\n  return\n}}\n")
    expected = left @ right.T
    bound = (k + 4 * (k // along) + 4) * 2.0**-24 * (np.abs(left) @ np.abs(right).T) + 1e-37
    for at_end in (True, False):
        out, = Kernels(text, target).call(values, [np.empty(expected.shape, np.float32)], at_end=at_end)
        assert np.all(np.abs(out - expected) <= bound)


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("kind", ["f32", "bf16", "fp8"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
def test_zeros_are_skipped_to_the_same_bits(target, kind, share):
    """Columns of zeros in all rows, in some, and in none; negative zeros; K of whole vectors and not."""
    for rows, n, k in ((19, 70, 256), (1, 40, 64), (7, 64, 100)):
        rng = np.random.default_rng(k)
        x, w, _ = arrays(rng, rows, n, k, kind)
        x = np.where(rng.uniform(size=(1, k)) < share, 0, x.astype(np.float32))
        x = np.where(rng.uniform(size=(rows, k)) < share / 2, -0.0, x).astype(DTYPES[kind][0])
        results = []
        for attribute in ("", "{vit.skip_zeros} "):
            text = linear_text(x, w).replace('layers ["l"] :', f'layers ["l"] {attribute}:')
            results += Kernels(text, target).call({0: x, 1: w}, [np.empty((rows, n), np.float32)])
        assert np.array_equal(results[0].view(np.uint32), results[1].view(np.uint32))
        expected = x.astype(np.float64) @ w.astype(np.float64).T
        assert np.all(np.abs(results[1] - expected) <= tolerance(x, w))
