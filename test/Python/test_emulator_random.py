"""Random programs of integer and IEEE arithmetic, predication, loops and divergence: PTX on the emulator against the same
program compiled by clang for this machine. VITRIFY_RANDOM_PROGRAMS sets how many (long runs: 10000), VITRIFY_RANDOM_SEED
the first seed."""
import ctypes
import os
import subprocess

import numpy as np
import pytest
import random_ptx

from vitrify import emulator

COUNT = int(os.environ.get("VITRIFY_RANDOM_PROGRAMS", "300"))
FIRST = int(os.environ.get("VITRIFY_RANDOM_SEED", "1"))
BATCH, THREADS = 100, 64


def inputs(seed):
    """Words with many zeros, ones, small numbers and bits of floats among them."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, (THREADS, random_ptx.INPUTS), dtype=np.uint32)
    special = np.array([0, 1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x3F800000, 0x7F800000, 0x00000001, 0x80000001, 0x7FC00000], np.uint32)
    pick = rng.random(words.shape)
    words = np.where(pick < 0.2, special[rng.integers(0, len(special), words.shape)], words)
    return np.where((pick > 0.7), words & 0xFF, words).astype(np.uint32)


def canonical(out):
    """NaN results compare as one NaN: their bits are not specified."""
    out = out.copy()
    floats = out[:, 14:18]
    floats[(floats & 0x7FFFFFFF) > 0x7F800000] = 0x7FFFFFFF
    wide = out[:, 18:22].copy().view(np.uint64)
    wide[(wide & 0x7FFFFFFFFFFFFFFF) > 0x7FF0000000000000] = 0x7FFFFFFFFFFFFFFF
    out[:, 18:22] = wide.view(np.uint32)
    return out


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, BATCH))
def test_random_programs(first, tmp_path):
    count = min(BATCH, FIRST + COUNT - first)
    ptx, c = random_ptx.programs(first, count)
    (tmp_path / "p.c").write_text(c)
    library = tmp_path / "p.so"
    # No fused operations and no assumptions: the C text means what it says.
    subprocess.run(["clang-22", "-O1", "-w", "-fwrapv", "-ffp-contract=off", "-fno-builtin-fma", "-shared", "-fPIC",
                    "-march=x86-64-v3", str(tmp_path / "p.c"), "-o", str(library), "-lm"], check=True, capture_output=True, timeout=300)
    native = ctypes.CDLL(str(library))
    words = inputs(first)
    with emulator.Session(ptx) as session:
        for i in range(count):
            expected = np.zeros((THREADS, random_ptx.OUTPUTS), np.uint32)
            native.run_program(i, ctypes.c_void_p(words.ctypes.data), ctypes.c_void_p(expected.ctypes.data), THREADS)
            out = emulator.Empty(expected.shape, np.uint32)
            result = session.run(f"p{i}", 1, THREADS, [words, out])
            assert result.faults == 0, f"seed {first + i}: {result.reports[:1]}"
            got, want = canonical(result.arrays[1]), canonical(expected)
            if not np.array_equal(got, want):
                thread, word = np.argwhere(got != want)[0]
                raise AssertionError(f"seed {first + i}: thread {thread}, word {word}: {got[thread, word]:#x}, clang says "
                                     f"{want[thread, word]:#x}")
