"""Linears over the rows that a gate's blocks are on for, on the emulated GPU against numpy in f64."""
import numpy as np
import pytest
import seeded
from gpu_ops import E4M3, F16, F32, I32, BF16, Case, Result, Weight, check, f64, kind, normal, refused, rows, sum_bound, survivors, yielded
from plan_runner import run_plan
from test_x86_grouped import gates, lists_of

from vitrify.compiler import calibrate
from vitrify.importer import import_folder
from vitrify.tools import run_tool

CHUNK = 64


def lists_case(name, gate, chunk=CHUNK):
    entries, starts = lists_of(gate, chunk)
    defined = entries != 2**31 - 1
    op = f'%r, %s = vit.group_tokens %g chunk {chunk} layers ["l"] : {kind(gate)} -> {kind(entries)}, {kind(starts)}'
    zeros = lambda a: np.zeros(a.shape)
    return Case(f"lists {name} {gate.shape}", op, {"g": gate}, [Result(f64(entries), zeros(entries), I32, defined), Result(f64(starts), zeros(starts), I32)])


def named_gates(rng, m, blocks):
    for name, gate in zip(("nothing", "everything", "one row", "one block", "some of each", "any"), gates(rng, m, blocks)):
        yield name, gate.astype(F32)


def test_lists():
    """Rows of several turns of a CTA, and fewer than a warp; a NaN is on, both zeros are off."""
    cases = []
    for m, blocks, chunk in ((2500, 3, 64), (1, 16, 64), (130, 5, 7)):
        cases += [lists_case(name, gate, chunk) for name, gate in named_gates(np.random.default_rng(m), m, blocks)]
    odd = np.zeros((70, 4), F32)
    odd[3:9, 1], odd[::2, 2], odd[69, 3] = np.nan, -0.0, -1e-40
    check([*cases, lists_case("odd values", odd)])


def columns_case(name, gate, block, k, dtype, chunk=CHUNK):
    """relu(x w + bias) times the gate, as E4M3 or in 16 bits; rows that a block does not list are left alone."""
    m, blocks = gate.shape
    n = blocks * block
    rng = np.random.default_rng([m, n, k])
    x, w, bias = normal(rng, (m, k), dtype), normal(rng, (n, k), dtype, 0.1), normal(rng, (n,), F32)
    entries, starts = lists_of(gate, chunk)
    out = E4M3 if dtype == E4M3 else F16
    op = (f'%r = vit.grouped_linear columns %x, %w rows(%e, %s : {kind(entries)}, {kind(starts)}) chunk {chunk} layers ["l"] {{vit.share = 0.25 : f64}} : '
          f"{kind(x)}, {kind(Weight(w))} -> {rows(n, out)}\n    epilogue(%bias [(m, n) -> (n)] : {kind(Weight(bias))}, %g [(m, n) -> (m, n floordiv {block})] : {kind(gate)}) group 1 {{\n"
          f"  ^bb0(%acc: f32, %b: f32, %v: f32):\n    %t = arith.addf %acc, %b : f32\n    %u = vit.act relu %t : f32\n    %z = arith.mulf %u, %v : f32\n    {yielded('%z', out)}\n  }}")
    factor = np.repeat(f64(gate), block, 1)
    value = f64(x) @ f64(w).T + bias
    bound = (sum_bound(x, w) + 2.0**-21 * np.abs(value)) * np.abs(factor)
    return Case(f"columns {name} {m}x{n}x{k} {np.dtype(dtype)}", op, {"x": x, "w": Weight(w), "e": entries, "s": starts, "bias": Weight(bias), "g": gate},
                [Result(np.maximum(value, 0) * factor, bound, out, factor != 0)])


@pytest.mark.parametrize("dtype", [E4M3, F16, BF16], ids=lambda d: np.dtype(d).name)
def test_columns(dtype):
    cases = []
    for m, blocks, block, k in ((150, 4, 32, 80), (1, 3, 96, 48)):
        cases += [columns_case(name, gate, block, k, dtype) for name, gate in named_gates(np.random.default_rng(m), m, blocks)]
    check(cases)


def depth_case(name, gate, block, n, dtype, chunk=CHUNK, residual=F32):
    """sum over the blocks that are on, plus bias and residual. What lies in blocks that are off is NaN."""
    m, blocks = gate.shape
    k = blocks * block
    rng = np.random.default_rng([m, n, k])
    on = np.repeat(gate, block, 1) != 0
    x, w, bias, res = normal(rng, (m, k), dtype), normal(rng, (n, k), dtype, 0.1), normal(rng, (n,), F32), normal(rng, (m, n), residual)
    seen = np.where(on, f64(x), 0)
    entries, starts = lists_of(gate, chunk)
    op = (f'%r = vit.grouped_linear depth %x, %w rows(%e, %s : {kind(entries)}, {kind(starts)}) chunk {chunk} layers ["l"] : '
          f"{kind(x)}, {kind(Weight(w))} -> {rows(n, F32)}\n    epilogue(%bias [(m, n) -> (n)] : {kind(Weight(bias))}, %res [(m, n) -> (m, n)] : {kind(res)}) group 1 {{\n"
          f"  ^bb0(%acc: f32, %b: f32, %v: {'f32' if residual == F32 else 'f16'}):\n    %t = arith.addf %acc, %b : f32\n"
          + ("" if residual == F32 else "    %y = arith.extf %v : f16 to f32\n") + f"    %z = arith.addf %t, {'%v' if residual == F32 else '%y'} : f32\n    vit.yield %z : f32\n  }}")
    expected = seen @ f64(w).T + bias + f64(res)
    bound = sum_bound(seen.astype(dtype), w) + (blocks + 4) * 2.0**-23 * (np.abs(seen) @ np.abs(f64(w)).T + np.abs(bias) + np.abs(f64(res)))
    poisoned = np.where(on, x.astype(F32), np.nan).astype(dtype)
    return Case(f"depth {name} {m}x{n}x{k} {np.dtype(dtype)}", op, {"x": poisoned, "w": Weight(w), "e": entries, "s": starts, "bias": Weight(bias), "res": res},
                [Result(expected, bound, F32)])


