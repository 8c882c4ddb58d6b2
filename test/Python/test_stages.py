"""The compiler stage by stage: stopped and entered again, one kernel for equal layers, equal output for equal input, and what it refuses."""
import filecmp
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import BIN

import seeded
from vitrify.compiler import calibrate
from vitrify.importer import import_folder

TARGET = "x86-64-v4-bf16"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """model.mlir of a ViT of 12 equal layers, with ranges that differ from layer to layer."""
    root = tmp_path_factory.mktemp("stages")
    config = seeded._config("vit", seeded.VIT, hidden_size=32, num_attention_heads=2, intermediate_size=64, num_hidden_layers=12, image_size=16,
                            patch_size=8, **seeded._classes(5))
    generator = np.random.default_rng(3)
    from safetensors.numpy import save_file

    (root / "m").mkdir()
    (root / "m" / "config.json").write_text(json.dumps(config))
    save_file({seeded.stored_name(name, "legacy"): (generator.standard_normal(shape) * 0.3).astype(np.float32)
               for name, shape in seeded.shapes(config).items()}, root / "m" / "model.safetensors")
    import_folder(root / "m", root / "model.mlir")
    np.save(root / "x.npy", generator.standard_normal((2, 3, 16, 16), dtype=np.float32))
    calibrate(root / "model.mlir", [root / "x.npy"], root / "ranges.json")
    return root


def compiler(root, *arguments, source="model.mlir", precision="fp8", target=TARGET, **kwargs):
    command = [BIN / "vitrify-compile", root / source, f"--target={target}", f"--precision={precision}", f"--ranges={root}/ranges.json", *arguments]
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **kwargs)


def emit(root, stage, **kwargs):
    done = compiler(root, f"--emit={stage}", "-o", "-", **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def assert_equal_folders(a, b):
    assert files(a) == files(b)
    _, different, unread = filecmp.cmpfiles(a, b, files(a), shallow=False)
    assert not different and not unread


@pytest.mark.parametrize("target", [TARGET, "x86-64-v3", "sm_89"])
@pytest.mark.parametrize("precision", ["f32", "fp8"])
def test_equal_layers_have_one_kernel(precision, target, model):
    """A block has four linears of different (N, K, epilogue), the head is a fifth; static scales and names differ from layer to layer."""
    if target == "sm_89" and precision == "f32":
        pytest.skip("sm_89 has no f32 linears")
    plan = json.loads(emit(model, "plan", precision=precision, target=target))
    ranges = json.loads((model / "ranges.json").read_text())["values"]
    assert len({ranges[f"b{i}.act"]["range"] for i in range(12)}) == 12
    for kernel_of in ("b{}.q", "b{}.attn", "b{}.proj", "b{}.fc1", "b{}.fc2", "b{}.ln1", "b{}.ln2"):
        used = {}
        for i in range(12):
            [step] = [s for s in plan["programs"][0]["steps"] if kernel_of.format(i) in s.get("layers", [])]
            # On sm_89 steps of E4M3 as coarse as these allow a shorter GELU (docs/gpu-linear.md).
            coarse = target == "sm_89" and kernel_of == "b{}.fc1" and ranges[f"b{i}.act"]["range"] >= 1.94
            used.setdefault(coarse, set()).add(tuple(variant["kernel"] for variant in step["variants"]))
        assert all(len(kernels) == 1 for kernels in used.values()), (kernel_of, used)
        assert len(set().union(*used.values())) == len(used), (kernel_of, used)
    names = [kernel["name"] for kernel in plan["kernels"]]
    assert len(names) == len(set(names))
    if target != "sm_89":  # which has several tiles of one linear, for ranges of rows
        assert len([name for name in names if "linear" in name]) <= 5


def test_equal_input_gives_equal_bundles(model, tmp_path):
    for name in ("a", "b"):
        assert compiler(model, "-o", tmp_path / name).returncode == 0
    assert_equal_folders(tmp_path / "a", tmp_path / "b")


def passes(model):
    """The passes of the optimising pipeline with their options, as the tool itself prints them."""
    done = subprocess.run([BIN / "vitrify-opt", model / "model.mlir", f"--vit-optimize=precision=fp8 ranges={model}/ranges.json", "--dump-pass-pipeline",
                           "-o", os.devnull], capture_output=True, text=True, check=True)
    text = re.search(r"builtin\.module\((.*?)\n\)", done.stderr, re.S).group(1)
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "({") - (c in ")}")
        if c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]


def test_stopped_after_every_pass_and_entered_again(model, tmp_path):
    """Each pass in a process of its own, on the printed text of the one before; the bundle made from the last text is the same byte by byte."""
    assert compiler(model, "-o", tmp_path / "whole").returncode == 0
    here, after = model / "stage.mlir", model / "after.mlir"
    shutil.copy(model / "model.mlir", here)
    steps = passes(model)
    assert len(steps) >= 10
    for step in steps:
        subprocess.run([BIN / "vitrify-opt", here, f"--pass-pipeline=builtin.module({step})", "-o", after], capture_output=True, check=True)
        after.replace(here)
    assert here.read_text().strip() == emit(model, "vit").strip()
    assert compiler(model, "-o", tmp_path / "entered", source="stage.mlir").returncode == 0
    assert_equal_folders(tmp_path / "whole", tmp_path / "entered")


