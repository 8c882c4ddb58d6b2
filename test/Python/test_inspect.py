"""vitrify-inspect on a bundle that vitrify-compile made: its figures against the files themselves and the checkpoint, and every damage found."""
import json
import shutil
import subprocess

import numpy as np
import pytest
from conftest import BIN, EXAMPLE
from safetensors import safe_open

from vitrify.cli import main
from vitrify.importer.hf import import_folder

MODEL = EXAMPLE / "vit_mnist_gelu_rescaled"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    import_folder(MODEL, folder / "model.mlir")
    subprocess.run([BIN / "vitrify-compile", folder / "model.mlir", "-o", folder / "m.vitrify", "--target=x86-64-v3", "--precision=f32"],
                   check=True)
    return folder / "m.vitrify"


def inspect(bundle, *options):
    return subprocess.run([BIN / "vitrify-inspect", bundle, *options], capture_output=True, text=True)


def test_figures_are_those_of_the_files(bundle):
    report = json.loads(inspect(bundle, "--json", "--verify").stdout)
    assert report["verified"] is True
    assert report["weights"]["file_bytes"] == (bundle / "weights.safetensors").stat().st_size
    target = report["targets"][0]
    assert target["code_bytes"] == (bundle / "targets/x86-64-v3/kernels.so").stat().st_size
    plan = json.loads((bundle / "targets/x86-64-v3/plan.json").read_text())
    assert [k["name"] for k in target["kernels"]] == [k["name"] for k in plan["kernels"]]
    steps = plan["programs"][0]["steps"]
    assert len(target["programs"][0]["steps"]) == len(steps)
    launched = [plan["kernels"][v["kernel"]]["name"] for s in steps if s["kind"] == "launch" for v in s["variants"]]
    assert {k["name"]: k["steps"] for k in target["kernels"]} == {n: launched.count(n) for n in set(launched)}
    assert all(layer["precision"] == "f32" and layer["instructions"] == "f32" for layer in target["layers"])


def test_fp8_layers_say_what_their_instructions_take(bundle, tmp_path):
    """On x86, E4M3 values are held in bf16, or f32 where the row has no bf16: the report says both."""
    images = np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    model = bundle.parent / "model.mlir"
    assert main(["calibrate", str(model), "--input", str(tmp_path / "x.npy"), "-o", str(tmp_path / "ranges.json")]) == 0
    subprocess.run([BIN / "vitrify-compile", model, "-o", tmp_path / "m", "--target=x86-64-v3", "--target=x86-64-v4-bf16", "--precision=fp8",
                    f"--ranges={tmp_path / 'ranges.json'}"], check=True)
    report = json.loads(inspect(tmp_path / "m", "--json", "--verify").stdout)
    for target, instructions in zip(report["targets"], ("f32", "bf16")):
        layers = {layer["name"]: layer for layer in target["layers"]}
        for name in ("b0.q", "b0.proj", "b3.fc1", "b3.fc2"):
            assert (layers[name]["precision"], layers[name]["instructions"]) == ("f8e4m3", instructions), target["name"]
        assert layers["b0.attn"]["precision"] != "f8e4m3" and layers["norm"]["precision"] == "f32"
        assert layers["b0.fc1"]["scale"]
    types = report["weights"]["bytes_by_dtype"]
    assert types["F8_E4M3"] == 4 * (288 * 96 + 96 * 96 + 2 * 384 * 96)  # every linear of the four blocks, once for both targets


def test_weights_are_the_checkpoint_s(bundle):
    """Every element of the checkpoint is in the bundle: sums of all values agree, and the layers' weights one by one."""
    with safe_open(MODEL / "model.safetensors", framework="numpy") as before, \
            safe_open(bundle / "weights.safetensors", framework="numpy") as after:
        total = sum(before.get_tensor(k).astype(np.float64).sum() for k in before.keys())
        mine = {k: after.get_tensor(k) for k in after.keys() if not k.startswith("__pad.")}
        assert sum(v.astype(np.float64).sum() for v in mine.values()) == pytest.approx(total, rel=1e-12)
        query = next(k for k in before.keys() if k.endswith("query.weight") or k.endswith("q_proj.weight"))
        # One x86 target alone: matrices are stored in its panels, [panels, K, columns].
        np.testing.assert_array_equal(mine["b0.qkv.w"].transpose(0, 2, 1).reshape(-1, 96)[:96], before.get_tensor(query))
    report = json.loads(inspect(bundle, "--json").stdout)
    assert report["weights"]["tensor_bytes"] == sum(v.nbytes for v in mine.values())


def test_the_text_names_what_matters(bundle):
    text = inspect(bundle, "--verify").stdout
    for part in ("Entry forward(pixels F32[images, 1, 28, 28]) -> (logits F32[images, 10])", "Target x86-64-v3 (cpu)", "b0.fc1", "attention_",
                 "Verified: every file has its digest."):
        assert part in text


@pytest.mark.parametrize("name", ["manifest.json", "preprocess.json", "weights.safetensors", "weights.sha256", "targets/x86-64-v3/plan.json",
                                  "targets/x86-64-v3/kernels.so"])
def test_damage_is_one_message(bundle, tmp_path, name):
    copy = shutil.copytree(bundle, tmp_path / "m")
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 0x10
    (copy / name).write_bytes(data)
    done = inspect(copy, "--verify")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    (copy / name).unlink()
    done = inspect(copy, "--verify")
    assert done.returncode == 1 and name in done.stderr and done.stderr.count("\n") == 1


def test_a_newer_bundle_says_both_versions(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "m")
    manifest = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(manifest.replace('"major": 1', '"major": 2', 1))
    done = inspect(copy)
    assert done.returncode == 1 and "bundle has version 2.0, this build reads version 1" in done.stderr
