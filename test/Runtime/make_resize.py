#!/usr/bin/env python3
"""Writes test/Runtime/resize: an image and what Pillow makes of it with every filter, for ImageTest.cpp."""
from pathlib import Path

import numpy as np
from PIL import Image

FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
SIZES = [(13, 11), (50, 31), (37, 9)]


def main():
    folder = Path(__file__).parent / "resize"
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(7).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    pixels[:8, :12] = 255  # sharp edges, where filters overshoot
    pixels[8:12] = 0
    np.save(folder / "input.npy", pixels)
    image = Image.fromarray(pixels)
    np.save(folder / "grey.npy", np.asarray(image.convert("L")))
    for name in FILTERS:
        for width, height in SIZES:
            out = image.resize((width, height), getattr(Image.Resampling, name.upper()))
            np.save(folder / f"{name}-{width}x{height}.npy", np.asarray(out))


if __name__ == "__main__":
    main()
