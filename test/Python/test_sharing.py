"""Layers that have the same weights store one: found from the values, given by layer_share_map, up to a factor, up to a low rank."""
import hashlib
import json
import shutil

import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from safetensors.numpy import load_file, save_file
from test_simulate import digits

from vitrify.compiler import calibrate
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

COMPACT = GOLDEN / "vit_mnist_shared_compact"
SHARE_MAP = [0, 0, 0, 3, 3, 3]


def unshared(folder, change=None, keep_map=False):
    """The compact model with a copy of the shared tensors in every layer, and (unless asked for) no map that says so. change(layer, name, value) alters the copies."""
    shutil.copytree(COMPACT, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["layer_share_map"] == SHARE_MAP
    if not keep_map:
        del config["layer_share_map"]
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    for layer, source in enumerate(SHARE_MAP):
        for name in [n for n in tensors if f".layer.{source}." in n] if layer != source else ():
            copy = tensors[name].copy()
            tensors[name.replace(f".layer.{source}.", f".layer.{layer}.")] = change(layer, name, copy) if change else copy
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    x, labels = digits(EXAMPLE, "test-1000")
    np.save(root / "x.npy", x)
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0])
    return root, labels


def bundle_of(folder, root, name, precision="f32", *options):
    """Compiles and returns (bundle, report of inspect, report of the passes)."""
    (root / name).mkdir()
    module, bundle = root / name / "model.mlir", root / name / "m.vitrify"
    import_folder(folder, module)
    arguments = [module, "-o", bundle, f"--precision={precision}", f"--target={host_target()}", f"--report-json={root / name / 'report.json'}", *options]
    if precision == "fp8":
        calibrate(module, [root / "calibration.npy"], root / name / "ranges.json")
        arguments.append(f"--ranges={root / name / 'ranges.json'}")
    run_tool("vitrify-compile", arguments)
    passes = json.loads((root / name / "report.json").read_text())["targets"][0]["passes"]
    return bundle, json.loads(run_tool("vitrify-inspect", [bundle, "--json"])), passes


def logits(bundle, root):
    run_tool("vitrify-run", [bundle, f"--input={root / 'x.npy'}", "--batch=100", f"--output={root / 'y.npy'}"])
    return np.load(root / "y.npy")


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp8"])
def test_sharing_is_found_without_being_told(precision, images, tmp_path):
    root = tmp_path
    for file in images[0].glob("*.npy"):
        (root / file.name).symlink_to(file)
    folder = unshared(tmp_path / "unshared")
    found, report, passes = bundle_of(folder, root, "found", precision)
    told, compact, _ = bundle_of(COMPACT, root, "told", precision)
    whole = sum(t.nbytes for t in load_file(folder / "model.safetensors").values())
    whole *= {"f32": 1, "bf16": 0.5, "fp8": 0.25}[precision]
    size = report["weights"]["tensor_bytes"]
    assert abs(size - compact["weights"]["tensor_bytes"]) <= 0.02 * compact["weights"]["tensor_bytes"]
    if precision == "f32":  # 16 bits and fp8 keep biases and embeddings in f32, so their share is larger
        assert size <= 0.36 * whole, size / whole
    assert np.array_equal(logits(found, root), logits(told, root))
    # What passes and bundle say: four copies of 16 tensors; each matrix of a block is read by three steps.
    groups = [p for p in passes if p["pass"] == "deduplicate"]
    assert {g["how"] for g in groups} == {"bytes"} and sum(len(g["replaced"]) for g in groups) == 4 * 16
    assert not [p for p in passes if p["pass"] == "unshared"]
    shared = {t["tensor"]: t for t in report["targets"][0]["shared_weights"]}
    fc1 = [t for t in shared.values() if any(layer.startswith("b3.fc1") for layer in t["layers"]) and t["bytes"] >= 64 * 256]
    assert len(fc1) == 1 and fc1[0]["steps"] == 3 and fc1[0]["saved_bytes"] == 2 * fc1[0]["bytes"]
    assert "Weights that several steps read" in run_tool("vitrify-inspect", [found])


