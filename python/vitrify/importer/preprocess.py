"""preprocessor_config.json -> the bundle's preprocess.json: how an image becomes the model's input."""
import math

from vitrify.errors import VitrifyError

VERSION = 1
# PIL's resampling numbers, which preprocessor_config.json uses.
INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def _numbers(values, key, count, where, positive=False):
    found = values.get(key)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        found = [found] * count
    good = isinstance(found, list) and len(found) == count and all(type(v) in (int, float) and math.isfinite(v) and (not positive or v > 0) for v in found)
    if not good:
        raise VitrifyError(f"{where}: {key}: expected {count} {'positive ' if positive else ''}numbers, one a channel, found {values.get(key)!r}")
    return [float(v) for v in found]


def _size(values, key, where):
    """("exact", h, w) or ("shortest_edge", edge, edge)."""
    size = values.get(key)
    if isinstance(size, dict) and "shortest_edge" in size:
        kind, pair = "shortest_edge", (size["shortest_edge"],) * 2
    elif isinstance(size, dict):
        kind, pair = "exact", (size.get("height"), size.get("width"))
    else:
        kind, pair = "exact", (size, size)
    if any(type(v) is not int or v <= 0 for v in pair):
        raise VitrifyError(f"{where}: {key}: expected positive sizes, found {size!r}")
    return kind, *pair


def preprocess(values, config, where):
    """The fields of preprocess.json for a model; `values` are preprocessor_config.json's, or None when there is no such file.

    None for a model whose input is no image (neither 1 nor 3 channels).
    """
    if config.channels not in (1, 3):
        return None
    height, width = config.image
    result = {"version": VERSION, "channels": config.channels, "height": height, "width": width, "resize": {"mode": "none", "interpolation": "bilinear"},
              "center_crop": False, "rescale": 1.0 / 255, "mean": [], "std": [], "labels": list(config.labels)}
    if values is None:
        return result
    if values.get("do_resize", True) and "size" in values:
        kind, first, second = _size(values, "size", where)
        resample = values.get("resample", 2)
        if resample not in INTERPOLATION:
            raise VitrifyError(f"{where}: resample: expected 0 to 5, found {resample!r}")
        size = {"edge": first} if kind == "shortest_edge" else {"height": first, "width": second}
        result["resize"] = {"mode": kind, "interpolation": INTERPOLATION[resample]} | size
    if values.get("do_center_crop", False):
        crop = _size(values, "crop_size", where)
        if crop[1:] != (height, width):
            raise VitrifyError(f"{where}: crop_size {list(crop[1:])} is not the model's image_size {[height, width]}")
        result["center_crop"] = True
    elif result["resize"]["mode"] == "exact" and (first, second) != (height, width):
        raise VitrifyError(f"{where}: size {[first, second]} is not the model's image_size {[height, width]}")
    if values.get("do_rescale", True):
        factor = values.get("rescale_factor", 1.0 / 255)
        if type(factor) not in (int, float) or not math.isfinite(factor) or factor <= 0:
            raise VitrifyError(f"{where}: rescale_factor: expected a positive number, found {factor!r}")
        result["rescale"] = float(factor)
    else:
        result["rescale"] = 1.0
    if values.get("do_normalize", True):
        result["mean"] = _numbers(values, "image_mean", config.channels, where)
        result["std"] = _numbers(values, "image_std", config.channels, where, positive=True)
    return result
