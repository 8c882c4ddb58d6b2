#===- test_x86_grouped.py - linears over the rows of a gate's blocks against numpy in f64 -===#
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
import numpy as np
import pytest
from test_x86_linear import arrays, tolerance
from x86_kernels import Kernels, op_targets, tensor_type, weight

PRECISIONS = ["f32", "bf16", "fp8", "int8", "f16"]


def lists_of(gate, chunk):
    """rows and starts as vit.group_tokens defines them; between the lists lies what no row is."""
    rows, blocks = gate.shape
    chunks = -(-rows // chunk)
    entries, starts = np.full((blocks, rows), 2**31 - 1, np.int32), np.zeros((chunks + 1, blocks), np.int32)
    for b in range(blocks):
        on = np.flatnonzero(gate[:, b])
        entries[b, :len(on)] = on
        starts[:, b] = np.searchsorted(on, np.minimum(np.arange(chunks + 1) * chunk, rows))
    return entries.reshape(-1), starts


def gates(rng, rows, blocks):
    """Nothing on, everything, one token alone, one block alone, k of them, and any."""
    yield np.zeros((rows, blocks))
    yield np.ones((rows, blocks))
    alone = np.zeros((rows, blocks))
    alone[rows // 2] = 0.5
    yield alone
    alone = np.zeros((rows, blocks))
    alone[:, blocks - 1] = -2
    yield alone
    yield np.argsort(np.argsort(rng.standard_normal((rows, blocks)))) < max(1, blocks // 4)
    yield rng.uniform(-1, 1, (rows, blocks)) * (rng.uniform(size=(rows, blocks)) < 0.4)


@pytest.mark.parametrize("target", op_targets())
def test_lists(target):
    rng = np.random.default_rng(0)
    for rows, blocks, chunk in ((1, 16, 256), (197, 16, 256), (300, 3, 128), (7, 5, 2)):
        for gate in gates(rng, rows, blocks):
            gate = gate.astype(np.float32)
            text = (f"func.func @f(%g: {tensor_type(gate)}) {{\n  %r, %s = vit.group_tokens %g chunk {chunk} layers [\"l\"] : "
                    f"{tensor_type(gate)} -> tensor<?xi32>, tensor<?x{blocks}xi32>\n  return\n}}\n")
            entries, starts = lists_of(gate, chunk)
            kernels = Kernels(text, target)
            found, counts = kernels.call({0: gate}, [np.empty_like(entries), np.empty_like(starts)])
            assert np.array_equal(counts, starts)
            defined = entries != 2**31 - 1
            assert np.array_equal(found[defined], entries[defined])


def grouped_text(axis, x, w, blocks, chunk, epilogue, columns, out="f32"):
    n, k = w.shape
    return (weight("w", w) + f"func.func @f(%x: {tensor_type(x)}, %r: tensor<?xi32>, %s: tensor<?x{blocks}xi32>, %g: tensor<?x{blocks}xf32>, "
            f"%bias: tensor<{n}xf32>, %res: tensor<?x{n}xf32>) {{\n  %w = vit.get @w : {tensor_type(w, False)}\n"
            f"  %y = vit.grouped_linear {axis} %x, %w rows(%r, %s : tensor<?xi32>, tensor<?x{blocks}xi32>) chunk {chunk} layers [\"l\"] : "
            f"{tensor_type(x)}, {tensor_type(w, False)} -> tensor<?x{columns}x{out}> {epilogue}\n  return\n}}\n")


def columns_epilogue(block, blocks):
    return (f"epilogue(%bias [(m, n) -> (n)] : tensor<{block * blocks}xf32>, %g [(m, n) -> (m, n floordiv {block})] : tensor<?x{blocks}xf32>) group 1 {{\n"
            "  ^bb0(%acc: f32, %b: f32, %v: f32):\n    %t = arith.addf %acc, %b : f32\n    %u = vit.act relu %t : f32\n"
            "    %z = arith.mulf %u, %v : f32\n    vit.yield %z : f32\n  }")


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("kind", PRECISIONS)
def test_columns(target, kind):
    """Only listed rows are computed; what is not listed stays as it was. K of whole steps and not."""
    for rows, k, block, blocks, chunk in ((19, 48, 64, 3, 256), (1, 33, 16, 4, 256), (40, 31, 48, 2, 16)):
        rng = np.random.default_rng(rows)
        n = block * blocks
        x, w, product = arrays(rng, rows, n, k, kind)
        bias = rng.standard_normal(n).astype(np.float32)
        kernels = Kernels(grouped_text("columns", x, w, blocks, chunk, columns_epilogue(block, blocks), n), target)
        assert kernels.specs[0]["precision"] == {"fp8": "bf16" if target.endswith("bf16") else "f32", "bf16": "bf16" if target.endswith("bf16") else "f32",
                                                 "int8": "int8"}.get(kind, "f32")
        for gate in gates(rng, rows, blocks):
            gate = gate.astype(np.float32)
            entries, starts = lists_of(gate, chunk)
            factor = np.repeat(gate, block, 1)
            expected = np.where(factor != 0, np.maximum(product + bias, 0) * factor, -77)
            bound = np.where(factor != 0, (tolerance(x, w) + 2.0**-22 * np.abs(product + bias)) * np.abs(factor), 0) + 1e-30
            for at_end in (True, False):
                found, = kernels.call({0: x, 1: w, 2: entries, 3: starts, 4: bias, 5: gate}, [np.empty((rows, n), np.float32)], at_end=at_end)
                assert np.all(np.abs(found - expected) <= bound)


@pytest.mark.parametrize("target", op_targets())
@pytest.mark.parametrize("kind", PRECISIONS)
def test_depth(target, kind):
    """Blocks of K that a row's list leaves out are not read, whatever lies there; N of whole panels and not."""
    epilogue = ("epilogue(%bias [(m, n) -> (n)] : tensor<{0}xf32>, %res [(m, n) -> (m, n)] : tensor<?x{0}xf32>) group 1 {{\n  ^bb0(%acc: f32, %b: f32, %v: f32):\n"
                "    %t = arith.addf %acc, %b : f32\n    %z = arith.addf %t, %v : f32\n    vit.yield %z : f32\n  }}")
    for rows, n, block, blocks, chunk in ((19, 70, 64, 3, 256), (1, 5, 16, 4, 256), (40, 64, 20, 5, 16), (9, 130, 4, 6, 4)):
        rng = np.random.default_rng(rows)
        k = block * blocks
        x, w, _ = arrays(rng, rows, n, k, kind)
        bias, residual = rng.standard_normal(n).astype(np.float32), rng.standard_normal((rows, n)).astype(np.float32)
        kernels = Kernels(grouped_text("depth", x, w, blocks, chunk, epilogue.format(n), n), target)
        for gate in gates(rng, rows, blocks):
            gate = gate.astype(np.float32)
            entries, starts = lists_of(gate, chunk)
            on = np.repeat(gate, block, 1) != 0
            seen = np.where(on, x.astype(np.float64), 0)
            poisoned = np.where(on, x.astype(np.float32), 99 if kind == "int8" else np.nan).astype(x.dtype)
            expected = seen @ w.astype(np.float64).T + bias + residual
            bound = (k + 8) * 2.0**-24 * (np.abs(seen) @ np.abs(w.astype(np.float64)).T + np.abs(bias) + np.abs(residual)) + 1e-30
            for at_end in (True, False):
                found, = kernels.call({0: poisoned, 1: w, 2: entries, 3: starts, 4: bias, 5: residual}, [np.empty((rows, n), np.float32)], at_end=at_end)
                assert np.all(np.abs(found - expected) <= bound)


@pytest.mark.parametrize("target", op_targets())
def test_refused(target):
    """Blocks that no panel divides, and sums that the stack does not hold."""
    import subprocess
    from x86_kernels import SOURCE, TOOL
    x, w = np.zeros((1, 60), np.float32), np.zeros((60, 60), np.float32)
    for axis, chunk, said in (("columns", 256, "blocks of 20 columns, which no panel of whole groups divides"), ("depth", 10**6, "chunks of 1000000 rows, whose sums the stack does not hold")):
        run = subprocess.run([TOOL, "-", f"--target={target}", "--emit=asm"], input=SOURCE + grouped_text(axis, x, w, 3, chunk, "", 60), capture_output=True, text=True)
        assert run.returncode == 1 and said in run.stderr
