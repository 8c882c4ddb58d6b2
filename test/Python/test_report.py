"""The page of `vitrify report`: every figure that it shows is computed again, from the bundle's own files and from the reference's values."""
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import GOLDEN

import vitrify
from vitrify.cli import main
from vitrify.compiler import calibrate
from vitrify.images import load_inputs
from vitrify.taps import named_values
from vitrify.workspace import module_of

TARGET = "x86-64-v4-bf16"


class Page(HTMLParser):
    """Tables by name as lists of rows of text, the embedded JSON, and whatever would load something from outside."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.outside, self.scripts, self.drawings = {}, [], 0, []
        self._table = self._cell = self._json = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.outside += [v for k, v in attributes.items() if k in ("src", "href") or (v or "").startswith("http")]
        if tag == "table":
            self._table = self.tables.setdefault(attributes["id"], [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag == "script":
            self.scripts += 1
            assert attributes == {"type": "application/json", "id": "report"}
            self._json = ""
        elif tag == "svg":
            self.drawings.append(attributes.get("class"))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._table[-1].append(self._cell)
            self._cell = None
        elif tag == "script":
            self.report, self._json = json.loads(self._json), None

    def handle_data(self, data):
        if self._json is not None:
            self._json += data
        elif self._cell is not None:
            self._cell += data


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A gated model in FP8, its images, its page, and its folder."""
    folder = tmp_path_factory.mktemp("report")
    model = GOLDEN / "vit_mnist_gated"
    x = np.random.default_rng(3).standard_normal((3, 1, 28, 28)).astype(np.float32)
    np.save(folder / "x.npy", x)
    with module_of(model) as module:
        calibrate(module, [folder / "x.npy"], folder / "ranges.json")
    vitrify.compile(model, None, folder / "m.vitrify", vitrify.CompileOptions(targets=(TARGET,)), ranges=folder / "ranges.json")
    assert main(["report", str(folder / "m.vitrify"), "-o", str(folder / "m.html"), "--input", str(folder / "x.npy"), "--model", str(model), "--ranges",
                 str(folder / "ranges.json"), "--runs", "3"]) == 0
    return folder, Page((folder / "m.html").read_text(encoding="utf-8"))


def in_bytes(text):
    """What a shown amount may be: the least and the most number of bytes that are written so."""
    value, unit = text.split()
    scale = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit]
    half = 0.5 if unit == "B" else 0.05 if unit != "GiB" else 0.005
    return (float(value) - half) * scale - 1, (float(value) + half) * scale + 1


def shows(text, count):
    low, high = in_bytes(text)
    return low <= count <= high