def test_a_map_may_come_with_equal_copies_and_not_with_others(tmp_path):
    text = lambda folder: import_folder(folder, tmp_path / "m.mlir").module.read_text()
    assert "vit.weight @b1." not in text(unshared(tmp_path / "equal", keep_map=True))
    bump = lambda layer, name, value: value + np.float32(layer == 4 and name.endswith("output.dense.bias"))
    with pytest.raises(VitrifyError, match=r"layer 4 uses layer 3, but tensor '.*layer\.4\.(attention\.)?output\.dense\.bias' differs .* value 0$"):
        text(unshared(tmp_path / "other", bump, keep_map=True))
    cut = lambda layer, name, value: value[:8].copy() if layer == 1 and name.endswith("intermediate.dense.weight") else value
    with pytest.raises(VitrifyError, match=r"differs .*: F32 \[8, 64\] and F32 \[256, 64\]$"):
        text(unshared(tmp_path / "short", cut, keep_map=True))


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp8"])
def test_matrices_equal_up_to_a_factor_share(precision, images, tmp_path):
    """Layers 1 and 2 have layer 0's matrices times a power of two: the same numbers, stored once, exact to the bit in f32."""
    for file in images[0].glob("*.npy"):
        (tmp_path / file.name).symlink_to(file)
    factor = {1: np.float32(0.5), 2: np.float32(-4)}
    change = lambda layer, name, value: value * factor[layer] if layer in factor and value.ndim == 2 else value
    folder = unshared(tmp_path / "scaled", change)
    bundle, report, passes = bundle_of(folder, tmp_path, "shared", precision)
    groups = [p for p in passes if p["pass"] == "deduplicate" and p["how"] == "factor"]
    assert len(groups) == 2 * 6 and {g["factor"] for g in groups} == {0.5, -4.0}
    compact = bundle_of(COMPACT, tmp_path, "told", precision)[1]
    # All that is left to store is the factors: one a column of six linears in two layers, and their products with scales.
    assert report["weights"]["tensor_bytes"] <= 1.1 * compact["weights"]["tensor_bytes"]
    found = logits(bundle, tmp_path)
    run_tool("vitrify-evaluate", [tmp_path / "shared" / "model.mlir", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'reference.npy'}"])
    reference = np.load(tmp_path / "reference.npy")
    tolerance = {"f32": 1e-5, "bf16": 0.03, "fp8": 0.15}[precision]
    assert np.sqrt(np.square(found - reference).mean()) <= tolerance * np.sqrt(np.square(reference).mean())


def test_a_near_miss_is_not_shared(images, tmp_path):
    """One element of each matrix, another one in each layer, differs in its last bit."""
    def change(layer, name, value):
        if value.ndim == 2:
            value = value * np.float32(0.5)
            value[3, layer] = np.nextafter(value[3, layer], np.float32(9))
        return value

    (tmp_path / "x.npy").symlink_to(images[0] / "x.npy")
    _, report, passes = bundle_of(unshared(tmp_path / "model", change), tmp_path, "near")
    replaced = [name for p in passes if p["pass"] == "deduplicate" for name in p["replaced"]]
    assert replaced and not [name for name in replaced if name.endswith(("query.weight", "intermediate.dense.weight")) or ".ratio" in name]
    assert report["weights"]["tensor_bytes"] > 0.9 * sum(t.nbytes for t in load_file(tmp_path / "model" / "model.safetensors").values())


def test_low_rank_differences_on_request(images, tmp_path):
    """fc1 and fc2 of layers 4 and 5 are layer 3's plus a matrix of rank 2."""
    (tmp_path / "x.npy").symlink_to(images[0] / "x.npy")

    def change(layer, name, value):
        if layer in (4, 5) and value.ndim == 2 and name.endswith(("intermediate.dense.weight", "layer.3.output.dense.weight")):
            random = np.random.RandomState(layer)
            value = value + (random.standard_normal((value.shape[0], 2)) @ random.standard_normal((2, value.shape[1])) * 0.02).astype(np.float32)
        return value

    folder = unshared(tmp_path / "model", change)
    _, plain, _ = bundle_of(folder, tmp_path, "plain")
    bundle, report, passes = bundle_of(folder, tmp_path, "low", "f32", "--share-low-rank=1e-5")
    # The panels of one target fill factors of rank 2 up; two targets share weights as the recipes say them.
    another = "--target=x86-64-v3" if host_target() != "x86-64-v3" else "--target=x86-64-v4"
    _, rows, _ = bundle_of(folder, tmp_path, "rows", "f32", another)
    _, low_rows, _ = bundle_of(folder, tmp_path, "low-rows", "f32", "--share-low-rank=1e-5", another)
    groups = [p for p in passes if p.get("how") == "low rank"]
    assert len(groups) == 4 and {g["rank"] for g in groups} == {2} and all(0 < g["error"] <= 1e-5 for g in groups)
    saved = sum(g["saved_bytes"] for g in groups)
    assert rows["weights"]["tensor_bytes"] - low_rows["weights"]["tensor_bytes"] == saved
    assert 0.8 * saved < plain["weights"]["tensor_bytes"] - report["weights"]["tensor_bytes"] <= saved
    found, exact = logits(bundle, tmp_path), logits(tmp_path / "plain" / "m.vitrify", tmp_path)
    assert np.abs(found - exact).max() <= 1e-3 * np.abs(exact).max()
    for bad in ("-0.1", "1", "nan"):
        with pytest.raises(VitrifyError, match="tolerance of low-rank sharing"):
            bundle_of(folder, tmp_path, f"bad{bad}", "f32", f"--share-low-rank={bad}")


def test_the_report_needs_a_folder_to_go_to(tmp_path):
    with pytest.raises(VitrifyError, match="nowhere"):
        bundle_of(COMPACT, tmp_path, "m", "f32", f"--report-json={tmp_path / 'nowhere' / 'r.json'}")


def test_models_of_one_bundle_share(images, tmp_path):
    """The compact model and the one with a copy in every layer, whose classifier is another one: two entries, one set of blocks."""
    (tmp_path / "x.npy").symlink_to(images[0] / "x.npy")

    def change(layer, name, value):
        return value

    unshared(tmp_path / "model", change)
    tensors = {name: value.copy() for name, value in load_file(tmp_path / "model" / "model.safetensors").items()}
    tensors["classifier.weight"] = np.ascontiguousarray(tensors["classifier.weight"][::-1])
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    import_folder(COMPACT, tmp_path / "first.mlir")
    import_folder(tmp_path / "model", tmp_path / "second.mlir")
    for name, files in (("both", ("first", "second")), ("first", ("first",)), ("second", ("second",))):
        run_tool("vitrify-compile", [*(tmp_path / f"{f}.mlir" for f in files), "-o", tmp_path / name, f"--target={host_target()}", "--precision=bf16"])
    size = lambda name: json.loads(run_tool("vitrify-inspect", [tmp_path / name, "--json"]))["weights"]["tensor_bytes"]
    assert 0 < size("both") - size("first") <= 64 * 64 * 2  # a panel of the other classifier, in bf16
    for entry in ("first", "second"):
        answers = []
        for bundle, options in ((tmp_path / "both", [f"--entry={entry}"]), (tmp_path / entry, [])):
            run_tool("vitrify-run", [bundle, f"--input={tmp_path / 'x.npy'}", "--batch=100", f"--output={tmp_path / 'y.npy'}", *options])
            answers.append(np.load(tmp_path / "y.npy"))
        assert np.array_equal(*answers), entry
    shared = json.loads(run_tool("vitrify-inspect", [tmp_path / "both", "--json"]))["targets"][0]["shared_weights"]
    assert any({layer.split("/")[0] for layer in t["layers"]} >= {"second", "b0.q+b0.k+b0.v"} for t in shared), shared[:3]
    with pytest.raises(VitrifyError, match="two models of the name 'first'"):
        run_tool("vitrify-compile", [tmp_path / "first.mlir", tmp_path / "first.mlir", "-o", tmp_path / "m", f"--target={host_target()}"])
    steps = json.loads((tmp_path / "preprocess.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "third.mlir").write_text((tmp_path / "first.mlir").read_text())
    (tmp_path / "other" / "preprocess.json").write_text(json.dumps(steps | {"mean": [0.5]}))
    with pytest.raises(VitrifyError, match="prepares its images in another way"):
        run_tool("vitrify-compile", [tmp_path / "first.mlir", tmp_path / "other" / "third.mlir", "-o", tmp_path / "m", f"--target={host_target()}"])


def test_a_head_tied_to_an_embedding_is_one_tensor(tmp_path):
    """A table that is looked up and multiplied by, stored twice: the bundle has it once."""
    table = np.random.RandomState(0).standard_normal((40, 16)).astype(np.float32)
    save_file({"embed": table, "head": table.copy()}, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    sha = hashlib.sha256(data[:8 + int.from_bytes(data[:8], "little")]).hexdigest()
    weight = lambda name: f'vit.weight @{name} : tensor<40x16xf32> {{ %0 = vit.read @ckpt "{name}" : tensor<40x16xf32>  vit.yield %0 : tensor<40x16xf32> }}\n'
    (tmp_path / "m.mlir").write_text(
        f'vit.source @ckpt path "w.safetensors" size {len(data)} header_sha256 "{sha}"\n' + weight("embed") + weight("head") +
        'func.func @forward(%ids: tensor<?xi32> {vit.name = "ids", vit.dims = [#vit.dim<"tokens", 1, 4, 64>]}) -> (tensor<?x40xf32> {vit.name = "logits"}) {\n'
        '  %e = vit.get @embed : tensor<40x16xf32>\n  %h = vit.get @head : tensor<40x16xf32>\n'
        '  %x = vit.embed %e, %ids layers ["embed"] : tensor<40x16xf32>, tensor<?xi32> -> tensor<?x16xf32>\n'
        '  %y = vit.linear %x, %h layers ["head"] : tensor<?x16xf32>, tensor<40x16xf32> -> tensor<?x40xf32>\n  return %y : tensor<?x40xf32>\n}\n')
    run_tool("vitrify-compile", [tmp_path / "m.mlir", "-o", tmp_path / "m.vitrify", f"--target={host_target()}"])
    report = json.loads(run_tool("vitrify-inspect", [tmp_path / "m.vitrify", "--json"]))
    stored = [t for t in report["weights"]["tensors"] if t["bytes"] >= table.nbytes]
    shared = report["targets"][0]["shared_weights"]
    # One tensor where both read it as stored; a linear that reads panels of its own has a second form, which is said.
    assert len(stored) == 1 and shared[0]["layers"] == ["embed", "head"], (stored, shared)