@pytest.mark.parametrize("dtype", [E4M3, F16, BF16], ids=lambda d: np.dtype(d).name)
def test_depth(dtype):
    """Chunks of rows and tails; blocks of several stages, of one, of a part of one; N of whole tiles and not; every tile."""
    cases = []
    for m, blocks, block, n in ((150, 4, 48, 72), (1, 3, 192, 64), (300, 5, 16, 40)):
        cases += [depth_case(name, gate, block, n, dtype) for name, gate in named_gates(np.random.default_rng(m), m, blocks)]
    check([*cases, depth_case("16-bit stream", next(named_gates(np.random.default_rng(0), 70, 2))[1] + 1, 64, 64, dtype, residual=F16)], every_variant=True)


def test_refused():
    gate = np.ones((4, 3), F32)
    assert "blocks of 24 columns, which are not whole tiles of 32" in refused(columns_case("", gate, 24, 48, F16))
    assert "blocks of 8 bytes of K, or rows, that are not whole pieces of 16" in refused(depth_case("", gate, 8, 64, E4M3))
    assert "lists counted by 48 rows, which do not divide 64" in refused(depth_case("", gate, 32, 64, E4M3, chunk=48))
    assert "a gate of 200 blocks along K" in refused(depth_case("", np.ones((4, 200), F32), 16, 64, E4M3))


def test_mutants_are_flagged():
    """Each barrier and wait is needed."""
    rng = np.random.default_rng(1)
    gate = (rng.random((100, 4)) < 0.4).astype(F32)
    count, missed = survivors([lists_case("mutant", (rng.random((2500, 3)) < 0.4).astype(F32)), columns_case("mutant", gate, 32, 200, F16), depth_case("mutant", gate, 192, 72, E4M3)])
    assert count >= 8 and not missed, f"{count} mutants, not flagged: {missed}"


def test_whole_model(tmp_path):
    """A gated model, launch by launch: grouped and dense agree to what sums in another order differ by."""
    seeded.write_vit(tmp_path / "m", 3, 64, 2, layers=1, mlp=512, gain=1.2, gate=(16, 4))
    import_folder(tmp_path / "m", tmp_path / "model.mlir", max_batch=64, tuned_batch=8)
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(F32)
    np.save(tmp_path / "x.npy", x)
    calibrate(tmp_path / "model.mlir", [tmp_path / "x.npy"], tmp_path / "ranges.json")
    logits = {}
    # Only chips that gain by it group, and they say so; others compute every block.
    for form, option in (("grouped", ["--tune=RTX 4090"]), ("dense", ["--tune=L4"])):
        arguments = [tmp_path / "model.mlir", "--target=sm_89", "--precision=fp8", f"--ranges={tmp_path / 'ranges.json'}", *option]
        run_tool("vitrify-compile", [*arguments, "-o", tmp_path / form])
        run_tool("vitrify-compile", [*arguments, "--emit=asm", "-o", tmp_path / f"{form}.ptx"])
        values, reports = run_plan(tmp_path / form, "sm_89", (tmp_path / f"{form}.ptx").read_text(), x)
        assert reports == []
        logits[form] = values["logits"]
        assert ("grouped_columns" in (tmp_path / f"{form}.ptx").read_text()) == (form == "grouped")
    rms = lambda a: float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))
    assert rms(logits["grouped"] - logits["dense"]) <= 5e-3 * rms(logits["dense"])


def test_products_that_are_left_out():
    """With 4 of 16 blocks on for each token, less than half of the dense kernels' multiply-adds are executed, padding of tiles included."""
    rng = np.random.default_rng(4)
    m, blocks, block, d = 591, 16, 64, 128
    gate = (np.argsort(np.argsort(rng.standard_normal((m, blocks)))) < 4).astype(F32)
    for case, dense in ((columns_case("products", gate, block, d, E4M3), m * blocks * block * d), (depth_case("products", gate, block, d, E4M3), m * blocks * block * d)):
        executed = sum(check([case])[case.name]["tensor_macs"].values())
        assert 0.25 * dense <= executed <= 0.45 * dense, f"{case.name}: {executed / dense:.3f} of the dense products"