def value_of(size, **symbols):
    """A size expression of the plan."""
    if isinstance(size, str):
        return symbols[size]
    if isinstance(size, int):
        return size
    kind, a, b = size[0], value_of(size[1], **symbols), value_of(size[2], **symbols)
    return {"*": a * b, "+": a + b, "-": a - b, "ceildiv": -(-a // max(b, 1)), "max": max(a, b), "min": min(a, b)}[kind]


def test_it_is_one_file_without_scripts(made):
    _, page = made
    assert page.outside == [] and page.scripts == 1
    assert {"steps", "bar", "heat", "grey"} <= set(page.drawings)


def test_layers_are_the_manifests(made):
    folder, page = made
    layers = json.loads((folder / "m.vitrify/manifest.json").read_text())["targets"][0]["layers"]
    shown = page.tables[f"layers-{TARGET}"][1:]
    assert [(row[0], row[1].split(" ")[0], row[2], row[3]) for row in shown] == [(n["name"], n["precision"], n["note"], n["kernel"]) for n in layers]


def test_memory_is_the_plans(made):
    folder, page = made
    program = json.loads((folder / f"m.vitrify/targets/{TARGET}/plan.json").read_text())["programs"][0]
    arena = {i: value_of(b["size"], images=1) for i, b in enumerate(program["buffers"]) if b["kind"] == "arena"}
    touched = [{use["buffer"] for use in step["reads"] + step["writes"]} & set(arena) for step in program["steps"]]
    live = []
    for i in range(len(touched)):
        before, after = set().union(*touched[:i + 1]), set().union(*touched[i:])
        live.append(sum(arena[b] for b in before & after))
    memory = page.report["memory"][TARGET]["forward"]
    assert memory["live"] == live and memory["arena"] == value_of(program["arena_bytes"], images=1) >= max(live)
    rows = page.tables[f"plan-{TARGET}-forward"][1:]
    assert [row[1] for row in rows] == [" ".join(s["layers"]) for s in program["steps"] if s["kind"] == "launch"]
    assert all(shows(row[5], live[int(row[0])]) for row in rows)


def test_weights_are_the_files(made):
    folder, page = made
    file = (folder / "m.vitrify/weights.safetensors").read_bytes()
    header = json.loads(file[8:8 + int.from_bytes(file[:8], "little")])
    sizes = {name: t["data_offsets"][1] - t["data_offsets"][0] for name, t in header.items() if name != "__metadata__" and "pad" not in name}
    shown = {row[0]: row for row in page.tables["tensors"][1:]}
    assert set(shown) <= set(sizes) and all(shows(row[3], sizes[name]) for name, row in shown.items())
    by_dtype = {}
    for name in shown:
        by_dtype[header[name]["dtype"]] = by_dtype.get(header[name]["dtype"], 0) + sizes[name]
    assert {row[0] for row in page.tables["dtypes"][1:]} == set(by_dtype)
    assert all(shows(row[1], by_dtype[row[0]]) for row in page.tables["dtypes"][1:])


def test_errors_are_those_of_the_values(made):
    folder, page = made
    x = np.load(folder / "x.npy")
    with module_of(GOLDEN / "vit_mnist_gated") as module:
        expected, found = named_values(module, x), named_values(module, x, "fp8", folder / "ranges.json")
    shown = {row[0]: row for row in page.tables["errors"][1:]}
    assert list(shown) == [name for name in expected if name in found] and len(shown) > 30
    for name, row in shown.items():
        a, b = expected[name].astype(np.longdouble).ravel(), found[name].astype(np.longdouble).ravel()
        cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
        assert float(row[1]) == pytest.approx(float(cosine), abs=6e-7)
        noise = ((a - b)**2).sum()
        assert (row[2] == "–") if noise == 0 else math.isclose(float(row[2]), float(10 * np.log10((a * a).sum() / noise)), abs_tol=0.051)
        assert float(row[3]) == pytest.approx(float(np.abs(a - b).max()), rel=6e-4)


def test_activity_is_that_of_the_values(made):
    folder, page = made
    x = load_inputs([folder / "x.npy"], folder / "m.vitrify/preprocess.json", 4)
    with module_of(GOLDEN / "vit_mnist_gated") as module:
        values = named_values(module, x)
    rows = {row[0]: row for row in page.tables["activity"][1:]}
    assert {"b0.gate", "b0.gated", "b3.gate", "b3.gated"} <= set(rows)
    for layer in page.report["activity"]["layers"]:
        v = np.abs(values[layer["name"]])
        on = v != 0 if layer["name"].endswith("gate") else v > v.max() / 100
        assert rows[layer["name"]][2] == f"{100 * on.mean():.1f} %" and int(rows[layer["name"]][3]) == (~on.any(axis=0)).sum()
        assert layer["tokens"] == pytest.approx([on[i].mean() for i in range(len(v) // len(x))])
    # 4 of 16 blocks are on, whatever the image.
    assert rows["b0.gate"][2] == "25.0 %"


def test_times_were_measured(made):
    _, page = made
    steps = page.report["times"]["steps"]
    assert [s["layers"] for s in steps if "fc1" in s["layers"]] and all(s["ns"] >= 0 for s in steps)
    rows = page.tables["times"][1:]
    assert sum(float(re.match(r"[\d.]+", row[3])[0]) for row in rows) == pytest.approx(100, abs=0.06 * len(rows))
    assert [float(row[2]) for row in rows] == sorted((round(s["ns"] / 1e3, 1) for s in steps), reverse=True)


def test_shared_weights_are_one_group(tmp_path):
    compact = GOLDEN / "vit_mnist_shared_compact"
    vitrify.compile(compact, None, tmp_path / "m.vitrify", vitrify.CompileOptions(precision="f32", targets=(TARGET,)))
    assert main(["report", str(tmp_path / "m.vitrify"), "-o", str(tmp_path / "m.html")]) == 0
    page = Page((tmp_path / "m.html").read_text(encoding="utf-8"))
    assert "times" not in page.tables and "errors" not in page.tables
    plan = json.loads((tmp_path / f"m.vitrify/targets/{TARGET}/plan.json").read_text())
    users = {}
    for step in plan["programs"][0]["steps"]:
        for weight in step.get("weights", ()):
            users.setdefault(weight, set()).update(step["layers"])
    tensors = {t["name"]: t["bytes"] for t in page.report["inspection"]["weights"]["tensors"]}
    rows = {row[0]: row for row in page.tables["sharing"][1:]}
    # Three layers use one block's weights.
    for name, row in rows.items():
        assert len({re.sub(r"b\d+", "", n) for n in row[1].split(", ")}) == 1 and shows(row[2], tensors[name])
        assert shows(row[3], tensors[name] * (len(row[1].split(", ")) - 1))
    shared = sum(len(layers) > 1 and len({n.split(".")[0] for n in layers}) == 3 for layers in users.values())
    assert len(rows) == shared > 8


@pytest.mark.parametrize("arguments, message", [(["--model", "m"], "need images"), (["--input", "none.npy"], "none.npy"), (["--runs", "0", "--input", "x.npy"], "at least 1")])
def test_what_is_refused(made, tmp_path, capsys, arguments, message):
    folder, _ = made
    arguments = [str(folder / "x.npy") if a == "x.npy" else a for a in arguments]
    assert main(["report", str(folder / "m.vitrify"), "-o", str(tmp_path / "p.html"), *arguments]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "p.html").exists()
