"""Quantisation-aware training: what is trained in PyTorch is what the bundle holds and computes. Runs where PyTorch is: in this environment, or in that
of the interpreter VITRIFY_TORCH_PYTHON (which needs torch, numpy, safetensors, ml_dtypes and pillow)."""
import importlib.util
import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from conftest import BIN, ROOT

PYTHON = os.environ.get("VITRIFY_TORCH_PYTHON") or (sys.executable if importlib.util.find_spec("torch") else "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="torch is not installed, and VITRIFY_TORCH_PYTHON is not set")


def tensors_of(path):
    """Name -> (type, bytes) of a safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {k: (v["dtype"], data[start + v["data_offsets"][0]:start + v["data_offsets"][1]]) for k, v in header.items() if k != "__metadata__"}


def run(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run([PYTHON, *(["-c", script] if isinstance(script, str) else [script]), *map(str, arguments)], capture_output=True, text=True,
                          check=False, env=environment)


def test_trained_and_compiled_are_one(tmp_path):
    done = run(ROOT / "examples/qat/train.py", "--seconds", 20, "--output", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["linears"] == 24 and told["loss_after"] < told["loss_before"]
    assert told["after"] >= told["float"] - 0.2 and abs(told["compiled"] - told["after"]) <= 0.2
    # A sum in another order may fall on the other side of a rounding to E4M3.
    assert told["same_answers"] >= 0.997 * told["images"] and told["median_error"] < 0.005
    checkpoint, bundle = tensors_of(tmp_path / "checkpoint/model.safetensors"), tensors_of(tmp_path / "trained.vitrify/weights.safetensors")
    codes = {name: data for name, (dtype, data) in checkpoint.items() if dtype == "F8_E4M3"}
    assert len(codes) == 24
    stored = b"".join(data for dtype, data in bundle.values() if dtype == "F8_E4M3")
    assert len(stored) >= sum(map(len, codes.values()))
    # Panels may reorder columns, but hold the same codes as often.
    count = np.bincount(np.frombuffer(b"".join(codes.values()), np.uint8), minlength=256)
    found = np.bincount(np.frombuffer(stored, np.uint8), minlength=256)
    assert (found[1:] == count[1:]).all(), "the bundle's codes are not the trained ones"


def test_fake_quantisation_is_the_compilers(tmp_path):
    """Codes against ml_dtypes, gradients against the definition."""
    values = np.concatenate([np.random.default_rng(1).standard_normal(5000).astype(np.float32) * 3, np.float32([0, -0.0, 500, -1e9, 448, 464, 2**-10])])
    np.save(tmp_path / "v.npy", values)
    done = run("import sys, numpy as np, torch\nfrom vitrify.qat import fake_quantise\n"
               "v = torch.from_numpy(np.load(sys.argv[1])).requires_grad_()\ns = torch.tensor(0.0625)\n"
               "y = fake_quantise(v, s); y.sum().backward(); np.save(sys.argv[2], np.stack([y.detach().numpy(), v.grad.numpy()]))", tmp_path / "v.npy", tmp_path / "y.npy")
    assert done.returncode == 0, done.stderr[-2000:]
    found, gradient = np.load(tmp_path / "y.npy")
    scaled = values * np.float32(16)
    np.testing.assert_array_equal(found, scaled.clip(-448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(0.0625))
    np.testing.assert_array_equal(gradient, (np.abs(scaled) <= 448).astype(np.float32))


@pytest.mark.parametrize("script, message", [
    ("qat.prepare(torch.nn.Sequential(torch.nn.ReLU()))", "no linear to prepare"),
    ("m = torch.nn.Sequential(torch.nn.Linear(4, 4)); qat.Alignment(m, m, ['missing'])", "has no module missing"),
    ("m = torch.nn.Sequential(torch.nn.Linear(4, 4)); qat.prepare(m); qat.calibrate(m, [])", "no image reached 0"),
    ("m = torch.nn.Sequential(torch.nn.Linear(4, 4)); qat.prepare(m); qat.export(m, sys.argv[1], 'out')", "0 was not calibrated"),
])
def test_what_is_refused(script, message):
    done = run("import sys, torch\nfrom vitrify import qat\n" + script, ROOT / "examples/mnist/vit_mnist_gelu_rescaled")
    assert done.returncode != 0 and "VitrifyError" in done.stderr and message in done.stderr
