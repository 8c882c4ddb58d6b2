"""ViT-Ti/16 at 224 x 224 on the emulated GPU, launch by launch: every named value against the reference interpreter."""
import numpy as np
import pytest
import seeded
from plan_runner import run_plan

from vitrify.compiler import calibrate
from vitrify.evaluate import named_values
from vitrify.importer import import_folder
from vitrify.targets import host_target
from vitrify.tools import run_tool

TARGET = "sm_89"


@pytest.fixture(scope="module")
def vit_tiny(tmp_path_factory):
    """The model, its ranges, a bundle for CPU and GPU, PTX, and an image that it was not calibrated on."""
    root = tmp_path_factory.mktemp("vit-tiny")
    generator = seeded.write_vit(root / "m", 5, 192, 3)
    import_folder(root / "m", root / "model.mlir")
    images = generator.standard_normal((4, 3, 224, 224), dtype=np.float32)
    np.save(root / "calibration.npy", images[1:])
    np.save(root / "x.npy", images[:1])
    np.save(root / "three.npy", images[:3])
    calibrate(root / "model.mlir", [root / "calibration.npy"], root / "ranges.json")
    options = ["--precision=fp8", f"--ranges={root / 'ranges.json'}"]
    run_tool("vitrify-compile", [root / "model.mlir", "-o", root / "b.vitrify", f"--target={host_target()}", f"--target={TARGET}", *options])
    run_tool("vitrify-compile", [root / "model.mlir", "--emit=asm", "-o", root / "k.ptx", f"--target={TARGET}", *options])
    return root


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def test_layer_by_layer(vit_tiny):
    """The GPU adds no error to what FP8 costs: each value is as near to f32 as the reference interpreter's FP8 is, and near to that."""
    root = vit_tiny
    x = np.load(root / "x.npy")
    found, reports = run_plan(root / "b.vitrify", TARGET, (root / "k.ptx").read_text(), x)
    assert reports == []
    exact = named_values(root / "model.mlir", x)
    expected = named_values(root / "model.mlir", x, "fp8", root / "ranges.json")
    compared = 0
    for name, value in found.items():
        name = name.removesuffix("#q")
        if name.endswith(".v"):  # q, k and v in one buffer
            parts = [name[:-1] + part for part in "qkv"]
            pairs = list(zip(parts, np.split(value, 3, axis=1)))
        else:
            pairs = [(name, value)]
        for part, array in pairs:
            if part not in expected:
                continue
            array = array.reshape(expected[part].shape)
            cost, distance = rms(expected[part] - exact[part]), rms(array - expected[part])
            size = rms(exact[part])
            # Two errors of one kind, of n values each, differ by a share of 1 / sqrt(n) by chance alone: 7 % of a pooled row of 192.
            margin = max(0.03, 2 / np.sqrt(array.size))
            assert rms(array - exact[part]) <= (1 + margin) * cost + 1e-3 * size, part
            assert distance <= cost + 1e-3 * size, part
            compared += 1
    assert compared >= 12 * 9


def test_runtime_gives_the_same_bits(vit_tiny):
    """The runtime's answer, with another host schedule and three images at once, is that of the launches one by one."""
    root = vit_tiny
    found, _ = run_plan(root / "b.vitrify", TARGET, (root / "k.ptx").read_text(), np.load(root / "x.npy"), checks="none")
    for file in ("x", "three"):
        run_tool("vitrify-run", [root / "b.vitrify", f"--device=emulator:{TARGET}", f"--input={root / file}.npy", f"--output={root / 'y.npy'}"])
        assert np.array_equal(np.load(root / "y.npy")[0], found["logits"][0])


def test_close_to_the_cpu(vit_tiny):
    root = vit_tiny
    answers = []
    for device in ("cpu", f"emulator:{TARGET}"):
        run_tool("vitrify-run", [root / "b.vitrify", f"--device={device}", f"--input={root / 'three.npy'}", f"--output={root / 'y.npy'}"])
        answers.append(np.load(root / "y.npy").astype(np.float64))
    cpu, gpu = answers
    for a, b in zip(cpu, gpu):
        assert a @ b / np.sqrt((a @ a) * (b @ b)) >= 0.999
