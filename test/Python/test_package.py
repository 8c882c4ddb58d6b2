"""What the package offers: `vitrify.compile(model, images)` is a function, and gives a bundle."""
import json

import numpy as np
from conftest import EXAMPLE
from test_simulate import digits

import vitrify


def test_compile_is_a_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", digits(EXAMPLE, "calibration-200")[0][:20])
    bundle = vitrify.compile(EXAMPLE / "vit_mnist_gelu_rescaled", "x.npy")
    assert bundle.name == "vit_mnist_gelu_rescaled.vitrify" and bundle.resolve().parent == tmp_path
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["precision"] == "fp8"
    assert manifest["model"]["source"] == manifest["model"]["name"] == "vit_mnist_gelu_rescaled"
    assert vitrify.compile(EXAMPLE / "vit_mnist_gelu_rescaled", output=tmp_path / "b", options=vitrify.CompileOptions(precision="f32")) == tmp_path / "b"
