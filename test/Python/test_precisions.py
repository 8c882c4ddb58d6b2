"""E4M3 by tensor, token and block, as --precision and as rules: numpy rounds as the format says and is what the program computes."""

import ml_dtypes
import numpy as np
import pytest
import simulate
from conftest import EXAMPLE
from test_nvfp4 import bundle_tensors, layers_of, relative, run
from test_simulate import digits

from vitrify.compiler import CompileOptions, compile_model
from vitrify.errors import VitrifyError

MODEL = EXAMPLE / "vit_mnist_gelu_rescaled"
E4M3 = ml_dtypes.float8_e4m3fn


def rounded(x, scale):
    x = x.astype(np.float32)
    return np.clip(x * (np.float32(1) / scale), -448, 448).astype(E4M3).astype(np.float64) * scale


def in_blocks(x, high, wide):
    """Scales of blocks of a matrix, one for each element."""
    n, k = x.shape
    padded = np.zeros((-(-n // high) * high, k), np.float32)
    padded[:n] = np.abs(x)
    scale = padded.reshape(-1, high, k // wide, wide).max((1, 3)) / np.float32(448)
    return np.repeat(np.repeat(np.where(scale > 0, scale, 1), high, 0), wide, 1)[:n]


class Simulation(simulate.Model):
    """Float64 arithmetic, the linears of blocks with inputs and weights rounded."""

    form, given, seen = None, {}, {}

    def linear(self, x, name, label):
        shape, w = x.shape, self.tensors[f"{name}.weight"].astype(np.float32)
        if not name.startswith("layers."):
            return super().linear(x, name, label)
        flat = x.reshape(-1, shape[-1]).astype(np.float32)
        self.seen[name] = max(self.seen.get(name, 0), float(np.abs(flat).max()))
        if self.form is None or (self.form == "fp8_block" and shape[-1] % 128):
            return super().linear(x, name, label)
        rows = np.abs(w).max(1, keepdims=True) / np.float32(448)
        high = -(-len(w) // -(-len(w) // 128))
        of_w = {"fp8_tensor": np.abs(w).max() / np.float32(448), "fp8_token": rows}.get(self.form)
        of_x = {"fp8_tensor": np.float32(self.given.get(name, 0) / 448), "fp8_token": np.abs(flat).max(1, keepdims=True) / np.float32(448)}.get(self.form)
        if self.form == "fp8_block":
            of_w, of_x = in_blocks(w, high, 128), in_blocks(flat, 1, 128)
        return (rounded(flat, of_x) @ rounded(w, of_w).T).reshape(*shape[:-1], -1) + self.tensors[f"{name}.bias"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("precisions")
    np.save(root / "x.npy", digits(EXAMPLE, "test-1000")[0][:100])
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0])
    model = simulate.load(MODEL)
    model.__class__, model.seen = Simulation, {}
    model.run(np.load(root / "calibration.npy"))
    return root, model


@pytest.mark.parametrize("form", ["fp8_tensor", "fp8_token", "fp8_block"])
def test_what_runs_is_what_numpy_rounds(form, data, tmp_path):
    root, model = data
    compile_model(MODEL, [root / "calibration.npy"], tmp_path / "m.vitrify", CompileOptions(precision=form))
    model.form, model.given = form, dict(model.seen)
    oracle = model.run(np.load(root / "x.npy"))
    model.form = None
    found = run(tmp_path / "m.vitrify", root / "x.npy")
    # Query, key and value share a scale where it is the tensor's; codes at a tie may fall the other way, and attention is in bf16.
    assert relative(found, oracle) <= 0.03
    layers = layers_of(tmp_path / "m.vitrify")
    assert layers["b1.fc2"]["precision"] == "f8e4m3"
    if form == "fp8_block":
        assert layers["b1.fc1"]["precision"] == "bf16" and layers["b1.fc1"]["note"] == "its 96 columns are no multiple of 128, as blocks of fp8_block are"
    else:
        assert layers["b1.fc1"]["precision"] == "f8e4m3"


def test_rules_mix_them(data, tmp_path):
    root, model = data
    keep = ("fp8_token:b0.*", "fp8_tensor:b1.fc?", "fp8_block:b2.fc2", "nvfp4:b3.*", "fp8:b3.proj")
    compile_model(MODEL, [root / "calibration.npy"], tmp_path / "m.vitrify", CompileOptions(precision="bf16", keep=keep))
    layers = layers_of(tmp_path / "m.vitrify")
    assert {n: layers[n]["precision"] for n in ("b0.k", "b1.fc1", "b1.q", "b2.fc2", "b3.fc1", "b3.proj")} == {
        "b0.k": "f8e4m3", "b1.fc1": "f8e4m3", "b1.q": "bf16", "b2.fc2": "f8e4m3", "b3.fc1": "nvfp4", "b3.proj": "f8e4m3"}
    assert relative(run(tmp_path / "m.vitrify", root / "x.npy"), model.run(np.load(root / "x.npy"))) <= 0.05
    assert {e["dtype"] for e, _ in bundle_tensors(tmp_path / "m.vitrify").values()} >= {"F4", "F8_E4M3", "BF16"}


def test_what_is_refused(data, tmp_path):
    with pytest.raises(VitrifyError, match="unknown precision 'fp8_row'"):
        CompileOptions(precision="fp8_row")
    with pytest.raises(VitrifyError, match=r"rule 'fp8_row:b0.\*': expected PRECISION:PATTERN with f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4"):
        compile_model(MODEL, None, tmp_path / "m", CompileOptions(precision="bf16", keep=("fp8_row:b0.*",)))
    with pytest.raises(VitrifyError, match="needs the range of its input"):
        compile_model(MODEL, None, tmp_path / "m", CompileOptions(precision="fp8_tensor"))
    assert not (tmp_path / "m").exists()
