"""Random modules over all ops: they parse, print and parse again, and mean the same after every pass that keeps meaning."""
import json
import re

import numpy as np
import pytest
from vit_generator import OPS, RECIPES, TOKENS, WIDTHS, generate

from vitrify.tools import run_tool

# Passes that change no bit, and what the others may change of the largest value.
PASSES = {
    "canonicalize": 0, "cse": 0, "symbol-dce": 0, "vit-merge-weights": 0, "vit-schedule-weights": 0, "vit-fuse-qkv": 0, "vit-fuse-glu": 2e-6, "vit-fuse-epilogue": 2e-6,
}
SEEDS = range(6)


def run(path, module, folder):
    """Results of @forward."""
    arguments = [path]
    for i, array in enumerate(module.inputs):
        np.save(folder / f"i{i}.npy", array)
        arguments.append(f"--input={folder}/i{i}.npy")
    run_tool("vitrify-evaluate", arguments + [f"--output={folder}/o{i}.npy" for i in range(module.results)])
    return [np.load(folder / f"o{i}.npy") for i in range(module.results)]


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("width", WIDTHS)
def test_round_trip(width, tokens, tmp_path):
    module = generate(width * 1000 + tokens, tmp_path, width, tokens)
    (tmp_path / "m.mlir").write_text(module.text)
    once = run_tool("vitrify-opt", [tmp_path / "m.mlir"])
    assert run_tool("vitrify-opt", ["-"], stdin=once) == once
    for result in run(tmp_path / "m.mlir", module, tmp_path):
        assert np.isfinite(result).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_passes_keep_the_meaning(seed, tmp_path):
    module = generate(seed, tmp_path, steps=8)
    (tmp_path / "m.mlir").write_text(module.text)
    expected = run(tmp_path / "m.mlir", module, tmp_path)
    for name, tolerance in PASSES.items():
        (tmp_path / "after.mlir").write_text(run_tool("vitrify-opt", [f"--{name}", tmp_path / "m.mlir"]))
        for before, after in zip(expected, run(tmp_path / "after.mlir", module, tmp_path)):
            bound = tolerance * np.abs(before).max()
            assert np.array_equal(before, after) if tolerance == 0 else np.abs(before - after).max() <= bound, f"seed {seed}, {name}"


def ranges_of(module, path, folder):
    """ranges.json of every named value and argument, as calibration writes it."""
    run_tool("vitrify-evaluate", [path, f"--values={folder}/values", *(f"--input={folder}/i{i}.npy" for i in range(len(module.inputs)))])
    values = {file.stem.split("+")[-1].split(".")[0]: np.load(file) for file in (folder / "values").glob("*.npy")}
    values |= {re.match(r"%(\w+)", text)[1]: array for text, array in zip(module.arguments, module.inputs)}
    amax = {name: float(np.abs(array).max()) or 1.0 for name, array in values.items() if array.dtype == np.float32}
    (folder / "ranges.json").write_text(json.dumps(
        {"format": 1, "method": "amax", "images": 1, "values": {name: {"amax": a, "range": a} for name, a in amax.items()}}))


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
@pytest.mark.parametrize("seed", SEEDS)
def test_folding_and_fusing_keep_what_quantising_made(seed, precision, tmp_path):
    """Values may cross a rounding border where a scale moves from before a sum to after it, so few bits differ."""
    module = generate(100 + seed, tmp_path, steps=4, without=("gated",))  # a gate may flip on one bit
    (tmp_path / "m.mlir").write_text(module.text)
    exact = run(tmp_path / "m.mlir", module, tmp_path)
    ranges_of(module, tmp_path / "m.mlir", tmp_path)
    text = run_tool("vitrify-opt", [f"--vit-assign-precision=precision={precision} keep={precision}:linear*",
                                    f"--vit-quantize=ranges={tmp_path}/ranges.json", tmp_path / "m.mlir"])
    assert ("f8E4M3FN" if precision == "fp8" else "bf16") in text
    (tmp_path / "q.mlir").write_text(text)
    expected = run(tmp_path / "q.mlir", module, tmp_path)
    assert any(not np.array_equal(a, b) for a, b in zip(exact, expected))
    for name in ("vit-fold-qdq", "vit-fuse-epilogue", "canonicalize"):
        text = run_tool("vitrify-opt", [f"--{name}", "-"], stdin=text)
        (tmp_path / "after.mlir").write_text(text)
        for before, after in zip(expected, run(tmp_path / "after.mlir", module, tmp_path)):
            assert np.linalg.norm(before - after) <= 0.02 * np.linalg.norm(before), f"seed {seed}, {name}"


def test_the_generator_makes_every_op(tmp_path):
    found = set()
    for seed in range(40):
        found |= set(re.findall(r"vit\.(\w+)", generate(seed, tmp_path, steps=8).text))
    assert set(OPS) | set(RECIPES) <= found


def test_equal_seeds_give_equal_modules(tmp_path):
    assert generate(3, tmp_path).text == generate(3, tmp_path).text
    assert generate(3, tmp_path).text != generate(4, tmp_path).text


def test_inputs_change_the_result(tmp_path):
    """Guards the comparison itself: another input, another result."""
    module = generate(1, tmp_path, width=72)
    (tmp_path / "m.mlir").write_text(module.text)
    before = run(tmp_path / "m.mlir", module, tmp_path)
    module.inputs = [array + 1 if array.dtype == np.float32 else array for array in module.inputs]
    after = run(tmp_path / "m.mlir", module, tmp_path)
    assert not np.array_equal(before[-1], after[-1])
