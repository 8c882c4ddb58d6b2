"""The numpy simulation that other tests use as an oracle is itself checked against PyTorch's outputs."""
import gzip

import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN

import seeded
import simulate


def golden(name):
    return np.load(GOLDEN / "models" / f"{name}.npz")


def digits(folder, stem):
    data = [gzip.open(folder / f"{stem}-{kind}-ubyte.gz").read() for kind in ("images-idx3", "labels-idx1")]
    images = np.frombuffer(data[0], np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return ((images / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)).astype(np.float32), np.frombuffer(data[1], np.uint8, offset=8)


@pytest.mark.parametrize("name", seeded.MODELS)
def test_seeded_models(name):
    expected = golden(name)
    assert expected["digest"].tobytes().hex() == seeded.digest(name), "seeded.py makes other weights than those the golden file was made with"
    model = simulate.Model(seeded.MODELS[name]["config"], seeded.tensors(name))
    for batch in seeded.MODELS[name]["batches"]:
        y = expected[f"y{batch}"]
        assert np.abs(model.run(seeded.pixels(name, batch)) - y).max() <= 2e-7 * np.abs(y).max() + 1e-7


@pytest.mark.parametrize("name", ["gelu_rescaled", "relu_l1", "gated", "shared_compact"])
def test_trained_models(name):
    folder = EXAMPLE / "vit_mnist_gelu_rescaled" if name == "gelu_rescaled" else GOLDEN / f"vit_mnist_{name}"
    x, _ = digits(GOLDEN / "mnist", "t10k")
    y = golden(f"mnist_{name}")["logits64"]
    assert np.abs(simulate.load(folder).run(x[:64]) - y).max() <= 1e-5 * np.abs(y).max()


def test_fp8_keeps_the_answers_and_needs_its_scales():
    model = simulate.load(EXAMPLE / "vit_mnist_gelu_rescaled")
    calibration, _ = digits(EXAMPLE, "calibration-200")
    x, labels = digits(EXAMPLE, "test-1000")
    ranges = {}
    model.run(calibration[:40], ranges=ranges)
    right = lambda scheme, r: (model.run(x[:200], scheme, r).argmax(-1) == labels[:200]).mean()
    assert right("fp8", ranges) >= right("f64", {}) - 0.01
    assert min(right(scheme, ranges) for scheme in ("int8", "int8 static", "int8 token")) >= right("f64", {}) - 0.01
    assert right("fp8 without scales", ranges) < 0.2
