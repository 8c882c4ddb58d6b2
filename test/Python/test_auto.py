"""--precision=auto keeps in E4M3 what does not hurt: within its bound, and told with figures."""
import dataclasses
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


def quick(monkeypatch, *formats):
    """Fewer formats, and times that are equal: those of a tiny model are noise, and the choice by time has a test of its own."""
    monkeypatch.setattr(auto, "BENCH_RUNS", 2)
    monkeypatch.setattr(auto, "FORMATS", {f: auto.FORMATS[f] for f in formats})
    at = auto.Measure.at
    monkeypatch.setattr(auto.Measure, "at", lambda self, forms: dataclasses.replace(at(self, forms), milliseconds=1.0))


def test_the_layer_that_suffers_stays_in_16_bits(data, mnist_copy, edit_tensors, tmp_path, monkeypatch):
    quick(monkeypatch, "fp8", "16")
    folder = hurt(mnist_copy, edit_tensors)
    report = compiled(folder, data, tmp_path / "m.vitrify", 0.1)
    found = precisions(tmp_path / "m.vitrify")
    assert max(report["sensitivity"], key=lambda g: report["sensitivity"][g]["fp8"]) == "b2.fc1"
    assert found["b2.fc1"] == "bf16" and sum(p == "f8e4m3" for p in found.values()) >= 20, found
    assert report["chosen"]["error"] <= 0.1 < next(p["error"] for p in report["points"] if p["count"] == {"fp8": 16})
    assert abs(output_error(folder, tmp_path / "m.vitrify", data, tmp_path) - report["chosen"]["error"]) <= 1e-6
    assert (tmp_path / "m.vitrify.json").with_suffix(".png").stat().st_size > 1000
    assert {len(p["formats"]) for p in report["points"]} == {16}


def test_each_layer_gets_what_it_bears(data, tmp_path, monkeypatch):
    """A bound between those of NVFP4 and E4M3: some layers in each, none beyond the bound alone, the whole within it as compiled in the end."""
    quick(monkeypatch, "nvfp4", "fp8", "16")
    report = compiled(EXAMPLE / "vit_mnist_gelu_rescaled", data, tmp_path / "m.vitrify", 0.015)
    count, forms = report["chosen"]["count"], report["chosen"]["formats"]
    assert count.get("nvfp4", 0) and len(count) >= 2, count
    named = {"nvfp4": "nvfp4", "fp8": "f8e4m3", "16": "bf16"}
    found = precisions(tmp_path / "m.vitrify")
    for group, form in forms.items():
        for name in [group.replace("qkv", part) for part in "qkv"] if group.endswith("qkv") else [group]:
            assert found[name] == named[form], name
        assert form == "16" or report["sensitivity"][group][form] <= 0.015
    assert abs(output_error(EXAMPLE / "vit_mnist_gelu_rescaled", tmp_path / "m.vitrify", data, tmp_path) - report["chosen"]["error"]) <= 1e-6
    assert report["chosen"]["error"] <= 0.015
    wide = next(p for p in report["points"] if p["count"] == {"16": 16})
    assert report["chosen"]["weight_bytes"] < 0.6 * wide["weight_bytes"]


class Fake:
    """A model whose groups cost known errors in each format, added up in squares, and known times."""

    def __init__(self, errors, slow=(), columns=128):
        self.groups = {g: auto.Group((g,), 100, columns) for g in errors}
        self.errors, self.slow, self.formats, self.seen = errors, slow, list(auto.FORMATS), []

    def error(self, forms):
        self.seen.append(dict(forms))
        return float(np.sqrt(1e-6 + sum(self.errors[g].get(f, 0.001)**2 for g, f in forms.items() if f != "16")))

    def at(self, forms):
        slow = sum(f in self.slow for f in forms.values())
        return auto.Point(tuple(forms.items()), self.error(forms), int(sum(self.groups[g].bytes_in(f) for g, f in forms.items())), 2.0 + slow * 0.1)


def chosen(fake, bound, log=lambda line: None):
    best, points, sensitivity = auto.choose(fake, bound, log=log)
    return dict(best.formats), best, points, sensitivity


