"""The vitrify command from a model to answers, and the messages of what it refuses."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import EXAMPLE, ROOT
from PIL import Image
from test_simulate import digits

import vitrify.tools
from vitrify.cli import main
from vitrify.errors import VitrifyError
from vitrify.targets import X86_TARGETS, host_target
from vitrify.tools import message_of, run_tool


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Digits as images and arrays, and an FP8 bundle made by one command from the model folder."""
    root = tmp_path_factory.mktemp("cli")
    x, labels = digits(EXAMPLE, "test-1000")
    raw = np.round((x * np.float32(0.3081) + np.float32(0.1307)) * 255).astype(np.uint8)
    (root / "digits").mkdir()
    for i in range(12):
        Image.fromarray(raw[i, 0]).save(root / "digits" / f"{i:02}.png")
    np.save(root / "x.npy", x[:12])
    np.save(root / "calibration.npy", digits(EXAMPLE, "calibration-200")[0][:32])
    assert main(["compile", str(EXAMPLE / "vit_mnist_gelu_rescaled"), "--calibrate", str(root / "calibration.npy"), "-o", str(root / "m.vitrify")]) == 0
    return root, labels[:12]


def command(*arguments, cwd=ROOT, **kwargs):
    """The installed command, in a process of its own."""
    program = os.path.join(os.path.dirname(sys.executable), "vitrify")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, **kwargs)


def test_images_and_arrays_give_the_same_answers(workplace):
    root, labels = workplace
    images = sorted((root / "digits").iterdir())
    done = command("run", root / "m.vitrify", "--input", *images, "--output", root / "a.npy")
    assert done.returncode == 0, done.stderr
    assert command("run", root / "m.vitrify", "--input", root / "x.npy", "--output", root / "b.npy").returncode == 0
    a, b = np.load(root / "a.npy"), np.load(root / "b.npy")
    assert np.abs(a - b).max() <= 0.1 * np.abs(b).max() and (a.argmax(-1) == b.argmax(-1)).all()
    assert (a.argmax(-1) == labels).mean() > 0.9


def test_best_classes_are_printed(workplace):
    root, labels = workplace
    done = command("run", root / "m.vitrify", "--input", root / "digits" / "00.png", "--top-k", 3)
    assert done.returncode == 0 and str(labels[0]) in done.stdout.split(), done.stdout


def test_bench_prints_what_it_measured(workplace):
    root, _ = workplace
    done = command("bench", root / "m.vitrify", "--batch", 4, "--runs", 5, "--warmup", 1, "--json")
    assert done.returncode == 0, done.stderr
    r = json.loads(done.stdout)
    assert r["precision"] == "fp8" and r["batch"] == 4 and r["runs"] == 5
    assert 0 < r["p50_ms"] <= r["p90_ms"] <= r["p99_ms"] and r["images_per_s"] > 0 and r["peak_rss_bytes"] > 1 << 20
    assert "fp8" in command("bench", root / "m.vitrify", "--runs", 2).stdout


def test_compare_finds_no_bad_layer_and_then_one(workplace):
    root, _ = workplace
    model = str(EXAMPLE / "vit_mnist_gelu_rescaled")
    assert command("calibrate", model, "--input", root / "calibration.npy", "-o", root / "ranges.json").returncode == 0
    done = command("compare", model, "--input", root / "x.npy", "--ranges", root / "ranges.json")
    assert done.returncode == 0 and "no bad layer" in done.stdout, done.stdout + done.stderr
    for name in ("b0.q", "b0.attn", "b3.act", "head"):
        assert f"\n{name} " in done.stdout
    ranges = json.loads((root / "ranges.json").read_text())
    ranges["values"]["b1.ln2"]["range"] /= 50
    (root / "broken.json").write_text(json.dumps(ranges))
    done = command("compare", model, "--input", root / "x.npy", "--ranges", root / "broken.json")
    assert "first bad layer: b1.ln2" in done.stdout, done.stdout


@pytest.mark.parametrize("change, part", [
    (lambda v: v["b1.ln2"].update(range=0), "b1.ln2"), (lambda v: v["b1.ln2"].update(range=-1.0), "b1.ln2"),
    (lambda v: v["b1.ln2"].update(range=float("nan")), ""), (lambda v: v.pop("b1.ln2"), "b1.ln2"), (lambda v: v["b1.ln2"].pop("range"), "range")])
def test_broken_ranges(change, part, workplace, tmp_path):
    root, _ = workplace
    model = str(EXAMPLE / "vit_mnist_gelu_rescaled")
    assert command("calibrate", model, "--input", root / "calibration.npy", "-o", tmp_path / "ranges.json", "--images", 4).returncode == 0
    ranges = json.loads((tmp_path / "ranges.json").read_text())
    change(ranges["values"])
    (tmp_path / "ranges.json").write_text(json.dumps(ranges))
    done = command("compile", model, "--ranges", tmp_path / "ranges.json", "-o", tmp_path / "m.vitrify")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and part in done.stderr, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["ranges.json"]


