"""Accuracy on all 10,000 MNIST test digits: f32 gives PyTorch's answers, FP8 loses at most 0.2 points, and needs its scales."""
import re

import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from test_simulate import digits

from vitrify.compiler import CompileOptions, calibrate, compile_model
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

FOLDERS = {"gelu_rescaled": EXAMPLE / "vit_mnist_gelu_rescaled"} | {name: GOLDEN / f"vit_mnist_{name}" for name in ("relu_l1", "gated", "shared_compact")}


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    root = tmp_path_factory.mktemp("mnist")
    x, labels = digits(GOLDEN / "mnist", "t10k")
    np.save(root / "test.npy", x)
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0])
    return root, labels


def answers(bundle, root):
    run_tool("vitrify-run", [bundle, f"--input={root / 'test.npy'}", "--batch=100", f"--output={root / 'logits.npy'}"])
    return np.load(root / "logits.npy")


@pytest.fixture(scope="module")
def logits(mnist):
    """logits(name, precision) over the 10,000 digits, computed once."""
    root, _ = mnist
    made = {}

    def compute(name, precision):
        if (name, precision) not in made:
            bundle = root / f"{name}.{precision}.vitrify"
            compile_model(FOLDERS[name], [root / "calibration.npy"] if precision in ("fp8", "int8") else None, bundle, CompileOptions(precision=precision))
            made[name, precision] = answers(bundle, root)
        return made[name, precision]

    return compute


@pytest.mark.parametrize("name", FOLDERS)
def test_f32_gives_pytorchs_answers(name, logits):
    golden = np.load(GOLDEN / "models" / f"mnist_{name}.npz")
    found = logits(name, "f32")
    different = found.argmax(-1) != golden["answers"]
    assert (golden["margin"][different] < 1e-4).all(), f"{different.sum()} answers differ, with margins {golden['margin'][different]}"
    assert np.abs(found[:64] - golden["logits64"]).max() <= 1e-5 * np.abs(golden["logits64"]).max() + 2e-5


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("precision", ["bf16", "fp8", "int8"])
def test_low_precision_keeps_the_accuracy(name, precision, logits, mnist):
    labels = mnist[1]
    accuracy = lambda p: 100 * (logits(name, p).argmax(-1) == labels).mean()
    assert accuracy(precision) >= accuracy("f32") - 0.2
    assert not np.array_equal(logits(name, precision), logits(name, "f32"))


def test_fp8_without_its_scales_fails(mnist):
    """The compiled FP8 program whose scales are all 1 answers by chance: a lost scale cannot stay unnoticed in the tests above."""
    root, labels = mnist
    import_folder(FOLDERS["gelu_rescaled"], root / "model.mlir")
    calibrate(root / "model.mlir", [root / "calibration.npy"], root / "ranges.json")
    arguments = ["--precision=fp8", f"--target={host_target()}", f"--ranges={root / 'ranges.json'}"]
    run_tool("vitrify-compile", [root / "model.mlir", *arguments, "--emit=vit", "-o", root / "stage.mlir"])
    stage = (root / "stage.mlir").read_text()
    stripped, literals = re.subn(r"vit\.literal dense<[^>]*> : tensor<1xf32>", "vit.literal dense<1.0> : tensor<1xf32>", stage)
    stripped, maxima = re.subn(r"vit\.amax %\w+ axis 1 div \S+ : \S+ -> (tensor<\d+xf32>)", r"vit.literal dense<1.0> : \1", stripped)
    assert literals == 16 and maxima == 16  # four linears a layer, q, k and v being one
    (root / "stripped.mlir").write_text(stripped)
    for name in ("model", "stage", "stripped"):
        run_tool("vitrify-compile", [root / f"{name}.mlir", *arguments, "-o", root / f"{name}.vitrify"])
    for file in (root / "model.vitrify").rglob("*.*"):  # stopped at, printed and entered again, the bundle is the same
        assert file.is_dir() or file.read_bytes() == (root / "stage.vitrify" / file.relative_to(root / "model.vitrify")).read_bytes(), file
    right = {name: 100 * (answers(root / f"{name}.vitrify", root).argmax(-1) == labels).mean() for name in ("stage", "stripped")}
    assert right["stage"] > 98 and right["stripped"] < 20
