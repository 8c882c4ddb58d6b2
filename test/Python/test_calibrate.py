"""vitrify calibrate: ranges of every named value, against an independent computation; and what it must refuse."""
import json

import ml_dtypes
import numpy as np
import pytest
from conftest import EXAMPLE
from test_simulate import digits

import seeded
import simulate
from vitrify import taps
from vitrify.calibration import Observer, squared_error
from vitrify.cli import main
from vitrify.errors import VitrifyError
from vitrify.workspace import module_of


def calibrated(tmp_path, model, x, *options):
    np.save(tmp_path / "x.npy", x)
    assert main(["calibrate", str(model), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "ranges.json"), *options]) == 0
    return json.loads((tmp_path / "ranges.json").read_text())


def test_ranges_are_those_of_the_simulation(tmp_path):
    x, _ = digits(EXAMPLE, "calibration-200")
    found = calibrated(tmp_path, EXAMPLE / "vit_mnist_gelu_rescaled", x[:40])
    expected = {}
    simulate.load(EXAMPLE / "vit_mnist_gelu_rescaled").run(x[:40], ranges=expected)
    assert found["format"] == 1 and found["images"] == 40 and found["method"] == "amax"
    for layer in range(4):
        for mine, theirs in (("ln1", "qkv"), ("attn", "proj"), ("ln2", "fc1"), ("act", "fc2")):
            value = found["values"][f"b{layer}.{mine}"]
            assert value["amax"] == value["range"] == pytest.approx(expected[f"b{layer}.{theirs}"], rel=1e-5)


def test_every_layer_has_a_range(tmp_path):
    values = calibrated(tmp_path, seeded.write_folder("deit_teacher", tmp_path / "m"), seeded.pixels("deit_teacher", 5))["values"]
    layers = ("ln1", "q", "k", "v", "attn", "proj", "res1", "ln2", "fc1", "act", "fc2", "res2")
    assert {f"b{i}.{name}" for i in range(2) for name in layers} | {"embed.patch", "embed.tokens", "norm", "pool.cls", "pool.dist", "head.cls", "head"} == set(values)
    assert all(0 < v["range"] <= v["amax"] < np.inf for v in values.values())


def test_compiled_code_sees_what_the_interpreter_sees(tmp_path, monkeypatch):
    """Every value, in the same order, whatever the batches; without a target for this machine the interpreter does it."""
    model = seeded.write_folder("relu_sharded", tmp_path / "m")
    x = seeded.pixels("relu_sharded", 5)
    with module_of(model) as module:

        def seen():
            found, shares = {}, []
            with taps.Taps(module) as tapped:
                tapped.visit(x, lambda layers, array, share: (found.setdefault("+".join(layers), []).append(array), shares.append(share)))
            return tapped.compiled, {name: np.concatenate(arrays) for name, arrays in found.items()}, sum(shares)

        compiled, values, shares = seen()
        monkeypatch.setattr(taps, "VALUE_BYTES", 1)
        _, one_by_one, _ = seen()
        monkeypatch.setattr(taps, "host_target", lambda: "x86-64-v0")
        interpreted, expected, _ = seen()
    assert compiled and not interpreted and list(values) == list(expected) == list(one_by_one)
    assert shares == pytest.approx(len(values))
    for name, array in expected.items():
        np.testing.assert_allclose(values[name], array, atol=2e-5 * np.abs(array).max())
        np.testing.assert_array_equal(values[name], one_by_one[name])


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_other_methods_choose_less_than_the_maximum(method, tmp_path):
    model = seeded.write_folder("hd24", tmp_path / "m")
    values = calibrated(tmp_path, model, seeded.pixels("hd24", 20), "--method", method)["values"]
    assert all(0 < v["range"] <= v["amax"] for v in values.values())
    assert sum(v["range"] < v["amax"] for v in values.values()) > len(values) / 2


def test_mse_finds_an_outlier():
    """One value far outside: the largest magnitude wastes the codes on it, the least squared error does not."""
    values = np.abs(np.random.RandomState(0).standard_normal(100000)).astype(np.float32)
    observer = Observer()
    observer.see(values, 1 << 20, "x")
    chosen = observer.range("mse")
    grid = [observer.amax * part for part in np.linspace(0.3, 1, 36)]
    assert squared_error(values, chosen) == min(squared_error(values, limit) for limit in grid)
    scale = np.float32(chosen / 448)
    rounded = (values / scale).clip(max=448).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scale
    assert squared_error(values, chosen) == pytest.approx(np.square(rounded - values).sum(), rel=1e-5)


def test_a_value_that_is_always_zero_gets_a_range():
    observer = Observer()
    observer.see(np.zeros(10, np.float32), 10, "x")
    assert all(observer.range(method) == 1.0 for method in ("amax", "percentile", "mse"))


def test_what_is_refused(tmp_path, small_model, edit_tensors, capsys):
    with pytest.raises(VitrifyError, match="value x is NaN"):
        Observer().see(np.float32([np.inf]), 1, "x")
    np.save(tmp_path / "bad.npy", seeded.pixels("new_names", 3)[:, :1])
    output = tmp_path / "ranges.json"
    for arguments, part in ((["--input", str(tmp_path / "bad.npy")], "input 'pixels': expected"), (["--input", str(tmp_path / "none.npy")], "does not exist"),
                            (["--input", str(tmp_path)], "holds no"), (["--method", "median", "--input", "x"], "invalid choice: 'median'")):
        assert main(["calibrate", str(small_model), "-o", str(output), *arguments]) == 1
        assert part in capsys.readouterr().err
    edit_tensors(small_model, lambda t: t["vit.layers.0.mlp.fc1.weight"].__imul__(1e30))
    edit_tensors(small_model, lambda t: t["vit.layers.0.mlp.fc2.weight"].__imul__(1e30))
    np.save(tmp_path / "x.npy", seeded.pixels("new_names", 3))
    assert main(["calibrate", str(small_model), "-o", str(output), "--input", str(tmp_path / "x.npy")]) == 1
    assert "NaN or infinite on these images" in capsys.readouterr().err
    assert not output.exists()


def test_no_images_are_refused(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((0, 1, 28, 28), np.float32))
    assert main(["calibrate", str(EXAMPLE / "vit_mnist_gelu_rescaled"), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "ranges.json")]) == 1
    assert "cannot calibrate on no images; expected at least 1" in capsys.readouterr().err
    assert not (tmp_path / "ranges.json").exists()


def test_a_module_without_layers_is_refused(tmp_path, capsys):
    """Ranges of nothing would be taken for ranges."""
    (tmp_path / "m.mlir").write_text('func.func @forward(%x: tensor<?x1x4x4xf32> {vit.name = "pixels"}) -> tensor<?x1x4x4xf32> {\n  return %x : tensor<?x1x4x4xf32>\n}\n')
    np.save(tmp_path / "x.npy", np.ones((2, 1, 4, 4), np.float32))
    assert main(["calibrate", str(tmp_path / "m.mlir"), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "ranges.json")]) == 1
    assert "names no value that could be calibrated" in capsys.readouterr().err
    assert not (tmp_path / "ranges.json").exists()
