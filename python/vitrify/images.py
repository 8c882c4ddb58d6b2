"""Images and arrays as the model's input: float32 [batch, channels, height, width]."""
from pathlib import Path

import numpy as np

from vitrify.errors import VitrifyError
from vitrify.files import read_json, reason

SUFFIXES = (".png", ".jpg", ".jpeg")


def load_array(path):
    """A .npy file of float32, C order, rank 4, with finite values."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise VitrifyError(f"{path} does not exist") from error
    except (OSError, ValueError, EOFError) as error:
        raise VitrifyError(f"cannot read {path} as npy: {reason(error)}") from error
    if not isinstance(array, np.ndarray):
        raise VitrifyError(f"{path}: expected one array, found {type(array).__name__}")
    if array.dtype != np.float32 or array.ndim != 4 or not array.flags.c_contiguous:
        order = "" if array.flags.c_contiguous else " in Fortran order"
        raise VitrifyError(f"{path}: expected float32 [batch, channels, height, width] in C order, found {array.dtype} {list(array.shape)}{order}")
    if not np.isfinite(array).all():
        raise VitrifyError(f"{path}: expected finite values, found NaN or infinity at {np.argwhere(~np.isfinite(array))[0].tolist()}")
    return array


def find_images(paths):
    """Image files named directly or lying in a named folder, sorted within each folder."""
    files = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise VitrifyError(f"{path} holds no {', '.join(SUFFIXES)} files")
        files += inside
    return files


def load_image(path, steps):
    """One image through the steps of preprocess.json: [channels, height, width] float32."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            image = opened.convert("L" if steps["channels"] == 1 else "RGB")
    except FileNotFoundError as error:
        raise VitrifyError(f"{path} does not exist") from error
    except UnidentifiedImageError as error:
        raise VitrifyError(f"{path} is neither PNG nor JPEG") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VitrifyError(f"cannot read {path}: {reason(error)}") from error
    height, width, resize = steps["height"], steps["width"], steps["resize"]
    method = Image.Resampling[resize["interpolation"].upper()]
    if resize["mode"] == "exact":
        image = image.resize((resize["width"], resize["height"]), method)
    elif resize["mode"] == "shortest_edge":
        short, edge = min(image.size), resize["edge"]
        image = image.resize(tuple(edge if side == short else int(edge * side / short) for side in image.size), method)
    if steps["center_crop"]:
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    if image.size != (width, height):
        raise VitrifyError(f"{path}: expected {width} x {height} pixels, found {image.width} x {image.height}")
    pixels = np.asarray(image, np.float32).reshape(height, width, steps["channels"]) * np.float32(steps["rescale"])
    if steps["mean"]:
        pixels = (pixels - np.float32(steps["mean"])) / np.float32(steps["std"])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def load_inputs(paths, preprocess_path, limit=None):
    """One .npy, or images and folders of images, as one array; `limit` keeps the first so many."""
    paths = [Path(p) for p in paths]
    if len(paths) == 1 and paths[0].suffix == ".npy":
        return load_array(paths[0])[:limit]
    if any(p.suffix == ".npy" for p in paths):
        raise VitrifyError("expected either one .npy file or images, found both or several .npy files")
    steps = read_json(preprocess_path)
    return np.stack([load_image(path, steps) for path in find_images(paths)[:limit]])
