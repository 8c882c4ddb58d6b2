#!/usr/bin/env python3
"""Writes the expected outputs in this folder. Needs PyTorch and transformers (versions in README.md); tests need neither.

usage: make_golden.py [ops] [models]
"""
import sys
from pathlib import Path

import numpy as np
import torch

import golden_ops

HERE = Path(__file__).resolve().parent


def write_npz(path, arrays):
    """Compressed, with a fixed order and fixed dates, so that the same arrays give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: np.asarray(value) for name, value in arrays.items()})


def ops():
    for family in golden_ops.FAMILIES:
        write_npz(HERE / "ops" / f"{family.__name__}.npz", family())


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    wanted = sys.argv[1:] or ["ops", "models"]
    if "ops" in wanted:
        ops()
    if "models" in wanted:
        import golden_models
        golden_models.write(HERE)
