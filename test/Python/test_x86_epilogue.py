#===- test_x86_epilogue.py - the epilogue matrix: group x map x type -===//
# Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#===----------------------------------------------------------------------===#
import numpy as np
import pytest

from x86_kernels import BF16, E4M3, MLIR, Kernels, op_targets, tensor_type, weight

TARGETS = pytest.mark.parametrize("target", op_targets())
ROWS, K = 8, 5
MAPS = {  # map text and what an operand of it is, for N columns
    "scalar": ("(m, n) -> ()", lambda n: (1,)), "column": ("(m, n) -> (n)", lambda n: (n,)),
    "row": ("(m, n) -> (m)", lambda n: (ROWS,)), "element": ("(m, n) -> (m, n)", lambda n: (ROWS, n)),
    "block8": ("(m, n) -> (m, n floordiv 8)", lambda n: (ROWS, -(-n // 8))),
    "block32": ("(m, n) -> (m, n floordiv 32)", lambda n: (ROWS, -(-n // 32)))}


def spread(operand, kind, n):
    """An operand of a map as [ROWS, N]."""
    if kind.startswith("block"):
        return np.repeat(operand, int(kind[5:]), axis=1)[:, :n]
    if kind == "row":
        return np.broadcast_to(operand[:, None], (ROWS, n))
    return np.broadcast_to(operand, (ROWS, n))


def linear(n, epilogue_ins, group, results, body, operands):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((ROWS, K)).astype(np.float32)
    w = rng.standard_normal((n, K)).astype(np.float32)
    arguments = "".join(f", %a{i}: {tensor_type(o, t != 'scalar' and t != 'column')}" for i, (t, o) in enumerate(operands))
    text = (weight("w", w) + f"func.func @f(%x: {tensor_type(x)}{arguments}) {{\n  %w = vit.get @w : {tensor_type(w, False)}\n"
            f"  %r{':' + str(len(results)) if len(results) > 1 else ''} = vit.linear %x, %w layers [\"l\"] : {tensor_type(x)}, "
            f"{tensor_type(w, False)} -> {', '.join(results)} epilogue({epilogue_ins}) group {group} {{\n{body}\n  }}\n"
            "  return\n}\n")
    return text, x, w, x.astype(np.float64) @ w.astype(np.float64).T


def ins_of(operands):
    return ", ".join(f"%a{i} [{MAPS[t][0]}] : {tensor_type(o, t != 'scalar' and t != 'column')}"
                     for i, (t, o) in enumerate(operands))


@TARGETS
@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("dtype", [np.float32, BF16, np.float16, E4M3, np.int8], ids=lambda d: d.__name__)
@pytest.mark.parametrize("n", [19, 96])
def test_group_1(target, kind, dtype, n):
    if kind.startswith("block") and n % int(kind[5:]):
        pytest.skip("blocks divide the columns")
    operand = (np.random.default_rng(7).standard_normal(MAPS[kind][1](n)) * (30 if dtype == np.int8 else 1)).astype(np.float32).astype(dtype)
    name = MLIR[np.dtype(dtype)]
    widen = {"f32": "%b = arith.addf %o, %zero : f32", "f8E4M3FN": "%b = vit.convert %o : f8E4M3FN to f32", "i8": "%b = vit.convert %o : i8 to f32"}.get(
        name, f"%b = arith.extf %o : {name} to f32")
    body = (f"  ^bb0(%acc: f32, %o: {name}):\n    %zero = arith.constant 0.0 : f32\n    {widen}\n"
            "    %t = arith.mulf %acc, %b : f32\n    vit.yield %t : f32")
    operands = [(kind, operand)]
    text, x, w, acc = linear(n, ins_of(operands), 1, [f"tensor<?x{n}xf32>"], body, operands)
    out, = Kernels(text, target).call({0: x, 1: w, 2: operand}, [np.empty((ROWS, n), np.float32)])
    np.testing.assert_allclose(out, acc * spread(operand.astype(np.float64), kind, n), rtol=2e-5, atol=2e-5)


@TARGETS
@pytest.mark.parametrize("dtype", [np.float32, BF16, np.float16, E4M3, np.int8], ids=lambda d: d.__name__)
def test_two_results_of_different_types(target, dtype):
    n, name = 37, MLIR[np.dtype(dtype)]
    narrow = {"f32": "%h = arith.addf %acc, %zero : f32", "f8E4M3FN": "%h = vit.convert %acc sat : f32 to f8E4M3FN",
              "i8": "%h = vit.convert %acc sat : f32 to i8"}.get(
        name, f"%h = arith.truncf %acc : f32 to {name}")
    body = (f"  ^bb0(%acc: f32):\n    %zero = arith.constant 0.0 : f32\n    {narrow}\n    %r = vit.act relu %acc : f32\n"
            f"    vit.yield %h, %r : {name}, f32")
    text, x, w, acc = linear(n, "", 1, [f"tensor<?x{n}x{name}>", f"tensor<?x{n}xf32>"], body, [])
    first, second = Kernels(text, target).call({0: x, 1: w}, [np.empty((ROWS, n), dtype), np.empty((ROWS, n), np.float32)])
    np.testing.assert_allclose(second, np.maximum(acc, 0), rtol=1e-5, atol=1e-5)
    step = {"f32": 1e-5, "bf16": 2.0**-8, "f16": 2.0**-10, "f8E4M3FN": 2.0**-4, "i8": 0}[name]
    if name == "i8":
        acc = np.where(np.abs(acc - np.rint(acc)) > 0.49, first, np.rint(acc))  # a sum near a tie may be rounded either way
    np.testing.assert_allclose(first.astype(np.float64), acc, rtol=step, atol=max(step, 1e-5) / 4)


@TARGETS
@pytest.mark.parametrize("n", [6, 32, 70, 192])
def test_group_2_glu_with_column_operand(target, n):
    """Pairs of columns to one: act(gate) * up, gate and up adjacent, with a bias for each."""
    bias = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    body = """  ^bb0(%acc: vector<2xf32>, %b: vector<2xf32>):
    %t = arith.addf %acc, %b : vector<2xf32>
    %g = vector.extract %t[0] : f32 from vector<2xf32>
    %u = vector.extract %t[1] : f32 from vector<2xf32>
    %a = vit.act silu %g : f32
    %r = arith.mulf %a, %u : f32
    vit.yield %r : f32"""
    operands = [("column", bias)]
    text, x, w, acc = linear(n, ins_of(operands), 2, [f"tensor<?x{n // 2}xf32>"], body, operands)
    out, = Kernels(text, target).call({0: x, 1: w, 2: bias}, [np.empty((ROWS, n // 2), np.float32)])
    gate, up = (acc + bias)[:, 0::2], (acc + bias)[:, 1::2]
    np.testing.assert_allclose(out, gate / (1 + np.exp(-gate)) * up, rtol=2e-5, atol=2e-5)


@TARGETS
@pytest.mark.parametrize("group", [2, 4, 8])
@pytest.mark.parametrize("n", [24, 88])
def test_small_groups_shuffle_and_keep_columns(target, group, n):
    """A rotation within each group, and the group's sum as a second result."""
    v = f"vector<{group}xf32>"
    order = ", ".join(str((i + 1) % group) for i in range(group))
    body = (f"  ^bb0(%acc: {v}):\n    %s = vector.shuffle %acc, %acc [{order}] : {v}, {v}\n"
            f"    %t = vector.reduction <add>, %acc : {v} into f32\n    vit.yield %s, %t : {v}, f32")
    text, x, w, acc = linear(n, "", group, [f"tensor<?x{n}xf32>", f"tensor<?x{n // group}xf32>"], body, [])
    turned, total = Kernels(text, target).call({0: x, 1: w}, [np.empty((ROWS, n), np.float32),
                                                              np.empty((ROWS, n // group), np.float32)])
    groups = acc.reshape(ROWS, -1, group)
    np.testing.assert_allclose(turned, np.roll(groups, -1, axis=2).reshape(ROWS, n), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, groups.sum(2), rtol=1e-4, atol=1e-5)


@TARGETS
def test_group_16_quantises_by_block(target):
    n, group, v = 80, 16, "vector<16xf32>"
    body = f"""  ^bb0(%acc: {v}):
    %a = math.absf %acc : {v}
    %m = vector.reduction <maxnumf>, %a : {v} into f32
    %c448 = arith.constant 448.0 : f32
    %s = arith.divf %m, %c448 : f32
    %sb = vector.broadcast %s : f32 to {v}
    %t = arith.divf %acc, %sb : {v}
    %c = vit.convert %t sat : {v} to vector<16xf8E4M3FN>
    vit.yield %c, %s : vector<16xf8E4M3FN>, f32"""
    text, x, w, acc = linear(n, "", group, [f"tensor<?x{n}xf8E4M3FN>", f"tensor<?x{n // group}xf32>"], body, [])
    codes, scales = Kernels(text, target).call({0: x, 1: w}, [np.empty((ROWS, n), E4M3), np.empty((ROWS, 5), np.float32)])
    amax = np.abs(acc.reshape(ROWS, 5, 16)).max(2)
    np.testing.assert_allclose(scales, amax / 448, rtol=1e-5)
    back = codes.astype(np.float64) * np.repeat(scales, 16, axis=1)
    assert np.all(np.abs(back - acc) <= np.maximum(np.abs(acc) / 15, np.repeat(amax, 16, axis=1) / 448 * 2.0**-9))


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4-bf16"])
def test_what_has_no_kernel_is_named(target, tmp_path):
    import subprocess

    from x86_kernels import SOURCE, TOOL
    body = ("  ^bb0(%acc: vector<5xf32>):\n    %s = vector.reduction <add>, %acc : vector<5xf32> into f32\n"
            "    vit.yield %s : f32")
    text, *_ = linear(10, "", 5, ["tensor<?x2xf32>"], body, [])
    (tmp_path / "in.mlir").write_text(SOURCE + text)
    run = subprocess.run([TOOL, tmp_path / "in.mlir", f"--target={target}"], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"no kernel for vit.linear on {target}: an epilogue of group 5, which divides no panel width" in run.stderr
    assert run.stderr.count("error:") == 1
