"""Compiled models against PyTorch's outputs: odd head sizes, odd MLPs, 2 to 577 tokens, batches of 1, 3 and 17, every activation and storage form."""
import numpy as np
import pytest
from conftest import GOLDEN

import seeded
import simulate
from vitrify.compiler import CompileOptions, compile_model
from vitrify.tools import run_tool


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """bundle(name, precision): the seeded model compiled once, calibrated on inputs that no test compares."""
    root, made = tmp_path_factory.mktemp("parity"), {}

    def bundle(name, precision, activations="auto"):
        if (name, precision, activations) not in made:
            folder = root / name
            if not folder.exists():
                seeded.write_folder(name, folder)
                np.save(root / f"{name}.npy", seeded.pixels(name, 24))
            output = root / f"{name}.{precision}.{activations}.vitrify"
            images = [root / f"{name}.npy"] if precision in ("fp8", "int8") and activations != "token" else None
            compile_model(folder, images, output, CompileOptions(precision=precision, activations=activations))
            made[name, precision, activations] = output
        return made[name, precision, activations]

    return bundle


def run(bundle, x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    run_tool("vitrify-run", [bundle, f"--input={tmp_path / 'x.npy'}", f"--batch={len(x)}", f"--output={tmp_path / 'y.npy'}"])
    return np.load(tmp_path / "y.npy")


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return a @ b / np.sqrt((a @ a) * (b @ b))


CASES = [(name, batch) for name, spec in seeded.MODELS.items() for batch in spec["batches"]]


@pytest.mark.parametrize("name, batch", CASES)
def test_f32(name, batch, bundles, tmp_path):
    expected = np.load(GOLDEN / "models" / f"{name}.npz")[f"y{batch}"]
    found = run(bundles(name, "f32"), seeded.pixels(name, batch), tmp_path)
    assert found.shape == expected.shape and found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name, batch", CASES)
def test_bf16(name, batch, bundles, tmp_path):
    expected = np.load(GOLDEN / "models" / f"{name}.npz")[f"y{batch}"]
    assert cosine(run(bundles(name, "bf16"), seeded.pixels(name, batch), tmp_path), expected) >= 0.9999


def close_or_as_close_as_simulated(name, batch, scheme, bundle, tmp_path):
    """Close to the exact answer; or, over enough images that one lucky or unlucky code decides nothing, as close as the same scheme carried out in
    float64 by other code."""
    expected = np.load(GOLDEN / "models" / f"{name}.npz")[f"y{batch}"]
    if cosine(run(bundle, seeded.pixels(name, batch), tmp_path), expected) >= 0.995:
        return
    model, ranges = simulate.Model(seeded.MODELS[name]["config"], seeded.tensors(name)), {}
    model.run(seeded.pixels(name, 24), ranges=ranges)
    x = seeded.pixels(name, max(batch, 8))
    exact = model.run(x)
    assert np.linalg.norm(run(bundle, x, tmp_path) - exact) <= 1.2 * np.linalg.norm(model.run(x, scheme, ranges) - exact)


@pytest.mark.parametrize("name, batch", CASES)
def test_fp8(name, batch, bundles, tmp_path):
    close_or_as_close_as_simulated(name, batch, "fp8", bundles(name, "fp8"), tmp_path)


@pytest.mark.parametrize("activations", ["auto", "static", "token"])
@pytest.mark.parametrize("name, batch", CASES)
def test_int8(name, batch, activations, bundles, tmp_path):
    """By token needs no calibration."""
    if activations != "auto" and batch != seeded.MODELS[name]["batches"][0]:
        pytest.skip("one batch is enough for the other schemes")
    scheme = "int8" if activations == "auto" else f"int8 {activations}"
    close_or_as_close_as_simulated(name, batch, scheme, bundles(name, "int8", activations), tmp_path)


def test_images_of_one_batch_do_not_touch_each_other(bundles, tmp_path):
    """Each image alone gives the answer it gives in a batch, and different images give different answers."""
    x = seeded.pixels("hd24", 3)
    together = run(bundles("hd24", "f32"), x, tmp_path)
    alone = np.concatenate([run(bundles("hd24", "f32"), x[i:i + 1], tmp_path) for i in range(3)])
    assert np.allclose(together, alone, rtol=0, atol=1e-5 * np.abs(together).max())
    assert np.abs(together[0] - together[1]).max() > 1e-2
