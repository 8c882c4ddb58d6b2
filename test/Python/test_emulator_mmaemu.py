"""FP8 mma.sync against PyPI mmaemu, bit for bit: its preset ada (validated on an RTX 4060 by its authors) for sm_89, its
preset b200_mma_sync (experimental) for sm_90 and sm_100. Its preset hopper describes wgmma, and it has none for f16, bf16 and
tf32. VITRIFY_MMAEMU_PYTHON names a Python that has it (it brings PyTorch).
"""
import os
import random
import subprocess

import numpy as np
import ptx_matrix
import pytest
import test_emulator_matrix as matrix

from vitrify import emulator

PYTHON = os.environ.get("VITRIFY_MMAEMU_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="VITRIFY_MMAEMU_PYTHON names no Python with mmaemu")

PRESETS = {"sm_89": "ada", "sm_90a": "b200_mma_sync", "sm_100a": "b200_mma_sync"}
FORMS = [f for f in ptx_matrix.mma_forms() if f.a in ptx_matrix.EIGHT and f.d == "f32" and "kind" not in f.mods]
PROBLEMS = 8 #: of each kind and form
HELPER = """
import sys, warnings, numpy as np, torch
warnings.simplefilter("ignore")
from mmaemu.model.chain import dot
types = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
with np.load(sys.argv[1]) as data:
    a, b, c = (data[k] for k in "abc")
fa, fb, preset = sys.argv[3:]
shape = (len(a), a.shape[1], b.shape[2], a.shape[2])
a = torch.from_numpy(a).view(types[fa])[:, :, None, :].expand(shape).contiguous()
b = torch.from_numpy(np.ascontiguousarray(b.transpose(0, 2, 1))).view(types[fb])[:, None].expand(shape).contiguous()
np.save(sys.argv[2], dot(a, b, torch.from_numpy(c), preset=preset).numpy().view(np.uint32))
"""


def theirs(folder, form, preset, a, b, c):
    source, target = folder / "in.npz", folder / "out.npy"
    np.savez(source, a=np.array(a, np.uint8), b=np.array(b, np.uint8), c=np.array(c, np.uint32).view(np.float32))
    subprocess.run([PYTHON, "-c", HELPER, source, target, form.a, form.b, preset], check=True, timeout=600)
    return np.load(target)


@pytest.mark.parametrize("chip", PRESETS)
def test_sums_have_the_bits_of_mmaemu(chip, tmp_path):
    text = matrix.head(chip) + "".join(matrix.kernel(f"k{i}", f) for i, f in enumerate(FORMS))
    compared = 0
    with emulator.Session(text, chip=chip.removesuffix("a")) as session:
        for i, form in enumerate(FORMS):
            rng = random.Random(i)
            problems = [matrix.problem(rng, form, kind) for kind in ("near", "any", "small") for _ in range(PROBLEMS)]
            arrays = [matrix.pack(form, which, [p[k] for p in problems]) for k, which in enumerate("abc")]
            count, bits = form.registers("d")
            result = session.run(f"k{i}", len(problems), 32, [emulator.Empty((len(problems), 32, count), np.uint32), *arrays])
            got = np.array([matrix.unpack(form, result.arrays[0][p]) for p in range(len(problems))], np.uint32)
            want = theirs(tmp_path, form, PRESETS[chip], *zip(*problems))
            wrong = np.argwhere(got != want)
            assert not len(wrong), f"{form.text} on {chip}: {len(wrong)} of {got.size} differ, first {wrong[0]}: " \
                                   f"{got[tuple(wrong[0])]:#x}, mmaemu {want[tuple(wrong[0])]:#x}"
            compared += got.size
    assert compared >= len(FORMS) * PROBLEMS * 3 * 128
    print(f"{chip}: {compared} results")
