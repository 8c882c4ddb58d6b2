"""The sm_89 half of a bundle on the emulated GPU: every kernel of a trained model is executed, with the emulator's checks on."""
import json
import subprocess

import numpy as np
import pytest
from conftest import BIN, EXAMPLE
from test_simulate import digits

from vitrify.compiler import CompileOptions, compile_model
from vitrify.errors import VitrifyError
from vitrify.targets import host_target
from vitrify.tools import run_tool

COUNT = 200


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """One bundle a precision, each with code for this machine's CPU and for sm_89; and the digits."""
    root = tmp_path_factory.mktemp("gpu")
    x, labels = digits(EXAMPLE, "test-1000")
    np.save(root / "x.npy", x[:COUNT])
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0])
    made = {}
    for precision in ("f32", "f16", "fp8"):
        made[precision] = root / f"{precision}.vitrify"
        options = CompileOptions(precision=precision, targets=(host_target(),) if precision == "f32" else (host_target(), "sm_89"))
        compile_model(EXAMPLE / "vit_mnist_gelu_rescaled", [root / "calibration.npy"] if precision == "fp8" else None, made[precision], options)
    return root, made, labels[:COUNT]


def logits(bundle, root, device, batch, count=COUNT):
    x = np.load(root / "x.npy")[:count]
    np.save(root / "part.npy", x)
    run_tool("vitrify-run", [bundle, f"--device={device}", f"--input={root / 'part.npy'}", f"--batch={batch}", f"--output={root / 'y.npy'}"])
    return np.load(root / "y.npy")


def rms(x):
    return np.sqrt(np.mean(np.square(x, dtype=np.float64)))


def test_fp8_agrees_with_the_cpu(bundles):
    root, made, labels = bundles
    gpu, cpu = (logits(made["fp8"], root, device, 50) for device in ("emulator:sm_89", "cpu"))
    differ = np.flatnonzero(gpu.argmax(1) != cpu.argmax(1))
    assert len(differ) <= COUNT // 200
    for i in differ:  # each a close call
        top = np.sort(cpu[i])[-2:]
        assert top[1] - top[0] < 0.02 * np.ptp(cpu)
    # Sums of 13 fraction bits against whole ones, f16 against bf16: either rounds some activations to the neighbouring code. The two
    # answers differ by less than either differs from f32, in all and at worst, and the GPU is as near to f32 as the CPU is.
    exact = logits(made["f32"], root, "cpu", 50)
    cost, difference, own = cpu - exact, gpu - cpu, gpu - exact
    assert 0 < np.abs(difference).max() <= np.abs(cost).max()
    assert rms(difference) <= rms(cost) and rms(own) <= 1.1 * rms(cost)
    assert (gpu.argmax(1) == labels).mean() >= 0.97


def test_sums_in_f16_agree_too(bundles, tmp_path):
    """FP8 weights of small codes, summed in f16 for a while: the same digits."""
    root, made, labels = bundles
    options = CompileOptions(precision="fp8", targets=(host_target(), "sm_89"), fp8_sums="f16", tune="RTX 4090")
    compile_model(EXAMPLE / "vit_mnist_gelu_rescaled", [root / "calibration.npy"], tmp_path / "b.vitrify", options)
    gpu = logits(tmp_path / "b.vitrify", root, "emulator:sm_89", 50, 100)
    cpu = logits(tmp_path / "b.vitrify", root, "cpu", 50, 100)
    other = logits(made["fp8"], root, "emulator:sm_89", 50, 100)
    assert (gpu.argmax(1) == cpu.argmax(1)).sum() >= 99
    assert np.abs(gpu - cpu).max() <= 0.06 * np.abs(cpu).max()
    assert (gpu.argmax(1) == labels[:100]).mean() >= 0.97 and not np.array_equal(gpu, other)


def test_f16_is_close_to_the_cpu(bundles):
    root, made, _ = bundles
    gpu, cpu = (logits(made["f16"], root, device, 50, 50) for device in ("emulator:sm_89", "cpu"))
    assert np.abs(gpu - cpu).max() <= 2e-3 * np.abs(cpu).max()


def test_batches_give_equal_bits(bundles):
    """1, 3 and 32 images take other tiles; each row's sum is the same."""
    root, made, _ = bundles
    whole = logits(made["fp8"], root, "emulator:sm_89", 32, 32)
    for batch in (1, 3):
        assert np.array_equal(logits(made["fp8"], root, "emulator:sm_89", batch, 8), whole[:8])


