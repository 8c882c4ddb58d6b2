"""The digits beside this file: IDX arrays, and as the model's input."""
import gzip
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


def read_idx(path):
    """An IDX file of bytes, gzip: two zero bytes, the type (8: u8), the rank, the sizes as big-endian 32-bit integers, the values."""
    data = gzip.open(path).read()
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: expected an IDX file of unsigned bytes, found magic {data[:4].hex()}")
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def digits(stem):
    """(images [N, 28, 28] uint8, labels [N] uint8) of "test-1000" or "calibration-200"."""
    return read_idx(HERE / f"{stem}-images-idx3-ubyte.gz"), read_idx(HERE / f"{stem}-labels-idx1-ubyte.gz")


def pixels(images, preprocess_path):
    """[N, 1, 28, 28] float32 by the steps of preprocess.json that apply to images of the right size."""
    steps = json.loads(Path(preprocess_path).read_text(encoding="utf-8"))
    scaled = images[:, None].astype(np.float32) * np.float32(steps["rescale"])
    return np.ascontiguousarray((scaled - np.float32(steps["mean"][0])) / np.float32(steps["std"][0]))
