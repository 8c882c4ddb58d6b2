"""Accuracy on all 10,000 MNIST test digits: f32 gives PyTorch's answers, FP8 loses at most 0.2 points, and needs its scales."""
import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from test_simulate import digits

from vitrify.compile import CompileOptions, compile_model
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
            compile_model(FOLDERS[name], [root / "calibration.npy"] if precision == "fp8" else None, bundle, CompileOptions(precision=precision))
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
@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_low_precision_keeps_the_accuracy(name, precision, logits, mnist):
    labels = mnist[1]
    accuracy = lambda p: 100 * (logits(name, p).argmax(-1) == labels).mean()
    assert accuracy(precision) >= accuracy("f32") - 0.2
    assert not np.array_equal(logits(name, precision), logits(name, "f32"))
