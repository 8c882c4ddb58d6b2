"""The runtime inside a Python process: against vitrify-run, arrays without copies, errors, several contexts at once; and the wheel that holds it."""
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from conftest import EXAMPLE, ROOT

import vitrify
from vitrify.tools import run_tool


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("runtime") / "digits.vitrify"
    vitrify.compile(EXAMPLE / "vit_mnist_gelu_rescaled", None, path, vitrify.CompileOptions(precision="bf16"))
    return path


@pytest.fixture(scope="module")
def program(bundle):
    return vitrify.Program(bundle)


@pytest.fixture(scope="module")
def pixels(program):
    shape = program.entry().inputs[0].shape
    return np.random.default_rng(5).standard_normal((6, *shape[1:])).astype(np.float32)


def test_agrees_with_the_tool(bundle, program, pixels, tmp_path):
    np.save(tmp_path / "x.npy", pixels)
    run_tool("vitrify-run", [bundle, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"])
    np.testing.assert_array_equal(program(pixels), np.load(tmp_path / "y.npy"))


def test_says_what_it_opened(program):
    entry = program.entry()
    assert program.precision == "bf16" and program.device == "cpu" and program.threads >= 1
    assert [a.name for a in entry.inputs] == ["pixels"] and entry.inputs[0].shape[0] == entry.symbols[0].name == "images"
    assert [a.name for a in entry.outputs] == ["logits"]
    assert program.memory()["arena"] < program.memory(images=64)["arena"]
    assert program.name in repr(program)


def test_writes_to_the_callers_array(program, pixels):
    out = np.full((6, 10), np.nan, np.float32)
    result = program.context().run(pixels=pixels, out={"logits": out})
    assert result["logits"] is out
    np.testing.assert_array_equal(out, program(pixels))


def test_reads_the_callers_memory(program, pixels):
    np.testing.assert_array_equal(program(Lent(pixels)), program(pixels))


class Lent:
    """Hands an array's memory over by DLPack, and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_reads_what_may_not_be_written(program, pixels):
    locked = pixels.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(program(locked), program(pixels))


def test_gaps_behind_dlpack_are_refused(program, pixels):
    with pytest.raises(vitrify.VitrifyError, match="dense row-major"):
        program(Lent(np.repeat(pixels, 2, axis=0)[::2]))


def test_takes_halves_and_frames(program, pixels, bundle, tmp_path):
    for dtype in (np.float16, ml_dtypes.bfloat16):
        rounded = pixels.astype(dtype)
        np.testing.assert_array_equal(program(rounded), program(rounded.astype(np.float32)))
    channels, height, width = pixels.shape[1:]
    frames = np.random.default_rng(6).integers(0, 256, (3, height, width, channels), np.uint8)
    told = json.loads((bundle / "preprocess.json").read_text())
    expected = np.moveaxis(frames, -1, 1).astype(np.float32)
    mean, std = (np.asarray(told[k], np.float32).reshape(1, -1, 1, 1) for k in ("mean", "std"))
    expected = (expected * told.get("scale", 1 / 255) - mean) / std
    np.testing.assert_allclose(program(frames), program(expected), atol=2e-2)


def test_strided_arrays_are_made_dense(program, pixels):
    wide = np.repeat(pixels, 2, axis=0)
    np.testing.assert_array_equal(program(wide[::2]), program(pixels))


@pytest.mark.parametrize("arguments, options, message", [
    ((), {}, "missing: pixels"),
    (("x", "x"), {}, "takes 1 inputs"),
    ((), {"picture": "x"}, "'picture' is not one of pixels"),
    (("x",), {"pixels": "x"}, "given twice"),
    ((np.zeros((1, 7, 5, 5), np.float32),), {}, "expected"),
    ((np.zeros((1, 1, 28, 28), np.float64),), {}, "64 bits; expected f32"),
    (("picture",), {}, "expected an array"),
    (("x",), {"entry": "backward"}, "no entry 'backward'"),
    (("x",), {"out": {"probabilities": None}}, "no output probabilities"),
    (("x",), {"out": {"logits": np.zeros((6, 20), np.float32)[:, ::2]}}, "expected a dense array"),
    (("x",), {"out": {"logits": np.zeros((6, 9), np.float32)}}, "logits"),
    (("x",), {"time_limit": -1}, "expected 0 or more seconds"),
])
def test_what_is_refused(program, pixels, arguments, options, message):
    given = tuple(pixels if isinstance(a, str) and a == "x" else a for a in arguments)
    options = {k: pixels if isinstance(v, str) and v == "x" else v for k, v in options.items()}
    with pytest.raises(vitrify.VitrifyError, match=message) as raised:
        program.context().run(*given, **options)
    assert raised.value.code in ("invalid argument", "not found")


@pytest.mark.parametrize("options, message", [({"memory": "tiny"}, "expected fast or low"), ({"threads": -1}, "expected 0 or more"),
                                              ({"device": "tpu"}, "tpu"), ({"target": "sm_10"}, "sm_10")])
def test_options_that_are_refused(bundle, options, message):
    with pytest.raises(vitrify.VitrifyError, match=message):
        vitrify.Program(bundle, **options)


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(vitrify.VitrifyError) as raised:
        vitrify.Program(tmp_path / "none")
    assert raised.value.code == "not found"


def test_time_limit_and_cancel(program, pixels):
    context, many = program.context(1), np.repeat(pixels, 40, axis=0)
    with pytest.raises(vitrify.VitrifyError, match="time limit") as raised:
        context.run(many, time_limit=1e-6)
    assert raised.value.code == "cancelled"
    stop, caught = threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                context.run(many)
            except vitrify.VitrifyError as error:
                caught.append(error.code)
                return

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        context.cancel()
        worker.join(0.001)
    assert caught == ["cancelled"]
    np.testing.assert_array_equal(context.run(pixels)["logits"], program(pixels))


def test_profile_names_steps(program, pixels):
    context = program.context()
    context.run(pixels, profile=True)
    steps = context.profile()
    assert any("fc1" in step.layers for step in steps) and all(step.nanoseconds >= 0 for step in steps)


def test_contexts_run_at_the_same_time(program, pixels):
    expected = program(pixels)
    wrong = []

    def work():
        context = program.context(1)
        for _ in range(20):
            if not np.array_equal(context.run(pixels)["logits"], expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_the_wheel_holds_the_runtime_alone(bundle, pixels, program, tmp_path):
    """Built from python/, installed into a folder of its own, used without the checkout."""
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-build-isolation", "--no-deps", "-w", tmp_path,
                           f"-Cbuild-dir={ROOT / 'build' / 'wheel'}", "./python"], cwd=ROOT, capture_output=True, text=True, check=False,
                          env=os.environ | {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache"})
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("vitrify-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert sum(i.file_size for i in archive.infolist()) < 5_000_000
        names = archive.namelist()
    assert "vitrify/bin/vitrify-run" in names and "vitrify/_runtime.pyi" in names and "vitrify/py.typed" in names
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", site, wheel], check=True)
    np.save(tmp_path / "x.npy", pixels)
    # Without the checkout's own finder (-S); NumPy comes from the environment.
    script = (f"import sys; sys.path[1:1] = [{str(site)!r}, {str(Path(np.__file__).parents[1])!r}]\nimport numpy as np, vitrify, vitrify.tools\n"
              f"assert vitrify.__file__.startswith({str(site)!r}), vitrify.__file__\n"
              f"y = vitrify.Program({str(bundle)!r})(np.load('x.npy')); np.save('y.npy', y)\n"
              f"assert vitrify.tools.find_tool('vitrify-run').startswith({str(site)!r})\n"
              f"vitrify.tools.run_tool('vitrify-run', [{str(bundle)!r}, '--input', 'x.npy', '--output', 'z.npy'])\n")
    subprocess.run([sys.executable, "-S", "-c", script], cwd=tmp_path, check=True)
    for name in ("y.npy", "z.npy"):
        np.testing.assert_array_equal(np.load(tmp_path / name), program(pixels))


def test_completion_knows_the_commands():
    script = subprocess.run([sys.executable, "-m", "vitrify", "completion", "bash"], capture_output=True, text=True, check=True).stdout
    asked = "COMP_WORDS=(vitrify com) COMP_CWORD=1; _shtab_vitrify; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["compare", "compile", "completion"]
