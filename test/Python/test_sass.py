"""The machine code of GPU kernels against their PTX: ptxas keeps the tensor instructions, barriers and copies, and adds no local memory."""
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import ROOT

from vitrify.tools import run_tool

sys.path.insert(0, str(ROOT / "benchmarks" / "gpu-static"))
from shapes import MODELS, build  # noqa: E402

TARGET = "sm_89"
NAMES = ("ViT-B", "Qwen3-VL-8B")  # head size 64 and erf GELU; 72 and tanh GELU, with a tail of 4,304


def tool(name):
    """Of the pinned wheels; the same version assembled the bundle unless an installed toolkit is of another."""
    found = sorted(Path(sys.prefix).glob(f"lib/python3.*/site-packages/nvidia/*/bin/{name}"))
    if not found:
        pytest.skip(f"{name} is not in this environment (requirements.txt pins it)")
    return found[0]


@pytest.fixture(scope="module", params=NAMES)
def counted(request, tmp_path_factory):
    """name -> (counts of SASS, counts of PTX, what the bundle says) of every kernel of a model."""
    folder = tmp_path_factory.mktemp("sass")
    model = next(m for m in MODELS if m.name == request.param)
    _, target, ptx = build(model, 8, folder, TARGET)
    (folder / "k.ptx").write_text(ptx())
    subprocess.run([tool("ptxas"), "-O3", f"-arch={TARGET}", folder / "k.ptx", "-o", folder / "k.cubin"], check=True)
    (folder / "k.sass").write_text(subprocess.run([tool("nvdisasm"), "-c", folder / "k.cubin"], capture_output=True, text=True, check=True).stdout)
    counts = json.loads(run_tool("vitrify-estimate", ["--count", folder / "k.sass", folder / "k.ptx"]))
    sass, text = counts[str(folder / "k.sass")], counts[str(folder / "k.ptx")]
    assert set(sass) == set(text) == {k["name"] for k in target["kernels"]}
    return {k["name"]: (sass[k["name"]], text[k["name"]], k) for k in target["kernels"]}


def test_no_local_memory(counted):
    for name, (sass, ptx, said) in counted.items():
        assert "local_accesses" not in sass and "local_accesses" not in ptx, name
        assert said["metrics"]["spill_bytes"] == said["metrics"]["stack_bytes"] == 0, name


TENSOR = ("tensor_f8", "tensor_f8_acc_f16", "tensor_f16", "tensor_f16_acc_f16", "tensor_bf16", "tensor_i8", "tensor_other")


def test_tensor_instructions_are_those_of_the_ptx(counted):
    """The same kinds, and none was taken apart or repeated. Products whose results nobody reads (columns 72 to 79 of a head of 72) may go."""
    seen = set()
    for name, (sass, ptx, _) in counted.items():
        kinds = [{k for k in TENSOR if k in code} for code in (sass, ptx)]
        assert kinds[0] == kinds[1], name
        seen |= kinds[0]
        for kind in kinds[0]:
            assert sass[kind] >= 0.9 * ptx[kind], f"{name}: {kind}"
    assert {"tensor_f8", "tensor_f16"} <= seen or {"tensor_f8_acc_f16", "tensor_f16"} <= seen


def test_fp8_kernels_hold_fp8_products_only(counted):
    fp8 = 0
    for name, (sass, _, said) in counted.items():
        if said["precision"] == "f8e4m3":
            fp8 += 1
            assert said["built_precision"] == "f8", name
            assert sass.get("tensor_f8", 0) + sass.get("tensor_f8_acc_f16", 0) > 0 and "tensor_f16" not in sass, name
    assert fp8 >= 4


WORK = {"products": [kind for kind in TENSOR if kind != "tensor_bf16"], "waits": ["async_waits"], "loads": ["matrix_loads"]}


def test_the_loop_has_the_barriers_and_copies_of_the_ptx(counted):
    """For each product of the main loop as many barriers, waits and loads of matrices: nothing was serialised, dropped or done twice."""
    loops = 0
    for name, (sass, ptx, _) in counted.items():
        if "loop_instructions" not in ptx:
            continue
        assert "loop_instructions" in sass, name
        loops += 1
        # ptxas may unroll the loop: what counts is how much there is of each between two barriers.
        between = [{what: Fraction(sum(code.get(f"loop_{kind}", 0) for kind in kinds), code["loop_barriers"]) for what, kinds in WORK.items()}
                   for code in (sass, ptx)]
        assert between[0]["waits"] == between[1]["waits"], name
        assert 0.9 * between[1]["products"] <= between[0]["products"] <= between[1]["products"], f"{name}: {between}"
        assert between[0]["loads"] <= between[1]["loads"], name
    assert loops >= 5


def test_copies_stay_asynchronous(counted):
    for name, (sass, ptx, _) in counted.items():
        assert ("async_copies" in sass) == ("async_copies" in ptx), name
        assert sass.get("async_copies", 0) >= ptx.get("async_copies", 0), name


def test_the_bundle_says_what_was_built(counted):
    """The manifest's counts are these, counted again from code assembled apart."""
    for name, (sass, _, said) in counted.items():
        assert said["counted_from"] == "SASS"
        metrics = said["metrics"]
        assert {k: v for k, v in metrics.items() if k in sass} == sass, name
