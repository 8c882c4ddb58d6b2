"""Which forms a module of a target and an ISA version may hold: the emulator and ptxas must agree, line by line, over every
form of the other tests. ptxas is the oracle: it knows nothing of the emulator.
"""
import ctypes
import json
import re
import subprocess
from pathlib import Path

import cuda_sources
import ptx_harness
import pytest
import test_emulator_coverage

from vitrify import emulator

CASES = [("sm_75", "6.5"), ("sm_80", "7.0"), ("sm_86", "7.2"), ("sm_89", "7.8"), ("sm_89", "8.4"), ("sm_89", "9.0"), ("sm_90", "8.0"),
         ("sm_90a", "8.0"), ("sm_100", "8.6"), ("sm_100a", "9.0"), ("sm_120a", "9.0")]
#: ptxas's words for what a target or version lacks. `Type .b128` is of declarations, which the emulator does not gate.
LACKS = re.compile(r"requires (\.target|PTX ISA)|requires \.target|not supported on \.target|requires \.target \d+")


@pytest.fixture(scope="module")
def modules():
    return list(test_emulator_coverage.modules())


def refused_by_ptxas(text, target, folder):
    """{line: messages}, of lacks and of other errors."""
    nvcc = cuda_sources.need_nvcc()
    source = folder / "forms.ptx"
    source.write_text(text)
    run = subprocess.run([Path(nvcc).with_name("ptxas"), f"-arch={target}", "-O0", source, "-o", "/dev/null"], capture_output=True, text=True)
    lacks, others = {}, {}
    for line, message in re.findall(r"line (\d+); error\s*: (.*)", run.stdout + run.stderr):
        if "'Type .b128'" not in message:
            (lacks if LACKS.search(message) else others).setdefault(int(line), []).append(message)
    assert run.returncode == 0 or lacks or others or "Type .b128" in run.stderr, run.stderr[-2000:]
    return lacks, others


def refused_by_the_emulator(text):
    library = emulator._get().library
    library.vitrifyEmulatorUnavailable.restype = ctypes.c_void_p
    library.vitrifyEmulatorUnavailable.argtypes = [ctypes.c_char_p]
    pointer = library.vitrifyEmulatorUnavailable(text.encode())
    try:
        found = json.loads(ctypes.string_at(pointer).decode())
    finally:
        library.vitrifyEmulatorFree(pointer)
    assert isinstance(found, list), found
    out = {}
    for line, why in found:
        out.setdefault(line, []).append(why)
    return out


@pytest.mark.parametrize("target, version", CASES)
def test_the_emulator_and_ptxas_agree(modules, target, version, tmp_path):
    differences, refused = [], 0
    for module in modules:
        text = re.sub(r"\A\.version .*\n\.target .*\n", f".version {version}\n.target {target}\n", module)
        assert text.startswith(f".version {version}\n")
        lacks, others = refused_by_ptxas(text, target, tmp_path)
        ours = refused_by_the_emulator(text)
        lines = text.split("\n")
        refused += len(lacks)
        differences += [f"{lines[n - 1][-160:]}: ptxas {lacks.get(n)}, emulator {ours.get(n)}"
                        for n in sorted(lacks.keys() ^ ours.keys()) if n not in others or n in lacks]
    assert not differences, f"{len(differences)} lines:\n" + "\n".join(differences[::max(1, len(differences) // 20)])
    assert refused or target == "sm_100a"


@pytest.mark.parametrize("target, version, statement, reason", [
    ("sm_89", "9.0", "add.rn.f32x2 d, d, d;", "add.rn.f32x2 is not supported: needs .target sm_100 or higher, the module's is sm_89"),
    ("sm_89", "9.0", "redux.sync.min.f32 f, f, 0xffffffff;", "needs .target sm_100a, sm_103a or their family"),
    ("sm_90", "9.0", "setmaxnreg.inc.sync.aligned.u32 96;", "needs .target sm_90a or sm_90f, or higher ones of their kind, the module's is sm_90"),
    ("sm_89", "8.0", "cvt.rn.satfinite.e4m3x2.f32 h, f, f;", "needs .version 8.1 or later, the module's is 8.0"),
    ("sm_80", "9.0", "cvt.rn.satfinite.e4m3x2.f32 h, f, f;", "needs .target sm_89 or higher, the module's is sm_80"),
    ("sm_89", "9.0", "mov.u32 r, %clusterid.x;", "needs .target sm_90 or higher"),
])
def test_refusals_name_the_form_and_the_line(target, version, statement, reason):
    text = (f".version {version}\n.target {target}\n.address_size 64\n.visible .entry k()\n{{\n"
            f".reg .b32 r; .reg .f32 f; .reg .b64 d; .reg .b16 h;\n\n{statement}\nret;\n}}\n")
    chip = {"sm_80": "sm_89", "sm_90": "sm_90"}.get(target, target)
    error = ptx_harness.instructions(text, chip).get("error", "")
    assert error.startswith("module:8: ") and reason in error and "\n" not in error, error
