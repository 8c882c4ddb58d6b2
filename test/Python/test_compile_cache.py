"""The compile cache, and what the toolchain's absence or age costs: equal bundles with and without, damage noticed, one sentence each."""
import filecmp
import os
import shutil
import subprocess

import numpy as np
import pytest
import seeded
from conftest import BIN

from vitrify.compiler import calibrate
from vitrify.importer import import_folder

TARGETS = ["--target=x86-64-v3", "--target=sm_89"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    import_folder(seeded.write_folder("new_names", root / "m"), root / "model.mlir")
    np.save(root / "x.npy", seeded.pixels("new_names", 4))
    calibrate(root / "model.mlir", [root / "x.npy"], root / "ranges.json")
    return root


def compiled(model, out, cache, *more, ok=True, targets=TARGETS):
    """Compiles; returns standard error, remarks included."""
    arguments = [BIN / "vitrify-compile", model / "model.mlir", "-o", out, "--precision=fp8", f"--ranges={model / 'ranges.json'}", "--report", *targets, *more]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=os.environ | {"VITRIFY_CACHE": str(cache)})
    assert (done.returncode == 0) == ok, done.stderr[-2000:]
    return done.stderr


def said(errors):
    """(found, compiled) of the cache's remark."""
    (line,) = [l for l in errors.splitlines() if "compile cache" in l and "found" in l]
    words = line.split()
    return int(words[words.index("found,") - 1]), int(words[words.index("compiled") - 1])


def same(a, b):
    """Whether two bundles hold the same bytes."""
    found = filecmp.dircmp(a, b)
    names = [os.path.relpath(os.path.join(folder, name), a) for folder, _, files in os.walk(a) for name in files]
    return not found.left_only and not found.right_only and filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def entries(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_second_compile_finds_everything(model, tmp_path):
    found, made = said(compiled(model, tmp_path / "a", tmp_path / "cache"))
    assert found == 0 and made == len(entries(tmp_path / "cache")) > 10
    assert said(compiled(model, tmp_path / "b", tmp_path / "cache")) == (made, 0)
    assert same(tmp_path / "a", tmp_path / "b")
    compiled(model, tmp_path / "c", tmp_path / "other", "--no-cache")
    assert same(tmp_path / "a", tmp_path / "c") and not (tmp_path / "other").exists()


def test_other_options_are_other_entries(model, tmp_path):
    compiled(model, tmp_path / "a", tmp_path / "cache")
    found, made = said(compiled(model, tmp_path / "b", tmp_path / "cache", "--target=x86-64-v4"))
    assert made > 0 and found > 0


def test_damage_costs_a_word(model, tmp_path):
    compiled(model, tmp_path / "a", tmp_path / "cache")
    for path in entries(tmp_path / "cache"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    errors = compiled(model, tmp_path / "b", tmp_path / "cache")
    assert errors.count("warning: an entry of the compile cache is damaged") == 1
    assert said(errors)[0] == 0 and same(tmp_path / "a", tmp_path / "b")
    assert said(compiled(model, tmp_path / "c", tmp_path / "cache"))[1] == 0


def test_a_cache_that_cannot_be_written_costs_a_word(model, tmp_path):
    (tmp_path / "file").write_text("no folder")
    errors = compiled(model, tmp_path / "a", tmp_path / "file")
    assert errors.count("warning: the compile cache is not written") == 1


def test_equal_models_in_other_places_are_equal_bundles(model, tmp_path):
    """Neither where the model lay nor who compiled it is in a bundle."""
    for place in ("here", "there/deeper"):
        folder = tmp_path / place
        shutil.copytree(model / "m", folder / "m")
        import_folder(folder / "m", folder / "model.mlir")
        shutil.copy(model / "ranges.json", folder)
        compiled(folder, folder / "b", tmp_path / "cache")
    assert same(tmp_path / "here" / "b", tmp_path / "there" / "deeper" / "b")
    for path in (tmp_path / "here" / "b").rglob("*"):
        assert not path.is_file() or str(tmp_path).encode() not in path.read_bytes(), path


def fake(tmp_path, text):
    path = tmp_path / "ptxas"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


VERSION = 'echo "Cuda compilation tools, release {0}, V{0}.1"'


@pytest.mark.parametrize("script, message", [
    (VERSION.format("12.3"), "ptxas 12.3.1 at {0} is outside the supported versions 12.4 to 13.x"),
    (VERSION.format("14.0"), "ptxas 14.0.1 at {0} is outside the supported versions 12.4 to 13.x"),
    ("echo hello", "cannot read the version of {0}"),
    (f'case "$1" in --version) {VERSION.format("13.0")};; *) echo "ptxas fatal: out of luck"; exit 3;; esac', "ptxas failed: ptxas fatal: out of luck"),
    ("exit 2", "ptxas failed: "),
])
def test_wrong_ptxas_is_one_sentence(model, tmp_path, script, message):
    path = fake(tmp_path, script)
    errors = compiled(model, tmp_path / "a", tmp_path / "cache", f"--ptxas={path}", ok=False)
    assert [l for l in errors.splitlines() if "error:" in l and message.format(path) in l], errors[-500:]
    assert not (tmp_path / "a").exists()


def test_absent_ptxas_is_one_sentence(model, tmp_path):
    errors = compiled(model, tmp_path / "a", tmp_path / "cache", "--ptxas=/no/such/ptxas", ok=False)
    assert "ptxas not found or not executable: /no/such/ptxas" in errors


def test_old_ptxas_and_new_chip_are_one_sentence(model, tmp_path):
    path = fake(tmp_path, VERSION.format("12.4"))
    errors = compiled(model, tmp_path / "a", tmp_path / "cache", f"--ptxas={path}", ok=False, targets=["--target=sm_120a"])
    assert f"ptxas 12.4.1 at {path} is too old for sm_120a, which needs PTX 8.8: CUDA 12.9 or newer" in errors
