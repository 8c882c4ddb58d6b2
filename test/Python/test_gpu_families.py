"""Whole small models of the DINOv2, SigLIP and CLIP families: one bundle for CPU and sm_89, run on both, against numpy in f64.

On the emulated GPU every kernel runs with all of the emulator's checks on.
"""
import json

import numpy as np
import pytest
from vit_families import FAMILIES

from vitrify.targets import host_target
from vitrify.tools import run_tool

IMAGES = 3


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    """The folder of a model with a bundle a precision, and the answer for three images."""
    root = tmp_path_factory.mktemp(request.param)
    expected = FAMILIES[request.param](root, IMAGES)
    for precision in ("f16", "fp8"):
        run_tool("vitrify-compile", [root / "model.mlir", "-o", root / f"{precision}.vitrify", f"--target={host_target()}", "--target=sm_89",
                                     f"--precision={precision}", *([f"--ranges={root / 'ranges.json'}"] if precision == "fp8" else [])])
    return root, expected


def run(root, precision, device, images=IMAGES):
    arguments = []
    for path in sorted(root.glob("i?.npy")):
        array = np.load(path)
        np.save(root / f"part-{path.name}", array[:len(array) * images // IMAGES])
        arguments.append(f"--input={root / f'part-{path.name}'}")
    run_tool("vitrify-run", [root / f"{precision}.vitrify", f"--device={device}", *arguments, f"--output={root / 'y.npy'}"])
    return np.load(root / "y.npy")


@pytest.mark.parametrize("precision", ["f16", "fp8"])
def test_beside_the_cpu_and_numpy(model, precision):
    """The GPU is as near to the exact answer as the CPU is, within what 16 bits or FP8 cost; an image alone has the same bits."""
    root, expected = model
    cpu, gpu = (run(root, precision, device) for device in ("cpu", "emulator:sm_89"))
    size = rms(expected - expected.mean(0))  # what tells images apart
    assert rms(cpu - expected) <= {"f16": 0.004, "fp8": 0.25}[precision] * size
    assert rms(gpu - expected) <= {"f16": 0.004, "fp8": 0.25}[precision] * size
    assert rms(gpu - expected) <= 1.25 * rms(cpu - expected) + 1e-3 * size
    assert np.array_equal(run(root, precision, "emulator:sm_89", 1), gpu[:1])


def test_blocks_are_in_fp8(model):
    root, _ = model
    seen = json.loads(run_tool("vitrify-inspect", [root / "fp8.vitrify", "--json"]))
    target = next(t for t in seen["targets"] if t["name"] == "sm_89")
    found = {layer["name"]: layer["precision"] for layer in target["layers"]}
    assert {found[name] for name in found if name.startswith("b") and name.split(".")[1] in ("q", "proj", "fc1", "gate", "up", "fc2")} == {"f8e4m3"}
    assert all(kernel["metrics"]["spill_bytes"] == 0 for kernel in target["kernels"])
    # Norm, q/k/v, attention, projection, norm, the MLP's two linears; LayerScale, gated units and what rounds to FP8 are part of these.
    for each in seen["targets"]:
        assert each["programs"][0]["traffic"]["launches_of_blocks"] == 7 * 2