def test_the_fewest_bytes_within_the_bound():
    fake = Fake({"a": {"nvfp4": 0.3, "fp8": 0.02, "fp8_token": 0.01}, "b": {"nvfp4": 0.01, "fp8": 0.009}, "c": {"nvfp4": 0.2, "fp8": 0.15, "fp8_tensor": 0.3, "fp8_token": 0.16, "fp8_block": 0.17}})
    forms, best, points, sensitivity = chosen(fake, 0.5)
    assert forms == {"a": "nvfp4", "b": "nvfp4", "c": "nvfp4"} and best.error <= 0.5
    forms, best, *_ = chosen(fake, 0.25)  # a alone is beyond the bound in NVFP4, and takes the format of 8 bits that errs least
    assert forms["a"] not in ("nvfp4", "16") and forms["b"] == "nvfp4" and sensitivity["a", forms["a"]] == min(v for (g, f), v in sensitivity.items() if g == "a")
    assert best.error <= 0.25
    forms, best, *_ = chosen(fake, 0.03)
    assert forms["c"] == "16" and forms["b"] == "nvfp4" and best.error <= 0.03
    assert all(sensitivity[g, f] <= 0.03 for g, f in forms.items() if f != "16")
    text = auto.table(points, points[0])
    assert text.count("\n") == len({p.formats for p in points}) and "<-- chosen" in text


def test_joint_errors_are_measured_not_added():
    """Layers that hurt each other: alone each is within the bound, together they are not."""
    fake = Fake({g: {f: 0.02 for f in auto.FORMATS} for g in "abcd"})
    fake.error = lambda forms: 0.001 + 0.02 * sum(f != "16" for f in forms.values())**2
    forms, best, *_ = chosen(fake, 0.1)
    assert sum(f != "16" for f in forms.values()) == 2 and best.error <= 0.1


def test_formats_slower_than_16_bits_are_not_used():
    said = []
    forms, best, points, sensitivity = chosen(Fake({"a": {}, "b": {}}, slow=("nvfp4", "fp8_tensor")), 0.5, said.append)
    assert not {"nvfp4", "fp8_tensor"} & set(forms.values()) and best.milliseconds == 2.0
    assert sum("slower than 16 bits: left out" in line for line in said) == 2 and not any(f == "nvfp4" for _, f in sensitivity)
    forms, *_ = chosen(Fake({"a": {}, "b": {}}, slow=tuple(f for f in auto.FORMATS if f != "16")), 0.5)
    assert set(forms.values()) == {"16"}


def test_a_mixture_slower_than_16_bits_is_not_taken():
    far = {f: 0.5 for f in auto.FORMATS}

    def chosen_with(errors, time):
        fake, said = Fake(errors), []
        at = fake.at
        fake.at = lambda forms: dataclasses.replace(at(forms), milliseconds=time(set(forms.values())))
        return chosen(fake, 0.2, said.append)[0], said

    forms, said = chosen_with({"a": far, "b": {"nvfp4": 0.01}}, lambda used: 2.5 if len(used) > 1 else 2.0)
    assert set(forms.values()) == {"16"} and "2.500 ms are slower than 2.000 ms in 16 bits: without" in said[-1]
    # Without what makes it slow a part of the bytes can go still: the slowest format alone goes first.
    forms, said = chosen_with({"a": far | {"fp8": 0.1}, "b": {"nvfp4": 0.01}}, lambda used: 2.02 if used == {"fp8"} else 2.0 + 0.5 * ("fp8" in used))
    assert forms == {"a": "16", "b": "nvfp4"} and said[-1].endswith("without E4M3 by channel")


def test_formats_need_their_columns():
    forms, _, _, sensitivity = chosen(Fake({"a": {}}, columns=24), 0.5)
    assert {f for _, f in sensitivity} == {"fp8", "fp8_tensor", "fp8_token"} and forms["a"] in ("fp8", "fp8_tensor", "fp8_token")


def test_bounds_that_cannot_be_kept_are_refused(data, tmp_path, capsys):
    with pytest.raises(VitrifyError, match="in 16 bits alone the output's error is 0.001; the smallest bound that works is 0.00101"):
        auto.choose(Fake({"a": {}}), 0.0005)
    for arguments, message in ((["--precision=auto"], "needs a bound"), (["--precision=fp8", "--max-drop=0.1"], "is for --precision=auto"),
                               (["--precision=auto", "--max-drop=1.5"], "between 0 and 1"), (["--precision=auto", "--max-drop=0.1"], "needs images")):
        assert main(["compile", str(EXAMPLE / "vit_mnist_gelu_rescaled"), "-o", str(tmp_path / "m"), *arguments]) == 1
        assert message in capsys.readouterr().err
