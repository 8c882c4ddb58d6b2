"""A real GPU: whole models against the CPU and against the emulator, and speed beside cuBLASLt and Triton. Skipped with the reason where there is none."""
import ctypes
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import EXAMPLE, ROOT
from test_simulate import digits

from vitrify.compiler import CompileOptions, compile_model
from vitrify.targets import host_target
from vitrify.tools import run_tool


def missing():
    """Why there is no GPU that runs code for sm_89; "" when there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no CUDA driver (libcuda.so.1)"
    count, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the CUDA driver finds no GPU"
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, 0)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, 0)
    if (major.value, minor.value) < (8, 9):
        return f"the GPU has compute capability {major.value}.{minor.value}, 8.9 is needed"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a GPU")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    root = tmp_path_factory.mktemp("cuda")
    x, labels = digits(EXAMPLE, "test-1000")
    np.save(root / "x.npy", x)
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0])
    compile_model(EXAMPLE / "vit_mnist_gelu_rescaled", root / "calibration.npy", root / "b.vitrify", CompileOptions(targets=(host_target(), "sm_89")))
    return root, labels


def logits(root, device, batch):
    run_tool("vitrify-run", [root / "b.vitrify", f"--device={device}", f"--input={root / 'x.npy'}", f"--batch={batch}", f"--output={root / 'y.npy'}"])
    return np.load(root / "y.npy")


def test_digits_agree_with_the_cpu(bundle):
    root, labels = bundle
    gpu, cpu = logits(root, "cuda", 100), logits(root, "cpu", 100)
    different = np.flatnonzero(gpu.argmax(1) != cpu.argmax(1))
    assert len(different) <= 5
    for i in different:
        top = np.sort(cpu[i])[-2:]
        assert top[1] - top[0] < 0.02 * np.ptp(cpu)
    assert (gpu.argmax(1) == labels).mean() >= 0.97


def test_the_emulator_was_right(bundle):
    """The emulated chip sums as the real one: what differs are approximations such as tanh and exp."""
    root, _ = bundle
    np.save(root / "x.npy", np.load(root / "x.npy")[:100])
    gpu, emulated = logits(root, "cuda", 50), logits(root, "emulator:sm_89", 50)
    assert np.abs(gpu - emulated).max() <= 0.02 * np.ptp(emulated)


def test_runs_and_graphs_give_equal_bits(bundle):
    root, _ = bundle
    assert np.array_equal(logits(root, "cuda", 10), logits(root, "cuda", 10))


def test_speed_beside_others(bundle, capsys):
    """Prints what it measures; nothing is asserted but that it was measured."""
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "gpu" / "linears.py", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    with capsys.disabled():
        print("\n" + json.dumps(result, indent=1))
    assert result["ours"] and all(row["us"] > 0 for row in result["ours"])