REFUSED = [
    (["compile", "{model}", "-o", "{out}"], "fp8 needs images"),
    (["compile", "{model}", "-o", "{out}", "--precision", "f32", "--target", "x86-64-v9"], "unknown target 'x86-64-v9'"),
    (["compile", "{model}", "-o", "{out}", "--precision", "fp7"], "invalid choice: 'fp7'"),
    (["compile", "{model}", "-o", "{out}", "--precision", "f32", "--keep", "f99:b0.*"], "f99:b0.*"),
    (["compile", "{root}/m.vitrify", "-o", "{out}", "--precision", "f32"], "is a bundle"),
    (["compile", "{model}", "-o", "/proc/no/such", "--precision", "f32"], "/proc/no/such"),
    (["compile", "{root}/text.mlir", "-o", "{out}", "--precision", "f32"], ""),
    (["compile", "{root}/foreign.mlir", "-o", "{out}", "--precision", "f32"], ""),
    (["run", "{root}/nothing", "--input", "{root}/x.npy"], "does not exist"),
    (["run", "{root}/m.vitrify", "--input", "{root}/text.png"], "text.png"),
    (["run", "{root}/m.vitrify", "--input", "{root}/cut.png"], "cut.png"),
    (["run", "{root}/m.vitrify", "--input", "{root}/small.png", "--output", "/proc/x.npy"], ""),
    (["run", "{root}/m.vitrify", "--input", "{root}/f64.npy"], "f64.npy"),
    (["run", "{root}/m.vitrify", "--input", "{root}/x.npy", "--batch", "0"], "batch"),
    (["run", "{root}/m.vitrify", "--input", "{root}/x.npy", "--device", "tpu"], "tpu"),
    (["compare", "{model}", "--input", "{root}/x.npy"], "fp8 needs ranges"),
]


@pytest.mark.parametrize("arguments, part", REFUSED, ids=[f"{a[0]}-{i}" for i, (a, _) in enumerate(REFUSED)])
def test_refused_with_one_message(arguments, part, workplace, tmp_path):
    root, _ = workplace
    (root / "text.mlir").write_text("this is not MLIR\n")
    (root / "foreign.mlir").write_text("func.func @forward(%x: tensor<4xf32>) -> tensor<4xf32> {\n  return %x : tensor<4xf32>\n}\n")
    (root / "text.png").write_text("this is not a picture\n")
    (root / "cut.png").write_bytes((root / "digits" / "00.png").read_bytes()[:120])
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(root / "small.png")
    np.save(root / "f64.npy", np.zeros((1, 1, 28, 28), np.complex64))
    names = {"root": root, "model": EXAMPLE / "vit_mnist_gelu_rescaled", "out": tmp_path / "out.vitrify"}
    done = command(*(a.format(**names) for a in arguments))
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("vitrify: error: ") and done.stderr.count("\n") == 1 and part in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_device_is_not_replaced_by_a_file(workplace, tmp_path):
    root, _ = workplace
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for arguments in (["import", EXAMPLE / "vit_mnist_gelu_rescaled", "-o", pipe], ["run", root / "m.vitrify", "--input", root / "x.npy", "--output", pipe]):
        done = command(*arguments)
        assert done.returncode == 1 and "regular file" in done.stderr, done.stderr
        assert pipe.is_fifo() and [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_help_has_examples():
    for name in ("import", "calibrate", "compile", "run", "compare", "bench"):
        done = command(name, "--help")
        assert done.returncode == 0 and f"vitrify {name} " in done.stdout.split("examples:")[1]


def test_tools_that_are_missing_or_die(monkeypatch, tmp_path):
    with pytest.raises(VitrifyError, match="neither in .* nor on PATH"):
        run_tool("vitrify-nothing", [])
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nkill -9 $$\n")
    tool.chmod(0o755)
    monkeypatch.setattr(vitrify.tools, "BUILD_BIN", tmp_path)
    with pytest.raises(VitrifyError, match="stopped by signal 9"):
        run_tool("tool", [])
    tool.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(VitrifyError, match="exit status 3"):
        run_tool("tool", [])


def test_messages_of_tools():
    assert message_of("vitrify-run: error: bundle 'x' does not exist\n") == "bundle 'x' does not exist"
    assert message_of("m.mlir:3:4: remark: fine\nm.mlir:5:6: error: 'vit.linear' op broken\n  see\n") == "'vit.linear' op broken"
    assert message_of("Segmentation fault\n") == "Segmentation fault" and message_of("") == ""


def test_the_best_target_of_a_processor():
    flags = set()
    with pytest.raises(VitrifyError, match="lacks avx2"):
        host_target(flags)
    for name in reversed(X86_TARGETS):
        flags |= X86_TARGETS[name]
        assert host_target(flags) == name
