"""Neurons that never do anything leave the MLPs: provably, exact to the bit; or by calibration, within a tolerance; accuracy on 10,000 digits."""
import json
import shutil

import numpy as np
import pytest
from conftest import EXAMPLE, GOLDEN
from safetensors.numpy import load_file, save_file
from test_simulate import digits

from vitrify.cli import main
from vitrify.compiler import CompileOptions, calibrate, compile_model
from vitrify.errors import VitrifyError
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

RELU, GATED, SHARED = (GOLDEN / f"vit_mnist_{name}" for name in ("relu_l1", "gated", "shared_compact"))
GRID = (0.05, 0.06, 0.07, 0.08, 0.09, 0.1)  # of tolerances, ascending
FC1, FC2 = "vit.encoder.layer.{}.intermediate.dense", "vit.encoder.layer.{}.output.dense"


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    root = tmp_path_factory.mktemp("prune")
    x, labels = digits(GOLDEN / "mnist", "t10k")
    np.save(root / "test.npy", x)
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0])
    return root, labels


def edited(source, folder, change):
    shutil.copytree(source, folder)
    tensors = {name: value.copy() for name, value in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def compiled(folder, bundle, images=None, **options):
    """(logits over the test digits, report of the pruning pass by layer)."""
    root = bundle.parent
    options = CompileOptions(**({"precision": "f32", "report": str(bundle) + ".json"} | options))
    compile_model(folder, [images] if images else None, bundle, options)
    passes = json.loads((root / f"{bundle.name}.json").read_text())["targets"][0]["passes"]
    return {entry["layer"]: entry for entry in passes if entry["pass"] == "prune-gates"}


def logits(bundle, images):
    run_tool("vitrify-run", [bundle, f"--input={images}", "--batch=100", f"--output={bundle}.npy"])
    return np.load(f"{bundle}.npy")


def dead_neurons(tensors):
    """Three kinds of provably dead neurons in layer 1: 40 that a ReLU never lets through, 24 whose outputs nothing weighs; and near misses of both."""
    w1, b1, w2 = tensors[FC1.format(1) + ".weight"], tensors[FC1.format(1) + ".bias"], tensors[FC2.format(1) + ".weight"]
    gamma, beta = (tensors[f"vit.encoder.layer.1.layernorm_after.{part}"] for part in ("weight", "bias"))
    bound = lambda j: np.sqrt(w1.shape[1]) * np.linalg.norm(w1[j] * gamma - np.mean(w1[j] * gamma)) + w1[j] @ beta
    for j in range(0, 80, 2):
        b1[j] = -1.01 * bound(j) - 1e-3
    w2[:, 101:125] = 0
    for j in range(1, 20, 2):  # near misses: a little above the bound, and one weight that is not 0
        b1[j] = -0.98 * bound(j)
    w2[:, 130:140] = 0
    w2[3, 130:140] = 1e-6


def test_the_provable_part_is_exact_to_the_bit(mnist, tmp_path):
    images = mnist[0] / "test.npy"
    folder = edited(RELU, tmp_path / "model", dead_neurons)
    pruned = compiled(folder, tmp_path / "pruned", prune_gates=True)
    compiled(folder, tmp_path / "whole")
    assert np.array_equal(logits(tmp_path / "pruned", images), logits(tmp_path / "whole", images))
    layer = pruned["b1.fc1"]
    assert (layer["neurons"], layer["kept"], layer["exact"], layer["approximate"], layer["error"]) == (256, 192, 64, 0, 0)
    assert layer["saved_macs"] == 64 * (64 + 64) and layer["macs"] == 256 * (64 + 64) and layer["saved_bytes"] == 64 * 128 * 4
    assert all(pruned[f"b{i}.fc1"]["kept"] == 256 for i in (0, 2, 3))
    sizes = [json.loads(run_tool("vitrify-inspect", [tmp_path / name, "--json"]))["weights"]["tensor_bytes"] for name in ("whole", "pruned")]
    assert sizes[0] - sizes[1] == layer["saved_bytes"] + 64 * 4  # fc1's bias too


def test_relu_l1_loses_60_percent_of_its_mlp_macs_and_a_tenth_of_a_point(mnist, tmp_path):
    """The tolerance is the least of a grid at which 60 % go, by what calibration saw: no test digit and no label has a say. It is scored once."""
    root, labels = mnist
    for tolerance in GRID:
        report = compiled(RELU, tmp_path / "pruned", root / "calibration.npy", prune_gates=True, tolerance=tolerance)
        saved = sum(r["saved_macs"] for r in report.values()) / sum(r["macs"] for r in report.values())
        assert all(r["approximate"] > 0 and 0 < r["error"] <= tolerance and r["kept"] % 16 == 0 for r in report.values())
        if saved >= 0.6:
            break
    compiled(RELU, tmp_path / "whole")
    right = [logits(tmp_path / name, root / "test.npy").argmax(-1) == labels for name in ("whole", "pruned")]
    for part, which in (("all", slice(None)), ("first 5,000", slice(5000)), ("last 5,000", slice(5000, None))):
        print(f"tolerance {tolerance}, {100 * saved:.1f} % of the MLPs' MACs gone; {part}: {100 * right[0][which].mean():.2f} -> {100 * right[1][which].mean():.2f}")
    assert saved >= 0.6 and 100 * (right[0].mean() - right[1].mean()) <= 0.1


def test_never_seen_neurons_leave_at_tolerance_zero_without_a_change_on_those_images(mnist, tmp_path):
    calibration = mnist[0] / "calibration.npy"
    report = compiled(RELU, tmp_path / "pruned", calibration, prune_gates=True, tolerance=0.0)
    compiled(RELU, tmp_path / "whole")
    assert sum(r["approximate"] for r in report.values()) >= 100
    found, expected = logits(tmp_path / "pruned", calibration), logits(tmp_path / "whole", calibration)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_shared_weights_lose_only_what_is_dead_in_all(mnist, tmp_path):
    """Layers 3 to 5 share the weights that 32 neurons are not used by, layers 0 to 2 others."""
    def change(tensors):
        tensors[FC2.format(3) + ".weight"][:, 64:96] = 0

    folder = edited(SHARED, tmp_path / "model", change)
    report = compiled(folder, tmp_path / "pruned", prune_gates=True)
    assert {name: r["kept"] for name, r in report.items()} == {f"b{i}.fc1": 256 if i < 3 else 224 for i in range(6)}
    assert [r["saved_bytes"] for r in report.values()] == [0, 0, 0, 32 * 128 * 4, 0, 0]  # stored once
    compiled(folder, tmp_path / "whole")
    assert np.array_equal(logits(tmp_path / "pruned", mnist[0] / "calibration.npy"), logits(tmp_path / "whole", mnist[0] / "calibration.npy"))
    report = compiled(folder, tmp_path / "approximate", mnist[0] / "calibration.npy", prune_gates=True, tolerance=0.05)
    assert len({r["kept"] for r in list(report.values())[:3]}) == 1 and report["b0.fc1"]["approximate"] > 0


def test_gelu_neurons_go_by_what_they_contribute(mnist, tmp_path):
    root, labels = mnist
    folder = EXAMPLE / "vit_mnist_gelu_rescaled"
    report = compiled(folder, tmp_path / "pruned", root / "calibration.npy", prune_gates=True, tolerance=0.05)
    assert all(r["exact"] == 0 and r["approximate"] > 0 for r in report.values())
    accuracy = 100 * (logits(tmp_path / "pruned", root / "test.npy").argmax(-1) == labels).mean()
    assert accuracy >= 98.53 - 0.2


def test_blocks_that_a_gate_never_chooses_leave_whole(mnist, tmp_path):
    """Block 5 of layer 2's gate scores less than every other block; block 9 nearly so."""
    root, labels = mnist

    def change(tensors):
        name = next(n for n in tensors if n.endswith("layers.2.mlp.gate.weight"))
        tensors[name][5] = tensors[name].mean(0)
        tensors[name.replace("weight", "bias")][5] = -1000

    folder = edited(GATED, tmp_path / "model", change)
    report = compiled(folder, tmp_path / "pruned", prune_gates=True)
    assert {name: (r["kept"], r["exact"]) for name, r in report.items()} == {f"b{i}.fc1": (240, 16) if i == 2 else (256, 0) for i in range(4)}
    compiled(folder, tmp_path / "whole")
    found, expected = logits(tmp_path / "pruned", root / "test.npy"), logits(tmp_path / "whole", root / "test.npy")
    assert np.array_equal(found, expected)
    report = compiled(GATED, tmp_path / "seen", root / "calibration.npy", prune_gates=True, tolerance=0.0)
    compiled(GATED, tmp_path / "gated")
    accuracy = [100 * (logits(tmp_path / name, root / "test.npy").argmax(-1) == labels).mean() for name in ("gated", "seen")]
    assert accuracy[1] >= accuracy[0] - 0.05, (accuracy, report)


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_low_precision_after_pruning(precision, mnist, tmp_path):
    root, labels = mnist
    compiled(RELU, tmp_path / "pruned", root / "calibration.npy", prune_gates=True, tolerance=0.09, precision=precision)
    assert 100 * (logits(tmp_path / "pruned", root / "test.npy").argmax(-1) == labels).mean() >= 98.28 - 0.3


def test_what_is_refused(mnist, tmp_path, capsys):
    calibration = mnist[0] / "calibration.npy"
    for tolerance in (-0.1, 1.0, float("nan")):
        with pytest.raises(VitrifyError, match="tolerance: expected a number from 0 to below 1"):
            CompileOptions(prune_gates=True, tolerance=tolerance)
    with pytest.raises(VitrifyError, match="needs images"):
        compile_model(RELU, None, tmp_path / "m", CompileOptions(precision="f32", prune_gates=True, tolerance=0.1))
    assert main(["compile", str(RELU), "-o", str(tmp_path / "m"), "--precision=f32", "--tolerance=0.1"]) == 1
    assert "--vit-prune-gates" in capsys.readouterr().err
    module = tmp_path / "model.mlir"
    import_folder(RELU, module)
    arguments = [module, "-o", tmp_path / "m", f"--target={host_target()}"]
    run_refused(arguments, "--tolerance=0.1", "for --vit-prune-gates")
    run_refused(arguments, "--vit-prune-gates", "--tolerance=0.1", "give activity")
    run_refused(arguments, "--vit-prune-gates", "--tolerance=1.5", f"--activity={tmp_path / 'none'}", "expected a number from 0 to below 1")
    run_refused(arguments, "--vit-prune-gates", f"--activity={tmp_path / 'none'}", "none' does not exist|cannot open")
    calibrate(module, [calibration], tmp_path / "ranges.json", activity=tmp_path / "activity.safetensors", limit=16)
    seen = {name: value.copy() for name, value in load_file(tmp_path / "activity.safetensors").items()}
    assert set(seen) == {f"b{i}.act.{what}" for i in range(4) for what in ("mean", "amax", "covariance")}
    for change, message in ((lambda t: t.pop("b2.act.mean"), "lacks 'b2.act.mean'"), (lambda t: t.update({"b1.act.amax": t["b1.act.amax"][:9]}), r"F32 \[9\]"),
                            (lambda t: t["b3.act.covariance"].__setitem__((0, 0), np.nan), "not finite")):
        broken = dict(seen)
        broken["b3.act.covariance"] = broken["b3.act.covariance"].copy()
        change(broken)
        save_file(broken, tmp_path / "broken.safetensors")
        run_refused(arguments, "--vit-prune-gates", f"--activity={tmp_path / 'broken.safetensors'}", message)
    assert not (tmp_path / "m").exists()


def run_refused(arguments, *more):
    with pytest.raises(VitrifyError, match=more[-1]):
        run_tool("vitrify-compile", [*arguments, *more[:-1]])
