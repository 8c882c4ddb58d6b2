"""Kernels of Triton (PyPI), compiled ahead of time for sm_89, on the emulator with all checks, against numpy.

Needs a Python with triton, which needs no torch for this: this one, or VITRIFY_TRITON_PYTHON.
"""
import functools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from vitrify import emulator

SCRIPT = Path(__file__).with_name("triton_kernels.py")
E4M3 = ml_dtypes.float8_e4m3fn


@functools.cache
def compiled():
    """The kernels, or why there are none."""
    python = os.environ.get("VITRIFY_TRITON_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import triton"], capture_output=True, check=False).returncode:
        return f"{python} has no triton: pip install --no-deps triton==3.7.1, or set VITRIFY_TRITON_PYTHON"
    done = subprocess.run([python, str(SCRIPT)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def run(name, grid, arguments, **options):
    kernels = compiled()
    if isinstance(kernels, str):
        pytest.skip(kernels)
    kernel = kernels[name]
    # Triton adds pointers to scratch memory that these kernels do not use.
    entry = re.search(r"\.entry\s+" + name + r"\s*\((.*?)\)", kernel["ptx"], re.S).group(1)
    extra = len(re.findall(r"\.param", entry)) - len(arguments)
    result = emulator.run(kernel["ptx"], name, grid, kernel["threads"], [*arguments, *[0] * extra], shared=kernel["shared"], **options)
    assert result.faults == 0, result.reports[:2]
    return result.arrays


def test_fp8_matmul_with_epilogue(rng):
    m, n, k = 100, 96, 256
    a, b = (rng.standard_normal(s).astype(E4M3) for s in ((m, k), (n, k)))
    bias = rng.standard_normal(n).astype(np.float32)
    c = run("matmul_fp8", (2, 2), [a.view(np.uint8), b.view(np.uint8), bias, emulator.Empty((m, n), np.float16), np.float32(0.05), m, n, k])[3]
    x = a.astype(np.float64) @ b.astype(np.float64).T * 0.05 + bias
    expected = 0.5 * x * (1 + np.vectorize(math.erf)(x * math.sqrt(0.5)))
    np.testing.assert_allclose(c.astype(np.float64), expected, rtol=2e-3, atol=1e-2)


def test_flash_attention(rng):
    s, d = 100, 64
    q, k, v = (rng.standard_normal((2, s, d)).astype(np.float16) for _ in range(3))
    o = run("attention", (2, 2), [q, k, v, emulator.Empty((2, s, d), np.float16), np.float32(0.125), s])[3]
    logits = q.astype(np.float64) @ k.astype(np.float64).transpose(0, 2, 1) * 0.125
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    expected = p / p.sum(axis=-1, keepdims=True) @ v.astype(np.float64)
    np.testing.assert_allclose(o.astype(np.float64), expected, rtol=5e-3, atol=2e-3)


def test_layer_norm_with_quantise(rng):
    x, gain, shift = rng.standard_normal((5, 197)).astype(np.float32), rng.random(197, np.float32), rng.random(197, np.float32)
    # Triton's reduction over warps shuffles a register that most lanes never wrote; no result depends on it.
    y = run("layer_norm_quantise", 5, [x, gain, shift, emulator.Empty((5, 197), np.uint8), np.float32(8), 197], checks="-init")[3]
    wide = x.astype(np.float64)
    norm = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-6) * gain + shift
    expected = (norm * 8).astype(np.float32).astype(E4M3).view(np.uint8)
    assert (y != expected).mean() < 0.01  # a value on the border between two codes may fall to either side
    assert np.abs(y.view(E4M3).astype(np.float64) - norm * 8).max() <= np.abs(norm * 8).max() / 16
