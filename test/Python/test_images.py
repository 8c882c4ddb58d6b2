"""Inputs of the commands: arrays and images, through the steps of preprocess.json; what is no image is refused."""
import json

import numpy as np
import pytest
from PIL import Image

from vitrify.errors import VitrifyError
from vitrify.images import load_array, load_inputs

STEPS = {"channels": 3, "height": 4, "width": 6, "resize": {"mode": "none", "interpolation": "bilinear"}, "center_crop": False, "rescale": 1 / 255,
         "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.5, 2.0], "labels": []}


def steps_file(tmp_path, **changes):
    path = tmp_path / "preprocess.json"
    path.write_text(json.dumps(STEPS | changes))
    return path


def image_file(path, width=6, height=4, mode="RGB"):
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path, np.asarray(Image.open(path).convert("RGB"))


def test_values_are_rescaled_and_normalised(tmp_path):
    path, pixels = image_file(tmp_path / "a.png")
    x = load_inputs([path], steps_file(tmp_path))
    assert x.shape == (1, 3, 4, 6) and x.dtype == np.float32
    expected = (pixels.astype(np.float64) / 255 - STEPS["mean"]) / STEPS["std"]
    assert np.allclose(x[0], expected.transpose(2, 0, 1), atol=1e-6)


def test_grey_images_and_folders(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("b.png", "a.jpg", "c.JPEG"):
        image_file(folder / name)
    (folder / "notes.txt").write_text("not an image")
    x = load_inputs([folder], steps_file(tmp_path, channels=1, mean=[], std=[]))
    assert x.shape == (3, 1, 4, 6) and 0 <= x.min() and x.max() <= 1
    assert np.array_equal(load_inputs([folder], steps_file(tmp_path, channels=1, mean=[], std=[]), limit=2), x[:2])


def test_resize_and_crop(tmp_path):
    path, _ = image_file(tmp_path / "a.png", 20, 10)
    exact = load_inputs([path], steps_file(tmp_path, resize={"mode": "exact", "height": 4, "width": 6, "interpolation": "bilinear"}))
    cropped = load_inputs([path], steps_file(tmp_path, resize={"mode": "shortest_edge", "edge": 4, "interpolation": "bilinear"}, center_crop=True))
    assert exact.shape == cropped.shape == (1, 3, 4, 6)
    resized = np.asarray(Image.open(path).resize((8, 4), Image.Resampling.BILINEAR), np.float64)[:, 1:7]
    assert np.allclose(cropped[0], ((resized / 255 - STEPS["mean"]) / STEPS["std"]).transpose(2, 0, 1), atol=1e-6)


def refused(call, *parts):
    with pytest.raises(VitrifyError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_image(tmp_path):
    steps = steps_file(tmp_path)
    path, _ = image_file(tmp_path / "a.png")
    data = path.read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:len(data) // 2])
    (tmp_path / "text.png").write_text("just text")
    (tmp_path / "empty").mkdir()
    refused(lambda: load_inputs([tmp_path / "cut.png"], steps), "cut.png")
    refused(lambda: load_inputs([tmp_path / "text.png"], steps), "text.png", "neither PNG nor JPEG")
    refused(lambda: load_inputs([tmp_path / "none.png"], steps), "does not exist")
    refused(lambda: load_inputs([tmp_path / "empty"], steps), "holds no")
    other, _ = image_file(tmp_path / "big.png", 7, 4)
    refused(lambda: load_inputs([other], steps), "expected 6 x 4 pixels, found 7 x 4")


def test_arrays(tmp_path):
    good = np.zeros((2, 3, 4, 6), np.float32)
    np.save(tmp_path / "good.npy", good)
    assert np.array_equal(load_array(tmp_path / "good.npy"), good)
    for name, array, part in (("f64", good.astype(float), "float64"), ("rank", good[0], "[3, 4, 6]"), ("order", np.asfortranarray(good), "Fortran"),
                              ("nan", np.full_like(good, np.nan), "NaN"), ("pickle", np.array([{}], object), "pickle")):
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        refused(lambda: load_array(tmp_path / f"{name}.npy"), f"{name}.npy", part)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:200])
    (tmp_path / "text.npy").write_text("hello")
    for name in ("cut", "text", "none"):
        refused(lambda: load_array(tmp_path / f"{name}.npy"), f"{name}.npy")
    refused(lambda: load_inputs([tmp_path / "good.npy", tmp_path / "a.png"], None), "either one .npy file or images")
