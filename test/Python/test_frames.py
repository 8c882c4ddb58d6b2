"""Bundles whose entries take images as bytes: what preprocess.json does to them is in the patch embedding, on CPU and GPU."""
import json

import numpy as np
import pytest
from PIL import Image
from vit_families import FAMILIES

import vitrify
from vitrify.errors import VitrifyError
from vitrify.targets import host_target
from vitrify.tools import run_tool

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
STEPS = {"version": 1, "channels": 3, "height": 80, "width": 48, "resize": {"mode": "none", "interpolation": "bilinear"}, "center_crop": False,
         "rescale": 1 / 255, "mean": MEAN, "std": STD, "labels": []}
DEVICES = ("cpu", "emulator:sm_89")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """A CLIP tower, frames in both orders, and what the f32 model makes of them when they are normalised first."""
    root = tmp_path_factory.mktemp("frames")
    FAMILIES["clip"](root, 2)
    (root / "preprocess.json").write_text(json.dumps(STEPS))
    frames = np.random.default_rng(1).integers(0, 256, (2, 80, 48, 3)).astype(np.uint8)
    normalised = ((frames / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    for name, array in (("f32", normalised), ("hwc", frames), ("chw", frames.transpose(0, 3, 1, 2))):
        np.save(root / f"{name}.npy", np.ascontiguousarray(array))
    run_tool("vitrify-evaluate", [root / "model.mlir", f"--input={root / 'f32.npy'}", f"--output={root / 'y.npy'}"])
    return root, frames, np.load(root / "y.npy")


def compiled(root, layout, precision="f16"):
    bundle = root / f"{layout}-{precision}.vitrify"
    if not bundle.exists():
        targets = [f"--target={host_target()}"] + (["--target=sm_89"] if precision != "f32" else [])
        frames = [] if layout == "f32" else [f"--frames={layout}"]
        run_tool("vitrify-compile", [root / "model.mlir", "-o", bundle, *targets, *frames, f"--precision={precision}"])
    return bundle


def run(bundle, inputs, root, device="cpu"):
    run_tool("vitrify-run", [bundle, f"--device={device}", *(f"--input={path}" for path in inputs), f"--output={root / 'z.npy'}"])
    return np.load(root / "z.npy")


def error(found, expected):
    return np.sqrt(np.square(found - expected).mean() / (expected - expected.mean(0)).var())


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_bytes_mean_what_normalised_images_do(tower, layout):
    """In f32 to rounding; in 16 bits about as well as normalised images: weights of bytes are rounded, bytes are not."""
    root, _, expected = tower
    assert error(run(compiled(root, layout, "f32"), [root / f"{layout}.npy"], root), expected) <= 1e-5
    for device in DEVICES:
        usual = error(run(compiled(root, "f32"), [root / "f32.npy"], root, device), expected)
        assert error(run(compiled(root, layout), [root / f"{layout}.npy"], root, device), expected) <= 2 * usual + 1e-3, device


def test_image_files_are_frames(tower):
    """A .png goes in as its bytes, through the same door as before."""
    root, frames, expected = tower
    paths = [root / f"{i}.png" for i in range(2)]
    for path, frame in zip(paths, frames):
        Image.fromarray(frame).save(path)
    for device in DEVICES:
        assert np.array_equal(run(compiled(root, "hwc"), paths, root, device), run(compiled(root, "hwc"), [root / "hwc.npy"], root, device))
    assert error(run(compiled(root, "f32", "f32"), paths, root), expected) <= 1e-5


def test_the_entry_says_bytes(tower):
    root, frames, _ = tower
    program = vitrify.Program(compiled(root, "hwc"))
    pixels, = program.entry().inputs
    assert pixels.dtype == "u8" and list(pixels.shape[1:]) == [80, 48, 3]
    assert np.array_equal(program(frames), run(compiled(root, "hwc"), [root / "hwc.npy"], root))


def test_what_is_refused(tower, tmp_path):
    root, _, _ = tower
    with pytest.raises(VitrifyError, match=r"expected \[images, 80, 48, 3\], found \[2, 3, 80, 48\]"):
        run(compiled(root, "hwc"), [root / "chw.npy"], root)
    for layout, message in (("rgb", "unknown layout of frames 'rgb', known are hwc, chw"), ("hwc", "frames of bytes need what normalises them")):
        (tmp_path / "model.mlir").write_bytes((root / "model.mlir").read_bytes())
        with pytest.raises(VitrifyError, match=message):
            run_tool("vitrify-compile", [tmp_path / "model.mlir", "-o", tmp_path / "b", f"--target={host_target()}", f"--frames={layout}"])
        assert not (tmp_path / "b").exists()
