"""--precision=auto keeps in E4M3 what does not hurt: within its bound, and told with figures."""
import json
import re

import numpy as np
import pytest
from conftest import EXAMPLE
from test_simulate import digits

from vitrify import auto
from vitrify.cli import main
from vitrify.compiler import CompileOptions, compile_model
from vitrify.errors import VitrifyError
from vitrify.evaluate import evaluate
from vitrify.importer import import_folder
from vitrify.tools import run_tool


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("auto")
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0][:64])
    return root


def precisions(bundle):
    layers = json.loads(run_tool("vitrify-inspect", [bundle, "--json"]))["targets"][0]["layers"]
    return {layer["name"]: layer["precision"] for layer in layers if re.match(r"b\d+\.(q|k|v|proj|fc1|fc2)$", layer["name"])}


def compiled(folder, data, output, max_drop):
    compile_model(folder, [data / "calibration.npy"], output, CompileOptions(precision="auto", max_drop=max_drop, auto_report=str(output) + ".json"))
    return json.loads((output.parent / f"{output.name}.json").read_text())


def output_error(folder, bundle, data, tmp_path):
    module = import_folder(folder, tmp_path / "check.mlir").module
    x = np.load(data / "calibration.npy")
    expected = evaluate(module, x).astype(np.float64)
    run_tool("vitrify-run", [bundle, f"--input={data / 'calibration.npy'}", f"--output={tmp_path / 'y.npy'}"])
    return float(np.sqrt(np.square(np.load(tmp_path / "y.npy") - expected).mean() / np.square(expected).mean()))


def hurt(folder, edit_tensors):
    """Layer 2's fc1 gets inputs of which a few are a million times the others: a scale for the tensor loses the others."""
    def change(tensors):
        base = "vit.encoder.layer.2."
        tensors[f"{base}layernorm_after.weight"][:3] *= 1e6
        tensors[f"{base}layernorm_after.bias"][:3] *= 1e6
        tensors[f"{base}intermediate.dense.weight"][:, :3] /= 1e6

    return edit_tensors(folder, change)


def test_the_layer_that_suffers_stays_in_16_bits(data, mnist_copy, edit_tensors, tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "BENCH_RUNS", 5)
    monkeypatch.setattr(auto.Measure, "at", untimed(auto.Measure.at))
    folder = hurt(mnist_copy, edit_tensors)
    report = compiled(folder, data, tmp_path / "m.vitrify", 0.1)
    found = precisions(tmp_path / "m.vitrify")
    assert max(report["sensitivity"], key=report["sensitivity"].get) == "b2.fc1"
    assert found["b2.fc1"] == "bf16" and sum(p == "f8e4m3" for p in found.values()) >= 20, found
    assert report["chosen"]["error"] <= 0.1 < next(p["error"] for p in report["points"] if p["e4m3"] == 16)
    assert abs(output_error(folder, tmp_path / "m.vitrify", data, tmp_path) - report["chosen"]["error"]) <= 1e-6
    assert (tmp_path / "m.vitrify.png").exists() or (tmp_path / "m.vitrify.json").with_suffix(".png").stat().st_size > 1000
    assert {p["e4m3"] + len(p["in_16_bits"]) for p in report["points"]} == {16}


def untimed(at):
    """Times of a tiny model are noise: the choice by time has a test of its own."""
    def measured(self, wide, bench=True):
        point = at(self, wide, bench)
        return point if not bench else auto.Point(point.wide, point.error, point.weight_bytes, 1.0)

    return measured


class Fake:
    """A model whose groups cost known errors, added up, and known times."""

    def __init__(self, errors, slow=False):
        self.groups, self.errors, self.slow, self.seen = {g: [g] for g in errors}, errors, slow, []

    def at(self, wide, bench=True):
        self.seen.append(tuple(wide))
        error = 0.001 + sum(e for g, e in self.errors.items() if g not in wide)
        narrow = len(self.groups) - len(wide)
        return error if not bench else auto.Point(tuple(wide), error, 100 - narrow, 2.0 + narrow * (0.1 if self.slow else -0.1))


def test_the_fewest_that_are_within_the_bound():
    fake = Fake({"a": 0.3, "b": 0.01, "c": 0.2, "d": 0.02})
    best, points, sensitivity = auto.choose(fake, 0.25, log=lambda line: None)
    assert best.wide == ("a",) and best.error <= 0.25 and sensitivity["a"] == pytest.approx(0.301)
    best, *_ = auto.choose(fake, 0.05, log=lambda line: None)
    assert best.wide == ("a", "c")
    best, _, sensitivity = auto.choose(fake, 0.9, log=lambda line: None)
    assert best.wide == () and not sensitivity  # nothing to find out
    text = auto.table(points, fake.groups, points[4])
    assert text.count("\n") == len(points) and "<-- chosen" in text


def test_what_is_no_faster_than_16_bits_is_not_taken():
    said = []
    best, *_ = auto.choose(Fake({"a": 0.1, "b": 0.1}, slow=True), 0.5, log=said.append)
    assert best.wide == ("a", "b") and "no faster" in said[-1]


def test_bounds_that_cannot_be_kept_are_refused(data, tmp_path, capsys):
    with pytest.raises(VitrifyError, match="in 16 bits alone the output's error is 0.001; the smallest bound that works is 0.00101"):
        auto.choose(Fake({"a": 0.1}), 0.0005)
    for arguments, message in ((["--precision=auto"], "needs a bound"), (["--precision=fp8", "--max-drop=0.1"], "is for --precision=auto"),
                               (["--precision=auto", "--max-drop=1.5"], "between 0 and 1"), (["--precision=auto", "--max-drop=0.1"], "needs images")):
        assert main(["compile", str(EXAMPLE / "vit_mnist_gelu_rescaled"), "-o", str(tmp_path / "m"), *arguments]) == 1
        assert message in capsys.readouterr().err
