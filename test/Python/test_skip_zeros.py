"""Zeros that are skipped: the second linears after a ReLU or a gate leave out columns of zeros where a tile has many; the answers stay the same to the bit."""
import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from test_simulate import digits

from vitrify.compiler import calibrate
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp8"])
@pytest.mark.parametrize("name", ["relu_l1", "gated"])
def test_answers_are_the_same_to_the_bit(name, precision, tmp_path):
    np.save(tmp_path / "x.npy", digits(EXAMPLE, "test-1000")[0][:100])
    module = tmp_path / "model.mlir"
    import_folder(GOLDEN / f"vit_mnist_{name}", module)
    arguments = [module, f"--target={host_target()}", f"--precision={precision}", "--dense-gates"]
    if precision == "fp8":
        np.save(tmp_path / "calibration.npy", digits(EXAMPLE, "calibration-200")[0][:50])
        calibrate(module, [tmp_path / "calibration.npy"], tmp_path / "ranges.json")
        arguments.append(f"--ranges={tmp_path / 'ranges.json'}")
    answers = []
    for option in (["--skip-zeros=false"], []):
        run_tool("vitrify-compile", [*arguments, *option, "-o", tmp_path / "m"])
        run_tool("vitrify-run", [tmp_path / "m", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"])
        answers.append(np.load(tmp_path / "y.npy"))
    assert np.array_equal(answers[0].view(np.uint32), answers[1].view(np.uint32))
    stage = run_tool("vitrify-compile", [*arguments, "--emit=vit", "-o", "-"])
    assert stage.count("vit.skip_zeros") == 4  # fc2 of each layer