@pytest.mark.parametrize("stage", ["vit", "plan", "kernel", "llvm", "llvm-ir", "asm"])
def test_every_stage_is_printed(stage, model):
    assert emit(model, stage) == emit(model, stage)


def test_values_keep_their_buffers_without_fusion(model):
    """Each named value of the model as imported is a buffer of the plan."""
    plan = json.loads(emit(model, "plan", precision="f32"))
    done = compiler(model, "--emit=plan", "--no-fuse", "-o", "-", precision="f32")
    apart = json.loads(done.stdout)
    named = set(json.loads((model / "ranges.json").read_text())["values"])
    kept = {buffer["name"] for buffer in apart["programs"][0]["buffers"]}
    fused = {buffer["name"] for buffer in plan["programs"][0]["buffers"]}
    missing = {name for name in named - kept if name != "head"}  # the head is the output "logits"
    assert not missing
    assert len(fused) < len(kept)


def test_what_was_done_is_reported(model):
    done = compiler(model, "--emit=vit", "-o", "-", "--report", "--keep=bf16:b3.fc1")
    assert done.returncode == 0
    assert "b3.fc1" in done.stderr and "rule bf16:b3.fc1" in done.stderr
    assert "is part of 'b0.qkv'" in done.stderr


def broken(model, change):
    (model / "broken.mlir").write_text(change((model / "model.mlir").read_text()))
    return "broken.mlir"


@pytest.mark.parametrize("change, part", [
    (lambda t: t[:len(t) // 2], "error"),
    (lambda t: "", "no public function"),
    (lambda t: "llvm.func @f() { llvm.return }", ""),
    (lambda t: "func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> { %y = \"other.op\"(%x) : (tensor<4xf32>) -> tensor<4xf32>\n return %y : tensor<4xf32> }", "unregistered dialect"),
    (lambda t: t.replace("m/model.safetensors", "m/gone.safetensors"), "gone.safetensors"),
    (lambda t: re.sub(r'header_sha256 "[0-9a-f]{8}', 'header_sha256 "00000000', t), "model.safetensors"),
    (lambda t: re.sub(r"size \d+ header", "size 17 header", t), "model.safetensors"),
], ids=["cut", "empty", "foreign dialect", "unknown dialect", "source gone", "source changed", "source resized"])
def test_bad_modules_are_refused(change, part, model, tmp_path):
    done = compiler(model, "-o", tmp_path / "out", source=broken(model, change), precision="f32")
    assert done.returncode == 1 and part in done.stderr and "error" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments, part", [
    (["--target=sm_7"], "unknown target 'sm_7'"), ([f"--target={TARGET}"], "given twice"), (["--precision=fp4"], "fp4"), (["--emit=tokens"], "unknown stage"),
    (["--keep=b0"], "rule 'b0'"), (["--wrong"], "wrong"), (["--ranges=gone.json"], "gone.json")])
def test_bad_options_are_refused(arguments, part, model, tmp_path):
    command = [BIN / "vitrify-compile", model / "model.mlir", "-o", tmp_path / "out", *arguments]
    if not any(a.startswith("--target=sm") for a in arguments):
        command.append(f"--target={TARGET}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and part in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_no_space_leaves_nothing(model, tmp_path):
    """Files larger than a limit cannot be written, as on a full disk."""
    import resource

    def limit():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    done = compiler(model, "-o", tmp_path / "out", preexec_fn=limit)
    assert done.returncode == 1 and "error" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(model):
    done = compiler(model, "-o", "/proc/no/out")
    assert done.returncode == 1 and "/proc/no" in done.stderr, done.stderr


def test_missing_ranges_are_one_message(model, tmp_path):
    (tmp_path / "ranges.json").write_text('{"format": 1, "images": 1, "method": "amax", "values": {}}')
    done = subprocess.run([BIN / "vitrify-compile", model / "model.mlir", f"--target={TARGET}", "--precision=fp8", f"--ranges={tmp_path}/ranges.json",
                           "-o", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("error:") == 1 and "'b0.ln1', which" in done.stderr, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["ranges.json"]


def test_the_arena_is_reported(model):
    plan = json.loads(emit(model, "plan"))
    [program] = plan["programs"]
    done = compiler(model, "--emit=plan", "-o", "-", "--report")
    operator, symbol, unit = program["arena_bytes"]
    assert (operator, symbol) == ("*", "images")
    assert f"is {len(program['steps'])} steps in an arena of {unit * program['symbols'][0]['tuned']} bytes" in done.stderr