def test_fp8_is_fp8(bundles):
    """What inspect says is read from what was built: FP8 kernels name FP8, nothing spills."""
    _, made, _ = bundles
    seen = json.loads(run_tool("vitrify-inspect", [made["fp8"], "--json"]))
    plan = next(t for t in seen["targets"] if t["name"] == "sm_89")
    kernels = {k["name"]: k for k in plan["kernels"]}
    precisions = {layer["name"]: layer["precision"] for layer in plan["layers"]}
    assert {precisions[f"b0.{part}"] for part in ("q", "proj", "fc1", "fc2")} == {"f8e4m3"}
    assert precisions["b0.attn"] == precisions["head"] == "f16"
    for kernel in kernels.values():
        assert kernel["metrics"]["spill_bytes"] == 0 and kernel["metrics"]["registers"] <= 255


def test_f32_products_are_refused(bundles, tmp_path):
    with pytest.raises(VitrifyError, match="no kernel on sm_89"):
        compile_model(EXAMPLE / "vit_mnist_gelu_rescaled", None, tmp_path / "b", CompileOptions(precision="f32", targets=("sm_89",)))
    assert not (tmp_path / "b").exists()


def test_inspect_for_people(bundles):
    """The table names what was built, where counts come from, and that estimates are estimates."""
    text = run_tool("vitrify-inspect", [bundles[1]["fp8"]])
    assert all(f"Estimate for {chip} (by the launch model, not measured)" in text for chip in ("RTX 4090", "L4", "L40S"))
    head = next(line for line in text.splitlines() if "tensor instructions" in line)
    rows = text.splitlines()[text.splitlines().index(head) + 1:]
    fp8 = [line for line in rows[:rows.index("")] if line.strip().startswith("linear_f8e4m3")]
    assert len(fp8) >= 4 and all(" f8 " in line and ("SASS" in line or "PTX" in line) for line in fp8)
    assert "launches in 4 encoder blocks" in text


def test_traffic_is_near_the_least(bundles):
    seen = json.loads(run_tool("vitrify-inspect", [bundles[1]["fp8"], "--json"]))
    for target in seen["targets"]:
        traffic = target["programs"][0]["traffic"]
        if target["name"] == "sm_89":
            assert traffic["minimum_bytes"] <= traffic["bytes"] <= 1.05 * traffic["minimum_bytes"]
            assert traffic["blocks"] == 4 and traffic["launches_of_blocks"] <= 8 * 4


def test_profile_by_layer_and_kernel(bundles):
    root, made, _ = bundles
    np.save(root / "one.npy", np.load(root / "x.npy")[:1])
    plan = json.loads((made["fp8"] / "targets" / "sm_89" / "plan.json").read_text())
    kernels = {k["name"] for k in plan["kernels"]}
    text = run_tool("vitrify-run", [made["fp8"], "--device=emulator:sm_89", f"--input={root / 'one.npy'}", "--profile"])
    rows = [line.split() for line in text.splitlines() if line.split() and line.split()[-1] in kernels]
    assert {layer for row in rows for layer in row[2:-1]} >= {"b0.attn", "b3.fc2", "head"}
    assert "emulator's own times" in text


@pytest.mark.parametrize("chip, capability", [("sm_90", "9.0"), ("sm_100", "10.0"), ("sm_120", "12.0")])
def test_newer_chips_run_the_portable_code(chip, capability, bundles):
    """sm_89's PTX on chips that the bundle has no code for: said to be slower, and as good: sums keep more bits there."""
    root, made, _ = bundles
    done = subprocess.run([BIN / "vitrify-run", made["fp8"], f"--device=emulator:{chip}", f"--input={root / 'x.npy'}", "--batch=50", f"--output={root / 'y.npy'}"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"this GPU (compute capability {capability}) runs the PTX of target sm_89" in done.stderr
    found, expected = np.load(root / "y.npy"), logits(made["fp8"], root, "emulator:sm_89", 50)
    exact, cpu = logits(made["f32"], root, "cpu", 50), logits(made["fp8"], root, "cpu", 50)
    assert (found.argmax(1) == expected.argmax(1)).sum() >= COUNT - 1
    assert 0 < np.abs(found - expected).max() <= np.abs(cpu - exact).max()
    assert rms(found - exact) <= 1.1 * rms(cpu - exact)


def test_code_of_a_newer_chip_alone_is_refused(bundles, tmp_path):
    """A bundle for sm_120a only runs on no sm_89, and says in one sentence what is needed."""
    options = CompileOptions(precision="f16", targets=("sm_120a",))
    compile_model(EXAMPLE / "vit_mnist_gelu_rescaled", None, tmp_path / "b", options)
    root, _, _ = bundles
    with pytest.raises(VitrifyError, match=r"this bundle has code for sm_120a, and this GPU has compute capability 8\.9: compile it with --target=sm_89 too"):
        run_tool("vitrify-run", [tmp_path / "b", "--device=emulator:sm_89", f"--input={root / 'x.npy'}"])
