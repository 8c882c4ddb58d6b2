"""MLPs of which a gate turns blocks off: what is skipped changes no answer, whatever is on."""
import re

import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from test_simulate import digits

from vitrify.compiler import calibrate
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The trained model, 1,000 digits with their labels, and ranges."""
    root = tmp_path_factory.mktemp("gated")
    x, labels = digits(EXAMPLE, "test-1000")
    np.save(root / "x.npy", x)
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0][:100])
    import_folder(GOLDEN / "vit_mnist_gated", root / "model.mlir")
    calibrate(root / "model.mlir", [root / "calibration.npy"], root / "ranges.json")
    return root, labels


def compiled(root, precision, *options):
    out = root / "-".join(["m", precision, *(o.strip("-") for o in options)])
    ranges = [f"--ranges={root / 'ranges.json'}"] if precision in ("fp8", "int8") else []
    run_tool("vitrify-compile", [root / "model.mlir", f"--target={host_target()}", f"--precision={precision}", *ranges, *options, "-o", out])
    return out


def answers(bundle, root, *options):
    run_tool("vitrify-run", [bundle, f"--input={root / 'x.npy'}", f"--output={root / 'y.npy'}", *options])
    return np.load(root / "y.npy")


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp8", "int8"])
def test_skipped_blocks_change_no_bit(precision, model):
    """Batches of 1 and 100 images, one thread and two; all layers are grouped."""
    root, labels = model
    grouped, dense = compiled(root, precision), compiled(root, precision, "--dense-gates")
    expected = answers(dense, root, "--batch=100")
    assert (expected.argmax(-1) == labels).mean() > 0.97
    for options in (["--batch=100"], ["--batch=100", "--threads=1"], ["--batch=1"]):
        assert np.array_equal(answers(grouped, root, *options).view(np.uint32), expected.view(np.uint32)), options
    stage = run_tool("vitrify-compile", [root / "model.mlir", f"--target={host_target()}", "--emit=vit", "-o", "-"])
    for axis in ("columns", "depth"):
        assert len(re.findall(rf"vit.grouped_linear +{axis} ", stage)) == 4
