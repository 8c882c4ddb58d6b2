"""A full-size ViT-B/16 with seeded weights: what compiling it costs, and that its answers are right."""
import json
import subprocess
import sys

import numpy as np
import pytest

import seeded
from vitrify.compiler import calibrate
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import find_tool, run_tool


@pytest.fixture(scope="module")
def vit_base(tmp_path_factory):
    """model.mlir of a ViT-B, one input, and the reference interpreter's answer to it."""
    root = tmp_path_factory.mktemp("vit-base")
    generator = seeded.write_vit(root / "m", 0, 768, 12, gain=1.2)
    import_folder(root / "m", root / "model.mlir")
    np.save(root / "x.npy", generator.standard_normal((1, 3, 224, 224), dtype=np.float32))
    calibrate(root / "model.mlir", [root / "x.npy"], root / "ranges.json")
    run_tool("vitrify-evaluate", [root / "model.mlir", f"--input={root}/x.npy", f"--output={root}/expected.npy"])
    return root


MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
print(json.dumps({"status": status, "seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}))
"""


def measured(command):
    """Processor time and peak memory of a command. A process's peak counts what its parent held when it forked, so a small one starts it."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
    used = json.loads(done.stdout.splitlines()[-1])
    assert used["status"] == 0, done.stderr
    return used


@pytest.mark.parametrize("precision", ["f32", "bf16", "fp8", "int8"])
def test_compile_and_run(precision, vit_base):
    root = vit_base
    bundle = root / f"{precision}.vitrify"
    arguments = [root / "model.mlir", "-o", bundle, f"--precision={precision}", f"--ranges={root}/ranges.json", f"--target={host_target()}", "--no-cache"]
    used = measured([find_tool("vitrify-compile"), *map(str, arguments)])
    # Processor time, which other processes do not lengthen; the wall time of one thread is no more.
    assert used["seconds"] < 12
    weights = (root / "m" / "model.safetensors").stat().st_size
    assert used["peak_bytes"] < weights / 4 + (512 << 20)

    run_tool("vitrify-run", [bundle, f"--input={root}/x.npy", f"--output={root}/y.npy"])
    found, expected = np.load(root / "y.npy").astype(np.float64).ravel(), np.load(root / "expected.npy").astype(np.float64).ravel()
    cosine = found @ expected / np.sqrt((found @ found) * (expected @ expected))
    if precision == "f32":
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert cosine >= {"f32": 0.9999999, "bf16": 0.9999, "fp8": 0.995, "int8": 0.995}[precision]


def test_cpu_and_gpu_from_the_cache(vit_base, tmp_path, monkeypatch):
    """Both targets into one bundle: cold, and with every kernel found in the cache."""
    monkeypatch.setenv("VITRIFY_CACHE", str(tmp_path / "cache"))
    arguments = [vit_base / "model.mlir", "-o", tmp_path / "b", "--precision=fp8", f"--ranges={vit_base}/ranges.json", f"--target={host_target()}", "--target=sm_89"]
    command = [find_tool("vitrify-compile"), *map(str, arguments)]
    cold, cached = (measured(command)["seconds"] for _ in range(2))
    # About 4.5 and 0.55 seconds; how fast a processor is and what else it does changes both alike.
    assert cached < cold / 4 and cold < 16 and cached < 2, (cold, cached)
