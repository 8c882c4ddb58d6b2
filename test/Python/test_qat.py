"""Quantisation-aware training: what is trained in PyTorch is what the bundle holds and computes. Runs where PyTorch is: in this environment, or in that
of the interpreter VITRIFY_TORCH_PYTHON (which needs torch, numpy, safetensors, ml_dtypes and pillow)."""
import importlib.util
import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import nvfp4_oracle
import pytest
from conftest import BIN, ROOT
from test_nvfp4 import bundle_tensors

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


def test_nvfp4_is_trained_and_compiled_as_one(tmp_path):
    """A model whose columns differ in size loses by NVFP4; training wins at least half of it back, and what was trained is what the bundle holds."""
    done = run(ROOT / "examples/qat/train.py", "--precision", "nvfp4", "--spread", 32, "--steps", 100, "--threads", 1, "--output", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["linears"] == 24 and told["float"] - told["before"] > 1 and told["after"] - told["before"] >= 0.5 * (told["float"] - told["before"])
    assert abs(told["compiled"] - told["after"]) < 1e-3 and told["same_answers"] == told["images"] and told["median_error"] < 1e-4
    checkpoint, bundle = tensors_of(tmp_path / "checkpoint/model.safetensors"), bundle_tensors(tmp_path / "trained.vitrify")
    expected, found = [np.zeros(16, np.int64), np.zeros(256, np.int64)], [np.zeros(16, np.int64), np.zeros(256, np.int64)]
    for name, (dtype, data) in checkpoint.items():
        if dtype == "U8":
            expected[0] += np.bincount(nvfp4_oracle.unpacked(np.frombuffer(data, np.uint8)), minlength=16)
            expected[1] += np.bincount(np.frombuffer(checkpoint[f"{name}_scale"][1], np.uint8), minlength=256)
    for entry, data in bundle.values():
        if entry["dtype"] == "F4":
            codes, scales = nvfp4_oracle.stored(entry, data)
            found[0] += np.bincount(codes.ravel(), minlength=16)
            found[1] += np.bincount(scales.view(np.uint8).ravel(), minlength=256)
    assert all((f[1:] == e[1:]).all() for f, e in zip(found, expected))  # zeros fill panels


def test_fake_nvfp4_is_the_specifications(tmp_path):
    """Codes and scales against numpy's, bit for bit; rounded values and gradients against the definition."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((24, 64)).astype(np.float32)
    w[3, 16:32], w[4, :16] = 0, np.float32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5, -6])
    np.save(tmp_path / "w.npy", w)
    done = run("import sys, numpy as np, torch\nfrom vitrify.qat import NVFP4Linear\nw = torch.from_numpy(np.load(sys.argv[1]))\n"
               "m = NVFP4Linear(torch.nn.Linear(64, 24, bias=False)); m.weight.data = w\ny = m(torch.eye(64)); y.sum().backward()\n"
               "b, a = m.scales()\nnp.savez(sys.argv[2], codes=m.codes().numpy(), scales=b.view(torch.uint8).numpy(), all=a.numpy(), y=y.detach().T.numpy(), g=m.weight.grad.numpy())",
               tmp_path / "w.npy", tmp_path / "y.npz")
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "y.npz")
    codes, scales, of_all = nvfp4_oracle.quantise(w)
    np.testing.assert_array_equal(nvfp4_oracle.unpacked(found["codes"]), codes)
    np.testing.assert_array_equal(found["scales"], scales.view(np.uint8))
    assert found["all"] == of_all
    np.testing.assert_allclose(found["y"], nvfp4_oracle.decode(codes, scales) * np.float64(of_all), rtol=3e-7)
    each = np.repeat(scales.astype(np.float32) * of_all, 16, 1)
    np.testing.assert_array_equal(found["g"], (np.abs(w * (np.float32(1) / each)) <= 6).astype(np.float32))


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
    ("m = torch.nn.Sequential(torch.nn.Linear(24, 4)); qat.prepare(m, precision='nvfp4')", "24 inputs has no form in nvfp4; expected a multiple of 16"),
    ("qat.prepare(torch.nn.Sequential(torch.nn.Linear(4, 4)), precision='fp4')", "unknown precision 'fp4'; expected one of e4m3, nvfp4"),
    ("m = torch.nn.Sequential(torch.nn.Linear(4, 4)); qat.export(m, sys.argv[1], 'out')", "the model has none"),
    ("m = torch.nn.Sequential(torch.nn.Linear(16, 4), qat.E4M3Linear(torch.nn.Linear(4, 4))); qat.prepare(m, precision='nvfp4'); qat.export(m, sys.argv[1], 'out')",
     "the model has several"),
    ("m = torch.nn.Sequential(torch.nn.Linear(4, 4)); qat.prepare(m); qat.export(m, sys.argv[1], 'out')", "0 was not calibrated"),
])
def test_what_is_refused(script, message):
    done = run("import sys, torch\nfrom vitrify import qat\n" + script, ROOT / "examples/mnist/vit_mnist_gelu_rescaled")
    assert done.returncode != 0 and "VitrifyError" in done.stderr and message in done.stderr
